/** What is made, and what is refused, before anything is sent. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { create, equals } from "@bufbuild/protobuf";
import { assistant, document, image, LoomClient, system, tool, toolResult, user } from "loom-grpc";
import { MessageSchema, PartSchema, Role, ToolCallSchema, ToolDefinitionSchema } from "loom-grpc/v1";
import * as web from "loom-grpc/web";
import { VERSION } from "#dist/version.js";

const PIXEL = new Uint8Array([1, 2]);

test("messages are written in short", () => {
  const call = create(ToolCallSchema, { id: "c1", toolName: "weather" });
  const made = [
    system("Be brief."),
    user("Hello"),
    user("Look:", image(PIXEL, "image/png"), image("https://example.com/a.png")),
    assistant("Hi"),
    toolResult(call, "3 °C"),
    toolResult(call, "no such city", { isError: true }),
  ];
  const meant = [
    { role: Role.SYSTEM, content: "Be brief." },
    { role: Role.USER, content: "Hello" },
    {
      role: Role.USER,
      parts: [
        { kind: { case: "text" as const, value: "Look:" } },
        {
          kind: {
            case: "image" as const,
            value: { source: { case: "data" as const, value: PIXEL }, mediaType: "image/png" },
          },
        },
        {
          kind: {
            case: "image" as const,
            value: { source: { case: "url" as const, value: "https://example.com/a.png" } },
          },
        },
      ],
    },
    { role: Role.ASSISTANT, content: "Hi" },
    { role: Role.TOOL, content: "3 °C", toolCallId: "c1", name: "weather" },
    { role: Role.TOOL, content: "no such city", toolCallId: "c1", name: "weather", isError: true },
  ].map((message) => create(MessageSchema, message));

  assert.equal(made.length, meant.length);
  for (const [index, message] of made.entries()) {
    assert.ok(equals(MessageSchema, message, meant[index] ?? assert.fail()), JSON.stringify(message));
  }
});

test("a document has a name, and a tool's schema is text or an object", () => {
  const file = document("https://example.com/a.pdf", "application/pdf", { name: "a.pdf" });
  const value = {
    source: { case: "url" as const, value: "https://example.com/a.pdf" },
    mediaType: "application/pdf",
    name: "a.pdf",
  };
  const definition = { name: "weather", description: "Tells it", inputSchemaJson: '{"type":"object"}' };

  assert.ok(equals(PartSchema, file, create(PartSchema, { kind: { case: "document", value } })));
  for (const schema of [{ type: "object" }, '{"type":"object"}']) {
    assert.ok(
      equals(ToolDefinitionSchema, tool("weather", "Tells it", schema), create(ToolDefinitionSchema, definition)),
    );
  }
});

test("keys, metadata and addresses that cannot be sent are refused, without being repeated", async () => {
  const secret = "sec\nret";

  for (const make of [
    () => new LoomClient("127.0.0.1:1", { apiKey: secret }),
    () => new LoomClient("127.0.0.1:1", { apiKey: "" }),
    () => new LoomClient("127.0.0.1:1", { metadata: { "x-a": secret } }),
    () => new LoomClient("127.0.0.1:1", { metadata: { "x-bin": "a" } }),
    () => new LoomClient("127.0.0.1:1", { metadata: { "x a": "a" } }),
    () => new LoomClient("http://127.0.0.1:1"),
    () => new LoomClient(""),
    () => new LoomClient("127.0.0.1:1").stream("Hello", { metadata: { "x-a": secret } }),
    () => new web.LoomClient("not an address"),
    () => new web.LoomClient("http://127.0.0.1:1", { apiKey: secret }),
  ]) {
    assert.throws(make, (error) => error instanceof TypeError && !error.message.includes(secret));
  }
  await assert.rejects(new LoomClient("127.0.0.1:1").complete("Hello", { metadata: { "x-a": secret } }), TypeError);
});

test("the package says its version", () => {
  const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));

  assert.equal(VERSION, version);
});
