"""Holding an account by a lease in the database."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from sqlalchemy import ColumnElement, Double, and_, delete, literal_column, update

from loom_grpc.core.account import AccountRef, StoreError
from loom_grpc.core.to_its_end import to_its_end
from loom_grpc.storage.database import Database
from loom_grpc.storage.tables import ACCOUNT_HOLD

LEASE_S: Final = 60.0
_LOOK_S: Final = 0.05
"""How long it takes, at least, until a hold is tried again; at most twice that."""
_NOW: Final[dict[str, ColumnElement[float]]] = {
    "postgresql": literal_column("CAST(extract(epoch FROM clock_timestamp()) AS double precision)", Double),
    "sqlite": literal_column("((julianday('now') - 2440587.5) * 86400.0)", Double),
}
"""The database's clock, which is one for all servers, however theirs differ."""


class Lease:
    """A hold of one account for as long as `held` lasts; that of a process that died ends after `lease_s`.

    It takes no connection while it lasts, and works through a pooler of connections.
    """

    def __init__(self, database: Database, ref: AccountRef, lease_s: float) -> None:
        self._database = database
        self._ref = ref
        self._lease_s = lease_s
        self._holder = uuid.uuid4().hex
        self._now = _NOW[database.dialect]
        hold = ACCOUNT_HOLD.c
        self._mine = and_(hold.provider == ref.provider, hold.id == ref.id, hold.holder == self._holder)

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Waits until nobody else holds the account and then keeps everybody else from it.

        Raises `StoreError`, also when somebody goes on holding it for longer than the lease of a process that died would last.
        """
        try:
            await self._take()
            async with _beside(self._prolong()):
                yield
        finally:
            await to_its_end(self._let_go())

    @asynccontextmanager
    async def held_if_free(self) -> AsyncIterator[bool]:
        """Gives whether nobody else holds it, and then keeps everybody else from it; raises `StoreError`."""
        try:
            if not await self._try_to_take():
                yield False
                return
            async with _beside(self._prolong()):
                yield True
        finally:
            await to_its_end(self._let_go())

    async def _take(self) -> None:
        longest_s = 1.5 * self._lease_s
        try:
            async with asyncio.timeout(longest_s):
                while not await self._try_to_take():  # noqa: ASYNC110 - nothing tells one process of another's end
                    await asyncio.sleep(random.uniform(_LOOK_S, 2 * _LOOK_S))  # noqa: S311 - for no secret
        except TimeoutError:
            message = f"the account {self._ref} has been held elsewhere for {longest_s:.0f} s; try again later"
            raise StoreError(message) from None

    async def _try_to_take(self) -> bool:
        lease = {"holder": self._holder, "until": self._now + self._lease_s}
        insert = self._database.insert(ACCOUNT_HOLD).values({**self._ref._asdict(), **lease})
        ended = ACCOUNT_HOLD.c.until < self._now
        take = insert.on_conflict_do_update(index_elements=["provider", "id"], set_=lease, where=ended)
        return bool(await self._execute(take.returning(ACCOUNT_HOLD.c.holder)))

    async def _prolong(self) -> None:
        longer = update(ACCOUNT_HOLD).where(self._mine).values(until=self._now + self._lease_s)
        while True:
            await asyncio.sleep(self._lease_s / 4)
            # There are two more tries before the lease ends.
            with suppress(StoreError):
                await self._execute(longer)

    async def _let_go(self) -> None:
        # When the database cannot be had now, the lease ends by itself; what was saved is saved.
        with suppress(StoreError):
            await self._execute(delete(ACCOUNT_HOLD).where(self._mine))

    async def _execute(self, statement: Any) -> list[Any]:
        async with self._database.write() as connection:
            result = await connection.execute(statement)
            return list(result) if result.returns_rows else []


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Lets something else happen for as long as the block takes."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
