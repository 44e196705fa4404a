"""Anthropic's Messages API (platform.claude.com/docs/en/api/messages, seen 2026-11-21)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from loom_grpc.core.call import Call
from loom_grpc.core.decoder import Decoder
from loom_grpc.core.errors import (
    CONTENT_BLOCKED,
    INVALID_REQUEST,
    PROVIDER_AUTH_FAILED,
    PROVIDER_QUOTA_EXCEEDED,
    PROVIDER_RATE_LIMITED,
    PROVIDER_TIMEOUT,
    PROVIDER_UNAVAILABLE,
    LlmError,
)
from loom_grpc.core.events import Answer
from loom_grpc.core.exact import dumps
from loom_grpc.core.native import Native
from loom_grpc.core.request import merge, options
from loom_grpc.core.sse import BodyFramer, SseFramer
from loom_grpc.providers.anthropic_request import NAME, add_settings, prompt_body
from loom_grpc.providers.classify import Reason, by_status, json_object, provider_error
from loom_grpc.providers.count import tokens
from loom_grpc.providers.dialect import EmbeddingCodec, HttpRequest, framer_of, native_body, read_count, read_models
from loom_grpc.providers.wait import NO_HEADERS, wait_of
from loom_grpc.v1.llm_service_pb2 import (
    STOP_REASON_CONTENT_FILTER,
    STOP_REASON_LENGTH,
    STOP_REASON_PAUSED,
    STOP_REASON_REFUSAL,
    STOP_REASON_STOP,
    STOP_REASON_TOOL_CALLS,
    STOP_REASON_UNSPECIFIED,
    Model,
    StopReason,
)
from loom_grpc.v1.message_pb2 import Citation, Opaque, Part
from loom_grpc.v1.usage_pb2 import Usage

VERSION: Final = "2023-06-01"

_STOP: Final[dict[str, StopReason.ValueType]] = {
    "end_turn": STOP_REASON_STOP,
    "stop_sequence": STOP_REASON_STOP,
    "max_tokens": STOP_REASON_LENGTH,
    "model_context_window_exceeded": STOP_REASON_LENGTH,
    "tool_use": STOP_REASON_TOOL_CALLS,
    "refusal": STOP_REASON_REFUSAL,
    "pause_turn": STOP_REASON_PAUSED,
    "content_filter": STOP_REASON_CONTENT_FILTER,
}

_ERRORS: Final[dict[str, Reason]] = {
    "authentication_error": PROVIDER_AUTH_FAILED,
    "permission_error": PROVIDER_AUTH_FAILED,
    "billing_error": PROVIDER_QUOTA_EXCEEDED,
    "rate_limit_error": PROVIDER_RATE_LIMITED,
    "timeout_error": PROVIDER_TIMEOUT,
    "api_error": PROVIDER_UNAVAILABLE,
    "overloaded_error": PROVIDER_UNAVAILABLE,
    "request_too_large": INVALID_REQUEST,
}
"""By `error.type` (platform.claude.com/docs/en/api/errors, seen 2026-11-21)."""

_QUOTA_CODES: Final = frozenset({"1113", "1308", "1310", *map(str, range(1316, 1322))})
"""Z.ai answers in this dialect too and wraps these codes, no balance and used-up plans, as `rate_limit_error`."""
_QUOTA_WORDS: Final = ("5-hour", "5 hour", "rolling window", "usage limit", "credit balance")
"""The wording of a used-up plan or balance, where the type says only `rate_limit_error`."""
_UNPAID_WORDS: Final = ("your credit balance", "you have reached your specified")
"""How a message begins that tells of a balance or a spending limit as `invalid_request_error`."""

_STATUSES: Final = {"invalid_request_error": 400, "not_found_error": 404}
"""The statuses that stand for types whose meaning depends on the words; they are missing inside a stream."""

_COUNTED: Final = (
    "model",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "cache_control",
    "context_management",
    "mcp_servers",
)
"""What `/v1/messages/count_tokens` takes (platform.claude.com/docs/en/api/messages/count_tokens, seen 2026-11-21)."""


class Anthropic:
    """Messages, whole and streamed."""

    name = NAME
    embedding: EmbeddingCodec | None = None

    def encode(self, call: Call) -> HttpRequest:
        """Writes a Messages request; where the caller sets no limit on tokens, there is one nevertheless."""
        body = prompt_body(call.request, call.model)
        add_settings(body, call.request)
        body["stream"] = call.stream
        merge(body, options(call.request))
        return self._request("/v1/messages", body)

    def encode_native(self, call: Call, native: Native) -> HttpRequest | None:
        """Takes Messages as they are, with the version and the betas that the caller names."""
        if native.dialect != NAME:
            return None
        return self._request("/v1/messages", {**native_body(call, native), "model": call.model}, native.headers)

    def decoder(self, call: Call, media_type: str) -> Decoder:
        """Reads server-sent events, or a whole message from JSON."""
        answer, framer = Answer(call, NAME, read_usage), framer_of(call, media_type)
        return StreamDecoder(answer, framer) if isinstance(framer, SseFramer) else BodyDecoder(answer, framer)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> LlmError:
        """Classifies by the error's type, then by status; the unified-limit headers tell a used-up plan from a burst."""
        error = json_object(body).get("error")
        error = error if isinstance(error, dict) else {"message": body[:500].decode("utf-8", "replace")}
        return _error(error, status=status, headers=headers)

    def encode_count(self, call: Call) -> HttpRequest | None:
        """Writes a request to count the tokens of the prompt, in the caller's own words where they are Anthropic's."""
        if (native := call.native) is not None and native.dialect == NAME:
            body = {**native_body(call, native), "model": call.model}
            return self._request("/v1/messages/count_tokens", body, native.headers)
        body = prompt_body(call.request, call.model)
        merge(body, options(call.request))
        return self._request("/v1/messages/count_tokens", {key: body[key] for key in _COUNTED if key in body})

    def decode_count(self, body: bytes) -> int:
        """Reads `input_tokens`."""
        return read_count(json_object(body), "input_tokens")

    def encode_models(self) -> HttpRequest | None:
        """Writes a request for the first thousand models."""
        return HttpRequest("GET", "/v1/models?limit=1000", headers={"anthropic-version": VERSION})

    def decode_models(self, body: bytes) -> list[Model]:
        """Reads the list of models."""
        return read_models(json_object(body).get("data"), "display_name")

    def _request(self, path: str, body: dict[str, Any], headers: Mapping[str, str] = NO_HEADERS) -> HttpRequest:
        return HttpRequest("POST", path, dumps(body).encode(), {"anthropic-version": VERSION, **headers})


def read_usage(usage: dict[str, Any]) -> Usage:
    """Reads a usage object: `input_tokens` leaves the cached tokens out, so they are added."""
    read = tokens(usage, "cache_read_input_tokens")
    write = tokens(usage, "cache_creation_input_tokens")
    details = usage.get("output_tokens_details") or {}
    return Usage(
        input_tokens=tokens(usage, "input_tokens") + read + write,
        output_tokens=tokens(usage, "output_tokens"),
        cache_read_tokens=read,
        cache_write_tokens=write,
        cache_write_1h_tokens=tokens(usage.get("cache_creation") or {}, "ephemeral_1h_input_tokens"),
        reasoning_tokens=tokens(details, "thinking_tokens") or tokens(details, "reasoning_tokens"),
        provider_usage_json=dumps(usage),
    )


class StreamDecoder(Decoder):
    """Reads `message_start`, blocks, `message_delta` and `message_stop`; only the last one ends an answer."""

    def __init__(self, answer: Answer, framer: SseFramer | BodyFramer) -> None:
        super().__init__(answer, framer, all_text=isinstance(framer, SseFramer))
        self._stop_reason = ""
        self._opaque: dict[int, dict[str, Any]] = {}
        """Blocks that the contract has no name for, growing."""

    def read(self, name: bytes, value: dict[str, Any]) -> None:
        """Takes one event; unknown events are allowed for by the API's versioning rules and are passed over."""
        match value.get("type"):
            case "content_block_delta":
                self._delta(value["index"], value["delta"])
            case "content_block_start":
                self._open(value["index"], value["content_block"])
            case "content_block_stop":
                self._close(value["index"])
            case "message_start":
                self._start(value["message"])
            case "message_delta":
                self._stop_reason = value["delta"].get("stop_reason") or self._stop_reason
                self._overlay(value.get("usage"))
            case "message_stop":
                self.finish()
            case "error":
                raise _error(value["error"])

    def complete(self) -> bool:
        """Tells that nothing but `message_stop` ends a stream."""
        return False

    def finish(self) -> None:
        """Completes the answer."""
        if not self.answer.id and self.answer.empty:
            raise self._truncated()
        self.answer.complete(self._stop_reason, _STOP.get(self._stop_reason, STOP_REASON_UNSPECIFIED))
        self.ended = True

    def _start(self, message: dict[str, Any]) -> None:
        self.answer.id = message.get("id") or ""
        self.answer.model = message.get("model") or self.answer.model
        self._stop_reason = message.get("stop_reason") or ""
        self._overlay(message.get("usage"))

    def _overlay(self, usage: dict[str, Any] | None) -> None:
        """Takes a usage object key by key: later ones are totals and may leave keys out."""
        if usage:
            known = {key: value for key, value in usage.items() if value is not None}
            self.answer.usage = (self.answer.usage or {}) | known

    def _open(self, index: int, block: dict[str, Any]) -> None:
        self.answer.close()
        match block.get("type"):
            case "text":
                self.answer.text(block.get("text") or "")
                for citation in block.get("citations") or ():
                    self.answer.cite(_citation(citation))
            case "thinking":
                self.answer.thinking(block.get("thinking") or "")
                self._sign(block.get("signature") or "")
            case "redacted_thinking":
                self.answer.part(Part(redacted_thinking=block["data"]))
            case "tool_use":
                self._call(index, block)
            case _:
                self._opaque[index] = dict(block)

    def _call(self, index: int, block: dict[str, Any]) -> None:
        """Opens a call; what it has beside the usual, such as the code that makes it, is wanted back."""
        rest = {key: value for key, value in block.items() if key not in _CALL_FIELDS and value != _DIRECT}
        state = dumps(rest).encode() if rest else b""
        self.answer.tool(index, id=block["id"], name=block["name"], fragment=_input(block.get("input")), state=state)

    def _delta(self, index: int, delta: dict[str, Any]) -> None:
        if index in self._opaque:
            _grow(self._opaque[index], delta)
            return
        match delta.get("type"):
            case "text_delta":
                self.answer.text(delta["text"])
            case "thinking_delta":
                self.answer.thinking(delta["thinking"])
            case "signature_delta":
                self._sign(delta["signature"])
            case "citations_delta":
                self.answer.cite(_citation(delta["citation"]))
            case "input_json_delta":
                self.answer.tool(index, fragment=delta["partial_json"])

    def _close(self, index: int) -> None:
        block = self._opaque.pop(index, None)
        if block is None:
            self.answer.close()
            self.answer.end_tool(index)
            return
        if fragments := block.pop(_FRAGMENTS, ""):
            block["input"] = _embedded(fragments)
        self.answer.part(Part(opaque=Opaque(type=block["type"], block_json=dumps(block))))

    def _sign(self, signature: str) -> None:
        if signature:
            self.answer.state("thinking", signature.encode())


_CALL_FIELDS: Final = frozenset({"type", "id", "name", "input"})
_DIRECT: Final = {"type": "direct"}
"""The usual `caller` of a call: the model itself."""
_FRAGMENTS: Final = "\0input"
"""Where an opaque block's input is gathered; no JSON key of the API begins so."""


class BodyDecoder(StreamDecoder):
    """Reads a whole message as the events that a stream of it would have had."""

    def read(self, name: bytes, value: dict[str, Any]) -> None:
        """Takes the whole message, or an error that came with status 200."""
        if value.get("type") == "error":
            raise _error(value["error"])
        self._start(value)
        for index, block in enumerate(value["content"]):
            self._open(index, block)
            self._close(index)
        self.finish()


def _embedded(fragments: str) -> object:
    """Returns an input that came in pieces, to embed; one that the limit on tokens cut short stays the text that it is."""
    try:
        orjson.loads(fragments)
    except orjson.JSONDecodeError:
        return fragments
    return orjson.Fragment(fragments)


def _input(value: object) -> str:
    """Writes a whole tool input; an empty one at the start of a stream is a placeholder."""
    return dumps(value) if value else ""


def _grow(block: dict[str, Any], delta: dict[str, Any]) -> None:
    """Adds a delta of any kind to a block that is kept word for word: strings grow, other fields are set."""
    for key, value in delta.items():
        if key == "partial_json":
            block[_FRAGMENTS] = block.get(_FRAGMENTS, "") + value
        elif key != "type":
            present = block.get(key)
            block[key] = present + value if isinstance(present, str) and isinstance(value, str) else value


def _citation(citation: dict[str, Any]) -> Citation:
    return Citation(
        url=citation.get("url") or "",
        title=citation.get("title") or citation.get("document_title") or "",
        cited_text=citation.get("cited_text") or "",
        citation_json=dumps(citation),
    )


def _error(error: dict[str, Any], *, status: int | None = None, headers: Mapping[str, str] = NO_HEADERS) -> LlmError:
    kind, code, words = str(error.get("type") or ""), str(error.get("code") or ""), str(error.get("message") or "")
    reason = _ERRORS.get(kind) or by_status(status or _STATUSES.get(kind, 500), words)
    if status == 413:
        reason = INVALID_REQUEST
    if _is_used_up(reason, code, words, headers):
        reason = PROVIDER_QUOTA_EXCEEDED
    if reason == INVALID_REQUEST and "content filtering policy" in words.lower():
        reason = CONTENT_BLOCKED
    return provider_error(reason, words, status=status, code=code or kind, retry_after=wait_of(headers, reason, words))


def _is_used_up(reason: Reason, code: str, words: str, headers: Mapping[str, str]) -> bool:
    """Tells a used-up plan or balance from a burst and from a wrong request.

    A wrong request's message may repeat the caller's own words, which must not be taken for the provider's.
    """
    if reason == INVALID_REQUEST:
        return words.lower().startswith(_UNPAID_WORDS)
    if reason != PROVIDER_RATE_LIMITED:
        return False
    if headers.get("anthropic-ratelimit-unified-status") == "rejected" or code in _QUOTA_CODES:
        return True
    return any(phrase in words.lower() for phrase in _QUOTA_WORDS)
