/** The client for Node.js: gRPC over HTTP/2. */

import type { ConnectionOptions } from "node:tls";
import type { Interceptor } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { type ClientOptions, defaultLimit, LlmClient } from "./client.js";
import { Connection } from "./connection.js";
import { ownMetadata, sending } from "./metadata.js";
import { VERSION } from "./version.js";

export * from "./public.js";

/** Where a server listens when it is not told otherwise. */
export const DEFAULT_TARGET = "127.0.0.1:50051";

/** What is the same for every call of a client of Node.js. */
export interface LoomOptions extends ClientOptions {
  /** True for the authorities of Node.js, or others (`ca`) and a certificate of the client's own (`cert`, `key`), as `tls.connect` takes them. */
  tls?: boolean | ConnectionOptions | undefined;
}

/**
 * Asks a loom-grpc server over one HTTP/2 connection, which any number of calls share.
 *
 * It opens with the first call, is kept alive by pings while calls are in flight, and comes back by itself after the server was away. An
 * idle one does not keep the process running.
 */
export class LoomClient extends LlmClient {
  readonly #connection: Connection;

  /** Makes a client of the server at `target`, `host:port` or `unix:path`; throws `TypeError` for what cannot be a target, a key or metadata. */
  constructor(target: string = DEFAULT_TARGET, options: LoomOptions = {}) {
    const { tls = false } = options;
    const { host, path } = addressOf(target);
    const baseUrl = `${tls === false ? "http" : "https"}://${host}`;
    const connection = new Connection(baseUrl, { ...path, ...(typeof tls === "boolean" ? {} : tls) });
    const transport = createGrpcTransport({
      baseUrl,
      sessionManager: connection,
      interceptors: [sending(ownMetadata(options.apiKey, options.metadata)), introducing],
      readMaxBytes: MAX_MESSAGE_BYTES,
      writeMaxBytes: MAX_MESSAGE_BYTES,
      ...defaultLimit(options.timeoutMs),
    });
    super(transport, target);
    this.#connection = connection;
  }

  override close(): void {
    super.close();
    this.#connection.close();
  }
}

const MAX_MESSAGE_BYTES = 64 * 2 ** 20;

/** Puts our name before the library's, as gRPC's own libraries do (grpc.io, PROTOCOL-HTTP2.md, seen 2026-11-21). */
const introducing: Interceptor = (next) => (request) => {
  const given = request.header.get("user-agent");
  request.header.set("user-agent", [`loom-grpc-typescript/${VERSION}`, given].join(" ").trim());
  return next(request);
};

/** Reads `host:port` or `unix:path`; throws `TypeError`. */
function addressOf(target: string): { host: string; path?: { path: string } } {
  const [, path] = /^unix:(?:\/\/(?=\/))?(.+)$/.exec(target) ?? [];
  if (path !== undefined) {
    return { host: "localhost", path: { path } };
  }
  if (!/^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(:\d{1,5})?$/.test(target)) {
    throw new TypeError(`target: ${JSON.stringify(target)} is neither host:port nor unix:path`);
  }
  return { host: target };
}
