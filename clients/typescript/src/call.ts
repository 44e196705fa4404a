/** One call under way, and who may end it. */

import { Code, ConnectError } from "@connectrpc/connect";
import { loomError } from "./error.js";

/** The caller's hold on a call: it is ended by a signal, by the client's `close`, or by leaving a stream. */
export class Call {
  #cancelled: { reason: unknown } | undefined;
  readonly #controller = new AbortController();
  readonly #outer: AbortSignal | undefined;
  readonly #open: Set<Call>;
  readonly #onAbort = () => this.cancel(this.#outer?.reason);

  /** Begins a call that is one of `open` until it is over. */
  constructor(outer: AbortSignal | undefined, open: Set<Call>) {
    this.#outer = outer;
    this.#open = open;
    open.add(this);
    if (outer?.aborted) {
      this.cancel(outer.reason);
    }
    outer?.addEventListener("abort", this.#onAbort);
  }

  /** Aborts when the call is to end. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Ends the call at once; waiting for it then fails with `reason`. */
  cancel(reason: unknown): void {
    if (this.#cancelled === undefined && this.#open.has(this)) {
      this.#cancelled = { reason };
      // With this error the server is told CANCEL, and not INTERNAL_ERROR.
      this.#controller.abort(new ConnectError("cancelled by the caller", Code.Canceled));
    }
  }

  /** Lets go of the signal, once the call is over. */
  done(): void {
    this.#open.delete(this);
    this.#outer?.removeEventListener("abort", this.#onAbort);
  }

  /** Tells whether the call was ended from this side. */
  get isCancelled(): boolean {
    return this.#cancelled !== undefined;
  }

  /** Throws the reason where the call has been cancelled. */
  throwIfCancelled(): void {
    if (this.#cancelled !== undefined) {
      throw this.#cancelled.reason;
    }
  }

  /** Returns what the caller is to see of a failure: the reason of its own cancelling, or a `LoomError`. */
  failure(error: unknown, target: string): unknown {
    return this.#cancelled === undefined ? loomError(error, target) : this.#cancelled.reason;
  }
}
