"""Writes models as OpenAI lists them, and what else is known of them beside (platform.openai.com/docs/api-reference/models).

The further fields are named as OpenRouter's are, where it has them (openrouter.ai/docs/api-reference/list-available-models); both seen
2026-11-21.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

import orjson

from loom_grpc.core.errors import INVALID_REQUEST, MODEL_NOT_FOUND, PERMISSION_DENIED, RATE_LIMITED, UNAUTHENTICATED
from loom_grpc.core.errors import LlmError
from loom_grpc.v1.error_pb2 import ErrorReason
from loom_grpc.v1.llm_service_pb2 import Model, ModelPrices

_OWNER: Final = "loom-grpc"
"""Who owns the routes and aliases."""
_PRICES: Final = {
    "prompt": "input_nanos",
    "completion": "output_nanos",
    "input_cache_read": "cache_read_nanos",
    "input_cache_write": "cache_write_nanos",
}
_TYPES: Final[dict[ErrorReason.ValueType, tuple[str, str | None]]] = {
    INVALID_REQUEST: ("invalid_request_error", None),
    MODEL_NOT_FOUND: ("invalid_request_error", "model_not_found"),
    UNAUTHENTICATED: ("invalid_request_error", "invalid_api_key"),
    PERMISSION_DENIED: ("invalid_request_error", None),
    RATE_LIMITED: ("requests", "rate_limit_exceeded"),
}


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


def failure(error: LlmError) -> tuple[int, bytes]:
    """Writes why a request failed: an HTTP status and a body."""
    kind, code = _TYPES.get(error.reason, ("server_error", None))
    body = {"message": error.message, "type": kind, "param": error.metadata.get("field"), "code": code}
    return error.row.http, orjson.dumps({"error": body})


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
    optional = ("cache_read_nanos", "cache_write_nanos")
    fields = {key: name for key, name in _PRICES.items() if name not in optional or prices.HasField(name)}
    return {key: _dollars(getattr(prices, name)) for key, name in fields.items()}


def _dollars(nanos_a_million: int) -> str:
    # A millionth of billionths; `normalize` takes the zeros at the end away.
    return f"{Decimal(nanos_a_million).scaleb(-15).normalize():f}"
