"""What a call may cost is reserved of budgets while it lasts, and not a moment longer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from itertools import count
from secrets import token_hex

import pytest

from loom_grpc.core.call import Call, Send
from loom_grpc.core.charge import charge_vectors
from loom_grpc.core.model import Facts, Prices
from loom_grpc.core.period import budget_slot
from loom_grpc.core.principal import Principal
from loom_grpc.core.quota import Cap, Claim, Kind, Scope
from loom_grpc.core.tariff import PriceList
from loom_grpc.processors.guard import Guard, Terms
from loom_grpc.v1.llm_service_pb2 import LlmEvent, LlmRequest
from loom_grpc.v1.usage_pb2 import Usage
from tests.cut import Cut
from tests.quota.hosts import NOW, Host
from tests.quota.test_redis_meter import comes_to
from tests.redis_server import redis_url


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with redis_url() as url:
        yield url


async def answers_the_third_time(call: Call, _send: Send) -> None:
    """Uses 3 tokens with each of three attempts."""
    for _ in range(3):
        assert call.before_attempt is not None
        await call.before_attempt()
        charge_vectors(call, Usage(input_tokens=3))


async def nowhere(_event: LlmEvent) -> None:
    """Takes events."""


async def test_a_call_that_is_cancelled_at_any_point_leaves_nothing_reserved(url: str) -> None:
    cap = Cap("b", Scope("organization", token_hex(8)), "total", 10**12)
    budget = Claim(budget_slot(cap, ""), Kind.MONEY, 0, cap.nanos, cap.scope)
    meter = Host(url).meter()
    tariff = PriceList(Prices(Decimal(1), Decimal(2)))
    terms = Terms(meter, lambda *_: tariff, lambda *_: Facts(), {}, "refuse", 100, 100, lambda: NOW)
    guard = Guard(answers_the_third_time, terms)
    spent = 0
    try:
        for at in count(1):
            call = Call(LlmRequest(), False, "r", provider="mine", model="one", principal=Principal(caps=(cap,)))
            cut = Cut(guard(call, nowhere), at)
            with suppress(asyncio.CancelledError):
                await cut
            spent += 3000 * len(call.bill.charges)
            await comes_to(meter, budget, spent, held=0)
            if cut.waits < at:
                break
    finally:
        await meter.close()
