"""Reads requests in Loom's JSON (docs/http.md)."""

from __future__ import annotations

from typing import Final, Literal

from loom_grpc.frontends.body import Fields, read_json
from loom_grpc.v1.llm_service_pb2 import LlmRequest
from loom_grpc.v1.message_pb2 import (
    ROLE_ASSISTANT,
    ROLE_SYSTEM,
    ROLE_TOOL,
    ROLE_USER,
    Citation,
    JsonObjectFormat,
    JsonSchemaFormat,
    Media,
    Message,
    Opaque,
    Part,
    Reasoning,
    ResponseFormat,
    TextFormat,
    ToolCall,
    ToolChoice,
    ToolDefinition,
)

_ROLES: Final = {"system": ROLE_SYSTEM, "user": ROLE_USER, "assistant": ROLE_ASSISTANT, "tool": ROLE_TOOL}
_MODES: Final = {
    "auto": ToolChoice.MODE_AUTO,
    "none": ToolChoice.MODE_NONE,
    "required": ToolChoice.MODE_REQUIRED,
    "tool": ToolChoice.MODE_TOOL,
}
_TEXT_PARTS: Final = ("text", "thinking", "redacted_thinking", "refusal")
_MEDIA_PARTS: Final[tuple[Literal["image", "document", "audio"], ...]] = ("image", "document", "audio")


def read_request(body: bytes, provider: str) -> LlmRequest:
    """Reads a request; raises `HttpError` where its shape is wrong."""
    fields = Fields(read_json(body))
    fields.need("messages")
    messages = [_read_message(message) for message in fields.objects("messages")]
    if system := fields.text("system"):
        messages.insert(0, Message(role=ROLE_SYSTEM, content=system))
    return LlmRequest(
        provider=provider,
        model=fields.need_text("model"),
        messages=messages,
        tools=map(_read_tool, fields.objects("tools")),
        max_tokens=fields.integer("max_tokens"),
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        top_k=fields.integer("top_k"),
        seed=fields.integer("seed", bits=64),
        stop=fields.texts("stop"),
        tool_choice=_read_choice(fields.object("tool_choice")),
        response_format=_read_format(fields.object("response_format")),
        reasoning=_read_reasoning(fields.object("reasoning")),
        session_id=fields.text("session_id"),
        labels=fields.mapping("labels"),
        provider_options_json=fields.json("provider_options"),
    )


def _read_message(fields: Fields) -> Message:
    role = _ROLES.get(fields.need_text("role"))
    if role is None:
        raise fields.wrong("role", "must be system, user, assistant or tool")
    fields.need("content", "parts", "tool_calls")
    return Message(
        role=role,
        content=fields.text("content"),
        parts=map(_read_part, fields.objects("parts")),
        tool_calls=map(_read_call, fields.objects("tool_calls")),
        tool_call_id=fields.text("tool_call_id"),
        name=fields.text("name"),
        is_error=bool(fields.flag("is_error")),
    )


def _read_call(fields: Fields) -> ToolCall:
    return ToolCall(
        id=fields.need_text("id"),
        tool_name=fields.need_text("tool_name"),
        arguments_json=fields.json("arguments_json"),
        provider_state=fields.base64("provider_state"),
        origin=fields.text("origin"),
        part_index=fields.integer("part_index"),
    )


def _read_tool(fields: Fields) -> ToolDefinition:
    return ToolDefinition(
        name=fields.need_text("name"),
        description=fields.text("description"),
        input_schema_json=fields.json("input_schema"),
        strict=fields.flag("strict"),
    )


def _read_part(fields: Fields) -> Part:
    part = Part(provider_state=fields.base64("provider_state"), origin=fields.text("origin"))
    for kind in _TEXT_PARTS:
        if fields.has(kind):
            setattr(part, kind, fields.text(kind))
    for medium in _MEDIA_PARTS:
        if (media := fields.object(medium)) is not None:
            getattr(part, medium).CopyFrom(_read_media(media))
    if (opaque := fields.object("opaque")) is not None:
        part.opaque.CopyFrom(Opaque(type=opaque.text("type"), block_json=opaque.json("block_json")))
    if (citation := fields.object("citation")) is not None:
        part.citation.CopyFrom(_read_citation(citation))
    return part


def _read_media(fields: Fields) -> Media:
    media = Media(media_type=fields.text("media_type"), name=fields.text("name"), data=fields.base64("data"))
    if fields.has("url"):
        media.url = fields.text("url")
    return media


def _read_citation(fields: Fields) -> Citation:
    return Citation(
        url=fields.text("url"),
        title=fields.text("title"),
        cited_text=fields.text("cited_text"),
        citation_json=fields.json("citation_json"),
    )


def _read_choice(fields: Fields | None) -> ToolChoice | None:
    if fields is None:
        return None
    mode = _MODES.get(fields.need_text("mode"))
    if mode is None:
        raise fields.wrong("mode", f"must be one of {', '.join(_MODES)}")
    return ToolChoice(mode=mode, tool_name=fields.text("tool_name"), parallel=fields.flag("parallel"))


def _read_format(fields: Fields | None) -> ResponseFormat | None:
    if fields is None:
        return None
    if (schema := fields.object("json_schema")) is not None:
        schema.need("schema_json")
        json_schema = JsonSchemaFormat(
            name=schema.text("name"),
            schema_json=schema.json("schema_json"),
            description=schema.text("description"),
            strict=schema.flag("strict"),
        )
        return ResponseFormat(json_schema=json_schema)
    fields.need("json_schema", "json_object", "text")
    if fields.has("json_object"):
        return ResponseFormat(json_object=JsonObjectFormat())
    return ResponseFormat(text=TextFormat())


def _read_reasoning(fields: Fields | None) -> Reasoning | None:
    if fields is None:
        return None
    fields.need("effort", "budget_tokens")
    if fields.has("effort"):
        return Reasoning(effort=fields.text("effort"))
    return Reasoning(budget_tokens=fields.integer("budget_tokens") or 0)
