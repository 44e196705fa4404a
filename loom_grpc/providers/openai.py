"""OpenAI's Chat Completions (platform.openai.com/docs/api-reference/chat, seen 2026-11-21) as it and many other hosts speak it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from loom_grpc.core.call import Call
from loom_grpc.core.decoder import Decoder
from loom_grpc.core.errors import PROVIDER_BAD_RESPONSE, PROVIDER_UNAVAILABLE, LlmError
from loom_grpc.core.events import Answer
from loom_grpc.core.exact import dumps
from loom_grpc.core.native import Native
from loom_grpc.core.request import merge, options
from loom_grpc.core.sse import BodyFramer, SseFramer
from loom_grpc.providers import openai_responses
from loom_grpc.providers.classify import json_object, json_value, provider_error
from loom_grpc.providers.count import media, tokens
from loom_grpc.providers.dialect import EmbeddingCodec, HttpRequest, framer_of, native_body, read_models
from loom_grpc.providers.embedding import OpenAIEmbedding
from loom_grpc.providers.openai_error import classify
from loom_grpc.providers.openai_request import chat_body
from loom_grpc.v1.llm_service_pb2 import (
    STOP_REASON_CONTENT_FILTER,
    STOP_REASON_LENGTH,
    STOP_REASON_REFUSAL,
    STOP_REASON_STOP,
    STOP_REASON_TOOL_CALLS,
    STOP_REASON_UNSPECIFIED,
    Model,
    StopReason,
)
from loom_grpc.v1.message_pb2 import Citation, Media, Opaque, Part
from loom_grpc.v1.usage_pb2 import Usage

NAME: Final = "openai"

_STOP: Final[dict[str, StopReason.ValueType]] = {
    "stop": STOP_REASON_STOP,
    "eos": STOP_REASON_STOP,
    "end_turn": STOP_REASON_STOP,
    "length": STOP_REASON_LENGTH,
    "max_tokens": STOP_REASON_LENGTH,
    "model_length": STOP_REASON_LENGTH,
    "model_context_window_exceeded": STOP_REASON_LENGTH,
    "tool_calls": STOP_REASON_TOOL_CALLS,
    "function_call": STOP_REASON_TOOL_CALLS,
    "content_filter": STOP_REASON_CONTENT_FILTER,
    "sensitive": STOP_REASON_CONTENT_FILTER,
    "refusal": STOP_REASON_REFUSAL,
}
_BROKEN_OFF: Final = frozenset({"error", "network_error", "insufficient_system_resource"})
"""Finish reasons that say the provider failed: OpenRouter, Z.ai (docs.z.ai), DeepSeek (api-docs.deepseek.com), seen 2026-11-21."""

_PLAIN_DELTA: Final = frozenset({"role", "content"})
"""A delta with more fields may hold rarer things."""


@dataclass(frozen=True, slots=True)
class Host:
    """Where hosts of this dialect differ."""

    max_tokens_field: str = "max_tokens"
    """The name of the limit; OpenAI's newer models refuse the older name."""
    reasoning_field: str = ""
    """The message field in which the host wants reasoning back; empty: it does not."""
    thinking_switch: bool = False
    """Whether the host takes `thinking: {type}` in place of `reasoning_effort`."""
    path: str = "/chat/completions"
    most_embeddings: int = 2048
    """How many inputs a request for embeddings may have."""
    responses: bool = False
    """Whether the host has the Responses API too."""


class OpenAI:
    """Chat Completions, whole and streamed."""

    name = NAME

    def __init__(self, host: Host | None = None, headers: Mapping[str, str] | None = None) -> None:
        self._host = host or Host()
        self._headers = headers or {}
        self.embedding: EmbeddingCodec | None = OpenAIEmbedding(self._host.most_embeddings, self._headers)

    def encode(self, call: Call) -> HttpRequest:
        """Writes a Chat Completions request; a stream is asked to end with its usage."""
        host = self._host
        body = chat_body(
            call.request,
            call.model,
            max_tokens_field=host.max_tokens_field,
            reasoning_field=host.reasoning_field,
            thinking_switch=host.thinking_switch,
        )
        if call.stream:
            body["stream"] = True
            body["stream_options"] = {"include_usage": True}
        merge(body, options(call.request))
        return HttpRequest("POST", host.path, orjson.dumps(body), self._headers)

    def encode_native(self, call: Call, native: Native) -> HttpRequest | None:
        """Takes Chat Completions as they are; a stream is asked to end with its usage, whatever the caller wants."""
        if self._speaks_responses(native):
            return openai_responses.encode(call, native, self._headers)
        if native.dialect != NAME:
            return None
        body = {**native_body(call, native), "model": call.model}
        limit = self._host.max_tokens_field
        if limit == "max_tokens" and body.get("max_completion_tokens") is not None:
            body[limit] = body.pop("max_completion_tokens")
        if call.stream:
            body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
        return HttpRequest("POST", self._host.path, dumps(body).encode(), {**self._headers, **native.headers})

    def decoder(self, call: Call, media_type: str) -> Decoder:
        """Reads server-sent events, or a whole completion from JSON."""
        if self._speaks_responses(call.native):
            return openai_responses.decoder(call, media_type)
        return ChatDecoder(Answer(call, NAME, read_usage), framer_of(call, media_type))

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> LlmError:
        """Classifies by the error's code and type, then by status."""
        value = json_object(body) or {"message": body[:500].decode("utf-8", "replace")}
        return classify(value, status=status, headers=headers)

    def encode_count(self, call: Call) -> HttpRequest | None:
        """Has no such request."""
        return None

    def decode_count(self, body: bytes) -> int:
        """Has no such answer."""
        raise provider_error(PROVIDER_BAD_RESPONSE)

    def encode_models(self) -> HttpRequest | None:
        """Writes a request for the host's models."""
        return HttpRequest("GET", "/models", headers=self._headers)

    def decode_models(self, body: bytes) -> list[Model]:
        """Reads the list of models, which Together sends bare (docs.together.ai/reference/models, seen 2026-11-21)."""
        value = json_value(body)
        return read_models(value.get("data") if isinstance(value, dict) else value, "name")

    def _speaks_responses(self, native: Native | None) -> bool:
        return self._host.responses and native is not None and native.dialect == openai_responses.NAME


def read_usage(usage: dict[str, Any]) -> Usage:
    """Reads a usage object; a total larger than its parts by just the reasoning says that the output leaves it out (xAI)."""
    prompt, output = tokens(usage, "prompt_tokens"), tokens(usage, "completion_tokens")
    prompt_details = usage.get("prompt_tokens_details") or {}
    output_details = usage.get("completion_tokens_details") or {}
    reasoning = tokens(output_details, "reasoning_tokens") or tokens(usage, "reasoning_tokens")
    if reasoning and usage.get("total_tokens") == prompt + output + reasoning:
        output += reasoning
    read = media(prompt_details, output_details)
    read.input_tokens = prompt
    read.output_tokens = output
    read.cache_read_tokens = (
        tokens(prompt_details, "cached_tokens")
        or tokens(usage, "prompt_cache_hit_tokens")
        or tokens(usage, "cached_tokens")
    )
    read.cache_write_tokens = tokens(prompt_details, "cache_write_tokens")
    read.reasoning_tokens = reasoning
    read.provider_usage_json = dumps(usage)
    return read


class ChatDecoder(Decoder):
    """Reads chunks, or one whole completion, which differs only in saying `message` for `delta`.

    `[DONE]` ends a stream, and so does the end of the bytes once a finish reason has come: some hosts send no marker.
    """

    def __init__(self, answer: Answer, framer: BodyFramer | SseFramer) -> None:
        self._whole = isinstance(framer, BodyFramer)
        super().__init__(answer, framer, all_text=not self._whole)
        self._answered = False
        self._finish_reason = ""
        self._refusal: list[str] = []
        self._reasoning_details: list[Any] = []
        self._calls: dict[object, tuple[int, str, str]] = {}
        """For each index or id of a tool call, how many calls before had it, and the id and name of the last."""
        self._last: object = None
        self._sources: list[Any] = []

    def read(self, name: bytes, value: dict[str, Any]) -> None:
        """Takes a chunk; an `error` in it, beside choices or alone, ends the answer."""
        if value.get("error"):
            raise classify(value)
        if name == b"error":
            raise classify({"error": value})
        self._note(value)
        for choice in value.get("choices") or ():
            if not choice.get("index"):
                self._choose(choice)

    def read_marker(self, data: bytes) -> bool:
        """Takes `[DONE]`."""
        if data.strip() != b"[DONE]":
            return False
        self.finish()
        return True

    def complete(self) -> bool:
        """Tells whether a finish reason has come; a whole body needs none, as the oldest models gave none."""
        return bool(self._finish_reason) or (self._whole and self._answered)

    def finish(self) -> None:
        """Completes the answer."""
        if not self._answered:
            raise self._truncated()
        if self._reasoning_details:
            self.answer.sign_thinking(dumps(self._reasoning_details).encode())
        for source in self._sources:
            self.answer.cite(_source(source))
        if self._refusal:
            self.answer.part(Part(refusal="".join(self._refusal)))
        self.answer.complete(self._finish_reason, _STOP.get(self._finish_reason, STOP_REASON_UNSPECIFIED))
        self.ended = True

    def _note(self, value: dict[str, Any]) -> None:
        """Takes what stands beside the choices; the first id and model that say something count."""
        self.answer.id = self.answer.id or value.get("id") or ""
        if model := value.get("model"):
            self.answer.model = model
        usage = value.get("usage") or (value.get("x_groq") or {}).get("usage")
        if usage:
            self.answer.usage = (self.answer.usage or {}) | usage
        self._sources = value.get("citations") or self._sources

    def _choose(self, choice: dict[str, Any]) -> None:
        self._answered = True
        delta = choice.get("message") if self._whole else choice.get("delta")
        if delta:
            self._delta(delta)
        if reason := choice.get("finish_reason"):
            self._stop(reason)

    def _stop(self, reason: str) -> None:
        if reason in _BROKEN_OFF:
            raise provider_error(PROVIDER_UNAVAILABLE, reason, code=reason)
        self._finish_reason = reason

    def _delta(self, delta: dict[str, Any]) -> None:
        self._reason(delta)
        content = delta.get("content")
        if isinstance(content, list):
            for item in content:
                self._item(item)
        elif content:
            self.answer.text(content)
        if refusal := delta.get("refusal"):
            self._refusal.append(refusal)
        for call in delta.get("tool_calls") or ():
            self._call(call)
        if call := delta.get("function_call"):
            self._call({"index": 0, "function": call})
        if not delta.keys() <= _PLAIN_DELTA:
            self._extras(delta)

    def _reason(self, delta: dict[str, Any]) -> None:
        words = delta.get("reasoning_content") or delta.get("reasoning")
        details = delta.get("reasoning_details")
        if isinstance(words, str):
            self.answer.thinking(words)
        elif details:
            self.answer.thinking("".join(item.get("text") or item.get("summary") or "" for item in details))
        if details:
            self._keep_details(details)

    def _keep_details(self, details: list[Any]) -> None:
        """Gathers OpenRouter's detail objects, which it wants back (openrouter.ai/docs, reasoning tokens, seen 2026-11-21)."""
        for detail in details:
            last = self._reasoning_details[-1] if self._reasoning_details else None
            if last is not None and _continues(last, detail):
                _grow(last, detail)
            else:
                self._reasoning_details.append(dict(detail))

    def _item(self, item: Any) -> None:
        """Takes an element of a content list, as Mistral's reasoning models write it."""
        match item:
            case str():
                self.answer.text(item)
            case {"type": "text", "text": str(text)}:
                self.answer.text(text)
            case {"type": "thinking", "thinking": str(text)}:
                self.answer.thinking(text)
            case {"type": "thinking", "thinking": list(pieces)}:
                self.answer.thinking("".join(piece.get("text") or "" for piece in pieces))
            case _:
                block = Opaque(type=str(item.get("type")), block_json=dumps(item))
                self.answer.part(Part(opaque=block))

    def _call(self, call: dict[str, Any]) -> None:
        if call.get("type") == "custom":
            self.answer.part(Part(opaque=Opaque(type="custom", block_json=dumps(call))))
            return
        function = call.get("function") or {}
        arguments = function.get("arguments")
        if isinstance(arguments, dict | list):
            arguments = dumps(arguments) if arguments else ""
        call_id, name = call.get("id") or "", function.get("name") or ""
        key = self._key(call.get("index"), call_id, name)
        state = dumps({_EXTRA: call[_EXTRA]}).encode() if call.get(_EXTRA) else b""
        self.answer.tool(key, id=call_id, name=name, fragment=arguments or "", state=state)

    def _key(self, index: int | None, call_id: str, name: str) -> object:
        """Tells calls apart: by index, or by id where there are none; hosts give several calls one index, and calls no id."""
        if self._whole:
            return object()
        self._last = place = index if index is not None else call_id or self._last
        count, known_id, known_name = self._calls.get(place, (0, "", ""))
        if call_id and known_id:
            count += call_id != known_id
        elif name and known_name and not call_id:
            # Some repeat the name with every piece, where something else tells that the call is the same.
            count += name != known_name or not (known_id or isinstance(place, int))
        self._calls[place] = (count, call_id or known_id, name or known_name)
        return place, count

    def _extras(self, delta: dict[str, Any]) -> None:
        for annotation in delta.get("annotations") or ():
            self.answer.cite(_annotation(annotation))
        for image in delta.get("images") or ():
            self.answer.part(Part(image=_image(image["image_url"]["url"])))
        audio = delta.get("audio") or {}
        if audio.get("data") and self._whole:
            self._speak(audio)

    def _speak(self, audio: dict[str, Any]) -> None:
        self.answer.text(audio.get("transcript") or "")
        media = Media(data=_base64(audio.get("data") or ""), media_type="audio/wav")
        self.answer.part(Part(audio=media, provider_state=str(audio.get("id") or "").encode()))


_EXTRA: Final = "extra_content"
"""Where Gemini's host of this dialect signs a call; it wants that back (ai.google.dev/gemini-api/docs/openai, seen 2026-11-21)."""


def _continues(last: dict[str, Any], detail: dict[str, Any]) -> bool:
    """Tells whether a detail object is the next piece of the last one."""
    same = ("type", "index", "id", "format")
    return all(last.get(key) == detail.get(key) for key in same) and not last.get("signature") and not last.get("data")


def _grow(last: dict[str, Any], detail: dict[str, Any]) -> None:
    for key, value in detail.items():
        if key in ("text", "summary") and isinstance(value, str):
            last[key] = (last.get(key) or "") + value
        elif value is not None:
            last[key] = value


def _annotation(annotation: dict[str, Any]) -> Citation:
    source = annotation.get("url_citation") or annotation.get("file") or annotation
    return Citation(
        url=source.get("url") or "",
        title=source.get("title") or source.get("name") or "",
        citation_json=dumps(annotation),
    )


def _source(source: Any) -> Citation:
    """Reads one of the sources that Perplexity and xAI list beside the choices."""
    if isinstance(source, str):
        return Citation(url=source, citation_json=dumps(source))
    return _annotation(source)


def _image(url: str) -> Media:
    head, _, data = url.partition(";base64,")
    if not data:
        return Media(url=url)
    return Media(data=_base64(data), media_type=head.removeprefix("data:"))


def _base64(data: str) -> bytes:
    return base64.b64decode(data, validate=True)
