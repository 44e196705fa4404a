"""Models as Google lists them."""

from __future__ import annotations

import orjson
import pytest

from loom_grpc.core.errors import INVALID_REQUEST, MODEL_NOT_FOUND, LlmError
from loom_grpc.frontends.gemini_models import write_list, write_model
from loom_grpc.v1.llm_service_pb2 import Model, ModelAbilities

KNOWN = Model(
    provider="gemini",
    id="gemini-2.5-flash",
    display_name="Gemini 2.5 Flash",
    context_tokens=1_048_576,
    max_output_tokens=65_536,
    abilities=ModelAbilities(reasoning=True),
)
BARE = Model(provider="openai", id="ft:gpt-4o/ours")
ROUTE = Model(id="smart", targets=["gemini/gemini-2.5-flash"])
METHODS = ["generateContent", "countTokens"]
MODELS = [
    {
        "name": "models/gemini/gemini-2.5-flash",
        "baseModelId": "gemini-2.5-flash",
        "displayName": "Gemini 2.5 Flash",
        "supportedGenerationMethods": METHODS,
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "thinking": True,
    },
    {
        "name": "models/openai/ft:gpt-4o/ours",
        "baseModelId": "ft:gpt-4o/ours",
        "displayName": "ft:gpt-4o/ours",
        "supportedGenerationMethods": METHODS,
    },
    {
        "name": "models/smart",
        "baseModelId": "smart",
        "displayName": "smart",
        "supportedGenerationMethods": METHODS,
    },
]


def test_all_models_are_one_page() -> None:
    assert orjson.loads(write_list([KNOWN, BARE, ROUTE], {"pageSize": "5000"})) == {"models": MODELS}


def test_a_page_names_the_next_one() -> None:
    models = [KNOWN, BARE, ROUTE]

    first = orjson.loads(write_list(models, {"pageSize": "2"}))
    second = orjson.loads(write_list(models, {"pageSize": "2", "pageToken": first["nextPageToken"]}))

    assert first == {"models": MODELS[:2], "nextPageToken": "2"}
    assert second == {"models": MODELS[2:]}


@pytest.mark.parametrize("query", [{"pageSize": "-1"}, {"pageToken": "x"}, {"pageSize": "9" * 99}])
def test_a_page_that_cannot_be_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(LlmError) as failure:
        write_list([KNOWN], query)

    assert (failure.value.reason, failure.value.metadata) == (INVALID_REQUEST, {"field": next(iter(query))})


@pytest.mark.parametrize("name", ["openai/ft:gpt-4o/ours", "ft:gpt-4o/ours"])
def test_a_model_is_found_by_its_whole_name_and_by_one_that_nobody_else_has(name: str) -> None:
    assert orjson.loads(write_model([KNOWN, BARE, ROUTE], name)) == MODELS[1]


def test_a_name_of_two_providers_is_not_found() -> None:
    with pytest.raises(LlmError) as failure:
        write_model([BARE, Model(provider="azure", id=BARE.id)], BARE.id)

    assert failure.value.reason == MODEL_NOT_FOUND
