"""OpenAI's Embeddings API: what callers write becomes a request, and the vectors what their clients read."""

from __future__ import annotations

import base64
import struct
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_grpc.core.errors import INVALID_REQUEST, MODEL_NOT_FOUND, LlmError
from loom_grpc.core.request import check_embed
from loom_grpc.frontends.body import HttpError
from loom_grpc.frontends.frontend import EmbedAsked
from loom_grpc.frontends.openai_embedding import OpenAIEmbedding
from loom_grpc.providers.embedding import OpenAIEmbedding as Provider
from loom_grpc.v1.llm_service_pb2 import Embedding, EmbedInput, EmbedRequest, EmbedResponse, TokenList
from loom_grpc.v1.usage_pb2 import Usage

API = OpenAIEmbedding()
RESPONSE = EmbedResponse(
    embeddings=[Embedding(values=[0.1, -0.016573092]), Embedding(values=[1, 0])],
    usage=Usage(input_tokens=5),
    provider="openai",
    model="text-embedding-3-small",
)


def read(**body: Any) -> EmbedAsked:
    return API.read(orjson.dumps({"model": "m", **body}), {}, {})


def written(form: str) -> Any:
    return orjson.loads(API.write(EmbedAsked(EmbedRequest(), form), RESPONSE))


@pytest.mark.parametrize(
    ("value", "inputs"),
    [
        ("one", [EmbedInput(text="one")]),
        (["one", "two"], [EmbedInput(text="one"), EmbedInput(text="two")]),
        ([1, 2], [EmbedInput(tokens=TokenList(ids=[1, 2]))]),
        ([[1], [2, 3]], [EmbedInput(tokens=TokenList(ids=[1])), EmbedInput(tokens=TokenList(ids=[2, 3]))]),
    ],
    ids=["text", "texts", "tokens", "lists of tokens"],
)
def test_input_comes_in_four_shapes(value: Any, inputs: list[EmbedInput]) -> None:
    assert read(input=value) == EmbedAsked(EmbedRequest(model="m", inputs=inputs), "float")


def test_settings_are_read_and_the_user_is_a_hint() -> None:
    asked = read(input="a", dimensions=256, encoding_format="base64", user="u-1")

    assert asked == EmbedAsked(EmbedRequest(model="m", inputs=[EmbedInput(text="a")], dimensions=256), "base64")


def test_a_field_that_only_some_hosts_have_reaches_them_as_it_is() -> None:
    request, _ = read(input="a", input_type="query", truncate=None)

    assert request.provider_options_json == '{"input_type":"query"}'
    assert orjson.loads(Provider().encode("m", request.inputs, request).body) == {
        "model": "m",
        "input": ["a"],
        "input_type": "query",
    }


@given(
    st.one_of(
        st.lists(st.text(min_size=1), min_size=1),
        st.lists(st.lists(st.integers(0, 2**31 - 1), min_size=1), min_size=1),
    ),
    st.none() | st.integers(1, 2**31 - 1),
)
def test_the_provider_gets_what_the_caller_wrote(inputs: list[Any], dimensions: int | None) -> None:
    body = {"model": "m", "input": inputs} | ({} if dimensions is None else {"dimensions": dimensions})

    request, _ = API.read(orjson.dumps(body), {}, {})

    assert orjson.loads(Provider().encode("m", request.inputs, request).body) == body


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({}, "input", "input: is missing."),
        ({"input": 1}, "input", "input: must be an array."),
        ({"input": ["a", 1.5]}, "input[1]", "input[1]: must be a string or an array of tokens."),
        ({"input": [1, "a"]}, "input[1]", "input[1]: must be a token, a number from 0 on."),
        ({"input": [[1], [True]]}, "input[1][0]", "input[1][0]: must be a token, a number from 0 on."),
        ({"input": [[-1]]}, "input[0][0]", "input[0][0]: must be a token, a number from 0 on."),
        ({"input": "a", "dimensions": "9"}, "dimensions", "dimensions: must be an integer of 32 bits."),
        (
            {"input": "a", "encoding_format": "int8"},
            "encoding_format",
            "encoding_format: must be float or base64.",
        ),
        ({"input": "a", "model": None}, "model", "model: is missing."),
    ],
)
def test_what_is_of_the_wrong_kind_is_refused_by_its_path(body: Any, field: str, message: str) -> None:
    with pytest.raises(HttpError) as caught:
        read(**body)

    assert (caught.value.field, caught.value.message) == (field, message)
    status, answer = API.refusal(caught.value, "r-1")
    error = {"message": message, "type": "invalid_request_error", "param": field, "code": None}
    assert (status, orjson.loads(answer)) == (400, {"error": error})


@pytest.mark.parametrize(
    ("inputs", "param", "message"),
    [
        ([], "input", "input: at least one is needed."),
        (["a", ""], "input[1]", "input[1]: must have text or tokens."),
    ],
)
def test_what_nobody_could_turn_into_a_vector_is_called_by_the_callers_name(
    inputs: list[str], param: str, message: str
) -> None:
    with pytest.raises(LlmError) as caught:
        check_embed(read(input=inputs).request)

    status, body = API.failure(caught.value, "r-1")
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": None}
    assert (caught.value.reason, status, orjson.loads(body)) == (INVALID_REQUEST, 400, {"error": error})


def test_an_unknown_model_is_said_as_openai_says_it() -> None:
    status, body = API.failure(LlmError(MODEL_NOT_FOUND, "There is no model m."), "r-1")

    error = orjson.loads(body)["error"]
    assert (status, error["param"], error["code"]) == (404, "model", "model_not_found")


def test_vectors_are_written_as_numbers_with_the_digits_that_the_provider_wrote() -> None:
    assert b'"embedding":[0.1,-0.016573092]' in API.write(EmbedAsked(EmbedRequest(), "float"), RESPONSE)
    assert written("float") == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [0.1, -0.016573092]},
            {"object": "embedding", "index": 1, "embedding": [1.0, 0.0]},
        ],
        "model": "text-embedding-3-small",
        "usage": {"prompt_tokens": 5, "total_tokens": 5},
    }


def test_vectors_are_written_as_base64_of_little_endian_floats() -> None:
    rows = written("base64")["data"]

    assert [base64.b64decode(row["embedding"]) for row in rows] == [
        struct.pack("<2f", 0.1, -0.016573092),
        struct.pack("<2f", 1, 0),
    ]


def test_a_body_that_is_nested_too_deeply_is_refused() -> None:
    body = b'{"model": "m", "input": "a", "x": ' + b"[" * 300 + b"]" * 300 + b"}"

    with pytest.raises(HttpError, match="nested too deeply"):
        API.read(body, {}, {})
