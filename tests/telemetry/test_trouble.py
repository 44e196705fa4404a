"""What `/health` warns of and the metrics say of parts in trouble."""

from __future__ import annotations

from pathlib import Path

from loom_grpc.core.errors import BUDGET_EXCEEDED, RATE_LIMITED, LlmError
from loom_grpc.core.ledger import SpoolState
from loom_grpc.telemetry import Telemetry
from loom_grpc.telemetry.names import PARTS
from tests.telemetry.lines import Log, call, configuration, telemetry
from tests.telemetry.test_metrics import values


def spooling(state: SpoolState, age_s: float, most_bytes: int = 100) -> Telemetry:
    told = telemetry()
    told.troubles.watch_spool(lambda: state, lambda: age_s, most_bytes)
    return told


def test_nothing_is_warned_of_at_first() -> None:
    assert telemetry().troubles.warnings() == []


def test_a_part_in_trouble_is_warned_of_until_it_is_over() -> None:
    told = telemetry()

    told.records_wait("postgresql://host is away")
    told.store_unavailable("away", "access")
    assert told.troubles.warnings() == [(part, PARTS[part]) for part in ("access", "records")]
    assert values(told, "loom_unavailable") == [({"loom_part": "records"}, 1), ({"loom_part": "access"}, 1)]

    told.records_go_on()
    told.store_works_again("access")
    assert told.troubles.warnings() == []
    assert values(told, "loom_unavailable") == [({"loom_part": "records"}, 0), ({"loom_part": "access"}, 0)]


def test_the_issuer_is_asked_for_when_somebody_wants_to_know() -> None:
    told = telemetry()
    away = True
    told.watch_access(lambda: 7.0, lambda: away)

    assert told.troubles.warnings() == [("issuer", PARTS["issuer"])]
    assert values(told, "loom_access_age_seconds") == [({}, 7)]
    away = False
    assert told.troubles.warnings() == []
    assert values(told, "loom_unavailable") == [({"loom_part": "issuer"}, 0)]


def test_a_spool_is_warned_of_when_records_wait_for_long_or_fill_half_of_it() -> None:
    waits = "records of calls have waited in the spool for more than a minute"
    fills = "the spool is more than half full; when it is full, calls are refused"

    assert spooling(SpoolState(1, 50, 1.0, ""), 60.0).troubles.warnings() == []
    assert spooling(SpoolState(1, 50, 1.0, ""), 61.0).troubles.warnings() == [("spool", waits)]
    assert spooling(SpoolState(1, 51, 1.0, ""), 1.0).troubles.warnings() == [("spool", fills)]


async def test_of_several_workers_records_are_added_up_and_the_greatest_age_counts(tmp_path: Path) -> None:
    first, second = (Telemetry(configuration(), worker=n, shared=tmp_path, stream=Log()) for n in range(2))
    first.troubles.watch_spool(lambda: SpoolState(3, 10, 1.0, ""), lambda: 5.0, 100)
    second.troubles.watch_spool(lambda: SpoolState(4, 10, 1.0, ""), lambda: 2.0, 100)
    first.records_wait("away")
    second.records_go_on()
    await first.close()

    assert values(second, "loom_spool_records") == [({}, 7)]
    assert values(second, "loom_spool_age_seconds") == [({}, 5)]
    assert values(second, "loom_unavailable") == [({"loom_part": "records"}, 1)]


def test_refusals_are_counted_by_whose_limit_it_is_and_nobody_makes_up_new_ones() -> None:
    told = telemetry()

    for error in (
        LlmError(RATE_LIMITED, "", scope="team", id="t"),
        LlmError(RATE_LIMITED, ""),
        LlmError(RATE_LIMITED, "", scope="made up"),
        LlmError(BUDGET_EXCEEDED, "", scope="user", id="u"),
    ):
        told.finished(call(), error, 0.1, "grpc")

    assert values(told, "loom_limits_refusals_total") == [
        ({"loom_scope": "team"}, 1),
        ({"loom_scope": "blocked"}, 1),
        ({"loom_scope": "other"}, 1),
    ]
    assert values(told, "loom_budgets_refusals_total") == [({"loom_scope": "user"}, 1)]
