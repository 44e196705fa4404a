"""Writes answers in Loom's JSON, whole or as server-sent events (docs/http.md)."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import orjson
from google.protobuf import json_format

from loom_grpc.core.call import Call
from loom_grpc.core.errors import LlmError, reason_name
from loom_grpc.core.notice import Notice
from loom_grpc.frontends import rate_limit
from loom_grpc.frontends.body import HttpError
from loom_grpc.frontends.frontend import Asked
from loom_grpc.frontends.loom_error import body_words, error_body, event_words, http_status, particulars
from loom_grpc.frontends.loom_request import read_request
from loom_grpc.v1.llm_service_pb2 import (
    Completed,
    LlmEvent,
    LlmResponse,
    Restarted,
    ServerQuery,
    Started,
    StopReason,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
)
from loom_grpc.v1.message_pb2 import Part, ToolCall
from loom_grpc.v1.usage_pb2 import Usage


class Loom:
    """Loom's endpoints, of which one answers whole and one as a `stream`; `extended` is for callers who know more than Loom does."""

    name = "loom"

    def __init__(
        self,
        *,
        stream: bool,
        extended: bool,
        empty_arguments: Literal["object", "null"] = "object",
        rate_limit_status: Literal[429, 503] = 429,
    ) -> None:
        self._stream = stream
        self._extended = extended
        self._writer = Writer(extended=extended, empty_arguments=empty_arguments, rate_limit_status=rate_limit_status)

    def read(self, body: bytes, path: Mapping[str, str], headers: Mapping[str, str]) -> Asked:
        """Reads a request; the provider is a piece of the path. Raises `HttpError`."""
        return Asked(read_request(body, path["provider"]), self._stream, restarts=self._extended)

    def writer(self, asked: Asked, call: Call) -> Writer:
        """Returns what writes all answers."""
        return self._writer

    def failure(self, error: LlmError, request_id: str) -> tuple[int, bytes]:
        """Returns the HTTP status and the body of a call that failed before its first event."""
        return self._writer.failure(error)

    def refusal(self, error: HttpError, request_id: str) -> tuple[int, bytes]:
        """Returns the HTTP status and the body for a request that is no call."""
        return error.status, error_body(error.status, error.message)

    def headers(self, request_id: str) -> Mapping[str, str]:
        """Returns nothing: Loom's clients look for no other header."""
        return {}

    def limits(self, notices: Sequence[Notice], now: float) -> Mapping[str, str]:
        """Returns the headers that tell how the caller's limits stand."""
        return rate_limit.draft(notices)


class Writer:
    """Writes answers. `extended` adds the events and fields that Loom itself does not know."""

    media_type = "text/event-stream"

    def __init__(
        self,
        *,
        extended: bool,
        empty_arguments: Literal["object", "null"] = "object",
        rate_limit_status: Literal[429, 503] = 429,
    ) -> None:
        self._extended = extended
        self._rate_limit_status = rate_limit_status
        self._empty: dict[str, Any] | None = {} if empty_arguments == "object" else None
        self._events: dict[str, Callable[[Any], dict[str, Any]]] = {
            "text_delta": _text_delta,
            "tool_call_delta": _tool_call_delta,
            "server_query": _server_query,
            "completed": self._completed,
        }
        if extended:
            self._events |= {
                "started": _started,
                "thinking_delta": _thinking_delta,
                "tool_call_delta": _indexed_tool_call_delta,
                "part": _part_event,
                "restarted": self._restarted,
            }

    def event(self, event: LlmEvent) -> bytes:
        """Writes an event of a stream; empty when this caller is not shown such events."""
        kind = event.WhichOneof("event")
        write = self._events.get(kind or "")
        return b"" if write is None else _frame(write(getattr(event, kind or "")))

    def failed(self, error: LlmError) -> bytes:
        """Writes the last event of a stream that failed."""
        value: dict[str, Any] = {"type": "error", "message": event_words(error)}
        if self._extended:
            value |= particulars(error)
            if error.partial is not None:
                value["partial"] = self._response(error.partial)
        return _frame(value)

    def failure(self, error: LlmError) -> tuple[int, bytes]:
        """Returns the HTTP status and the body of a call that failed before its first event."""
        status = http_status(error)
        if status == 429:
            status = self._rate_limit_status
        return status, error_body(status, body_words(error), particulars(error) if self._extended else None)

    def keep_alive(self) -> bytes:
        """Writes a comment."""
        return b": keep-alive\n\n"

    def whole(self, response: LlmResponse, native_json: bytes = b"") -> bytes:
        """Writes a whole answer."""
        return orjson.dumps(self._response(response))

    def _completed(self, completed: Completed) -> dict[str, Any]:
        return {"type": "completed", "response": self._response(completed.response)}

    def _response(self, response: LlmResponse) -> dict[str, Any]:
        calls = [self._call(call) for call in response.tool_calls]
        message: dict[str, Any] = {"role": "assistant", "content": response.message.content}
        value: dict[str, Any] = {"message": message, "tool_calls": calls}
        if response.HasField("usage"):
            value["usage"] = self._usage(response.usage)
        if response.finish_reason:
            value["finish_reason"] = response.finish_reason
        if self._extended:
            # The message goes back as it is in the next request, so it has its calls too.
            if calls:
                message["tool_calls"] = calls
            if response.message.parts:
                message["parts"] = [_part(part) for part in response.message.parts]
            value |= _particulars(response)
        return value

    def _call(self, call: ToolCall) -> dict[str, Any]:
        arguments = self._arguments(call.arguments_json)
        value = {"id": call.id, "tool_name": call.tool_name, "arguments_json": arguments}
        if self._extended:
            if call.provider_state:
                value["provider_state"] = base64.b64encode(call.provider_state).decode()
                value["origin"] = call.origin
            if call.HasField("part_index"):
                value["part_index"] = call.part_index
        return value

    def _arguments(self, text: str) -> object:
        """Embeds the arguments; those that are no JSON become null, as in Loom."""
        value = _loads(text) if text.strip() else {}
        return self._empty if value == {} else value and _embed(text)

    def _restarted(self, restarted: Restarted) -> dict[str, Any]:
        value = {
            "type": "restarted",
            "attempt": restarted.attempt,
            "provider": restarted.provider,
            "model": restarted.model,
            "reason": reason_name(restarted.reason),
        }
        return value | {"usage": self._usage(restarted.usage)} if restarted.HasField("usage") else value

    def _usage(self, usage: Usage) -> dict[str, Any]:
        value: dict[str, Any] = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
        if self._extended:
            value["cache_read_tokens"] = usage.cache_read_tokens
            value["cache_write_tokens"] = usage.cache_write_tokens
            value["reasoning_tokens"] = usage.reasoning_tokens
            value["estimated"] = usage.estimated
            if usage.provider_usage_json:
                value["provider_usage_json"] = _embed(usage.provider_usage_json)
        return value


def _frame(value: dict[str, Any]) -> bytes:
    return b"event: llm\ndata: %b\n\n" % orjson.dumps(value)


def _text_delta(delta: TextDelta) -> dict[str, Any]:
    return {"type": "text_delta", "content": delta.content}


def _thinking_delta(delta: ThinkingDelta) -> dict[str, Any]:
    return {"type": "thinking_delta", "content": delta.content}


def _tool_call_delta(delta: ToolCallDelta) -> dict[str, Any]:
    return {
        "type": "tool_call_delta",
        "call_id": delta.call_id,
        "tool_name": delta.tool_name,
        "arguments_fragment": delta.arguments_fragment,
    }


def _indexed_tool_call_delta(delta: ToolCallDelta) -> dict[str, Any]:
    return {**_tool_call_delta(delta), "index": delta.index}


def _server_query(query: ServerQuery) -> dict[str, Any]:
    return {
        "type": "server_query",
        "id": query.id,
        "kind": _embed(query.kind_json),
        "sent_at": query.sent_at,
        "timeout_secs": query.timeout_secs,
        "metadata": _embed(query.metadata_json or "{}"),
    }


def _started(started: Started) -> dict[str, Any]:
    return {
        "type": "started",
        "id": started.id,
        "provider": started.provider,
        "model": started.model,
        "attempt": started.attempt,
    }


def _part_event(part: Part) -> dict[str, Any]:
    return {"type": "part", "part": _part(part)}


def _part(part: Part) -> dict[str, Any]:
    value: dict[str, Any] = json_format.MessageToDict(part, preserving_proto_field_name=True)
    if part.HasField("opaque"):
        value["opaque"]["block_json"] = _embed(part.opaque.block_json)
    if part.citation.citation_json:
        value["citation"]["citation_json"] = _embed(part.citation.citation_json)
    return value


def _particulars(response: LlmResponse) -> dict[str, Any]:
    """Returns what Loom does not tell of an answer."""
    value: dict[str, Any] = {"id": response.id, "provider": response.provider, "model": response.model}
    if response.stop_reason:
        value["stop_reason"] = StopReason.Name(response.stop_reason).removeprefix("STOP_REASON_").lower()
    if response.HasField("cost"):
        value["cost"] = {"nanos": response.cost.nanos, "currency_code": response.cost.currency_code}
    return value


def _embed(text: str) -> orjson.Fragment | None:
    """Embeds JSON text word for word, on one line; None for what is no JSON."""
    if _loads(text) is None:
        return None
    # Line ends are only between tokens: within a string JSON has them escaped.
    return orjson.Fragment(text.replace("\n", " ").replace("\r", " "))


def _loads(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
