"""Speaks Chat Completions with callers (platform.openai.com/docs/api-reference/chat, seen 2026-11-21)."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from loom_grpc.core.call import Call
from loom_grpc.core.errors import LlmError
from loom_grpc.core.native import Native
from loom_grpc.frontends import openai_error
from loom_grpc.frontends.body import read_json, take_headers
from loom_grpc.frontends.frontend import Asked
from loom_grpc.frontends.openai_chat_request import ORIGIN, read_request
from loom_grpc.frontends.openai_chat_state import DETAILS, EXTRA, details_of, extra_of
from loom_grpc.v1.llm_service_pb2 import (
    STOP_REASON_CONTENT_FILTER,
    STOP_REASON_LENGTH,
    STOP_REASON_PAUSED,
    STOP_REASON_REFUSAL,
    STOP_REASON_STOP,
    STOP_REASON_TOOL_CALLS,
    LlmEvent,
    LlmResponse,
    StopReason,
    ToolCallDelta,
)
from loom_grpc.v1.message_pb2 import Media, Message, Part, ToolCall
from loom_grpc.v1.usage_pb2 import Usage

_FINISH: Final[dict[StopReason.ValueType, str]] = {
    STOP_REASON_STOP: "stop",
    STOP_REASON_LENGTH: "length",
    STOP_REASON_TOOL_CALLS: "tool_calls",
    STOP_REASON_CONTENT_FILTER: "content_filter",
    STOP_REASON_REFUSAL: "stop",  # the words are in `refusal`
    STOP_REASON_PAUSED: "length",  # the one word that says that more could come
}
"""For the others the provider's own word is given, which no client can mistake for one of these."""

_RENAMES: Final[openai_error.Renames] = (
    (re.compile(r"(messages\[\d+\])\.parts\[(\d+)\].*"), r"\1.content[\2]"),
    (re.compile(r"(messages\[\d+\]\.tool_calls\[\d+\])\.tool_name"), r"\1.function.name"),
    (re.compile(r"(messages\[\d+\]\.tool_calls\[\d+\])\.arguments_json"), r"\1.function.arguments"),
    (re.compile(r"(tools\[\d+\])\.name"), r"\1.function.name"),
    (re.compile(r"(tools\[\d+\])\.input_schema_json"), r"\1.function.parameters"),
    (re.compile(r"tool_choice\.tool_name"), "tool_choice.function.name"),
    (re.compile(r"tool_choice\.mode"), "tool_choice"),
    (re.compile(r"response_format\.json_schema\.schema_json"), "response_format.json_schema.schema"),
    (re.compile(r"reasoning\.effort"), "reasoning_effort"),
)
_HEADERS: Final = ("openai-beta",)
"""The caller's headers that a provider of the same dialect is sent."""

_DONE: Final = b"data: [DONE]\n\n"
_PREFIX: Final = "chatcmpl-"


class OpenAIChat(openai_error.OpenAIApi):
    """The front end; `now` tells the seconds since 1970."""

    name = ORIGIN
    renames = _RENAMES

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now

    def read(self, body: bytes, path: Mapping[str, str], headers: Mapping[str, str]) -> Asked:
        """Reads a request; raises `HttpError`."""
        value = read_json(body)
        request, untold = read_request(value)
        kept = take_headers(headers, _HEADERS)
        return Asked(request, bool(value.get("stream")), Native(ORIGIN, value, kept, untold))

    def writer(self, asked: Asked, call: Call) -> ChatWriter:
        """Returns what writes the answer to a call."""
        body = asked.native.body if asked.native is not None else {}
        return ChatWriter(body, call.request_id, self._now)


class ChatWriter:
    """Writes one answer: the provider's own words where it speaks this dialect, else chunks and completions made of events."""

    media_type = "text/event-stream"

    def __init__(self, body: Mapping[str, Any], request_id: str, now: Callable[[], float]) -> None:
        self._request_id = request_id
        self._now = now
        self._wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        self._old_form = bool(body.get("functions"))
        """Whether the caller knows `function_call` alone, not `tool_calls`."""
        self._relays: bool | None = None
        """Whether the stream is in the provider's own words; None until its first event."""
        self._calls: set[int] = set()
        self._identity: dict[str, Any] = {}
        self._head = self._tail = b""
        """What is written around the delta of every chunk."""
        self._opening = b""
        """The first chunk, until it is certain that the provider's own words do not follow."""

    def event(self, event: LlmEvent) -> bytes:
        """Writes an event of a stream; the usage that the caller did not ask for is left out."""
        native = event.native_json
        if native and (self._relays or self._may_relay(native)):
            return self._relay(native, is_bare=event.WhichOneof("event") is None)
        kind = event.WhichOneof("event") or ""
        if self._relays:
            return _DONE if kind == "completed" else b""
        opening, self._opening = self._opening, b""
        if kind == "text_delta":
            return opening + self._head + b'{"content":' + orjson.dumps(event.text_delta.content) + b"}" + self._tail
        write = _WRITERS.get(kind)
        return opening if write is None else opening + write(self, event)

    def failed(self, error: LlmError) -> bytes:
        """Writes the error; the end marker does not follow."""
        return openai_error.in_stream(error, _RENAMES)

    def keep_alive(self) -> bytes:
        """Writes a comment."""
        return b": keep-alive\n\n"

    def whole(self, response: LlmResponse, native_json: bytes) -> bytes:
        """Writes a completion."""
        # An answer that came as a stream although none was asked for is no completion, but its events tell it.
        if native_json and not _has_only("delta", native_json):
            return native_json
        self._identify(response.id, response.model, "chat.completion")
        choice = {
            "index": 0,
            "message": self._message(response),
            "logprobs": None,
            "finish_reason": self._finish(response),
        }
        value: dict[str, Any] = {**self._identity, "choices": [choice]}
        if response.HasField("usage"):
            value["usage"] = _usage(response.usage)
        return orjson.dumps(value)

    def started(self, event: LlmEvent) -> bytes:
        """Keeps the chunk that says who speaks for the event that follows."""
        started = event.started
        self._identify(started.id, started.model, "chat.completion.chunk")
        # A chunk without its delta, cut in two: what is written once is not written for every event.
        head = orjson.dumps(self._identity)[:-1]
        self._head = b"data: " + head + b',"choices":[{"index":0,"delta":'
        self._tail = b',"logprobs":null,"finish_reason":null}]' + self._no_usage() + b"}\n\n"
        self._opening = self._chunk({"role": "assistant", "content": "", "refusal": None})
        return b""

    def thinking(self, event: LlmEvent) -> bytes:
        """Writes a piece of reasoning, in the field in which most hosts give it."""
        return self._chunk({"reasoning_content": event.thinking_delta.content})

    def tool(self, event: LlmEvent) -> bytes:
        """Writes a piece of a tool call; its id and name come once."""
        delta = event.tool_call_delta
        is_new = delta.index not in self._calls
        self._calls.add(delta.index)
        function = {"name": delta.tool_name} if is_new else {}
        function["arguments"] = delta.arguments_fragment
        if self._old_form:
            return self._chunk({"function_call": function})
        return self._chunk({"tool_calls": [_piece(delta, function, is_new=is_new)]})

    def part(self, event: LlmEvent) -> bytes:
        """Writes a part for which there is a field; what is only kept for the next turn comes at the end."""
        shown = dict(_shown([event.part]))
        return self._chunk(shown) if shown else b""

    def completed(self, event: LlmEvent) -> bytes:
        """Writes what is known only at the end, the finish reason, the usage where it is asked for, and the end marker."""
        response = event.completed.response
        rest = _asides(response.message) if self._old_form else _rest(response.message)
        pieces = [self._chunk(rest)] if rest else []
        choice = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": self._finish(response)}
        pieces.append(self._line([choice], self._no_usage()))
        if self._wants_usage and response.HasField("usage"):
            pieces.append(self._line([], b',"usage":' + orjson.dumps(_usage(response.usage))))
        return b"".join([*pieces, _DONE])

    def _may_relay(self, native: bytes) -> bool:
        if self._relays is None:
            # A whole completion in answer to a request for a stream is no chunk, but its events tell it.
            self._relays = not _has_only("message", native)
        return self._relays

    def _relay(self, native: bytes, *, is_bare: bool) -> bytes:
        """Writes a chunk of the provider's; a chunk that has nothing but the usage is bare of events."""
        if is_bare and not self._wants_usage and _is_usage(native):
            return b""
        if b"\n" in native:
            native = native.replace(b"\n", b" ")
        return b"data: " + native + b"\n\n"

    def _identify(self, answer_id: str, model: str, kind: str) -> None:
        answer_id = answer_id or self._request_id
        if not answer_id.startswith(_PREFIX):
            answer_id = _PREFIX + answer_id
        self._identity = {"id": answer_id, "object": kind, "created": int(self._now()), "model": model}

    def _no_usage(self) -> bytes:
        return b',"usage":null' if self._wants_usage else b""

    def _chunk(self, delta: dict[str, Any]) -> bytes:
        return self._head + orjson.dumps(delta) + self._tail

    def _line(self, choices: list[Any], rest: bytes) -> bytes:
        head = orjson.dumps({**self._identity, "choices": choices})[:-1]
        return b"data: " + head + rest + b"}\n\n"

    def _finish(self, response: LlmResponse) -> str | None:
        finish = _FINISH.get(response.stop_reason) or response.finish_reason or None
        refused = any(part.HasField("refusal") for part in response.message.parts)
        if response.stop_reason == STOP_REASON_REFUSAL and not refused:
            return "content_filter"  # nothing was said in its place
        return "function_call" if finish == "tool_calls" and self._old_form else finish

    def _message(self, response: LlmResponse) -> dict[str, Any]:
        message = response.message
        value: dict[str, Any] = {"role": "assistant", "content": message.content, "refusal": None}
        if thinking := "".join(part.thinking for part in message.parts):
            value["reasoning_content"] = thinking
        value.update(_shown(message.parts))
        if message.tool_calls or value["refusal"]:
            value["content"] = message.content or None
        if message.tool_calls and self._old_form:
            value["function_call"] = _function(message.tool_calls[0])
        elif message.tool_calls:
            value["tool_calls"] = [_call(call) for call in message.tool_calls]
        return value | _asides(message)


_WRITERS: Final[dict[str, Callable[[ChatWriter, LlmEvent], bytes]]] = {
    "started": ChatWriter.started,
    "thinking_delta": ChatWriter.thinking,
    "tool_call_delta": ChatWriter.tool,
    "part": ChatWriter.part,
    "completed": ChatWriter.completed,
}


def _is_usage(native: bytes) -> bool:
    chunk = orjson.loads(native)
    return bool(chunk.get("usage")) and not chunk.get("choices")


def _has_only(key: str, native: bytes) -> bool:
    """Tells a completion (`message`) from a chunk (`delta`); some hosts write both into either, and filtered choices have neither."""
    choices = orjson.loads(native).get("choices") or [{}]
    return [name for name in ("message", "delta") if name in choices[0]] == [key]


def _piece(delta: ToolCallDelta, function: dict[str, Any], *, is_new: bool) -> dict[str, Any]:
    head = {"index": delta.index, "id": delta.call_id, "type": "function"} if is_new else {"index": delta.index}
    return {**head, "function": function}


def _function(call: ToolCall) -> dict[str, Any]:
    return {"name": call.tool_name, "arguments": call.arguments_json}


def _call(call: ToolCall) -> dict[str, Any]:
    value: dict[str, Any] = {"id": call.id, "type": "function", "function": _function(call)}
    if call.provider_state:
        value[EXTRA] = extra_of(call)
    return value


def _shown(parts: Sequence[Part]) -> Iterator[tuple[str, Any]]:
    """Yields the fields of a message for the parts that have one."""
    if refusal := "".join(part.refusal for part in parts):
        yield "refusal", refusal
    # The field of OpenRouter (openrouter.ai/docs/guides/overview/multimodal/image-generation, seen 2026-11-21).
    if images := [_image(part.image) for part in parts if part.HasField("image")]:
        yield "images", images
    for part in parts:
        if part.HasField("audio"):
            yield "audio", {"id": "", "data": _base64(part.audio.data), "expires_at": 0, "transcript": ""}


def _image(image: Media) -> dict[str, Any]:
    url = f"data:{image.media_type};base64,{_base64(image.data)}" if image.data else image.url
    return {"type": "image_url", "image_url": {"url": url}}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _rest(message: Message) -> dict[str, Any]:
    """Returns the fields of a delta that only the whole answer tells."""
    signed = [
        # OpenAI's package wants a function in every piece of a call.
        {"index": index, "function": {"arguments": ""}, EXTRA: extra_of(call)}
        for index, call in enumerate(message.tool_calls)
        if call.provider_state
    ]
    rest = _asides(message)
    return {"tool_calls": signed, **rest} if signed else rest


def _asides(message: Message) -> dict[str, Any]:
    """Returns sources, and what the client brings back for the provider."""
    asides: dict[str, Any] = {}
    if annotations := list(_annotations(message)):
        asides["annotations"] = annotations
    if details := details_of(message):
        asides[DETAILS] = details
    return asides


def _annotations(message: Message) -> Iterator[dict[str, Any]]:
    """Yields the sources that have an address, each with the run of text before it."""
    start = end = 0
    in_text = False
    for part in message.parts:
        if part.HasField("text"):
            start = start if in_text else end
            end += len(part.text)
        in_text = part.HasField("text")
        if part.citation.url:
            source = {"url": part.citation.url, "title": part.citation.title, "start_index": start, "end_index": end}
            yield {"type": "url_citation", "url_citation": source}


def _usage(usage: Usage) -> dict[str, Any]:
    """Writes tokens; the prompt's include the cached ones, and the completion's the reasoning ones, as in the contract."""
    prompt = {"cached_tokens": usage.cache_read_tokens}
    if usage.cache_write_tokens:
        prompt["cache_write_tokens"] = usage.cache_write_tokens
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
