/** The HTTP/2 connection of a client of Node.js. */

import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type ClientSessionRequestOptions,
  connect,
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from "node:http2";
import type { ConnectionOptions } from "node:tls";
import { decodeBinaryHeader } from "@connectrpc/connect";
import { StatusSchema } from "./gen/google/rpc/status_pb.js";

/**
 * Opens a connection when a call needs one, and another when it is gone.
 *
 * It has the shape of a session manager of Connect, in whose stead it stands: that one (2.1.2) lets an error of a connection that it has
 * given up, such as a server that speaks HTTP/1.1, end the whole process, and waits without end for a server that is silent in TLS.
 */
export class Connection {
  readonly authority: string;
  readonly #options: ConnectionOptions;
  readonly #limits: Limits;
  readonly #links = new Set<Link>();
  #current: Link | undefined;

  /** Prepares connections to the origin of a URL; the options are those of `tls.connect`, and `path` is a socket of this machine. */
  constructor(url: string, options: ConnectionOptions, limits: Limits = LIMITS) {
    this.authority = new URL(url).origin;
    this.#options = options;
    this.#limits = limits;
  }

  /** Begins a request, on the connection that is there when it still answers. */
  async request(
    method: string,
    path: string,
    headers: OutgoingHttpHeaders,
    options: Omit<ClientSessionRequestOptions, "signal">,
  ): Promise<ClientHttp2Stream> {
    const link = await this.#usable();
    await link.connected;
    const stream = link.request({ ...headers, ":method": method, ":path": path }, options);
    // They come before Connect's own listeners, which are given the same objects.
    stream.on("response", dropUnreadableDetails);
    stream.on("trailers", dropUnreadableDetails);
    return stream;
  }

  /** Takes note that the other side is alive. */
  notifyResponseByteRead(stream: ClientHttp2Stream): void {
    for (const link of this.#links) {
      link.heard(stream);
    }
  }

  /** Closes everything at once, calls in flight too. */
  close(): void {
    for (const link of this.#links) {
      link.destroy(undefined);
    }
  }

  async #usable(): Promise<Link> {
    const known = this.#current;
    if (known?.isOpen && (await known.answers())) {
      return known;
    }
    if (this.#current === undefined || this.#current === known) {
      this.#current = this.#open(); // or else another call has opened one meanwhile
    }
    return this.#current;
  }

  #open(): Link {
    const link = new Link(this.authority, this.#options, this.#limits, () => this.#links.delete(link));
    this.#links.add(link);
    return link;
  }
}

/** How long the other side may be silent. */
export interface Limits {
  /** While a connection comes about. Node.js alone would wait for minutes for a host that is silent. */
  connectMs: number;
  /** On a connection in use, before it is asked by a ping: a model may think for minutes without a word. */
  pingAfterMs: number;
  /** After that, before the connection counts as dead. */
  pingTimeoutMs: number;
}

const LIMITS: Limits = { connectMs: 20_000, pingAfterMs: 30_000, pingTimeoutMs: 10_000 };

/** With the 64 KB that HTTP/2 begins with, an answer of megabytes would take a round trip for each of them. */
const WINDOW_BYTES = 4 * 2 ** 20;

const SETTINGS = {
  settings: { enablePush: false, initialWindowSize: WINDOW_BYTES },
  maxSessionMemory: Number.MAX_SAFE_INTEGER, // or Node.js refuses calls while 10 MB wait; the limits of messages say what may come
};

/** One connection from its opening to its end; one without calls does not keep the process running. */
class Link {
  /** Settles when the connection has come about or has failed to. */
  readonly connected: Promise<void>;
  readonly #session: ClientHttp2Session;
  readonly #limits: Limits;
  readonly #pings: NodeJS.Timeout;
  #asking: Promise<boolean> | undefined;
  #streams = 0;
  #heardAt = performance.now();

  constructor(authority: string, options: ConnectionOptions, limits: Limits, onClose: () => void) {
    const session = connect(authority, { ...options, ...SETTINGS });
    this.#session = session;
    this.#limits = limits;
    this.#pings = setTimeout(() => this.#pingInUse(), limits.pingAfterMs).unref();
    const limit = this.#limit("no connection", limits.connectMs);
    this.connected = new Promise((resolve, reject) => {
      session.once("connect", () => resolve(session.setLocalWindowSize(WINDOW_BYTES)));
      // From then on errors are told by the requests that they hit; without a listener they would end the process.
      session.on("error", reject);
      session.once("close", () => reject(failure("the connection was closed while it was being made", "ECONNRESET")));
    });
    this.connected.catch(() => undefined).finally(() => clearTimeout(limit));
    session.once("goaway", () => this.#streams === 0 && this.destroy(undefined));
    session.once("close", () => clearTimeout(this.#pings));
    session.once("close", onClose);
  }

  /** False when no further request may be made on it. */
  get isOpen(): boolean {
    return !this.#session.closed && !this.#session.destroyed;
  }

  request(headers: OutgoingHttpHeaders, options: ClientSessionRequestOptions): ClientHttp2Stream {
    const stream = this.#session.request(headers, options);
    this.#streams += 1;
    this.#session.ref();
    this.#pings.refresh();
    stream.on("error", () => undefined); // for the time until the caller listens
    stream.once("close", () => this.#closed(stream));
    return stream;
  }

  /** Puts off the next ping when the stream is one of this connection's. */
  heard(stream: ClientHttp2Stream): void {
    if (stream.session === this.#session) {
      this.#hear();
    }
  }

  /** Tells whether the other side is there; asks it when it has been silent for a while, and closes the connection when it stays so. */
  async answers(): Promise<boolean> {
    return performance.now() - this.#heardAt < this.#limits.pingAfterMs || this.#asked();
  }

  destroy(error: Error | undefined): void {
    this.#session.destroy(error, constants.NGHTTP2_CANCEL);
  }

  #hear(): void {
    this.#heardAt = performance.now();
    this.#pings.refresh();
  }

  #closed(stream: ClientHttp2Stream): void {
    this.#streams -= 1;
    if (this.#streams === 0) {
      this.#session.unref();
    }
    if (stream.rstCode === constants.NGHTTP2_CANCEL && this.#session.closed) {
      // Node.js ends the streams of a connection that broke off as if the server had cancelled them.
      stream.emit("error", failure("the connection broke off", "ECONNRESET"));
    }
  }

  async #pingInUse(): Promise<void> {
    if (this.#streams > 0) {
      await this.#asked();
    }
  }

  /** Asks by one ping at a time, however many calls want to know: Node.js refuses to send more than ten. */
  #asked(): Promise<boolean> {
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = undefined;
    });
    return this.#asking;
  }

  async #ask(): Promise<boolean> {
    if (this.#session.destroyed) {
      return false;
    }
    const limit = this.#limit("no answer to a ping", this.#limits.pingTimeoutMs);
    return new Promise((resolve) => {
      const settle = (alive: boolean) => {
        clearTimeout(limit);
        resolve(alive);
      };
      const sent = this.#session.ping((error) => {
        if (error === null) {
          this.#hear();
        }
        settle(error === null);
      });
      if (!sent) {
        settle(false);
      }
    });
  }

  /** Closes the connection unless the returned timer is stopped. */
  #limit(what: string, ms: number): NodeJS.Timeout {
    return setTimeout(() => this.destroy(failure(`${what} within ${ms / 1000} s`, "ETIMEDOUT")), ms);
  }
}

/** Connect takes details that are none for a failure of their own, and the status is lost. */
function dropUnreadableDetails(headers: IncomingHttpHeaders): void {
  const details = headers[DETAILS];
  try {
    decodeBinaryHeader(String(details ?? ""), StatusSchema);
  } catch {
    delete headers[DETAILS];
  }
}

const DETAILS = "grpc-status-details-bin";

function failure(message: string, code: string): Error {
  return Object.assign(new Error(message), { code });
}
