"""Writes Chat Completions requests."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any, Final

from loom_grpc.core.errors import INVALID_REQUEST, LlmError
from loom_grpc.core.request import has_tools, plays_back, raw_object, raw_state, state_object, state_text
from loom_grpc.v1.llm_service_pb2 import LlmRequest
from loom_grpc.v1.message_pb2 import (
    ROLE_ASSISTANT,
    ROLE_SYSTEM,
    ROLE_TOOL,
    ROLE_USER,
    Media,
    Message,
    Part,
    ToolCall,
    ToolChoice,
    ToolDefinition,
)

NAME: Final = "openai"

_ROLES: Final = {ROLE_SYSTEM: "system", ROLE_USER: "user", ROLE_ASSISTANT: "assistant", ROLE_TOOL: "tool"}
_CHOICES: Final = {
    ToolChoice.MODE_AUTO: "auto",
    ToolChoice.MODE_NONE: "none",
    ToolChoice.MODE_REQUIRED: "required",
}
_EFFORTS: Final = ((0, "none"), (1024, "minimal"), (4096, "low"), (16384, "medium"))
"""The effort words that stand for a number of thinking tokens up to each bound; above all of them it is `high`."""


def chat_body(
    request: LlmRequest, model: str, *, max_tokens_field: str, reasoning_field: str, thinking_switch: bool
) -> dict[str, Any]:
    """Writes everything but the streaming fields.

    `max_tokens_field` is the host's name of the limit, `reasoning_field` the message field in which it wants reasoning back (empty: it
    does not), and `thinking_switch` says that it takes `thinking: {type}` in place of `reasoning_effort`.
    """
    body: dict[str, Any] = {"model": model}
    body["messages"] = list(_messages(request, reasoning_field))
    if request.HasField("max_tokens"):
        body[max_tokens_field] = request.max_tokens
    for field in ("temperature", "top_p", "top_k", "seed"):
        if request.HasField(field):
            body[field] = getattr(request, field)
    if request.stop:
        body["stop"] = list(request.stop)
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    # Without any tools the API refuses to hear of a choice, and there is nothing to choose.
    if request.HasField("tool_choice") and has_tools(request):
        _add_tool_choice(body, request.tool_choice)
    if request.HasField("response_format"):
        _add_format(body, request)
    if request.reasoning.WhichOneof("measure"):
        _add_reasoning(body, request, thinking_switch)
    return body


def _tool(tool: ToolDefinition) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.input_schema_json.strip():
        function["parameters"] = raw_object(tool.input_schema_json)
    else:
        function["parameters"] = {"type": "object", "properties": {}}
    if tool.HasField("strict"):
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _add_tool_choice(body: dict[str, Any], choice: ToolChoice) -> None:
    if choice.mode == ToolChoice.MODE_TOOL:
        body["tool_choice"] = {"type": "function", "function": {"name": choice.tool_name}}
    elif word := _CHOICES.get(choice.mode):
        body["tool_choice"] = word
    if choice.HasField("parallel"):
        body["parallel_tool_calls"] = choice.parallel


def _add_format(body: dict[str, Any], request: LlmRequest) -> None:
    if request.response_format.HasField("json_object"):
        body["response_format"] = {"type": "json_object"}
    elif request.response_format.HasField("json_schema"):
        shape = request.response_format.json_schema
        schema: dict[str, Any] = {"name": shape.name or "response", "schema": raw_object(shape.schema_json)}
        schema["strict"] = shape.strict if shape.HasField("strict") else True
        if shape.description:
            schema["description"] = shape.description
        body["response_format"] = {"type": "json_schema", "json_schema": schema}


def _add_reasoning(body: dict[str, Any], request: LlmRequest, thinking_switch: bool) -> None:
    effort = request.reasoning.effort
    if request.reasoning.HasField("budget_tokens"):
        budget = request.reasoning.budget_tokens
        effort = next((word for bound, word in _EFFORTS if budget <= bound), "high")
    if thinking_switch:
        body["thinking"] = {"type": "disabled" if effort == "none" else "enabled"}
    else:
        body["reasoning_effort"] = effort


def _messages(request: LlmRequest, reasoning_field: str) -> Iterator[dict[str, Any]]:
    """Yields the messages. A tool's result may hold nothing but text here: its files follow the results as the user's.

    Source: platform.openai.com/docs/api-reference/chat/create, tool messages, seen 2026-11-21.
    """
    files: list[Any] = []
    for index, message in enumerate(request.messages):
        if files and message.role != ROLE_TOOL:
            yield {"role": "user", "content": files}
            files = []
        value = _message(message, index, reasoning_field)
        if message.role == ROLE_TOOL and isinstance(value["content"], list):
            texts = [item for item in value["content"] if item.get("type") == "text"]
            files.append({"type": "text", "text": f"Files of the result of call {message.tool_call_id}:"})
            files += [item for item in value["content"] if item.get("type") != "text"]
            value["content"] = "".join(item["text"] for item in texts)
        yield value
    if files:
        yield {"role": "user", "content": files}


def _message(message: Message, index: int, reasoning_field: str) -> dict[str, Any]:
    value: dict[str, Any] = {"role": _ROLES[message.role]}
    if message.parts:
        value["content"] = _content(message, index)
    else:
        value["content"] = message.content
    if message.role == ROLE_TOOL:
        value["tool_call_id"] = message.tool_call_id
    if message.name:
        value["name"] = message.name
    if message.role == ROLE_ASSISTANT:
        _add_turn(value, message, f"messages[{index}]", reasoning_field)
    return value


def _add_turn(value: dict[str, Any], message: Message, at: str, reasoning_field: str) -> None:
    """Adds what only the model's own turns have."""
    if message.tool_calls:
        value["tool_calls"] = [
            _call(call, f"{at}.tool_calls[{number}]") for number, call in enumerate(message.tool_calls)
        ]
        value["content"] = value["content"] or None
    for place, part in enumerate(message.parts):
        here = f"{at}.parts[{place}]"
        if part.HasField("refusal"):
            value["refusal"] = value.get("refusal", "") + part.refusal
        elif part.HasField("audio") and part.provider_state and plays_back(part.origin, NAME):
            value["audio"] = {"id": state_text(part, here)}
        elif part.HasField("thinking"):
            _add_thinking(value, part, here, reasoning_field)


def _call(call: ToolCall, at: str) -> dict[str, Any]:
    arguments = call.arguments_json if call.arguments_json.strip() else "{}"
    value = {"id": call.id, "type": "function", "function": {"name": call.tool_name, "arguments": arguments}}
    if call.provider_state and plays_back(call.origin, NAME):
        value = state_object(call, at) | value
    return value


def _add_thinking(value: dict[str, Any], part: Part, at: str, reasoning_field: str) -> None:
    """Gives reasoning back: as the host's own detail objects where it sent some, else in the field it wants."""
    if part.provider_state and plays_back(part.origin, NAME):
        value["reasoning_details"] = raw_state(part, at)
    elif reasoning_field and not part.provider_state:
        value[reasoning_field] = value.get(reasoning_field, "") + part.thinking


def _content(message: Message, index: int) -> str | list[Any]:
    """Writes text alone as a string, which every host takes."""
    items = [_item(part, f"messages[{index}].parts[{place}]") for place, part in enumerate(message.parts)]
    if all(item is None or isinstance(item, str) for item in items):
        return "".join(filter(None, items))
    return [{"type": "text", "text": item} if isinstance(item, str) else item for item in items if item]


def _item(part: Part, at: str) -> Any:
    """Writes a part, text as a string; None is for what goes elsewhere or nowhere."""
    match part.WhichOneof("kind"):
        case "text":
            return part.text
        case "image":
            return {"type": "image_url", "image_url": {"url": _url(part.image)}}
        case "audio":
            return None if part.provider_state else _audio(part.audio, at)
        case "document":
            return {"type": "file", "file": _file(part.document)}
        case "opaque" if plays_back(part.origin, NAME):
            return raw_object(part.opaque.block_json)
    return None


def _url(media: Media) -> str:
    if not media.data:
        return media.url
    return f"data:{media.media_type};base64,{base64.b64encode(media.data).decode()}"


def _audio(media: Media, at: str) -> dict[str, Any]:
    if not media.data:
        raise LlmError(INVALID_REQUEST, f"{at}.audio: give data; this API takes no url for sound.", field=f"{at}.audio")
    kind = media.media_type.partition("/")[2].removeprefix("x-")
    form = {"mpeg": "mp3", "wave": "wav"}.get(kind, kind)
    return {"type": "input_audio", "input_audio": {"data": base64.b64encode(media.data).decode(), "format": form}}


def _file(media: Media) -> dict[str, Any]:
    if media.url.startswith("file-"):
        return {"file_id": media.url}
    file = {"file_data": _url(media)}
    if media.name or media.data:
        file["filename"] = media.name or "document"
    return file
