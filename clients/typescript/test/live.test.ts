/** The client and the real server. */

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { inspect } from "node:util";
import { createClient } from "@connectrpc/connect";
import {
  image,
  type LlmEvent,
  LoomClient,
  LoomError,
  loomError,
  type Message,
  StopReason,
  tool,
  toolResult,
  user,
} from "loom-grpc";
import { AdminService } from "loom-grpc/v1";
import { makeCertificate, type Server, serve } from "./server.js";

const WORDS = /^Hello! I am the mock provider/;
const SLOW = { prompt: "Hello", provider: "mock", model: "mock-slow" };

async function failure(waiting: Promise<unknown>): Promise<unknown> {
  return waiting.then(
    () => assert.fail("the call did not fail"),
    (reason: unknown) => reason,
  );
}

async function all(events: AsyncIterable<LlmEvent>): Promise<LlmEvent[]> {
  const seen = [];
  for await (const event of events) {
    seen.push(event);
  }
  return seen;
}

describe("a server that lets everyone in", { concurrency: 4 }, () => {
  let server: Server;
  let loom: LoomClient;

  before(async () => {
    server = await serve();
    loom = new LoomClient(server.target);
  });

  after(async () => {
    loom.close();
    await server.stop();
  });

  test("answers a prompt", async () => {
    let trailers: Record<string, string> = {};
    const answer = await loom.complete("Hello", {
      onTrailers: (given) => {
        trailers = given;
      },
    });

    assert.match(answer.message?.content ?? "", WORDS);
    assert.equal(answer.stopReason, StopReason.STOP);
    assert.equal(trailers["loom-provider"], "mock");
    assert.match(trailers["loom-request-id"] ?? "", /^[0-9a-f]{32}$/);
  });

  test("streams the same answer, word by word", async () => {
    const stream = loom.stream({ prompt: "Hello", provider: "mock" });
    const events = await all(stream);
    const kinds = events.map(({ event }) => event.case);
    const text = events.map(({ event }) => (event.case === "textDelta" ? event.value.content : "")).join("");

    assert.equal(kinds[0], "started");
    assert.equal(kinds.at(-1), "completed");
    assert.deepEqual(new Set(kinds.slice(1, -1)), new Set(["textDelta"]));
    assert.equal(stream.response?.message?.content, text);
    assert.match(text, WORDS);
    assert.equal((await stream.trailers())["loom-model"], "mock-words");
    assert.deepEqual(await stream.headers(), {});
    assert.deepEqual(await stream.next(), { done: true, value: undefined });
  });

  test("keeps a conversation with tools", async () => {
    const tools = [
      tool("get_weather", "Tells the weather", { type: "object", properties: { city: { type: "string" } } }),
    ];
    const messages: Message[] = [user("call get_weather")];
    const asked = await loom.complete({ messages, tools, provider: "mock" });
    assert.ok(asked.message);
    messages.push(asked.message, ...asked.toolCalls.map((call) => toolResult(call, "3 °C")));
    const answer = await loom.complete({ messages, tools, provider: "mock" });

    assert.deepEqual(
      asked.toolCalls.map(({ toolName }) => toolName),
      ["get_weather"],
    );
    assert.match(answer.message?.content ?? "", /3 °C/);
  });

  test("takes system instructions, parts and every sign", async () => {
    const text = 'žluťoučký 🦊 "quoted"\n\u0000 日本語';
    const echo = { provider: "mock", model: "mock-echo" };
    const answer = await loom.complete({ ...echo, system: "Be brief.", messages: [user(text)] });
    const looked = await loom.complete({ ...echo, messages: [user("Look:", image(new Uint8Array([1]), "image/png"))] });

    assert.equal(answer.message?.content, text);
    assert.match(looked.message?.content ?? "", /^Look:/);
  });

  test("carries megabytes there and back", async () => {
    const text = "0123456789abcdef".repeat(2 ** 18);
    const answer = await loom.complete({ prompt: text, provider: "mock", model: "mock-echo" });

    assert.equal(answer.message?.content, text);
  });

  test("refuses to send more than 64 MiB", async () => {
    const error = await failure(loom.complete("x".repeat(64 * 2 ** 20)));

    assert.ok(error instanceof LoomError);
    assert.equal(error.reason, "INVALID_REQUEST");
    assert.match(error.message, /^A message or its metadata is too large/);
  });

  test("counts, embeds and lists", async () => {
    const counted = await loom.countTokens({ prompt: "one two three", provider: "mock" });
    const embedded = await loom.embed({
      model: "mock/mock-embed",
      inputs: ["a", "b", "a"].map((value) => ({ kind: { case: "text", value } })),
    });
    const [a, b, again] = embedded.embeddings.map(({ values }) => values);
    const models = await loom.listModels("mock");

    assert.ok(counted.inputTokens >= 3n);
    assert.deepEqual(a, again);
    assert.notDeepEqual(a, b);
    assert.ok(models.some(({ id, isDefault }) => id === "mock-words" && isDefault));
  });

  test("tells why and for how long a provider refuses", async () => {
    const stream = loom.stream({ prompt: "Hello", provider: "mock", model: "mock-429" });
    const errors = await Promise.all([
      failure(all(stream)),
      failure(loom.complete({ prompt: "Hello", model: "mock/mock-429" })),
    ]);

    for (const error of errors) {
      assert.ok(error instanceof LoomError);
      const { request_id, ...metadata } = error.metadata;
      assert.deepEqual(
        [error.name, error.reason, error.reasonNumber, error.retryAfterMs, metadata],
        [
          "LoomError",
          "PROVIDER_RATE_LIMITED",
          9,
          1000,
          { provider_status: "429", provider_code: "rate_limit_exceeded" },
        ],
      );
      assert.match(request_id ?? "", /^[0-9a-f]{32}$/);
    }
    assert.equal((await stream.trailers())["loom-attempts"], "3");
  });

  test("hands out what had arrived before an answer broke off", async () => {
    const seen: (string | undefined)[] = [];
    const error = await failure(
      (async () => {
        for await (const { event } of loom.stream({ prompt: "Hello", provider: "mock", model: "mock-cut" })) {
          seen.push(event.case);
        }
      })(),
    );

    assert.ok(error instanceof LoomError);
    assert.equal(error.reason, "PROVIDER_UNAVAILABLE");
    assert.match(error.partial?.message?.content ?? "", /^Hello!/);
    assert.match(error.metadata["request_id"] ?? "", /^[0-9a-f]{32}$/);
    assert.ok(seen.length > 1 && !seen.includes("error"));
  });

  test("holds a call to its deadline", async () => {
    const errors = [
      await failure(loom.complete(SLOW, { timeoutMs: 100 })),
      await failure(all(new LoomClient(server.target, { timeoutMs: 100 }).stream(SLOW))),
    ];

    for (const error of errors) {
      assert.ok(error instanceof LoomError);
      assert.equal(error.reason, "PROVIDER_TIMEOUT");
    }
  });

  test("takes time limits of any size, and parts of milliseconds", async () => {
    const words = [];
    for (const timeoutMs of [59_999.5, 2 ** 31, Number.POSITIVE_INFINITY, 0]) {
      const loom = new LoomClient(server.target, { timeoutMs });
      words.push((await loom.complete("Hello")).message?.content);
      words.push((await loom.complete("Hello", { timeoutMs })).message?.content);
    }
    const late = await failure(loom.complete("Hello", { timeoutMs: -1 }));
    const none = await failure(loom.complete("Hello", { timeoutMs: Number.NaN }));

    assert.deepEqual(new Set(words), new Set([words[0]]));
    assert.match(words[0] ?? "", WORDS);
    assert.equal(late instanceof LoomError && late.reason, "PROVIDER_TIMEOUT");
    assert.ok(none instanceof TypeError);
  });

  test("ends a stream without an error where the loop is left, and where it is cancelled", async () => {
    const left = loom.stream(SLOW);
    for await (const _ of left) {
      break;
    }
    const cancelled = loom.stream(SLOW);
    const kinds = [];
    for await (const { event } of cancelled) {
      kinds.push(event.case);
      cancelled.cancel();
    }

    assert.deepEqual(kinds, ["started"]);
    const unread = loom.stream(SLOW);
    const headers = unread.headers();
    unread.cancel();

    assert.deepEqual([await headers, await unread.headers()], [{}, {}]);
    for (const stream of [left, cancelled, unread]) {
      assert.deepEqual([stream.response, await stream.trailers()], [undefined, {}]);
    }
  });

  test("has the trailers for a loop that is still at the last event", async () => {
    const stream = loom.stream("Hello");
    const told = [];
    for await (const { event } of stream) {
      if (event.case === "completed") {
        told.push((await stream.trailers())["loom-model"]);
      }
    }

    assert.deepEqual(told, ["mock-words"]);
  });

  test("lets a stream come to its end where the loop is left with the whole answer", async () => {
    const stream = loom.stream("Hello", { timeoutMs: 600_000 });
    for await (const { event } of stream) {
      if (event.case === "completed") {
        break;
      }
    }

    assert.equal((await stream.trailers())["loom-model"], "mock-words");
    assert.deepEqual(await stream.next(), { done: true, value: undefined });
  });

  test("fails a call with the reason of the signal that cancels it", async () => {
    const reason = new Error("changed my mind");
    const before = AbortSignal.abort(reason);
    const late = new AbortController();
    const waiting = [
      failure(loom.complete(SLOW, { signal: late.signal })),
      failure(all(loom.stream(SLOW, { signal: late.signal }))),
    ];
    const stream = loom.stream(SLOW, { signal: late.signal });
    await stream.next();
    late.abort(reason);

    assert.deepEqual(
      [
        await failure(loom.complete(SLOW, { signal: before })),
        await failure(all(loom.stream(SLOW, { signal: before }))),
        ...(await Promise.all(waiting)),
        await failure(stream.next()),
      ],
      Array(5).fill(reason),
    );
  });

  test("is told at once that a call is cancelled", async () => {
    const lines: string[] = [];
    const told = new Promise<void>((resolve) => {
      server.process.stderr?.on("data", (text: string) => {
        lines.push(text);
        if (text.includes("CANCELLED") && text.includes("mock-slow")) {
          resolve();
        }
      });
    });
    const stream = loom.stream(SLOW, { metadata: { "x-request-id": "cancelled-1" } });
    await stream.next();
    stream.cancel();

    await told;
  });

  test("fails the calls in flight when the client is closed, and takes further ones", async () => {
    const client = new LoomClient(server.target);
    const waiting = [failure(client.complete(SLOW)), failure(all(client.stream(SLOW)))];
    const unread = client.stream(SLOW);
    await client.countTokens("Hello");
    client.close();

    for (const error of await Promise.all(waiting)) {
      assert.ok(error instanceof DOMException);
      assert.deepEqual([error.name, error.message], ["AbortError", "The client was closed."]);
    }
    assert.deepEqual(await unread.trailers(), {});
    assert.match((await client.complete("Hello")).message?.content ?? "", WORDS);
    client.close();
  });

  test("answers many calls over one connection", async () => {
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, n) => loom.complete({ prompt: `${n}`, model: "mock/mock-echo" })),
    );

    assert.deepEqual(
      answers.map(({ message }) => message?.content),
      Array.from({ length: 200 }, (_, n) => `${n}`),
    );
  });
});

describe("a server that wants keys", () => {
  const adminKey = randomBytes(24).toString("base64url");
  let server: Server;

  before(async () => {
    server = await serve({ LOOM_ACCESS__ENABLED: "true", LOOM_ADMIN__API_KEY: adminKey });
  });

  after(() => server.stop());

  test("takes one that its administrator has made, by AdminService on the same connection", async () => {
    const admin = createClient(AdminService, new LoomClient(server.target, { apiKey: adminKey }).transport);
    await admin.createUser({ user: { id: "ada" } });
    const { secret } = await admin.createKey({ key: { user: "ada" } });
    const answer = await new LoomClient(server.target, { apiKey: secret }).complete("Hello");
    const refused = createClient(AdminService, new LoomClient(server.target, { apiKey: secret }).transport);
    const error = loomError(await failure(refused.listUsers({})), server.target);

    assert.match(answer.message?.content ?? "", WORDS);
    assert.equal(error.reason, "PERMISSION_DENIED");
  });

  test("refuses a wrong one, which shows nowhere", async () => {
    const apiKey = "lk_not-a-key-0123456789";
    const loom = new LoomClient(server.target, { apiKey });
    const error = await failure(loom.complete("Hello"));
    const bare = await failure(new LoomClient(server.target).complete("Hello"));

    assert.ok(error instanceof LoomError && bare instanceof LoomError);
    assert.deepEqual([error.reason, bare.reason], ["UNAUTHENTICATED", "UNAUTHENTICATED"]);
    for (const thing of [loom, error, loom.stream("Hello")]) {
      assert.ok(!inspect(thing, { depth: Number.POSITIVE_INFINITY, showHidden: true }).includes(apiKey));
    }
  });
});

test("a server at a socket of this machine answers", async () => {
  const folder = mkdtempSync(join(tmpdir(), "loom-grpc-"));
  const server = await serve({}, `unix:${folder}/socket`);
  const loom = new LoomClient(`unix:${folder}/socket`);
  const answer = await loom.complete("Hello");
  await server.stop();
  const error = await failure(loom.complete("Hello"));
  rmSync(folder, { recursive: true });

  assert.match(answer.message?.content ?? "", WORDS);
  assert.ok(error instanceof LoomError);
  assert.equal(error.reason, "PROVIDER_UNAVAILABLE");
});

test("TLS is by the given authority alone, and by the caller's certificate where the server wants one", async () => {
  const { folder, ca, cert, key } = makeCertificate();
  const server = await serve({
    LOOM_GRPC__TLS__CERT_FILE: `${folder}/server.pem`,
    LOOM_GRPC__TLS__KEY_FILE: `${folder}/server.key`,
    LOOM_GRPC__TLS__CLIENT_CA_FILE: `${folder}/client.pem`,
  });
  const answer = await new LoomClient(server.target, { tls: { ca, cert, key } }).complete("Hello");
  const stranger = await failure(new LoomClient(server.target, { tls: true }).complete("Hello"));
  const nobody = await failure(new LoomClient(server.target, { tls: { ca } }).complete("Hello"));
  const clear = await failure(new LoomClient(server.target).complete("Hello"));
  await server.stop();
  rmSync(folder, { recursive: true });

  assert.match(answer.message?.content ?? "", WORDS);
  for (const error of [stranger, nobody, clear]) {
    assert.ok(error instanceof LoomError);
    assert.equal(error.reason, "PROVIDER_UNAVAILABLE");
  }
});
