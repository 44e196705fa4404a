"""A credential store in memory, for tests that need a store but no file and no database."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

from loom_grpc.core.account import AccountExistsError, AccountRef, Login, Stored, StoreError
from loom_grpc.core.health import Counts, Record, Standing


class MemoryStore:
    """Keeps everything as the protocol says. Those who share one object are like processes that share one file.

    A test may set `broken` (nothing can be had) or `full` (nothing can be saved) to the words of the `StoreError`; empty is well.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self.troubles: tuple[str, ...] = ()
        self.broken = ""
        self.full = ""
        self.accounts: dict[AccountRef, Stored] = {}
        self.saved: list[Stored] = []
        """What was saved, in order."""
        self.held = 0
        """How often an account was held."""
        self._clock = clock
        self._revision = 0
        self._locks: defaultdict[AccountRef, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._logins: dict[str, Login] = {}
        self._records: dict[AccountRef, Record] = {}

    async def revision(self) -> object:
        """Returns the number of changes so far."""
        self._check_reading()
        return self._revision

    async def load(self) -> dict[AccountRef, Stored]:
        """Returns a copy of all accounts."""
        self._check_reading()
        return dict(self.accounts)

    async def add(self, ref: AccountRef, stored: Stored) -> None:
        """Keeps a new account."""
        self._check_writing()
        if ref in self.accounts:
            raise AccountExistsError(f"There is an account {ref} already.")
        self._keep(ref, stored)

    async def save(self, ref: AccountRef, stored: Stored) -> None:
        """Keeps an account."""
        self._check_writing()
        self._keep(ref, stored)

    async def remove(self, ref: AccountRef) -> bool:
        """Forgets an account and its record."""
        self._check_writing()
        self._records.pop(ref, None)
        self._revision += 1
        return self.accounts.pop(ref, None) is not None

    @asynccontextmanager
    async def hold(self, ref: AccountRef) -> AsyncIterator[Stored | None]:
        """Holds the account against every other task."""
        self._check_reading()
        async with self._locks[ref]:
            self._check_reading()
            self.held += 1
            yield self.accounts.get(ref)

    async def keep_login(self, state: str, login: Login) -> None:
        """Keeps a login."""
        self._check_writing()
        now = self._clock()
        self._logins = {key: kept for key, kept in self._logins.items() if kept.expires > now}
        self._logins[state] = login

    async def take_login(self, state: str) -> Login | None:
        """Takes a login out."""
        self._check_writing()
        login = self._logins.pop(state, None)
        return login if login is not None and login.expires > self._clock() else None

    async def load_records(self) -> dict[AccountRef, Record]:
        """Returns a copy of all records."""
        self._check_reading()
        return dict(self._records)

    async def merge_records(self, changes: Mapping[AccountRef, Record]) -> None:
        """Merges records one by one."""
        self._check_writing()
        for ref, change in changes.items():
            kept = self._records.get(ref, Record(Standing(change.standing.condition, since=float("-inf")), Counts()))
            self._records[ref] = Record(_later(kept.standing, change.standing), kept.counts.plus(change.counts))
        self._revision += bool(changes)

    async def close(self) -> None:
        """Has nothing to let go of."""

    def _keep(self, ref: AccountRef, stored: Stored) -> None:
        self.accounts[ref] = stored
        self.saved.append(stored)
        self._revision += 1

    def _check_reading(self) -> None:
        if self.broken:
            raise StoreError(self.broken)

    def _check_writing(self) -> None:
        self._check_reading()
        if self.full:
            raise StoreError(self.full)


def _later(kept: Standing, new: Standing) -> Standing:
    """Returns the standing that holds, with the error that happened later; of two equal ones the new one."""
    now, before = (new, kept) if new.order >= kept.order else (kept, new)
    told = now if now.last_error_at >= before.last_error_at else before
    return replace(now, last_error=told.last_error, last_error_at=told.last_error_at)
