"""Budgets hold: under load, over several processes and hosts, and after a restart."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from loom_grpc.client import LlmError
from loom_grpc.core.errors import BUDGET_EXCEEDED
from tests.app.crowd import (
    ADMIN_KEY,
    ANSWER_NANOS,
    PROMPT_NANOS,
    PROMPT_TOKENS,
    Crowd,
    configuration,
    connected,
    crowd,
    request,
    serving,
    shop,
    tokens_of,
    write_config,
)
from tests.redis_server import PASSWORD, redis_server, redis_url
from tests.server.test_worker import log_of, workers

CALLERS: Final = 200
MAX_TOKENS: Final = 100
CALL_NANOS: Final = PROMPT_TOKENS * PROMPT_NANOS + tokens_of(MAX_TOKENS) * ANSWER_NANOS
"""What a call costs that goes well."""
MOST_NANOS: Final = 3 * CALL_NANOS
"""More than is reserved for a call."""
THREE_CALLS: Final = 2 * CALL_NANOS + (MAX_TOKENS + 30) * ANSWER_NANOS
"""A budget that three calls fit into."""
CAP: Final = 250 * CALL_NANOS
WISHES: Final = ("well", "stream", "well", "http", "fail", "cut", "stall", "hang")


@pytest.fixture
def redis() -> Iterator[str]:
    with redis_url() as url:
        yield url


def spending(nanos: int) -> dict[str, object]:
    budget = {"scope": "organization", "id": "acme", "period": "total", "usd": nanos / 10**9}
    return {"budgets": [budget]}


@dataclass
class Run:
    """What becomes of many callers on one budget."""

    crowd: Crowd
    ended: Counter[str] = field(default_factory=Counter)
    is_over: bool = False

    async def call(self, wish: str) -> None:
        """Calls until the budget is used up."""
        while not self.is_over:
            try:
                await self.ask(wish)
            except LlmError as error:
                self.ended[error.name] += 1
                await asyncio.sleep(0.2)
            else:
                self.ended["OK"] += 1

    async def ask(self, wish: str) -> None:
        match wish:
            case "stream":
                await self.crowd.stream("well", MAX_TOKENS)
            case "http":
                if await self.crowd.stream_http("well", MAX_TOKENS) == 429:
                    raise LlmError(BUDGET_EXCEEDED, "over HTTP")
            case "cut" | "stall":
                await self.crowd.stream(wish, MAX_TOKENS)
            case "hang":
                asking = asyncio.create_task(self.crowd.client.complete(request("hang", MAX_TOKENS)))
                await asyncio.wait({asking}, timeout=0.2)
                asking.cancel()
                await asyncio.wait({asking})
                if not asking.cancelled() and (error := asking.exception()) is not None:
                    raise error
            case _:
                await self.crowd.client.complete(request(wish, MAX_TOKENS))

    async def watch(self) -> int:
        """Looks at the budget until no more calls fit, and returns how often."""
        looks = 0
        while not self.is_over:
            budget = await self.crowd.budget()
            assert budget.spent_nanos + budget.reserved_nanos <= CAP
            self.is_over = budget.spent_nanos > CAP - MOST_NANOS
            looks += 1
        return looks


@pytest.mark.parametrize("layout", ["workers", "hosts"])
async def test_200_callers_of_all_kinds_never_exceed_one_budget(layout: str, tmp_path: Path, redis: str) -> None:
    async with crowd(layout, tmp_path, redis, spending=spending(CAP)) as found:
        run = Run(found)
        async with asyncio.timeout(40):
            watching = [asyncio.create_task(run.watch()) for _ in range(4)]
            await asyncio.gather(*(run.call(WISHES[number % len(WISHES)]) for number in range(CALLERS)))
            looks = sum(await asyncio.gather(*watching))
        await found.shop.has(busy=0)
        budget = await found.settled()
        await found.ledger_has(budget.spent_nanos)

    assert looks > 4  # each watcher's first look may have come before the first call
    assert set(run.ended) == {"OK", "BUDGET_EXCEEDED", "PROVIDER_UNAVAILABLE"}
    assert run.ended["OK"] > 200
    assert run.ended["BUDGET_EXCEEDED"] > 50
    assert CAP - MOST_NANOS < budget.spent_nanos <= CAP
    assert found.shop.sold["chat"] <= budget.spent_nanos


async def test_a_restart_forgets_nothing_that_was_spent_with_or_without_the_database(tmp_path: Path) -> None:
    async with shop() as found:
        config = configuration(found, spending=spending(THREE_CALLS))
        async with serving(tmp_path, config, workers=2) as server, connected(found, server) as callers:
            assert await calls(callers, 5) == ["OK", "OK", "OK", "BUDGET_EXCEEDED", "BUDGET_EXCEEDED"]
            await callers.ledger_has(3 * CALL_NANOS)
            for pid in (server.process.pid, *workers(server)):
                os.kill(pid, signal.SIGKILL)

        database = tmp_path / "state" / "loom-grpc" / "loom.db"
        database.rename(tmp_path / "away.db")
        database.mkdir()
        async with serving(tmp_path, config, workers=1) as server, connected(found, server) as callers:
            assert await calls(callers, 2) == ["BUDGET_EXCEEDED", "BUDGET_EXCEEDED"]

        database.rmdir()
        (tmp_path / "away.db").rename(database)
        shutil.rmtree(database.parent / "counters")
        async with serving(tmp_path, config, workers=1) as server, connected(found, server) as callers:
            assert await calls(callers, 2) == ["BUDGET_EXCEEDED", "BUDGET_EXCEEDED"]
            assert (await callers.budget()).spent_nanos == 3 * CALL_NANOS


async def test_a_budget_that_comes_while_the_server_runs_knows_what_was_spent_before(tmp_path: Path) -> None:
    async with (
        shop() as found,
        serving(tmp_path, configuration(found), workers=1) as server,
        connected(found, server) as callers,
    ):
        assert await calls(callers, 3) == ["OK", "OK", "OK"]
        await callers.ledger_has(3 * CALL_NANOS)
        write_config(tmp_path, configuration(found, spending=spending(THREE_CALLS)))
        await callers.client.admin(ADMIN_KEY).reload_config()

        assert await calls(callers, 1) == ["BUDGET_EXCEEDED"]
        budget = await callers.settled()
        assert (budget.id, budget.spent_nanos) == ("organization/acme/total", 3 * CALL_NANOS)


async def test_a_redis_that_comes_after_the_server_knows_what_was_spent_before_anybody_calls(tmp_path: Path) -> None:
    async with shop() as found:
        plain = configuration(found, spending=spending(THREE_CALLS))
        async with serving(tmp_path, plain, workers=1) as server, connected(found, server) as callers:
            assert await calls(callers, 3) == ["OK", "OK", "OK"]
            await callers.ledger_has(3 * CALL_NANOS)
        with redis_server() as redis:
            redis.stop()
            config = plain | {"limits": {"redis_url": redis.url}}
            async with serving(tmp_path, config, workers=1) as server, connected(found, server) as callers:
                assert await calls(callers, 2) == ["STORAGE_UNAVAILABLE"] * 2
                redis.start()
                ended = ["STORAGE_UNAVAILABLE"]
                async with asyncio.timeout(10):
                    while ended == ["STORAGE_UNAVAILABLE"]:
                        ended = await calls(callers, 1)

                assert ended == ["BUDGET_EXCEEDED"]
                assert (await callers.budget()).spent_nanos == 3 * CALL_NANOS
                assert redis.url not in log_of(server)
                assert PASSWORD not in log_of(server)
                assert "limits_unavailable" in log_of(server)


async def calls(callers: Crowd, number: int) -> list[str]:
    """Makes calls one after the other, and returns what comes of each."""
    ended = []
    for _ in range(number):
        try:
            await callers.client.complete(request("well", MAX_TOKENS))
        except LlmError as error:
            ended.append(error.name)
        else:
            ended.append("OK")
    return ended
