"""Making requests: the fields that one has, and short ways to write messages."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict, cast

from loom_grpc.v1.llm_service_pb2 import LlmRequest
from loom_grpc.v1.message_pb2 import (
    ROLE_ASSISTANT,
    ROLE_SYSTEM,
    ROLE_TOOL,
    ROLE_USER,
    Media,
    Message,
    Part,
    Reasoning,
    ResponseFormat,
    ToolCall,
    ToolChoice,
    ToolDefinition,
)


class Fields(TypedDict, total=False):
    """The fields of a request, as `LlmRequest` has them, and `system` for a message in front of the others."""

    provider: str
    model: str
    messages: Iterable[Message]
    system: str
    tools: Iterable[ToolDefinition]
    max_tokens: int
    temperature: float
    top_p: float
    top_k: int
    seed: int
    stop: Iterable[str]
    tool_choice: ToolChoice
    response_format: ResponseFormat
    reasoning: Reasoning
    session_id: str
    labels: Mapping[str, str]
    provider_options_json: str


def make_request(request: LlmRequest | str | None, fields: Fields) -> LlmRequest:
    """Makes the request that the arguments of `complete` and `stream` describe."""
    if isinstance(request, LlmRequest):
        if fields:
            raise TypeError(f"give an LlmRequest or its fields, not both: {', '.join(fields)}")
        return request
    rest = cast("dict[str, Any]", dict(fields))
    text = rest.pop("system", "")
    messages = [system(text)] if text else []
    messages += rest.pop("messages", ())
    if request is not None:
        messages.append(user(request))
    return LlmRequest(messages=messages, **rest)


def system(text: str) -> Message:
    """Makes a message of the application's instructions."""
    return Message(role=ROLE_SYSTEM, content=text)


def user(*content: str | Part) -> Message:
    """Makes a message of the user's, of text and of parts such as `image`."""
    if len(content) == 1 and isinstance(content[0], str):
        return Message(role=ROLE_USER, content=content[0])
    return Message(role=ROLE_USER, parts=[Part(text=item) if isinstance(item, str) else item for item in content])


def assistant(text: str) -> Message:
    """Makes a message of the model's; an answer's own `message` is one as it is."""
    return Message(role=ROLE_ASSISTANT, content=text)


def tool_result(call: ToolCall, content: str, *, is_error: bool = False) -> Message:
    """Makes the message that answers a tool call."""
    return Message(role=ROLE_TOOL, content=content, tool_call_id=call.id, name=call.tool_name, is_error=is_error)


def tool(name: str, description: str, input_schema: Mapping[str, object] | str) -> ToolDefinition:
    """Makes a tool that the model may call; the schema of its arguments is a JSON Schema, as text or as what `json` can write."""
    schema = input_schema if isinstance(input_schema, str) else json.dumps(input_schema)
    return ToolDefinition(name=name, description=description, input_schema_json=schema)


def image(source: str | bytes, media_type: str = "") -> Part:
    """Makes a part of a picture: its address, or its bytes with their media type, such as `image/png`."""
    return Part(image=_media(source, media_type))


def document(source: str | bytes, media_type: str = "", *, name: str = "") -> Part:
    """Makes a part of a document: its address, or its bytes with their media type, such as `application/pdf`."""
    media = _media(source, media_type)
    media.name = name
    return Part(document=media)


def _media(source: str | bytes, media_type: str) -> Media:
    if isinstance(source, str):
        return Media(url=source, media_type=media_type)
    return Media(data=source, media_type=media_type)
