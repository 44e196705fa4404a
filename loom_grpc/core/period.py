"""The periods of budgets; days and months are those of UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple

from loom_grpc.core.quota import Cap, Kind, slot

DAY_S: Final = 86_400


class Period(NamedTuple):
    """One period of a budget, in seconds since 1970."""

    name: str
    """Its first day, such as `2026-11-21`; empty for ever."""
    begins_s: float
    """When it begins; 0 for ever."""
    ends_s: float
    """When the next one begins; 0 is never."""


def period_of(kind: str, now: float) -> Period:
    """Returns the `day` or `month` that a time is in, or the one period that is `total`."""
    return _period(kind, int(now // DAY_S))


@lru_cache(16)
def _period(kind: str, day: int) -> Period:
    first = datetime.fromtimestamp(day * DAY_S, UTC)
    if kind == "total":
        return Period("", 0.0, 0.0)
    if kind == "day":
        following = first + timedelta(days=1)
    else:
        first = first.replace(day=1)
        following = (first + timedelta(days=32)).replace(day=1)
    return Period(first.date().isoformat(), first.timestamp(), following.timestamp())


def budget_slot(cap: Cap, period: str) -> bytes:
    """Returns where a budget's money is counted in the period of a name."""
    return slot(Kind.MONEY, cap.scope, cap.id, period)
