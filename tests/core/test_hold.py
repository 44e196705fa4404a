"""The beginning of a stream waits until there is enough of it or it has waited for long enough, and then nothing is held any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from time import perf_counter

import pytest

from loom_grpc.core.call import Call
from loom_grpc.core.errors import PROVIDER_BAD_RESPONSE, PROVIDER_TIMEOUT, LlmError
from loom_grpc.core.hold import HoldBack
from loom_grpc.v1.llm_service_pb2 import (
    Completed,
    LlmEvent,
    LlmRequest,
    ServerQuery,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
)
from loom_grpc.v1.message_pb2 import Media, Part
from tests.loop import nothing_left, settle, standing_still

NEVER_S = 60.0
SOON_S = 0.01
BROKEN = LlmError(PROVIDER_BAD_RESPONSE, "It broke off.")
STARTED = LlmEvent(started=Started(id="1"))
AGAIN = LlmEvent(started=Started(id="2"))
DONE = LlmEvent(completed=Completed())


@pytest.fixture(autouse=True)
async def nothing_is_left() -> AsyncIterator[None]:
    async with nothing_left():
        yield


def text(content: str) -> LlmEvent:
    return LlmEvent(text_delta=TextDelta(content=content))


class GoneError(Exception):
    """Nobody takes events any more."""


class Caller:
    """Takes events, one after the other; it can be busy, and it can go away."""

    def __init__(self) -> None:
        self.call = Call(LlmRequest(), stream=True, request_id="r")
        self.got: list[LlmEvent] = []
        self.held: list[bool] = []
        """What the call said when the events came."""
        self.came = asyncio.Event()
        self.has_room = asyncio.Event()
        self.has_room.set()
        self.is_gone = False

    async def send(self, event: LlmEvent) -> None:
        self.held.append(self.call.held)
        self.came.set()
        await self.has_room.wait()
        if self.is_gone:
            raise GoneError
        self.got.append(event)

    def hold(self, tokens: int = 1000, seconds: float = NEVER_S) -> HoldBack:
        return HoldBack(self.call, self.send, tokens=tokens, seconds=seconds)


async def send_all(hold: HoldBack, *events: LlmEvent) -> None:
    for event in events:
        await hold.send(event)


async def test_events_wait_until_they_have_as_many_tokens() -> None:
    caller = Caller()
    async with caller.hold(tokens=3) as hold:
        await send_all(hold, STARTED, text("1234"), text("5678"), text("901"))
        before = (list(caller.got), caller.call.held)
        await hold.send(text("2"))
        after = (list(caller.got), caller.call.held)
        await hold.send(DONE)

    assert before == ([], True)
    assert after == ([STARTED, text("1234"), text("5678"), text("901"), text("2")], False)
    assert (caller.got[5:], set(caller.held)) == ([DONE], {False})


@pytest.mark.parametrize(
    "event",
    [
        text("12345678"),
        text("äöüß"),
        LlmEvent(thinking_delta=ThinkingDelta(content="12345678")),
        LlmEvent(tool_call_delta=ToolCallDelta(arguments_fragment='{"a": 1}')),
        LlmEvent(part=Part(image=Media(data=b"12345678"))),
        LlmEvent(server_query=ServerQuery(id="q")),
        DONE,
    ],
    ids=lambda event: event.WhichOneof("event"),
)
async def test_whatever_is_enough_lets_all_go(event: LlmEvent) -> None:
    caller = Caller()
    async with caller.hold(tokens=2) as hold:
        await send_all(hold, STARTED, event)

        assert (caller.got, caller.call.held) == ([STARTED, event], False)


async def test_nothing_waits_longer_than_the_time_though_the_provider_is_silent() -> None:
    caller = Caller()
    async with caller.hold(seconds=SOON_S) as hold:
        await send_all(hold, STARTED, text("a"))
        before = list(caller.got)
        await caller.came.wait()
        await settle()
        after = list(caller.got)
        await send_all(hold, text("b"), DONE)

    assert (before, after) == ([], [STARTED, text("a")])
    assert (caller.got[2:], set(caller.held)) == ([text("b"), DONE], {False})


async def test_the_time_does_not_begin_before_the_first_event() -> None:
    caller = Caller()
    async with caller.hold(seconds=0.0) as hold:
        await settle()

        assert caller.call.held
        await hold.send(STARTED)
        await settle()
        assert caller.got == [STARTED]


async def test_an_answer_that_begins_anew_replaces_what_is_held() -> None:
    caller = Caller()
    async with caller.hold(tokens=3) as hold:
        await send_all(hold, STARTED, text("12345678"))
        await send_all(hold, AGAIN, text("abcdefgh"))
        before = list(caller.got)
        await send_all(hold, text("ijkl"), DONE)

    assert (before, caller.got) == ([], [AGAIN, text("abcdefgh"), text("ijkl"), DONE])


async def test_what_a_provider_says_in_its_own_words_is_replaced_by_the_next_attempts() -> None:
    caller = Caller()
    first, second = LlmEvent(native_json=b"1"), LlmEvent(native_json=b"2")
    async with caller.hold(tokens=3) as hold:
        caller.call.attempt = 1
        await send_all(hold, first, STARTED, text("12345678"))
        caller.call.attempt = 2
        await send_all(hold, second)
        await send_all(hold, AGAIN, text("abcdefgh"))
        before = list(caller.got)
        await send_all(hold, text("ijkl"), second, DONE)

    assert (before, caller.got) == ([], [second, AGAIN, text("abcdefgh"), text("ijkl"), second, DONE])


async def test_beginning_anew_does_not_give_it_more_time() -> None:
    caller = Caller()
    with standing_still() as clock:
        async with caller.hold(seconds=SOON_S) as hold:
            await send_all(hold, STARTED, text("a"))
            clock.go_on(0.9 * SOON_S)
            await send_all(hold, AGAIN, text("b"))
            await settle()
            before = list(caller.got)
            clock.go_on(0.2 * SOON_S)
            await settle()
            after = list(caller.got)

    assert (before, after) == ([], [AGAIN, text("b")])


async def test_what_is_left_of_an_answer_that_broke_off_is_not_let_go_when_the_time_is_over() -> None:
    caller = Caller()
    async with caller.hold(seconds=0.0) as hold:
        await send_all(hold, STARTED, text("a"))
        caller.call.responded = False  # another one is asked instead, and is silent
        await settle()
        between = (list(caller.got), caller.call.held)
        await send_all(hold, AGAIN, text("b"), DONE)

    assert between == ([], False)
    assert caller.got == [AGAIN, text("b"), DONE]


async def test_an_answer_of_which_something_was_shown_is_not_replaced() -> None:
    caller = Caller()
    async with caller.hold(tokens=1) as hold:
        await send_all(hold, STARTED, text("1234"), AGAIN, DONE)

    assert caller.got == [STARTED, text("1234"), AGAIN, DONE]


async def test_an_error_while_all_is_held_shows_nothing_of_the_answer() -> None:
    caller = Caller()

    async def answer() -> None:
        async with caller.hold(seconds=SOON_S) as hold:
            await send_all(hold, STARTED, text("a"))
            raise BROKEN

    with pytest.raises(LlmError) as caught:
        await answer()
    await asyncio.sleep(2 * SOON_S)

    assert caught.value is BROKEN
    assert (caller.got, caller.call.held, caller.call.responded) == ([], False, False)


async def test_an_error_after_it_let_go_leaves_the_answer_begun() -> None:
    caller = Caller()

    async def answer() -> None:
        async with caller.hold(tokens=1) as hold:
            await send_all(hold, STARTED, text("1234"))
            raise BROKEN

    with pytest.raises(LlmError):
        await answer()

    assert (caller.got, caller.call.held, caller.call.responded) == ([STARTED, text("1234")], False, True)


async def test_what_is_held_of_an_answer_without_an_end_is_sent_at_last() -> None:
    caller = Caller()
    async with caller.hold() as hold:
        await send_all(hold, STARTED, text("a"))

    assert caller.got == [STARTED, text("a")]


async def test_what_comes_while_the_time_is_over_keeps_its_place_and_waits_for_room() -> None:
    caller = Caller()
    caller.has_room.clear()
    async with caller.hold(seconds=0.0) as hold:
        await send_all(hold, STARTED, text("a"))
        await caller.came.wait()
        sending = asyncio.ensure_future(send_all(hold, text("b"), text("c")))
        await settle()
        is_waiting = not sending.done()
        caller.has_room.set()
        await sending

    assert is_waiting
    assert caller.got == [STARTED, text("a"), text("b"), text("c")]


async def test_an_error_while_the_caller_is_busy_comes_after_what_was_let_go() -> None:
    caller = Caller()
    caller.has_room.clear()

    async def answer() -> None:
        async with caller.hold(seconds=0.0) as hold:
            await send_all(hold, STARTED, text("a"))
            await caller.came.wait()
            raise BROKEN

    answering = asyncio.ensure_future(answer())
    await settle()
    is_waiting = not answering.done()
    caller.has_room.set()
    await asyncio.wait((answering,))

    assert is_waiting
    assert (caller.got, answering.exception()) == ([STARTED, text("a")], BROKEN)


async def test_a_caller_who_is_gone_when_the_time_is_over_is_known_at_the_next_event() -> None:
    caller = Caller()
    caller.is_gone = True

    async def answer() -> None:
        async with caller.hold(seconds=0.0) as hold:
            await send_all(hold, STARTED, text("a"))
            await settle()
            with pytest.raises(GoneError):
                await hold.send(text("b"))
            await hold.send(text("c"))

    with pytest.raises(GoneError):
        await answer()

    assert (caller.got, len(caller.held)) == ([], 1)


@pytest.mark.parametrize("error", [None, BROKEN])
async def test_a_caller_who_is_gone_when_the_time_is_over_is_known_at_the_end(error: LlmError | None) -> None:
    caller = Caller()
    caller.is_gone = True

    async def answer() -> None:
        async with caller.hold(seconds=0.0) as hold:
            await send_all(hold, STARTED, text("a"))
            await settle()
            if error is not None:
                raise error

    with pytest.raises(GoneError):
        await answer()


async def test_cancelling_is_not_lost_on_a_caller_who_is_gone() -> None:
    caller = Caller()
    caller.is_gone = True

    async def answer() -> None:
        async with caller.hold(seconds=0.0) as hold:
            await send_all(hold, STARTED, text("a"))
            await asyncio.Event().wait()

    answering = asyncio.ensure_future(answer())
    await caller.came.wait()
    await settle()
    answering.cancel()
    await asyncio.wait((answering,))

    assert answering.cancelled()


async def test_a_caller_who_is_gone_when_it_is_enough_is_known_at_once() -> None:
    caller = Caller()
    caller.is_gone = True
    with pytest.raises(GoneError):
        async with caller.hold(tokens=1) as hold:
            await send_all(hold, STARTED, text("1234"))

    assert (caller.got, len(caller.held)) == ([], 1)


@pytest.mark.parametrize(("tokens", "seconds"), [(1000, 0.0), (1, NEVER_S)], ids=["time", "enough"])
async def test_cancelling_while_the_caller_is_busy_ends_the_sending(tokens: int, seconds: float) -> None:
    caller = Caller()
    caller.has_room.clear()

    async def answer() -> None:
        async with caller.hold(tokens, seconds) as hold:
            await send_all(hold, STARTED, text("1234"))
            await asyncio.Event().wait()

    answering = asyncio.ensure_future(answer())
    await caller.came.wait()
    answering.cancel()
    await asyncio.wait((answering,))
    caller.has_room.set()
    await settle()

    assert (answering.cancelled(), caller.got, len(caller.held)) == (True, [], 1)


async def test_cancelling_an_event_that_waits_for_its_place_ends_the_sending() -> None:
    caller = Caller()
    caller.has_room.clear()

    async def answer() -> None:
        async with caller.hold(seconds=0.0) as hold:
            await send_all(hold, STARTED, text("a"))
            await caller.came.wait()
            await hold.send(text("b"))

    answering = asyncio.ensure_future(answer())
    await caller.came.wait()
    await settle()
    answering.cancel()
    await asyncio.wait((answering,))

    assert (answering.cancelled(), caller.got) == (True, [])


async def test_a_time_limit_of_the_provider_does_not_lose_what_was_let_go() -> None:
    """A limit cancels who sends, and becomes an error before the hold-back ends."""
    caller = Caller()
    caller.has_room.clear()

    async def answer() -> None:
        async with caller.hold(seconds=0.0) as hold:
            await send_all(hold, STARTED, text("a"))
            await caller.came.wait()
            try:
                async with asyncio.timeout(SOON_S):
                    await hold.send(text("b"))
            except TimeoutError:
                caller.has_room.set()
                raise LlmError(PROVIDER_TIMEOUT, "Too long.") from None

    with pytest.raises(LlmError):
        await answer()

    assert caller.got == [STARTED, text("a")]


async def test_cancelling_while_all_is_held_drops_it() -> None:
    caller = Caller()

    async def answer() -> None:
        async with caller.hold(seconds=SOON_S) as hold:
            await send_all(hold, STARTED, text("a"))
            await asyncio.Event().wait()

    answering = asyncio.ensure_future(answer())
    await settle()
    answering.cancel()
    await asyncio.wait((answering,))
    await asyncio.sleep(2 * SOON_S)

    assert (answering.cancelled(), caller.got) == (True, [])


async def test_another_one_that_holds_back_does_not_hold_what_this_one_let_go() -> None:
    """A route within a route may hold back too; which of the two holds is for each of them to know."""
    caller = Caller()
    async with caller.hold(tokens=1) as outer:
        await send_all(outer, STARTED, text("1234"))
        async with HoldBack(caller.call, outer.send, tokens=2, seconds=NEVER_S) as inner:
            await send_all(inner, AGAIN, text("1234"))
            held = list(caller.got)
            await send_all(inner, DONE)

    assert (held, caller.got[2:]) == ([STARTED, text("1234")], [AGAIN, text("1234"), DONE])


async def test_an_event_costs_nothing_once_all_was_let_go() -> None:
    sent = asyncio.get_running_loop().create_future()
    sent.set_result(None)
    async with HoldBack(Caller().call, lambda _event: sent, tokens=1, seconds=NEVER_S) as hold:
        await hold.send(text("1234"))

        assert hold.send(text("5")) is sent


async def test_ten_thousand_events_pass_in_order_and_at_once() -> None:
    caller = Caller()
    events = [text(str(number)) for number in range(10_000)]
    began = perf_counter()
    async with caller.hold(tokens=2000) as hold:
        await send_all(hold, *events)
    lasted_s = perf_counter() - began

    assert caller.got == events
    assert lasted_s < 1  # some 30 ms; a timer or a task for each event would show
