/** Everything that `proto/loom_grpc/v1` defines, as generated: messages, their schemas, enumerations, services. */

export * from "./gen/loom_grpc/v1/access_pb.js";
export * from "./gen/loom_grpc/v1/admin_service_pb.js";
export * from "./gen/loom_grpc/v1/audit_pb.js";
export * from "./gen/loom_grpc/v1/error_pb.js";
export * from "./gen/loom_grpc/v1/llm_service_pb.js";
export * from "./gen/loom_grpc/v1/message_pb.js";
export * from "./gen/loom_grpc/v1/usage_pb.js";
