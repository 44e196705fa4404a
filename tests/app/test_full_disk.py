"""A disk that is full refuses calls rather than lose their records; what was answered is recorded when there is room again."""

from __future__ import annotations

import asyncio
import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loom_grpc.client import LlmError, LoomClient
from loom_grpc.storage.database import Database
from loom_grpc.storage.ledger import DatabaseLedger
from loom_grpc.v1.admin_service_pb2 import CallFilter
from tests.program import Server, served

WAIT_S = 20
FLAGS = ("--grpc-address", "127.0.0.1:0", "--no-http", "--log-level", "warning")


@contextmanager
def disk_full(server: Server) -> Iterator[None]:
    """Has the system refuse whatever the server writes to files, its log included."""
    kind = resource.RLIMIT_FSIZE
    usual = resource.prlimit(server.process.pid, kind)
    resource.prlimit(server.process.pid, kind, (1, usual[1]))
    try:
        yield
    finally:
        resource.prlimit(server.process.pid, kind, usual)


async def reason_of(client: LoomClient, id: str) -> str:
    """Makes a call; returns why it failed, or nothing."""
    try:
        await client.complete("Hello?", model="mock/mock-echo", metadata={"x-request-id": id})
    except LlmError as error:
        return error.name
    return ""


async def recorded(url: str) -> list[tuple[str, str]]:
    """Returns what the ledger says of calls."""
    ledger = DatabaseLedger(Database(url))
    records = [record async for some in ledger.export(CallFilter()) for record in some]
    await ledger.close()
    return [(record.request_id, record.error_reason) for record in records]


async def test_a_full_disk_refuses_calls_and_every_answer_has_its_record_in_the_end(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    key = "Zm9yLXRoZS10ZXN0cy1vbmx5LTMyLWJ5dGVzLWxvbmc="
    settings = {
        "providers": {"mock": {}},
        "audit": {"spool_dir": f"{tmp_path}/spool", "flush_s": 0.05},
        "database": {"url": url},
        "credentials": {"encryption_key": key},
    }
    (tmp_path / "loom.json").write_text(json.dumps(settings))
    told: dict[str, str] = {}

    with served("serve", "--config", "loom.json", *FLAGS, cwd=tmp_path) as server:
        async with LoomClient(server.grpc_address) as client, asyncio.timeout(WAIT_S):
            told["before"] = await reason_of(client, "before")
            with disk_full(server):
                for number in range(5):
                    told[f"full-{number}"] = await reason_of(client, f"full-{number}")
            while (last := await reason_of(client, id := f"after-{len(told)}")) != "":
                told[id] = last
                await asyncio.sleep(0.05)
            told[id] = last
            answered = [(id, "") for id, reason in told.items() if not reason]
            # A ledger that was in trouble is asked again only after a pause.
            while await recorded(url) != answered:  # noqa: ASYNC110 - the database tells nobody
                await asyncio.sleep(0.05)
        assert server.stop() == 0

    assert told["before"] == ""
    assert [told[f"full-{number}"] for number in range(1, 5)] == [
        "STORAGE_UNAVAILABLE"
    ] * 4  # the first one found it out
    assert await recorded(url) == answered
