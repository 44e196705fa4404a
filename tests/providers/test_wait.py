"""How long providers ask to wait."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loom_grpc.core.errors import (
    INVALID_REQUEST,
    PROVIDER_AUTH_FAILED,
    PROVIDER_BAD_RESPONSE,
    PROVIDER_QUOTA_EXCEEDED,
    PROVIDER_RATE_LIMITED,
    PROVIDER_TIMEOUT,
    PROVIDER_UNAVAILABLE,
)
from loom_grpc.providers.wait import NO_HEADERS, retry_after, wait_of
from loom_grpc.v1.error_pb2 import ErrorReason

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
EPOCH = int(NOW.timestamp())
_RESETS = (
    "anthropic-ratelimit-tokens-reset",
    "anthropic-ratelimit-unified-reset",
    "x-ratelimit-reset-tokens",
    "x-ratelimit-reset",
    "ratelimit-reset",
)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": " 7 "}, 7),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "1e9"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "9" * 30}, None),
        ({"retry-after": "2678400"}, 2678400),
        ({"retry-after": "2678401"}, None),
        ({"retry-after": "Fri, 01 Jan 2100 00:00:00 GMT"}, None),
        ({"retry-after": "٣"}, None),
        ({"retry-after": "Sat, 21 Nov 2026 12:00:30 GMT"}, 30),
        ({"retry-after": "Sat, 21 Nov 2026 13:00:30 +0100"}, 30),
        ({"retry-after": "Sat, 21 Nov 2026 11:00:00 GMT"}, 0),
        ({"retry-after": "Saturday, 21-Nov-26 12:01:00 GMT"}, 60),
        ({"retry-after": "Sat Nov 21 12:01:00 2026"}, 60),
        ({"retry-after": "Sat, 99 Nov 2026 12:00:30 GMT"}, None),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "0", "retry-after": "1"}, 1),
        ({"retry-after-ms": "x", "retry-after": "1"}, 1),
        ({"retry-after-ms": "250"}, 0.25),
    ],
)
def test_the_wait_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds


def test_without_a_clock_the_real_one_counts() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)

    assert retry_after({"retry-after": "Wed, 01 Jan 2020 00:00:00 GMT"}) == 0
    assert 3500 < (retry_after({"retry-after": soon}) or 0) <= 3600


@given(st.text() | st.from_regex(r"\w{3}, \d{1,3} \w{3} \d{1,6} \d+:\d+:\d+ ([+-]\d+|GMT|\w+)", fullmatch=True))
@example("Mon, 01 Jan 99999 00:00:00 GMT")
@example("Mon, 01 Jan 2026 00:00:00 +99999999999")
@example("Mon, 01 Jan 0001 00:00:00 +2359")
@example("Fri, 31 Dec 9999 23:59:59 -2359")
@example("Mon, 01 Jan 99999999999999999999 00:00:00 GMT")
@example("Mon, 01 Jan 2026 00:00:00 +99999999999999999999")
def test_no_header_is_too_odd_to_be_read(value: str) -> None:
    seconds = retry_after({"retry-after": value, "retry-after-ms": value}, NOW)

    assert seconds is None or (seconds >= 0 and math.isfinite(seconds))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "3.89s"}, 3.89),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}, 360),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1m0.198s"}, 60.198),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "120ms"}, 0.12),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1d2h3m4s"}, 93784),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "46"}, 46),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "-1s"}, None),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "32d"}, None),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "soon"}, None),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": ""}, None),
        ({"x-ratelimit-remaining-tokens": "7", "x-ratelimit-reset-tokens": "3.89s"}, None),
        ({"x-ratelimit-reset-tokens": "3.89s"}, None),
        (
            {
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "2s",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "9s",
            },
            9,
        ),
        (
            {
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": "2026-11-21T12:00:30Z",
                "anthropic-ratelimit-tokens-remaining": "1000",
                "anthropic-ratelimit-tokens-reset": "2026-11-21T12:00:50Z",
            },
            30,
        ),
        (
            {
                "anthropic-ratelimit-input-tokens-remaining": "0",
                "anthropic-ratelimit-input-tokens-reset": "2026-11-21T12:00:10+00:00",
                "anthropic-ratelimit-output-tokens-remaining": "0",
                "anthropic-ratelimit-output-tokens-reset": "2026-11-21T12:00:20Z",
            },
            20,
        ),
        (
            {"anthropic-ratelimit-tokens-remaining": "0", "anthropic-ratelimit-tokens-reset": "2026-11-21T12:00:10"},
            None,
        ),
        (
            {"anthropic-ratelimit-tokens-remaining": "0", "anthropic-ratelimit-tokens-reset": "2026-11-21T11:59:59Z"},
            None,
        ),
        ({"anthropic-ratelimit-tokens-remaining": "0", "anthropic-ratelimit-tokens-reset": "in a moment"}, None),
        ({"x-ratelimit-reset": f"{EPOCH + 40}000"}, 40),
        ({"x-ratelimit-reset": str(EPOCH + 40)}, 40),
        ({"x-ratelimit-reset": "40"}, 40),
        ({"x-ratelimit-reset": "40", "x-ratelimit-remaining": "3"}, None),
        ({"x-ratelimit-reset": "40", "x-ratelimit-remaining": "0"}, 40),
        ({"x-ratelimit-reset": str(EPOCH - 40)}, None),
        ({"x-ratelimit-reset": "9" * 13}, None),
        ({"ratelimit-reset": "12", "ratelimit-remaining": "0"}, 12),
        ({"retry-after": "7", "x-ratelimit-reset": "40"}, 7),
    ],
)
def test_a_burst_waits_until_the_limits_are_reset_that_are_used_up(
    headers: dict[str, str], seconds: float | None
) -> None:
    waited = wait_of(headers, PROVIDER_RATE_LIMITED, now=NOW)

    assert waited == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("headers", "words", "seconds"),
    [
        ({"retry-after": "9120", "anthropic-ratelimit-unified-reset": str(EPOCH + 60)}, "", 9120),
        ({"anthropic-ratelimit-unified-reset": str(EPOCH + 18000)}, "", 18000),
        ({"anthropic-ratelimit-unified-reset": str(EPOCH + 32 * 86400)}, "", None),
        ({"anthropic-ratelimit-unified-reset": str(EPOCH - 1)}, "", None),
        ({"anthropic-ratelimit-unified-reset": "tomorrow"}, "", None),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "3s", "x-ratelimit-reset": "9"}, "", None),
        ({}, "You have reached your limits. You will regain access on 2026-12-01 at 00:00 UTC.", 9.5 * 86400),
        ({}, "You will regain access on 2026-13-41 at 00:00 UTC.", None),
        ({}, "Your limit will reset at 2026-11-21 19:01:25", None),
    ],
)
def test_a_quota_waits_for_itself_and_not_for_a_limit_by_the_minute(
    headers: dict[str, str], words: str, seconds: float | None
) -> None:
    assert wait_of(headers, PROVIDER_QUOTA_EXCEEDED, words, NOW) == seconds


@pytest.mark.parametrize(
    ("reason", "seconds"),
    [
        (PROVIDER_RATE_LIMITED, 7),
        (PROVIDER_QUOTA_EXCEEDED, 7),
        (PROVIDER_UNAVAILABLE, 7),
        (PROVIDER_TIMEOUT, 7),
        (PROVIDER_AUTH_FAILED, None),
        (PROVIDER_BAD_RESPONSE, None),
        (INVALID_REQUEST, None),
    ],
)
def test_a_wait_is_read_only_where_time_mends(reason: ErrorReason.ValueType, seconds: float | None) -> None:
    assert wait_of({"retry-after": "7"}, reason) == seconds


def test_an_overload_does_not_wait_for_a_limit() -> None:
    assert wait_of({"x-ratelimit-reset": "40"}, PROVIDER_UNAVAILABLE) is None


def test_an_error_inside_an_answer_has_no_wait() -> None:
    assert wait_of(NO_HEADERS, PROVIDER_RATE_LIMITED) is None


@given(
    st.text() | st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)|\d{1,20}(ms|s|m|h|d)?", fullmatch=True)
)
@example("0001-01-01T00:00:00+23:59")
@example("9999-12-31T23:59:59-23:59")
def test_no_reset_is_too_odd_to_be_read(value: str) -> None:
    resets = dict.fromkeys(_RESETS, value)
    left = {"anthropic-ratelimit-tokens-remaining": "0", "x-ratelimit-remaining-tokens": "0"}

    for reason in (PROVIDER_RATE_LIMITED, PROVIDER_QUOTA_EXCEEDED):
        seconds = wait_of(resets | left, reason, f"regain access on {value}", NOW)

        assert seconds is None or 0 <= seconds <= 31 * 86400
