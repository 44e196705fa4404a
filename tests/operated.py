"""A server in another process that wants keys and keeps records, and `loom-grpc` as its operator."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from cryptography.fernet import Fernet
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from loom_grpc.storage.database import Database
from loom_grpc.storage.ledger import DatabaseLedger
from loom_grpc.v1.access_pb2 import Caller
from loom_grpc.v1.audit_pb2 import OPERATION_COMPLETE, CallRecord
from loom_grpc.v1.usage_pb2 import Cost, Usage
from tests.program import Result, run, served

ADMIN_KEY: Final = "la_Qx8vT2mZp4Kd9Rw3Ys7Bn5Jc"
NASTY: Final = '=1+1\x1b[2J\nsecond, "line" \'; DROP TABLE call_record; --'
"""What a spreadsheet, a terminal, a CSV file and a database must not take for theirs."""
MANY: Final = 2100
"""How many records the user `many` has: more than two pages."""


def call(id: str, day: int, user: str, **fields: Any) -> CallRecord:
    """A call at noon of a day of November 2026."""
    noon = Timestamp()
    noon.FromJsonString(f"2026-11-{day:02}T12:00:00.5Z")
    usual: dict[str, Any] = {
        "request_id": f"request-{id}",
        "operation": OPERATION_COMPLETE,
        "api": "grpc",
        "provider": "openai",
        "model": "gpt-4o",
        "attempts": 1,
        "usage": Usage(input_tokens=1000, output_tokens=20, cache_read_tokens=600),
        "cost": Cost(nanos=1_234_567_890, currency_code="USD"),
        "duration": Duration(seconds=1, nanos=234_500_000),
    }
    caller = Caller(method="key", key_id=f"key-{user}", user=user, address="192.0.2.7")
    return CallRecord(id=id, start_time=noon, caller=caller, **(usual | fields))


CALLS: Final = (
    call("01", 3, "ann", labels={"project": "atlas"}),
    call("02", 3, "bob", labels={"project": "zephyr"}, cost=Cost(nanos=1, currency_code="USD")),
    call("03", 4, "ann", error_reason="PROVIDER_TIMEOUT", cost=None, usage=Usage(input_tokens=5)),
    call("04", 4, "ann", cancelled=True, usage=Usage(input_tokens=7, estimated=True), prompt_json='{"text":"hello"}'),
    call("05", 5, NASTY, model=NASTY, labels={NASTY: NASTY}, session_id=NASTY),
)
"""What the server keeps before anybody calls, beside the records of `many`."""


class Operated(NamedTuple):
    """A server, and its operator's folder."""

    target: str
    cwd: Path

    async def __call__(self, *words: str, env: Mapping[str, str] | None = None) -> Result:
        """Runs a command as the operator."""
        return await run(*words, env=self.env() | dict(env or {}), cwd=self.cwd)

    def env(self) -> dict[str, str]:
        """The environment of an operator."""
        return {"LOOM_ADMIN_KEY": ADMIN_KEY, "LOOM_TARGET": self.target}

    async def json(self, *words: str) -> Any:
        """Runs a command and reads the JSON that it prints."""
        result = await self(*words)
        assert (result.code, result.err) == (0, ""), result
        return json.loads(result.out)


@contextmanager
def operated_server(folder: Path) -> Iterator[Operated]:
    """Starts the server."""
    url = f"sqlite:///{folder}/loom.db"
    config = {
        "providers": {"mock": {}},
        "access": {"enabled": True},
        "admin": {"api_key": ADMIN_KEY},
        "database": {"url": url},
        "credentials": {"encryption_key": Fernet.generate_key().decode()},
        "audit": {"spool_dir": str(folder / "spool"), "flush_s": 0.05, "retention_days": 36_600},
    }
    (folder / "loom.yaml").write_text(json.dumps(config))
    asyncio.run(_keep(url))
    with served("serve", "--no-http", "--grpc-address", "127.0.0.1:0", cwd=folder) as server:
        yield Operated(server.grpc_address, folder)


async def _keep(url: str) -> None:
    ledger = DatabaseLedger(Database(url))
    await ledger.add([*CALLS, *(call(f"1{n:04}", 6, "many") for n in range(MANY))])
    await ledger.close()
