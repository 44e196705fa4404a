"""The credential store in a database, which several servers may share."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from sqlalchemy import ColumnElement, Table, and_, case, delete, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from loom_grpc.core.account import AccountExistsError, AccountRef, Login, Stored, StoredKey, Tokens
from loom_grpc.core.health import Condition, Counts, Record, Standing
from loom_grpc.storage.cipher import Cipher
from loom_grpc.storage.database import Database
from loom_grpc.storage.lease import LEASE_S, Lease
from loom_grpc.storage.tables import ACCOUNT_CREDENTIAL, ACCOUNT_RECORD, ACCOUNT_REVISION, OAUTH_LOGIN

_KEY: Final = "api_key"
_OAUTH: Final = "oauth"
_REF: Final = ("provider", "id")
_ORDER: Final = ("switched_at", "since", "until")
"""What `Standing.order` compares."""


class DatabaseStore:
    """Keeps accounts in a database, encrypted with the keys that `cipher_key` gives (see `Cipher`).

    `clock` gives seconds since 1970; `lease_s` is how long an account stays held by a process that died.
    """

    troubles: Sequence[str] = ()
    """Always none: a row that cannot be read fails `load`, because without it the account would look removed."""

    def __init__(
        self,
        database: Database,
        cipher_key: Callable[[], str],
        *,
        clock: Callable[[], float] = time.time,
        lease_s: float = LEASE_S,
    ) -> None:
        self.database = database
        self._cipher = Cipher(cipher_key)
        self._clock = clock
        self._lease_s = lease_s

    async def revision(self) -> object:
        """Returns a number that rises with every change."""
        async with self.database.read() as connection:
            return await connection.scalar(select(ACCOUNT_REVISION.c.number))

    async def load(self) -> dict[AccountRef, Stored]:
        """Returns all accounts."""
        async with self.database.read() as connection:
            return {ref: self._open(ref, secret) for ref, secret in await _secrets(connection)}

    async def add(self, ref: AccountRef, stored: Stored) -> None:
        """Keeps a new account; raises `AccountExistsError`."""
        insert = self.database.insert(ACCOUNT_CREDENTIAL).values(self._row(ref, stored)).on_conflict_do_nothing()
        async with self._change() as connection:
            await self._check_key(connection, ref)
            added = await connection.execute(insert.returning(ACCOUNT_CREDENTIAL.c.id))
            if added.first() is None:
                raise AccountExistsError(f"there is an account {ref} already")

    async def save(self, ref: AccountRef, stored: Stored) -> None:
        """Keeps an account, in the place of what was there."""
        row = self._row(ref, stored)
        insert = self.database.insert(ACCOUNT_CREDENTIAL).values(row)
        async with self._change() as connection:
            await self._check_key(connection, ref)
            await connection.execute(insert.on_conflict_do_update(index_elements=_REF, set_=row))

    async def remove(self, ref: AccountRef) -> bool:
        """Forgets an account and its record; tells whether there was one."""
        async with self._change() as connection:
            await connection.execute(delete(ACCOUNT_RECORD).where(_is(ACCOUNT_RECORD, ref)))
            removed = await connection.execute(delete(ACCOUNT_CREDENTIAL).where(_is(ACCOUNT_CREDENTIAL, ref)))
            return removed.rowcount > 0

    @asynccontextmanager
    async def hold(self, ref: AccountRef) -> AsyncIterator[Stored | None]:
        """Keeps every other process and task from holding the account, and gives what is stored now."""
        async with Lease(self.database, ref, self._lease_s).held():
            yield await self._get(ref)

    async def keep_login(self, state: str, login: Login) -> None:
        """Keeps a login until it is taken, and drops those that are too late to finish."""
        name = _hash(state)
        secret = self._cipher.seal(f"the login {name}", [*login.ref, login.verifier, login.expires])
        row = {"state_hash": name, "secret": secret, "expires_at": login.expires}
        insert = self.database.insert(OAUTH_LOGIN).values(row)
        async with self.database.write() as connection:
            await connection.execute(delete(OAUTH_LOGIN).where(OAUTH_LOGIN.c.expires_at <= self._clock()))
            await connection.execute(insert.on_conflict_do_update(index_elements=["state_hash"], set_=row))

    async def take_login(self, state: str) -> Login | None:
        """Returns a login and forgets it, so that no second process can take it; None when there is none or it is too late."""
        name = _hash(state)
        take = delete(OAUTH_LOGIN).where(OAUTH_LOGIN.c.state_hash == name).returning(OAUTH_LOGIN.c.secret)
        async with self.database.write() as connection:
            sealed = (await connection.execute(take)).scalar()
            if sealed is None:
                return None
            provider, account, verifier, expires = self._cipher.open(f"the login {name}", sealed)
        return Login(AccountRef(provider, account), verifier, expires) if expires > self._clock() else None

    async def load_records(self) -> dict[AccountRef, Record]:
        """Returns how all accounts fare, as far as this version knows their conditions."""
        known = select(ACCOUNT_RECORD).where(ACCOUNT_RECORD.c.condition.in_(list(Condition)))
        async with self.database.read() as connection:
            rows = await connection.execute(known)
            return {AccountRef(row.provider, row.id): _record(row) for row in rows}

    async def merge_records(self, changes: Mapping[AccountRef, Record]) -> None:
        """Adds the counts to those that are kept, and keeps each standing that is later than the one that is kept."""
        if not changes:
            return
        insert = self.database.insert(ACCOUNT_RECORD)
        merge = insert.on_conflict_do_update(index_elements=_REF, set_=_merged(insert.excluded))
        async with self._change() as connection:
            await connection.execute(merge, [_record_row(ref, record) for ref, record in changes.items()])

    async def renew_encryption(self) -> int:
        """Encrypts every account anew that was not encrypted with the first key, and returns how many were; raises `StoreError`.

        Afterwards nothing but logins under way needs the other keys.
        """
        renewed = 0
        async with self._change() as connection:
            for ref, secret in await _secrets(connection):
                if self._cipher.outdated(secret):
                    row = self._row(ref, self._open(ref, secret))
                    await connection.execute(update(ACCOUNT_CREDENTIAL).where(_is(ACCOUNT_CREDENTIAL, ref)).values(row))
                    renewed += 1
        return renewed

    async def close(self) -> None:
        """Closes the database's connections."""
        await self.database.close()

    @asynccontextmanager
    async def _change(self) -> AsyncIterator[AsyncConnection]:
        """Gives a transaction that begins by raising the revision, for which all other changes wait."""
        async with self.database.write() as connection:
            await connection.execute(update(ACCOUNT_REVISION).values(number=ACCOUNT_REVISION.c.number + 1))
            yield connection

    async def _check_key(self, connection: AsyncConnection, ref: AccountRef) -> None:
        """Raises `StoreError` when the key does not open what is there, so that a wrong one encrypts nothing beside it."""
        own_first = select(ACCOUNT_CREDENTIAL).order_by(_is(ACCOUNT_CREDENTIAL, ref).desc()).limit(1)
        for row in await connection.execute(own_first):
            self._open(AccountRef(row.provider, row.id), row.secret)

    async def _get(self, ref: AccountRef) -> Stored | None:
        wanted = select(ACCOUNT_CREDENTIAL.c.secret).where(_is(ACCOUNT_CREDENTIAL, ref))
        async with self.database.read() as connection:
            secret = await connection.scalar(wanted)
        return None if secret is None else self._open(ref, secret)

    def _row(self, ref: AccountRef, stored: Stored) -> dict[str, object]:
        kind, *value = (
            (_KEY, stored.key)
            if isinstance(stored, StoredKey)
            else (_OAUTH, stored.access, stored.refresh, stored.expires)
        )
        secret = self._cipher.seal(f"the account {ref}", [kind, *value])
        return {**ref._asdict(), "kind": kind, "secret": secret, "updated_at": self._clock()}

    def _open(self, ref: AccountRef, secret: str) -> Stored:
        kind, *value = self._cipher.open(f"the account {ref}", secret)
        return StoredKey(*value) if kind == _KEY else Tokens(*value)


async def _secrets(connection: AsyncConnection) -> list[tuple[AccountRef, str]]:
    rows = await connection.execute(select(ACCOUNT_CREDENTIAL).order_by(*ACCOUNT_CREDENTIAL.primary_key))
    return [(AccountRef(row.provider, row.id), row.secret) for row in rows]


def _is(table: Table, ref: AccountRef) -> ColumnElement[bool]:
    return and_(table.c.provider == ref.provider, table.c.id == ref.id)


def _hash(state: str) -> str:
    return hashlib.sha256(state.encode(errors="surrogatepass")).hexdigest()


def _record(row: Any) -> Record:
    standing = Standing(
        Condition(row.condition),
        row.since,
        row.until,
        row.last_error,
        row.last_error_at,
        row.switched_at,
        row.is_burst,
    )
    return Record(standing, Counts(row.requests, row.errors, row.input_tokens, row.output_tokens))


def _record_row(ref: AccountRef, record: Record) -> dict[str, object]:
    standing = record.standing
    return {
        **ref._asdict(),
        "condition": standing.condition.value,
        "since": standing.since,
        "until": standing.until,
        # PostgreSQL keeps no NUL and no half of a surrogate pair.
        "last_error": standing.last_error.replace("\0", "").encode(errors="replace").decode(),
        "last_error_at": standing.last_error_at,
        "switched_at": standing.switched_at,
        "is_burst": standing.is_burst,
        **record.counts._asdict(),
    }


def _merged(new: Any) -> dict[str, ColumnElement[Any]]:
    """Returns what a record's columns become when a new one comes to the one that is kept."""
    kept = ACCOUNT_RECORD.c
    later = tuple_(*(new[name] for name in _ORDER)) >= tuple_(*(kept[name] for name in _ORDER))
    later_error = or_(new.last_error_at > kept.last_error_at, and_(new.last_error_at == kept.last_error_at, later))
    return {
        **{name: case((later, new[name]), else_=kept[name]) for name in (*_ORDER, "condition", "is_burst")},
        **{name: case((later_error, new[name]), else_=kept[name]) for name in ("last_error", "last_error_at")},
        **{name: kept[name] + new[name] for name in Counts._fields},
    }
