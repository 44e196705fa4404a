"""How a request is written for Gemini (ai.google.dev/api/generate-content and /docs/function-calling, seen 2026-11-21)."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from itertools import groupby
from typing import Any, Final, Literal

import orjson

from loom_grpc.core.errors import INVALID_REQUEST, LlmError
from loom_grpc.core.request import arguments, merge, options, parts_of, plays_back, raw_object, system_text, text_of
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

NAME: Final = "gemini"

_SETTINGS: Final[dict[Literal["max_tokens", "temperature", "top_p", "top_k", "seed"], str]] = {
    "max_tokens": "maxOutputTokens",
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "seed": "seed",
}
"""The contract's name of a setting and Gemini's."""

_CHOICES: Final = {
    ToolChoice.MODE_AUTO: "AUTO",
    ToolChoice.MODE_NONE: "NONE",
    ToolChoice.MODE_REQUIRED: "ANY",
    ToolChoice.MODE_TOOL: "ANY",
}

_BUDGETS: Final = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576, "max": 24576}
"""Tokens for an effort, where a model counts tokens (ai.google.dev/gemini-api/docs/openai, seen 2026-11-21)."""
_LEVELS: Final = {
    "minimal": "minimal",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}
"""Words for an effort, which models from Gemini 3 on take (ai.google.dev/gemini-api/docs/thinking, seen 2026-11-21)."""
_LEAST_BUDGET_OF_PRO: Final = 128
"""Gemini 2.5 Pro cannot stop thinking; this is the least it takes."""

_MEDIA: Final = frozenset({"image", "document", "audio"})

_OUR_ID: Final = re.compile(r"call_[0-9a-f]{24}")
"""How the ids look that `core.events.Answer` makes where Gemini gives none; Gemini has never seen them."""

_UNSIGNED: Final = "skip_thought_signature_validator"
"""Stands for the signature of a call that another model made: from Gemini 3 on a call without one is refused
(ai.google.dev/gemini-api/docs/thought-signatures, seen 2026-11-21)."""


def write_body(request: LlmRequest, model: str, *, ids: bool) -> dict[str, Any]:
    """Writes the body of a request; `ids` tells whether the API takes ids of calls."""
    body: dict[str, Any] = {"contents": _contents(request.messages, _generation(model), ids)}
    if system := system_text(request):
        body["systemInstruction"] = {"parts": [{"text": system}]}
    if request.tools:
        body["tools"] = [{"functionDeclarations": [_declaration(tool) for tool in request.tools]}]
    if choice := _tool_choice(request):
        body["toolConfig"] = {"functionCallingConfig": choice}
    if settings := _settings(request, model):
        body["generationConfig"] = settings
    merge(body, options(request))
    return body


def _generation(model: str) -> int:
    """Tells which Gemini a model is; 0 when its name does not say. The names ending in `latest` mean 3 or later."""
    if match := re.search(r"gemini-(\d+)", model):
        return int(match[1])
    return 3 if model.endswith("-latest") else 0


def _declaration(tool: ToolDefinition) -> dict[str, Any]:
    """Writes a tool. `parameters` would take a subset of OpenAPI only; strictness can be asked for all tools or none."""
    declaration: dict[str, Any] = {"name": tool.name, "description": tool.description}
    if tool.input_schema_json.strip():
        declaration["parametersJsonSchema"] = raw_object(tool.input_schema_json)
    return declaration


def _tool_choice(request: LlmRequest) -> dict[str, Any]:
    mode = _CHOICES.get(request.tool_choice.mode)
    # Without any tools the API refuses to hear of a choice, and there is nothing to choose.
    if mode is None or not (request.tools or mode == "ANY"):
        return {}
    if request.tool_choice.mode == ToolChoice.MODE_TOOL:
        return {"mode": mode, "allowedFunctionNames": [request.tool_choice.tool_name]}
    return {"mode": mode}


def _settings(request: LlmRequest, model: str) -> dict[str, Any]:
    settings: dict[str, Any] = {
        theirs: getattr(request, ours) for ours, theirs in _SETTINGS.items() if request.HasField(ours)
    }
    if request.stop:
        settings["stopSequences"] = list(request.stop)
    if request.response_format.WhichOneof("format") in ("json_object", "json_schema"):
        settings["responseMimeType"] = "application/json"
        if schema := request.response_format.json_schema.schema_json.strip():
            settings["responseJsonSchema"] = raw_object(schema)
    if request.reasoning.WhichOneof("measure"):
        settings["thinkingConfig"] = _thinking(request.reasoning, model)
    return settings


def _thinking(reasoning: Reasoning, model: str) -> dict[str, Any]:
    effort = reasoning.effort
    if effort == "none" or not (effort or reasoning.budget_tokens):
        return _least_thinking(model)
    if effort and effort not in _BUDGETS:
        known = ", ".join(["none", *_BUDGETS])
        message = f"reasoning.effort: {effort!r} is unknown here; use one of {known}."
        raise LlmError(INVALID_REQUEST, message, field="reasoning.effort")
    if effort and _generation(model) >= 3:
        least = _least_thinking(model)
        level = least if effort == "minimal" else {"thinkingLevel": _LEVELS[effort]}
        return level | {"includeThoughts": True}
    return {"thinkingBudget": _BUDGETS.get(effort) or reasoning.budget_tokens, "includeThoughts": True}


def _least_thinking(model: str) -> dict[str, Any]:
    """Switches thinking off, or down as far as the model goes."""
    if _generation(model) >= 3:
        return {"thinkingLevel": "low" if "pro" in model else "minimal"}
    return {"thinkingBudget": _LEAST_BUDGET_OF_PRO if "2.5-pro" in model else 0}


class _Calls(dict[str, tuple[int, str]]):
    """The calls so far: by id their number in the conversation and their tool's name."""

    def note(self, calls: Iterable[ToolCall]) -> None:
        """Takes the calls of a turn."""
        for call in calls:
            self[call.id] = (len(self), call.tool_name)


def _contents(messages: Iterable[Message], generation: int, ids: bool) -> list[dict[str, Any]]:
    """Writes the turns; results of tools called together are one turn, in the order of the calls."""
    turns: list[dict[str, Any]] = []
    calls = _Calls()
    spoken = [(index, message) for index, message in enumerate(messages) if message.role != ROLE_SYSTEM]
    for is_result, group in groupby(spoken, key=lambda item: item[1].role == ROLE_TOOL):
        if is_result:
            turns.append({"role": "user", "parts": _results(list(group), calls, generation, ids)})
            continue
        for index, message in group:
            calls.note(message.tool_calls)
            # A turn without parts is refused.
            if parts := _turn(message, f"messages[{index}]", generation, ids):
                turns.append({"role": "model" if message.role == ROLE_ASSISTANT else "user", "parts": parts})
    return turns


def _turn(message: Message, at: str, generation: int, ids: bool) -> list[Any]:
    """Writes a turn's parts, with its calls at the places where they were."""
    calls: dict[int | None, list[Any]] = {}
    for index, call in enumerate(message.tool_calls):
        # Only the first of the calls of one turn is signed.
        unsigned = {"thoughtSignature": _UNSIGNED} if generation >= 3 and not index else {}
        wire = {"functionCall": _call(call, ids), **(_signature(call, f"{at}.tool_calls[{index}]") or unsigned)}
        calls.setdefault(_place(call, message), []).append(wire)
    parts: list[Any] = []
    for place, part in enumerate(parts_of(message)):
        parts += calls.get(place, [])
        parts += _part(part, f"{at}.parts[{place}]")
    return parts + calls.get(None, [])


def _place(call: ToolCall, message: Message) -> int | None:
    """Tells before which part a call stands; None is after all of them."""
    within = call.HasField("part_index") and 0 <= call.part_index < len(message.parts)
    return call.part_index if within else None


def _call(call: ToolCall, ids: bool) -> dict[str, Any]:
    return {"name": call.tool_name, "args": arguments(call), **_id(call.id, ids)}


def _id(id: str, ids: bool) -> dict[str, str]:
    return {"id": id} if ids and id and not _OUR_ID.fullmatch(id) else {}


def _signature(signed: Part | ToolCall, at: str) -> dict[str, str]:
    if not signed.provider_state or not plays_back(signed.origin, NAME):
        return {}
    try:
        return {"thoughtSignature": signed.provider_state.decode("ascii")}
    except UnicodeDecodeError:
        message = f"{at}.provider_state: is not what Gemini wrote; send it back unchanged or leave it out."
        raise LlmError(INVALID_REQUEST, message, field=f"{at}.provider_state") from None


def _part(part: Part, at: str) -> list[Any]:
    """Writes a part; one that says nothing to Gemini is left out, and so are thoughts that it did not sign."""
    kind = part.WhichOneof("kind") or ""
    signature = _signature(part, at)
    if kind == "text":
        return [{"text": part.text, **signature}] if part.text or signature else []
    if kind == "refusal":
        return [{"text": part.refusal}]
    if kind == "thinking" and signature:
        return [{"text": part.thinking, "thought": True, **signature}]
    if kind in _MEDIA:
        return [_media(getattr(part, kind)) | signature]
    if kind == "opaque" and plays_back(part.origin, NAME):
        return [raw_object(part.opaque.block_json)]
    return []


def _media(media: Media) -> dict[str, Any]:
    if media.data:
        return {"inlineData": {"mimeType": media.media_type, "data": base64.b64encode(media.data).decode()}}
    kind = {"mimeType": media.media_type} if media.media_type else {}
    return {"fileData": {**kind, "fileUri": media.url}}


def _results(group: list[tuple[int, Message]], calls: _Calls, generation: int, ids: bool) -> list[Any]:
    """Writes the results of one turn's calls. Without ids the order alone tells the results of one tool apart."""
    group.sort(key=lambda item: calls.get(item[1].tool_call_id, (len(calls), ""))[0])
    parts: list[Any] = []
    media: list[Any] = []
    for index, message in group:
        result = _result(message, index, calls, ids)
        parts.append({"functionResponse": result})
        files = [_media(getattr(part, kind)) for part in message.parts if (kind := part.WhichOneof("kind")) in _MEDIA]
        if files and generation >= 3:
            result["parts"] = files
        else:
            media += files
    # Models before Gemini 3 take files beside the results, not in them.
    return parts + media


def _result(message: Message, index: int, calls: _Calls, ids: bool) -> dict[str, Any]:
    name = message.name or calls.get(message.tool_call_id, (0, ""))[1]
    if not name:
        field = f"messages[{index}].name"
        words = f"{field}: no call before has the id {message.tool_call_id!r}, so Gemini needs the tool's name here."
        raise LlmError(INVALID_REQUEST, words, field=field)
    return {"name": name, "response": _response(message), **_id(message.tool_call_id, ids)}


def _response(message: Message) -> Any:
    """Writes a result as the object that it must be; `error` is the key that Gemini knows for failures."""
    text = text_of(message)
    value = _object(text)
    if message.is_error and (value is None or "error" not in value):
        return {"error": text if value is None else raw_object(text)}
    if value is not None:
        return raw_object(text)
    return {"result": text} if text or not message.parts else {}


def _object(text: str) -> dict[str, Any] | None:
    if not text.lstrip().startswith("{"):
        return None
    try:
        value: dict[str, Any] = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return value
