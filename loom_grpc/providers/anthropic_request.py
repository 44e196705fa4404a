"""Writes Messages requests (platform.claude.com/docs/en/api/messages, seen 2026-11-21)."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any, Final

from loom_grpc.core.errors import INVALID_REQUEST, LlmError
from loom_grpc.core.request import (
    arguments,
    has_tools,
    parts_of,
    plays_back,
    raw_object,
    state_object,
    state_text,
    system_text,
)
from loom_grpc.v1.llm_service_pb2 import LlmRequest
from loom_grpc.v1.message_pb2 import (
    ROLE_ASSISTANT,
    ROLE_SYSTEM,
    ROLE_TOOL,
    Media,
    Message,
    Part,
    Reasoning,
    ToolCall,
    ToolChoice,
    ToolDefinition,
)

NAME: Final = "anthropic"
DEFAULT_MAX_TOKENS: Final = 4096
"""The API requires a limit; this one is sent when the caller sets none."""

_CHOICES: Final = {ToolChoice.MODE_NONE: "none", ToolChoice.MODE_REQUIRED: "any", ToolChoice.MODE_TOOL: "tool"}

_BUDGETS: Final = {
    "none": 0,
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 24576,
    "xhigh": 32768,
    "max": 32768,
}
"""Thinking tokens for an effort, where a model counts tokens."""
_LEAST_BUDGET: Final = 1024
_EFFORTS: Final = ((4096, "low"), (16384, "medium"))
"""The effort that stands for a number of thinking tokens up to each bound; above them it is `high`."""

_VERSION: Final = re.compile(r"claude-(?:[a-z]+-)*(\d{1,2})(?!\d)(?:[-.](\d{1,2})(?!\d))?")
_ADAPTIVE: Final = (4, 6)
"""The first version that weighs for itself how much to think, and takes an effort; later ones refuse a number of tokens
(docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-adaptive-thinking.html, seen 2026-11-21)."""
_THINKS_BY_ITSELF: Final = (5, 0)
"""The first version that thinks unless it is told not to (platform.claude.com/docs/en/models/opus-5/migration-guide, seen
2026-11-21)."""

_ID_CHARACTERS: Final = re.compile(r"[^a-zA-Z0-9_-]")
"""What an id of a call must not have here; other providers' ids may."""


def prompt_body(request: LlmRequest, model: str) -> dict[str, Any]:
    """Writes what counting tokens takes too: the conversation, the tools and how much to think."""
    body: dict[str, Any] = {"model": model, "messages": list(_messages(request))}
    if system := system_text(request):
        body["system"] = system
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    if request.HasField("tool_choice") and has_tools(request):
        _add_tool_choice(body, request.tool_choice)
    if request.reasoning.WhichOneof("measure"):
        body |= _thinking(request.reasoning, model)
    if request.response_format.WhichOneof("format") not in (None, "text"):
        body.setdefault("output_config", {})["format"] = _format(request)
    return body


def add_settings(body: dict[str, Any], request: LlmRequest) -> None:
    """Adds the limit on tokens, which is required, and how to sample."""
    if request.HasField("max_tokens"):
        body["max_tokens"] = request.max_tokens
    else:
        # The limit counts thinking too.
        body["max_tokens"] = DEFAULT_MAX_TOKENS + _expected_thinking(body)
    for field in ("temperature", "top_p", "top_k"):
        if request.HasField(field):
            body[field] = getattr(request, field)
    if request.stop:
        body["stop_sequences"] = list(request.stop)


def _tool(tool: ToolDefinition) -> dict[str, Any]:
    value = {"name": tool.name, "description": tool.description, "input_schema": _schema(tool.input_schema_json)}
    return value | ({"strict": True} if tool.strict else {})


def _schema(text: str) -> object:
    return raw_object(text) if text.strip() else {"type": "object", "properties": {}}


def _add_tool_choice(body: dict[str, Any], choice: ToolChoice) -> None:
    if choice.mode == ToolChoice.MODE_UNSPECIFIED and not choice.HasField("parallel"):
        return
    value: dict[str, Any] = {"type": _CHOICES.get(choice.mode, "auto")}
    if choice.mode == ToolChoice.MODE_TOOL:
        value["name"] = choice.tool_name
    if choice.HasField("parallel") and choice.mode != ToolChoice.MODE_NONE:
        value["disable_parallel_tool_use"] = not choice.parallel
    body["tool_choice"] = value


def _format(request: LlmRequest) -> dict[str, Any]:
    if request.response_format.HasField("json_object"):
        message = "response_format.json_object: Anthropic has no such mode; give a json_schema."
        raise LlmError(INVALID_REQUEST, message, field="response_format.json_object")
    return {"type": "json_schema", "schema": _schema(request.response_format.json_schema.schema_json)}


def _version(model: str) -> tuple[int, int]:
    """Tells which Claude a model is; models of other makers, whose hosts speak this dialect too, are older than all of them."""
    if match := _VERSION.search(model):
        return int(match[1]), int(match[2] or 0)
    return (99, 0) if "claude" in model else (0, 0)


def _thinking(reasoning: Reasoning, model: str) -> dict[str, Any]:
    version = _version(model)
    if reasoning.effort == "none" or not (reasoning.effort or reasoning.budget_tokens):
        # Some of the versions between refuse to hear of thinking that is off already.
        return {} if _ADAPTIVE < version < _THINKS_BY_ITSELF else {"thinking": {"type": "disabled"}}
    if version < _ADAPTIVE or (version == _ADAPTIVE and not reasoning.effort):
        return {"thinking": {"type": "enabled", "budget_tokens": _budget(reasoning)}}
    # From the next version on, thoughts are not shown unless asked for.
    display = {"display": "summarized"} if version > _ADAPTIVE else {}
    return {"thinking": {"type": "adaptive", **display}, "output_config": {"effort": _effort(reasoning)}}


def _budget(reasoning: Reasoning) -> int:
    budget = _BUDGETS.get(reasoning.effort) if reasoning.effort else reasoning.budget_tokens
    if budget is None:
        known = ", ".join(_BUDGETS)
        message = f"reasoning.effort: {reasoning.effort!r} is unknown here; use one of {known}."
        raise LlmError(INVALID_REQUEST, message, field="reasoning.effort")
    return max(budget, _LEAST_BUDGET)


def _effort(reasoning: Reasoning) -> str:
    if reasoning.effort:
        return "low" if reasoning.effort == "minimal" else reasoning.effort
    return next((word for bound, word in _EFFORTS if reasoning.budget_tokens <= bound), "high")


def _expected_thinking(body: dict[str, Any]) -> int:
    budget: int = body.get("thinking", {}).get("budget_tokens", 0)
    effort = body.get("output_config", {}).get("effort")
    return _BUDGETS.get(effort, _BUDGETS["high"]) if effort else budget


def _messages(request: LlmRequest) -> Iterator[dict[str, Any]]:
    """Yields the turns; results of tools called together are one user turn with what the user says then, as the API wants them."""
    results: list[Any] = []
    for index, message in enumerate(request.messages):
        if message.role == ROLE_SYSTEM:
            continue
        if message.role == ROLE_TOOL:
            results.append(_tool_result(message, index))
        elif message.role == ROLE_ASSISTANT:
            if results:
                yield {"role": "user", "content": results}
                results = []
            # A turn of which nothing is left, such as another model's thoughts alone, would be refused.
            if content := _content(message, index):
                yield {"role": "assistant", "content": content}
        else:
            yield {
                "role": "user",
                "content": results + _blocks(message, index) if results else _content(message, index),
            }
            results = []
    if results:
        yield {"role": "user", "content": results}


def _tool_result(message: Message, index: int) -> dict[str, Any]:
    result: dict[str, Any] = {"type": "tool_result", "tool_use_id": _id(message.tool_call_id)}
    result["content"] = _blocks(message, index) if message.parts else message.content
    if message.is_error:
        result["is_error"] = True
    return result


def _id(id: str) -> str:
    return _ID_CHARACTERS.sub("_", id)


def _content(message: Message, index: int) -> str | list[Any]:
    if not message.parts and not message.tool_calls:
        return message.content
    return _blocks(message, index)


def _blocks(message: Message, index: int) -> list[Any]:
    """Writes a message's blocks, with its calls at the places where they were."""
    parts = parts_of(message)
    calls: dict[int, list[Any]] = {}
    for number, call in enumerate(message.tool_calls):
        place = call.part_index if call.HasField("part_index") else len(parts)
        block = _tool_use(call, f"messages[{index}].tool_calls[{number}]")
        calls.setdefault(min(place, len(parts)), []).append(block)
    blocks: list[Any] = []
    for place, part in enumerate(parts):
        blocks += calls.get(place, ())
        _add_part(blocks, part, f"messages[{index}].parts[{place}]")
    return blocks + calls.get(len(parts), [])


def _tool_use(call: ToolCall, at: str) -> dict[str, Any]:
    block = {"type": "tool_use", "id": _id(call.id), "name": call.tool_name, "input": arguments(call)}
    if call.provider_state and plays_back(call.origin, NAME):
        block = state_object(call, at) | block
    return block


def _add_part(blocks: list[Any], part: Part, at: str) -> None:
    """Adds a part's block; what another dialect wrote, and thoughts without a signature, are left out."""
    kind = part.WhichOneof("kind")
    if kind in _PLAYED_BACK and not plays_back(part.origin, NAME):
        return
    match kind:
        case "text" | "refusal":
            if text := part.text or part.refusal:
                blocks.append({"type": "text", "text": text})
        case "thinking":
            if part.provider_state:
                blocks.append({"type": "thinking", "thinking": part.thinking, "signature": state_text(part, at)})
        case "redacted_thinking":
            blocks.append({"type": "redacted_thinking", "data": part.redacted_thinking})
        case "opaque":
            blocks.append(raw_object(part.opaque.block_json))
        case "citation":
            _cite(blocks, part.citation.citation_json)
        case _:
            blocks.append(_file(part, at))


_PLAYED_BACK: Final = frozenset({"thinking", "redacted_thinking", "opaque", "citation"})
"""Kinds that mean something only to the dialect that wrote them."""


def _cite(blocks: list[Any], citation_json: str) -> None:
    """Puts a citation back on the text that it came with."""
    last = blocks[-1] if blocks else None
    if citation_json and isinstance(last, dict) and last["type"] == "text":
        last.setdefault("citations", []).append(raw_object(citation_json))


def _file(part: Part, at: str) -> dict[str, Any]:
    match part.WhichOneof("kind"):
        case "image":
            return {"type": "image", "source": _source(part.image)}
        case "document":
            return _document(part.document)
        case kind:
            raise LlmError(INVALID_REQUEST, f"{at}: Anthropic takes no {kind}.", field=at)


def _source(media: Media) -> dict[str, Any]:
    if media.data:
        return {"type": "base64", "media_type": media.media_type, "data": base64.b64encode(media.data).decode()}
    if media.url.startswith("file_"):
        return {"type": "file", "file_id": media.url}
    return {"type": "url", "url": media.url}


def _document(media: Media) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "document", "source": _source(media)}
    if media.data and media.media_type.startswith("text/"):
        text = media.data.decode("utf-8", "replace")
        block["source"] = {"type": "text", "media_type": "text/plain", "data": text}
    if media.name:
        block["title"] = media.name
    return block
