"""Records that go straight from the spool into the database."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import DecodeError

from loom_grpc.core.account import StoreError
from loom_grpc.core.ledger import Ledger
from loom_grpc.v1.audit_pb2 import CallRecord


class LedgerSink:
    """A sink that is a ledger, which stays open."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def send(self, records: Sequence[bytes]) -> None:
        """Keeps the records; raises `StoreError`, also for one that makes no sense."""
        try:
            parsed = [CallRecord.FromString(record) for record in records]
        except DecodeError:
            raise StoreError("a record in the spool is no record of a call") from None
        await self._ledger.add(parsed)

    async def close(self) -> None:
        """Does nothing."""
