"""What may be asked again is a share of what was asked, and a little beside."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_grpc.core.budget import RetryBudget


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def granted(budget: RetryBudget, asked: int) -> int:
    return sum(budget.spend() for _ in range(asked))


def earned(budget: RetryBudget, first: int) -> RetryBudget:
    for _ in range(first):
        budget.earn()
    return budget


@pytest.mark.parametrize(
    ("share", "floor", "first", "repetitions"),
    [
        pytest.param(0.2, 3, 0, 3, id="without a call, the floor"),
        pytest.param(0.2, 3, 4, 3, id="less than a whole call is none"),
        pytest.param(0.2, 3, 5, 4, id="a share beside the floor"),
        pytest.param(0.2, 3, 1000, 203, id="in an outage, a share"),
        pytest.param(0.5, 0, 1, 0, id="half a call and no floor"),
        pytest.param(0.5, 0, 2, 1, id="one whole call and no floor"),
        pytest.param(1.0, 0, 7, 7, id="as many as were asked"),
        pytest.param(0.0, 0, 1000, 0, id="none at all"),
    ],
)
def test_repetitions_are_a_share_of_the_first_attempts_and_the_floor(
    share: float, floor: int, first: int, repetitions: int
) -> None:
    budget = earned(RetryBudget(share, Clock(), floor=floor), first)

    assert granted(budget, 2000) == repetitions


def test_what_was_refused_is_not_counted() -> None:
    budget = RetryBudget(1.0, Clock(), floor=0)
    assert granted(budget, 100) == 0

    budget.earn()

    assert granted(budget, 100) == 1


def test_a_spent_budget_comes_back_when_the_window_has_passed() -> None:
    clock = Clock()
    budget = RetryBudget(0.0, clock, floor=3, window_s=10.0)

    seen = []
    for now in (0.0, 9.9, 10.0, 19.9, 20.0):
        clock.now = now
        seen.append(granted(budget, 5))

    assert seen == [3, 0, 3, 0, 3]


def test_calls_of_long_ago_earn_nothing() -> None:
    clock = Clock()
    budget = earned(RetryBudget(0.5, clock, floor=1, window_s=10.0), 100)

    clock.now = 10.0

    assert granted(budget, 100) == 1


Step = tuple[float, bool]


@given(st.floats(0.0, 1.0), st.integers(0, 5), st.lists(st.tuples(st.floats(0.0, 3.0), st.booleans()), max_size=150))
def test_no_window_ever_has_more_repetitions_than_its_share_when_one_is_granted(
    share: float, floor: int, steps: list[Step]
) -> None:
    clock = Clock()
    budget = RetryBudget(share, clock, floor=floor, window_s=10.0)
    first: list[float] = []
    repeated: list[float] = []

    for pause, is_first in steps:
        clock.now += pause
        if is_first:
            budget.earn()
            first.append(clock.now)
        elif budget.spend():
            repeated.append(clock.now)
            oldest = int(clock.now) - 9
            lately = [sum(moment >= oldest for moment in moments) for moments in (first, repeated)]
            assert lately[1] <= share * lately[0] + floor
