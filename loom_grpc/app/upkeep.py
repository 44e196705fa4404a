"""What goes on behind the calls: looking at the store, writing to it, and renewing access tokens before they end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

from loom_grpc.app.accounts import Accounts
from loom_grpc.app.records import Records
from loom_grpc.config import CredentialsConfig
from loom_grpc.core.account import AccountRef, CredentialStore, StoreError
from loom_grpc.core.errors import LlmError
from loom_grpc.core.health import Event, event_of
from loom_grpc.core.pool import Account
from loom_grpc.telemetry import Telemetry

_LOOK_S: Final = 1.0
"""How often the store is looked at for what other processes have changed."""
_GATHER_S: Final = 0.25
"""Conditions are written as soon as they change, and not more often than this."""
_PATIENCE_S: Final = 2.0
"""How long somebody who asks waits for what other processes have changed."""
_COUNTS_EVERY: Final = 5
"""Counts alone are written every so many looks."""


class Upkeep:
    """Keeps accounts and store in step. While the store cannot be had the server goes on with what it has."""

    def __init__(
        self,
        config: CredentialsConfig,
        store: CredentialStore,
        accounts: Accounts,
        records: Records,
        telemetry: Telemetry,
        *,
        look_s: float = _LOOK_S,
    ) -> None:
        self._config = config
        self._store = store
        self._accounts = accounts
        self._records = records
        self._telemetry = telemetry
        self._look_s = look_s
        self._revision: object = None
        self._looks = 0
        self._seen = accounts.changed
        self._reading = asyncio.Lock()
        """Held while the store is read: what was read first must not come after what was read later."""
        self._troubles: dict[Callable[[], Awaitable[None]], str] = {}
        """What is wrong with the store at present, by what was tried."""
        self._unusable: Sequence[str] = ()
        """What has been told of the store's accounts."""
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Reads the store, and goes on in the background."""
        await self._look()
        self._tasks = [
            asyncio.create_task(self._every(self._look_s, self._look)),
            asyncio.create_task(self._every(_GATHER_S, self._follow)),
            asyncio.create_task(self._every(self._config.refresh_interval_s, self._refresh)),
        ]

    async def close(self) -> None:
        """Stops, and writes what is left to write; does nothing where nothing was started."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(credential.close() for credential in self._accounts.logins().values()))
        if self._tasks:
            await self._guarded(self._write)

    async def catch_up(self) -> None:
        """Takes in what other processes have changed, for somebody who decides by it now; without the store it is left for later."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                await self._guarded(self._read)

    async def make_ready(self, coming: Sequence[Account]) -> None:
        """Writes what is left to write, and has accounts that are about to come begin as the store knows them."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                await self._guarded(self._write)
        self._records.coming, self._revision = coming, None
        try:
            await self.catch_up()
        finally:
            self._records.coming = ()

    async def _every(self, interval_s: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(interval_s)
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - a background loop goes on, whatever happens to one of its rounds
                self._telemetry.crashed(None, error)

    async def _look(self) -> None:
        await self._guarded(self._read)
        self._looks += 1
        if self._looks % _COUNTS_EVERY == 0:
            await self._guarded(self._write)

    async def _follow(self) -> None:
        """Writes conditions once they have changed, so that other processes find them when they look."""
        await self._seen.wait()
        self._seen = self._accounts.changed
        await self._guarded(self._write)

    async def _read(self) -> None:
        """Takes in what has changed in the store."""
        async with self._reading:
            await self._read_changes()

    async def _read_changes(self) -> None:
        revision = await self._store.revision()
        if revision == self._revision:
            return
        async with self._accounts.lock:
            self._accounts.sync(await self._store.load())
        for trouble in self._store.troubles:
            if trouble not in self._unusable:
                self._telemetry.account_unusable(trouble)
        self._unusable = tuple(self._store.troubles)
        if self._config.keep_records:
            await self._records.read()
        self._revision = revision

    async def _write(self) -> None:
        if self._config.keep_records:
            await self._records.write()

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Does something with the store; tells its trouble once, and its end."""
        trouble = ""
        try:
            await work()
        except StoreError as error:
            trouble = str(error)
        known = {told for told in self._troubles.values() if told}
        self._troubles[work] = trouble
        if trouble and trouble not in known:
            self._telemetry.store_unavailable(trouble)
        elif known and not any(self._troubles.values()):
            self._telemetry.store_works_again()

    async def _refresh(self) -> None:
        """Renews the access tokens that end soon."""
        await asyncio.gather(*(self._refresh_one(ref) for ref in self._accounts.logins()))

    async def _refresh_one(self, ref: AccountRef) -> None:
        account, credential = self._accounts.find(ref), self._accounts.login(ref)
        if account is None or credential is None or not account.health.usable():
            return
        try:
            await credential.refresh_if_due(self._config.refresh_before_s)
        except LlmError as error:
            self._telemetry.refresh_failed(ref, error)
            if event_of(error) is Event.REFUSED:
                account.health.record(Event.REFUSED, error)
