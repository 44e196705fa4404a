"""What every dialect needs to know of a request: that it is right, and its pieces in a handy shape."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

import orjson

from loom_grpc.core.errors import INVALID_REQUEST, LlmError
from loom_grpc.v1.llm_service_pb2 import EmbedRequest, LlmRequest
from loom_grpc.v1.message_pb2 import (
    ROLE_ASSISTANT,
    ROLE_SYSTEM,
    ROLE_TOOL,
    ROLE_USER,
    Media,
    Message,
    Part,
    Reasoning,
    ToolCall,
    ToolChoice,
    ToolDefinition,
)

_ROLES: Final = frozenset({ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT, ROLE_TOOL})
_MEDIA: Final = ("image", "document", "audio")
_MAX_NAME: Final = 512
"""Names come back in messages and metadata, which have to stay small."""


def check(request: LlmRequest) -> None:
    """Refuses a request that no provider could answer; the error names the field.

    Raises:
        LlmError: INVALID_REQUEST.
    """
    _check_name(request.provider, "provider")
    _check_name(request.model, "model")
    if not request.messages:
        raise _wrong("messages", "at least one message is needed")
    for index, message in enumerate(request.messages):
        _check_message(message, f"messages[{index}]")
    if request.tools:
        _check_tools(request.tools)
    _check_numbers(request)
    if request.response_format.HasField("json_schema"):
        _check_object(request.response_format.json_schema.schema_json, "response_format.json_schema.schema_json")
    if request.HasField("reasoning"):
        _check_reasoning(request.reasoning)
    _check_options(request.provider_options_json)
    if request.HasField("tool_choice"):
        _check_choice(request, request.tool_choice)


def check_embed(request: EmbedRequest) -> None:
    """Refuses what no provider could turn into vectors; the error names the field. Raises `LlmError` (INVALID_REQUEST)."""
    _check_name(request.provider, "provider")
    _check_name(request.model, "model")
    if request.model in ("", "default"):
        raise _wrong("model", "must name a model for embeddings, such as openai/text-embedding-3-small")
    if not request.inputs:
        raise _wrong("inputs", "at least one is needed")
    for index, input_ in enumerate(request.inputs):
        if not (input_.text or input_.tokens.ids):
            raise _wrong(f"inputs[{index}]", "must have text or tokens")
    if request.HasField("dimensions") and request.dimensions < 1:
        raise _wrong("dimensions", "must be at least 1")
    _check_options(request.provider_options_json)


def system_text(request: LlmRequest) -> str:
    """Joins the system messages in order."""
    texts = (text_of(message) for message in request.messages if message.role == ROLE_SYSTEM)
    return "\n\n".join(filter(None, texts))


def text_of(message: Message) -> str:
    """Returns the visible text of a message."""
    if message.parts:
        return "".join(part.text for part in message.parts)
    return message.content


def parts_of(message: Message) -> Sequence[Part]:
    """Returns the content in pieces, also where it is plain text."""
    if message.parts:
        return message.parts
    return [Part(text=message.content)] if message.content else []


def arguments(call: ToolCall) -> orjson.Fragment:
    """Returns a call's arguments as JSON to embed, byte for byte."""
    return raw_object(call.arguments_json)


def raw_object(text: str) -> orjson.Fragment:
    """Returns JSON text to embed byte for byte; an empty text is an empty object."""
    return orjson.Fragment(text.strip() or "{}")


def state_text(part: Part, at: str) -> str:
    """Returns the provider state of a part whose provider writes text; raises `LlmError` for other bytes."""
    try:
        return part.provider_state.decode()
    except UnicodeDecodeError:
        raise _foreign_state(at) from None


def raw_state(part: Part, at: str) -> orjson.Fragment:
    """Returns the provider state of a part whose provider writes a JSON array, to embed; raises `LlmError` for other bytes."""
    if not isinstance(_json_state(part.provider_state, at), list):
        raise _foreign_state(at)
    return orjson.Fragment(part.provider_state)


def state_object(call: ToolCall, at: str) -> dict[str, Any]:
    """Returns the provider state of a call whose provider writes a JSON object; raises `LlmError` for other bytes."""
    value = _json_state(call.provider_state, at)
    if not isinstance(value, dict):
        raise _foreign_state(at)
    return value


def has_tools(request: LlmRequest) -> bool:
    """Tells whether there is a tool to call, one of the caller's or one that only the provider has."""
    return bool(request.tools) or "tools" in options(request)


def options(request: LlmRequest) -> dict[str, Any]:
    """Returns the caller's provider options."""
    if not request.provider_options_json.strip():
        return {}
    value: dict[str, Any] = orjson.loads(request.provider_options_json)
    return value


def with_defaults(request: LlmRequest, defaults: dict[str, Any]) -> LlmRequest:
    """Returns the request with provider options added that the caller did not set."""
    merged = orjson.loads(orjson.dumps(defaults))
    # A null stays, for it may be meant for a field that the dialect writes.
    merge(merged, options(request), keep_null=True)
    copy = LlmRequest()
    copy.CopyFrom(request)
    copy.provider_options_json = orjson.dumps(merged).decode()
    return copy


def merge(body: dict[str, Any], extra: dict[str, Any], *, keep_null: bool = False) -> None:
    """Merges provider options into a request body: objects key by key, `tools` by appending, and null takes a field out."""
    for key, value in extra.items():
        present = body.get(key)
        if value is None and not keep_null:
            body.pop(key, None)
        elif isinstance(value, dict) and isinstance(present, dict):
            merge(present, value, keep_null=keep_null)
        elif key == "tools" and isinstance(value, list) and isinstance(present, list):
            body[key] = present + value
        else:
            body[key] = value


def plays_back(origin: str, dialect: str) -> bool:
    """Tells whether state written by one dialect may be sent to another."""
    return origin in ("", dialect)


def _wrong(field: str, what: str) -> LlmError:
    return LlmError(INVALID_REQUEST, f"{field}: {what}.", field=field)


def _json_state(state: bytes, at: str) -> object:
    try:
        value: object = orjson.loads(state)
        # Only so deep that it can be written again.
        orjson.dumps([[[[value]]]])
    except (orjson.JSONDecodeError, TypeError):
        raise _foreign_state(at) from None
    return value


def _foreign_state(at: str) -> LlmError:
    return _wrong(f"{at}.provider_state", "is not what the provider wrote; send it back unchanged or leave it out")


def _check_message(message: Message, at: str) -> None:
    if message.role not in _ROLES:
        raise _wrong(f"{at}.role", "must be ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT or ROLE_TOOL")
    if message.role == ROLE_TOOL and not message.tool_call_id:
        raise _wrong(f"{at}.tool_call_id", "a tool result must name the call that it answers")
    if message.tool_calls:
        _check_calls(message, at)
    for index, part in enumerate(message.parts):
        if message.role == ROLE_SYSTEM and not part.HasField("text"):
            raise _wrong(f"{at}.parts[{index}]", "a system message is text")
        _check_part(part, f"{at}.parts[{index}]")


def _check_calls(message: Message, at: str) -> None:
    if message.role != ROLE_ASSISTANT:
        raise _wrong(f"{at}.tool_calls", "only an assistant message calls tools")
    for index, call in enumerate(message.tool_calls):
        here = f"{at}.tool_calls[{index}]"
        if not call.tool_name:
            raise _wrong(f"{here}.tool_name", "must not be empty")
        _check_name(call.tool_name, f"{here}.tool_name")
        _check_object(call.arguments_json, f"{here}.arguments_json")
        if call.part_index < 0:
            raise _wrong(f"{here}.part_index", "must be 0 or more")


def _check_part(part: Part, at: str) -> None:
    kind = part.WhichOneof("kind")
    if kind is None:
        raise _wrong(at, "has no content; set one of text, image, document, audio and so on")
    if kind in _MEDIA:
        _check_media(getattr(part, kind), f"{at}.{kind}")
    elif kind == "opaque":
        if not part.opaque.block_json.strip():
            raise _wrong(f"{at}.opaque.block_json", "must not be empty")
        _check_object(part.opaque.block_json, f"{at}.opaque.block_json")
    elif kind == "citation" and part.citation.citation_json:
        _parse(part.citation.citation_json, f"{at}.citation.citation_json")


def _check_media(media: Media, at: str) -> None:
    if not media.url and not media.data:
        raise _wrong(at, "needs a url or data")
    if media.data and not media.media_type:
        raise _wrong(f"{at}.media_type", "is needed with data, such as image/png")


def _check_tools(tools: Iterable[ToolDefinition]) -> None:
    names: set[str] = set()
    for index, tool in enumerate(tools):
        at = f"tools[{index}]"
        if not tool.name:
            raise _wrong(f"{at}.name", "must not be empty")
        _check_name(tool.name, f"{at}.name")
        if tool.name in names:
            raise _wrong(f"{at}.name", f"{tool.name!r} is defined twice")
        names.add(tool.name)
        _check_object(tool.input_schema_json, f"{at}.input_schema_json")


def _check_numbers(request: LlmRequest) -> None:
    if request.HasField("max_tokens") and request.max_tokens < 1:
        raise _wrong("max_tokens", "must be 1 or more")
    if request.HasField("temperature") and not 0 <= request.temperature < math.inf:
        raise _wrong("temperature", "must be a finite number of 0 or more")
    if request.HasField("top_p") and not 0 <= request.top_p <= 1:
        raise _wrong("top_p", "must be between 0 and 1")
    if request.HasField("top_k") and request.top_k < 1:
        raise _wrong("top_k", "must be 1 or more")


def _check_choice(request: LlmRequest, choice: ToolChoice) -> None:
    if choice.mode not in ToolChoice.Mode.values():
        raise _wrong("tool_choice.mode", f"there is no mode {choice.mode}")
    _check_name(choice.tool_name, "tool_choice.tool_name")
    if choice.mode == ToolChoice.MODE_TOOL and not any(tool.name == choice.tool_name for tool in request.tools):
        raise _wrong("tool_choice.tool_name", f"{choice.tool_name!r} is not among the tools")
    if choice.mode == ToolChoice.MODE_REQUIRED and not has_tools(request):
        raise _wrong("tool_choice.mode", "a tool is required but none is defined")


def _check_reasoning(reasoning: Reasoning) -> None:
    _check_name(reasoning.effort, "reasoning.effort")
    if reasoning.HasField("effort") and not reasoning.effort:
        raise _wrong("reasoning.effort", "must not be empty")
    if reasoning.budget_tokens < 0:
        raise _wrong("reasoning.budget_tokens", "must be 0 or more")


def _check_options(text: str) -> None:
    value = _check_object(text, "provider_options_json")
    if (
        "model" in value
    ):  # or the provider would be asked for another model than the one that may be asked and is paid for
        raise _wrong("provider_options_json", "must not have model; name the model in the field model")
    try:
        # Dialects put the options into an object or two.
        orjson.dumps([[value]])
    except TypeError:
        raise _wrong("provider_options_json", "is nested too deeply") from None


def _check_name(name: str, field: str) -> None:
    if len(name) > _MAX_NAME:
        raise _wrong(field, f"must not be longer than {_MAX_NAME} characters")
    if not name.isprintable():
        raise _wrong(field, "must not contain control characters")


def _check_object(text: str, field: str) -> dict[str, Any]:
    if not text or text.isspace():
        return {}
    value = _parse(text, field)
    if not isinstance(value, dict):
        raise _wrong(field, "must be a JSON object")
    return value


def _parse(text: str, field: str) -> object:
    try:
        value: object = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _wrong(field, f"is not valid JSON ({error})") from None
    return value
