"""A recorded answer at two addresses: as the provider gave it, and through a server of ours with that provider behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from tests.shim.serving import configuration, shim
from tests.stand_in import StandIn, answer, stand_in
from tests.wire.cases import Case, fixtures

PROVIDER: Final = "recorded"
"""The name of the provider in our server's configuration; models are called `recorded/<model>` there."""


@dataclass(frozen=True)
class Both:
    """Where an SDK finds the answer."""

    direct: str
    """The address of the stand-in for the provider."""
    through: str
    """The address of our server's HTTP edge."""
    provider: StandIn
    """What it was asked, directly and by our server."""


def cases(*apis: str) -> list[Case]:
    """Returns the recorded answers of some APIs that were answers."""
    return [case for case in fixtures() if case.api in apis and case.status == 200]


@asynccontextmanager
async def both(case: Case, **provider: Any) -> AsyncIterator[Both]:
    """Serves a case at both addresses; `provider` is the configuration of ours beyond its address, such as its dialect."""
    headers = {name: value for name, value in case.headers.items() if name in ("x-request-id", "request-id")}
    script = answer(case.body, status=case.status, content_type=case.media_type, **headers)
    async with stand_in(script) as upstream:
        ours = {"base_url": upstream.url, "api_key": "sk-recorded", "retry": {"max_attempts": 1}, **provider}
        async with shim(configuration(providers={PROVIDER: ours})) as edge:
            yield Both(upstream.url, f"http://127.0.0.1:{edge.port}", upstream)
