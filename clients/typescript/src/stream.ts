/// <reference lib="esnext.disposable" preserve="true" />
/** The events of one answer. */

import type { StreamResponse } from "@connectrpc/connect";
import type { Call } from "./call.js";
import { LoomError, loomError, reportedError } from "./error.js";
import type { LlmEvent, LlmEventSchema, LlmRequestSchema, LlmResponse } from "./gen/loom_grpc/v1/llm_service_pb.js";
import { texts, trailersOf } from "./metadata.js";

/** The answer of `LlmService.Stream`, as a transport gives it. */
export type EventResponse = StreamResponse<typeof LlmRequestSchema, typeof LlmEventSchema>;

/**
 * The events of one answer: `started`, deltas, and `completed` as the last; anything else ends in `LoomError`.
 *
 * An `error` event is thrown and not handed out; what had arrived before it is the error's `partial`. Leaving the loop early, `cancel`
 * and `await using` cancel the call at once, and end the loop without an error. Where the caller's signal or the client's `close` cancels
 * it, the loop throws their reason.
 */
export class Stream implements AsyncIterableIterator<LlmEvent>, AsyncDisposable {
  readonly #call: Call;
  readonly #target: string;
  readonly #answer: Promise<EventResponse>;
  readonly #events: AsyncGenerator<LlmEvent, undefined>;
  readonly #trailers: Promise<Record<string, string>>;
  #settleTrailers: (trailers: Record<string, string>) => void = () => undefined;
  #last: LlmEvent | undefined;
  #left = false;

  /** Takes over a call that has begun. */
  constructor(call: Call, answer: Promise<EventResponse>, target: string) {
    this.#call = call;
    this.#target = target;
    this.#answer = answer;
    this.#trailers = new Promise((resolve) => {
      this.#settleTrailers = resolve;
    });
    this.#events = this.#read();
    // Also keeps a call that nobody reads from ending the process.
    answer.catch((failure: unknown) => this.#over(trailersOf(failure)));
    call.signal.addEventListener("abort", () => void this.#release());
  }

  /** The whole answer, once `completed` has come. */
  get response(): LlmResponse | undefined {
    return this.#last?.event.case === "completed" ? this.#last.event.value.response : undefined;
  }

  /** Cancels the call unless it is over; iterating further ends at once. */
  cancel(): void {
    this.#left = true;
    this.#call.cancel(undefined);
    this.#over({});
  }

  /** Waits for the beginning of the answer and returns its metadata, such as `loom-ratelimit`; throws what the loop throws, and is empty when it was left. */
  async headers(): Promise<Record<string, string>> {
    try {
      return texts((await this.#answer).header);
    } catch (failure) {
      if (this.#left) {
        return {};
      }
      throw this.#call.failure(failure, this.#target);
    }
  }

  /** Waits for the end of the call and returns its trailing metadata, such as `loom-request-id`; empty when it was cancelled. */
  trailers(): Promise<Record<string, string>> {
    return this.#trailers;
  }

  /** Waits for the next event. */
  async next(): Promise<IteratorResult<LlmEvent, undefined>> {
    const result = await this.#events.next();
    if (this.response !== undefined) {
      void this.#events.next(); // reads the rest, of which there are only the trailers
    }
    return result;
  }

  /** Cancels the call unless the answer is whole; `for await` calls it where it is left early. */
  async return(): Promise<IteratorResult<LlmEvent, undefined>> {
    if (this.#last?.event.case !== "completed") {
      this.cancel();
    }
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  async *#read(): AsyncGenerator<LlmEvent, undefined> {
    const failure = yield* this.#receive();
    const end = this.#last?.event;
    if (this.#left || end?.case === "completed") {
      return;
    }
    const status = failure && !this.#call.isCancelled ? loomError(failure, this.#target) : undefined;
    if (end?.case === "error") {
      throw reportedError(end.value, status);
    }
    this.#call.throwIfCancelled();
    throw status ?? new LoomError("PROVIDER_BAD_RESPONSE", "The server's answer ended without being complete.");
  }

  /** Hands out the events up to the last one and returns what the call failed with, if it did. */
  async *#receive(): AsyncGenerator<LlmEvent, unknown> {
    let limit: ReturnType<typeof setTimeout> | undefined;
    try {
      const answer = await this.#answer;
      for await (const event of answer.message) {
        if (this.#last !== undefined) {
          continue; // there is nothing after the last one
        }
        this.#last = isLast(event) ? event : undefined;
        if (event.event.case !== "error") {
          yield event;
        }
        if (this.#last !== undefined) {
          // The call is let come to its end, so that the server does not take it for cancelled; one that goes on is.
          limit = setTimeout(() => this.#call.cancel(undefined), END_MS);
        }
      }
      this.#over(texts(answer.trailer));
      return undefined;
    } catch (failure) {
      const header = await this.#answer.then(
        (answer) => answer.header,
        () => undefined, // an answer that has no beginning has no header
      );
      this.#over(trailersOf(failure, header));
      return failure;
    } finally {
      clearTimeout(limit);
    }
  }

  /** Lets Connect stop the timer of the deadline, which it does only when it is read to the end, and which would keep the process running. */
  async #release(): Promise<void> {
    try {
      const events = (await this.#answer).message[Symbol.asyncIterator]();
      while (!(await events.next()).done) {
        // what had arrived by then
      }
    } catch {
      // that the call was cancelled
    }
  }

  #over(trailers: Record<string, string>): void {
    this.#call.done();
    this.#settleTrailers(trailers);
  }
}

const END_MS = 2000;

function isLast(event: LlmEvent): boolean {
  return event.event.case === "completed" || event.event.case === "error";
}
