"""Records of several workers: what one that was killed has left, another one sends, and the metrics tell of all."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from pathlib import Path

import aiohttp

from loom_grpc.storage.database import Database
from loom_grpc.storage.ledger import DatabaseLedger
from loom_grpc.v1.admin_service_pb2 import CallFilter
from tests.program import Server, served
from tests.server.test_worker import ask, workers

CALLS = 20
FLAGS = ("--workers", "2", "--grpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0", "--log-level", "warning")
SENT = re.compile(r"^loom_records_sent_total\{\} (\d+)$", re.MULTILINE)


async def sent(server: Server) -> int:
    """Returns how many records all workers have sent."""
    async with aiohttp.ClientSession() as session, session.get(f"{server.http_url}/metrics") as answer:
        found = SENT.search(await answer.text())
    return int(found[1]) if found else 0


async def kept(folder: Path) -> int:
    ledger = DatabaseLedger(Database(f"sqlite:///{folder}/loom.db"))
    count = await ledger.count(CallFilter())
    await ledger.close()
    return count


async def test_records_of_killed_workers_reach_the_ledger_and_all_are_counted(tmp_path: Path) -> None:
    # So long that the killed workers have not sent their records.
    audit = {"enabled": True, "flush_s": 1, "spool_dir": f"{tmp_path}/spool"}
    database = tmp_path / ".state" / "loom-grpc"
    (tmp_path / "loom.json").write_text(json.dumps({"providers": {"mock": {}}, "audit": audit}))

    with served("serve", "--config", "loom.json", *FLAGS, cwd=tmp_path) as server:
        for _ in range(CALLS):
            await ask(server)
        for worker in workers(server):
            os.kill(worker, signal.SIGKILL)
        await ask(server)
        async with asyncio.timeout(20):
            while await sent(server) < CALLS + 1:  # noqa: ASYNC110 - nothing else tells of it
                await asyncio.sleep(0.1)
        before = await kept(database)
        server.stop()

    assert (before, await kept(database)) == (CALLS + 1, CALLS + 1)
