"""A budget's period begins and ends with the day or month of UTC, and the next one is counted elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from loom_grpc.core.period import Period, budget_slot, period_of
from loom_grpc.core.quota import Cap, Scope


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("kind", "now", "period"),
    [
        ("day", at("2026-11-21"), Period("2026-11-21", at("2026-11-21"), at("2026-11-22"))),
        ("day", at("2026-11-22") - 0.001, Period("2026-11-21", at("2026-11-21"), at("2026-11-22"))),
        ("day", at("2026-12-31T23:00"), Period("2026-12-31", at("2026-12-31"), at("2027-01-01"))),
        ("month", at("2026-11-30T23:59:59"), Period("2026-11-01", at("2026-11-01"), at("2026-12-01"))),
        ("month", at("2026-12-01"), Period("2026-12-01", at("2026-12-01"), at("2027-01-01"))),
        ("month", at("2028-02-29"), Period("2028-02-01", at("2028-02-01"), at("2028-03-01"))),
        ("total", at("2026-11-21"), Period("", 0.0, 0.0)),
    ],
)
def test_a_time_is_in_the_period_of_its_day_or_month(kind: str, now: float, period: Period) -> None:
    assert period_of(kind, now) == period


def test_each_period_of_each_budget_is_counted_by_itself() -> None:
    day = Cap("one", Scope("user", "anna"), "day", 5)
    caps = [day, day._replace(id="other"), day._replace(scope=Scope("team", "anna"))]

    assert len({budget_slot(cap, period) for cap in caps for period in ("2026-11-21", "2026-11-22", "")}) == 9
    assert budget_slot(day._replace(nanos=7), "2026-11-21") == budget_slot(day, "2026-11-21")
