"""`loom-grpc models`: the models of a server as a table."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from loom_grpc.cli.output import FAILED, note, say
from loom_grpc.cli.server import make_client, report
from loom_grpc.cli.table import as_json, table
from loom_grpc.client import LlmError, LoomClient, Model
from loom_grpc.v1.llm_service_pb2 import ModelPrices


def run(arguments: argparse.Namespace) -> int:
    """Lists the models."""
    try:
        models = asyncio.run(_models(make_client(arguments), arguments.provider, arguments.timeout))
    except LlmError as failure:
        report(failure, arguments.target)
        return FAILED
    say(as_json([_row(model) for model in models]) if arguments.json else table(models, _COLUMNS, always=_ALWAYS))
    if not models:
        note("the server lists no models; name one with --model")
    return 0


async def _models(client: LoomClient, provider: str, timeout_s: float | None) -> list[Model]:
    async with client:
        return await client.list_models(provider, timeout_s=timeout_s)


def _row(model: Model) -> dict[str, Any]:
    return {
        "provider": model.provider,
        "id": model.id,
        "display_name": model.display_name,
        "is_default": model.is_default,
        "targets": [*model.targets],
        "context_tokens": model.context_tokens or None,
        "max_output_tokens": model.max_output_tokens or None,
        "abilities": {field.name: able for field, able in model.abilities.ListFields()},
        "prices": _prices(model.prices) if model.HasField("prices") else None,
    }


def _prices(prices: ModelPrices) -> dict[str, Any]:
    # A price of 0 is one too, and `ListFields` would leave it out.
    needed = {name: getattr(prices, name) for name in ("currency_code", "input_nanos", "output_nanos")}
    return needed | {field.name: value for field, value in prices.ListFields()}


_COLUMNS: Final[dict[str, Callable[[Model], str]]] = {
    "PROVIDER": lambda model: model.provider,
    "MODEL": lambda model: model.id,
    "DEFAULT": lambda model: "*" if model.is_default else "",
    "CONTEXT": lambda model: _number(model.context_tokens),
    "OUTPUT": lambda model: _number(model.max_output_tokens),
    "$/M IN": lambda model: _dollars(model, "input_nanos"),
    "$/M OUT": lambda model: _dollars(model, "output_nanos"),
    "ABILITIES": lambda model: ", ".join(field.name for field, able in model.abilities.ListFields() if able),
    "ASKS": lambda model: ", ".join(model.targets),
}
_ALWAYS: Final = ("PROVIDER", "MODEL", "DEFAULT")
"""The columns that are there even if they are empty."""


def _number(tokens: int) -> str:
    return f"{tokens:,}" if tokens else ""


def _dollars(model: Model, name: str) -> str:
    """Writes a price for a million tokens; nothing where it is not known."""
    if not model.HasField("prices"):
        return ""
    return f"{Decimal(getattr(model.prices, name)).scaleb(-9).normalize():f}"
