"""So many calls at a time, so many in the line, and every place is handed on."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_grpc.core.admission import Admission
from loom_grpc.core.errors import RATE_LIMITED, LlmError
from tests.loop import settle


class Visit:
    """A call that enters, and stays until it is told to leave."""

    def __init__(self, admission: Admission, timeout_s: float | None = None) -> None:
        self.is_inside = False
        self.refused: LlmError | None = None
        self._may_leave = asyncio.Event()
        self.entered = asyncio.Event()
        self.task = asyncio.create_task(self._stay(admission, timeout_s))

    async def _stay(self, admission: Admission, timeout_s: float | None) -> None:
        try:
            async with admission.enter(timeout_s):
                self.is_inside = True
                self.entered.set()
                try:
                    await self._may_leave.wait()
                finally:
                    self.is_inside = False
        except LlmError as error:
            self.refused = error

    def leave(self) -> None:
        self._may_leave.set()

    async def left(self) -> None:
        self.leave()
        await self.task


async def visits(admission: Admission, number: int) -> list[Visit]:
    made = [Visit(admission) for _ in range(number)]
    await settle()
    return made


async def test_as_many_as_allowed_are_inside_and_the_others_wait() -> None:
    admission = Admission(2, 3)

    made = await visits(admission, 5)

    assert [visit.is_inside for visit in made] == [True, True, False, False, False]
    assert (admission.inside, admission.waiting) == (2, 3)
    for visit in made:
        await visit.left()
    assert (admission.inside, admission.waiting) == (0, 0)


async def test_who_came_first_is_admitted_first() -> None:
    admission = Admission(1, 4)
    made = await visits(admission, 5)

    seen = []
    for visit in made:
        await settle()
        seen.append([other.is_inside for other in made].index(True))
        await visit.left()

    assert seen == [0, 1, 2, 3, 4]


async def test_a_place_that_was_handed_on_cannot_be_taken_by_who_comes_later() -> None:
    admission = Admission(1, 4)
    first, second = await visits(admission, 2)

    await first.left()
    late = Visit(admission)
    await settle()

    assert (second.is_inside, late.is_inside) == (True, False)
    await second.left()
    await late.left()


@pytest.mark.parametrize(
    ("queue", "message"),
    [
        (2, "1 calls to openai/gpt-5 are under way and 2 wait; try again later."),
        (0, "1 calls to openai/gpt-5 are under way and none may wait; try again later."),
    ],
)
async def test_a_full_line_refuses_at_once(queue: int, message: str) -> None:
    admission = Admission(1, queue, name="openai/gpt-5")
    made = await visits(admission, 1 + queue)

    with pytest.raises(LlmError) as caught:
        async with admission.enter():
            raise AssertionError("nobody enters")

    error = caught.value
    assert (error.reason, error.message, error.retry_after) == (RATE_LIMITED, message, 1.0)
    assert error.metadata == {"target": "openai/gpt-5"}
    assert (admission.inside, admission.waiting) == (1, queue)
    for visit in made:
        await visit.left()


@pytest.mark.parametrize("timeout_s", [0.0, 0.01])
async def test_who_waited_too_long_is_refused_and_leaves_the_line(timeout_s: float) -> None:
    admission = Admission(1, 1, name="ollama/llama")
    [first] = await visits(admission, 1)

    with pytest.raises(LlmError) as caught:
        async with admission.enter(timeout_s):
            raise AssertionError("nobody enters")

    words = f"A call to ollama/llama waited {timeout_s:g} s for its turn, with 1 under way; try again later."
    assert (caught.value.reason, caught.value.message, caught.value.retry_after) == (RATE_LIMITED, words, 1.0)
    assert (admission.inside, admission.waiting) == (1, 0)
    await first.left()
    assert admission.inside == 0


async def test_no_time_to_wait_is_enough_where_a_place_is_free() -> None:
    admission = Admission(1, 0)

    visit = Visit(admission, timeout_s=0.0)
    await settle()

    assert visit.is_inside
    await visit.left()


async def test_the_time_to_wait_does_not_bound_the_visit() -> None:
    admission = Admission(1, 1)
    [first] = await visits(admission, 1)
    second = Visit(admission, timeout_s=0.2)
    await settle()
    await first.left()
    await second.entered.wait()

    done, _ = await asyncio.wait({second.task}, timeout=0.25)

    assert (done, second.is_inside) == (set(), True)
    await second.left()


async def test_a_call_s_own_time_out_stays_what_it_is() -> None:
    admission = Admission(1, 0)

    with pytest.raises(TimeoutError, match="mine"):
        async with admission.enter(1.0):
            raise TimeoutError("mine")

    assert admission.inside == 0


async def test_who_is_cancelled_while_waiting_leaves_the_line() -> None:
    admission = Admission(1, 2)
    first, second, third = await visits(admission, 3)

    second.task.cancel()
    await settle()
    assert (admission.inside, admission.waiting) == (1, 1)
    await first.left()
    await settle()

    assert third.is_inside
    await third.left()


async def test_a_place_handed_to_a_call_that_is_cancelled_goes_to_the_next() -> None:
    admission = Admission(1, 2)
    first, second, third = await visits(admission, 3)

    await first.left()  # the place is the second's now, which has not noticed
    second.task.cancel()
    await settle()

    assert (second.task.cancelled(), third.is_inside, admission.inside) == (True, True, 1)
    await third.left()
    assert (admission.inside, admission.waiting) == (0, 0)


async def test_a_place_left_while_the_first_in_the_line_is_being_cancelled_goes_to_the_next() -> None:
    admission = Admission(1, 2)
    first, second, third = await visits(admission, 3)

    second.task.cancel()
    await first.left()
    await settle()

    assert (second.task.cancelled(), third.is_inside, admission.inside) == (True, True, 1)
    await third.left()


async def test_who_is_cancelled_inside_hands_the_place_on() -> None:
    admission = Admission(1, 1)
    first, second = await visits(admission, 2)

    first.task.cancel()
    await settle()

    assert (second.is_inside, admission.inside) == (True, 1)
    await second.left()


STEPS = st.lists(
    st.tuples(st.sampled_from(("enter", "enter", "hasty", "leave", "cancel", "settle", "tick")), st.integers(0, 30)),
    max_size=80,
)


@given(st.integers(1, 3), st.integers(0, 4), STEPS)
def test_no_place_is_lost_or_taken_twice_whatever_happens(most: int, queue: int, steps: list[tuple[str, int]]) -> None:
    asyncio.run(at_random(most, queue, steps))


async def at_random(most: int, queue: int, steps: list[tuple[str, int]]) -> None:
    admission = Admission(most, queue)
    made: list[Visit] = []
    for what, chosen in steps:
        if what in ("enter", "hasty"):
            made.append(Visit(admission, timeout_s=0.0 if what == "hasty" else None))
        elif what == "tick":
            await asyncio.sleep(0)
        elif what == "settle":
            await settle()
            check_at_rest(admission, made, most)
        elif made:
            visit = made[chosen % len(made)]
            (visit.leave if what == "leave" else visit.task.cancel)()
        assert sum(visit.is_inside for visit in made) <= admission.inside <= most
        assert admission.waiting <= queue

    for visit in made:
        visit.leave()
    await asyncio.gather(*(visit.task for visit in made), return_exceptions=True)
    assert (admission.inside, admission.waiting) == (0, 0)
    again = await visits(admission, most)
    assert all(visit.is_inside for visit in again)
    await asyncio.gather(*(visit.left() for visit in again))


def check_at_rest(admission: Admission, made: list[Visit], most: int) -> None:
    """Checks what holds when everything that can happen has happened."""
    present = [visit for visit in made if not visit.task.done()]
    inside = [visit.is_inside for visit in present]
    assert sum(inside) == admission.inside
    assert len(present) == admission.inside + admission.waiting
    assert admission.waiting == 0 or admission.inside == most
    assert inside == sorted(inside, reverse=True)  # nobody is inside who came after one who waits
