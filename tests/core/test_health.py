"""Every event has its row, every pause its end, and every count its cause."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from loom_grpc.core.errors import (
    ACCOUNT_EXISTS,
    ACCOUNT_NOT_FOUND,
    BUDGET_EXCEEDED,
    CONFLICT,
    CONTENT_BLOCKED,
    CONTEXT_TOO_LONG,
    DRAINING,
    INTERNAL,
    INVALID_REQUEST,
    LOGIN_EXCHANGE_FAILED,
    LOGIN_STATE_INVALID,
    LOOP_DETECTED,
    MODEL_NOT_FOUND,
    NOT_FOUND,
    PERMISSION_DENIED,
    PROVIDER_AUTH_FAILED,
    PROVIDER_BAD_RESPONSE,
    PROVIDER_NOT_CONFIGURED,
    PROVIDER_QUOTA_EXCEEDED,
    PROVIDER_RATE_LIMITED,
    PROVIDER_TIMEOUT,
    PROVIDER_UNAVAILABLE,
    RATE_LIMITED,
    STORAGE_UNAVAILABLE,
    TOOL_DENIED,
    UNAUTHENTICATED,
    LlmError,
    reason_name,
)
from loom_grpc.core.errors import TABLE as REASONS
from loom_grpc.core.health import TABLE, Condition, Counts, Event, Health, Standing, event_of
from loom_grpc.v1.error_pb2 import ErrorReason
from loom_grpc.v1.usage_pb2 import Usage

A, C, R, O = Condition.AVAILABLE, Condition.COOLING, Condition.REFUSED, Condition.OFF  # noqa: E741 - the table's columns

DOWN = LlmError(PROVIDER_UNAVAILABLE, "Down.")
BURST = LlmError(PROVIDER_RATE_LIMITED, "Too often.", retry_after=2.0)
SPENT = LlmError(PROVIDER_QUOTA_EXCEEDED, "Used up.")
SPENT_UNTIL = LlmError(PROVIDER_QUOTA_EXCEEDED, "Used up.", retry_after=90.0)
DENIED = LlmError(PROVIDER_AUTH_FAILED, "No.")
BAD_CALL = LlmError(INVALID_REQUEST, "What?")


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Watched:
    """An account's health, its clock, and the conditions that it told it had left."""

    def __init__(self, standing: Standing | None = None, *, now: float = 1000.0, window_s: float = 3600.0) -> None:
        self.clock = Clock(now)
        self.left: list[Condition] = []
        self.health = Health(self.clock, cooldown_s=7200.0, window_s=window_s)
        if standing is not None:
            self.health.adopt(standing)
        self.health.on_change = self.left.append

    def call(self, error: LlmError | None = None, usage: Usage | None = None, *, lenient: bool = False) -> None:
        self.health.begin()
        self.health.end(error, usage, lenient=lenient)


# The table

BEFORE = {
    A: Standing(A, 500.0, 0.0, "Old.", 400.0),
    C: Standing(C, 500.0, 1050.0, "Old.", 400.0),
    R: Standing(R, 500.0, 0.0, "Old.", 400.0),
    O: Standing(O, 500.0, 0.0, "Old.", 400.0),
}
"""An account in each condition, at 500 s; it is 1000 s now."""

CAUSES: dict[Event, LlmError | None] = {
    Event.ANSWERED: None,
    Event.FAILED: DOWN,
    Event.THROTTLED: BURST,
    Event.EXHAUSTED: SPENT,
    Event.REFUSED: DENIED,
    Event.TIME_PASSED: None,
    Event.RENEWED: None,
    Event.SWITCHED_OFF: None,
    Event.SWITCHED_ON: None,
}

ROWS: list[tuple[Event, Condition, Standing, bool]] = [
    # event, condition before, what is kept after it, whether the change is told
    (Event.ANSWERED, A, Standing(A, 500.0, 0.0, "Old.", 400.0), False),
    (Event.ANSWERED, C, Standing(C, 500.0, 1050.0, "Old.", 400.0), False),
    (Event.ANSWERED, R, Standing(R, 500.0, 0.0, "Old.", 400.0), False),
    (Event.ANSWERED, O, Standing(O, 500.0, 0.0, "Old.", 400.0), False),
    (Event.FAILED, A, Standing(A, 500.0, 0.0, "Down.", 1000.0), False),
    (Event.FAILED, C, Standing(C, 500.0, 1050.0, "Down.", 1000.0), False),
    (Event.FAILED, R, Standing(R, 500.0, 0.0, "Down.", 1000.0), False),
    (Event.FAILED, O, Standing(O, 500.0, 0.0, "Down.", 1000.0), False),
    (Event.THROTTLED, A, Standing(C, 1000.0, 1002.0, "Too often.", 1000.0, is_burst=True), True),
    (Event.THROTTLED, C, Standing(C, 500.0, 1050.0, "Too often.", 1000.0), False),
    (Event.THROTTLED, R, Standing(R, 500.0, 0.0, "Too often.", 1000.0), False),
    (Event.THROTTLED, O, Standing(O, 500.0, 0.0, "Too often.", 1000.0), False),
    (Event.EXHAUSTED, A, Standing(C, 1000.0, 8200.0, "Used up.", 1000.0), True),
    (Event.EXHAUSTED, C, Standing(C, 1000.0, 8200.0, "Used up.", 1000.0), False),
    (Event.EXHAUSTED, R, Standing(R, 500.0, 0.0, "Used up.", 1000.0), False),
    (Event.EXHAUSTED, O, Standing(O, 500.0, 0.0, "Used up.", 1000.0), False),
    (Event.REFUSED, A, Standing(R, 1000.0, 0.0, "No.", 1000.0), True),
    (Event.REFUSED, C, Standing(R, 1000.0, 0.0, "No.", 1000.0), True),
    (Event.REFUSED, R, Standing(R, 500.0, 0.0, "No.", 1000.0), False),
    (Event.REFUSED, O, Standing(O, 500.0, 0.0, "No.", 1000.0), False),
    (Event.TIME_PASSED, A, Standing(A, 500.0, 0.0, "", 1000.0), False),
    (Event.TIME_PASSED, C, Standing(A, 1050.0, 0.0, "", 1050.0), True),
    (Event.TIME_PASSED, R, Standing(R, 500.0, 0.0, "Old.", 400.0), False),
    (Event.TIME_PASSED, O, Standing(O, 500.0, 0.0, "Old.", 400.0), False),
    (Event.RENEWED, A, Standing(A, 500.0, 0.0, "", 1000.0), False),
    (Event.RENEWED, C, Standing(C, 500.0, 1050.0, "Old.", 400.0), False),
    (Event.RENEWED, R, Standing(A, 1000.0, 0.0, "", 1000.0), True),
    (Event.RENEWED, O, Standing(O, 500.0, 0.0, "Old.", 400.0), False),
    (Event.SWITCHED_OFF, A, Standing(O, 1000.0, 0.0, "Old.", 400.0, switched_at=1000.0), True),
    (Event.SWITCHED_OFF, C, Standing(O, 1000.0, 0.0, "Old.", 400.0, switched_at=1000.0), True),
    (Event.SWITCHED_OFF, R, Standing(O, 1000.0, 0.0, "Old.", 400.0, switched_at=1000.0), True),
    (Event.SWITCHED_OFF, O, Standing(O, 1000.0, 0.0, "Old.", 400.0, switched_at=1000.0), False),
    (Event.SWITCHED_ON, A, Standing(A, 1000.0, 0.0, "", 1000.0, switched_at=1000.0), False),
    (Event.SWITCHED_ON, C, Standing(A, 1000.0, 0.0, "", 1000.0, switched_at=1000.0), True),
    (Event.SWITCHED_ON, R, Standing(A, 1000.0, 0.0, "", 1000.0, switched_at=1000.0), True),
    (Event.SWITCHED_ON, O, Standing(A, 1000.0, 0.0, "", 1000.0, switched_at=1000.0), True),
]


@pytest.mark.parametrize(
    ("event", "before", "after", "told"), ROWS, ids=[f"{row[0].name.lower()}-{row[1].name.lower()}" for row in ROWS]
)
def test_an_event_leads_where_its_row_says(event: Event, before: Condition, after: Standing, told: bool) -> None:
    watched = Watched(BEFORE[before])

    watched.health.record(event, CAUSES[event])

    assert watched.health.standing() == after
    assert watched.left == ([before] if told else [])


def test_every_event_and_condition_has_its_row_here() -> None:
    assert [(event, before) for event, before, _, _ in ROWS] == [
        (event, before) for event in TABLE for before in Condition
    ]
    assert {(event, before): after.condition for event, before, after, _ in ROWS} == {
        (event, before): after for event, row in TABLE.items() for before, after in row.items()
    }


def test_the_change_is_told_when_it_is_made() -> None:
    watched = Watched()
    seen: list[tuple[Condition, Standing]] = []
    watched.health.on_change = lambda before: seen.append((before, watched.health.standing()))

    watched.call(SPENT_UNTIL)

    assert seen == [(A, Standing(C, 1000.0, 1090.0, "Used up.", 1000.0))]


# What an error means

EVENTS: dict[ErrorReason.ValueType, Event] = {
    UNAUTHENTICATED: Event.ANSWERED,
    PERMISSION_DENIED: Event.ANSWERED,
    INVALID_REQUEST: Event.ANSWERED,
    CONTEXT_TOO_LONG: Event.ANSWERED,
    MODEL_NOT_FOUND: Event.ANSWERED,
    PROVIDER_NOT_CONFIGURED: Event.ANSWERED,
    RATE_LIMITED: Event.ANSWERED,
    BUDGET_EXCEEDED: Event.ANSWERED,
    PROVIDER_RATE_LIMITED: Event.FAILED,
    PROVIDER_QUOTA_EXCEEDED: Event.EXHAUSTED,
    PROVIDER_AUTH_FAILED: Event.REFUSED,
    PROVIDER_UNAVAILABLE: Event.FAILED,
    PROVIDER_TIMEOUT: Event.FAILED,
    PROVIDER_BAD_RESPONSE: Event.FAILED,
    LOOP_DETECTED: Event.ANSWERED,
    TOOL_DENIED: Event.ANSWERED,
    CONTENT_BLOCKED: Event.ANSWERED,
    DRAINING: Event.ANSWERED,
    ACCOUNT_NOT_FOUND: Event.ANSWERED,
    ACCOUNT_EXISTS: Event.ANSWERED,
    LOGIN_STATE_INVALID: Event.ANSWERED,
    LOGIN_EXCHANGE_FAILED: Event.ANSWERED,
    STORAGE_UNAVAILABLE: Event.ANSWERED,
    NOT_FOUND: Event.ANSWERED,
    CONFLICT: Event.ANSWERED,
    INTERNAL: Event.ANSWERED,
}

TIMED = {**EVENTS, PROVIDER_RATE_LIMITED: Event.THROTTLED}
"""The same with a time to wait."""


def test_every_reason_means_something_for_the_account() -> None:
    assert set(EVENTS) == set(REASONS)


@pytest.mark.parametrize("reason", EVENTS, ids=reason_name)
def test_an_error_means_what_its_reason_says(reason: ErrorReason.ValueType) -> None:
    assert event_of(LlmError(reason, "")) is EVENTS[reason]
    assert event_of(LlmError(reason, "", retry_after=3.0)) is TIMED[reason]


@pytest.mark.parametrize("reason", EVENTS, ids=reason_name)
def test_words_alone_never_refuse_an_account(reason: ErrorReason.ValueType) -> None:
    watched = Watched()

    watched.call(LlmError(reason, "401 unauthorized, invalid api key", by_words=True))

    assert watched.health.condition in (A, C)


# Pauses


@pytest.mark.parametrize(
    ("error", "until"),
    [
        pytest.param(BURST, 1002.0, id="a burst, for as long as the provider asks"),
        pytest.param(LlmError(PROVIDER_RATE_LIMITED, "", retry_after=0.25), 1000.25, id="a short one"),
        pytest.param(SPENT_UNTIL, 1090.0, id="a quota, until it is reset"),
        pytest.param(SPENT, 8200.0, id="a quota without a time, for the configured pause"),
    ],
)
def test_a_pause_lasts_as_long_as_it_has_to(error: LlmError, until: float) -> None:
    watched = Watched()

    watched.call(error)

    assert (watched.health.condition, watched.health.until) == (C, until)
    assert watched.health.remaining_s() == until - 1000.0
    assert not watched.health.usable()


@pytest.mark.parametrize(
    ("errors", "until", "is_burst"),
    [
        ((BURST, SPENT_UNTIL), 1090.0, False),
        ((SPENT_UNTIL, BURST), 1090.0, False),
        ((SPENT_UNTIL, SPENT), 8200.0, False),
        ((BURST, LlmError(PROVIDER_RATE_LIMITED, "", retry_after=1.0)), 1002.0, True),
    ],
)
def test_of_two_pauses_the_one_that_ends_later_holds(
    errors: tuple[LlmError, LlmError], until: float, is_burst: bool
) -> None:
    watched = Watched()

    for error in errors:
        watched.call(error)

    assert (watched.health.until, watched.health.is_burst) == (until, is_burst)
    assert watched.left == [A]


def test_a_pause_that_is_made_longer_is_news_to_other_processes() -> None:
    here, there = Watched(), Watched()
    here.call(BURST)
    there.health.adopt(here.health.standing())
    here.clock.now = 1001.0

    here.call(SPENT_UNTIL)
    there.health.adopt(here.health.standing())

    assert there.health.standing() == Standing(C, 1001.0, 1091.0, "Used up.", 1001.0)
    assert there.left == [A]


def test_a_pause_ends_when_somebody_looks_at_or_after_its_time() -> None:
    watched = Watched()
    watched.call(BURST)

    watched.clock.now = 1001.999
    assert (watched.health.usable(), watched.left) == (False, [A])
    watched.clock.now = 1002.0
    assert watched.health.condition is C
    assert (watched.health.usable(), watched.left) == (True, [A, C])
    assert watched.health.standing() == Standing(A, 1002.0, 0.0, "", 1002.0)
    assert watched.health.remaining_s() == 0.0


def test_an_error_that_came_after_the_pause_is_not_forgotten_with_it() -> None:
    watched = Watched()
    watched.health.begin()
    watched.call(BURST)
    watched.clock.now = 1003.0
    watched.health.end(DOWN)

    assert watched.health.usable()
    assert watched.health.standing() == Standing(A, 1002.0, 0.0, "Down.", 1003.0)


def test_a_pause_of_no_time_is_over_at_once() -> None:
    watched = Watched()

    watched.call(LlmError(PROVIDER_RATE_LIMITED, "Too often.", retry_after=0.0))

    assert watched.health.usable()


def test_a_burst_without_a_time_is_no_pause() -> None:
    watched = Watched()

    watched.call(LlmError(PROVIDER_RATE_LIMITED, "Too often."))

    assert (watched.health.usable(), watched.health.errors, watched.left) == (True, 1, [])


def test_a_good_answer_that_was_under_way_ends_no_pause() -> None:
    watched = Watched()
    watched.health.begin()
    watched.call(SPENT)

    watched.health.end()

    assert (watched.health.usable(), watched.health.until) == (False, 8200.0)


@pytest.mark.parametrize(("condition", "usable"), [(A, True), (C, False), (R, False), (O, False)])
def test_only_an_available_account_may_be_asked(condition: Condition, usable: bool) -> None:
    assert Watched(BEFORE[condition]).health.usable() is usable


@pytest.mark.parametrize("condition", [R, O])
def test_time_alone_mends_no_refusal_and_no_switch(condition: Condition) -> None:
    watched = Watched(BEFORE[condition])
    watched.clock.now = 1e9

    assert not watched.health.usable()
    assert watched.left == []


# Counts


@pytest.mark.parametrize("reason", EVENTS, ids=reason_name)
def test_a_call_is_counted_once_and_an_error_when_it_is_not_the_caller_s(reason: ErrorReason.ValueType) -> None:
    watched = Watched()

    watched.call(LlmError(reason, "No."))

    failed = EVENTS[reason] is not Event.ANSWERED
    assert watched.health.counts() == Counts(requests=1, errors=int(failed))
    assert watched.health.last_error == ("No." if failed else "")
    assert watched.health.in_flight == 0


def test_calls_in_flight_are_counted_while_they_are() -> None:
    health = Watched().health

    seen = []
    for step in (health.begin, health.begin, health.end, health.begin, health.end, health.end):
        step()
        seen.append(health.in_flight)

    assert seen == [1, 2, 1, 2, 1, 0]
    assert health.counts() == Counts(requests=3)


def test_tokens_of_answers_and_of_failures_are_counted() -> None:
    watched = Watched()

    watched.call(usage=Usage(input_tokens=10, output_tokens=3, cache_read_tokens=7, reasoning_tokens=2))
    watched.call(DOWN, Usage(input_tokens=5, output_tokens=1))
    watched.call(BAD_CALL, Usage(input_tokens=2))

    assert watched.health.counts() == Counts(requests=3, errors=1, input_tokens=17, output_tokens=4)
    assert watched.health.recent_tokens() == 21


def test_tokens_leave_the_window_part_by_part() -> None:
    watched = Watched(now=0.0, window_s=3600.0)

    watched.call(usage=Usage(input_tokens=100))
    watched.clock.now = 1800.0
    watched.call(usage=Usage(output_tokens=10))
    left = []
    for now in (1800.0, 3599.0, 3600.0, 5399.0, 5400.0):
        watched.clock.now = now
        left.append(watched.health.recent_tokens())

    assert left == [110, 110, 10, 10, 0]
    assert watched.health.counts() == Counts(requests=2, input_tokens=100, output_tokens=10)


def test_the_window_is_as_long_as_configured() -> None:
    watched = Watched(now=0.0, window_s=12.0)

    watched.call(usage=Usage(input_tokens=1))
    watched.clock.now = 11.9
    assert watched.health.recent_tokens() == 1
    watched.clock.now = 12.0
    assert watched.health.recent_tokens() == 0


def test_counts_are_added_and_subtracted_number_by_number() -> None:
    assert Counts(1, 2, 3, 4).plus(Counts(10, 20, 30, 40)) == Counts(11, 22, 33, 44)
    assert Counts(11, 22, 33, 44).minus(Counts(1, 2, 3, 4)) == Counts(10, 20, 30, 40)


# The last error


def test_the_last_error_is_told_with_the_provider_s_status_and_code_alone() -> None:
    watched = Watched()
    error = LlmError(
        PROVIDER_AUTH_FAILED, "No.", detail="key sk-abc", provider_status="401", provider_code="invalid_api_key", x="y"
    )

    watched.call(error)

    assert (watched.health.last_error, watched.health.last_error_at) == ("No (401, invalid_api_key)", 1000.0)


def test_a_good_answer_leaves_the_last_error_to_be_read() -> None:
    watched = Watched()

    watched.call(DOWN)
    watched.call()

    assert (watched.health.last_error, watched.health.last_error_at) == ("Down.", 1000.0)


# Leniency


@pytest.mark.parametrize("error", [DOWN, BURST, SPENT, DENIED])
def test_leniency_counts_the_failure_and_leaves_the_condition(error: LlmError) -> None:
    watched = Watched()

    watched.call(error, Usage(input_tokens=1), lenient=True)

    assert watched.health.standing() == Standing(A, 0.0, 0.0, error.message, 1000.0)
    assert watched.health.counts() == Counts(requests=1, errors=1, input_tokens=1)
    assert watched.left == []


def test_leniency_counts_no_caller_s_fault() -> None:
    watched = Watched()

    watched.call(BAD_CALL, lenient=True)

    assert watched.health.counts() == Counts(requests=1)


# Standings


@pytest.mark.parametrize("condition", Condition)
def test_a_standing_survives_a_restart(condition: Condition) -> None:
    again = Watched()

    again.health.adopt(BEFORE[condition])

    assert again.health.standing() == BEFORE[condition]


def test_a_pause_that_ended_while_nobody_ran_is_over() -> None:
    again = Watched(now=2000.0)

    again.health.adopt(BEFORE[C])

    assert again.health.usable()
    assert again.health.standing() == Standing(A, 1050.0, 0.0, "", 1050.0)


def test_a_later_standing_is_taken_over_and_told() -> None:
    watched = Watched(BEFORE[A])
    later = Standing(C, 600.0, 1100.0, "Used up.", 600.0)

    watched.health.adopt(later)

    assert (watched.health.standing(), watched.left) == (later, [A])


@pytest.mark.parametrize("condition", Condition)
def test_an_older_standing_changes_nothing(condition: Condition) -> None:
    watched = Watched(BEFORE[A])

    watched.health.adopt(replace(BEFORE[condition], since=499.0, last_error="Older.", last_error_at=399.0))

    assert (watched.health.standing(), watched.left) == (BEFORE[A], [])


def test_a_later_error_is_taken_over_from_an_older_standing() -> None:
    watched = Watched(BEFORE[A])

    watched.health.adopt(Standing(C, 450.0, 460.0, "Down.", 700.0))

    assert watched.health.standing() == Standing(A, 500.0, 0.0, "Down.", 700.0)


def test_a_later_standing_with_an_older_error_keeps_the_newer_error() -> None:
    watched = Watched(BEFORE[A])

    watched.health.adopt(Standing(O, 700.0, 0.0, "Older.", 300.0))

    assert watched.health.standing() == Standing(O, 700.0, 0.0, "Old.", 400.0)


def test_a_pause_that_another_process_prolonged_is_no_change() -> None:
    watched = Watched()
    watched.call(BURST)

    watched.health.adopt(Standing(C, 1001.0, 1200.0))

    assert (watched.health.until, watched.health.is_burst, watched.left) == (1200.0, False, [A])


@pytest.mark.parametrize("event", [Event.RENEWED, Event.SWITCHED_ON])
def test_a_forgotten_error_is_forgotten_in_other_processes_too(event: Event) -> None:
    here, there = Watched(BEFORE[R]), Watched(BEFORE[R])

    here.health.record(event)
    there.health.adopt(here.health.standing())

    assert there.health.standing() == here.health.standing()
    assert there.health.standing() == Standing(A, 1000.0, 0.0, "", 1000.0, there.health.switched_at)


def test_what_a_process_notices_before_it_hears_of_the_operator_does_not_undo_the_operators_word() -> None:
    here, there = Watched(now=1000.0), Watched(now=1001.0)

    here.health.record(Event.SWITCHED_OFF)
    there.call(SPENT_UNTIL)
    here.health.adopt(there.health.standing())
    there.health.adopt(here.health.standing())

    assert (here.health.condition, there.health.condition) == (O, O)


def test_a_pause_ends_at_one_moment_in_all_processes_whenever_they_notice() -> None:
    here, there = Watched(BEFORE[C], now=1060.0), Watched(BEFORE[C], now=1070.0)

    assert here.health.usable()
    assert there.health.usable()
    assert here.health.standing() == there.health.standing()


def test_noticing_late_that_a_pause_is_over_does_not_overrule_a_later_one() -> None:
    here, there = Watched(BEFORE[C], now=1051.0), Watched(BEFORE[C], now=1055.0)
    assert here.health.usable()
    here.call(SPENT_UNTIL)
    assert there.health.usable()

    here.health.adopt(there.health.standing())
    there.health.adopt(here.health.standing())

    assert here.health.standing() == there.health.standing() == Standing(C, 1051.0, 1141.0, "Used up.", 1051.0)


@pytest.mark.parametrize(("event", "other"), [(Event.SWITCHED_ON, R), (Event.SWITCHED_ON, C), (Event.SWITCHED_OFF, A)])
def test_the_operator_s_word_holds_against_what_was_not_heard_of_yet(event: Event, other: Condition) -> None:
    here = Watched(BEFORE[O] if event is Event.SWITCHED_OFF else BEFORE[A])

    here.health.record(event)
    said = here.health.standing()
    here.health.adopt(replace(BEFORE[other], since=999.0))

    assert here.health.standing() == said


def test_an_account_of_a_running_clock_is_available_at_first() -> None:
    health = Health(time.time)

    assert health.usable()
    assert health.standing() == Standing(A, 0.0)
    assert health.counts() == Counts()
    assert health.recent_tokens() == 0


def test_another_pause_and_window_hold_from_then_on() -> None:
    now = [1000.0]
    health = Health(lambda: now[0], cooldown_s=60, window_s=120)
    health.record(Event.EXHAUSTED)
    health.retune(cooldown_s=10, window_s=120)
    paused = health.remaining_s()
    now[0] += 60
    health.usable()
    health.record(Event.EXHAUSTED)

    assert (paused, health.remaining_s()) == (60, 10)
