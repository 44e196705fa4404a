"""Hosts that share a real Redis never exceed a limit or a budget together, and lose nothing when it or one of them is killed."""

from __future__ import annotations

import asyncio
import contextlib
import math
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom_grpc.core.quota import Claim, Exceeded, Grant, Kind, Meter, MeterError, Spent, Standing
from loom_grpc.quota.redis import MOST, RedisMeter
from tests.quota.hosts import NOW, WAIT_S, Host, claim, refusal
from tests.redis_server import PASSWORD, RedisServer

ROOT: Final = Path(__file__).parents[2]
LEASE_S: Final = 2.0
"""A lease that ends soon, and not between two renewals on a busy machine."""


@asynccontextmanager
async def hosts(redis: RedisServer, *, lease_s: float = 30.0) -> AsyncIterator[tuple[Host, RedisMeter, RedisMeter]]:
    """Gives two hosts' meters."""
    first = Host(redis.url, lease_s)
    one, other = first.meter(), Host(redis.url, lease_s).meter()
    try:
        yield first, one, other
    finally:
        await one.close()
        await other.close()


@dataclass
class Loss:
    """A way to Redis on which so many of the next answers are lost, with their connections."""

    port: int = 0
    answers: int = 0


@asynccontextmanager
async def lossy(redis: RedisServer) -> AsyncIterator[Loss]:
    loss = Loss()

    async def carry(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool, ends: list[asyncio.StreamWriter]
    ) -> None:
        while data := await reader.read(65536):
            if is_answer and loss.answers:
                loss.answers -= 1
                break
            writer.write(data)
        for end in ends:
            end.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", redis.port)
        ends = [writer, far_writer]
        await asyncio.gather(
            carry(reader, far_writer, is_answer=False, ends=ends),
            carry(far_reader, writer, is_answer=True, ends=ends),
            return_exceptions=True,
        )

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    loss.port = server.sockets[0].getsockname()[1]
    try:
        yield loss
    finally:
        server.close()
        await server.wait_closed()


async def taken(meter: Meter, claims: list[Claim]) -> Grant | None:
    try:
        return await meter.take(claims, NOW)
    except Exceeded:
        return None


async def comes_to(meter: RedisMeter, budget: Claim, spent: int, held: int) -> None:
    """Waits until all is settled, of which Redis tells nobody."""
    found = None
    async with asyncio.timeout(WAIT_S):
        while found != (spent, held):
            await asyncio.sleep(0.01)
            with contextlib.suppress(MeterError):
                [found] = await meter.spent([budget.slot])


@pytest.mark.parametrize("kind", [Kind.REQUESTS, Kind.TOKENS, Kind.STREAMS, Kind.MONEY])
async def test_exactly_the_limit_gets_through_to_two_hosts(redis: RedisServer, kind: Kind) -> None:
    async with hosts(redis) as (host, *meters):
        wanted = [claim(kind, 3, 100)]

        grants = await asyncio.gather(*(taken(meters[number % 2], wanted) for number in range(200)))

        assert sum(grant is not None for grant in grants) == 33
        assert (await refusal(meters[0], wanted)).left == 1
        assert host.told == []


async def test_200_callers_on_one_budget_never_exceed_it(redis: RedisServer) -> None:
    money, cap = claim(Kind.MONEY, 50, 1000, ends_s=NOW + 9), 1000
    spent = 0

    async def call(meter: RedisMeter, amount: int) -> None:
        nonlocal spent
        while spent <= cap - 50:
            if grant := await taken(meter, [money]):
                await meter.settle(grant, [amount], NOW)
                spent += amount

    async with hosts(redis) as (_, *meters):
        calls = [asyncio.create_task(call(meters[number % 2], 1 + number % 50)) for number in range(200)]
        while not all(task.done() for task in calls):
            [(now_spent, now_held)] = await meters[0].spent([money.slot])
            assert now_spent + now_held <= cap
        await asyncio.gather(*calls)

        await comes_to(meters[1], money, spent, 0)
        assert cap - 50 < spent <= cap


async def test_connections_that_are_cut_again_and_again_lose_nothing_and_count_nothing_twice(
    redis: RedisServer,
) -> None:
    money, stream = claim(Kind.MONEY, 50, 10**9), claim(Kind.STREAMS, 1, 1000)
    spent = 0

    is_over = False

    async def call(meter: RedisMeter, amount: int) -> None:
        nonlocal spent
        while not is_over:
            try:
                grant = await meter.take([money, stream], NOW)
            except MeterError:
                await asyncio.sleep(0.05)
                continue
            await meter.settle(grant, [amount, 0], NOW)
            spent += amount

    async with hosts(redis) as (_, *meters):
        calls = [asyncio.create_task(call(meters[number % 2], 1 + number)) for number in range(60)]
        for turn in range(12):
            await asyncio.sleep(0.1 + 0.011 * turn)
            await asyncio.to_thread(redis.do, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        is_over = True
        await asyncio.gather(*calls)

        assert spent > 0
        await comes_to(meters[0], money, spent, 0)
        await comes_to(meters[0], stream, 0, 0)


async def test_an_answer_that_is_lost_makes_nothing_count_twice(redis: RedisServer) -> None:
    money, tokens = claim(Kind.MONEY, 50, 1000), claim(Kind.TOKENS, 50, 1000)
    async with hosts(redis) as (_, one, _), lossy(redis) as loss:
        await one.settle(await one.take([money], NOW), [5], NOW)
        host = Host(redis.url.replace(str(redis.port), str(loss.port)))
        meter = host.meter()
        held = await meter.take([money], NOW)

        loss.answers = 1
        grant = await meter.take([money, tokens], NOW)
        assert await one.spent([money.slot]) == [(5, 100)]
        loss.answers = 1
        await meter.settle(grant, [20, 10], NOW)
        await comes_to(one, money, 25, 50)
        assert (await one.take([tokens._replace(amount=0)], NOW)).standings[0].left == 1000 - 10 - 50
        loss.answers = 1
        await meter.settle(held, [30], NOW)
        await comes_to(one, money, 55, 0)

        assert (loss.answers, host.told) == (0, [])
        await meter.close()


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 20), st.integers(0, 15)), min_size=5, max_size=25))
def test_what_is_spent_and_reserved_never_exceeds_a_budget_and_is_settled_once_whatever_the_order(
    running_redis: RedisServer, steps: list[tuple[int, int, int]]
) -> None:
    asyncio.run(interleaved(running_redis, steps))


async def interleaved(server: RedisServer, steps: list[tuple[int, int, int]]) -> None:
    """Takes and settles at three hosts, each grant as often as it likes, and compares with a sum on paper."""
    cap, streams, name = 40, 3, token_hex(8)
    claims = claim(Kind.MONEY, 0, cap, name), claim(Kind.STREAMS, 1, streams, name)
    meters = [Host(server.url).meter() for _ in range(3)]
    held: list[tuple[int, Grant, int]] = []
    done: list[tuple[int, Grant]] = []
    spent = 0
    for owner, amount, choice in steps:
        reserved = sum(size for _, _, size in held)
        if choice < 9:
            fits = spent + reserved + amount <= cap and len(held) < streams
            grant = await taken(meters[owner], [claims[0]._replace(amount=amount), claims[1]])
            assert (grant is not None) == fits
            held += [(owner, grant, amount)] if grant is not None else []
        elif held and choice < 14:
            of, grant, reserve = held.pop(amount % len(held))
            actual = min(reserve, choice)
            spent += actual
            await meters[of].settle(grant, [actual, 0], NOW)
            done.append((of, grant))
        elif done:
            of, grant = done[-1]
            await meters[of].settle(grant, [7, 0], NOW)
        reserved = sum(size for _, _, size in held)
        await comes_to(meters[0], claims[0], spent, reserved)
        assert spent + reserved <= cap
    await asyncio.gather(*(meter.close() for meter in meters))


async def test_all_claims_are_taken_or_none_and_the_longest_wait_is_told(redis: RedisServer) -> None:
    request, stream, tokens = claim(Kind.REQUESTS, 1, 1), claim(Kind.STREAMS, 1, 1), claim(Kind.TOKENS, 9, 10)
    money = claim(Kind.MONEY, 50, 100, ends_s=NOW + 90)
    async with hosts(redis) as (_, one, other):
        await other.take([money._replace(amount=60)], NOW)

        assert await refusal(one, [request, tokens, stream, money]) == Standing(money, 40, 90.0)

        grant = await one.take([request, tokens, stream], NOW)
        assert [standing.left for standing in grant.standings] == [0, 1, 0]
        assert grant.standings[2].reset_s == 1.0
        assert 60 < grant.standings[0].reset_s <= 65
        assert await one.spent([money.slot, bytes(16)]) == [(0, 60), (0, 0)]
        refused = await refusal(other, [stream, request])
        assert (refused.claim, refused.left) == (request, 0)
        assert 55 < refused.reset_s <= 65


async def test_two_claims_on_one_counter_count_both(redis: RedisServer) -> None:
    money, request = claim(Kind.MONEY, 6, 10), claim(Kind.REQUESTS, 6, 10)
    async with hosts(redis) as (_, one, _):
        assert await refusal(one, [money, money]) == Standing(money, 4, math.inf)
        assert (await refusal(one, [request, request])).left == 4
        assert await one.spent([money.slot]) == [(0, 0)]


async def test_requests_stay_counted_streams_end_and_tokens_and_money_come_to_what_was_used(redis: RedisServer) -> None:
    claims = [
        claim(Kind.REQUESTS, 1, 10),
        claim(Kind.STREAMS, 1, 1),
        claim(Kind.TOKENS, 50, 100),
        claim(Kind.MONEY, 70, 100),
    ]
    async with hosts(redis) as (_, one, other):
        grant = await one.take(claims, NOW)
        for _ in range(3):
            await one.settle(grant, [0, 0, 80, 20], NOW)

        assert await other.spent([claims[3].slot]) == [(20, 0)]
        again = await other.take([one._replace(amount=1) for one in claims], NOW)
        assert [standing.left for standing in again.standings] == [8, 0, 19, 79]


async def test_no_window_has_more_than_the_limit_and_what_is_refused_fits_when_it_was_told(redis: RedisServer) -> None:
    host = Host(redis.url, window_s=0.6)
    meter, one = host.meter(), claim(Kind.REQUESTS, 1, 5)
    asked: list[float] = []
    given: list[float] = []
    waits: list[float] = []
    for _ in range(15):
        asked.append(time.monotonic())
        try:
            await meter.take([one], NOW)
        except Exceeded as exceeded:
            waits.append(exceeded.standing.reset_s)
            await asyncio.sleep(waits[-1] + 0.002)  # the clock is that of Redis
            asked[-1] = time.monotonic()
            await meter.take([one], NOW)
        given.append(time.monotonic())
    await meter.close()

    assert all(later - earlier > 0.59 for earlier, later in zip(asked, given[5:], strict=False))
    assert all(0 < wait <= 0.65 for wait in waits)


async def test_a_large_budget_loses_no_nano_and_a_larger_one_ends_where_scripts_count_exactly(
    redis: RedisServer,
) -> None:
    large, larger = claim(Kind.MONEY, MOST - 2, MOST), claim(Kind.MONEY, 1, 2**63, "l")
    async with hosts(redis) as (_, one, _):
        await one.settle(await one.take([large], NOW), [MOST - 2], NOW)
        await one.take([large._replace(amount=1)], NOW)
        assert await one.spent([large.slot]) == [(MOST - 2, 1)]
        assert await refusal(one, [large._replace(amount=2)]) == Standing(large._replace(amount=2), 1, math.inf)

        await one.settle(await one.take([larger], NOW), [2**70], NOW)
        assert await one.spent([larger.slot]) == [(MOST, 0)]
        assert await refusal(one, [larger]) == Standing(larger, 0, math.inf)


async def test_what_was_spent_elsewhere_raises_a_budget_and_never_lowers_it(redis: RedisServer) -> None:
    money = claim(Kind.MONEY, 40, 100)
    async with hosts(redis) as (_, one, other):
        await one.raise_spent([Spent(money.slot, 50), Spent(bytes(16), 0)])
        await one.settle(await one.take([money], NOW), [30], NOW)
        await other.raise_spent([Spent(money.slot, 60)])

        assert await one.spent([money.slot]) == [(80, 0)]


async def test_what_was_spent_before_is_told_to_a_redis_that_comes_later_or_has_lost_its_memory_before_anybody_takes(
    redis: RedisServer,
) -> None:
    money = claim(Kind.MONEY, 40, 100)
    host = Host(redis.url)
    meter = host.meter()
    redis.stop()
    with pytest.raises(MeterError):
        await meter.raise_spent([Spent(money.slot, 50), Spent(bytes(16), 7, NOW + 60)])
    redis.start()
    await host.comes_back()

    assert (await meter.take([money], NOW)).standings[0].left == 10
    redis.stop()
    redis.start()
    assert await refusal(meter, [money]) == Standing(money, 10, math.inf)
    assert await meter.spent([money.slot, bytes(16)]) == [(50, 40), (7, 0)]
    await meter.close()


async def test_every_key_expires(redis: RedisServer) -> None:
    ends = [0.0, NOW + 60]
    async with hosts(redis) as (_, one, _):
        kinds = [claim(kind, 1, 9, f"{kind}", end) for kind in Kind for end in ends[: 1 + (kind is Kind.MONEY)]]
        await one.settle(await one.take(kinds, NOW), [1] * len(kinds), NOW)
        await one.take(kinds, NOW)
        await one.raise_spent([Spent(bytes(16), 5)])

        names = redis.do("KEYS", "*")
        assert len(names) == 7
        assert all(name.startswith(b"loom:quota:") and redis.do("PTTL", name) > 0 for name in names)


async def test_a_budget_that_is_raised_is_kept_for_two_days_after_its_period_by_the_clock_it_was_given(
    redis: RedisServer,
) -> None:
    async with hosts(redis) as (_, one, _):
        await one.raise_spent([Spent(bytes(16), 5, NOW + 60)])

        kept_ms = redis.do("PTTL", f"loom:quota:g:{bytes(16).hex()}")
    assert 0 <= 60_000 + 2 * 86_400_000 - kept_ms < 10_000


async def test_who_closes_gives_back_what_it_holds(redis: RedisServer) -> None:
    money = claim(Kind.MONEY, 40, 100)
    async with hosts(redis) as (_, one, other):
        grant = await one.take([money], NOW)
        await other.take([money], NOW)
        await one.close()
        await one.close()
        await one.settle(grant, [40], NOW)

        assert await other.spent([money.slot]) == [(0, 40)]


async def test_a_host_that_is_killed_holds_nothing_when_its_lease_ends(redis: RedisServer) -> None:
    money, stream = claim(Kind.MONEY, 60, 100), claim(Kind.STREAMS, 1, 1)
    async with hosts(redis) as (_, one, _):
        process = subprocess.Popen(  # noqa: ASYNC220, S603 - its one line is awaited below
            [sys.executable, "-m", "tests.quota.test_redis_meter", redis.url], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == b"taken\n"
        await asyncio.sleep(LEASE_S + 0.5)  # longer than its lease, which it renews
        assert await one.spent([money.slot]) == [(0, 60)]
        assert await refusal(one, [stream]) == Standing(stream, 0, 1.0)
        process.kill()
        process.wait()
        process.stdout.close()

        await comes_to(one, money, 0, 0)
        assert await taken(one, [money, stream]) is not None


async def test_a_host_that_lives_on_after_its_lease_holds_again_what_it_holds(redis: RedisServer) -> None:
    money = claim(Kind.MONEY, 60, 100)
    async with hosts(redis) as (_, one, other):
        await one.settle(await one.take([money], NOW), [0], NOW)  # and nothing is under way in the background
        grant = await one.take([money], NOW)
        redis.do("DEL", "loom:quota:owners")
        assert await other.spent([money.slot]) == [(0, 0)]

        await one.take([money._replace(amount=10)], NOW)
        assert await other.spent([money.slot]) == [(0, 70)]
        redis.do("DEL", "loom:quota:owners")
        await one.settle(grant, [15], NOW)
        assert await other.spent([money.slot]) == [(15, 10)]


async def test_a_closed_meter_takes_nothing(redis: RedisServer) -> None:
    async with hosts(redis) as (_, one, _):
        await one.close()

        with pytest.raises(MeterError, match="closed"):
            await one.take([claim(Kind.REQUESTS, 1, 1)], NOW)


async def test_who_takes_when_the_meter_is_closed_is_told_so_and_not_cancelled(redis: RedisServer) -> None:
    meter = Host(redis.url).meter()
    await meter.take([claim(Kind.REQUESTS, 1, 9)], NOW)
    redis.pause(2)
    taking = asyncio.create_task(meter.take([claim(Kind.REQUESTS, 1, 9)], NOW))
    await asyncio.sleep(0)
    began = time.monotonic()
    await meter.close()

    with pytest.raises(MeterError, match="closed"):
        await taking
    assert time.monotonic() - began < 5


async def test_a_redis_that_was_restarted_between_two_calls_is_no_trouble_and_knows_what_is_held(
    redis: RedisServer,
) -> None:
    money = claim(Kind.MONEY, 60, 100)
    async with hosts(redis) as (host, one, other):
        grant = await one.take([money], NOW)
        redis.stop()
        redis.start()

        await one.take([money._replace(amount=1)], NOW)
        assert await other.spent([money.slot]) == [(0, 61)]
        await one.settle(grant, [20], NOW)
        assert (await other.spent([money.slot]), host.told) == ([(20, 1)], [])


async def test_what_cannot_be_settled_while_redis_is_down_is_settled_when_it_is_back(redis: RedisServer) -> None:
    money = claim(Kind.MONEY, 30, 100)
    async with hosts(redis) as (host, one, other):
        grants = [await one.take([money], NOW) for _ in range(3)]
        redis.stop()
        began = time.monotonic()
        await one.settle(grants[0], [20], NOW)
        for _ in range(20):
            with pytest.raises(MeterError):
                await one.take([money], NOW)
        await one.settle(grants[1], [25], NOW)
        assert time.monotonic() - began < 1
        redis.start()
        await host.comes_back()

        assert await other.spent([money.slot]) == [(45, 30)]
        assert (await one.take([money._replace(amount=25)], NOW)).standings[0].left == 0
    wrong = (
        f"the Redis at 127.0.0.1:{redis.port} cannot be reached; see that it runs and that limits.redis_url is right"
    )
    assert host.told == [wrong]


async def test_a_slow_redis_is_an_error_within_a_second_and_takes_and_spends_nothing_twice(redis: RedisServer) -> None:
    money = claim(Kind.MONEY, 30, 100)
    async with hosts(redis) as (host, one, other):
        grant = await one.take([money], NOW)
        redis.pause(2.5)
        await one.settle(grant, [20], NOW)
        began = time.monotonic()
        with pytest.raises(MeterError, match=r"does not answer within 0\.8 s"):
            await one.take([money], NOW)
        assert time.monotonic() - began < 2
        await host.comes_back()

        assert await other.spent([money.slot]) == [(20, 0)]


async def test_who_is_cancelled_while_it_takes_or_settles_leaves_nothing_taken(redis: RedisServer) -> None:
    money, count = claim(Kind.MONEY, 1, 10**6), 40
    async with hosts(redis) as (_, one, other):
        grants = [await one.take([money], NOW) for _ in range(count)]
        settling = [asyncio.create_task(one.settle(grant, [3], NOW)) for grant in grants]
        taking = [asyncio.create_task(one.take([money], NOW)) for _ in range(count)]
        for turn, (first, second) in enumerate(zip(settling, taking, strict=True)):
            await asyncio.sleep(0.0002 * (turn % 3))
            first.cancel()
            second.cancel()
        ended = await asyncio.gather(*settling, *taking, return_exceptions=True)
        done = sum(not isinstance(grant, BaseException) for grant in ended[count:])

        await comes_to(other, money, 3 * count, done)


async def test_a_wrong_password_is_told_without_it(redis: RedisServer) -> None:
    host = Host(redis.url.replace(PASSWORD, "not-the-password"))
    meter = host.meter()
    with pytest.raises(MeterError):
        await meter.take([claim(Kind.REQUESTS, 1, 1)], NOW)
    host.url = redis.url
    await host.comes_back()
    await meter.take([claim(Kind.REQUESTS, 1, 1)], NOW)

    place = f"the Redis at 127.0.0.1:{redis.port}"
    assert host.told == [f"{place} does not take the user name and password of limits.redis_url"]
    assert "not-the" not in repr(meter)
    await meter.close()


async def _hold(url: str) -> None:
    """Holds money and a stream until it is killed."""
    meter = Host(url, lease_s=LEASE_S).meter()
    await meter.take([claim(Kind.MONEY, 60, 100), claim(Kind.STREAMS, 1, 1)], NOW)
    print("taken", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_hold(sys.argv[1]))
