"""Anthropic's Messages API, as callers speak it (platform.claude.com/docs/en/api/messages and .../streaming, seen 2026-11-21)."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import orjson

from loom_grpc.core.call import Call
from loom_grpc.core.errors import LlmError
from loom_grpc.core.notice import Notice
from loom_grpc.core.request import state_object
from loom_grpc.frontends import rate_limit
from loom_grpc.frontends.anthropic_error import failure, refusal, stream_end
from loom_grpc.frontends.anthropic_request import read_request
from loom_grpc.frontends.anthropic_state import NAME, part_token, signature_of, turn_token
from loom_grpc.frontends.body import HttpError
from loom_grpc.frontends.frontend import Asked
from loom_grpc.v1.llm_service_pb2 import (
    STOP_REASON_CONTENT_FILTER,
    STOP_REASON_LENGTH,
    STOP_REASON_PAUSED,
    STOP_REASON_REFUSAL,
    STOP_REASON_STOP,
    STOP_REASON_TOOL_CALLS,
    Completed,
    CountTokensResponse,
    LlmEvent,
    LlmResponse,
    Started,
    StopReason,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
)
from loom_grpc.v1.message_pb2 import Citation, Media, Message, Part, ToolCall
from loom_grpc.v1.usage_pb2 import Usage

_STOP: Final[dict[StopReason.ValueType, str]] = {
    STOP_REASON_STOP: "end_turn",
    STOP_REASON_LENGTH: "max_tokens",
    STOP_REASON_TOOL_CALLS: "tool_use",
    STOP_REASON_CONTENT_FILTER: "refusal",
    STOP_REASON_REFUSAL: "refusal",
    STOP_REASON_PAUSED: "pause_turn",
}
_OWN_STOP: Final = frozenset({*_STOP.values(), "stop_sequence", "model_context_window_exceeded"})
"""The API's own words, which its providers have used already."""

_PING: Final = b'event: ping\ndata: {"type": "ping"}\n\n'
_START: Final = b'event: content_block_start\ndata: {"type":"content_block_start","index":%d,"content_block":%b}\n\n'
_DELTA: Final = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":%b}}\n\n'
_END: Final = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'
_STOPPED: Final = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'

_TEXT: Final = b'{"type":"text","text":""}'
_THINKING: Final = b'{"type":"thinking","thinking":"","signature":""}'

_TYPE: Final = re.compile(rb'\s*\{\s*"type"\s*:\s*"([a-z_]+)"')
"""How every event of the API begins in practice; of others the type is looked for."""


class Messages:
    """The front end; `counts` is for the address that counts the tokens of a prompt."""

    name = NAME

    def __init__(self, *, counts: bool = False) -> None:
        self._counts = counts

    def read(self, body: bytes, path: Mapping[str, str], headers: Mapping[str, str]) -> Asked:
        """Reads a request; raises `HttpError` where its shape is wrong."""
        return read_request(body, headers, counts=self._counts)

    def writer(self, asked: Asked, call: Call) -> Writer:
        """Returns what writes the answer to a call."""
        return Writer(call.request_id)

    def count(self, counted: CountTokensResponse) -> bytes:
        """Writes a number of prompt tokens."""
        return orjson.dumps({"input_tokens": counted.input_tokens})

    def failure(self, error: LlmError, request_id: str) -> tuple[int, bytes]:
        """Returns the HTTP status and the body of a call that failed before anything was sent."""
        return failure(error, request_id)

    def refusal(self, error: HttpError, request_id: str) -> tuple[int, bytes]:
        """Returns the HTTP status and the body for a request that is no call."""
        return refusal(error, request_id)

    def headers(self, request_id: str) -> Mapping[str, str]:
        """Names the request as the API does."""
        return {"request-id": request_id}

    def limits(self, notices: Sequence[Notice], now: float) -> Mapping[str, str]:
        """Returns the headers that tell how the caller's limits stand."""
        return rate_limit.anthropic(notices, now)


class _Spelling:
    """A call's block in a stream."""

    __slots__ = ("fragments", "index")

    def __init__(self, index: int) -> None:
        self.index = index
        self.fragments: list[str] = []

    def whole(self) -> bool:
        """Tells whether the arguments can be read, so that no more of them will come."""
        try:
            orjson.loads("".join(self.fragments))
        except orjson.JSONDecodeError:
            return False
        return True


class Writer:
    """Writes one answer.

    What a provider of the same dialect wrote is passed on as it is. Of others the number of prompt tokens is not known when a stream
    begins: `message_start` says 0, and `message_delta` at the end has all counts, which the API's clients put over the former.
    """

    media_type = "text/event-stream"

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id
        self._relays = False
        self._head = b""
        """The beginning, which leaves with the next event: a relayed stream has one of its own."""
        self._blocks = 0
        """How many blocks have begun; the open one, if it is of text or thoughts, is the last."""
        self._kind = ""
        self._calls: dict[int, _Spelling] = {}
        self._spelled: set[int] = set()
        self._thoughts = 0
        self._signed: set[int] = set()
        self._write: dict[str | None, Callable[[Any], bytes]] = {
            "started": self._start,
            "text_delta": self._text,
            "thinking_delta": self._think,
            "tool_call_delta": self._spell,
            "part": self._part,
            "completed": self._complete,
        }

    def event(self, event: LlmEvent) -> bytes:
        """Writes an event of a stream; empty where the API says nothing of it."""
        native = event.native_json
        if native and (kind := _kind(native)) != b"message":
            self._relays = True
            # A line's end between two tokens would end the event's line too.
            return b"event: %b\ndata: %b\n\n" % (kind, native.replace(b"\r", b" ").replace(b"\n", b" "))
        if self._relays:
            return b""
        name = event.WhichOneof("event")
        write = self._write.get(name)
        if write is None:
            return b""
        head, self._head = self._head, b""
        return head + write(getattr(event, str(name)))

    def failed(self, error: LlmError) -> bytes:
        """Writes the end of a stream that failed; its blocks stay open, so that nobody takes them for whole."""
        return stream_end(error, self._request_id)

    def keep_alive(self) -> bytes:
        """Writes a ping."""
        return _PING

    def whole(self, response: LlmResponse, native_json: bytes) -> bytes:
        """Writes a whole answer; one that came as a stream is put together anew."""
        if native_json and _kind(native_json) == b"message":
            return native_json
        value = self._message(response.id, response.model)
        value["content"] = _content(response.message)
        value["stop_reason"] = _stop_reason(response)
        value["usage"] = _usage(response.usage)
        return orjson.dumps(value)

    def _message(self, id: str, model: str) -> dict[str, Any]:
        return {
            "id": id or f"msg_{self._request_id}",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }

    def _start(self, started: Started) -> bytes:
        self._head = _frame("message_start", {"message": self._message(started.id, started.model)})
        return b""

    def _text(self, delta: TextDelta) -> bytes:
        return self._say(delta.content)

    def _say(self, text: str) -> bytes:
        begin = b"" if self._kind == "text" else self._begin("text", _TEXT)
        return begin + self._delta(b'"text_delta","text":' + orjson.dumps(text))

    def _think(self, delta: ThinkingDelta) -> bytes:
        begin = b"" if self._kind == "thinking" else self._begin("thinking", _THINKING)
        return begin + self._delta(b'"thinking_delta","thinking":' + orjson.dumps(delta.content))

    def _spell(self, delta: ToolCallDelta) -> bytes:
        begin = b"" if delta.index in self._spelled else self._begin_call(delta)
        fragment = delta.arguments_fragment
        if not fragment:
            return begin
        spelling = self._calls.get(delta.index)
        if spelling is None:
            return begin  # after whole arguments nothing but blanks can follow
        spelling.fragments.append(fragment)
        return begin + _DELTA % (spelling.index, b'"input_json_delta","partial_json":' + orjson.dumps(fragment))

    def _begin_call(self, delta: ToolCallDelta) -> bytes:
        block = {"type": "tool_use", "id": delta.call_id, "name": delta.tool_name, "input": {}}
        begun = self._begin("", orjson.dumps(block))
        self._spelled.add(delta.index)
        self._calls[delta.index] = _Spelling(self._blocks - 1)
        return begun

    def _part(self, part: Part) -> bytes:
        match part.WhichOneof("kind"):
            case "thinking":
                return self._sign(part)
            case "citation":
                begin = b"" if self._kind == "text" else self._begin("text", _TEXT)
                return begin + self._delta(b'"citations_delta","citation":' + orjson.dumps(_citation(part)))
            case "refusal":
                return self._shut() + self._say(part.refusal) + self._shut()
        return self._begin("", orjson.dumps(_block(part))) + _END % (self._blocks - 1)

    def _sign(self, part: Part) -> bytes:
        """Ends the open thoughts with their signature; thoughts that were never shown are a block of nothing else."""
        if self._kind != "thinking":
            if part.thinking:
                return b""  # they are over; the turn's token will have their state
            return self._begin("thinking", _THINKING) + self._end_thinking(part)
        return self._end_thinking(part)

    def _end_thinking(self, part: Part) -> bytes:
        if part.provider_state:
            self._signed.add(self._thoughts)
        self._thoughts += 1
        self._kind = ""
        signature = self._delta(b'"signature_delta","signature":' + orjson.dumps(signature_of(part)))
        return signature + _END % (self._blocks - 1)

    def _begin(self, kind: str, block: bytes) -> bytes:
        """Opens the next block and ends those before it."""
        shut = self._shut()
        self._kind = kind
        self._blocks += 1
        return shut + _START % (self._blocks - 1, block)

    def _shut(self, *, last: bool = False) -> bytes:
        """Ends the open blocks; calls whose arguments are still coming are left open until the `last` moment."""
        ends = b""
        if self._kind == "thinking":
            ends = self._end_thinking(Part())
        elif self._kind:
            ends = _END % (self._blocks - 1)
        self._kind = ""
        for number, spelling in list(self._calls.items()):
            if last or spelling.whole():
                del self._calls[number]
                ends += _END % spelling.index
        return ends

    def _delta(self, delta: bytes) -> bytes:
        return _DELTA % (self._blocks - 1, delta)

    def _complete(self, completed: Completed) -> bytes:
        response = completed.response
        pieces = [self._shut(last=True)]
        if token := turn_token(response.message, self._signed):
            block = orjson.dumps({"type": "redacted_thinking", "data": token})
            pieces += [self._begin("", block), _END % (self._blocks - 1)]
        delta = {"stop_reason": _stop_reason(response), "stop_sequence": None}
        pieces += [_frame("message_delta", {"delta": delta, "usage": _usage(response.usage)}), _STOPPED]
        return b"".join(pieces)


def _kind(native: bytes) -> bytes:
    match = _TYPE.match(native)
    return match[1] if match else str(orjson.loads(native).get("type")).encode()


def _frame(kind: str, value: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps({"type": kind, **value}))


def _stop_reason(response: LlmResponse) -> str | None:
    """Returns the API's word; None where the provider gave no reason, for there is no word for that."""
    if response.finish_reason in _OWN_STOP:
        return response.finish_reason
    return _STOP.get(response.stop_reason)


def _usage(usage: Usage) -> dict[str, Any]:
    """Writes the counts; where the provider gave none they are 0, as the API's clients need numbers."""
    cached = usage.cache_read_tokens + usage.cache_write_tokens
    value: dict[str, Any] = {
        "input_tokens": max(0, usage.input_tokens - cached),
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cache_read_tokens,
        "output_tokens": usage.output_tokens,
    }
    if usage.reasoning_tokens:
        value["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return value


def _content(message: Message) -> list[Any]:
    """Writes a whole turn's blocks, with its calls at the places where they were."""
    if not message.parts:
        blocks: list[Any] = [{"type": "text", "text": message.content}] if message.content else []
        return _closed(blocks + [_tool_use(call) for call in message.tool_calls], message)
    blocks = []
    calls = list(message.tool_calls)
    for place, part in enumerate(message.parts):
        while calls and calls[0].HasField("part_index") and calls[0].part_index <= place:
            blocks.append(_tool_use(calls.pop(0)))
        _add_block(blocks, part)
    return _closed(blocks + [_tool_use(call) for call in calls], message)


def _closed(blocks: list[Any], message: Message) -> list[Any]:
    """Adds the token of the state that the blocks cannot hold."""
    token = turn_token(message, range(len(message.parts)))
    return [*blocks, {"type": "redacted_thinking", "data": token}] if token else blocks


def _add_block(blocks: list[Any], part: Part) -> None:
    match part.WhichOneof("kind"):
        case "text" | "refusal":
            # Clients send the blocks back, and the API refuses a text that is empty.
            if text := part.text or part.refusal:
                blocks.append({"type": "text", "text": text})
        case "thinking":
            blocks.append({"type": "thinking", "thinking": part.thinking, "signature": signature_of(part)})
        case "citation":
            if not blocks or blocks[-1]["type"] != "text":
                blocks.append({"type": "text", "text": ""})
            blocks[-1].setdefault("citations", []).append(_citation(part))
        case _:
            blocks.append(_block(part))


def _block(part: Part) -> Any:
    """Writes a part that is one block; what only another provider understands is kept in a block that is sent back unread."""
    match part.WhichOneof("kind"):
        case "redacted_thinking" if part.origin == NAME:
            return {"type": "redacted_thinking", "data": part.redacted_thinking}
        case "opaque" if part.origin == NAME:
            return orjson.loads(part.opaque.block_json)
        case "image":
            return {"type": "image", "source": _source(part.image)}
        case "document":
            return {"type": "document", "source": _source(part.document)}
    return {"type": "redacted_thinking", "data": part_token(part)}


def _source(media: Media) -> dict[str, str]:
    if media.data:
        data = base64.b64encode(media.data).decode()
        return {"type": "base64", "media_type": media.media_type, "data": data}
    return {"type": "url", "url": media.url}


def _citation(part: Part) -> Any:
    """Writes a source; another provider's is told as that of a search of the web, the only kind that has an address."""
    citation: Citation = part.citation
    if part.origin == NAME and citation.citation_json:
        return orjson.Fragment(citation.citation_json)
    return {
        "type": "web_search_result_location",
        "url": citation.url,
        "title": citation.title or None,
        "cited_text": citation.cited_text,
        "encrypted_index": part_token(part),
    }


def _tool_use(call: ToolCall) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "tool_use", "id": call.id, "name": call.tool_name}
    block["input"] = _arguments(call.arguments_json)
    if call.provider_state and call.origin == NAME:
        return state_object(call, "tool_calls") | block
    return block


def _arguments(text: str) -> object:
    """Embeds arguments; those that the limit on tokens cut short stay the text that they are."""
    text = text.strip() or "{}"
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return orjson.Fragment(text)
