/** The programs beside the package: the chat and the conformance runner, as processes of their own. */

import assert from "node:assert/strict";
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { LlmEventSchema, LlmRequestSchema, LlmResponseSchema } from "loom-grpc/v1";
import { type Server, serve } from "./server.js";

let server: Server;

before(async () => {
  server = await serve();
});

after(() => server.stop());

test("the chat streams, stops an answer, says why one failed, and remembers", async () => {
  const chat = new Program("build/examples/chat.js", "--target", server.target, "--model", "mock/mock-slow");
  await chat.until("> ");
  chat.write("Hello\n");
  await chat.until("Hello! ");
  chat.child.kill("SIGINT");
  await chat.until("(stopped)");
  chat.child.stdin.end();

  assert.deepEqual(await chat.end(), [0, null]);

  const words = new Program(
    "build/examples/chat.js",
    "--target",
    server.target,
    "--provider",
    "mock",
    "--model",
    "mock-echo",
  );
  words.write("first\n\nsecond\n");
  await words.until("first\n> > second\n> ");
  words.child.kill("SIGINT");

  assert.deepEqual(await words.end(), [0, null]);

  const wrong = new Program("build/examples/chat.js", "--target", server.target, "--model", "none");
  wrong.write("Hello\n");
  await wrong.until("MODEL_NOT_FOUND: ");
  wrong.child.stdin.end();

  assert.deepEqual(await wrong.end(), [0, null]);
});

for (const [client, address] of [
  ["loom-grpc", () => server.target],
  ["loom-grpc/web", () => server.httpUrl],
] as const) {
  test(`a stream of ${client} that is left early does not keep the process running`, async () => {
    const program = new Program("--input-type=module", "--eval", LEAVING, client, address());

    assert.deepEqual(await program.end(), [0, null]);
  });
}

test("the conformance runner answers line by line", async () => {
  const runner = new Program("build/runner/conformance.js");
  const request = Buffer.from(
    toBinary(
      LlmRequestSchema,
      create(LlmRequestSchema, { model: "mock/mock-echo", messages: [{ role: 2, content: "Hello" }] }),
    ),
  ).toString("base64");
  const common = { target: server.target, tls: null, api_key: null, metadata: {}, timeout_ms: 600_000, request };
  const asked = [
    { ...common, name: "one", method: "complete" },
    { ...common, name: "two", method: "stream" },
    { ...common, name: "three", method: "stream", cancel_after_events: 1 },
    { ...common, name: "four", method: "dance" },
  ];
  const answers = [];
  for (const line of asked) {
    runner.write(`${JSON.stringify(line)}\n`);
    await runner.until(`"${line.name}"`, "\n");
    answers.push(JSON.parse(runner.seen.trim().split("\n").at(-1) ?? ""));
  }
  runner.child.stdin.end();

  assert.deepEqual(await runner.end(), [0, null]);
  const [one, two, three, four] = answers;
  assert.equal(fromBinary(LlmResponseSchema, Buffer.from(one.response, "base64")).message?.content, "Hello");
  const kinds = two.events.map((event: string) => fromBinary(LlmEventSchema, Buffer.from(event, "base64")).event.case);
  assert.deepEqual([kinds[0], kinds.at(-1), two.response], ["started", "completed", two.response]);
  assert.equal(two.trailers["loom-provider"], "mock");
  assert.deepEqual([three.events.length, three.cancelled, three.response, three.error], [1, true, null, null]);
  assert.deepEqual(four, { name: "four", failed: "TypeError: METHODS[test.method] is not a function" });
});

test("the chat says in a line what is wrong with its command line", async () => {
  for (const [option, line] of [
    ["--none", "Unknown option '--none'\n"],
    ["--target=http://x", 'target: "http://x" is neither host:port nor unix:path\n'],
  ] as const) {
    const chat = new Program("build/examples/chat.js", option);
    const told = await text(chat.child.stderr);

    assert.deepEqual([await chat.end(), told], [[2, null], line]);
  }
});

const LEAVING = `
  const [, client, address] = process.argv;
  const { LoomClient } = await import(client);
  const loom = new LoomClient(address, { timeoutMs: 600_000 });
  for await (const _ of loom.stream("Hello")) break;
  const stream = loom.stream("Hello");
  while (stream.response === undefined) await stream.next();
`;

class Program {
  readonly child: ChildProcessWithoutNullStreams;
  seen = "";

  constructor(...command: string[]) {
    this.child = spawn(process.execPath, command, { cwd: fileURLToPath(new URL("../..", import.meta.url)) });
    this.child.stdout.setEncoding("utf8").on("data", (text: string) => {
      this.seen += text;
    });
  }

  write(text: string): void {
    this.child.stdin.write(text);
  }

  /** Waits until a text has been printed, and after it another one. */
  async until(text: string, then = ""): Promise<void> {
    while (!this.seen.includes(then, this.seen.indexOf(text) + 1) || !this.seen.includes(text)) {
      await once(this.child.stdout, "data");
    }
  }

  /** Waits for the end and returns the exit code and the signal. */
  async end(): Promise<unknown[]> {
    return this.child.exitCode === null ? once(this.child, "exit") : [this.child.exitCode, this.child.signalCode];
  }
}
