"""Limits are exact over all processes that count together, and who is killed leaves nothing taken."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Coroutine, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from loom_grpc.client import LlmError
from loom_grpc.core.errors import RATE_LIMITED
from loom_grpc.core.estimate import estimate_tokens
from tests.app.crowd import LIMITED, PROMPT_TOKENS, Crowd, connected, crowd, request, tokens_of
from tests.redis_server import RedisServer, redis_server
from tests.server.test_worker import workers

REQUESTS_KEY, TOKENS_KEY, STREAMS_KEY = LIMITED
TOKENS: Final = 5000
STREAMS: Final = 7
MAX_TOKENS: Final = 100
USED: Final = PROMPT_TOKENS + tokens_of(MAX_TOKENS)
"""The tokens of a call."""
GUESS: Final = estimate_tokens(request("wait")) + MAX_TOKENS
"""What is taken of the limit on tokens before a call."""
OWNERS: Final = "loom:quota:owners"
LEASE_S: Final = 31
BUDGET: Final = {"budgets": [{"scope": "user", "id": "ann", "period": "total", "usd": 1}]}


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture(params=["workers", "hosts"])
async def found(request: pytest.FixtureRequest, tmp_path: Path, redis: RedisServer) -> AsyncIterator[Crowd]:
    """A server with 4 workers, or 2 hosts with a Redis."""
    async with crowd(request.param, tmp_path, redis.url, spending=BUDGET) as found:
        yield found


async def test_limits_are_exact_over_all_processes_and_who_is_killed_leaves_nothing_taken(
    found: Crowd, redis: RedisServer
) -> None:
    for key, check in ((REQUESTS_KEY, requests), (TOKENS_KEY, tokens), (STREAMS_KEY, streams)):
        async with connected(found.shop, *found.servers, key=key) as callers:
            await check(callers)
    async with connected(found.shop, *found.servers, key=STREAMS_KEY) as callers:
        await (killed_host(callers, redis) if len(found.servers) > 1 else killed_workers(callers))


async def requests(callers: Crowd) -> None:
    assert await allowed([callers.client.complete(request()) for _ in range(120)]) == 50
    assert await allowed([callers.client.complete(request()) for _ in range(20)]) == 0


async def tokens(callers: Crowd) -> None:
    first = TOKENS // GUESS
    await exactly(first, callers, [callers.client.complete(request("wait", MAX_TOKENS)) for _ in range(100)])
    more = 0
    while await allowed([callers.client.complete(request("well", MAX_TOKENS))]):
        more += 1

    assert (first + more) * USED + GUESS > TOKENS >= (first + more - 1) * USED + GUESS


async def streams(callers: Crowd) -> None:
    for _ in range(2):  # those that end make room
        await exactly(STREAMS, callers, [callers.stream("wait") for _ in range(40)])


async def killed_workers(callers: Crowd) -> None:
    callers.shop.open.clear()
    first = [asyncio.create_task(callers.stream("wait")) for _ in range(STREAMS)]
    await callers.shop.has(busy=STREAMS)
    reserved = (await callers.budget()).reserved_nanos // STREAMS
    for pid in workers(callers.servers[0])[:3]:
        os.kill(pid, signal.SIGKILL)
    left = await survivors_of(first)
    await until_reserved(callers, left * reserved)

    assert reserved > 0
    assert left < STREAMS
    await exactly(STREAMS - left, callers, [callers.stream("wait") for _ in range(20)])
    await asyncio.gather(*first, return_exceptions=True)


async def killed_host(callers: Crowd, redis: RedisServer) -> None:
    callers.shop.open.clear()
    first = [asyncio.create_task(callers.stream("wait")) for _ in range(STREAMS)]
    await callers.shop.has(busy=STREAMS)
    callers.servers[1].process.kill()
    left = await survivors_of(first)
    async with connected(callers.shop, callers.servers[0], key=STREAMS_KEY) as survivors:
        assert await allowed([survivors.stream("wait")]) == 0  # for its lease lasts
        leases = redis.do("ZRANGE", OWNERS, 0, -1)
        assert len(leases) >= 2
        for owner in leases:
            assert float(redis.do("ZSCORE", OWNERS, owner)) / 1000 <= time.time() + LEASE_S
            redis.do("ZADD", OWNERS, 1, owner)  # as if it had ended; who lives makes a new one

        assert left in (STREAMS // 2, STREAMS // 2 + 1)
        await exactly(STREAMS - left, survivors, [survivors.stream("wait") for _ in range(20)])
    await asyncio.gather(*first, return_exceptions=True)


async def allowed(calls: Iterable[Awaitable[object]]) -> int:
    """Returns how many of the calls a limit let through; all others were refused by it."""
    ended = await asyncio.gather(*calls, return_exceptions=True)
    errors = [error for error in ended if isinstance(error, BaseException)]
    assert {(type(error), getattr(error, "reason", 0)) for error in errors} <= {(LlmError, RATE_LIMITED)}
    return len(ended) - len(errors)


async def exactly(number: int, callers: Crowd, calls: Iterable[Coroutine[Any, Any, object]]) -> None:
    """Makes calls that wait at the provider, of which so many get there and all others are refused."""
    callers.shop.open.clear()
    before = callers.shop.busy
    waiting = {asyncio.create_task(call) for call in calls}
    refused: set[asyncio.Task[object]] = set()
    async with asyncio.timeout(15):
        while len(waiting) > number:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            refused |= done
    await callers.shop.has(busy=before + number)
    callers.shop.open.set()

    assert await allowed(waiting) == number
    assert await allowed(refused) == 0


async def survivors_of(tasks: list[asyncio.Task[None]]) -> int:
    """Waits for the end of the streams that break off, and returns how many do not."""
    ended, left = await asyncio.wait(tasks, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    while ended and left:  # they break off at the same moment, and nothing tells which was the last
        ended, left = await asyncio.wait(left, timeout=1, return_when=asyncio.FIRST_COMPLETED)
    return len(left)


async def until_reserved(found: Crowd, nanos: int) -> None:
    """Waits until no more than so much is reserved, which a new worker sees to."""
    reserved = -1
    async with asyncio.timeout(15):
        while reserved != nanos:
            try:
                reserved = (await found.budget()).reserved_nanos
            except LlmError:  # of a connection to a killed worker
                reserved = -1
            await asyncio.sleep(0.1)
