"""How many tokens a provider is believed to have used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import orjson
import pytest

from loom_grpc.core.errors import PROVIDER_BAD_RESPONSE, LlmError
from loom_grpc.providers import anthropic, gemini, ollama, openai, openai_responses
from loom_grpc.providers.count import believed
from loom_grpc.providers.dialect import EmbeddingCodec, read_count
from loom_grpc.providers.embedding import GeminiEmbedding, OllamaEmbedding, OpenAIEmbedding, VertexEmbedding
from loom_grpc.v1.usage_pb2 import Usage

MOST: Final = 10**9
ABSURD: Final = [-1, MOST + 1, 2**63, True, 1.5, "7", None, [7], {}]

CHAT: Final = {
    "openai": (
        openai.read_usage,
        {
            "prompt_tokens": ...,
            "completion_tokens": ...,
            "reasoning_tokens": ...,
            "cached_tokens": ...,
            "prompt_cache_hit_tokens": ...,
            "prompt_tokens_details": {
                "cached_tokens": ...,
                "cache_write_tokens": ...,
                "audio_tokens": ...,
                "image_tokens": ...,
            },
            "completion_tokens_details": {"reasoning_tokens": ..., "audio_tokens": ..., "image_tokens": ...},
        },
    ),
    "responses": (
        openai_responses.read_usage,
        {
            "input_tokens": ...,
            "output_tokens": ...,
            "input_tokens_details": {"cached_tokens": ..., "cache_write_tokens": ..., "audio_tokens": ...},
            "output_tokens_details": {"reasoning_tokens": ..., "audio_tokens": ...},
        },
    ),
    "anthropic": (
        anthropic.read_usage,
        {
            "input_tokens": ...,
            "output_tokens": ...,
            "cache_read_input_tokens": ...,
            "cache_creation_input_tokens": ...,
            "cache_creation": {"ephemeral_1h_input_tokens": ...},
            "output_tokens_details": {"thinking_tokens": ..., "reasoning_tokens": ...},
        },
    ),
    "gemini": (
        gemini.read_usage,
        {
            "promptTokenCount": ...,
            "toolUsePromptTokenCount": ...,
            "candidatesTokenCount": ...,
            "cachedContentTokenCount": ...,
            "thoughtsTokenCount": ...,
            "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": ...}],
        },
    ),
    "ollama": (ollama.read_usage, {"prompt_eval_count": ..., "eval_count": ...}),
}
"""Everything of a usage object that is read, with `...` for each number."""


def filled(value: Any, count: object) -> Any:
    """Puts a count wherever a number is missing."""
    if isinstance(value, dict):
        return {key: filled(each, count) for key, each in value.items()}
    if isinstance(value, list):
        return [filled(each, count) for each in value]
    return count if value is ... else value


@pytest.mark.parametrize("count", [0, 1, MOST])
def test_a_number_that_a_call_can_have_used_is_believed(count: int) -> None:
    assert believed(count) == count
    assert read_count({"n": count}, "n") == count


@pytest.mark.parametrize("count", ABSURD)
def test_a_count_that_is_asked_for_and_absurd_is_a_bad_answer(count: object) -> None:
    assert believed(count) is None
    with pytest.raises(LlmError) as caught:
        read_count({"n": count}, "n")
    assert caught.value.reason == PROVIDER_BAD_RESPONSE


@pytest.mark.parametrize("count", ABSURD)
@pytest.mark.parametrize(("read", "usage"), CHAT.values(), ids=CHAT)
def test_absurd_numbers_of_an_answer_count_for_nothing(
    read: Callable[[dict[str, Any]], Usage], usage: dict[str, Any], count: object
) -> None:
    told = read(filled(usage, count))
    told.ClearField("provider_usage_json")

    assert told == Usage()


@pytest.mark.parametrize(("read", "usage"), CHAT.values(), ids=CHAT)
def test_one_absurd_number_leaves_the_others_as_they_are(
    read: Callable[[dict[str, Any]], Usage], usage: dict[str, Any]
) -> None:
    first = next(iter(usage))
    told = read(filled(usage, 5) | {first: -5})

    assert told.output_tokens >= 5
    assert min(number for field, number in told.ListFields() if field.name != "provider_usage_json") >= 5


@pytest.mark.parametrize("count", ABSURD)
@pytest.mark.parametrize(
    ("codec", "answer"),
    [
        (OpenAIEmbedding(), {"data": [{"index": 0, "embedding": [1]}], "usage": {"prompt_tokens": ...}}),
        (OllamaEmbedding(), {"embeddings": [[1]], "prompt_eval_count": ...}),
        (GeminiEmbedding(), {"embeddings": [{"values": [1]}], "usageMetadata": {"promptTokenCount": ...}}),
        (
            VertexEmbedding(lambda model, method: f"/{model}:{method}"),
            {"predictions": [{"embeddings": {"values": [1], "statistics": {"token_count": ...}}}]},
        ),
    ],
    ids=["openai", "ollama", "gemini", "vertex"],
)
def test_absurd_numbers_of_vectors_are_as_good_as_none(
    codec: EmbeddingCodec, answer: dict[str, Any], count: object
) -> None:
    assert codec.decode(orjson.dumps(filled(answer, count))).usage is None
