"""A target that fails is left alone for a while, and one call finds out whether it is well again."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_grpc.core.breaker import BESIDE, TABLE, Breaker, Event, State

C, O, H = State  # noqa: E741 - the table's columns


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Watched:
    """A breaker with its clock and the states that it has left."""

    def __init__(self, **settings: float) -> None:
        self.clock = Clock()
        self.left: list[State] = []
        self.breaker = Breaker(self.clock, on_change=self.left.append, **settings)  # type: ignore[arg-type]

    def fail(self, times: int = 1) -> None:
        for _ in range(times):
            self.breaker.failed(self.breaker.began())

    def succeed(self, times: int = 1) -> None:
        for _ in range(times):
            self.breaker.succeeded(self.breaker.began())

    def seen(self) -> tuple[State, bool]:
        """Returns the state before somebody asks, and whether a call may pass."""
        return self.breaker.state, self.breaker.allows()


def watched(state: State) -> Watched:
    """Makes a breaker that came to its state by calls and time; in half open the probe is under way."""
    new = Watched(consecutive_failures=2, open_s=15.0)
    if state is not C:
        new.fail(2)
    if state is H:
        new.clock.now += 15.0
        assert new.breaker.allows()
        new.breaker.began()
    new.left.clear()
    assert new.breaker.state is state
    return new


# The table

ROWS = [
    (Event.SUCCEEDED, C, C),
    (Event.SUCCEEDED, O, O),
    (Event.SUCCEEDED, H, C),
    (Event.FAILED, C, C),
    (Event.FAILED, O, O),
    (Event.FAILED, H, O),
    (Event.FAILED_TOO_OFTEN, C, O),
    (Event.FAILED_TOO_OFTEN, O, O),
    (Event.FAILED_TOO_OFTEN, H, O),
    (Event.TIME_PASSED, C, C),
    (Event.TIME_PASSED, O, H),
    (Event.TIME_PASSED, H, H),
]


def happen(event: Event, to: Watched) -> None:
    if event is Event.SUCCEEDED:
        to.breaker.succeeded()
    elif event is Event.TIME_PASSED:
        to.clock.now += 15.0
        to.breaker.allows()
    else:
        for _ in range(1 if event is Event.FAILED else 2):
            to.breaker.failed()


@pytest.mark.parametrize(("event", "before", "after"), ROWS, ids=[f"{row[0].name.lower()}-{row[1]}" for row in ROWS])
def test_an_event_leads_where_its_row_says(event: Event, before: State, after: State) -> None:
    breaker = watched(before)

    happen(event, breaker)

    assert breaker.breaker.state is after
    assert breaker.left == ([before] if after is not before else [])


def test_every_event_and_state_has_its_row_here() -> None:
    assert {(event, before): after for event, before, after in ROWS} == {
        (event, before): after for event, row in TABLE.items() for before, after in row.items()
    }
    assert [state.value for state in State] == ["closed", "open", "half_open"]


def test_the_change_is_told_when_it_is_made() -> None:
    new = Watched(consecutive_failures=1)
    told: list[tuple[State, State]] = []
    new.breaker.on_change = lambda before: told.append((before, new.breaker.state))

    new.fail()
    new.clock.now += 15.0
    new.succeed()

    assert told == [(C, O), (O, H), (H, C)]


# Opening


def test_failures_in_a_row_open_it() -> None:
    new = Watched()

    new.fail(4)
    assert new.seen() == (C, True)
    new.fail()

    assert new.seen() == (O, False)


def test_a_success_ends_the_row() -> None:
    new = Watched(min_calls=100)

    for _ in range(10):
        new.fail(4)
        new.succeed()

    assert new.seen() == (C, True)


@pytest.mark.parametrize(
    ("succeeded", "failed", "state"),
    [
        pytest.param(6, 4, C, id="less than the share"),
        pytest.param(5, 4, C, id="too few calls to tell"),
        pytest.param(5, 5, O, id="just the share"),
        pytest.param(4, 5, C, id="more than the share of too few calls"),
        pytest.param(4, 6, O, id="more than the share"),
        pytest.param(100, 99, C, id="many calls and nearly the share"),
        pytest.param(100, 100, O, id="many calls and the share"),
    ],
)
def test_a_share_of_failures_opens_it(succeeded: int, failed: int, state: State) -> None:
    new = Watched(consecutive_failures=1000)

    new.succeed(succeeded)
    new.fail(failed)

    assert new.breaker.state is state


def test_a_success_never_opens_it() -> None:
    new = Watched(consecutive_failures=1000, failure_rate=0.2)

    new.fail(9)
    new.succeed()

    assert new.seen() == (C, True)


def test_failures_that_have_left_the_window_are_forgotten() -> None:
    new = Watched(consecutive_failures=1000)

    new.fail(9)
    new.clock.now += 30.0
    new.succeed(5)
    new.fail(4)

    assert new.seen() == (C, True)


def test_who_is_let_go_says_nothing() -> None:
    new = Watched(consecutive_failures=2, min_calls=2, failure_rate=1.0)

    new.fail()
    for _ in range(100):
        new.breaker.let_go(new.breaker.began())
    assert new.seen() == (C, True)
    new.fail()

    assert new.seen() == (O, False)


# Open, half open, and closed again


def test_an_open_breaker_lets_nobody_through_before_its_time() -> None:
    new = watched(O)

    seen = []
    for later in (0.0, 14.9, 0.1):
        new.clock.now += later
        seen.append(new.seen())

    assert seen == [(O, False), (O, False), (O, True)]
    assert new.breaker.state is H


def test_what_fails_while_it_is_open_does_not_keep_it_open() -> None:
    new = watched(O)
    new.clock.now += 10.0

    new.fail(10)
    new.clock.now += 5.0

    assert new.breaker.allows()


def test_one_probe_at_a_time_passes_a_half_open_breaker() -> None:
    new = watched(O)
    new.clock.now += 15.0

    assert (new.breaker.allows(), new.breaker.allows()) == (True, True)
    new.breaker.began()

    assert not new.breaker.allows()


def test_a_probe_that_succeeds_closes_it_for_all() -> None:
    new = watched(H)

    new.breaker.succeeded()

    assert new.seen() == (C, True)
    new.fail()
    assert new.seen() == (C, True)  # what failed before it opened is forgotten


def test_the_share_of_failures_is_counted_anew_after_a_change() -> None:
    new = Watched(consecutive_failures=1000, open_s=1.0)
    new.fail(10)
    new.clock.now += 1.0
    new.succeed()

    new.fail(9)
    assert new.seen() == (C, True)
    new.fail()

    assert new.seen() == (O, False)


def test_a_probe_that_fails_opens_it_for_the_whole_time_again() -> None:
    new = watched(H)
    new.clock.now += 7.0

    new.breaker.failed()

    new.clock.now += 14.9
    assert new.seen() == (O, False)
    new.clock.now += 0.1
    assert new.seen() == (O, True)


def test_a_probe_that_is_let_go_makes_room_for_another() -> None:
    new = watched(H)

    new.breaker.let_go()

    assert new.seen() == (H, True)


# Calls that the breaker did not ask for, or that began before it changed


@pytest.mark.parametrize("end", ["succeeded", "failed", "let_go"])
@pytest.mark.parametrize("state", [O, H])
def test_a_call_from_before_the_change_says_nothing(state: State, end: str) -> None:
    new = Watched(consecutive_failures=1)
    ticket = new.breaker.began()
    new.fail()
    if state is H:
        new.clock.now += 15.0
        new.breaker.began()

    getattr(new.breaker, end)(ticket)

    assert new.seen() == (state, False)


@pytest.mark.parametrize("end", ["succeeded", "failed", "let_go"])
def test_a_call_beside_the_probe_says_nothing(end: str) -> None:
    new = watched(H)

    ticket = new.breaker.began()
    getattr(new.breaker, end)(ticket)

    assert ticket == BESIDE
    assert new.seen() == (H, False)


def test_a_call_that_begins_when_the_time_is_over_is_the_probe_whether_or_not_it_asked() -> None:
    new = watched(O)
    new.clock.now += 15.0

    new.breaker.succeeded(new.breaker.began())

    assert new.seen() == (C, True)


def test_many_calls_that_fail_together_open_it_once() -> None:
    new = Watched()
    tickets = [new.breaker.began() for _ in range(100)]

    for ticket in tickets:
        new.breaker.failed(ticket)
        new.clock.now += 0.1

    assert (new.breaker.state, new.left) == (O, [C])
    new.clock.now += 15.0 - 96 * 0.1 - 0.01  # the fifth opened it
    assert new.seen() == (O, False)
    new.clock.now += 0.02
    assert new.seen() == (O, True)


# Whatever happens

ENDS = ("succeeded", "failed", "let_go")
STEPS = st.lists(
    st.tuples(st.sampled_from(("ask", "insist", *ENDS)), st.floats(0.0, 6.0), st.integers(0, 9)), max_size=120
)


@given(STEPS)
def test_nobody_passes_early_and_one_at_a_time_probes(steps: list[tuple[str, float, int]]) -> None:
    new = Watched(consecutive_failures=2, min_calls=4, window_s=10.0)
    breaker, clock = new.breaker, new.clock
    opened_at = 0.0
    under_way: list[tuple[int, tuple[int, State] | None]] = []  # tickets, and for calls that passed since which change

    for what, pause, chosen in steps:
        clock.now += pause
        before = breaker.state
        if what not in ENDS:
            passes = breaker.allows()
            since = (len(new.left), breaker.state)
            is_probed = any(passed == since for _, passed in under_way)
            assert passes is (breaker.state is C or (breaker.state is H and not is_probed))
            assert (breaker.state is O) is (before is O and clock.now < opened_at + 15.0)
            if passes or what == "insist":
                under_way.append((breaker.began(), since if passes else None))
        elif under_way:
            getattr(breaker, what)(under_way.pop(chosen % len(under_way))[0])
            opened_at = clock.now if breaker.state is O and before is not O else opened_at
        assert set(pairwise([*new.left, breaker.state])) <= {(C, O), (O, H), (H, C), (H, O)}


@given(st.lists(st.tuples(st.booleans(), st.floats(0.0, 1.0)), max_size=200))
def test_it_opens_exactly_when_the_counts_say_so(ends: list[tuple[bool, float]]) -> None:
    new = Watched(consecutive_failures=4, failure_rate=0.5, min_calls=6, window_s=10.0)
    counted: list[tuple[float, bool]] = []

    for is_success, pause in ends:
        new.clock.now += pause
        counted.append((new.clock.now, is_success))
        (new.succeed if is_success else new.fail)()

        lately = [good for moment, good in counted if int(moment) > int(new.clock.now) - 10]
        in_a_row = len(counted) >= 4 and not any(good for _, good in counted[-4:])
        is_bad = len(lately) >= 6 and lately.count(False) * 2 >= len(lately)
        if not is_success and (in_a_row or is_bad):
            assert new.seen() == (O, False)
            return
        assert new.seen() == (C, True)
