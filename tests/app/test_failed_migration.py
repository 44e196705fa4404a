"""A database whose tables cannot be made: no key is let in, no record is lost, and all goes on once that is repaired."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from loom_grpc.access.key import new_key
from loom_grpc.client import LlmError, LoomClient
from loom_grpc.core.account import StoreError
from loom_grpc.storage.database import Database
from loom_grpc.storage.ledger import DatabaseLedger
from loom_grpc.v1.admin_service_pb2 import CallFilter
from tests.postgres import databases
from tests.program import Result, run, served

WAIT_S = 30
CALLS = 10
FLAGS = ("--grpc-address", "127.0.0.1:0", "--no-http", "--log-level", "error")
IN_THE_WAY = "CREATE TABLE call_record (mine TEXT)"
REPAIR = "DROP TABLE call_record"

Execute = Callable[[str], object]


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Execute]]:
    """Gives a database that has a table of somebody else's, and what runs a statement there."""
    if request.param == "sqlite":
        file = tmp_path / "loom.db"

        def execute(statement: str) -> None:
            with closing(sqlite3.connect(file)) as connection, connection:
                connection.execute(statement)

        execute(IN_THE_WAY)
        yield f"sqlite:///{file}", execute
        return
    with databases() as server:
        url = server.new_database()
        server.execute(IN_THE_WAY, url)
        yield url, lambda statement: server.execute(statement, url)


def configure(folder: Path, url: str, *, access: bool) -> None:
    settings = {
        "providers": {"mock": {}},
        "access": {"enabled": access},
        "audit": {"spool_dir": f"{folder}/spool", "flush_s": 0.05},
        "database": {"url": url},
        "credentials": {"encryption_key": "Zm9yLXRoZS10ZXN0cy1vbmx5LTMyLWJ5dGVzLWxvbmc="},
    }
    (folder / "loom.json").write_text(json.dumps(settings))


async def migrated(folder: Path) -> Result:
    return await run("migrate", "--config", "loom.json", cwd=folder)


async def count(ledger: DatabaseLedger) -> int:
    try:
        return await ledger.count(CallFilter())
    except StoreError:
        return 0


async def test_records_wait_until_the_tables_can_be_made(database: tuple[str, Execute], tmp_path: Path) -> None:
    url, execute = database
    configure(tmp_path, url, access=False)
    refused = await migrated(tmp_path)
    with served("serve", "--config", "loom.json", *FLAGS, cwd=tmp_path) as server:
        async with LoomClient(server.grpc_address) as client, asyncio.timeout(WAIT_S):
            for _ in range(CALLS):
                await client.complete("Hello?", model="mock/mock-echo")
            while b'"records_wait"' not in os.pread(server.log.fileno(), 2**20, 0):  # noqa: ASYNC110 - a file tells nobody
                await asyncio.sleep(0.05)
            await asyncio.to_thread(execute, REPAIR)
            ledger = DatabaseLedger(Database(url))
            while await count(ledger) < CALLS:  # noqa: ASYNC110 - a database tells nobody
                await asyncio.sleep(0.1)
            found = await count(ledger)
            await ledger.close()
        assert server.stop() == 0

    assert found == CALLS
    assert refused.code == 1
    assert "call_record" in refused.err
    assert "already exists" in refused.err
    assert (await migrated(tmp_path)).code == 0


async def test_no_key_is_let_in_and_none_is_said_to_be_wrong(database: tuple[str, Execute], tmp_path: Path) -> None:
    url, _ = database
    configure(tmp_path, url, access=True)
    with served("serve", "--config", "loom.json", *FLAGS, cwd=tmp_path) as server:
        async with LoomClient(server.grpc_address, api_key=new_key("lt")) as client, asyncio.timeout(WAIT_S):
            with pytest.raises(LlmError) as caught:
                await client.complete("Hello?", model="mock/mock-echo")

    assert caught.value.name == "STORAGE_UNAVAILABLE"
