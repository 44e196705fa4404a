"""A process that takes from the counters of a file: `hammer.py FILE OWNER OWNERS JSON`. It begins when it is told by a line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from loom_grpc.core.quota import Claim, Exceeded, Kind, Scope
from loom_grpc.quota.meter import TableMeter

SCOPE = Scope("key", "hammered")


def say(text: str) -> None:
    os.write(1, text.encode() + b"\n")  # in one piece, or not at all


async def count(meter: TableMeter, claims: Sequence[Claim], times: int, now: float) -> None:
    """Takes so many times, and says how often it could."""
    taken = 0
    for _ in range(times):
        try:
            await meter.take(claims, now)
        except Exceeded:
            continue
        taken += 1
    say(str(taken))


async def go_on(meter: TableMeter, claims: Sequence[Claim], now: float) -> None:
    """Takes and settles until it is killed, and says each amount of money before and after it is settled."""
    chance = random.Random(os.getpid())  # noqa: S311 - no secret
    grants = []
    while True:
        with contextlib.suppress(Exceeded):
            grants.append(await meter.take(claims, now))
        if len(grants) > chance.randrange(6):
            amount = chance.randrange(60)
            say(f"begin {amount}")
            await meter.settle(grants.pop(chance.randrange(len(grants))), [amount] * len(claims), now)
            say(f"done {amount}")


async def main(path: str, owner: str, owners: str, order: str) -> None:
    meter = TableMeter(Path(path), int(owner), owners=int(owners), windows=256, gauges=256)
    wanted = json.loads(order)
    claims = [
        Claim(bytes.fromhex(slot), Kind(kind), amount, most, SCOPE, "total")
        for slot, kind, amount, most in wanted["claims"]
    ]
    say("ready")
    sys.stdin.readline()
    if wanted["times"]:
        await count(meter, claims, wanted["times"], wanted["now"])
    else:
        await go_on(meter, claims, wanted["now"])


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
