"""What the metrics and the health tell of callers who are kept out, and of a database that is away."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from loom_grpc.config import Config
from tests.let_in import LetIn, let_in
from tests.shim.serving import HI, Shim, configuration, shim

CHAT = "/v1/chat/completions"


def settings(ann: LetIn, **more: Any) -> Config:
    return configuration(**(ann.settings | {"access": {"enabled": True, "metrics": "anybody"}} | more))


async def values(ours: Shim, *names: str) -> dict[str, str]:
    """Returns the values of series by their names and labels."""
    lines = (await ours.get("/metrics")).body.decode().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if line.startswith(names))


def damage(folder: Path) -> None:
    """Puts something else in the database's place."""
    for file in folder.glob("loom.db*"):
        file.unlink()
    (folder / "loom.db").write_bytes(b"This is no database." * 100)


async def test_an_address_that_is_blocked_is_told_once_and_its_refusals_are_counted(tmp_path: Path) -> None:
    ann = await let_in(tmp_path)

    async with shim(settings(ann, log={"level": "warning", "format": "json"}), environ=ann.environ) as ours:
        statuses = [(await ours.post(CHAT, HI, authorization="Bearer lt_wrong")).status for _ in range(8)]
        told = await values(ours, "loom_access_blocks", "loom_limits_refusals")
        lines = [json.loads(line) for line in ours.log.getvalue().splitlines()]

    assert statuses == [401] * 5 + [429] * 3
    assert told == {"loom_access_blocks_total{}": "1", 'loom_limits_refusals_total{loom_scope="blocked"}': "3"}
    blocks = [line for line in lines if line["event"] == "address_blocked"]
    assert [(line["level"], line["address"], line["block_s"]) for line in blocks] == [("warning", "127.0.0.1", 30)]


async def test_a_limit_that_is_reached_is_counted_by_whose_it_is(tmp_path: Path) -> None:
    ann = await let_in(tmp_path)
    limits = {"user": {"requests_per_minute": 1}}

    async with shim(settings(ann, limits=limits), environ=ann.environ) as ours:
        statuses = [(await ours.post(CHAT, HI, authorization=ann.authorization)).status for _ in range(2)]
        told = await values(ours, "loom_limits_refusals")

    assert (statuses, told) == ([200, 429], {'loom_limits_refusals_total{loom_scope="user"}': "1"})


async def test_a_database_that_is_away_is_a_warning_and_an_age_and_keys_stay_good(tmp_path: Path) -> None:
    ann = await let_in(tmp_path)
    async with shim(settings(ann), environ=ann.environ) as ours:
        before = await values(ours, "loom_access_age")
    damage(tmp_path)

    async with shim(settings(ann), environ=ann.environ) as ours:
        status = (await ours.post(CHAT, HI, authorization=ann.authorization)).status
        age = await values(ours, "loom_access_age", 'loom_unavailable{loom_part="access"}')
        health = await ours.get("/health")

    assert before == {"loom_access_age_seconds{}": "0.0"}
    assert status == 200
    assert float(age["loom_access_age_seconds{}"]) >= 0
    assert age['loom_unavailable{loom_part="access"}'] == "1"
    assert (health.status, health.json["status"]) == (200, "healthy")
    warned = {warning["component"]: warning["message"] for warning in health.json["warnings"]}
    assert warned["access"] == "keys, users and budgets cannot be read; the latest known are in use"
    assert str(tmp_path) not in health.body.decode()
