"""No record of an answered call is lost or double, whatever is killed meanwhile: a small run of what `make proof` does at length."""

from __future__ import annotations

from pathlib import Path

from proof.records import Plan, run
from tests.rabbitmq_server import RabbitServer

SMALL = Plan(calls=300, seconds=12, kills=1, longest_down_s=1)
VICTIMS = ("server", "one of its workers", "auditor", "PostgreSQL", "RabbitMQ", "Redis")


async def test_every_answered_call_has_one_record_whatever_is_killed(rabbitmq: RabbitServer, tmp_path: Path) -> None:
    outcome = await run(SMALL, tmp_path, rabbitmq)

    assert outcome.is_right, outcome
    assert outcome.answered == 300
    assert outcome.killed == dict.fromkeys(VICTIMS, 1)
