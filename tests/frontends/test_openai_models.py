"""Models as OpenAI lists them."""

from __future__ import annotations

import orjson
import pytest

from loom_grpc.core.errors import INTERNAL, MODEL_NOT_FOUND, UNAUTHENTICATED, LlmError, server_draining
from loom_grpc.frontends.openai_error import failure
from loom_grpc.frontends.openai_models import write_list, write_model
from loom_grpc.v1.llm_service_pb2 import Model, ModelAbilities, ModelPrices

BARE = Model(provider="openai", id="ft:gpt-4o/ours")
WHOLE = Model(
    provider="anthropic",
    id="claude-haiku-5-5",
    display_name="Claude Haiku 5.5",
    context_tokens=1_000_000,
    max_output_tokens=128_000,
    abilities=ModelAbilities(tools=True, prefill=False),
    prices=ModelPrices(
        currency_code="USD",
        input_nanos=100_000_000,
        output_nanos=3_000_000_000,
        cache_read_nanos=0,
        cache_write_nanos=1,
    ),
)
ROUTE = Model(id="smart", targets=["anthropic/claude-haiku-5-5", "openai/gpt-4o"])


def test_all_models_are_a_list() -> None:
    assert orjson.loads(write_list([ROUTE, WHOLE, BARE])) == {
        "object": "list",
        "data": [
            {
                "id": "smart",
                "object": "model",
                "created": 0,
                "owned_by": "loom-grpc",
                "targets": ["anthropic/claude-haiku-5-5", "openai/gpt-4o"],
            },
            {
                "id": "anthropic/claude-haiku-5-5",
                "object": "model",
                "created": 0,
                "owned_by": "anthropic",
                "name": "Claude Haiku 5.5",
                "context_length": 1_000_000,
                "max_output_tokens": 128_000,
                "abilities": {"tools": True, "prefill": False},
                "pricing": {
                    "prompt": "0.0000001",
                    "completion": "0.000003",
                    "input_cache_read": "0",
                    "input_cache_write": "0.000000000000001",
                },
            },
            {"id": "openai/ft:gpt-4o/ours", "object": "model", "created": 0, "owned_by": "openai"},
        ],
    }


def test_no_models_are_an_empty_list() -> None:
    assert orjson.loads(write_list([])) == {"object": "list", "data": []}


def test_one_model_is_found_by_its_whole_name() -> None:
    assert orjson.loads(write_model([ROUTE, BARE], "openai/ft:gpt-4o/ours")) == {
        "id": "openai/ft:gpt-4o/ours",
        "object": "model",
        "created": 0,
        "owned_by": "openai",
    }


@pytest.mark.parametrize("name", ["", "gpt-4o", "openai", "/smart"])
def test_a_model_that_is_not_listed_is_not_found(name: str) -> None:
    with pytest.raises(LlmError) as caught:
        write_model([ROUTE, BARE], name)

    status, body = failure(caught.value)
    assert (status, orjson.loads(body)) == (
        404,
        {
            "error": {
                "message": f"The model {name!r} is not listed here; GET /v1/models has those that are.",
                "type": "invalid_request_error",
                "param": "model",
                "code": "model_not_found",
            }
        },
    )


@pytest.mark.parametrize(
    ("error", "status", "kind", "code", "param"),
    [
        (server_draining(), 503, "server_error", "draining", None),
        (LlmError(INTERNAL, "Oh."), 500, "server_error", "internal", None),
        (LlmError(UNAUTHENTICATED, "Who?"), 401, "invalid_request_error", "invalid_api_key", None),
        (LlmError(MODEL_NOT_FOUND, "Which?"), 404, "invalid_request_error", "model_not_found", "model"),
    ],
)
def test_errors_are_openais(error: LlmError, status: int, kind: str, code: str, param: str | None) -> None:
    told, body = failure(error)

    assert told == status
    assert orjson.loads(body) == {"error": {"message": error.message, "type": kind, "param": param, "code": code}}
