/** What both clients have in common, for users. */

export type { CallOptions, ClientOptions, LlmClient } from "./client.js";
export { LoomError, loomError, type Reason } from "./error.js";
export { ErrorReason } from "./gen/loom_grpc/v1/error_pb.js";
export {
  type CountTokensResponse,
  type EmbedResponse,
  type LlmEvent,
  type LlmRequest,
  LlmRequestSchema,
  type LlmResponse,
  type Model,
  StopReason,
} from "./gen/loom_grpc/v1/llm_service_pb.js";
export { type Message, type Part, Role, type ToolCall, type ToolDefinition } from "./gen/loom_grpc/v1/message_pb.js";
export { assistant, document, image, type Question, system, tool, toolResult, user } from "./message.js";
export type { Metadata } from "./metadata.js";
export type { Stream } from "./stream.js";
