"""What flags take, and how values are shown."""

from __future__ import annotations

import time
from argparse import ArgumentTypeError
from collections.abc import Callable
from typing import Any

import pytest

from loom_grpc.cli.value import (
    count,
    duration,
    future,
    label,
    moment,
    names,
    nanos,
    number_of,
    or_nothing,
    past,
    positive,
    word_of,
    yes_or_no,
)
from loom_grpc.core.money import dollars
from loom_grpc.v1.access_pb2 import BUDGET_PERIOD_MONTH, BudgetPeriod


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("12.50", 12_500_000_000),
        ("0.000000001", 1),
        ("007", 7_000_000_000),
        ("9223372036.854775807", 2**63 - 1),
    ],
)
def test_dollars_are_read_to_the_billionth(text: str, value: int) -> None:
    assert nanos(text) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.00"),
        (12_500_000_000, "12.50"),
        (1, "0.000000001"),
        (1_234_567_890, "1.23456789"),
        (-5_000_000, "-0.005"),
        (2**63 - 1, "9223372036.854775807"),
    ],
)
def test_dollars_are_shown_with_all_digits_that_matter(value: int, text: str) -> None:
    assert dollars(value) == text


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (nanos, ""),
        (nanos, "-5"),
        (nanos, "1e3"),
        (nanos, "1,5"),
        (nanos, ".5"),
        (nanos, "5."),
        (nanos, "0.0000000001"),
        (nanos, "9223372036.854775808"),
        (nanos, "9" * 5000),
        (nanos, "\N{ARABIC-INDIC DIGIT FIVE}"),
        (count, "-1"),
        (count, "1.5"),
        (count, "9" * 19),
        (count, "\N{ARABIC-INDIC DIGIT FIVE}"),
        (positive, "0"),
        (duration, "1"),
        (duration, "1y"),
        (duration, "-1d"),
        (duration, "9999999d"),
        (label, "project"),
        (label, "=atlas"),
        (yes_or_no, "true"),
        (past, ""),
        (past, "yesterday"),
        (past, "2026-02-30"),
        (past, "2026-11-21 14:05"),
        (past, "2026-11-21T14:05:00"),
        (past, "10000-01-01T00:00:00Z"),
        (past, "999999w"),
        (future, "7"),
    ],
)
def test_what_is_none_is_refused(kind: Callable[[str], Any], text: str) -> None:
    with pytest.raises(ArgumentTypeError, match=r"^must be "):
        kind(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2026-11-21", "2026-11-21 00:00:00Z"),
        ("2026-11-21T14:05:00Z", "2026-11-21 14:05:00Z"),
        ("2026-11-21T14:05:00.25+01:30", "2026-11-21 12:35:00Z"),
    ],
)
def test_times_are_those_of_utc(text: str, shown: str) -> None:
    assert moment(past(text)) == moment(future(text)) == shown


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0s", 0), ("90s", 90), ("5m", 300), ("5min", 300), ("24h", 86_400), ("7d", 604_800), ("2w", 1_209_600)],
)
def test_spans_lead_back_or_forward(text: str, seconds: int) -> None:
    before = int(time.time())
    moments = past(text).ToSeconds(), future(text).ToSeconds()
    after = int(time.time())

    assert duration(text) == seconds
    assert before <= moments[0] + seconds <= after
    assert before <= moments[1] - seconds <= after


def test_names_stand_between_commas() -> None:
    assert names(" a, b/c ,,d ") == ["a", "b/c", "d"]
    assert names("") == []


def test_a_label_ends_at_its_first_equals_sign() -> None:
    assert label("project=a=b") == ("project", "a=b")
    assert label("project=") == ("project", "")


def test_nothing_may_stand_for_a_value() -> None:
    assert or_nothing(count)("") == ""
    assert or_nothing(count)("5") == 5


def test_members_of_enums_are_words() -> None:
    kind: Any = BudgetPeriod.DESCRIPTOR

    assert [word_of(kind, number) for number in (BUDGET_PERIOD_MONTH, 0, 99)] == ["month", "", "99"]
    assert number_of(kind, "month") == BUDGET_PERIOD_MONTH
