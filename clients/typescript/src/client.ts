/// <reference lib="esnext.disposable" preserve="true" />
/** The calls of LlmService, over whatever carries them. */

import {
  create,
  type DescMessage,
  type DescMethodUnary,
  type MessageInitShape,
  type MessageShape,
} from "@bufbuild/protobuf";
import type { Transport } from "@connectrpc/connect";
import { Call } from "./call.js";
import {
  type CountTokensResponse,
  type EmbedRequestSchema,
  type EmbedResponse,
  ListModelsRequestSchema,
  type LlmResponse,
  LlmService,
  type Model,
} from "./gen/loom_grpc/v1/llm_service_pb.js";
import { makeRequest, type Question } from "./message.js";
import { checked, type Metadata, texts, trailersOf } from "./metadata.js";
import { Stream } from "./stream.js";

/** What is the same for every call of a client. */
export interface ClientOptions {
  /** The key that goes out as a bearer token, in the clear without TLS. */
  apiKey?: string | undefined;
  /** What goes out with every call. */
  metadata?: Metadata | undefined;
  /** The time for a whole call, in milliseconds, which the provider is held to as well; without it, or with 0, a call waits as long as the server does. */
  timeoutMs?: number | undefined;
}

/** What belongs to one call. */
export interface CallOptions {
  /** Replaces the client's own by name. */
  metadata?: Metadata | undefined;
  /** Replaces the client's own, in milliseconds; 0 takes it away. */
  timeoutMs?: number | undefined;
  /** Cancels the call, up to the provider; whoever waits for it then gets the signal's reason. */
  signal?: AbortSignal | undefined;
  /** Is given the metadata that comes after an answer, such as `loom-request-id`; that of a stream is in its `trailers()`. */
  onTrailers?: ((trailers: Record<string, string>) => void) | undefined;
}

/** Asks a loom-grpc server; every call that fails throws `LoomError`. */
export class LlmClient {
  /** The connection, for other services at the same address: `createClient(AdminService, client.transport)`. */
  readonly transport: Transport;
  /** Where the server is. */
  readonly target: string;
  readonly #open = new Set<Call>();

  constructor(transport: Transport, target: string) {
    this.transport = transport;
    this.target = target;
  }

  /** Returns the whole answer. */
  complete(question: Question, options: CallOptions = {}): Promise<LlmResponse> {
    return this.#unary(LlmService.method.complete, makeRequest(question), options);
  }

  /** Starts the same call and returns its events as they come, to be used in `for await`. */
  stream(question: Question, options: Omit<CallOptions, "onTrailers"> = {}): Stream {
    const header = checked(options.metadata ?? {});
    const timeoutMs = timeLimit(options.timeoutMs);
    const requests = only(makeRequest(question));
    const call = new Call(options.signal, this.#open);
    const answer = this.transport.stream(LlmService.method.stream, call.signal, timeoutMs, header, requests);
    return new Stream(call, answer, this.target);
  }

  /** Returns the number of prompt tokens of a request; `estimated` tells when the provider could not count them. */
  countTokens(question: Question, options: CallOptions = {}): Promise<CountTokensResponse> {
    return this.#unary(LlmService.method.countTokens, makeRequest(question), options);
  }

  /** Turns texts into vectors, in their order. */
  embed(request: MessageInitShape<typeof EmbedRequestSchema>, options: CallOptions = {}): Promise<EmbedResponse> {
    return this.#unary(LlmService.method.embed, request, options);
  }

  /** Returns all models of one provider or of all, ordered by provider and id; the time limit is for each page. */
  async listModels(provider = "", options: CallOptions = {}): Promise<Model[]> {
    const models: Model[] = [];
    const request = create(ListModelsRequestSchema, { provider, pageSize: PAGE });
    do {
      const page = await this.#unary(LlmService.method.listModels, request, options);
      models.push(...page.models);
      request.pageToken = page.nextPageToken;
    } while (request.pageToken !== "");
    return models;
  }

  /** Cancels the calls in flight and closes the connection; the next call opens another one. */
  close(): void {
    for (const call of this.#open) {
      call.cancel(new DOMException("The client was closed.", "AbortError"));
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async #unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    options: CallOptions,
  ): Promise<MessageShape<O>> {
    const header = checked(options.metadata ?? {});
    const timeoutMs = timeLimit(options.timeoutMs);
    const call = new Call(options.signal, this.#open);
    const answer = await this.transport
      .unary(method, call.signal, timeoutMs, header, request)
      .finally(() => call.done())
      .catch((failure: unknown) => {
        options.onTrailers?.(trailersOf(failure));
        throw call.failure(failure, this.target);
      });
    options.onTrailers?.(texts(answer.trailer));
    return answer.message;
  }
}

/** Returns a client's time limit as a transport's options have it. */
export function defaultLimit(timeoutMs: number | undefined): { defaultTimeoutMs?: number } {
  const limit = timeLimit(timeoutMs);
  return limit ? { defaultTimeoutMs: limit } : {};
}

/** Returns a time limit that gRPC can write down, up to a day and more, and 0 for none; throws `TypeError` for what is no number. */
function timeLimit(timeoutMs: number | undefined): number | undefined {
  if (Number.isNaN(timeoutMs)) {
    throw new TypeError("timeoutMs: must be a number of milliseconds");
  }
  return timeoutMs && Math.min(Math.max(Math.ceil(timeoutMs), 1), MAX_TIMEOUT_MS);
}

/** gRPC has eight digits for it (grpc.io, PROTOCOL-HTTP2.md, seen 2026-11-21). */
const MAX_TIMEOUT_MS = 99_999_999;

const PAGE = 1000;

async function* only<T>(item: T): AsyncGenerator<T, undefined> {
  yield item;
}
