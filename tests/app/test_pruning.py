"""Old records are deleted, as soon as the database is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from loom_grpc.app.pruning import Pruning
from loom_grpc.config import AuditConfig
from loom_grpc.core.account import AccountRef
from loom_grpc.storage.database import Database
from loom_grpc.storage.lease import Lease
from loom_grpc.storage.ledger import DatabaseLedger
from loom_grpc.v1.admin_service_pb2 import CallFilter
from loom_grpc.v1.audit_pb2 import CallRecord
from tests.telemetry.lines import Log, telemetry

DAY = 86_400
NOW = 1_800_000_000


class Rounds:
    """Lets a background loop do one round after another."""

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self._done = asyncio.Event()
        self._next = asyncio.Event()

    async def sleep(self, pause_s: float) -> None:
        self.pauses.append(pause_s)
        self._done.set()
        await self._next.wait()
        self._next.clear()

    async def done(self) -> None:
        """Waits for the end of a round."""
        async with asyncio.timeout(10):
            await self._done.wait()
        self._done.clear()

    async def another(self) -> None:
        """Has another round be done."""
        self._next.set()
        await self.done()


def record(id: str, age_days: float) -> CallRecord:
    start = Timestamp(seconds=round(NOW - age_days * DAY))
    return CallRecord(id=id, start_time=start, prompt_json='"prompt"')


async def contents(ledger: DatabaseLedger) -> Mapping[str, str]:
    """Returns what was asked, by the ids of the records that are left."""
    parts = [part async for part in ledger.export(CallFilter())]
    return {record.id: record.prompt_json for part in parts for record in part}


@asynccontextmanager
async def pruning(database: Database, **audit: Any) -> AsyncIterator[tuple[DatabaseLedger, Rounds, Log]]:
    log, rounds, ledger = Log(), Rounds(), DatabaseLedger(database)
    config = AuditConfig.model_validate(audit)
    one = Pruning(ledger, config, telemetry(log), clock=lambda: NOW, sleep=rounds.sleep)
    one.start()
    await rounds.done()
    try:
        yield ledger, rounds, log
    finally:
        await one.close()
        await ledger.close()


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(f"sqlite:///{tmp_path}/folder/loom.db")


async def test_what_is_old_is_deleted_every_hour(database: Database) -> None:
    async with pruning(database, content_retention_days=2, retention_days=10) as (ledger, rounds, log):
        await ledger.add([record("a", 11), record("b", 9), record("c", 3), record("d", 1)])
        await rounds.another()
        await rounds.another()
        left = await contents(ledger)

    assert left == {"b": "", "c": "", "d": '"prompt"'}
    assert log.lines() == [{"level": "info", "event": "records_pruned", "contents": 3, "records": 1}]
    assert rounds.pauses == [3600, 3600, 3600]


async def test_it_goes_on_when_the_database_is_back(tmp_path: Path, database: Database) -> None:
    in_its_way = tmp_path / "folder"
    in_its_way.write_text("I am no folder.")

    async with pruning(database) as (ledger, rounds, log):
        await rounds.another()
        in_its_way.unlink()
        await ledger.add([record("a", 500)])
        await rounds.another()
        left = await contents(ledger)

    assert left == {}
    assert [line["event"] for line in log.lines()] == ["pruning_failed", "records_pruned"]
    assert rounds.pauses == [60, 60, 3600]


async def test_a_process_leaves_it_to_one_that_is_at_it(database: Database) -> None:
    async with pruning(database) as (ledger, rounds, log):
        await ledger.add([record("a", 500)])
        async with Lease(database, AccountRef("", "ledger"), 60.0).held_if_free() as is_free:
            assert is_free
            await rounds.another()
            assert list(await contents(ledger)) == ["a"]
        await rounds.another()
        left = await contents(ledger)

    assert left == {}
    assert [line["event"] for line in log.lines()] == ["records_pruned"]
