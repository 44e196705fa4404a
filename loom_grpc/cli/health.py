"""`loom-grpc health`: whether a server serves, as an exit code for containers and scripts."""

from __future__ import annotations

import argparse
import asyncio
from typing import Final

from loom_grpc.cli.output import FAILED, say
from loom_grpc.cli.server import make_client, report
from loom_grpc.client import LlmError, LoomClient
from loom_grpc.client.health import serving_status

_TIMEOUT_S: Final = 3.0


def run(arguments: argparse.Namespace) -> int:
    """Prints the state; succeeds when it is SERVING."""
    client = make_client(arguments)
    try:
        status = asyncio.run(_status(client, arguments.service, arguments.timeout or _TIMEOUT_S))
    except LlmError as failure:
        report(failure, arguments.target)
        return FAILED
    say(status)
    return 0 if status == "SERVING" else FAILED


async def _status(client: LoomClient, service: str, timeout_s: float) -> str:
    async with client:
        return await serving_status(client, service, timeout_s=timeout_s)
