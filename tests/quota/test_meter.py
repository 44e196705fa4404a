"""No limit and no budget is ever exceeded, by however many processes, and nobody who is killed leaves anything taken."""

from __future__ import annotations

import asyncio
import fcntl
import json
import math
import subprocess
import sys
from collections import defaultdict
from collections.abc import Coroutine, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_grpc.core.quota import WINDOW_S, Claim, Exceeded, Grant, Kind, MeterError, Scope, Spent, Standing, slot
from loom_grpc.quota.meter import TableMeter

NOW: Final = 1_800_000_000.0
SCOPE: Final = Scope("key", "k")
ROOT: Final = Path(__file__).parents[2]
T = TypeVar("T")


def claim(kind: Kind, amount: int, most: int, name: str = "k", ends_s: float = 0.0) -> Claim:
    scope = Scope("key", name)
    return Claim(slot(kind, scope), kind, amount, most, scope, "day" if ends_s else "", ends_s)


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """Runs what never waits."""
    with pytest.raises(StopIteration) as ended:
        work.send(None)
    return cast("T", ended.value.value)


def small(path: Path | None = None, owner: int = 0, owners: int = 4) -> TableMeter:
    return TableMeter(path, owner, owners=owners, windows=256, gauges=256)


@pytest.fixture
def meter() -> Iterator[TableMeter]:
    meter = small()
    yield meter
    at_once(meter.close())


async def refusal(meter: TableMeter, claims: list[Claim], now: float) -> Standing:
    with pytest.raises(Exceeded) as raised:
        await meter.take(claims, now)
    return raised.value.standing


async def test_requests_are_taken_until_the_limit_and_again_when_the_window_is_over(meter: TableMeter) -> None:
    one = claim(Kind.REQUESTS, 1, 3)

    grants = [await meter.take([one], NOW + second) for second in (0, 1, 6)]

    assert [grant.standings for grant in grants] == [
        [Standing(one, 2, 65.0)],
        [Standing(one, 1, 64.0)],
        [Standing(one, 0, 64.0)],
    ]
    assert await refusal(meter, [one], NOW + 7) == Standing(one, 0, 58.0)
    assert await refusal(meter, [one], NOW + 64.5) == Standing(one, 0, 0.5)
    assert (await meter.take([one], NOW + 65)).standings == [Standing(one, 1, 65.0)]


async def test_what_is_refused_fits_when_it_was_told(meter: TableMeter) -> None:
    for second, amount in ((0, 30), (12, 30), (31, 30)):
        await meter.take([claim(Kind.TOKENS, amount, 100)], NOW + second)
    wanted = claim(Kind.TOKENS, 60, 100)

    standing = await refusal(meter, [wanted], NOW + 40)

    assert standing == Standing(wanted, 10, 35.0)
    assert await refusal(meter, [wanted], NOW + 74.5) == Standing(wanted, 40, 0.5)
    assert (await meter.take([wanted], NOW + 75)).standings[0].left == 10


async def test_a_claim_larger_than_the_whole_limit_never_fits_and_says_what_is_left(meter: TableMeter) -> None:
    await meter.take([claim(Kind.TOKENS, 30, 100)], NOW)

    assert await refusal(meter, [large := claim(Kind.TOKENS, 101, 100)], NOW) == Standing(large, 70, WINDOW_S)
    assert await refusal(meter, [none := claim(Kind.STREAMS, 1, 0)], NOW) == Standing(none, 0, WINDOW_S)


async def test_all_claims_are_taken_or_none(meter: TableMeter) -> None:
    request, stream, tokens = claim(Kind.REQUESTS, 1, 1), claim(Kind.STREAMS, 1, 1), claim(Kind.TOKENS, 9, 10)
    money = claim(Kind.MONEY, 50, 100, ends_s=NOW + 9)
    await meter.take([claim(Kind.MONEY, 60, 100, ends_s=NOW + 9)], NOW)

    assert await refusal(meter, [request, tokens, stream, money], NOW) == Standing(money, 40, 9.0)

    grant = await meter.take([request, tokens, stream], NOW)
    assert [standing.left for standing in grant.standings] == [0, 1, 0]
    assert await meter.spent([money.slot]) == [(0, 60)]


async def test_the_claim_that_has_to_wait_the_longest_is_told(meter: TableMeter) -> None:
    stream, tokens, money = (
        claim(Kind.STREAMS, 1, 1),
        claim(Kind.TOKENS, 10, 10),
        claim(Kind.MONEY, 1, 1, ends_s=NOW + 30),
    )
    await meter.take([stream, tokens, money], NOW)

    assert await refusal(meter, [stream, money, tokens], NOW) == Standing(tokens, 0, 65.0)
    assert await refusal(meter, [stream, money], NOW) == Standing(money, 0, 30.0)
    assert await refusal(meter, [stream], NOW) == Standing(stream, 0, 1.0)


async def test_two_claims_on_one_counter_count_both(meter: TableMeter) -> None:
    money = claim(Kind.MONEY, 6, 10)

    assert await refusal(meter, [money, money], NOW) == Standing(money, 4, math.inf)
    assert await meter.spent([money.slot]) == [(0, 0)]


async def test_settled_tokens_change_the_bucket_in_which_they_were_taken(meter: TableMeter) -> None:
    grant = await meter.take([claim(Kind.TOKENS, 50, 100)], NOW)
    await meter.take([claim(Kind.TOKENS, 10, 100)], NOW + 20)

    await meter.settle(grant, [80], NOW + 30)

    wanted = claim(Kind.TOKENS, 11, 100)
    assert await refusal(meter, [wanted], NOW + 30) == Standing(wanted, 10, 35.0)
    assert (await meter.take([wanted], NOW + 65)).standings[0].left == 79


async def test_tokens_that_are_settled_after_their_window_change_nothing(meter: TableMeter) -> None:
    grant = await meter.take([claim(Kind.TOKENS, 50, 100)], NOW)
    await meter.take([claim(Kind.TOKENS, 10, 100)], NOW + 65)

    await meter.settle(grant, [90], NOW + 65)

    assert (await meter.take([claim(Kind.TOKENS, 1, 100)], NOW + 65)).standings[0].left == 89


async def test_requests_stay_counted_and_streams_end(meter: TableMeter) -> None:
    claims = [claim(Kind.REQUESTS, 1, 10), claim(Kind.STREAMS, 1, 1)]
    await meter.settle(await meter.take(claims, NOW), [0, 0], NOW)

    grant = await meter.take(claims, NOW)

    assert [standing.left for standing in grant.standings] == [8, 0]


async def test_money_that_was_reserved_becomes_what_was_spent(meter: TableMeter) -> None:
    money = claim(Kind.MONEY, 70, 100)
    first = await meter.take([money], NOW)
    assert await meter.spent([money.slot, slot(Kind.MONEY, Scope("key", "nobody"))]) == [(0, 70), (0, 0)]

    await meter.settle(first, [20], NOW)
    assert await meter.spent([money.slot]) == [(20, 0)]

    second = await meter.take([money], NOW)
    await meter.settle(second, [150], NOW)  # what was used was used
    assert await meter.spent([money.slot]) == [(170, 0)]
    assert await refusal(meter, [money], NOW) == Standing(money, 0, math.inf)


async def test_a_grant_settles_once(meter: TableMeter) -> None:
    claims = [claim(Kind.MONEY, 70, 100), claim(Kind.STREAMS, 1, 2), claim(Kind.TOKENS, 10, 100)]
    grant, other = await meter.take(claims[:2], NOW), await meter.take(claims[1:], NOW)

    for _ in range(3):
        await meter.settle(grant, [20, 0], NOW)

    assert await meter.spent([claims[0].slot]) == [(20, 0)]
    assert (await meter.take(claims[1:], NOW)).standings == [Standing(claims[1], 0, 1.0), Standing(claims[2], 80, 65.0)]
    await meter.settle(other, [0, 10], NOW)


async def test_money_settles_in_the_period_in_which_it_was_taken(meter: TableMeter) -> None:
    today, tomorrow = (claim(Kind.MONEY, 70, 100, day, NOW + 86_400) for day in ("today", "tomorrow"))
    grant = await meter.take([today], NOW + 86_399)
    await meter.take([tomorrow], NOW + 86_401)

    await meter.settle(grant, [60], NOW + 86_402)

    assert await meter.spent([today.slot, tomorrow.slot]) == [(60, 0), (0, 70)]


async def test_what_was_spent_elsewhere_raises_a_budget_and_never_lowers_it(meter: TableMeter) -> None:
    money = claim(Kind.MONEY, 40, 100)

    await meter.raise_spent([Spent(money.slot, 50), Spent(slot(Kind.MONEY, Scope("key", "x")), 0)])
    await meter.settle(await meter.take([money], NOW), [30], NOW)
    await meter.raise_spent([Spent(money.slot, 60)])

    assert await meter.spent([money.slot]) == [(80, 0)]
    assert await refusal(meter, [money], NOW) == Standing(money, 20, math.inf)


async def test_amounts_beyond_all_measure_neither_wrap_nor_fail(meter: TableMeter) -> None:
    claims = [claim(Kind.TOKENS, 1, 2**63), claim(Kind.MONEY, 1, 2**63)]

    await meter.settle(await meter.take(claims, NOW), [2**70, 2**70], NOW)

    assert await meter.spent([claims[1].slot]) == [(2**64 - 1, 0)]
    assert await refusal(meter, claims, NOW) == Standing(claims[1], 0, math.inf)
    assert await refusal(meter, claims[:1], NOW) == Standing(claims[0], 0, 65.0)


async def test_a_clock_that_is_set_back_forgets_nothing(meter: TableMeter) -> None:
    await meter.take([claim(Kind.TOKENS, 60, 100)], NOW)
    await meter.take([claim(Kind.TOKENS, 30, 100)], NOW + 20)
    wanted = claim(Kind.TOKENS, 11, 100)

    assert await refusal(meter, [wanted], NOW + 19) == Standing(wanted, 10, 46.0)
    assert await refusal(meter, [wanted], NOW - 3600) == Standing(wanted, 10, 65.0)
    assert (await meter.take([wanted], NOW - 3600 + 65)).standings[0].left == 89


async def test_idle_windows_make_room_and_those_in_use_do_not() -> None:
    meter = TableMeter(None, 0, owners=1, windows=16, gauges=16)
    for number in range(16):
        await meter.take([claim(Kind.REQUESTS, 1, 1, str(number))], NOW + number)

    with pytest.raises(MeterError):
        await meter.take([claim(Kind.REQUESTS, 1, 1, "one more")], NOW + 64)
    await meter.take([claim(Kind.REQUESTS, 1, 1, "one more")], NOW + 65)

    first, last = claim(Kind.REQUESTS, 1, 1, "5"), claim(Kind.REQUESTS, 1, 1, "15")
    assert await refusal(meter, [last], NOW + 65) == Standing(last, 0, 15.0)
    assert await refusal(meter, [first], NOW + 65) == Standing(first, 0, 5.0)
    await meter.close()


async def test_money_and_streams_never_make_room_until_a_period_is_over() -> None:
    meter = TableMeter(None, 0, owners=1, windows=16, gauges=16)
    streams = [await meter.take([claim(Kind.STREAMS, 1, 1, str(number))], NOW) for number in range(6)]
    for number in range(9):
        money = claim(Kind.MONEY, 5, 9, str(number), NOW + 10 if number == 3 else 0)
        await meter.settle(await meter.take([money], NOW), [4], NOW)
    reserved = await meter.take([claim(Kind.MONEY, 5, 9, "reserved", NOW + 10)], NOW)
    more = claim(Kind.STREAMS, 1, 1, "more")

    with pytest.raises(MeterError):
        await meter.take([claim(Kind.STREAMS, 0, 1, "0"), more], NOW + 9)
    await meter.take([more], NOW + 10)
    with pytest.raises(MeterError):
        await meter.take([claim(Kind.STREAMS, 1, 1, "yet another")], NOW + 10)
    await meter.settle(streams[2], [0], NOW)
    await meter.take([claim(Kind.STREAMS, 1, 1, "yet another")], NOW + 10)

    await meter.settle(reserved, [5], NOW + 11)
    kept = [slot(Kind.MONEY, Scope("key", name)) for name in ("0", "3", "8", "reserved")]
    assert await meter.spent(kept) == [(4, 0), (0, 0), (4, 0), (5, 0)]
    await meter.close()


async def test_a_refusal_for_want_of_room_takes_nothing() -> None:
    meter = TableMeter(None, 0, owners=1, windows=16, gauges=16)
    money = claim(Kind.MONEY, 5, 9)
    for number in range(15):
        await meter.take([claim(Kind.STREAMS, 1, 1, str(number))], NOW)

    with pytest.raises(MeterError):
        await meter.take([money, claim(Kind.STREAMS, 1, 1, "one more")], NOW)

    assert await meter.spent([money.slot]) == [(0, 0)]
    await meter.close()


async def test_what_cannot_be_settled_at_once_is_settled_later(tmp_path: Path) -> None:
    meter = small(tmp_path / "t")
    money = claim(Kind.MONEY, 70, 100)
    grant = await meter.take([money], NOW)

    with (tmp_path / "t").open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        await meter.settle(grant, [30], NOW)
        with pytest.raises(MeterError):
            await meter.take([money], NOW)

    assert await meter.spent([money.slot]) == [(30, 0)]
    await meter.close()


async def test_who_closes_gives_back_what_it_holds(tmp_path: Path) -> None:
    one, other = small(tmp_path / "t", 0), small(tmp_path / "t", 1)
    money = claim(Kind.MONEY, 40, 100)
    grant = await one.take([money], NOW)
    await other.take([money], NOW)

    await one.close()
    await one.close()
    await one.settle(grant, [40], NOW)

    assert await other.spent([money.slot]) == [(0, 40)]
    await other.close()


async def test_a_successor_clears_once_what_its_predecessor_held(tmp_path: Path) -> None:
    predecessor, other = small(tmp_path / "t", 0), small(tmp_path / "t", 1)
    claims = [claim(Kind.MONEY, 40, 100), claim(Kind.STREAMS, 1, 2)]
    left_behind = await predecessor.take(claims, NOW)
    await other.take(claims, NOW)

    successor = small(tmp_path / "t", 0)
    assert await other.spent([claims[0].slot]) == [(0, 40)]
    await successor.take(claims, NOW)
    await predecessor.settle(left_behind, [15, 0], NOW)  # it was not dead after all
    await predecessor.close()

    assert await other.spent([claims[0].slot]) == [(15, 80)]
    assert await refusal(other, claims[1:], NOW) == Standing(claims[1], 0, 1.0)
    await successor.close()
    await other.close()


def test_a_process_has_one_of_the_numbers_there_are() -> None:
    with pytest.raises(ValueError, match="process 4 is none of 4"):
        small(None, 4)


SECONDS = st.one_of(st.just(0.0), st.floats(0, 1), st.floats(0, 70), st.sampled_from([4.999, 5.0, 59.999, 60.0, 65.0]))
STEPS = st.lists(st.tuples(SECONDS, st.integers(0, 12), st.integers(0, 3), st.integers(0, 15)), max_size=80)


@given(STEPS, st.integers(0, 20))
def test_no_60_seconds_wherever_they_begin_have_more_than_the_limit(
    steps: list[tuple[float, int, int, int]], most: int
) -> None:
    meter, now, taken = small(), NOW, list[tuple[float, int]]()
    for pause, amount, _, _ in steps:
        now += pause
        try:
            at_once(meter.take([claim(Kind.TOKENS, amount, most)], now))
        except Exceeded as exceeded:
            if amount <= most:
                fits = now + exceeded.standing.reset_s
                assert sum(count for then, count in taken if fits - then < WINDOW_S) + amount <= most
            continue
        taken.append((now, amount))
        assert sum(count for then, count in taken if now - then <= WINDOW_S) <= most
    at_once(meter.close())


@given(STEPS)
def test_a_refused_claim_fits_when_it_was_told_if_nothing_else_comes(
    steps: list[tuple[float, int, int, int]],
) -> None:
    meter, now, most = small(), NOW, 20
    for pause, amount, _, _ in steps:
        now += pause
        wanted = claim(Kind.TOKENS, amount, most)
        try:
            at_once(meter.take([wanted], now))
        except Exceeded as exceeded:
            now += exceeded.standing.reset_s + 1e-6  # what seconds since 1970 lose as a float
            at_once(meter.take([wanted], now))
    at_once(meter.close())


@given(STEPS)
def test_what_is_spent_and_reserved_never_exceeds_a_budget_and_is_the_sum_over_all_processes(
    steps: list[tuple[float, int, int, int]],
) -> None:
    cap, streams = 40, 3
    claims = claim(Kind.MONEY, 0, cap), claim(Kind.STREAMS, 1, streams)
    with TemporaryDirectory() as folder:
        path = Path(folder, "t")
        meters = [small(path, owner) for owner in range(3)]
        held: defaultdict[int, list[tuple[Grant, int]]] = defaultdict(list)
        spent, now = 0, NOW
        for pause, amount, owner, choice in steps:
            now += pause
            reserved = sum(size for grants in held.values() for _, size in grants)
            number = sum(map(len, held.values()))
            if owner == 3:  # one is killed, and comes back
                meters.append(meters[choice % 3])
                meters[choice % 3] = small(path, choice % 3)
                held.pop(choice % 3, None)
            elif choice < 9:
                wanted = [claims[0]._replace(amount=amount), claims[1]]
                fits = spent + reserved + amount <= cap and number < streams
                try:
                    held[owner].append((at_once(meters[owner].take(wanted, now)), amount))
                except Exceeded:
                    assert not fits
                else:
                    assert fits
            elif held[owner]:
                grant, reserve = held[owner].pop()
                actual = min(reserve, choice - 9)
                spent += actual
                at_once(meters[owner].settle(grant, [actual, 0], now))
            reserved = sum(size for grants in held.values() for _, size in grants)
            assert at_once(meters[0].spent([claims[0].slot])) == [(spent, reserved)]
            assert spent + reserved <= cap
        for meter in meters:
            at_once(meter.close())


class Process:
    """A real process that takes from the counters (tests/quota/hammer.py)."""

    def __init__(self, path: Path, owner: int, claims: list[Claim], times: int = 0) -> None:
        order = {"claims": [(c.slot.hex(), c.kind, c.amount, c.most) for c in claims], "times": times, "now": NOW}
        program = [sys.executable, str(Path(__file__).with_name("hammer.py")), str(path), str(owner), "5"]
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [*program, json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": str(ROOT)},
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdin is not None
        self.lines = self._process.stdout
        self._stdin = self._process.stdin
        assert self.lines.readline() == "ready\n"

    def go(self) -> None:
        self._stdin.write("\n")
        self._stdin.flush()

    def kill(self) -> list[str]:
        """Kills it and returns what it said before."""
        self._process.kill()
        said = self.lines.read().splitlines()
        self.end()
        return said

    def end(self) -> None:
        self._process.wait(10)
        self._stdin.close()
        self.lines.close()


@pytest.mark.parametrize("kind", [Kind.REQUESTS, Kind.TOKENS, Kind.STREAMS, Kind.MONEY])
def test_exactly_the_limit_gets_through_to_four_processes(tmp_path: Path, kind: Kind) -> None:
    processes = [Process(tmp_path / "t", owner, [claim(kind, 1, 1000)], 700) for owner in range(4)]
    for process in processes:
        process.go()

    taken = [int(process.lines.readline()) for process in processes]

    for process in processes:
        process.end()
    assert sum(taken) == 1000


def test_processes_that_are_killed_leave_nothing_taken_and_nothing_wrong(tmp_path: Path) -> None:
    path, cap = tmp_path / "t", 10**9
    money, stream, tokens = claim(Kind.MONEY, 50, cap), claim(Kind.STREAMS, 1, 12), claim(Kind.TOKENS, 50, 10**9)
    watcher = small(path, 4, owners=5)
    begun = done = 0
    for round_number in range(6):
        processes = [Process(path, owner, [money, stream, tokens]) for owner in range(4)]
        for process in processes:
            process.go()
        for _ in range(100 + 37 * round_number):
            (spent, reserved) = at_once(watcher.spent([money.slot]))[0]
            assert reserved <= 12 * 50
            assert spent + reserved <= cap
            for process in processes:
                line = process.lines.readline().split()
                begun += int(line[1]) if line[0] == "begin" else 0
                done += int(line[1]) if line[0] == "done" else 0
        for process in processes:
            for said in process.kill():
                begun += int(said.split()[1]) if said.startswith("begin") else 0
                done += int(said.split()[1]) if said.startswith("done") else 0
    for owner in range(4):
        at_once(small(path, owner, owners=5).close())

    [(spent, reserved)] = at_once(watcher.spent([money.slot]))
    all_streams = at_once(watcher.take([stream._replace(amount=12)], NOW))
    at_once(watcher.close())
    assert reserved == 0
    assert done <= spent <= begun
    assert all_streams.standings[0].left == 0


async def test_many_tasks_of_one_process_share_a_limit(meter: TableMeter) -> None:
    async def attempt() -> bool:
        try:
            await meter.take([claim(Kind.REQUESTS, 1, 50)], NOW)
        except Exceeded:
            return False
        return True

    assert sum(await asyncio.gather(*(attempt() for _ in range(200)))) == 50
