"""Gemini's embedContent and batchEmbedContents: what callers write becomes a request, and the vectors what their clients read."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_grpc.core.errors import INVALID_REQUEST, LlmError
from loom_grpc.frontends.body import HttpError
from loom_grpc.frontends.frontend import EmbedAsked
from loom_grpc.frontends.gemini_embedding import GeminiEmbedding
from loom_grpc.providers.embedding import GeminiEmbedding as Provider
from loom_grpc.v1.llm_service_pb2 import Embedding, EmbedInput, EmbedRequest, EmbedResponse
from loom_grpc.v1.usage_pb2 import Usage

ONE, MANY = GeminiEmbedding("embedContent"), GeminiEmbedding("batchEmbedContents")
MODEL = "gemini-embedding-001"
PATH = {"model": f"models/{MODEL}"}
TASKS = (
    *("RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT", "SEMANTIC_SIMILARITY", "CLASSIFICATION", "CLUSTERING"),
    *("QUESTION_ANSWERING", "FACT_VERIFICATION", "CODE_RETRIEVAL_QUERY"),
)


def content(*texts: str) -> Any:
    return {"parts": [{"text": text} for text in texts]}


def read(api: GeminiEmbedding, body: Any, path: dict[str, str] = PATH) -> EmbedRequest:
    return api.read(orjson.dumps(body), path, {}).request


def test_one_content_is_one_text_its_parts_joined() -> None:
    body = {"content": {"role": "user", **content("one ", "two")}, "taskType": "CLUSTERING", "outputDimensionality": 8}

    assert read(ONE, body) == EmbedRequest(
        model=MODEL, inputs=[EmbedInput(text="one two")], task="clustering", dimensions=8
    )


def test_names_come_in_both_spellings_and_the_title_is_a_hint() -> None:
    body = {"content": content("a"), "task_type": "RETRIEVAL_DOCUMENT", "title": "A", "output_dimensionality": "8"}

    assert read(ONE, body) == EmbedRequest(
        model=MODEL, inputs=[EmbedInput(text="a")], task="retrieval_document", dimensions=8
    )


def test_the_model_may_be_a_name_of_ours() -> None:
    body = {"model": "models/openai/small", "content": content("a")}

    assert read(ONE, body, {"model": "models/openai/small"}).model == "openai/small"


def test_a_task_that_is_not_specified_is_none() -> None:
    assert read(ONE, {"content": content("a"), "taskType": "TASK_TYPE_UNSPECIFIED"}).task == ""


@given(
    st.lists(st.text(min_size=1), min_size=1),
    st.none() | st.sampled_from(TASKS),
    st.none() | st.integers(1, 2**31 - 1),
)
def test_the_provider_gets_what_the_caller_wrote(texts: list[str], task: str | None, dimensions: int | None) -> None:
    settings = {"taskType": task, "outputDimensionality": dimensions}
    common = {"model": f"models/{MODEL}"} | {name: value for name, value in settings.items() if value is not None}
    body = {"requests": [{**common, "content": content(text)} for text in texts]}

    request = read(MANY, body)

    assert orjson.loads(Provider().encode(MODEL, request.inputs, request).body) == body


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({}, "content", "content: is missing."),
        ({"content": {}}, "content.parts", "content.parts: must have text."),
        ({"content": content("")}, "content.parts", "content.parts: must have text."),
        (
            {"content": {"parts": [{"inlineData": {}}]}},
            "content.parts[0].inlineData",
            "content.parts[0].inlineData: only text can become a vector here.",
        ),
        ({"content": content("a"), "taskType": "POETRY"}, "taskType", "taskType: there is no task 'POETRY'."),
        (
            {"content": content("a"), "outputDimensionality": 0},
            "outputDimensionality",
            "outputDimensionality: must be at least 1.",
        ),
        ({"content": content("a"), "autoTruncate": True}, "autoTruncate", "autoTruncate: there is no such field."),
        ({"content": content("a"), "model": "models/b"}, "model", "model: must be the model of the address."),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_path(body: Any, field: str, message: str) -> None:
    with pytest.raises(HttpError) as caught:
        read(ONE, body)

    assert (caught.value.field, caught.value.message) == (field, message)


@pytest.mark.parametrize(
    ("requests", "field"),
    [
        ([], "requests"),
        ([{"content": content("a")}, {}], "requests[1].content"),
        ([{"content": content("a")}, {"content": content("b"), "taskType": "CLUSTERING"}], "requests[1].taskType"),
        (
            [{"content": content("a")}, {"content": content("b"), "outputDimensionality": 2}],
            "requests[1].outputDimensionality",
        ),
        ([{"content": content("a"), "model": "models/b"}], "requests[0].model"),
    ],
)
def test_requests_of_a_batch_that_do_not_agree_are_refused_by_name(requests: Any, field: str) -> None:
    with pytest.raises(HttpError) as caught:
        read(MANY, {"requests": requests})

    assert caught.value.field == field


def test_a_refusal_is_in_googles_words() -> None:
    with pytest.raises(HttpError) as caught:
        read(MANY, {"requests": [{"content": content("a")}, {"content": content("b"), "taskType": "CLUSTERING"}]})

    status, body = MANY.refusal(caught.value, "r-1")
    error = orjson.loads(body)["error"]
    assert (status, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert error["message"] == "Invalid value at 'requests[1].task_type': must be the same for the whole batch."


def test_a_failure_is_in_googles_words() -> None:
    status, body = ONE.failure(LlmError(INVALID_REQUEST, "model: p has no embeddings.", field="model"), "r-1")

    assert (status, orjson.loads(body)["error"]["message"]) == (400, "Invalid value at 'model': p has no embeddings.")


def test_vectors_are_written_with_the_digits_that_the_provider_wrote() -> None:
    response = EmbedResponse(embeddings=[Embedding(values=[0.1, -0.016573092])], usage=Usage(input_tokens=3))
    asked = EmbedAsked(EmbedRequest())

    usage = b'"usageMetadata":{"promptTokenCount":3}'
    assert ONE.write(asked, response) == b'{"embedding":{"values":[0.1,-0.016573092]},' + usage + b"}"
    assert MANY.write(asked, response) == b'{"embeddings":[{"values":[0.1,-0.016573092]}],' + usage + b"}"


def test_tokens_that_nobody_told_are_left_out() -> None:
    response = EmbedResponse(embeddings=[Embedding(values=[1])], usage=Usage(input_tokens=3, estimated=True))

    assert orjson.loads(MANY.write(EmbedAsked(EmbedRequest()), response)) == {"embeddings": [{"values": [1.0]}]}
