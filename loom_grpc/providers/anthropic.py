"""Anthropic's Messages API (platform.claude.com/docs/en/api/messages, seen 2026-11-21)."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from loom_grpc.core.call import Call
from loom_grpc.core.decoder import Decoder
from loom_grpc.core.errors import (
    CONTENT_BLOCKED,
    INVALID_REQUEST,
    PROVIDER_AUTH_FAILED,
    PROVIDER_BAD_RESPONSE,
    PROVIDER_QUOTA_EXCEEDED,
    PROVIDER_RATE_LIMITED,
    PROVIDER_TIMEOUT,
    PROVIDER_UNAVAILABLE,
    LlmError,
)
from loom_grpc.core.events import Answer
from loom_grpc.core.request import (
    arguments,
    merge,
    options,
    parts_of,
    plays_back,
    raw_object,
    system_text,
)
from loom_grpc.core.sse import BodyFramer, SseFramer
from loom_grpc.providers.classify import Reason, by_status, json_object, provider_error, retry_after
from loom_grpc.providers.dialect import HttpRequest
from loom_grpc.v1.llm_service_pb2 import (
    STOP_REASON_CONTENT_FILTER,
    STOP_REASON_LENGTH,
    STOP_REASON_PAUSED,
    STOP_REASON_REFUSAL,
    STOP_REASON_STOP,
    STOP_REASON_TOOL_CALLS,
    STOP_REASON_UNSPECIFIED,
    LlmRequest,
    Model,
    StopReason,
)
from loom_grpc.v1.message_pb2 import (
    ROLE_ASSISTANT,
    ROLE_SYSTEM,
    ROLE_TOOL,
    Citation,
    Media,
    Message,
    Opaque,
    Part,
    ToolChoice,
)
from loom_grpc.v1.usage_pb2 import Usage

NAME: Final = "anthropic"
VERSION: Final = "2023-06-01"
DEFAULT_MAX_TOKENS: Final = 4096
"""The API requires a limit; this one is sent when the caller sets none."""

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

_QUOTA_CODES: Final = frozenset({"1113", "1308", "1310"})
"""Z.ai answers in this dialect too and wraps these codes, no balance and used-up plans, as `rate_limit_error`."""
_QUOTA_WORDS: Final = ("5-hour", "5 hour", "rolling window", "usage limit", "credit balance")
"""The wording of a used-up plan or balance, where the type says only `rate_limit_error` or `invalid_request_error`."""

_EFFORT_BUDGETS: Final = {
    "none": 0,
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 24576,
    "xhigh": 32768,
    "max": 32768,
}


class Anthropic:
    """Messages, whole and streamed."""

    name = NAME

    def encode(self, call: Call) -> HttpRequest:
        """Writes a Messages request; without `max_tokens` the limit is `DEFAULT_MAX_TOKENS`."""
        body = _prompt(call.request, call.model)
        body["stream"] = call.stream
        body["max_tokens"] = DEFAULT_MAX_TOKENS
        _add_settings(body, call.request)
        return self._request("/v1/messages", body, call.request)

    def decoder(self, call: Call, media_type: str) -> Decoder:
        """Reads server-sent events, or a whole message from JSON."""
        answer = Answer(call, NAME, read_usage)
        return (
            StreamDecoder(answer, SseFramer())
            if media_type == "text/event-stream"
            else BodyDecoder(answer, BodyFramer())
        )

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> LlmError:
        """Classifies by the error's type, then by status; the unified-limit headers tell a used-up plan from a burst."""
        error = json_object(body).get("error")
        error = error if isinstance(error, dict) else {"message": body[:500].decode("utf-8", "replace")}
        rejected = headers.get("anthropic-ratelimit-unified-status") == "rejected"
        wait = retry_after(headers) if status in (429, 503, 529) else None
        return _error(error, status=status, quota=rejected, wait=wait)

    def encode_count(self, call: Call) -> HttpRequest | None:
        """Writes a request for `/v1/messages/count_tokens`, which takes the prompt and the thinking settings alone."""
        return self._request("/v1/messages/count_tokens", _prompt(call.request, call.model), call.request)

    def decode_count(self, body: bytes) -> int:
        """Reads `input_tokens`."""
        count = json_object(body).get("input_tokens")
        if not isinstance(count, int):
            raise provider_error(PROVIDER_BAD_RESPONSE)
        return count

    def encode_models(self) -> HttpRequest | None:
        """Writes a request for the first thousand models."""
        return HttpRequest("GET", "/v1/models?limit=1000", headers={"anthropic-version": VERSION})

    def decode_models(self, body: bytes) -> list[Model]:
        """Reads the list of models."""
        rows = json_object(body).get("data")
        if not isinstance(rows, list):
            raise provider_error(PROVIDER_BAD_RESPONSE)
        return [Model(id=row["id"], display_name=row.get("display_name") or "") for row in rows]

    def _request(self, path: str, body: dict[str, Any], request: LlmRequest) -> HttpRequest:
        merge(body, options(request))
        return HttpRequest("POST", path, orjson.dumps(body), {"anthropic-version": VERSION})


def _prompt(request: LlmRequest, model: str) -> dict[str, Any]:
    body: dict[str, Any] = {"model": model, "messages": list(_messages(request))}
    if system := system_text(request):
        body["system"] = system
    if request.tools:
        body["tools"] = [
            {"name": tool.name, "description": tool.description, "input_schema": _schema(tool.input_schema_json)}
            | ({"strict": True} if tool.strict else {})
            for tool in request.tools
        ]
    if request.HasField("tool_choice"):
        _add_tool_choice(body, request.tool_choice)
    if request.HasField("reasoning"):
        _add_thinking(body, request)
    return body


def _schema(text: str) -> object:
    return raw_object(text) if text.strip() else {"type": "object", "properties": {}}


def _add_tool_choice(body: dict[str, Any], choice: ToolChoice) -> None:
    kinds = {ToolChoice.MODE_NONE: "none", ToolChoice.MODE_REQUIRED: "any", ToolChoice.MODE_TOOL: "tool"}
    if choice.mode == ToolChoice.MODE_UNSPECIFIED and not choice.HasField("parallel"):
        return
    value: dict[str, Any] = {"type": kinds.get(choice.mode, "auto")}
    if choice.mode == ToolChoice.MODE_TOOL:
        value["name"] = choice.tool_name
    if choice.HasField("parallel") and choice.mode != ToolChoice.MODE_NONE:
        value["disable_parallel_tool_use"] = not choice.parallel
    body["tool_choice"] = value


def _add_thinking(body: dict[str, Any], request: LlmRequest) -> None:
    if request.reasoning.HasField("effort"):
        budget = _EFFORT_BUDGETS.get(request.reasoning.effort)
        if budget is None:
            known = ", ".join(_EFFORT_BUDGETS)
            message = f"reasoning.effort: {request.reasoning.effort!r} is unknown here; use one of {known}."
            raise LlmError(INVALID_REQUEST, message, field="reasoning.effort")
    else:
        budget = request.reasoning.budget_tokens
    body["thinking"] = {"type": "enabled", "budget_tokens": max(budget, 1024)} if budget else {"type": "disabled"}


def _add_settings(body: dict[str, Any], request: LlmRequest) -> None:
    if request.HasField("max_tokens"):
        body["max_tokens"] = request.max_tokens
    elif budget := body.get("thinking", {}).get("budget_tokens"):
        # The limit counts thinking too and must be larger than its budget.
        body["max_tokens"] += budget
    for field in ("temperature", "top_p", "top_k"):
        if request.HasField(field):
            body[field] = getattr(request, field)
    if request.stop:
        body["stop_sequences"] = list(request.stop)
    if request.response_format.HasField("json_schema"):
        schema = _schema(request.response_format.json_schema.schema_json)
        body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    elif request.response_format.HasField("json_object"):
        message = "response_format.json_object: Anthropic has no such mode; give a json_schema."
        raise LlmError(INVALID_REQUEST, message, field="response_format.json_object")


def _messages(request: LlmRequest) -> Iterator[dict[str, Any]]:
    """Yields the turns; results of tools called together are one user turn, as the API wants them."""
    results: list[dict[str, Any]] = []
    for index, message in enumerate(request.messages):
        if message.role == ROLE_TOOL:
            results.append(_tool_result(message, index))
            continue
        if message.role == ROLE_SYSTEM:
            continue
        content = _content(message, index)
        if results and message.role != ROLE_ASSISTANT:
            content = results + (content if isinstance(content, list) else [{"type": "text", "text": content}])
        elif results:
            yield {"role": "user", "content": results}
        results = []
        yield {"role": "assistant" if message.role == ROLE_ASSISTANT else "user", "content": content}
    if results:
        yield {"role": "user", "content": results}


def _tool_result(message: Message, index: int) -> dict[str, Any]:
    result: dict[str, Any] = {"type": "tool_result", "tool_use_id": message.tool_call_id}
    result["content"] = _blocks(message, index) if message.parts else message.content
    if message.is_error:
        result["is_error"] = True
    return result


def _content(message: Message, index: int) -> str | list[dict[str, Any]]:
    if not message.parts and not message.tool_calls:
        return message.content
    blocks = _blocks(message, index)
    # From the back, so that the places in front stay where `part_index` counts them.
    places = _places(message)
    for call in reversed(message.tool_calls):
        block = {"type": "tool_use", "id": call.id, "name": call.tool_name, "input": arguments(call)}
        at = places[call.part_index] if call.HasField("part_index") and call.part_index < len(places) else len(blocks)
        blocks.insert(at, block)
    return blocks


def _places(message: Message) -> list[int]:
    """For each part, how many blocks come before it."""
    places: list[int] = []
    count = 0
    for part in message.parts:
        places.append(count)
        count += _makes_block(part)
    return places


def _makes_block(part: Part) -> bool:
    kind = part.WhichOneof("kind")
    if kind in ("thinking", "redacted_thinking", "opaque"):
        return plays_back(part.origin, NAME) and (kind != "thinking" or bool(part.provider_state))
    return kind != "citation" and (kind != "text" or bool(part.text))


def _blocks(message: Message, index: int) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for place, part in enumerate(parts_of(message)):
        if part.HasField("citation"):
            _cite(blocks, part.citation)
        elif _makes_block(part):
            blocks.append(_block(part, f"messages[{index}].parts[{place}]"))
    return blocks


def _cite(blocks: list[dict[str, Any]], citation: Citation) -> None:
    """Puts a citation back on the text that it came with."""
    if blocks and blocks[-1].get("type") == "text" and citation.citation_json:
        blocks[-1].setdefault("citations", []).append(raw_object(citation.citation_json))


def _block(part: Part, at: str) -> Any:
    match part.WhichOneof("kind"):
        case "text":
            return {"type": "text", "text": part.text}
        case "refusal":
            return {"type": "text", "text": part.refusal}
        case "image":
            return {"type": "image", "source": _source(part.image)}
        case "document":
            return _document(part.document)
        case "thinking":
            return {"type": "thinking", "thinking": part.thinking, "signature": part.provider_state.decode()}
        case "redacted_thinking":
            return {"type": "redacted_thinking", "data": part.redacted_thinking}
        case "opaque":
            return raw_object(part.opaque.block_json)
    raise LlmError(INVALID_REQUEST, f"{at}: Anthropic takes no {part.WhichOneof('kind')}.", field=at)


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


def read_usage(usage: dict[str, Any]) -> Usage:
    """Reads a usage object: `input_tokens` leaves the cached tokens out, so they are added."""
    read = usage.get("cache_read_input_tokens") or 0
    write = usage.get("cache_creation_input_tokens") or 0
    details = usage.get("output_tokens_details") or {}
    return Usage(
        input_tokens=(usage.get("input_tokens") or 0) + read + write,
        output_tokens=usage.get("output_tokens") or 0,
        cache_read_tokens=read,
        cache_write_tokens=write,
        reasoning_tokens=details.get("thinking_tokens") or details.get("reasoning_tokens") or 0,
        provider_usage_json=orjson.dumps(usage).decode(),
    )


class StreamDecoder(Decoder):
    """Reads `message_start`, blocks, `message_delta` and `message_stop`; only the last one ends an answer."""

    def __init__(self, answer: Answer, framer: SseFramer | BodyFramer) -> None:
        super().__init__(answer, framer)
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
                self.answer.tool(index, id=block["id"], name=block["name"], fragment=_input(block.get("input")))
            case _:
                self._open_opaque(index, block)

    def _open_opaque(self, index: int, block: dict[str, Any]) -> None:
        self._opaque[index] = dict(block)

    def _delta(self, index: int, delta: dict[str, Any]) -> None:
        match delta.get("type"):
            case "text_delta":
                self.answer.text(delta["text"])
            case "thinking_delta":
                self.answer.thinking(delta["thinking"])
            case "signature_delta":
                self._sign(delta["signature"])
            case "citations_delta":
                self.answer.cite(_citation(delta["citation"]))
            case "input_json_delta" if index not in self._opaque:
                self.answer.tool(index, fragment=delta["partial_json"])
            case _ if index in self._opaque:
                _grow(self._opaque[index], delta)

    def _close(self, index: int) -> None:
        block = self._opaque.pop(index, None)
        if block is None:
            self.answer.close()
            self.answer.end_tool(index)
            return
        if fragments := block.pop(_FRAGMENTS, ""):
            block["input"] = orjson.Fragment(fragments)
        self.answer.part(Part(opaque=Opaque(type=block["type"], block_json=orjson.dumps(block).decode())))

    def _sign(self, signature: str) -> None:
        if signature:
            self.answer.state("thinking", signature.encode())


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


def _input(value: object) -> str:
    """Writes a whole tool input; an empty one at the start of a stream is a placeholder."""
    return orjson.dumps(value).decode() if value else ""


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
        citation_json=orjson.dumps(citation).decode(),
    )


def _error(
    error: dict[str, Any], *, status: int | None = None, quota: bool = False, wait: float | None = None
) -> LlmError:
    kind, code, words = str(error.get("type") or ""), str(error.get("code") or ""), str(error.get("message") or "")
    reason = _ERRORS.get(kind) or by_status(status or 400, words)
    if status == 413:
        reason = INVALID_REQUEST
    limited = reason in (PROVIDER_RATE_LIMITED, INVALID_REQUEST)
    if limited and (quota or code in _QUOTA_CODES or any(phrase in words.lower() for phrase in _QUOTA_WORDS)):
        reason = PROVIDER_QUOTA_EXCEEDED
    if reason == INVALID_REQUEST and "content filtering policy" in words.lower():
        reason = CONTENT_BLOCKED
    return provider_error(reason, words, status=status, code=code or kind, retry_after=wait)
