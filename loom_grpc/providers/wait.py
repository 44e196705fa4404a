"""How long a provider asks to wait, in all the forms that providers have for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Final

from loom_grpc.core.errors import (
    PROVIDER_QUOTA_EXCEEDED,
    PROVIDER_RATE_LIMITED,
    PROVIDER_TIMEOUT,
    PROVIDER_UNAVAILABLE,
)
from loom_grpc.v1.error_pb2 import ErrorReason

_LONGEST_S: Final = 31 * 24 * 3600.0
"""No quota lasts longer than a month, so what asks for more is a mistake and no wait."""

NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
"""What an error has that comes inside an answer."""

_WAITS: Final = frozenset({PROVIDER_RATE_LIMITED, PROVIDER_QUOTA_EXCEEDED, PROVIDER_UNAVAILABLE, PROVIDER_TIMEOUT})
"""Reasons that time mends."""

_UNIFIED_RESET: Final = "anthropic-ratelimit-unified-reset"
"""When the plan's window that is used up begins anew, in seconds since 1970; of a plan, not of a minute."""

_REGAIN: Final = re.compile(r"regain access on (\d{4}-\d{2}-\d{2}) at (\d{2}:\d{2}) UTC")
"""How Anthropic tells when a spending limit is reset. Z.ai tells a time too, but not of which zone, so nothing can be made of it."""

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|[smhd])")


def wait_of(
    headers: Mapping[str, str], reason: ErrorReason.ValueType, words: str = "", now: datetime | None = None
) -> float | None:
    """Reads how many seconds to wait after a failure: what `retry-after` says, else when the limit that was hit is reset.

    The resets of limits that are counted by the minute say nothing of a quota. What is negative or longer than 31 days is passed over.
    """
    if reason not in _WAITS:
        return None
    now = now or datetime.now(UTC)
    asked = retry_after(headers, now)
    if asked is not None:
        return asked
    if reason == PROVIDER_QUOTA_EXCEEDED:
        return _quota_reset(headers, words, now)
    return _burst_reset(headers, now) if reason == PROVIDER_RATE_LIMITED else None


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Reads `retry-after-ms`, or `retry-after` in seconds or as a date (RFC 9110, 10.2.3)."""
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds:
        return _sane(milliseconds / 1000)
    value = headers.get("retry-after", "")
    seconds = _number(value)
    if seconds is not None or not value:
        return _sane(seconds)
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    # The oldest form names no zone; all dates in HTTP are of Greenwich.
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return _sane(max(0.0, (date - (now or datetime.now(UTC))).total_seconds()))


def _quota_reset(headers: Mapping[str, str], words: str, now: datetime) -> float | None:
    """Returns when a plan's window or a month of spending begins anew."""
    reset = _sane(_moment(headers.get(_UNIFIED_RESET, ""), now))
    told = _REGAIN.search(words)
    return _sane(_rfc3339(f"{told[1]}T{told[2]}Z", now)) if reset is None and told else reset


def _burst_reset(headers: Mapping[str, str], now: datetime) -> float | None:
    """Returns when the last of the limits that are used up is reset: all of them have to be."""
    waits = (_sane(read(headers.get(reset, ""), now)) for reset, read in _used_up(headers))
    return max((wait for wait in waits if wait is not None), default=None)


def _used_up(headers: Mapping[str, str]) -> Iterator[tuple[str, Callable[[str, datetime], float | None]]]:
    """Yields the reset headers of the limits of which nothing is left, and how each is read."""
    for remaining, reset, read in _LIMITS:
        left = _number(headers.get(remaining, ""))
        if left == 0 or (left is None and reset in _PLAIN):
            yield reset, read


def _rfc3339(text: str, now: datetime) -> float | None:
    """Reads a date such as 2026-11-21T12:00:30Z."""
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (date - now).total_seconds() if date.tzinfo else None


def _duration(text: str, _now: datetime) -> float | None:
    """Reads a duration such as 6m0s, 1.5s or 120ms; a bare number is of seconds."""
    if not _PART.sub("", text) and text:
        return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    return _number(text)


def _moment(text: str, now: datetime) -> float | None:
    """Reads seconds from now, or seconds or milliseconds since 1970: the size of the number tells which."""
    if not re.fullmatch(r"[0-9]{1,13}(\.[0-9]{1,9})?", text):
        return _duration(text, now)
    number = float(text)
    if number < 1e9:
        return number
    return (number / 1000 if number >= 1e11 else number) - now.timestamp()


_LIMITS: Final[tuple[tuple[str, str, Callable[[str, datetime], float | None]], ...]] = (
    # platform.claude.com/docs/en/api/rate-limits, seen 2026-11-21.
    ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset", _rfc3339),
    ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset", _rfc3339),
    ("anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset", _rfc3339),
    ("anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset", _rfc3339),
    # platform.openai.com/docs/guides/rate-limits and console.groq.com/docs/rate-limits, seen 2026-11-21.
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests", _duration),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens", _duration),
    # OpenRouter, in milliseconds since 1970 (openrouter.ai/docs/api/reference/limits, seen 2026-11-21); others in seconds.
    ("x-ratelimit-remaining", "x-ratelimit-reset", _moment),
    # draft-ietf-httpapi-ratelimit-headers-07, in seconds from now.
    ("ratelimit-remaining", "ratelimit-reset", _moment),
)
"""What is left of a limit, when it is reset, and how that is written."""

_PLAIN: Final = frozenset({"x-ratelimit-reset", "ratelimit-reset"})
"""Resets of the only limit there is: they count also where nothing tells what is left."""


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r" *[0-9]{1,9}(\.[0-9]{1,9})? *", text) else None


def _sane(seconds: float | None) -> float | None:
    return seconds if seconds is not None and 0 <= seconds <= _LONGEST_S else None
