"""Speaks the Gemini API's embedContent and batchEmbedContents with callers (ai.google.dev/api/embeddings, seen 2026-11-21)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, get_args

import orjson

from loom_grpc.core.errors import LlmError
from loom_grpc.core.notice import Notice
from loom_grpc.frontends import gemini_error, rate_limit
from loom_grpc.frontends.body import HttpError, read_json
from loom_grpc.frontends.float32 import shortest
from loom_grpc.frontends.frontend import EmbedAsked
from loom_grpc.frontends.gemini_json import Proto
from loom_grpc.v1.llm_service_pb2 import Embedding, EmbedInput, EmbedRequest, EmbedResponse

Method = Literal["embedContent", "batchEmbedContents"]
METHODS: Final[tuple[Method, ...]] = get_args(Method)

_FIELDS: Final = frozenset(
    {
        *("model", "content", "taskType", "outputDimensionality"),
        "title",  # makes a document's vector a little better
    }
)
_PART_FIELDS: Final = frozenset(
    {
        "text",
        "partMetadata",  # the caller's own notes
    }
)
_TASKS: Final = {
    "": "",
    "TASK_TYPE_UNSPECIFIED": "",
    "RETRIEVAL_QUERY": "retrieval_query",
    "RETRIEVAL_DOCUMENT": "retrieval_document",
    "SEMANTIC_SIMILARITY": "semantic_similarity",
    "CLASSIFICATION": "classification",
    "CLUSTERING": "clustering",
    "QUESTION_ANSWERING": "question_answering",
    "FACT_VERIFICATION": "fact_verification",
    "CODE_RETRIEVAL_QUERY": "code_retrieval_query",
}


class _Settings(NamedTuple):
    """What all vectors of a call have in common."""

    task: str
    dimensions: int | None


class GeminiEmbedding:
    """One method of the Gemini API."""

    name = "gemini"

    def __init__(self, method: Method) -> None:
        self._is_batch = method == "batchEmbedContents"

    def read(self, body: bytes, path: Mapping[str, str], headers: Mapping[str, str]) -> EmbedAsked:
        """Reads a request; the model is in the path. Raises `HttpError`."""
        model = _bare(path["model"])
        fields = Proto(read_json(body))
        items = _batch(fields) if self._is_batch else [fields]
        settings = _settings(items[0])
        for item in items:
            _check(item, model, settings)
        inputs = [EmbedInput(text=_text(item)) for item in items]
        return EmbedAsked(EmbedRequest(model=model, inputs=inputs, task=settings.task, dimensions=settings.dimensions))

    def write(self, asked: EmbedAsked, response: EmbedResponse) -> bytes:
        """Writes the vector or the vectors; the tokens only where the provider told them."""
        value: dict[str, Any] = {}
        if self._is_batch:
            value["embeddings"] = [_vector(embedding) for embedding in response.embeddings]
        else:
            value["embedding"] = _vector(response.embeddings[0])
        if response.HasField("usage") and not response.usage.estimated:
            value["usageMetadata"] = {"promptTokenCount": response.usage.input_tokens}
        return orjson.dumps(value)

    def failure(self, error: LlmError, request_id: str) -> tuple[int, bytes]:
        """Returns the HTTP status and the body of a call that failed."""
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


def _vector(embedding: Embedding) -> dict[str, list[float]]:
    return {"values": shortest(embedding.values)}


def _bare(model: str) -> str:
    return model.removeprefix("models/")


def _batch(fields: Proto) -> list[Proto]:
    _only(fields, frozenset({"requests"}))
    items = list(fields.objects("requests"))
    if not items:
        raise fields.wrong("requests", "at least one is needed")
    return items


def _settings(item: Proto) -> _Settings:
    word = item.text("taskType")
    if word not in _TASKS:
        raise item.wrong("taskType", f"there is no task {word[:40]!r}")
    dimensions = item.integer("outputDimensionality")
    if dimensions is not None and dimensions < 1:
        raise item.wrong("outputDimensionality", "must be at least 1")
    return _Settings(_TASKS[word], dimensions)


def _check(item: Proto, model: str, settings: _Settings) -> None:
    """Refuses what is not known, and a request of a batch that is not like the first one."""
    _only(item, _FIELDS)
    if _bare(item.text("model")) not in ("", model):
        raise item.wrong("model", "must be the model of the address")
    own = _settings(item)
    if own.task != settings.task:
        raise item.wrong("taskType", "must be the same for the whole batch")
    if own.dimensions != settings.dimensions:
        raise item.wrong("outputDimensionality", "must be the same for the whole batch")


def _text(item: Proto) -> str:
    """Returns the text of a content, its parts one after the other."""
    content = item.need_object("content")
    texts = []
    for part in content.objects("parts"):
        for key in part:
            if key not in _PART_FIELDS:
                raise part.wrong(key, "only text can become a vector here")
        texts.append(part.text("text"))
    text = "".join(texts)
    if not text:
        raise content.wrong("parts", "must have text")
    return text


def _only(fields: Proto, known: frozenset[str]) -> None:
    for key in fields:
        if key not in known:
            raise fields.wrong(key[:80], "there is no such field")
