"""What goes on behind the calls: looking at the store, writing to it, and renewing access tokens before they end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from loom_grpc.app.accounts import Accounts
from loom_grpc.app.records import Records
from loom_grpc.config import CredentialsConfig
from loom_grpc.core.account import AccountRef, CredentialStore, StoreError
from loom_grpc.core.errors import LlmError
from loom_grpc.core.health import Event, event_of
from loom_grpc.telemetry import Telemetry

_LOOK_S: Final = 1.0
"""How often the store is looked at for what other processes have changed, and conditions that have changed are written."""
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
    ) -> None:
        self._config = config
        self._store = store
        self._accounts = accounts
        self._records = records
        self._telemetry = telemetry
        self._revision: object = None
        self._looks = 0
        self._seen = accounts.changed
        self._trouble = ""
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Reads the store, and goes on in the background."""
        await self._look()
        self._tasks = [
            asyncio.create_task(self._every(_LOOK_S, self._look)),
            asyncio.create_task(self._every(self._config.refresh_interval_s, self._refresh)),
        ]

    async def close(self) -> None:
        """Stops, and writes what is left to write; does nothing where nothing was started."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(credential.close() for credential in self._accounts.oauth.values()))
        if self._tasks:
            await self._guarded(self._write)

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
        if self._seen is not self._accounts.changed or self._looks % _COUNTS_EVERY == 0:
            await self._guarded(self._write)
            self._seen = self._accounts.changed

    async def _read(self) -> None:
        """Takes in what has changed in the store."""
        revision = await self._store.revision()
        if revision == self._revision:
            return
        async with self._accounts.lock:
            self._accounts.sync(await self._store.load())
        for trouble in self._store.troubles:
            self._telemetry.log.warning("account_unusable", message=trouble)
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
        if trouble and trouble != self._trouble:
            self._telemetry.log.error("store_unavailable", message=trouble)
        self._trouble = trouble

    async def _refresh(self) -> None:
        """Renews the access tokens that end soon."""
        await asyncio.gather(*(self._refresh_one(ref) for ref in list(self._accounts.oauth)))

    async def _refresh_one(self, ref: AccountRef) -> None:
        account, credential = self._accounts.find(ref), self._accounts.oauth.get(ref)
        if account is None or credential is None or not account.health.usable():
            return
        try:
            await credential.refresh_if_due(self._config.refresh_before_s)
        except LlmError as error:
            self._telemetry.refresh_failed(ref, error)
            if event_of(error) is Event.REFUSED:
                account.health.record(Event.REFUSED, error)
