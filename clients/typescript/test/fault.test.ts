/** What callers see when something on the way to the model goes wrong. */

import assert from "node:assert/strict";
import { once } from "node:events";
import type { ServerHttp2Stream } from "node:http2";
import { after, describe, test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { DurationSchema } from "@bufbuild/protobuf/wkt";
import { type LlmEvent, LoomClient, LoomError } from "loom-grpc";
import { LlmResponseSchema } from "loom-grpc/v1";
import { Connection } from "#dist/connection.js";
import {
  type Answer,
  event,
  type Fake,
  frame,
  GRPC_HEADERS,
  grpcServer,
  PAGE,
  pageServer,
  respond,
  silentServer,
} from "./fake.js";
import { freeTarget, serve } from "./server.js";

const fakes: Fake[] = [];
const OK = { "grpc-status": "0" };
const STARTED = event({ case: "started", value: { id: "a1", attempt: 1 } });
const WORD = event({ case: "textDelta", value: { content: "Hello" } });
const COMPLETED = event({ case: "completed", value: { response: { message: { content: "Hello" } } } });

after(async () => {
  await Promise.all(fakes.map((fake) => fake.stop()));
});

async function kept(making: Promise<Fake>): Promise<LoomClient> {
  const fake = await making;
  fakes.push(fake);
  return new LoomClient(fake.target, { timeoutMs: 20_000 });
}

function answering(answer: Answer): Promise<LoomClient> {
  return kept(grpcServer(answer));
}

async function failure(waiting: Promise<unknown>): Promise<LoomError> {
  const error = await waiting.then(
    () => assert.fail("the call did not fail"),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof LoomError, String(error));
  return error;
}

async function kinds(events: AsyncIterable<LlmEvent>): Promise<string[]> {
  const seen = [];
  for await (const { event } of events) {
    seen.push(event.case ?? "unknown");
  }
  return seen;
}

async function told(client: LoomClient): Promise<[string[], LoomError]> {
  const seen: string[] = [];
  const error = await failure(
    (async () => {
      for await (const { event } of client.stream("Hello")) {
        seen.push(event.case ?? "unknown");
      }
    })(),
  );
  return [seen, error];
}

function whole({ reason, message, retryAfterMs, metadata }: LoomError): object {
  return { reason, message, retryAfterMs, metadata };
}

describe("a connection that is not there", () => {
  test("a port where nobody listens is an error at once", async () => {
    const target = await freeTarget();
    const error = await failure(new LoomClient(target).complete("Hello"));

    assert.deepEqual(whole(error), {
      reason: "PROVIDER_UNAVAILABLE",
      message: `There is no connection to the server at ${target} (connect ECONNREFUSED ${target}).`,
      retryAfterMs: undefined,
      metadata: { target, grpc_code: "UNAVAILABLE" },
    });
  });

  for (const status of [200, 502]) {
    test(`a proxy that answers HTML over HTTP/1.1 with ${status} is an error each time`, async () => {
      const client = await kept(pageServer(status));
      const errors = [
        await failure(client.complete("Hello")),
        (await told(client))[1],
        await failure(client.listModels()),
      ];

      const { target } = client;
      assert.deepEqual(
        errors.map(({ reason, metadata }) => [reason, metadata]),
        Array(3).fill(["PROVIDER_UNAVAILABLE", { target, grpc_code: "UNAVAILABLE" }]),
      );
    });
  }

  test("a server that speaks no TLS is an error to a client that does", async () => {
    const { target } = await kept(grpcServer((stream) => respond(stream, [], OK)));
    const error = await failure(new LoomClient(target, { tls: true }).complete("Hello"));

    assert.deepEqual([error.reason, error.metadata], ["PROVIDER_UNAVAILABLE", { target, grpc_code: "UNAVAILABLE" }]);
    assert.match(error.message, /wrong version number|packet length/);
  });

  test("a server that is silent in TLS is given up", async () => {
    const { target } = await kept(silentServer());
    const connection = new Connection(
      `https://${target}`,
      {},
      { connectMs: 50, pingAfterMs: 20_000, pingTimeoutMs: 20_000 },
    );

    await assert.rejects(connection.request("POST", "/", {}, {}), {
      message: "no connection within 0.05 s",
      code: "ETIMEDOUT",
    });
  });

  test("a server that answers no ping is given up", async () => {
    const { target } = await kept(silentServer());
    const connection = new Connection(
      `http://${target}`,
      {},
      { connectMs: 20_000, pingAfterMs: 20, pingTimeoutMs: 30 },
    );
    const stream = await connection.request("POST", "/", {}, {});
    const error = await new Promise((resolve) => stream.once("error", resolve));

    assert.match(String(error), /no answer to a ping within 0.03 s/);
  });

  test("calls that come all at once after a silence ask by one ping, and share the connection", async () => {
    const sessions = new Set<unknown>();
    const { target } = await kept(
      grpcServer((stream) => {
        sessions.add(stream.session);
        respond(stream, [], OK);
      }),
    );
    const connection = new Connection(
      `http://${target}`,
      {},
      { connectMs: 20_000, pingAfterMs: 0, pingTimeoutMs: 20_000 },
    );
    const call = async () => {
      const stream = await connection.request("POST", "/", {}, {});
      await once(stream.end().resume(), "close");
    };
    await call();
    await Promise.all(Array.from({ length: 30 }, call));
    connection.close();

    assert.equal(sessions.size, 1);
  });

  test("a deadline ends a call to a server that is silent", async () => {
    const client = await kept(silentServer());
    const error = await failure(client.complete("Hello", { timeoutMs: 50 }));

    assert.deepEqual(whole(error), {
      reason: "PROVIDER_TIMEOUT",
      message: "The answer did not come within the time limit.",
      retryAfterMs: undefined,
      metadata: { target: client.target, grpc_code: "DEADLINE_EXCEEDED" },
    });
  });
});

describe("a server that goes away", () => {
  test("in mid-stream is an error, and the client finds it when it is back", async () => {
    const server = await serve({}, await freeTarget());
    const client = new LoomClient(server.target);
    const stream = client.stream({ prompt: "Hello", provider: "mock", model: "mock-slow" });
    const seen: LlmEvent[] = [];
    const error = await failure(
      (async () => {
        for await (const event of stream) {
          seen.push(event);
          server.process.kill("SIGKILL");
        }
      })(),
    );

    assert.deepEqual(
      [error.reason, error.metadata],
      ["PROVIDER_UNAVAILABLE", { target: server.target, grpc_code: "UNAVAILABLE" }],
    );
    assert.ok(seen.length > 0);
    await server.stop();

    assert.equal((await failure(client.complete("Hello"))).reason, "PROVIDER_UNAVAILABLE");
    const back = await serve({}, server.target);
    const answer = await client.complete("Hello");
    await back.stop();

    assert.equal(answer.provider, "mock");
  });

  for (const [name, code, reason, grpcCode] of [
    ["CANCEL", 8, "PROVIDER_UNAVAILABLE", "CANCELLED"],
    ["INTERNAL_ERROR", 2, "INTERNAL", "INTERNAL"],
    ["NO_ERROR", 0, "INTERNAL", "INTERNAL"],
  ] as const) {
    test(`with ${name} in mid-stream is ${reason}`, async () => {
      const client = await answering((stream) => {
        stream.respond(GRPC_HEADERS);
        stream.write(WORD, () => stream.close(code));
      });
      const [, error] = await told(client);

      assert.deepEqual([error.reason, error.metadata], [reason, { target: client.target, grpc_code: grpcCode }]);
    });
  }

  test("in good order lets a stream come to its end, and further calls go elsewhere", async () => {
    const streams: ServerHttp2Stream[] = [];
    const sessions: unknown[] = [];
    const client = await answering((stream) => {
      streams.push(stream);
      sessions.push(stream.session);
      stream.respond(GRPC_HEADERS, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers(OK));
      stream.session?.goaway();
      stream.write(STARTED);
    });
    const [first, second] = [client.stream("Hello"), client.stream("Hello")];
    await Promise.all([first.next(), second.next()]);
    const third = client.stream("Hello");
    await third.next();
    const ends = [first, second, third].map((stream) => kinds(stream));
    for (const stream of streams) {
      stream.end(COMPLETED);
    }

    assert.deepEqual(await Promise.all(ends), [["completed"], ["completed"], ["completed"]]);
    assert.notEqual(sessions[0], sessions[2]);
  });

  test("before it has begun to answer is PROVIDER_UNAVAILABLE", async () => {
    const client = await answering((stream) => stream.close(7)); // REFUSED_STREAM
    const error = await failure(client.complete("Hello"));

    assert.deepEqual(
      [error.reason, error.metadata],
      ["PROVIDER_UNAVAILABLE", { target: client.target, grpc_code: "UNAVAILABLE" }],
    );
  });

  test("with the connection, in mid-frame, is an error", async () => {
    const client = await answering((stream) => {
      stream.respond(GRPC_HEADERS);
      stream.write(Buffer.concat([STARTED, WORD.subarray(0, 7)]), () => stream.session?.destroy());
    });
    const [seen, error] = await told(client);

    assert.deepEqual([seen, error.reason], [["started"], "PROVIDER_UNAVAILABLE"]);
  });
});

describe("an answer that is none", () => {
  for (const [status, reason, grpcCode] of [
    ["200", "INTERNAL", "UNKNOWN"],
    ["401", "UNAUTHENTICATED", "UNAUTHENTICATED"],
    ["403", "PERMISSION_DENIED", "PERMISSION_DENIED"],
    ["404", "INTERNAL", "UNIMPLEMENTED"],
    ["502", "PROVIDER_UNAVAILABLE", "UNAVAILABLE"],
  ] as const) {
    test(`a page of status ${status} is ${reason}`, async () => {
      const client = await answering((stream) => {
        stream.respond({ ":status": status, "content-type": "text/html" });
        stream.end(PAGE);
      });
      const [, error] = await told(client);

      assert.deepEqual([error.reason, error.metadata], [reason, { target: client.target, grpc_code: grpcCode }]);
    });
  }

  test("a stream that ends well without `completed` is PROVIDER_BAD_RESPONSE", async () => {
    const [seen, error] = await told(await answering((stream) => respond(stream, [STARTED, WORD], OK)));

    assert.deepEqual(
      [seen, whole(error)],
      [
        ["started", "textDelta"],
        {
          reason: "PROVIDER_BAD_RESPONSE",
          message: "The server's answer ended without being complete.",
          retryAfterMs: undefined,
          metadata: {},
        },
      ],
    );
  });

  test("what comes after the last event is not waited for", async () => {
    const failed = event({ case: "error", value: { reason: 15, message: "Round and round." } });
    const endless = (last: Uint8Array): Promise<LoomClient> =>
      answering((stream) => {
        stream.respond(GRPC_HEADERS);
        stream.write(Buffer.concat([STARTED, last, WORD, COMPLETED]));
      });
    const stream = (await endless(COMPLETED)).stream("Hello");
    const [seen, [, error]] = await Promise.all([kinds(stream), told(await endless(failed))]);

    assert.deepEqual([seen, stream.response?.message?.content], [["started", "completed"], "Hello"]);
    assert.deepEqual([error.reason, error.message, error.metadata], ["LOOP_DETECTED", "Round and round.", {}]);
  });

  test("bytes that are no message are an error", async () => {
    const [seen, error] = await told(
      await answering((stream) => respond(stream, [frame(Buffer.from([0xff, 0xff]))], OK)),
    );

    assert.deepEqual([seen, error.reason], [[], "INTERNAL"]);
  });

  test("half a message is an error", async () => {
    const [seen, error] = await told(await answering((stream) => respond(stream, [STARTED, WORD.subarray(0, 7)], OK)));

    assert.deepEqual([seen, error.reason], [["started"], "INTERNAL"]);
  });

  test("a message of more than 64 MiB is INVALID_REQUEST before it has arrived", async () => {
    const prefix = Buffer.from([0, 0x04, 0, 0, 0x01]);
    const [, error] = await told(await answering((stream) => respond(stream, [prefix], OK)));

    assert.equal(error.reason, "INVALID_REQUEST");
    assert.match(error.message, /^A message or its metadata is too large/);
  });
});

describe("a server of another version", () => {
  test("events and fields of an unknown kind are handed on", async () => {
    const unknownEvent = frame(Buffer.from([0xf2, 0x3f, 3, 10, 1, 65])); // field 1022, a message
    const unknownField = frame(Buffer.from([0x0a, 4, 0x20, 1, 0x78, 9])); // `started` with a field 15
    const client = await answering((stream) => respond(stream, [unknownField, unknownEvent, COMPLETED], OK));

    assert.deepEqual(await kinds(client.stream("Hello")), ["started", "unknown", "completed"]);
  });

  test("an unknown stop reason is its number", async () => {
    const response = toBinary(LlmResponseSchema, create(LlmResponseSchema, { stopReason: 77 as never }));
    const client = await answering((stream) => respond(stream, [frame(response)], OK));

    assert.equal((await client.complete("Hello")).stopReason, 77);
  });

  test("an `error` event with an unknown reason is INTERNAL, with all else that it says", async () => {
    const client = await answering((stream) =>
      respond(
        stream,
        [
          event({
            case: "error",
            value: {
              reason: 4711 as never,
              message: "Something new.",
              retryAfter: create(DurationSchema, { seconds: 1n, nanos: 500_000_000 }),
              partial: { message: { content: "Hel" } },
            },
          }),
        ],
        OK,
      ),
    );
    const [seen, error] = await told(client);

    assert.deepEqual(
      [seen, whole(error), error.partial?.message?.content],
      [[], { reason: "INTERNAL", message: "Something new.", retryAfterMs: 1500, metadata: {} }, "Hel"],
    );
  });

  test("an error whose reason is unknown is read by its status", async () => {
    // google.rpc.Status with an ErrorInfo of reason FROM_THE_FUTURE and domain loom-grpc
    const info = Buffer.concat([
      Buffer.from([10, 15]),
      Buffer.from("FROM_THE_FUTURE"),
      Buffer.from([18, 9]),
      Buffer.from("loom-grpc"),
    ]);
    const type = Buffer.from("type.googleapis.com/google.rpc.ErrorInfo");
    const any = Buffer.concat([Buffer.from([10, type.length]), type, Buffer.from([18, info.length]), info]);
    const status = Buffer.concat([Buffer.from([8, 8, 18, 3]), Buffer.from("new"), Buffer.from([26, any.length]), any]);
    const client = await answering((stream) =>
      respond(stream, [], {
        "grpc-status": "8",
        "grpc-message": "new",
        "grpc-status-details-bin": status.toString("base64"),
      }),
    );
    const error = await failure(client.complete("Hello"));

    assert.deepEqual(
      [error.reason, error.message, error.metadata],
      [
        "RATE_LIMITED",
        `The server at ${client.target} refused the call (new).`,
        { target: client.target, grpc_code: "RESOURCE_EXHAUSTED" },
      ],
    );
  });

  test("details that are no details are passed over", async () => {
    const client = await answering((stream) =>
      respond(stream, [], { "grpc-status": "14", "grpc-message": "gone", "grpc-status-details-bin": "/////w" }),
    );

    assert.equal((await failure(client.complete("Hello"))).reason, "PROVIDER_UNAVAILABLE");
  });
});
