"""While Redis is away a host counts limits by itself, and budgets as it was told; nothing that was spent is forgotten."""

from __future__ import annotations

import math

import pytest

from loom_grpc.core.quota import Kind, MeterError, Spent, Standing
from loom_grpc.quota.fallback import FallbackMeter
from loom_grpc.quota.meter import TableMeter
from tests.quota.hosts import NOW, Host, claim, refusal
from tests.redis_server import RedisServer


async def test_without_redis_limits_go_on_locally_and_budgets_are_refused(redis: RedisServer) -> None:
    request, stream, money = claim(Kind.REQUESTS, 1, 2), claim(Kind.STREAMS, 1, 1), claim(Kind.MONEY, 1, 9)
    host = Host(redis.url)
    meter = FallbackMeter(host.meter(), TableMeter(None, 0, owners=1, windows=256, gauges=256), "refuse")
    before = await meter.take([request, money], NOW)
    redis.stop()

    grant = await meter.take([request, stream], NOW)
    with pytest.raises(MeterError, match="cannot be reached"):
        await meter.take([request, money], NOW)
    assert await refusal(meter, [stream]) == Standing(stream, 0, 1.0)
    await meter.settle(grant, [1, 0], NOW)
    await meter.settle(before, [1, 5], NOW)
    assert (await meter.take([request, stream], NOW)).standings[0].left == 0

    redis.start()
    await host.comes_back()
    assert await meter.spent([money.slot]) == [(5, 0)]
    await meter.close()


async def test_money_that_was_counted_locally_is_told_to_redis_when_it_is_back(redis: RedisServer) -> None:
    money = claim(Kind.MONEY, 40, 100)
    host = Host(redis.url)
    meter = FallbackMeter(host.meter(), TableMeter(None, 0, owners=1, windows=256, gauges=256), "local")
    await meter.settle(await meter.take([money], NOW), [30], NOW)
    redis.stop()

    grants = [await meter.take([money], NOW) for _ in range(2)]
    for _ in range(2):
        await meter.settle(grants[0], [35], NOW)
    assert await meter.spent([money.slot]) == [(35, 40)]
    redis.start()
    await host.comes_back()
    await meter.raise_spent([Spent(money.slot, 30)])

    assert (await meter.take([money._replace(amount=10)], NOW)).standings[0].left == 25
    await meter.settle(grants[1], [25], NOW)
    assert await refusal(meter, [money]) == Standing(money, 0, math.inf)
    assert await meter.spent([money.slot]) == [(90, 10)]
    await meter.close()
