"""Hosts whose counters are in a Redis."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

import pytest

from loom_grpc.core.quota import WINDOW_S, Claim, Exceeded, Kind, Meter, Scope, Standing, slot
from loom_grpc.quota.redis import RedisMeter

NOW: Final = 1_800_000_000.0
WAIT_S: Final = 10


def claim(kind: Kind, amount: int, most: int, name: str = "k", ends_s: float = 0.0) -> Claim:
    scope = Scope("key", name)
    return Claim(slot(kind, scope), kind, amount, most, scope, "day" if ends_s else "", ends_s)


@dataclass
class Host:
    """A meter, and what it told."""

    url: str
    lease_s: float = 30.0
    window_s: float = WINDOW_S
    told: list[str] = field(default_factory=list)
    recovered: asyncio.Event = field(default_factory=asyncio.Event)

    def meter(self) -> RedisMeter:
        return RedisMeter(
            lambda: self.url,
            on_trouble=self.told.append,
            on_recovery=self.recovered.set,
            clock=lambda: NOW,
            lease_s=self.lease_s,
            window_s=self.window_s,
        )

    async def comes_back(self) -> None:
        async with asyncio.timeout(WAIT_S):
            await self.recovered.wait()


async def refusal(meter: Meter, claims: list[Claim]) -> Standing:
    with pytest.raises(Exceeded) as raised:
        await meter.take(claims, NOW)
    return raised.value.standing
