"""Who begins to answer first is kept, the other one is ended, and the call tells of the winner, whatever happens in which order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import fields
from itertools import combinations, product
from typing import Any, NamedTuple

import pytest

from loom_grpc.core.call import Call, Send
from loom_grpc.core.errors import PROVIDER_TIMEOUT, PROVIDER_UNAVAILABLE, LlmError
from loom_grpc.core.hedge import hedge
from loom_grpc.v1.llm_service_pb2 import Completed, EmbedResponse, LlmEvent, LlmRequest, LlmResponse, TextDelta
from tests.loop import nothing_left, settle


@pytest.fixture(autouse=True)
async def nothing_is_left() -> AsyncIterator[None]:
    async with nothing_left():
        yield


def text(content: str) -> LlmEvent:
    return LlmEvent(text_delta=TextDelta(content=content))


def new_call(*, stream: bool = True) -> Call:
    return Call(LlmRequest(), stream, "r")


class Target:
    """Answers step by step, when it is told to, and writes into its call what a real target does."""

    def __init__(self, name: str, *steps: str) -> None:
        self.name = name
        self.error = LlmError(PROVIDER_UNAVAILABLE, name)
        self.steps = iter(steps)
        self.left = len(steps)
        self.turns: asyncio.Queue[None] = asyncio.Queue()
        self.asked = False
        self.is_at_work = False
        self.end = ""
        """How it ended; with a question mark when the call told of another one by then."""

    async def __call__(self, call: Call, send: Send) -> None:
        self.asked = self.is_at_work = True
        call.provider = self.name
        call.attempt += 1
        end = "cancelled"
        try:
            end = await self._play(call, send)
        except LlmError:
            end = "failed"
            raise
        finally:
            call.upstream_s += 1
            self.end = end if call.provider == self.name else end + "?"
            self.is_at_work = False

    async def _play(self, call: Call, send: Send) -> str:
        for step in self.steps:
            await self.turns.get()
            if step == "fail":
                raise self.error
            call.responded = True
            await send(text(self.name))
        return "done"

    def go_on(self) -> None:
        """Lets it take its next step, if it is still at work."""
        self.turns.put_nowait(None)


class Caller:
    """Makes a hedged call whose second target is asked at once, and keeps what comes of it."""

    def __init__(self, first: Target, second: Target, *, may: bool = True, call: Call | None = None) -> None:
        self.call = call or new_call()
        self.asked_for = 0
        self.sent: list[str] = []
        self.headers: list[tuple[str, int]] = []
        """Provider and attempts as the call told them when the events came."""
        self._may = may
        self.task = asyncio.ensure_future(
            hedge(self.call, self.send, first, second, after_s=0, may=self.may, clock=lambda: 0.0)
        )

    def may(self) -> bool:
        self.asked_for += 1
        return self._may

    async def send(self, event: LlmEvent) -> None:
        self.sent.append(event.text_delta.content)
        self.headers.append((self.call.provider, self.call.attempt))

    async def outcome(self) -> str:
        await asyncio.wait((self.task,))
        if self.task.cancelled():
            return "cancelled"
        error = self.task.exception()
        assert error is None or isinstance(error, LlmError)
        return "done" if error is None else error.message


async def hedged(first: Target, second: Target, **options: Any) -> Caller:
    caller = Caller(first, second, **options)
    await settle()
    return caller


async def test_a_first_target_that_answers_at_once_is_asked_alone() -> None:
    first, second = Target("a", "say", "say"), Target("b")
    first.go_on()
    first.go_on()

    caller = await hedged(first, second)

    assert (await caller.outcome(), caller.sent, caller.asked_for, second.asked) == ("done", ["a", "a"], 0, False)
    assert (caller.call.provider, caller.call.attempt, caller.call.upstream_s) == ("a", 1, 1)


async def test_a_first_target_that_has_spoken_may_pause() -> None:
    async def halting(call: Call, send: Send) -> None:
        await send(text("a"))
        await asyncio.sleep(0.02)
        await send(text("a"))

    second, asked = Target("b", "say"), list[bool]()
    sent: list[LlmEvent] = []

    async def send(event: LlmEvent) -> None:
        sent.append(event)

    def may() -> bool:
        asked.append(True)
        return True

    await hedge(new_call(), send, halting, second, after_s=0.005, may=may)

    assert (len(sent), asked, second.asked) == (2, [], False)


async def test_the_second_target_is_not_asked_when_it_may_not() -> None:
    first, second = Target("a", "say"), Target("b")
    caller = await hedged(first, second, may=False)

    first.go_on()

    assert (await caller.outcome(), caller.sent, caller.asked_for, second.asked) == ("done", ["a"], 1, False)


async def test_a_first_target_that_fails_alone_is_not_stood_in_for() -> None:
    first, second = Target("a", "fail"), Target("b")
    first.go_on()

    caller = await hedged(first, second)

    assert (await caller.outcome(), caller.asked_for, second.asked, caller.call.attempt) == ("a", 0, False, 1)


async def test_the_second_target_is_kept_when_it_speaks_first() -> None:
    first, second = Target("a", "say"), Target("b", "say", "say")
    caller = await hedged(first, second)

    second.go_on()
    await settle()
    left, under_way = first.end, second.is_at_work
    second.go_on()

    assert (left, under_way) == ("cancelled", True)
    assert (await caller.outcome(), caller.sent, caller.headers) == ("done", ["b", "b"], [("b", 2), ("b", 2)])
    assert (caller.call.provider, caller.call.attempt, caller.call.responded) == ("b", 2, True)


async def test_the_first_target_is_kept_when_it_speaks_at_last() -> None:
    first, second = Target("a", "say", "say"), Target("b", "say")
    caller = await hedged(first, second)

    first.go_on()
    await settle()
    left, under_way = second.end, first.is_at_work
    first.go_on()

    assert (left, under_way) == ("cancelled", True)
    assert (await caller.outcome(), caller.sent, caller.headers) == ("done", ["a", "a"], [("a", 2), ("a", 2)])
    assert (caller.call.provider, caller.call.attempt, caller.call.responded) == ("a", 2, True)


class Case(NamedTuple):
    """Two targets, and the order in which they take their steps; x is the caller, who hangs up."""

    first: tuple[str, ...]
    second: tuple[str, ...]
    order: str


_ANSWERS = (("say", "say"), ("fail",), ("say", "fail"))


def cases() -> Iterator[Case]:
    for first, second in product(_ANSWERS, _ANSWERS):
        for order in orders(len(first), len(second)):
            yield Case(first, second, order)
            for place in range(len(order) + 1):
                yield Case(first, second, order[:place] + "x" + order[place:])


def orders(first: int, second: int) -> Iterator[str]:
    """Every way in which two targets may take their turns."""
    for places in combinations(range(first + second), first):
        yield "".join("a" if place in places else "b" for place in range(first + second))


def foretold(case: Case) -> tuple[str, list[str], str]:
    """Says what must come of a case: its outcome, what was sent, and whom the call tells of."""
    steps = {"a": list(case.first), "b": list(case.second)}
    winner, sent, alive = "", list[str](), {"a", "b"}
    for turn in case.order:
        if turn == "x":
            return "cancelled", sent, winner or "a"
        if turn not in alive:
            continue
        step = steps[turn].pop(0)
        if step == "say":
            winner, alive = turn, {turn}
            sent.append(turn)
        else:
            alive.discard(turn)
        if not alive:
            return turn, sent, turn
        if winner and not steps[turn]:
            return "done", sent, winner
    raise AssertionError(case)


async def play(case: Case, pause: Any) -> tuple[Caller, Target, Target]:
    targets = {"a": Target("a", *case.first), "b": Target("b", *case.second)}
    caller = await hedged(targets["a"], targets["b"])
    for turn in case.order:
        if turn == "x":
            caller.task.cancel()
        else:
            targets[turn].go_on()
        await pause()
    return caller, targets["a"], targets["b"]


async def test_every_order_of_events_ends_as_foretold() -> None:
    for case in cases():
        caller, first, second = await play(case, settle)

        outcome = await caller.outcome()

        assert (outcome, caller.sent, caller.call.provider) == foretold(case), case
        assert (first.is_at_work, second.is_at_work) == (False, False), case
        assert "?" not in first.end + second.end, case
        assert (caller.call.attempt, caller.asked_for) == (2, 1), case


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
async def test_what_happens_at_the_same_time_has_one_winner_and_no_leftover(turns: int) -> None:
    async def hardly() -> None:
        for _ in range(turns):
            await asyncio.sleep(0)

    for case in cases():
        caller, first, second = await play(case, hardly)
        outcome = await caller.outcome()

        assert len(set(caller.sent)) <= 1, case
        assert (first.is_at_work, second.is_at_work) == (False, False), case
        assert caller.call.attempt == 2, case
        assert "?" not in first.end + second.end, case
        if outcome == "done":
            assert caller.sent == [caller.call.provider] * 2, case
        elif outcome != "cancelled":
            assert outcome == caller.call.provider, case
        else:
            assert "x" in case.order, case


@pytest.mark.parametrize("turns", range(12))
async def test_a_caller_who_hangs_up_is_heard_at_any_moment(turns: int) -> None:
    """Also while one target is being ended for the other's sake."""
    first, second = Target("a", "say"), Target("b", "say", "say")
    caller = await hedged(first, second)
    second.go_on()
    for _ in range(turns):
        await asyncio.sleep(0)

    caller.task.cancel()

    assert await caller.outcome() == "cancelled"
    assert (first.is_at_work, second.is_at_work) == (False, False)


async def test_a_call_that_is_not_streamed_goes_to_who_is_done_first() -> None:
    answer = LlmResponse(id="second")

    async def silent(call: Call, send: Send) -> None:
        await asyncio.Event().wait()

    async def second(call: Call, send: Send) -> None:
        call.provider, call.answer = "b", answer
        await send(LlmEvent(completed=Completed(response=answer)))

    call, sent = new_call(stream=False), list[LlmEvent]()

    async def send(event: LlmEvent) -> None:
        sent.append(event)

    await hedge(call, send, silent, second, after_s=0.001, may=lambda: True)

    assert [event.completed.response.id for event in sent] == ["second"]
    assert (call.provider, call.answer) == ("b", answer)


@pytest.mark.parametrize("fails", ["never", "before", "at once"])
async def test_a_call_without_events_goes_to_who_is_done_first(fails: str) -> None:
    """Vectors are in the call itself."""
    vectors = EmbedResponse(model="second")
    go_on = asyncio.Event()

    async def first(call: Call, send: Send) -> None:
        await (asyncio.Event() if fails == "never" else go_on).wait()
        raise LlmError(PROVIDER_UNAVAILABLE, "first")

    async def second(call: Call, send: Send) -> None:
        go_on.set()
        if fails == "before":
            await settle()
        call.provider, call.embedded = "b", vectors

    call, sent = new_call(stream=False), list[LlmEvent]()

    async def send(event: LlmEvent) -> None:
        sent.append(event)

    await hedge(call, send, first, second, after_s=0.001, may=lambda: True)

    assert (sent, call.provider, call.embedded) == ([], "b", vectors)


async def test_the_second_target_knows_the_attempts_before_it() -> None:
    call = new_call()
    call.attempt, call.refusals = 4, 3
    first, second = Target("a", "say"), Target("b", "say")
    caller = await hedged(first, second, call=call)

    second.go_on()

    assert await caller.outcome() == "done"
    assert (call.attempt, call.refusals) == (6, 4)  # the attempts of one are none of the other's budget


async def test_all_that_the_winner_found_out_is_in_the_call() -> None:
    async def silent(call: Call, send: Send) -> None:
        await asyncio.Event().wait()

    of_both = {"attempt", "refusals", "upstream_s", "held", "bill", "is_recorded"}
    found: dict[str, Any] = {field.name: object() for field in fields(Call) if field.name not in of_both}

    async def second(call: Call, send: Send) -> None:
        for name, value in found.items():
            setattr(call, name, value)
        await send(text("b"))
        call.answer = whole

    call, whole = new_call(), LlmResponse(id="whole")
    at_first: list[dict[str, Any]] = []

    async def send(event: LlmEvent) -> None:
        at_first.append({name: getattr(call, name) for name in found})

    await hedge(call, send, silent, second, after_s=0, may=lambda: True)

    assert at_first == [found]
    assert {name: getattr(call, name) for name in found} == found | {"answer": whole}


async def test_a_call_that_is_recorded_stays_so_whoever_wins() -> None:
    """What answers it last is nobody's copy."""
    first, second = Target("a"), Target("b", "say", "say")
    caller = await hedged(first, second)

    second.go_on()
    await settle()
    caller.call.is_recorded = True
    second.go_on()

    assert await caller.outcome() == "done"
    assert caller.call.is_recorded


@pytest.mark.parametrize("winner", ["a", "b"])
async def test_who_loses_has_ended_before_the_first_event_is_passed_on(winner: str) -> None:
    """What it used is then on the bill, however soon the answer is over."""
    targets = {"a": Target("a", "say"), "b": Target("b", "say")}
    ends: list[str] = []
    call = new_call()

    async def send(_event: LlmEvent) -> None:
        ends.extend(target.end for name, target in targets.items() if name != winner)

    task = asyncio.ensure_future(hedge(call, send, targets["a"], targets["b"], after_s=0, may=lambda: True))
    await settle()
    targets[winner].go_on()
    await task

    assert ends == ["cancelled"]


async def test_whether_events_are_held_back_stays_what_the_caller_sees() -> None:
    call = new_call()
    call.held = True
    seen: list[bool] = []

    async def silent(call: Call, send: Send) -> None:
        await asyncio.Event().wait()

    async def second(copy: Call, send: Send) -> None:
        seen.append(copy.held)
        await send(text("b"))
        copy.held = True

    async def send(event: LlmEvent) -> None:
        call.held = False  # lets go

    await hedge(call, send, silent, second, after_s=0, may=lambda: True)

    assert (seen, call.held) == ([False], False)


class Clock:
    """Shows the time that a test says."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("winner", "waited_s"),
    [
        ("a", 5.0),  # the first one's wait
        ("b", 7.0),  # two seconds alone, then the second one's five
    ],
)
async def test_time_that_both_were_waited_for_counts_once(winner: str, waited_s: float) -> None:
    clock, go_on = Clock(), asyncio.Event()

    def target(name: str, waits_s: float) -> Any:
        async def handler(call: Call, send: Send) -> None:
            try:
                await (go_on if name == winner else asyncio.Event()).wait()
            finally:
                call.upstream_s += waits_s
            await send(text(name))

        return handler

    def may() -> bool:
        clock.now += 2  # the head start
        go_on.set()
        return True

    async def send(event: LlmEvent) -> None: ...

    call = new_call()
    call.upstream_s = 1.0  # of targets before

    await hedge(call, send, target("a", 5.0), target("b", 5.0), after_s=0, may=may, clock=clock)

    assert call.upstream_s == 1.0 + waited_s


async def test_the_wait_never_comes_to_more_than_the_call_took() -> None:
    async def silent(call: Call, send: Send) -> None:
        began = asyncio.get_running_loop().time()
        try:
            await asyncio.Event().wait()
        finally:
            call.upstream_s += asyncio.get_running_loop().time() - began

    async def second(call: Call, send: Send) -> None:
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(0.02)
        call.upstream_s += asyncio.get_running_loop().time() - began
        await send(text("b"))

    async def send(event: LlmEvent) -> None: ...

    call, now = new_call(), asyncio.get_running_loop().time
    began = now()

    await hedge(call, send, silent, second, after_s=0.02, may=lambda: True, clock=now)

    lasted_s = now() - began
    assert 0.04 <= call.upstream_s <= lasted_s


async def test_a_loser_that_is_slow_to_leave_is_awaited_but_holds_up_nobody() -> None:
    may_leave, has_left, sent = asyncio.Event(), False, list[str]()

    async def slow(call: Call, send: Send) -> None:
        nonlocal has_left
        call.provider = "a"
        try:
            await asyncio.Event().wait()
        finally:
            await may_leave.wait()
            call.provider, has_left = "a", True

    async def second(call: Call, send: Send) -> None:
        call.provider = "b"
        await send(text("b"))
        may_leave.set()

    call = new_call()

    async def send(event: LlmEvent) -> None:
        sent.append(call.provider)

    await hedge(call, send, slow, second, after_s=0, may=lambda: True)

    assert (sent, has_left, call.provider) == (["b"], True, "b")


async def test_a_loser_that_is_slow_to_leave_ends_with_a_caller_who_hangs_up() -> None:
    leaving, left = asyncio.Event(), list[str]()

    async def slow(call: Call, send: Send) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            leaving.set()
            try:
                await asyncio.Event().wait()
            finally:
                left.append("b")

    first = Target("a", "say")
    call = new_call()

    async def send(event: LlmEvent) -> None: ...

    task = asyncio.ensure_future(hedge(call, send, first, slow, after_s=0, may=lambda: True))
    await settle()
    first.go_on()
    await leaving.wait()
    await settle()
    task.cancel()
    await asyncio.wait((task,))

    assert (task.cancelled(), left) == (True, ["b"])


async def test_a_loser_that_fails_when_it_is_cancelled_changes_nothing() -> None:
    async def sore(call: Call, send: Send) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise LlmError(PROVIDER_TIMEOUT, "sore")

    for is_first in (True, False):
        target = Target("t", "say")
        target.go_on()
        first, second = (target, sore) if is_first else (sore, target)
        sent: list[LlmEvent] = []

        async def send(event: LlmEvent, sent: list[LlmEvent] = sent) -> None:
            sent.append(event)

        await hedge(new_call(), send, first, second, after_s=0, may=lambda: True)

        assert sent == [text("t")]


async def test_a_loser_that_does_not_heed_its_end_is_not_heard() -> None:
    async def deaf(call: Call, send: Send) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await send(text("deaf"))

    for is_first in (True, False):
        target = Target("t", "say", "say")
        first, second = (target, deaf) if is_first else (deaf, target)
        sent: list[str] = []

        async def send(event: LlmEvent, sent: list[str] = sent) -> None:
            sent.append(event.text_delta.content)

        task = asyncio.ensure_future(hedge(new_call(), send, first, second, after_s=0, may=lambda: True))
        await settle()
        target.go_on()
        await settle()
        target.go_on()
        await task

        assert set(sent) == {"t"}


class BrokenError(Exception):
    """A mistake in a program."""


async def test_a_second_target_that_breaks_ends_the_first_one() -> None:
    async def broken(call: Call, send: Send) -> None:
        raise BrokenError

    first = Target("a", "say")
    caller_gone: list[LlmEvent] = []

    async def send(event: LlmEvent) -> None:
        caller_gone.append(event)

    with pytest.raises(BrokenError):
        await hedge(new_call(), send, first, broken, after_s=0, may=lambda: True)

    task = asyncio.current_task()
    assert task is not None
    assert (first.end, caller_gone, task.cancelling()) == ("cancelled", [], 0)


async def test_a_loser_that_breaks_when_it_is_cancelled_is_told_after_the_answer() -> None:
    async def broken(call: Call, send: Send) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise BrokenError

    sent: list[LlmEvent] = []

    async def send(event: LlmEvent) -> None:
        sent.append(event)

    first = Target("a", "say", "say")
    task = asyncio.ensure_future(hedge(new_call(), send, first, broken, after_s=0, may=lambda: True))
    await settle()
    first.go_on()
    await settle()
    first.go_on()
    await asyncio.wait((task,))

    assert (sent, type(task.exception())) == ([text("a")] * 2, BrokenError)


async def test_a_first_target_that_breaks_ends_the_second_one() -> None:
    go_on = asyncio.Event()

    async def broken(call: Call, send: Send) -> None:
        await go_on.wait()
        raise BrokenError

    def may() -> bool:
        asyncio.get_running_loop().call_soon(go_on.set)
        return True

    async def send(event: LlmEvent) -> None: ...

    second = Target("b", "say")
    with pytest.raises(BrokenError):
        await hedge(new_call(), send, broken, second, after_s=0, may=may)

    assert second.end == "cancelled"


async def test_what_sending_raises_reaches_the_caller_whoever_sends() -> None:
    async def gone(event: LlmEvent) -> None:
        raise BrokenError

    async def silent(call: Call, send: Send) -> None:
        await asyncio.Event().wait()

    async def speaks(call: Call, send: Send) -> None:
        await asyncio.sleep(0)
        await send(text("hi"))

    for first, second, after_s in ((silent, speaks, 0.0), (speaks, silent, 9.0)):
        with pytest.raises(BrokenError):
            await hedge(new_call(), gone, first, second, after_s=after_s, may=lambda: True)


async def test_a_time_limit_around_the_call_ends_both() -> None:
    first, second = Target("a", "say"), Target("b", "say")

    async def send(event: LlmEvent) -> None: ...

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await hedge(new_call(), send, first, second, after_s=0, may=lambda: True)

    assert (first.end, second.end) == ("cancelled", "cancelled")


async def test_a_time_limit_within_the_first_target_is_its_own_failure() -> None:
    async def limited(call: Call, send: Send) -> None:
        call.provider = "a"
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            failed.set()
            raise LlmError(PROVIDER_TIMEOUT, "a") from None

    failed = asyncio.Event()

    async def second(call: Call, send: Send) -> None:
        call.provider = "b"
        await failed.wait()
        await send(text("b"))

    async def send(event: LlmEvent) -> None: ...

    call = new_call()
    await hedge(call, send, limited, second, after_s=0, may=lambda: True)

    task = asyncio.current_task()
    assert task is not None
    assert (call.provider, task.cancelling()) == ("b", 0)


async def test_a_hedged_call_may_be_part_of_another_one() -> None:
    async def nested(call: Call, send: Send) -> None:
        await hedge(call, send, Target("a", "say"), Target("b", "say"), after_s=0, may=lambda: True)

    for is_first in (True, False):
        target = Target("c", "say")
        first, second = (target, nested) if is_first else (nested, target)
        call = new_call()
        sent: list[str] = []

        async def send(event: LlmEvent, sent: list[str] = sent) -> None:
            sent.append(event.text_delta.content)

        task = asyncio.ensure_future(hedge(call, send, first, second, after_s=0, may=lambda: True))
        await settle()
        target.go_on()
        await task

        assert (sent, call.provider, call.attempt) == (["c"], "c", 3)
