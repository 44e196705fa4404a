/** Servers that go wrong in ways of their own, on real sockets. */

import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import { createServer as createHttp2Server, type OutgoingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import { createServer as createTcpServer, type Server as NetServer, type Socket } from "node:net";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { LlmEventSchema } from "loom-grpc/v1";

/** A server at an address, until it is stopped. */
export interface Fake {
  target: string;
  stop(): Promise<void>;
}

/** What a fake gRPC server does with a call, once it has the whole request. */
export type Answer = (stream: ServerHttp2Stream, headers: OutgoingHttpHeaders) => void;

/** Serves gRPC over HTTP/2, bare of any library. */
export function grpcServer(answer: Answer): Promise<Fake> {
  const server = createHttp2Server();
  server.on("stream", (stream, headers) => {
    stream.on("error", () => undefined); // callers leave at will
    stream.resume().on("end", () => answer(stream, headers));
  });
  return listening(server);
}

/** Serves a page over HTTP/1.1 and nothing else, as a proxy does that cannot reach its server. */
export function pageServer(status: number): Promise<Fake> {
  return listening(
    createHttpServer((_, response) => response.writeHead(status, { "content-type": "text/html" }).end(PAGE)),
  );
}

/** Takes connections and never says a word. */
export function silentServer(): Promise<Fake> {
  return listening(createTcpServer());
}

export const PAGE = "<html><body><h1>502 Bad Gateway</h1></body></html>";
export const GRPC_HEADERS = { ":status": 200, "content-type": "application/grpc+proto" };

/** Writes bytes as gRPC frames a message. */
export function frame(bytes: Uint8Array): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([prefix, bytes]);
}

/** Writes an event as gRPC does. */
export function event(value: MessageInitShape<typeof LlmEventSchema>["event"]): Buffer {
  return frame(toBinary(LlmEventSchema, create(LlmEventSchema, { event: value ?? { case: undefined } })));
}

/** Begins an answer, sends what it is made of, and ends it with trailers. */
export function respond(stream: ServerHttp2Stream, body: Uint8Array[], trailers: OutgoingHttpHeaders): void {
  stream.respond(GRPC_HEADERS, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers(trailers));
  for (const chunk of body) {
    stream.write(chunk);
  }
  stream.end();
}

async function listening(server: NetServer): Promise<Fake> {
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined); // callers leave at will
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") {
    throw new Error("no port");
  }
  return {
    target: `127.0.0.1:${address.port}`,
    async stop() {
      for (const socket of sockets) {
        socket.destroy();
      }
      server.close();
      await once(server, "close");
    },
  };
}
