"""`loom-grpc check-config`: the configuration as serve would use it."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Sequence
from typing import Final

from loom_grpc.cli import configuration
from loom_grpc.cli.output import FAILED, one_line, say
from loom_grpc.config import Config, ConfigError, check_exposure, effective

_WIDEST_VALUE: Final = 48


def run(arguments: argparse.Namespace) -> int:
    """Prints every value and what is wrong with them."""
    try:
        loaded = configuration.read(arguments)
        say(_table(effective(loaded)))
        check_exposure(loaded.config)
        asyncio.run(_set_up(loaded.config))
    except ConfigError as failure:
        configuration.report(failure)
        return FAILED
    return 0


def _table(rows: Sequence[tuple[str, str, str]]) -> str:
    path_width = max(len(path) for path, _, _ in rows)
    value_width = min(max(len(value) for _, value, _ in rows), _WIDEST_VALUE)
    return "\n".join(
        f"{path:{path_width}}  {one_line(value):{value_width}}  # {one_line(origin)}" for path, value, origin in rows
    )


async def _set_up(config: Config) -> None:
    """Sets every provider up as the server does, without asking any of them or writing anything; raises `ConfigError`."""
    from loom_grpc.app import App
    from loom_grpc.telemetry import Telemetry

    app = App(config, os.environ, Telemetry(config))
    try:
        app.provision(is_check=True)
    finally:
        await app.close()
