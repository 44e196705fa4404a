"""The records of calls: where they go first, where they are kept, and what can be asked of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from loom_grpc.v1.admin_service_pb2 import CallFilter, UsageRow
from loom_grpc.v1.audit_pb2 import CallRecord


class SpoolError(Exception):
    """A spool that cannot take records: what is wrong and what to do, in words for the operator."""


class SpoolState(NamedTuple):
    """How a spool is doing."""

    records: int
    """How many are waiting."""
    bytes: int
    """What they take."""
    oldest_s: float
    """When the oldest of them came, in seconds since 1970; 0 when there is none."""
    trouble: str
    """Why nothing more can be taken; empty when it can."""


class Spool(Protocol):
    """Where records are durable before their calls are answered, and from where they go on. Used from the event loop; each method
    takes microseconds."""

    def check(self) -> None:
        """Raises `SpoolError` when there is no room for the record of another call."""

    def put(self, id: str, record: bytes) -> None:
        """Keeps a record, so that killing the process does not lose it. Never raises: one that cannot be written now is held in memory and
        written as soon as it can be, and until then `check` refuses."""

    def state(self) -> SpoolState:
        """Tells how it is doing."""


class Sink(Protocol):
    """Where records go from the spool."""

    async def send(self, records: Sequence[bytes]) -> None:
        """Hands records over, each a serialized `CallRecord`; returns when none of them can be lost any more. One that was handed over
        before changes nothing. Raises `core.account.StoreError`; then any of them may or may not have been taken."""

    async def close(self) -> None:
        """Lets go of the way there."""


class Ledger(Protocol):
    """Where records are kept. Raises `core.account.StoreError`."""

    async def add(self, records: Sequence[CallRecord]) -> int:
        """Keeps the records that are not kept yet, by their ids, and adds what they cost to what was spent, in one transaction.

        Returns how many were new.
        """

    async def usage(self, filter: CallFilter, group_by: Sequence[str], offset: int, limit: int) -> list[UsageRow]:
        """Adds up calls by groups, as `QueryUsageRequest` names them, in the order of the groups; raises `ValueError` for other names."""

    async def calls(self, filter: CallFilter, before: str, limit: int) -> list[CallRecord]:
        """Returns records without prompts and answers, the newest first, whose ids sort before one; an empty id is none."""

    async def call(self, id: str) -> CallRecord | None:
        """Returns one record whole."""

    async def count(self, filter: CallFilter) -> int:
        """Returns how many there are."""

    def export(self, filter: CallFilter) -> AsyncIterator[list[CallRecord]]:
        """Yields records whole, some at a time, the oldest first; holds no transaction open between."""

    async def prune(self, *, content_before: float, before: float) -> Mapping[str, int]:
        """Takes prompts and answers away from records that are older than one time, and forgets those that are older than another (seconds
        since 1970). What was spent stays known. Returns how many of `contents` and of `records` there were."""

    async def close(self) -> None:
        """Lets go of the store."""
