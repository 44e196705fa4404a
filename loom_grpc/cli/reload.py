"""`loom-grpc reload`: a server reads its configuration again."""

from __future__ import annotations

import argparse
import asyncio
from typing import Final

from loom_grpc.cli.command import ADMIN_KEY
from loom_grpc.cli.output import FAILED, error, harmless, note, say
from loom_grpc.cli.server import make_client, report
from loom_grpc.client import ErrorReason, LlmError, LoomClient

_TIMEOUT_S: Final = 60.0
_ADVICE: Final = {"UNAUTHENTICATED": f"set {ADMIN_KEY} to the admin key of this server"}


def run(arguments: argparse.Namespace) -> int:
    """Prints the keys that have changed, each on a line."""
    client = make_client(arguments, ADMIN_KEY, timeout_s=arguments.timeout or _TIMEOUT_S)
    try:
        keys = asyncio.run(_reload(client))
    except LlmError as failure:
        if failure.reason == ErrorReason.ERROR_REASON_INVALID_REQUEST:
            for problem in failure.message.splitlines():
                error(harmless(problem))
        else:
            report(failure, arguments.target, _ADVICE)
        return FAILED
    for key in keys:
        say(harmless(key))
    note("the server now serves by the new values of these keys" if keys else "nothing has changed")
    return 0


async def _reload(client: LoomClient) -> list[str]:
    async with client:
        return await client.admin().reload_config()
