"""OpenAI's Responses API (platform.openai.com/docs/api-reference/responses, seen 2026-11-21), as callers speak it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import orjson

from loom_grpc.core.call import Call
from loom_grpc.core.errors import LlmError
from loom_grpc.core.exact import dumps, loads
from loom_grpc.core.native import Native
from loom_grpc.frontends import openai_error
from loom_grpc.frontends.body import HttpError, read_json, take_headers
from loom_grpc.frontends.frontend import Asked
from loom_grpc.frontends.openai_responses_kept import ENCRYPTED, TOKEN_CHARS
from loom_grpc.frontends.openai_responses_output import Output
from loom_grpc.frontends.openai_responses_request import ORIGIN, OURS, native_items, read_request
from loom_grpc.v1.llm_service_pb2 import (
    STOP_REASON_CONTENT_FILTER,
    STOP_REASON_LENGTH,
    STOP_REASON_PAUSED,
    CountTokensResponse,
    LlmEvent,
    LlmResponse,
    StopReason,
)
from loom_grpc.v1.usage_pb2 import Usage

_INCOMPLETE: Final[dict[StopReason.ValueType, str]] = {
    STOP_REASON_LENGTH: "max_output_tokens",
    STOP_REASON_PAUSED: "max_output_tokens",  # the one word that says that more could come
    STOP_REASON_CONTENT_FILTER: "content_filter",
}
"""Why a response is not complete; for the other reasons it is."""

_RENAMES: Final[openai_error.Renames] = (
    (re.compile(r"messages\b.*"), "input"),
    (re.compile(r"(tools\[\d+\])\.input_schema_json"), r"\1.parameters"),
    (re.compile(r"tool_choice\.tool_name"), "tool_choice.name"),
    (re.compile(r"tool_choice\.mode"), "tool_choice"),
    (re.compile(r"response_format\.json_schema\.schema_json"), "text.format.schema"),
    (re.compile(r"max_tokens"), "max_output_tokens"),
)
_HEADERS: Final = ("openai-beta",)
"""The caller's headers that a provider of the same dialect is sent."""

_DEFAULTS: Final[dict[str, Any]] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": None,
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
"""The fields of the request that come back in the response, and what they are when the caller says nothing."""

_NO_PREVIOUS: Final = re.compile(rb'"previous_response_id":\s*null')
_TYPE: Final = b'{"type":"'


class OpenAIResponses(openai_error.OpenAIApi):
    """The front end; `now` tells the seconds since 1970."""

    name = ORIGIN
    renames = _RENAMES

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now

    def read(self, body: bytes, path: Mapping[str, str], headers: Mapping[str, str]) -> Asked:
        """Reads a request that is all in its body; raises `HttpError`."""
        return self.ask(read_body(body), headers)

    def ask(self, value: Mapping[str, Any], headers: Mapping[str, str]) -> Asked:
        """Reads a request whose input is complete; raises `HttpError`."""
        request, untold = read_request(value)
        kept = take_headers(headers, _HEADERS)
        return Asked(request, bool(value.get("stream")), Native(ORIGIN, _told(value), kept, untold))

    def writer(self, asked: Asked, call: Call) -> ResponsesWriter:
        """Returns what writes the answer to a call."""
        return ResponsesWriter(asked.native.body if asked.native is not None else {}, self._now)

    def count(self, counted: CountTokensResponse) -> bytes:
        """Writes a number of prompt tokens."""
        return orjson.dumps({"object": "response.input_tokens", "input_tokens": counted.input_tokens})


def read_body(body: bytes) -> dict[str, Any]:
    """Reads a request's object; raises `HttpError`."""
    value = read_json(body)
    if not isinstance(value, dict):
        raise HttpError(400, "The body must be a JSON object.")
    if value.get("background"):
        raise HttpError(400, "Background responses are not available here; leave background out.", "background")
    return value


def _told(value: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the request as a provider may be told it."""
    given = value.get("input")
    return {**value, "input": native_items(given)} if isinstance(given, list) else dict(value)


class ResponsesWriter:
    """Writes one answer: the provider's own words where it speaks this dialect, else a response made of events.

    `body` is the request. The response that is kept for the next turn is in `final` when the answer is complete.
    """

    media_type = "text/event-stream"

    def __init__(self, body: Mapping[str, Any], now: Callable[[], float]) -> None:
        self._now = now
        self._previous: str = body.get("previous_response_id") or ""
        self._number = 0
        """The next event's `sequence_number`."""
        self._relays: bool | None = None
        """Whether the stream is in the provider's own words; None until its first event."""
        self._last = b""
        """What the provider wrote last."""
        self._begun = False
        self._head = b""
        """How the event of more text begins, while text would go on with what came last."""
        self._ending = b""
        self._whole = b""
        token = f"{OURS}{secrets.token_hex(TOKEN_CHARS // 2)}"
        self._response = _echo(body) | {"id": f"resp{token}", "created_at": int(now())}
        self._output = Output(token, shows_state=ENCRYPTED in (body.get("include") or ()))
        self.final: dict[str, Any] = {}

    def event(self, event: LlmEvent) -> bytes:
        """Writes an event of a stream."""
        native = event.native_json
        if native and self._may_relay(native):
            return self._relay(native)
        kind = event.WhichOneof("event") or ""
        if self._relays:
            return b""
        if kind == "text_delta" and self._head:
            return self._text(event.text_delta.content)
        write = _WRITERS.get(kind)
        return b"" if write is None else write(self, event)

    def foresee(self, event: LlmEvent) -> None:
        """Takes `completed` of a stream before it is written, so that `final` can be kept before the caller knows of it."""
        native = event.native_json
        if native and self._may_relay(native):
            self._last = native
        if self._relays:
            self.final = self._patched(loads(self._last).get("response") or {})
        else:
            self._ending = self._begin() + self._end(event.completed.response)

    def whole(self, response: LlmResponse, native_json: bytes) -> bytes:
        """Writes a response."""
        if not self._whole:
            self._whole = self._native_whole(native_json) if native_json else self._own_whole(response)
        return self._whole

    def failed(self, error: LlmError) -> bytes:
        """Writes the error, and the response that failed with it."""
        words = orjson.loads(openai_error.failure(error, _RENAMES)[1])["error"]
        told = b"" if self._relays else self._begin()
        told += self._write({"type": "error", "error": words})
        if self._relays:
            return told
        failed = {"code": words["code"] or "server_error", "message": words["message"]}
        told += b"".join(map(self._write, self._output.close("incomplete")))
        self._response |= {"status": "failed", "error": failed, "output": self._output.shown()}
        return told + self._write({"type": "response.failed", "response": self._response})

    def keep_alive(self) -> bytes:
        """Writes a comment."""
        return b": keep-alive\n\n"

    def started(self, event: LlmEvent) -> bytes:
        """Keeps who speaks for the event that follows: it may be in the provider's own words."""
        self._response["model"] = event.started.model
        return b""

    def text(self, event: LlmEvent) -> bytes:
        """Writes the first text of a piece; what follows differs from it only in the text and the number."""
        told = self._tell(self._output.text(event.text_delta.content))
        delta = {"type": "response.output_text.delta", **self._output.place("content_index")}
        self._head = (
            b"event: response.output_text.delta\ndata: " + orjson.dumps(delta)[:-1] + b',"logprobs":[],"delta":'
        )
        return told

    def thinking(self, event: LlmEvent) -> bytes:
        """Writes a piece of reasoning."""
        return self._tell(self._output.thinking(event.thinking_delta.content))

    def tool(self, event: LlmEvent) -> bytes:
        """Writes a piece of a tool call."""
        return self._tell(self._output.tool(event.tool_call_delta))

    def part(self, event: LlmEvent) -> bytes:
        """Writes a part that the API can show."""
        return self._tell(self._output.part(event.part))

    def completed(self, event: LlmEvent) -> bytes:
        """Writes the end of every item, and the response."""
        if not self._ending:
            self.foresee(event)
        return self._ending

    def _text(self, content: str) -> bytes:
        self._output.add_text(content)
        number, self._number = self._number, self._number + 1
        return self._head + orjson.dumps(content) + b',"sequence_number":%d}\n\n' % number

    def _may_relay(self, native: bytes) -> bool:
        if self._relays is None:
            # A whole response in answer to a request for a stream is no event, but our own events tell it.
            kind = str(orjson.loads(native).get("type"))
            self._relays = kind.startswith("response.") or kind == "error"
        return self._relays

    def _relay(self, native: bytes) -> bytes:
        self._last = native
        self._number += 1
        if self._previous:
            named = b'"previous_response_id":' + orjson.dumps(self._previous)
            native = _NO_PREVIOUS.sub(lambda _: named, native)
        if b"\n" in native:
            native = native.replace(b"\n", b" ")
        return b"event: " + _type_of(native) + b"\ndata: " + native + b"\n\n"

    def _native_whole(self, native: bytes) -> bytes:
        value = loads(native)
        is_event = "type" in value and "response" in value  # the last one of a stream that nobody asked for
        self.final = self._patched(value["response"] if is_event else value)
        return dumps(self.final).encode() if is_event or self._previous else native

    def _patched(self, response: dict[str, Any]) -> dict[str, Any]:
        """Returns what the provider answered with the id of the response before, which the provider was not told."""
        return {**response, "previous_response_id": self._previous} if self._previous else response

    def _own_whole(self, response: LlmResponse) -> bytes:
        self._response["model"] = response.model
        for _ in self._output.speak(response.message):
            pass
        self._end(response)
        return dumps(self._response).encode()

    def _end(self, response: LlmResponse) -> bytes:
        """Completes the response, and writes what a stream ends with."""
        reason = _INCOMPLETE.get(response.stop_reason)
        status = "incomplete" if reason else "completed"
        told = b"".join(map(self._write, self._output.end(response.message, status)))
        self._response |= {
            "status": status,
            "incomplete_details": {"reason": reason} if reason else None,
            "completed_at": int(self._now()) if not reason else None,
            "output": self._output.shown(),
            "usage": _usage(response.usage) if response.HasField("usage") else None,
        }
        self.final = {**self._response, "output": self._output.items}
        return told + self._write({"type": f"response.{status}", "response": self._response})

    def _begin(self) -> bytes:
        """Writes what every stream begins with, once."""
        if self._begun:
            return b""
        self._begun = True
        kinds = ("response.created", "response.in_progress")
        return b"".join(self._write({"type": kind, "response": self._response}) for kind in kinds)

    def _tell(self, events: Iterable[dict[str, Any]]) -> bytes:
        self._head = b""
        return self._begin() + b"".join(map(self._write, events))

    def _write(self, event: dict[str, Any]) -> bytes:
        kind: str = event["type"]
        number, self._number = self._number, self._number + 1
        # What the caller said comes back in a response, and may have numbers that are longer than a machine's.
        write = dumps if "response" in event else _plain
        return f"event: {kind}\ndata: {write({**event, 'sequence_number': number})}\n\n".encode()


_WRITERS: Final[dict[str, Callable[[ResponsesWriter, LlmEvent], bytes]]] = {
    "started": ResponsesWriter.started,
    "text_delta": ResponsesWriter.text,
    "thinking_delta": ResponsesWriter.thinking,
    "tool_call_delta": ResponsesWriter.tool,
    "part": ResponsesWriter.part,
    "completed": ResponsesWriter.completed,
}


def _plain(event: dict[str, Any]) -> str:
    return orjson.dumps(event).decode()


def _type_of(native: bytes) -> bytes:
    """Returns an event's type; most providers write it first."""
    if native.startswith(_TYPE):
        return native[len(_TYPE) : native.index(b'"', len(_TYPE))]
    return str(orjson.loads(native).get("type")).encode()


def _echo(body: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the response before anything of it has come: what the request said."""
    said = {key: body[key] if body.get(key) is not None else default for key, default in _DEFAULTS.items()}
    reasoning, text = body.get("reasoning") or {}, body.get("text") or {}
    return {
        "id": "",
        "object": "response",
        "created_at": 0,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": "",
        "output": [],
        **said,
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "text": {"format": {"type": "text"}, **{key: value for key, value in text.items() if value is not None}},
        "usage": None,
    }


def _usage(usage: Usage) -> dict[str, Any]:
    """Writes tokens; the input's include the cached ones, and the output's the reasoning ones, as in the contract."""
    details = {"cached_tokens": usage.cache_read_tokens, "cache_write_tokens": usage.cache_write_tokens}
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": details,
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
