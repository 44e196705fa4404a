"""The Gemini API for callers: generateContent, streamGenerateContent and countTokens (ai.google.dev/api, seen 2026-11-21)."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, get_args

import orjson

from loom_grpc.core.call import Call
from loom_grpc.core.errors import LlmError
from loom_grpc.core.notice import Notice
from loom_grpc.core.request import parts_of
from loom_grpc.frontends import gemini_error, rate_limit
from loom_grpc.frontends.body import HttpError
from loom_grpc.frontends.frontend import Asked
from loom_grpc.frontends.gemini_request import read_content, read_count
from loom_grpc.frontends.gemini_state import DIALECT, late_signature, signature_of, wrap
from loom_grpc.v1.llm_service_pb2 import (
    STOP_REASON_CONTENT_FILTER,
    STOP_REASON_LENGTH,
    STOP_REASON_PAUSED,
    STOP_REASON_REFUSAL,
    STOP_REASON_STOP,
    STOP_REASON_TOOL_CALLS,
    STOP_REASON_UNSPECIFIED,
    Completed,
    CountTokensResponse,
    LlmEvent,
    LlmResponse,
    Started,
    StopReason,
    ToolCallDelta,
)
from loom_grpc.v1.message_pb2 import Citation, Media, Part, ToolCall
from loom_grpc.v1.usage_pb2 import Usage

Method = Literal["generateContent", "streamGenerateContent", "countTokens"]
METHODS: Final[tuple[Method, ...]] = get_args(Method)
VERSIONS: Final = ("v1beta", "v1", "v1alpha")
"""The first word of the path: google-genai 3.4.0 asks for `v1` (seen 2026-11-21), and older ones for `v1beta`."""

_FINISH: Final[dict[StopReason.ValueType, str]] = {
    STOP_REASON_STOP: "STOP",
    STOP_REASON_TOOL_CALLS: "STOP",
    STOP_REASON_LENGTH: "MAX_TOKENS",
    STOP_REASON_CONTENT_FILTER: "SAFETY",
    STOP_REASON_REFUSAL: "SAFETY",
    STOP_REASON_PAUSED: "OTHER",
    STOP_REASON_UNSPECIFIED: "OTHER",
}
"""The word for why a model of another dialect stopped; Gemini has none for a model that refuses or pauses."""
_OWN_WORDS: Final = frozenset(
    {
        *("STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "LANGUAGE", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"),
        *("MALFORMED_FUNCTION_CALL", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_OTHER", "NO_IMAGE"),
        *("IMAGE_RECITATION", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MALFORMED_RESPONSE", "MODEL_ARMOR"),
    }
)
"""Reasons that Gemini itself gave."""
_BLOCKS: Final = frozenset(
    {"SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "IMAGE_SAFETY", "MODEL_ARMOR", "JAILBREAK"}
)
_MALFORMED: Final = "MALFORMED_FUNCTION_CALL"
_SAYS_ENOUGH: Final = frozenset({STOP_REASON_STOP, STOP_REASON_TOOL_CALLS, STOP_REASON_LENGTH})
_MEDIA: Final = frozenset({"image", "document", "audio"})


class Gemini:
    """One method of the Gemini API."""

    name = DIALECT

    def __init__(self, method: Method) -> None:
        self._method = method

    def read(self, body: bytes, path: Mapping[str, str], headers: Mapping[str, str]) -> Asked:
        """Reads a request; the model is in the path, and `alt` says how a stream is to be framed."""
        form = _form(path)
        read = read_count if self._method == "countTokens" else read_content
        request, native = read(body, path["model"].removeprefix("models/"), headers)
        return Asked(request, self._method == "streamGenerateContent", native, form)

    def writer(self, asked: Asked, call: Call) -> Writer:
        """Returns what writes the answer to a call."""
        return Writer(call.request_id, sse=asked.form == "sse")

    def count(self, counted: CountTokensResponse) -> bytes:
        """Writes a number of prompt tokens."""
        return orjson.dumps({"totalTokens": counted.input_tokens})

    def failure(self, error: LlmError, request_id: str) -> tuple[int, bytes]:
        """Returns the HTTP status and the body of a call that failed before anything was sent."""
        return gemini_error.failure(error, request_id)

    def refusal(self, error: HttpError, request_id: str) -> tuple[int, bytes]:
        """Returns the HTTP status and the body for a request that is no call."""
        return gemini_error.refusal(error, request_id)

    def headers(self, request_id: str) -> Mapping[str, str]:
        """Has no header of its own."""
        return {}

    def limits(self, notices: Sequence[Notice], now: float) -> Mapping[str, str]:
        """Returns the headers that tell how the caller's limits stand."""
        return rate_limit.draft(notices)


def _form(path: Mapping[str, str]) -> str:
    """Returns how the answer is to be framed: `json` or `sse`; raises `HttpError`."""
    form = (path.get("alt") or path.get("$alt") or "json").partition(";")[0]
    if form not in ("json", "sse"):
        raise HttpError(400, f"alt: {form[:40]!r} is not offered; use json or sse.", "alt")
    return form


class Writer:
    """Writes one answer: whole, as server-sent events, or as a JSON array of which each element leaves as it is made."""

    def __init__(self, request_id: str, *, sse: bool) -> None:
        self.media_type = "text/event-stream" if sse else "application/json"
        self._request_id = request_id
        self._sse = sse
        self._begun = False
        self._relays = False
        """Whether the provider's own words are passed on."""
        self._head: dict[str, str] = {}
        self._open: ToolCallDelta | None = None
        """The call whose arguments are still coming."""
        self._fragments: list[str] = []
        self._sent: set[str] = set()
        """The ids of the calls that were sent."""
        self._start(Started())

    def event(self, event: LlmEvent) -> bytes:
        """Writes an event of a stream, `completed` included; empty where the API says nothing of it."""
        if event.native_json:
            self._relays = True
            data = self._frame(event.native_json)
        else:
            data = b"" if self._relays else self._translate(event)
        return data + self._end() if event.HasField("completed") else data

    def failed(self, error: LlmError) -> bytes:
        """Writes the end of a stream that failed after it had begun."""
        return self._frame(orjson.dumps(gemini_error.failure_value(error, self._request_id))) + self._end()

    def keep_alive(self) -> bytes:
        """Writes an empty line: Google's client takes comments for errors."""
        return b"\r\n"

    def whole(self, response: LlmResponse, native_json: bytes) -> bytes:
        """Writes a whole answer; what Gemini itself wrote stays as it is."""
        if native_json:
            return native_json
        parts, broken = _parts(response)
        return orjson.dumps(_last(response, parts, broken=broken, said=bool(parts)))

    def _frame(self, data: bytes) -> bytes:
        before = b",\r\n" if self._begun else b"["
        self._begun = True
        if self._sse:
            lines = data.replace(b"\r", b"").replace(b"\n", b"\r\ndata: ") if b"\n" in data else data
            return b"data: %b\r\n\r\n" % lines
        return before + data

    def _end(self) -> bytes:
        if self._sse:
            return b""
        return b"]" if self._begun else b"[]"

    def _translate(self, event: LlmEvent) -> bytes:
        kind = event.WhichOneof("event")
        if kind == "text_delta":
            return self._words(self._around_text, event.text_delta.content)
        if kind == "thinking_delta":
            return self._words(self._around_thought, event.thinking_delta.content)
        if kind == "tool_call_delta":
            return self._call(event.tool_call_delta)
        if kind == "part":
            return self._part(event.part)
        if kind == "started":
            self._start(event.started)
        elif kind == "completed":
            return self._completed(event.completed)
        return b""

    def _start(self, started: Started) -> None:
        self._head = _head(started.model, started.id)
        self._around_text = self._template({"text": _HOLE})
        self._around_thought = self._template({"text": _HOLE, "thought": True})

    def _template(self, part: dict[str, Any]) -> tuple[bytes, bytes]:
        """Returns what stands before and after the words of a chunk."""
        before, _, after = orjson.dumps(self._chunk([part])).partition(b'"%b"' % _HOLE.encode())
        return before, after

    def _chunk(self, parts: list[Any]) -> dict[str, Any]:
        return {"candidates": [{"content": {"parts": parts, "role": "model"}, "index": 0}], **self._head}

    def _words(self, around: tuple[bytes, bytes], content: str) -> bytes:
        before, after = around
        return self._flush() + self._frame(before + orjson.dumps(content) + after)

    def _part(self, part: Part) -> bytes:
        wire = _part(part, said=True)
        return self._flush() + self._frame(orjson.dumps(self._chunk(wire))) if wire else b""

    def _call(self, delta: ToolCallDelta) -> bytes:
        """Takes a piece of a call; a call is sent when it is whole, for a client runs what it gets."""
        data = self._flush() if self._open is not None and self._open.index != delta.index else b""
        self._open = delta
        self._fragments.append(delta.arguments_fragment)
        return data

    def _flush(self) -> bytes:
        """Sends the call that has become whole, if there is one."""
        if self._open is None:
            return b""
        call = ToolCall(id=self._open.call_id, tool_name=self._open.tool_name, arguments_json="".join(self._fragments))
        self._open = None
        self._fragments.clear()
        if not _is_whole(call):
            return b""
        self._sent.add(call.id)
        return self._frame(orjson.dumps(self._chunk([_call(call)])))

    def _completed(self, completed: Completed) -> bytes:
        """Writes the last chunk, with the calls that are still to come and what is known of the others only now."""
        response = completed.response
        said = self._begun or bool(response.message.content or response.message.parts)
        calls = [call for call in response.tool_calls if _is_whole(call)]
        parts = [_call(call) for call in calls if call.id not in self._sent]
        parts += [late_signature(call) for call in calls if call.id in self._sent and call.provider_state]
        broken = len(calls) < len(response.tool_calls)
        last = _last(response, parts, broken=broken, said=said or bool(calls))
        return self._frame(orjson.dumps(last))


_HOLE: Final = "\N{OBJECT REPLACEMENT CHARACTER}"
"""Stands for the words in a template."""


def _last(response: LlmResponse, parts: list[Any], *, broken: bool, said: bool) -> dict[str, Any]:
    """Writes a whole answer or the last chunk of one; a prompt that was blocked has no candidate."""
    value: dict[str, Any] = {}
    usage = response.usage
    if not said and response.stop_reason == STOP_REASON_CONTENT_FILTER and not usage.output_tokens:
        word = response.finish_reason
        value["promptFeedback"] = {"blockReason": word if word in _BLOCKS else "OTHER"}
    else:
        content = {"parts": parts or [{"text": ""}], "role": "model"}
        value["candidates"] = [
            {"content": content, **_finish(response, broken=broken), "index": 0, **_sources(response)}
        ]
    if response.HasField("usage"):
        value["usageMetadata"] = _usage(usage)
    return value | _head(response.model, response.id)


def _head(model: str, id: str) -> dict[str, str]:
    return {key: value for key, value in (("modelVersion", model), ("responseId", id)) if value}


def _finish(response: LlmResponse, *, broken: bool) -> dict[str, str]:
    """Says why the model stopped, in Gemini's word and, where that says less, the provider's beside it."""
    reason, word = response.stop_reason, response.finish_reason
    if word in _OWN_WORDS:
        return {"finishReason": word}
    if broken and reason != STOP_REASON_LENGTH:
        return {"finishReason": _MALFORMED, "finishMessage": "The arguments of a function call are no JSON object."}
    if reason == STOP_REASON_UNSPECIFIED and not word:
        return {}
    own = {} if reason in _SAYS_ENOUGH or not word else {"finishMessage": word}
    return {"finishReason": _FINISH[reason], **own}


def _usage(usage: Usage) -> dict[str, int]:
    """Writes the tokens; candidates leave the thoughts out."""
    value = {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": usage.output_tokens - usage.reasoning_tokens,
        "totalTokenCount": usage.input_tokens + usage.output_tokens,
    }
    if usage.cache_read_tokens:
        value["cachedContentTokenCount"] = usage.cache_read_tokens
    if usage.reasoning_tokens:
        value["thoughtsTokenCount"] = usage.reasoning_tokens
    return value


def _parts(response: LlmResponse) -> tuple[list[Any], bool]:
    """Writes all parts with the calls at their places, and tells whether one of them is broken and left out."""
    calls: dict[int | None, list[Any]] = {}
    whole = [call for call in response.tool_calls if _is_whole(call)]
    for call in whole:
        place = call.part_index if call.HasField("part_index") else None
        calls.setdefault(place, []).append(_call(call))
    parts: list[Any] = []
    for place, part in enumerate(parts_of(response.message)):
        parts += calls.pop(place, [])
        parts += _part(part, said=False)
    for rest in calls.values():
        parts += rest
    return parts, len(whole) < len(response.tool_calls)


def _part(part: Part, *, said: bool) -> list[Any]:
    """Writes a part; of one whose words were `said` already only what signs them is left."""
    kind = part.WhichOneof("kind") or ""
    if kind in ("text", "thinking"):
        thought = {"thought": True} if kind == "thinking" else {}
        text, signature = "" if said else getattr(part, kind), signature_of(part)
        return [{"text": text, **thought, **signature}] if text or signature else []
    if kind == "refusal":
        return [{"text": part.refusal}]
    if kind in _MEDIA:
        return [_media(getattr(part, kind)) | signature_of(part)]
    if kind == "opaque" and part.origin == DIALECT:
        return [orjson.Fragment(part.opaque.block_json)]
    if kind in ("opaque", "redacted_thinking"):
        # Only its own provider understands it, and gets it back.
        return [{"text": "", "thought": True, "thoughtSignature": wrap(part)}]
    return []


def _media(media: Media) -> dict[str, Any]:
    if media.data:
        return {"inlineData": {"mimeType": media.media_type, "data": base64.b64encode(media.data).decode()}}
    kind = {"mimeType": media.media_type} if media.media_type else {}
    return {"fileData": {**kind, "fileUri": media.url}}


def _call(call: ToolCall) -> dict[str, Any]:
    arguments = orjson.Fragment(call.arguments_json.strip() or "{}")
    return {"functionCall": {"id": call.id, "name": call.tool_name, "args": arguments}, **signature_of(call)}


def _is_whole(call: ToolCall) -> bool:
    """Tells whether the arguments are the object that they must be; the limit on tokens may have cut them."""
    text = call.arguments_json.strip()
    if not text:
        return True
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False


def _sources(response: LlmResponse) -> dict[str, Any]:
    """Writes the sources of the text, each once."""
    chunks: list[dict[str, Any]] = []
    for part in response.message.parts:
        if part.HasField("citation") and (chunk := _source(part.citation)) not in chunks:
            chunks.append(chunk)
    return {"groundingMetadata": {"groundingChunks": chunks}} if chunks else {}


def _source(citation: Citation) -> dict[str, Any]:
    named = {"uri": citation.url, "title": citation.title, "text": citation.cited_text}
    kind = "retrievedContext" if citation.cited_text or not citation.url else "web"
    return {kind: {key: value for key, value in named.items() if value}}
