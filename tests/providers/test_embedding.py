"""Each wire format turns texts into vectors in its own words; what it cannot say is refused, and what is wrong is no answer."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from loom_grpc.core.errors import INVALID_REQUEST, PROVIDER_BAD_RESPONSE, LlmError
from loom_grpc.providers.dialect import EmbeddingCodec, Vectors
from loom_grpc.providers.embedding import GeminiEmbedding, OllamaEmbedding, OpenAIEmbedding, VertexEmbedding, add
from loom_grpc.v1.llm_service_pb2 import Embedding, EmbedInput, EmbedRequest, EmbedResponse, TokenList
from loom_grpc.v1.usage_pb2 import Usage

TEXTS = [EmbedInput(text="one"), EmbedInput(text="two")]
TOKENS = [EmbedInput(tokens=TokenList(ids=[1, 2, 3]))]
PLAIN = EmbedRequest()
FULL = EmbedRequest(dimensions=2, task="retrieval_query", provider_options_json='{"user": "u"}')

VERTEX = VertexEmbedding(lambda model, method: f"/{model}:{method}")


def written(
    codec: EmbeddingCodec, model: str, inputs: list[EmbedInput], request: EmbedRequest
) -> tuple[str, dict[str, Any]]:
    sent = codec.encode(model, inputs, request)
    assert sent.method == "POST"
    return sent.path, orjson.loads(sent.body)


def test_openai_takes_texts_with_their_settings() -> None:
    body = {"model": "m", "input": ["one", "two"], "dimensions": 2, "user": "u"}

    assert written(OpenAIEmbedding(), "m", TEXTS, FULL) == ("/embeddings", body)


def test_openai_takes_tokens() -> None:
    assert written(OpenAIEmbedding(), "m", TOKENS, PLAIN) == ("/embeddings", {"model": "m", "input": [[1, 2, 3]]})


def test_ollama_takes_texts_and_is_told_not_to_cut_them() -> None:
    body = {"model": "m", "input": ["one", "two"], "truncate": False}

    assert written(OllamaEmbedding(), "m", TEXTS, PLAIN) == ("/api/embed", body)


def test_gemini_takes_a_request_for_each_text() -> None:
    common = {"model": "models/m", "taskType": "RETRIEVAL_QUERY", "outputDimensionality": 2}
    requests = [{**common, "content": {"parts": [{"text": text}]}} for text in ("one", "two")]

    assert written(GeminiEmbedding(), "m", TEXTS, EmbedRequest(dimensions=2, task="retrieval_query")) == (
        "/v1beta/models/m:batchEmbedContents",
        {"requests": requests},
    )


def test_vertex_takes_instances() -> None:
    instances = [{"content": text, "task_type": "RETRIEVAL_QUERY"} for text in ("one", "two")]
    parameters = {"autoTruncate": False, "outputDimensionality": 2}

    assert written(VERTEX, "text-embedding-005", TEXTS, EmbedRequest(dimensions=2, task="retrieval_query")) == (
        "/text-embedding-005:predict",
        {"instances": instances, "parameters": parameters},
    )


def test_vertex_takes_one_content_for_the_models_that_have_only_that() -> None:
    assert written(VERTEX, "gemini-embedding-2", TEXTS[:1], PLAIN) == (
        "/gemini-embedding-2:embedContent",
        {"content": {"parts": [{"text": "one"}]}, "autoTruncate": False},
    )


def test_a_task_that_nobody_knows_is_no_hint() -> None:
    _, body = written(VERTEX, "text-embedding-005", TEXTS[:1], EmbedRequest(task="poetry"))

    assert body["instances"] == [{"content": "one"}]


@pytest.mark.parametrize("codec", [OllamaEmbedding(), GeminiEmbedding(), VERTEX], ids=["ollama", "gemini", "vertex"])
def test_tokens_are_refused_where_texts_are_wanted(codec: EmbeddingCodec) -> None:
    with pytest.raises(LlmError) as caught:
        codec.encode("m", TOKENS, PLAIN)
    assert (caught.value.reason, caught.value.metadata["field"]) == (INVALID_REQUEST, "inputs")


@pytest.mark.parametrize(
    ("codec", "answer", "vectors"),
    [
        (
            OpenAIEmbedding(),
            {
                "data": [{"index": 1, "embedding": [2]}, {"index": 0, "embedding": [1.5]}],
                "model": "n",
                "usage": {"prompt_tokens": 3, "total_tokens": 3},
            },
            Vectors(
                [[1.5], [2]], "n", Usage(input_tokens=3, provider_usage_json='{"prompt_tokens":3,"total_tokens":3}')
            ),
        ),
        (
            OllamaEmbedding(),
            {"model": "n", "embeddings": [[1.5], [2]], "prompt_eval_count": 3},
            Vectors([[1.5], [2]], "n", Usage(input_tokens=3, provider_usage_json='{"prompt_eval_count":3}')),
        ),
        (GeminiEmbedding(), {"embeddings": [{"values": [1.5]}, {"values": [2]}]}, Vectors([[1.5], [2]])),
        (
            VERTEX,
            {"predictions": [{"embeddings": {"values": [1.5], "statistics": {"token_count": n}}} for n in (1, 2)]},
            Vectors([[1.5], [1.5]], "", Usage(input_tokens=3, provider_usage_json='{"token_counts":[1,2]}')),
        ),
        (
            VERTEX,
            {"embedding": {"values": [1.5]}, "usageMetadata": {"promptTokenCount": 3}},
            Vectors([[1.5]], "", Usage(input_tokens=3, provider_usage_json='{"promptTokenCount":3}')),
        ),
    ],
    ids=["openai", "ollama", "gemini", "vertex predict", "vertex embedContent"],
)
def test_vectors_and_their_cost_are_read(codec: EmbeddingCodec, answer: Any, vectors: Vectors) -> None:
    assert codec.decode(orjson.dumps(answer)) == vectors


@pytest.mark.parametrize("codec", [OpenAIEmbedding(), OllamaEmbedding(), GeminiEmbedding(), VERTEX])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"data": 1, "embeddings": 1, "predictions": 1}',
        b'{"data": [1], "embeddings": [1], "predictions": [1]}',
        b'{"data": [{}], "embeddings": [{}], "predictions": [{}]}',
        b'{"data": [{"embedding": ["a"]}], "embeddings": [["a"]], "predictions": [{"embeddings": {"values": ["a"]}}]}',
    ],
)
def test_what_is_no_list_of_vectors_is_a_bad_answer(codec: EmbeddingCodec, body: bytes) -> None:
    with pytest.raises(LlmError) as caught:
        codec.decode(body)
    assert caught.value.reason == PROVIDER_BAD_RESPONSE


def test_batches_add_up_and_tokens_nobody_told_are_estimated() -> None:
    response = EmbedResponse(provider="p", model="asked")

    add(response, Vectors([[1.0]], "", Usage(input_tokens=3, provider_usage_json="{}")), TEXTS[:1])
    add(response, Vectors([[2.0]], "told", None), TEXTS[1:])

    assert response == EmbedResponse(
        embeddings=[Embedding(values=[1.0]), Embedding(values=[2.0])],
        usage=Usage(input_tokens=4, estimated=True),
        provider="p",
        model="told",
    )


def test_vectors_that_are_missing_are_a_bad_answer() -> None:
    with pytest.raises(LlmError) as caught:
        add(EmbedResponse(), Vectors([[1.0]]), TEXTS)
    assert caught.value.reason == PROVIDER_BAD_RESPONSE
