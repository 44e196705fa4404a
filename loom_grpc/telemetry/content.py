"""Prompts and answers in the JSON of the conventions, for who has switched on that they are recorded.

The shapes are those of gen-ai-input-messages.json and gen-ai-output-messages.json in
github.com/open-telemetry/semantic-conventions/tree/v1.41.1/docs/gen-ai, seen 2026-11-21.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from loom_grpc.core.request import parts_of, text_of
from loom_grpc.v1.llm_service_pb2 import (
    STOP_REASON_CONTENT_FILTER,
    STOP_REASON_LENGTH,
    STOP_REASON_STOP,
    STOP_REASON_TOOL_CALLS,
    LlmRequest,
    LlmResponse,
)
from loom_grpc.v1.message_pb2 import ROLE_ASSISTANT, ROLE_SYSTEM, ROLE_TOOL, ROLE_USER, Media, Message, Part, ToolCall

_ROLES: Final = {ROLE_SYSTEM: "system", ROLE_USER: "user", ROLE_ASSISTANT: "assistant", ROLE_TOOL: "tool"}
_FINISH: Final = {
    STOP_REASON_STOP: "stop",
    STOP_REASON_LENGTH: "length",
    STOP_REASON_TOOL_CALLS: "tool_call",
    STOP_REASON_CONTENT_FILTER: "content_filter",
}
"""The conventions' words; for others the provider's own is taken."""


def input_messages(request: LlmRequest) -> list[dict[str, Any]]:
    """Returns the prompt."""
    return [_input(message) for message in request.messages]


def output_messages(response: LlmResponse) -> list[dict[str, Any]]:
    """Returns the answer; one that was broken off finished with `error`."""
    finish = _FINISH.get(response.stop_reason) or response.finish_reason or "error"
    parts = _parts(response.message)
    return [{"role": "assistant", "parts": parts, "finish_reason": finish}]


def _input(message: Message) -> dict[str, Any]:
    role = _ROLES.get(message.role, "user")
    if message.role == ROLE_TOOL:
        answer = {"type": "tool_call_response", "id": message.tool_call_id, "response": text_of(message)}
        return {"role": role, "parts": [answer]}
    return {"role": role, "parts": _parts(message)}


def _parts(message: Message) -> list[dict[str, Any]]:
    return [*map(_part, parts_of(message)), *map(_call, message.tool_calls)]


def _part(part: Part) -> dict[str, Any]:
    kind = part.WhichOneof("kind") or "unknown"
    if kind == "text":
        return {"type": "text", "content": part.text}
    if kind == "thinking":
        return {"type": "reasoning", "content": part.thinking}
    if kind in ("image", "document", "audio"):
        return _media(kind, getattr(part, kind))
    if kind == "refusal":
        return {"type": "refusal", "content": part.refusal}
    if kind == "opaque":
        return {"type": part.opaque.type or "opaque", "content": _json(part.opaque.block_json)}
    if kind == "citation":
        return {"type": "citation", "url": part.citation.url, "title": part.citation.title}
    return {"type": kind}


def _media(kind: str, media: Media) -> dict[str, Any]:
    """Files are too large for a span or a line of a log: where they are or how large says enough."""
    if media.WhichOneof("source") == "url":
        uri = media.url if not media.url.startswith("data:") else "data:"
        return {"type": "uri", "modality": kind, "mime_type": media.media_type or None, "uri": uri}
    return {"type": kind, "mime_type": media.media_type, "bytes": len(media.data)}


def _call(call: ToolCall) -> dict[str, Any]:
    return {"type": "tool_call", "id": call.id, "name": call.tool_name, "arguments": _json(call.arguments_json)}


def _json(text: str) -> Any:
    """Returns what JSON text stands for, or the text itself when it is none."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
