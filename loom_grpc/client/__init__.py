"""The client: asks a loom-grpc server over gRPC, and needs none of the server's packages."""

from loom_grpc.client.admin import AdminClient
from loom_grpc.client.connection import DEFAULT_TARGET, LoomClient, Stream
from loom_grpc.client.failure import llm_error
from loom_grpc.client.message import Fields, assistant, document, image, system, tool, tool_result, user
from loom_grpc.core.errors import LlmError
from loom_grpc.v1.admin_service_pb2 import (
    Account,
    AccountKind,
    AccountStatus,
    PoolHealth,
    StartLoginResponse,
    WatchHealthResponse,
)
from loom_grpc.v1.error_pb2 import ErrorReason
from loom_grpc.v1.llm_service_pb2 import CountTokensResponse, LlmEvent, LlmRequest, LlmResponse, Model, StopReason
from loom_grpc.v1.message_pb2 import (
    JsonObjectFormat,
    JsonSchemaFormat,
    Media,
    Message,
    Part,
    Reasoning,
    ResponseFormat,
    ToolCall,
    ToolChoice,
    ToolDefinition,
)
from loom_grpc.v1.usage_pb2 import Cost, Usage

__all__ = [
    "DEFAULT_TARGET",
    "Account",
    "AccountKind",
    "AccountStatus",
    "AdminClient",
    "Cost",
    "CountTokensResponse",
    "ErrorReason",
    "Fields",
    "JsonObjectFormat",
    "JsonSchemaFormat",
    "LlmError",
    "LlmEvent",
    "LlmRequest",
    "LlmResponse",
    "LoomClient",
    "Media",
    "Message",
    "Model",
    "Part",
    "PoolHealth",
    "Reasoning",
    "ResponseFormat",
    "StartLoginResponse",
    "StopReason",
    "Stream",
    "ToolCall",
    "ToolChoice",
    "ToolDefinition",
    "Usage",
    "WatchHealthResponse",
    "assistant",
    "document",
    "image",
    "llm_error",
    "system",
    "tool",
    "tool_result",
    "user",
]
