/** Making requests: short ways to write messages. */

import { create, isMessage, type MessageInitShape } from "@bufbuild/protobuf";
import { LlmRequestSchema } from "./gen/loom_grpc/v1/llm_service_pb.js";
import {
  type Media,
  MediaSchema,
  type Message,
  MessageSchema,
  type Part,
  PartSchema,
  Role,
  type ToolCall,
  type ToolDefinition,
  ToolDefinitionSchema,
} from "./gen/loom_grpc/v1/message_pb.js";

/** The fields of a request, as `LlmRequest` has them or as one itself. */
export type RequestInit = MessageInitShape<typeof LlmRequestSchema>;

/** What to ask: a prompt (the last user message), or a request's fields, with `system` for instructions in front and `prompt`. */
export type Question = string | (RequestInit & { system?: string; prompt?: string });

/** Makes the request that a question describes. */
export function makeRequest(question: Question): RequestInit {
  if (typeof question === "string") {
    return { messages: [user(question)] };
  }
  if (isMessage(question, LlmRequestSchema)) {
    return question;
  }
  const { system: instructions, prompt, messages = [], ...fields } = question;
  const first = instructions ? [system(instructions)] : [];
  const last = prompt === undefined ? [] : [user(prompt)];
  return { ...fields, messages: [...first, ...messages, ...last] };
}

/** Makes a message of the application's instructions. */
export function system(text: string): Message {
  return create(MessageSchema, { role: Role.SYSTEM, content: text });
}

/** Makes a message of the user's, of text and of parts such as `image`. */
export function user(...content: (string | Part)[]): Message {
  const [first] = content;
  if (content.length === 1 && typeof first === "string") {
    return create(MessageSchema, { role: Role.USER, content: first });
  }
  return create(MessageSchema, { role: Role.USER, parts: content.map(asPart) });
}

/** Makes a message of the model's; an answer's own `message` is one as it is. */
export function assistant(text: string): Message {
  return create(MessageSchema, { role: Role.ASSISTANT, content: text });
}

/** Makes the message that answers a tool call; `isError` tells that the tool failed and the content says how. */
export function toolResult(call: ToolCall, content: string, { isError = false } = {}): Message {
  return create(MessageSchema, { role: Role.TOOL, content, toolCallId: call.id, name: call.toolName, isError });
}

/** Makes a tool that the model may call; the JSON Schema of its arguments as text or as an object. */
export function tool(name: string, description: string, inputSchema: object | string): ToolDefinition {
  const inputSchemaJson = typeof inputSchema === "string" ? inputSchema : JSON.stringify(inputSchema);
  return create(ToolDefinitionSchema, { name, description, inputSchemaJson });
}

/** Makes a part of a picture: its address, or its bytes with their media type, such as `image/png`. */
export function image(source: string | Uint8Array, mediaType = ""): Part {
  return create(PartSchema, { kind: { case: "image", value: media(source, mediaType) } });
}

/** Makes a part of a document: its address, or its bytes with their media type, such as `application/pdf`. */
export function document(source: string | Uint8Array, mediaType = "", { name = "" } = {}): Part {
  return create(PartSchema, { kind: { case: "document", value: media(source, mediaType, name) } });
}

function asPart(item: string | Part): Part {
  return typeof item === "string" ? create(PartSchema, { kind: { case: "text", value: item } }) : item;
}

function media(source: string | Uint8Array, mediaType: string, name = ""): Media {
  const value =
    typeof source === "string" ? { case: "url" as const, value: source } : { case: "data" as const, value: source };
  return create(MediaSchema, { source: value, mediaType, name });
}
