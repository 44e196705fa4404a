"""Responses in a database, which several servers may share."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import ColumnElement, Delete, Integer, and_, delete, func, literal, select, tuple_, update

from loom_grpc.core.kept import KeptResponse
from loom_grpc.storage.cipher import Cipher
from loom_grpc.storage.database import Database
from loom_grpc.storage.tables import KEPT_RESPONSE

_TRIM_EVERY: Final = 32
"""Adding up all sizes takes as long as reading everything does."""


class DatabaseResponses:
    """Keeps each response for `ttl_s`, encrypted with the keys that `cipher_key` gives, or as it is where there is none.

    `clock` gives seconds since 1970. Each new response takes those with it whose time is over, and now and then one takes the oldest,
    where they are more than `max_bytes` together.
    """

    def __init__(
        self,
        database: Database,
        cipher_key: Callable[[], str] | None,
        ttl_s: float,
        *,
        max_bytes: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._cipher = Cipher(cipher_key) if cipher_key is not None else None
        self._ttl_s = ttl_s
        self._max_bytes = max_bytes
        self._clock = clock
        self._puts = 0

    async def put(self, kept: KeptResponse) -> None:
        """Keeps a response, in the place of one with its id."""
        now = self._clock()
        row = {
            "tenant": kept.tenant,
            "id": kept.id,
            "previous": kept.previous,
            "content": self._seal(kept),
            "expires_at": now + self._ttl_s,
        }
        insert = self._database.insert(KEPT_RESPONSE).values(row)
        async with self._database.write() as connection:
            await connection.execute(delete(KEPT_RESPONSE).where(KEPT_RESPONSE.c.expires_at <= now))
            await connection.execute(insert.on_conflict_do_update(index_elements=["tenant", "id"], set_=row))
            if self._max_bytes is not None and self._puts % _TRIM_EVERY == 0:
                await connection.execute(_oldest_beyond(self._max_bytes))
        self._puts += 1

    async def chain(self, tenant: str, id: str) -> list[KeptResponse]:
        """Returns a response and all that it goes on from, the first of the conversation first."""
        async with self._database.read() as connection:
            rows = (await connection.execute(_chain(tenant, id, self._clock()))).all()
        return [self._open(tenant, row) for row in rows]

    async def delete(self, tenant: str, id: str) -> bool:
        """Forgets a response; tells whether there was one."""
        alive = KEPT_RESPONSE.c.expires_at > self._clock()
        async with self._database.write() as connection:
            deleted = await connection.execute(delete(KEPT_RESPONSE).where(_is(tenant, id), alive))
            return deleted.rowcount > 0

    async def renew_encryption(self) -> int:
        """Encrypts every response anew that was not encrypted with the first key, and returns how many were; raises `StoreError`."""
        cipher = self._cipher
        if cipher is None:
            return 0
        renewed = 0
        async with self._database.write() as connection:
            names = (await connection.execute(select(KEPT_RESPONSE.c.tenant, KEPT_RESPONSE.c.id))).all()
            for tenant, id in names:  # one by one, for all of them may be more than the memory holds
                sealed = await connection.scalar(select(KEPT_RESPONSE.c.content).where(_is(tenant, id)))
                if sealed is not None and cipher.outdated(sealed):
                    row = _row(tenant, id)
                    anew = cipher.seal(row, cipher.open(row, sealed))
                    await connection.execute(update(KEPT_RESPONSE).where(_is(tenant, id)).values(content=anew))
                    renewed += 1
        return renewed

    async def close(self) -> None:
        """Closes the database's connections."""
        await self._database.close()

    def _seal(self, kept: KeptResponse) -> str:
        content = [kept.input_json, kept.response_json]
        return json.dumps(content) if self._cipher is None else self._cipher.seal(_row(kept.tenant, kept.id), content)

    def _open(self, tenant: str, row: Any) -> KeptResponse:
        cipher = self._cipher
        content = json.loads(row.content) if cipher is None else cipher.open(_row(tenant, row.id), row.content)
        return KeptResponse(tenant, row.id, row.previous, *content)


def _chain(tenant: str, id: str, now: float) -> Any:
    """Selects a response and those before it by a recursion, which is one round trip however long the conversation is."""
    table = KEPT_RESPONSE.c
    columns = (table.id, table.previous, table.content)
    last = select(*columns, literal(0, Integer).label("back")).where(_is(tenant, id), table.expires_at > now)
    found = last.cte("found", recursive=True)
    before = select(*columns, found.c.back + 1).where(
        and_(table.tenant == tenant, table.id == found.c.previous, table.expires_at > now)
    )
    found = found.union_all(before)
    return select(found).order_by(found.c.back.desc())


def _oldest_beyond(max_bytes: int) -> Delete:
    table = KEPT_RESPONSE.c
    newest_first = func.sum(func.length(table.content)).over(order_by=[table.expires_at.desc(), table.id])
    sizes = select(table.tenant, table.id, newest_first.label("total")).subquery()
    beyond = select(sizes.c.tenant, sizes.c.id).where(sizes.c.total > max_bytes)
    return delete(KEPT_RESPONSE).where(tuple_(table.tenant, table.id).in_(beyond))


def _is(tenant: str, id: str) -> ColumnElement[bool]:
    return and_(KEPT_RESPONSE.c.tenant == tenant, KEPT_RESPONSE.c.id == id)


def _row(tenant: str, id: str) -> str:
    return f"the response {id} of {tenant or 'everybody'}"
