"""`loom-grpc models`: the models of a server as a table."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence

from loom_grpc.cli.output import FAILED, harmless, note, say
from loom_grpc.cli.server import make_client, report
from loom_grpc.client import LlmError, LoomClient, Model


def run(arguments: argparse.Namespace) -> int:
    """Lists the models."""
    try:
        models = asyncio.run(_models(make_client(arguments), arguments.provider, arguments.timeout))
    except LlmError as failure:
        report(failure, arguments.target)
        return FAILED
    say(_json(models) if arguments.json else _table(models))
    if not models:
        note("the server lists no models; name one with --model")
    return 0


async def _models(client: LoomClient, provider: str, timeout_s: float | None) -> list[Model]:
    async with client:
        return await client.list_models(provider, timeout_s=timeout_s)


def _json(models: Sequence[Model]) -> str:
    rows = [
        {"provider": model.provider, "id": model.id, "display_name": model.display_name, "is_default": model.is_default}
        for model in models
    ]
    return json.dumps(rows, indent=2, ensure_ascii=False)


def _table(models: Sequence[Model]) -> str:
    rows = [("PROVIDER", "MODEL", "DEFAULT")]
    rows += [(model.provider, model.id, "*" if model.is_default else "") for model in models]
    provider, name = (max(len(row[column]) for row in rows) for column in (0, 1))
    return "\n".join(harmless(f"{row[0]:{provider}}  {row[1]:{name}}  {row[2]}".rstrip()) for row in rows)
