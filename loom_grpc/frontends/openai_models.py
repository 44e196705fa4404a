"""Writes models as OpenAI lists them, and what else is known of them beside (github.com/openai/openai-python, types/model.py).

The further fields are named as OpenRouter names them, where it has them (docs.rs/crate/openrouter, src/models.rs); both seen 2026-11-21.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

import orjson

from loom_grpc.core.errors import MODEL_NOT_FOUND, LlmError
from loom_grpc.v1.llm_service_pb2 import Model, ModelPrices

_OWNER: Final = "loom-grpc"
"""Who owns the routes and aliases."""


def name_of(model: Model) -> str:
    """Returns the name by which a model is asked for: `provider/model`, or the route's or alias's own."""
    return f"{model.provider}/{model.id}" if model.provider else model.id


def write_list(models: Iterable[Model]) -> bytes:
    """Writes all models."""
    return orjson.dumps({"object": "list", "data": [_model(model) for model in models]})


def write_model(models: Iterable[Model], name: str) -> bytes:
    """Writes the model of a name; raises `LlmError` (MODEL_NOT_FOUND)."""
    for model in models:
        if name_of(model) == name:
            return orjson.dumps(_model(model))
    message = f"The model {name[:200]!r} is not listed here; GET /v1/models has those that are."
    raise LlmError(MODEL_NOT_FOUND, message, field="model")


def _model(model: Model) -> dict[str, Any]:
    owner = model.provider or _OWNER
    # Nobody says since when a model is there, and clients want a number.
    value = {"id": name_of(model), "object": "model", "created": 0, "owned_by": owner}
    return value | {key: known for key, known in _knowledge(model).items() if known}


def _knowledge(model: Model) -> dict[str, Any]:
    """Returns what OpenAI's own list does not have; what is not known is empty."""
    return {
        "name": model.display_name,
        "targets": [*model.targets],
        "context_length": model.context_tokens,
        "max_output_tokens": model.max_output_tokens,
        "abilities": {field.name: able for field, able in model.abilities.ListFields()},
        "pricing": _pricing(model.prices) if model.HasField("prices") else {},
    }


def _pricing(prices: ModelPrices) -> dict[str, str]:
    """Writes dollars for one token, as texts, so that no digit is lost."""
    nanos = {"prompt": prices.input_nanos, "completion": prices.output_nanos}
    if prices.HasField("cache_read_nanos"):
        nanos["input_cache_read"] = prices.cache_read_nanos
    if prices.HasField("cache_write_nanos"):
        nanos["input_cache_write"] = prices.cache_write_nanos
    return {key: _dollars(value) for key, value in nanos.items()}


def _dollars(nanos_a_million: int) -> str:
    # A millionth of billionths; `normalize` takes the zeros at the end away.
    return f"{Decimal(nanos_a_million).scaleb(-15).normalize():f}"
