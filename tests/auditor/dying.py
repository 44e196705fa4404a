"""An auditor that SIGKILL ends after its first batch is in the database and before the broker hears of it: run with two URLs and names."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence

from loom_grpc.auditor.auditor import audit
from loom_grpc.auditor.report import Report
from loom_grpc.config import Config
from loom_grpc.config.audit import BusConfig
from loom_grpc.storage.database import Database
from loom_grpc.storage.ledger import DatabaseLedger
from loom_grpc.telemetry import Telemetry
from loom_grpc.v1.audit_pb2 import CallRecord


class DyingLedger(DatabaseLedger):
    """Takes records, and the process with it."""

    async def add(self, records: Sequence[CallRecord]) -> int:
        await super().add(records)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


async def main(broker: str, database: str, names: str) -> None:
    ledger = DyingLedger(Database(database))
    bus = BusConfig.model_validate_json(names)
    await audit(bus, lambda: broker, ledger, asyncio.Event(), Report(Telemetry(Config())))


asyncio.run(main(*sys.argv[1:]))
