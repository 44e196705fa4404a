"""Takes records of calls from the broker into the ledger, each once, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from google.protobuf.message import DecodeError

from loom_grpc.bus.rabbitmq import Delivery, Intake, intake
from loom_grpc.config.audit import BusConfig
from loom_grpc.core.account import StoreError
from loom_grpc.core.ledger import Ledger
from loom_grpc.v1.audit_pb2 import CallRecord

_GATHER_S: Final = 0.2
"""How long a record waits for others to go into the ledger with it."""
_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 10.0


class Listener(Protocol):
    """Is told how the auditor fares."""

    def trouble(self, words: str) -> None:
        """Takes what keeps records from coming or from being kept, in words for the operator; again whenever it has been tried again."""

    def listening(self) -> None:
        """Takes that the broker is there, and records come when there are any."""

    def kept(self, records: int, new: int) -> None:
        """Takes how many records the ledger has for sure, and how many of them it did not have before."""

    def rejected(self, words: str) -> None:
        """Takes why a message went to the dead letters."""

    def crashed(self, error: Exception) -> None:
        """Takes what nobody expected; the auditor goes on."""


async def audit(
    config: BusConfig, url: Callable[[], str], ledger: Ledger, stop: asyncio.Event, listener: Listener
) -> None:
    """Takes records until `stop` is set, and ends when the batch that is being written by then is written and acknowledged.

    What has not been acknowledged stays with the broker and comes again; the ledger knows records by their ids. While the broker or the
    database is down, it is tried again and again.
    """
    auditing = _Auditing(config, url, ledger, listener)
    work = asyncio.create_task(auditing.run())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
        async with auditing.writing:
            work.cancel()
    finally:
        work.cancel()
        stopping.cancel()
        await asyncio.wait({work, stopping})
    if not work.cancelled():
        work.result()


@dataclass(frozen=True, eq=False)
class _Readable:
    """A delivery that is a record."""

    record: CallRecord
    tag: int


class _Auditing:
    def __init__(self, config: BusConfig, url: Callable[[], str], ledger: Ledger, listener: Listener) -> None:
        self._config = config
        self._url = url
        self._ledger = ledger
        self._listener = listener
        self._failures = 0
        self.writing = asyncio.Lock()
        """Held while a batch is written and acknowledged."""

    async def run(self) -> None:
        while True:
            try:
                async with intake(self._url, self._config) as records:
                    self._listener.listening()
                    while True:
                        await self._take(records, await records.batch(_GATHER_S))
            except StoreError as error:
                self._listener.trouble(str(error))
            except Exception as error:  # noqa: BLE001 - a background loop: the next time may go well
                self._listener.crashed(error)
            await asyncio.sleep(self._pause_s())

    async def _take(self, records: Intake, batch: Sequence[Delivery]) -> None:
        """Has a batch written and acknowledged, however long it takes; raises `StoreError` when the broker is lost."""
        readable = await self._readable(records, batch)
        while readable and not await self._write(records, readable):
            await records.rest(self._pause_s())

    async def _readable(self, records: Intake, batch: Sequence[Delivery]) -> list[_Readable]:
        readable: list[_Readable] = []
        for delivery in batch:
            record = _read(delivery.body)
            if record is None:
                await self._reject(records, delivery.tag, "it is no record of a call")
            else:
                readable.append(_Readable(record, delivery.tag))
        return readable

    async def _write(self, records: Intake, batch: Sequence[_Readable]) -> bool:
        """Tells whether the database has taken the batch; raises `StoreError` when the broker is lost."""
        async with self.writing:
            try:
                unkept = await self._add(batch)
            except StoreError as error:
                self._listener.trouble(str(error))
                return False
            for delivery in unkept:
                await self._reject(records, delivery.tag, "the ledger cannot keep it")
            if kept := [delivery.tag for delivery in batch if delivery not in unkept]:
                await records.accept(kept[-1])
        self._failures = 0
        return True

    async def _add(self, batch: Sequence[_Readable]) -> Sequence[_Readable]:
        """Writes a batch and returns what the ledger cannot keep; raises `StoreError` when the database cannot be used."""
        try:
            new = await self._ledger.add([*{delivery.record.id: delivery.record for delivery in batch}.values()])
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - a background loop: one record must not keep all others out of the ledger
            if len(batch) > 1:
                return [unkept for delivery in batch for unkept in await self._add([delivery])]
            self._listener.crashed(error)
            return batch
        self._listener.kept(len(batch), new)
        return ()

    async def _reject(self, records: Intake, tag: int, words: str) -> None:
        await records.reject(tag)
        self._listener.rejected(words)

    def _pause_s(self) -> float:
        self._failures += 1
        return min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(self._failures - 1, 16))


def _read(body: bytes) -> CallRecord | None:
    """Returns the record; None for what is none, to which some other bytes belong that happen to parse."""
    try:
        record = CallRecord.FromString(body)
    except DecodeError:
        return None
    return record if record.id else None
