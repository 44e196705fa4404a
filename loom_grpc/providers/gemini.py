"""Gemini's generateContent (ai.google.dev/api/generate-content, seen 2026-11-21), which Vertex AI speaks too."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

import orjson

from loom_grpc.core.call import Call
from loom_grpc.core.decoder import Decoder
from loom_grpc.core.errors import INVALID_REQUEST, PROVIDER_BAD_RESPONSE, LlmError
from loom_grpc.core.events import Answer
from loom_grpc.core.exact import dumps
from loom_grpc.core.native import Native
from loom_grpc.core.sse import JsonFramer, SseFramer
from loom_grpc.providers import gemini_arguments
from loom_grpc.providers.classify import json_object, provider_error
from loom_grpc.providers.count import tokens
from loom_grpc.providers.dialect import EmbeddingCodec, HttpRequest, native_body, read_count
from loom_grpc.providers.embedding import GeminiEmbedding
from loom_grpc.providers.gemini_error import http_error, rpc_error
from loom_grpc.providers.gemini_request import NAME, write_body
from loom_grpc.v1.llm_service_pb2 import (
    STOP_REASON_CONTENT_FILTER,
    STOP_REASON_LENGTH,
    STOP_REASON_STOP,
    STOP_REASON_UNSPECIFIED,
    Model,
    StopReason,
)
from loom_grpc.v1.message_pb2 import Citation, Media, Opaque, Part
from loom_grpc.v1.usage_pb2 import Usage

_STOP: Final[dict[str, StopReason.ValueType]] = {
    "STOP": STOP_REASON_STOP,
    "MAX_TOKENS": STOP_REASON_LENGTH,
    "SAFETY": STOP_REASON_CONTENT_FILTER,
    "RECITATION": STOP_REASON_CONTENT_FILTER,
    "BLOCKLIST": STOP_REASON_CONTENT_FILTER,
    "PROHIBITED_CONTENT": STOP_REASON_CONTENT_FILTER,
    "SPII": STOP_REASON_CONTENT_FILTER,
    "MODEL_ARMOR": STOP_REASON_CONTENT_FILTER,
    "IMAGE_SAFETY": STOP_REASON_CONTENT_FILTER,
    "IMAGE_PROHIBITED_CONTENT": STOP_REASON_CONTENT_FILTER,
    "IMAGE_RECITATION": STOP_REASON_CONTENT_FILTER,
    "1": STOP_REASON_STOP,
    "2": STOP_REASON_LENGTH,
    "3": STOP_REASON_CONTENT_FILTER,
    "4": STOP_REASON_CONTENT_FILTER,
    "7": STOP_REASON_CONTENT_FILTER,
    "8": STOP_REASON_CONTENT_FILTER,
}
"""By `finishReason`. `$alt=json;enum-encoding=int` makes numbers of the words; those that are not here mean different things in the
Gemini API and in Vertex AI. Words that are not here, such as MALFORMED_FUNCTION_CALL, are no normal end."""

_PROMPT_DETAILS: Final = ("promptTokensDetails", "toolUsePromptTokensDetails")
_NO_REASON: Final = frozenset({"", "0", "FINISH_REASON_UNSPECIFIED"})

_MARKS: Final = frozenset({"thought", "thoughtSignature", "partMetadata", "mediaResolution", "videoMetadata"})
"""Fields of a part beside the one that says what the part is."""


class Gemini:
    """The Gemini API, whole and streamed."""

    name = NAME
    embedding: EmbeddingCodec | None = GeminiEmbedding()

    def encode(self, call: Call) -> HttpRequest:
        """Writes a request for generateContent; a stream is asked for as server-sent events."""
        body = write_body(call.request, call.model, ids=True)
        return HttpRequest("POST", f"{_path(call.model)}:{verb(call)}", orjson.dumps(body))

    def encode_native(self, call: Call, native: Native) -> HttpRequest | None:
        """Takes a request for generateContent as it is."""
        if native.dialect != NAME:
            return None
        body = dumps(native_body(call, native)).encode()
        return HttpRequest("POST", f"{_path(call.model)}:{verb(call)}", body, native.headers)

    def decoder(self, call: Call, media_type: str) -> Decoder:
        """Reads server-sent events, an array, or one object."""
        return content_decoder(call, media_type)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> LlmError:
        """Classifies by the details and the status word of a `google.rpc.Status`, then by status."""
        return http_error(status, headers, body)

    def encode_count(self, call: Call) -> HttpRequest | None:
        """Writes a request for countTokens of the whole request that would be sent."""
        content = {"model": "/".join(_resource(call.model)), **write_body(call.request, call.model, ids=True)}
        return HttpRequest(
            "POST", f"{_path(call.model)}:countTokens", orjson.dumps({"generateContentRequest": content})
        )

    def decode_count(self, body: bytes) -> int:
        """Reads `totalTokens`."""
        return read_count(json_object(body), "totalTokens")

    def encode_models(self) -> HttpRequest | None:
        """Writes a request for the first thousand models."""
        return HttpRequest("GET", "/v1beta/models?pageSize=1000")

    def decode_models(self, body: bytes) -> list[Model]:
        """Reads the models that can answer; the rest embed or draw."""
        rows = json_object(body).get("models")
        if not isinstance(rows, list):
            raise provider_error(PROVIDER_BAD_RESPONSE)
        return list(_models(rows))


def verb(call: Call) -> str:
    """Returns the method that answers a call; a stream is asked for as server-sent events."""
    return "streamGenerateContent?alt=sse" if call.stream else "generateContent"


def content_decoder(call: Call, media_type: str) -> Decoder:
    """Makes the reader of an answer of generateContent or streamGenerateContent."""
    framer = SseFramer() if media_type == "text/event-stream" else JsonFramer()
    return ContentDecoder(Answer(call, NAME, read_usage), framer, whole=not call.stream)


def read_usage(usage: dict[str, Any]) -> Usage:
    """Reads `usageMetadata`: candidates leave the thoughts out, and the prompt what the provider's own tools brought in."""
    thoughts = tokens(usage, "thoughtsTokenCount")
    return Usage(
        input_tokens=tokens(usage, "promptTokenCount") + tokens(usage, "toolUsePromptTokenCount"),
        output_tokens=tokens(usage, "candidatesTokenCount") + thoughts,
        cache_read_tokens=tokens(usage, "cachedContentTokenCount"),
        reasoning_tokens=thoughts,
        provider_usage_json=dumps(usage),
        input_audio_tokens=_of("AUDIO", usage, *_PROMPT_DETAILS),
        cache_read_audio_tokens=_of("AUDIO", usage, "cacheTokensDetails"),
        output_audio_tokens=_of("AUDIO", usage, "candidatesTokensDetails"),
        input_image_tokens=_of("IMAGE", usage, *_PROMPT_DETAILS),
        output_image_tokens=_of("IMAGE", usage, "candidatesTokensDetails"),
    )


class ContentDecoder(Decoder):
    """Reads one object after the other; only the end of the bytes ends an answer, for old models repeat `finishReason` in each."""

    def __init__(self, answer: Answer, framer: JsonFramer | SseFramer, *, whole: bool) -> None:
        super().__init__(answer, framer)
        self._whole = whole
        self._usage: dict[str, Any] = {}
        self._finish_reason = ""
        self._block_reason = ""
        self._signed = False
        """Whether the run of text or thoughts is one that was signed, and so must not grow."""
        self._calls = 0
        self._arguments: dict[str, Any] | None = None
        """The arguments of a call that will be continued."""
        self._cited: set[bytes] = set()

    def read(self, name: bytes, value: dict[str, Any]) -> None:
        """Takes one object. Other candidates than the first are passed over."""
        if error := value.get("error"):
            raise rpc_error(error if isinstance(error, dict) else {"message": error})
        self.answer.id = _word(value.get("responseId")) or self.answer.id
        self.answer.model = _word(value.get("modelVersion")) or self.answer.model
        self._count(value.get("usageMetadata") or {})
        for candidate in value.get("candidates") or ():
            if not candidate.get("index"):
                self._candidate(candidate)
        feedback = value.get("promptFeedback") or {}
        self._block_reason = _word(feedback.get("blockReason")) or self._block_reason

    def complete(self) -> bool:
        """Tells that a reason was given and nothing more was on its way, or that a whole answer came without a reason."""
        if self._finish_reason or self._block_reason:
            return not self.torn
        return self._whole and not self.answer.empty

    def finish(self) -> None:
        """Completes the answer; a refused prompt ends with the provider's word for the refusal."""
        self._end_call()
        if self._finish_reason or not self._block_reason:
            self.answer.complete(self._finish_reason, _STOP.get(self._finish_reason, STOP_REASON_UNSPECIFIED))
        else:
            self.answer.complete(self._block_reason, STOP_REASON_CONTENT_FILTER)
        self.ended = True

    def _count(self, usage: dict[str, Any]) -> None:
        """Takes a usage object key by key: the numbers are totals. Vertex AI's say nothing of tokens before the last."""
        self._usage |= {key: value for key, value in usage.items() if value is not None}
        if any(key.endswith("TokenCount") for key in self._usage):
            self.answer.usage = self._usage

    def _candidate(self, candidate: dict[str, Any]) -> None:
        for part in (candidate.get("content") or {}).get("parts") or ():
            self._part(part)
        for citation in _citations(candidate):
            self._cite(citation)
        reason = _word(candidate.get("finishReason"))
        if reason not in _NO_REASON:
            self._finish_reason = reason

    def _part(self, part: dict[str, Any]) -> None:
        signature = _text(part.get("thoughtSignature"))
        if "functionCall" in part:
            self._call(part["functionCall"], signature)
        elif "inlineData" in part and not part.get("thought") and (file := _file(part["inlineData"], signature)):
            self.answer.part(file)
        elif "text" not in part and (kind := next((key for key in part if key not in _MARKS), "")):
            self.answer.part(Part(opaque=Opaque(type=kind, block_json=dumps(part))))
        else:
            self._say("thinking" if part.get("thought") else "text", _text(part.get("text")), signature)

    def _say(self, kind: str, text: str, signature: str) -> None:
        """Takes text or thoughts; a signed piece stays a piece of its own, as the API wants it back."""
        if not text and not signature:
            return
        if self._signed or signature:
            self.answer.close()
        self._signed = bool(signature)
        if kind == "thinking":
            self.answer.thinking(text)
        else:
            self.answer.text(text)
        if signature:
            self.answer.state(kind, signature.encode())

    def _call(self, call: dict[str, Any], signature: str) -> None:
        """Takes a call, or the next piece of one: pieces after the first have no name, and the last does not say that more comes."""
        if self._arguments is None or call.get("name"):
            self._end_call()
            self._calls += 1
            self._arguments = {}
            id, name = _text(call.get("id")), _text(call.get("name"))
            self.answer.tool(self._calls, id=id, name=name, state=signature.encode())
        self._arguments |= call.get("args") or {}
        for argument in call.get("partialArgs") or ():
            gemini_arguments.put(self._arguments, argument)
        if not call.get("willContinue"):
            self._end_call()

    def _end_call(self) -> None:
        """Hands out the arguments whole."""
        if self._arguments is None:
            return
        self.answer.tool(self._calls, fragment=dumps(self._arguments))
        self.answer.end_tool(self._calls)
        self._arguments = None

    def _cite(self, citation: Citation) -> None:
        """Passes a source on once; chunks repeat what earlier ones said."""
        key = citation.SerializeToString(deterministic=True)
        if key not in self._cited:
            self._cited.add(key)
            self.answer.cite(citation)


def _resource(model: str) -> tuple[str, str]:
    """Returns the collection of a model and its name there."""
    collection, slash, name = model.partition("/")
    return (collection, name) if slash and collection in ("models", "tunedModels") else ("models", model)


def _path(model: str) -> str:
    collection, name = _resource(model)
    if {".", ".."} & set(name.split("/")):  # a proxy on the way may unescape the slashes
        raise LlmError(INVALID_REQUEST, "model: must not have . or .. as a piece.", field="model")
    return f"/v1beta/{collection}/{quote(name, safe='')}"


def _models(rows: list[Any]) -> Iterator[Model]:
    for row in rows:
        match row:
            case {"name": str(name), "supportedGenerationMethods": [*methods]} if "generateContent" in methods:
                yield Model(id=name.removeprefix("models/"), display_name=_word(row.get("displayName")))


def _word(value: object) -> str:
    """Reads a word, or a number that stands for one; anything else is none."""
    return str(value) if isinstance(value, str | int) else ""


def _text(value: object) -> str:
    """Reads a text that may be missing; raises TypeError for anything else."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError(type(value).__name__)
    return value


def _of(modality: str, usage: dict[str, Any], *keys: str) -> int:
    """Reads how many tokens are of a kind of content."""
    rows = [row for key in keys for row in usage.get(key) or ()]
    return sum(tokens(row, "tokenCount") for row in rows if row.get("modality") == modality)


def _file(blob: dict[str, Any], signature: str) -> Part | None:
    """Reads bytes of a known type; others cannot be said in the contract."""
    media = Media(data=base64.b64decode(_text(blob.get("data"))), media_type=_text(blob.get("mimeType")))
    if not media.data or not media.media_type:
        return None
    state = signature.encode()
    match media.media_type.partition("/")[0]:
        case "image":
            return Part(image=media, provider_state=state)
        case "audio":
            return Part(audio=media, provider_state=state)
    return Part(document=media, provider_state=state)


def _citations(candidate: dict[str, Any]) -> Iterator[Citation]:
    """Yields the sources: of a search, of pages that were read, and of recited text, which the two APIs name differently."""
    for chunk in (candidate.get("groundingMetadata") or {}).get("groundingChunks") or ():
        source = chunk.get("web") or chunk.get("retrievedContext") or chunk.get("maps") or {}
        yield _citation(chunk, source.get("uri"), source.get("title"), source.get("text"))
    for page in (candidate.get("urlContextMetadata") or {}).get("urlMetadata") or ():
        if page.get("urlRetrievalStatus") == "URL_RETRIEVAL_STATUS_SUCCESS":
            yield _citation(page, page.get("retrievedUrl"))
    recited = candidate.get("citationMetadata") or {}
    for source in recited.get("citationSources") or recited.get("citations") or ():
        yield _citation(source, source.get("uri"), source.get("title"))


def _citation(value: dict[str, Any], url: object, title: object = "", text: object = "") -> Citation:
    return Citation(url=_word(url), title=_word(title), cited_text=_word(text), citation_json=dumps(value))
