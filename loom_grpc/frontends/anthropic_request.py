"""Reads requests to Anthropic's API (platform.claude.com/docs/en/api/messages, seen 2026-11-21)."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final

from loom_grpc.core.native import Native
from loom_grpc.frontends.anthropic_content import Messages, system_of
from loom_grpc.frontends.anthropic_state import NAME, without_tokens
from loom_grpc.frontends.body import Fields, HttpError, json_text, read_json, take_headers
from loom_grpc.frontends.frontend import Asked
from loom_grpc.v1.llm_service_pb2 import LlmRequest
from loom_grpc.v1.message_pb2 import (
    ROLE_SYSTEM,
    JsonSchemaFormat,
    Message,
    Reasoning,
    ResponseFormat,
    ToolChoice,
    ToolDefinition,
)

_HEADERS: Final = ("anthropic-version", "anthropic-beta")

_READ: Final = frozenset(
    {
        "model",
        "messages",
        "system",
        "max_tokens",
        "stream",
        "stop_sequences",
        "temperature",
        "top_p",
        "top_k",
        "tools",
        "tool_choice",
        "thinking",
        "output_config",
        "output_format",
    }
)
_HINTS: Final = {
    "billing_policy": "says who pays at Anthropic",
    "cache_control": "saves money and time, and other providers cache by themselves",
    "context_management": "takes out of a long conversation what the model no longer needs, to save tokens",
    "diagnostics": "asks about the prompt cache",
    "fallback_credit_token": "is about the price of a second attempt",
    "metadata": "says on whose behalf the call is made",
    "service_tier": "is about priority",
    "speed": "is about how fast the answer comes",
    "user_profile_id": "says on whose behalf the call is made",
    "workspace_id": "says who pays at Anthropic",
}
"""Fields that another provider need not be told, and why; the answer means the same without them."""
_TOOL_READ: Final = frozenset({"type", "name", "description", "input_schema", "strict", "allowed_callers"})
_TOOL_HINTS: Final = {
    "cache_control": "as above",
    "defer_loading": "saves tokens: the tool is only told of when it is looked for",
    "eager_input_streaming": "is about how soon arguments come",
    "input_examples": "shows what the schema says",
}

_CHOICES: Final = {
    "auto": ToolChoice.MODE_AUTO,
    "any": ToolChoice.MODE_REQUIRED,
    "tool": ToolChoice.MODE_TOOL,
    "none": ToolChoice.MODE_NONE,
}


def read_request(body: bytes, headers: Mapping[str, str], *, counts: bool) -> Asked:
    """Reads a request, or one whose tokens are to be counted; raises `HttpError` where its shape is wrong."""
    value = read_json(body)
    fields = Fields(value)
    untold = _others(fields, _READ | _HINTS.keys())
    if fields.has("thread"):
        raise fields.wrong("thread", "this server keeps no conversations; send all of it each time")
    request = LlmRequest(model=fields.need_text("model"))
    fields.need("messages")
    if not counts:
        fields.need("max_tokens")
    if system := system_of(fields) if fields.has("system") else "":
        request.messages.append(Message(role=ROLE_SYSTEM, content=system))
    messages = Messages(untold)
    for message in fields.objects("messages"):
        messages.add(message)
    request.messages.extend(messages.read)
    _read_tools(request, fields, untold)
    _read_settings(request, fields, untold)
    named = take_headers(headers, _HEADERS)
    native = Native(NAME, _sendable(without_tokens(value)), named, tuple(untold))
    return Asked(request, bool(fields.flag("stream")) and not counts, native)


def _read_settings(request: LlmRequest, fields: Fields, untold: list[str]) -> None:
    for key in ("max_tokens", "top_k"):
        # The least that the API takes of likeliest tokens is 0, which is no limit.
        if (number := fields.integer(key)) is not None and (number or key != "top_k"):
            setattr(request, key, number)
    for key in ("temperature", "top_p"):
        if (share := fields.number(key)) is not None:
            setattr(request, key, share)
    request.stop.extend(fields.texts("stop_sequences"))
    config = fields.object("output_config")
    if config is not None:
        untold += _others(config, {"effort", "format"})
    _read_reasoning(request, fields, config, untold)
    _read_format(request, fields.object("output_format"), untold)
    if config is not None:
        _read_format(request, config.object("format"), untold)


def _read_reasoning(request: LlmRequest, fields: Fields, config: Fields | None, untold: list[str]) -> None:
    """Reads how much to think; thinking that is adaptive is the model's own choice, within the effort."""
    thinking = fields.object("thinking")
    kind = "" if thinking is None else thinking.need_text("type")
    effort = "" if config is None else config.text("effort")
    if thinking is not None and kind == "enabled":
        thinking.need("budget_tokens")
        request.reasoning.budget_tokens = thinking.integer("budget_tokens") or 0
    elif kind == "disabled":
        request.reasoning.budget_tokens = 0
    elif effort:
        request.reasoning.CopyFrom(Reasoning(effort=effort))
    if kind not in ("", "enabled", "disabled", "adaptive"):
        untold.append("thinking")


def _read_format(request: LlmRequest, shape: Fields | None, untold: list[str]) -> None:
    if shape is None:
        return
    if shape.need_text("type") != "json_schema":
        untold.append(shape.at("type"))
        return
    shape.need("schema")
    request.response_format.CopyFrom(
        ResponseFormat(json_schema=JsonSchemaFormat(schema_json=shape.json("schema"), strict=True))
    )


def _read_tools(request: LlmRequest, fields: Fields, untold: list[str]) -> None:
    for index, tool in enumerate(fields.objects("tools")):
        if tool.has("type") and tool.text("type") != "custom":
            untold.append(f"tools[{index}]")  # Anthropic runs it, or knows its schema
        else:
            request.tools.append(_tool(tool, untold))
    choice = fields.object("tool_choice")
    if choice is not None:
        _read_choice(request, choice, untold)


def _tool(fields: Fields, untold: list[str]) -> ToolDefinition:
    callers = fields.texts("allowed_callers")
    if callers and "direct" not in callers:
        untold.append(fields.at("allowed_callers"))  # the model itself is not to call it
    untold += _others(fields, _TOOL_READ | _TOOL_HINTS.keys())
    fields.need("input_schema")
    return ToolDefinition(
        name=fields.need_text("name"),
        description=fields.text("description"),
        input_schema_json=fields.json("input_schema"),
        strict=fields.flag("strict"),
    )


def _read_choice(request: LlmRequest, fields: Fields, untold: list[str]) -> None:
    """Reads the choice; one that only Anthropic's own tools can fulfil is none for others."""
    mode = _CHOICES.get(fields.need_text("type"))
    if mode is None:
        raise fields.wrong("type", f"must be one of {', '.join(_CHOICES)}")
    names = {tool.name for tool in request.tools}
    others = any(at.startswith("tools[") for at in untold)
    name = fields.need_text("name") if mode == ToolChoice.MODE_TOOL else ""
    if others and (name not in names if name else mode == ToolChoice.MODE_REQUIRED and not names):
        untold.append("tool_choice")
        return
    choice = ToolChoice(mode=mode, tool_name=name)
    if (alone := fields.flag("disable_parallel_tool_use")) is not None:
        choice.parallel = not alone
    request.tool_choice.CopyFrom(choice)


def _others(fields: Fields, known: AbstractSet[str]) -> list[str]:
    names = fields.keys()
    return [fields.at(name) for name in names if name not in known]


def _sendable(body: dict[str, Any]) -> dict[str, Any]:
    """Returns a body that can be written again; raises `HttpError` for one that is nested too deeply for that."""
    try:
        json_text(body)
    except TypeError:
        raise HttpError(400, "The body is nested too deeply.") from None
    return body
