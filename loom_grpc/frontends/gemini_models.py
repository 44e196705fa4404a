"""Writes models as the Gemini API lists them (ai.google.dev/api/models, seen 2026-11-21)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from loom_grpc.core.errors import INVALID_REQUEST, MODEL_NOT_FOUND, LlmError
from loom_grpc.frontends.openai_models import name_of
from loom_grpc.v1.llm_service_pb2 import Model

_PAGE: Final = 50
_LARGEST_PAGE: Final = 1000
_METHODS: Final = ["generateContent", "countTokens"]


def write_list(models: Sequence[Model], query: Mapping[str, str]) -> bytes:
    """Writes a page of the models, by `pageSize` and `pageToken`; raises `LlmError` (INVALID_REQUEST)."""
    size, start = _number(query, "pageSize") or _PAGE, _number(query, "pageToken")
    end = start + min(size, _LARGEST_PAGE)
    page: dict[str, Any] = {"models": [_model(model) for model in models[start:end]]}
    if end < len(models):
        page["nextPageToken"] = str(end)
    return orjson.dumps(page)


def write_model(models: Sequence[Model], name: str) -> bytes:
    """Writes the model of a name, `provider/model` or one that only one provider lists; raises `LlmError` (MODEL_NOT_FOUND)."""
    exact = [model for model in models if name_of(model) == name]
    found = exact or [model for model in models if model.id == name]
    if len(found) == 1:
        return orjson.dumps(_model(found[0]))
    message = f"The model {name[:200]!r} is not listed here; GET /v1beta/models has those that are."
    raise LlmError(MODEL_NOT_FOUND, message)


def _model(model: Model) -> dict[str, Any]:
    value: dict[str, Any] = {
        "name": f"models/{name_of(model)}",
        "baseModelId": model.id,
        "displayName": model.display_name or model.id,
        "supportedGenerationMethods": _METHODS,
    }
    if model.context_tokens:
        value["inputTokenLimit"] = model.context_tokens
    if model.max_output_tokens:
        value["outputTokenLimit"] = model.max_output_tokens
    if model.abilities.HasField("reasoning"):
        value["thinking"] = model.abilities.reasoning
    return value


def _number(query: Mapping[str, str], key: str) -> int:
    text = query.get(key, "") or "0"
    if not text.isdecimal() or len(text) > 9:
        raise LlmError(INVALID_REQUEST, f"{key}: must be a number that is not negative.", field=key)
    return int(text)
