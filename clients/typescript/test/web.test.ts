/** The client that uses `fetch`, over both of its protocols. What browsers make of it is tested in browsers. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { LoomClient, LoomError } from "loom-grpc/web";
import { pageServer } from "./fake.js";
import { freeTarget, type Server, serve } from "./server.js";

const SLOW = { prompt: "Hello", provider: "mock", model: "mock-slow" };

async function failure(waiting: Promise<unknown>): Promise<unknown> {
  return waiting.then(
    () => assert.fail("the call did not fail"),
    (reason: unknown) => reason,
  );
}

async function kinds(stream: ReturnType<LoomClient["stream"]>): Promise<(string | undefined)[]> {
  const seen = [];
  for await (const { event } of stream) {
    seen.push(event.case);
  }
  return seen;
}

let server: Server;

before(async () => {
  server = await serve();
});

after(() => server.stop());

for (const protocol of ["connect", "grpc-web"] as const) {
  describe(`a server by ${protocol}`, { concurrency: 4 }, () => {
    let loom: LoomClient;

    before(() => {
      loom = new LoomClient(server.httpUrl, { protocol });
    });

    test("answers, streams, counts and lists", async () => {
      const trailers: Record<string, string>[] = [];
      const answer = await loom.complete("Hello", { onTrailers: (given) => trailers.push(given) });
      const stream = loom.stream("Hello");
      const seen = await kinds(stream);
      trailers.push(await stream.trailers());

      assert.match(answer.message?.content ?? "", /^Hello! I am the mock provider/);
      assert.deepEqual(stream.response?.message, answer.message);
      assert.deepEqual(
        [seen[0], seen.at(-1), new Set(seen.slice(1, -1))],
        ["started", "completed", new Set(["textDelta"])],
      );
      assert.deepEqual(
        trailers.map((given) => [given["loom-provider"], given["loom-attempts"]]),
        [
          ["mock", "1"],
          ["mock", "1"],
        ],
      );
      assert.ok((await loom.countTokens("Hello")).inputTokens > 0n);
      assert.ok((await loom.listModels()).length > 10);
    });

    test("tells why and for how long a provider refuses", async () => {
      const refused = { prompt: "Hello", provider: "mock", model: "mock-429" };
      const errors = await Promise.all([failure(loom.complete(refused)), failure(kinds(loom.stream(refused)))]);

      for (const error of errors) {
        assert.ok(error instanceof LoomError);
        const { request_id, ...metadata } = error.metadata;
        assert.deepEqual(
          [error.reason, error.retryAfterMs, metadata],
          ["PROVIDER_RATE_LIMITED", 1000, { provider_status: "429", provider_code: "rate_limit_exceeded" }],
        );
        assert.match(request_id ?? "", /^[0-9a-f]{32}$/);
      }
    });

    test("hands out what had arrived before an answer broke off", async () => {
      const error = await failure(kinds(loom.stream({ prompt: "Hello", provider: "mock", model: "mock-cut" })));

      assert.ok(error instanceof LoomError);
      assert.equal(error.reason, "PROVIDER_UNAVAILABLE");
      assert.match(error.partial?.message?.content ?? "", /^Hello!/);
    });

    test("is held to a deadline and to a signal", async () => {
      const reason = new Error("changed my mind");
      const controller = new AbortController();
      const waiting = failure(loom.complete(SLOW, { signal: controller.signal }));
      const late = await failure(kinds(loom.stream(SLOW, { timeoutMs: 100 })));
      controller.abort(reason);

      assert.ok(late instanceof LoomError);
      assert.equal(late.reason, "PROVIDER_TIMEOUT");
      assert.equal(await waiting, reason);
    });

    test("takes time limits of any size, and parts of milliseconds", async () => {
      for (const timeoutMs of [59_999.5, 2 ** 31, Number.POSITIVE_INFINITY, 0]) {
        assert.equal((await loom.complete("Hello", { timeoutMs })).provider, "mock");
      }
    });

    test("in its place, nobody is an error at once", async () => {
      const url = `http://${await freeTarget()}`;
      const error = await failure(new LoomClient(url, { protocol }).complete("Hello"));

      assert.ok(error instanceof LoomError);
      assert.deepEqual(
        [error.reason, error.metadata],
        ["PROVIDER_UNAVAILABLE", { target: url, grpc_code: "UNAVAILABLE" }],
      );
    });

    for (const [status, reason] of [
      [200, "INTERNAL"],
      [403, "PERMISSION_DENIED"],
      [502, "PROVIDER_UNAVAILABLE"],
    ] as const) {
      test(`in its place, a page of status ${status} is ${reason}`, async () => {
        const fake = await pageServer(status);
        const loom = new LoomClient(`http://${fake.target}`, { protocol });
        const errors = [await failure(loom.complete("Hello")), await failure(kinds(loom.stream("Hello")))];
        await fake.stop();

        assert.deepEqual(
          errors.map((error) => error instanceof LoomError && error.reason),
          [reason, reason],
        );
      });
    }
  });
}
