/** The client for browsers, and whatever else has `fetch`: Connect or gRPC-Web to the server's HTTP port. */

import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";
import { type ClientOptions, defaultLimit, LlmClient } from "./client.js";
import { ownMetadata, sending } from "./metadata.js";

export * from "./public.js";

/** What is the same for every call of a client that uses `fetch`. */
export interface WebOptions extends ClientOptions {
  /** How calls are written on HTTP: Connect's way, or gRPC-Web's, which Envoy and other proxies know. */
  protocol?: "connect" | "grpc-web" | undefined;
  /** Replaces the `fetch` of the platform. */
  fetch?: typeof globalThis.fetch | undefined;
}

/** Asks a loom-grpc server by `fetch`. */
export class LoomClient extends LlmClient {
  /** Makes a client of the server at `url`, such as `https://loom.example.com`; throws `TypeError` for what cannot be an address, a key or metadata. */
  constructor(url: string | URL, options: WebOptions = {}) {
    const baseUrl = new URL(url).href.replace(/\/$/, "");
    const makeTransport = options.protocol === "grpc-web" ? createGrpcWebTransport : createConnectTransport;
    const transport = makeTransport({
      baseUrl,
      useBinaryFormat: true,
      interceptors: [sending(ownMetadata(options.apiKey, options.metadata))],
      ...(options.fetch === undefined ? {} : { fetch: options.fetch }),
      ...defaultLimit(options.timeoutMs),
    });
    super(transport, baseUrl);
  }
}
