"""How each wire format turns texts into vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import orjson

from loom_grpc.core.errors import INVALID_REQUEST, PROVIDER_BAD_RESPONSE, LlmError
from loom_grpc.core.estimate import estimate_inputs
from loom_grpc.core.exact import dumps
from loom_grpc.core.request import merge
from loom_grpc.providers.classify import json_object, provider_error
from loom_grpc.providers.count import believed
from loom_grpc.providers.dialect import HttpRequest, Vectors
from loom_grpc.providers.wait import NO_HEADERS
from loom_grpc.v1.llm_service_pb2 import EmbedInput, EmbedRequest, EmbedResponse
from loom_grpc.v1.usage_pb2 import Usage


def add(response: EmbedResponse, vectors: Vectors, inputs: Sequence[EmbedInput]) -> None:
    """Adds what a provider made of some inputs to what it made of others; raises `LlmError` when it left some out.

    Tokens that the provider does not tell are estimated.
    """
    if len(vectors.values) != len(inputs):
        raise provider_error(PROVIDER_BAD_RESPONSE)
    for values in vectors.values:
        response.embeddings.add(values=values)
    response.model = vectors.model or response.model
    usage, told = response.usage, vectors.usage
    usage.input_tokens += estimate_inputs(inputs) if told is None else told.input_tokens
    usage.estimated |= told is None
    if told is not None and len(inputs) == len(response.embeddings):
        usage.provider_usage_json = told.provider_usage_json
    else:
        usage.ClearField("provider_usage_json")  # it would tell of some of the inputs only


class OpenAIEmbedding:
    """`/embeddings` (developers.openai.com/api/reference/resources/embeddings, seen 2026-11-21)."""

    def __init__(self, most: int = 2048, headers: Mapping[str, str] = NO_HEADERS) -> None:
        self._most = most
        self._headers = headers

    def most(self, model: str) -> int:
        """Takes as many whatever the model."""
        return self._most

    def encode(self, model: str, inputs: Sequence[EmbedInput], request: EmbedRequest) -> HttpRequest:
        """Writes texts, or tokens; a request has one kind of them."""
        kinds = {input_.WhichOneof("kind") for input_ in inputs}
        if len(kinds) > 1:
            raise _unsayable("inputs", "a request has either texts or tokens for this provider")
        items = [list(input_.tokens.ids) if input_.HasField("tokens") else input_.text for input_ in inputs]
        body: dict[str, Any] = {"model": model, "input": items}
        if request.HasField("dimensions"):
            body["dimensions"] = request.dimensions
        return _post("/embeddings", body, request, self._headers)

    def decode(self, body: bytes) -> Vectors:
        """Reads the vectors by their numbers."""
        value = json_object(body)
        rows = sorted(_rows(value, "data"), key=lambda row: row.get("index") or 0)
        usage = value.get("usage") or {}
        tokens = usage.get("prompt_tokens") or usage.get("total_tokens")
        return Vectors([_numbers(row, "embedding") for row in rows], value.get("model") or "", _usage(tokens, usage))


class OllamaEmbedding:
    """`/api/embed` (docs.ollama.com/api/embed, seen 2026-11-21). What is too long is refused, not cut."""

    def most(self, model: str) -> int:
        """Takes any number; this many keep an answer small."""
        return 512

    def encode(self, model: str, inputs: Sequence[EmbedInput], request: EmbedRequest) -> HttpRequest:
        """Writes texts."""
        body: dict[str, Any] = {"model": model, "input": _texts(inputs), "truncate": False}
        if request.HasField("dimensions"):
            body["dimensions"] = request.dimensions
        return _post("/api/embed", body, request)

    def decode(self, body: bytes) -> Vectors:
        """Reads the vectors, which come in order."""
        value = json_object(body)
        rows = [{"values": row} for row in _array(value, "embeddings")]
        usage = _usage(value.get("prompt_eval_count"), {"prompt_eval_count": value.get("prompt_eval_count")})
        return Vectors([_numbers(row, "values") for row in rows], value.get("model") or "", usage)


class GeminiEmbedding:
    """`batchEmbedContents` (ai.google.dev/api/embeddings, seen 2026-11-21), which takes a hundred contents."""

    def most(self, model: str) -> int:
        """Takes a hundred whatever the model."""
        return 100

    def encode(self, model: str, inputs: Sequence[EmbedInput], request: EmbedRequest) -> HttpRequest:
        """Writes a request for each text."""
        name = model if "/" in model else f"models/{model}"
        settings = _google_settings(request, "taskType", "outputDimensionality")
        requests = [{"model": name, "content": {"parts": [{"text": text}]}, **settings} for text in _texts(inputs)]
        return _post(f"/v1beta/{name}:batchEmbedContents", {"requests": requests}, request)

    def decode(self, body: bytes) -> Vectors:
        """Reads the vectors, which come in order."""
        value = json_object(body)
        usage = value.get("usageMetadata") or {}
        return Vectors([_numbers(row, "values") for row in _rows(value, "embeddings")], "", _google_usage(usage))


class VertexEmbedding:
    """`predict`, or `embedContent` for the models that have only that (docs.cloud.google.com/vertex-ai/generative-ai/docs/embeddings,
    seen 2026-11-21)."""

    def __init__(self, path: Callable[[str, str], str]) -> None:
        self._path = path

    def most(self, model: str) -> int:
        """Takes one text of Gemini's models, and 250 of the older ones."""
        return 1 if "gemini-embedding" in model else 250

    def encode(self, model: str, inputs: Sequence[EmbedInput], request: EmbedRequest) -> HttpRequest:
        """Writes instances, or one content."""
        texts = _texts(inputs)
        if "gemini-embedding-2" in model:
            content = {"content": {"parts": [{"text": texts[0]}]}}
            settings = _google_settings(request, "taskType", "outputDimensionality")
            return _post(self._path(model, "embedContent"), {**content, "autoTruncate": False, **settings}, request)
        task = _google_settings(request, "task_type", "")
        body: dict[str, Any] = {"instances": [{"content": text, **task} for text in texts]}
        body["parameters"] = {"autoTruncate": False, **_google_settings(request, "", "outputDimensionality")}
        return _post(self._path(model, "predict"), body, request)

    def decode(self, body: bytes) -> Vectors:
        """Reads either answer."""
        value = json_object(body)
        if "embedding" in value:
            return Vectors(
                [_numbers(value["embedding"], "values")], "", _google_usage(value.get("usageMetadata") or {})
            )
        found = [row.get("embeddings") or {} for row in _rows(value, "predictions")]
        counts = [(row.get("statistics") or {}).get("token_count") for row in found]
        told = [count for count in map(believed, counts) if count is not None]
        tokens = sum(told) if len(told) == len(counts) else None
        return Vectors([_numbers(row, "values") for row in found], "", _usage(tokens, {"token_counts": counts}))


_TASKS: Final = frozenset(
    {
        "retrieval_query",
        "retrieval_document",
        "semantic_similarity",
        "classification",
        "clustering",
        "question_answering",
        "fact_verification",
        "code_retrieval_query",
    }
)


def _google_settings(request: EmbedRequest, task: str, dimensions: str) -> dict[str, Any]:
    """Returns what Google takes beside the text, under the given names; an empty name leaves the setting out."""
    settings: dict[str, Any] = {}
    if task and request.task in _TASKS:
        settings[task] = request.task.upper()
    if dimensions and request.HasField("dimensions"):
        settings[dimensions] = request.dimensions
    return settings


def _google_usage(usage: dict[str, Any]) -> Usage | None:
    return _usage(usage.get("promptTokenCount") or usage.get("totalTokenCount"), usage)


def _texts(inputs: Sequence[EmbedInput]) -> list[str]:
    if any(input_.HasField("tokens") for input_ in inputs):
        raise _unsayable("inputs", "this provider takes texts and no tokens")
    return [input_.text for input_ in inputs]


def _post(
    path: str, body: dict[str, Any], request: EmbedRequest, headers: Mapping[str, str] = NO_HEADERS
) -> HttpRequest:
    if request.provider_options_json.strip():
        merge(body, orjson.loads(request.provider_options_json))
    return HttpRequest("POST", path, dumps(body).encode(), headers)


def _rows(value: dict[str, Any], key: str) -> list[dict[str, Any]]:
    rows = _array(value, key)
    if not all(isinstance(row, dict) for row in rows):
        raise provider_error(PROVIDER_BAD_RESPONSE)
    return rows


def _array(value: dict[str, Any], key: str) -> list[Any]:
    rows = value.get(key)
    if not isinstance(rows, list):
        raise provider_error(PROVIDER_BAD_RESPONSE)
    return rows


def _numbers(row: dict[str, Any], key: str) -> list[float]:
    numbers = row.get(key)
    if not isinstance(numbers, list) or not numbers or not all(type(number) in (int, float) for number in numbers):
        raise provider_error(PROVIDER_BAD_RESPONSE)
    return numbers


def _usage(tokens: object, usage: dict[str, Any]) -> Usage | None:
    count = believed(tokens)
    return None if count is None else Usage(input_tokens=count, provider_usage_json=dumps(usage))


def _unsayable(field: str, what: str) -> LlmError:
    return LlmError(INVALID_REQUEST, f"{field}: {what}.", field=field)
