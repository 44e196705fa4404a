"""What the server tells of its store's trouble: once when it begins, and when it is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from loom_grpc.app.accounts import Accounts
from loom_grpc.app.provider import Provider
from loom_grpc.app.records import Records
from loom_grpc.app.upkeep import Upkeep
from loom_grpc.config import CredentialsConfig, ProviderConfig
from loom_grpc.core.account import AccountRef, StoredKey
from loom_grpc.core.health import Record
from loom_grpc.credentials.secret import Secrets
from tests.memory_store import MemoryStore
from tests.telemetry.lines import Log, telemetry


class Store(MemoryStore):
    """Counts how often records were written, or could not be."""

    def __init__(self) -> None:
        super().__init__()
        self.tries = 0
        self.tried = asyncio.Event()

    async def merge_records(self, changes: Mapping[AccountRef, Record]) -> None:
        self.tries += 1
        self.tried.set()
        await super().merge_records(changes)

    async def wait_for_tries(self, number: int) -> None:
        """Waits until so many more records were written, or could not be."""
        wanted = self.tries + number
        while self.tries < wanted:
            self.tried.clear()
            await self.tried.wait()


@asynccontextmanager
async def kept(store: MemoryStore, log: Log) -> AsyncIterator[Accounts]:
    """Keeps OpenAI's account in step with a store, looking at it without pause."""
    told = telemetry(log)
    secrets = Secrets({})
    accounts = Accounts(store, secrets, told)
    config = ProviderConfig.model_validate({"accounts": {"team-a": {"api_key": "key-a"}}})
    provider = Provider("openai", config, secrets, told, accounts.condition_changed)
    accounts.furnish(provider)
    accounts.take_over({"openai": provider})
    upkeep = Upkeep(CredentialsConfig(), store, accounts, Records(store, lambda: accounts), told, look_s=0)
    await upkeep.start()
    try:
        yield accounts
    finally:
        await upkeep.close()
        await provider.transport.close()


async def use(accounts: Accounts) -> None:
    """Makes something to be written."""
    (account,) = accounts
    account.health.begin()
    account.health.end()


async def test_a_store_that_can_be_read_but_not_written_is_told_once_and_its_end_too() -> None:
    log, store = Log(), Store()
    store.full = "The disk is full; make room."
    async with kept(store, log) as accounts, asyncio.timeout(10):
        await use(accounts)
        await store.wait_for_tries(3)
        store.full = ""
        await store.wait_for_tries(1)
        await use(accounts)
        await store.wait_for_tries(1)

    assert [(line["level"], line["event"], line.get("message", "")) for line in log.lines()] == [
        ("error", "store_unavailable", "The disk is full; make room."),
        ("info", "store_works_again", ""),
    ]


async def test_a_store_that_is_away_is_told_once_however_many_things_it_is_wanted_for() -> None:
    log, store = Log(), Store()
    async with kept(store, log) as accounts, asyncio.timeout(10):
        await use(accounts)
        store.broken = "The database is away."
        await store.wait_for_tries(3)

    assert [line["event"] for line in log.lines()] == ["store_unavailable"]


async def test_an_account_that_cannot_be_used_is_told_once_however_often_the_store_changes() -> None:
    log, store = Log(), Store()
    store.troubles = ("The account 'openai/x' is left out: it has no `key`.",)
    async with kept(store, log) as accounts, asyncio.timeout(10):
        for number in range(3):
            await store.add(AccountRef("openai", f"new-{number}"), StoredKey("key-of-the-store"))
            while accounts.find(AccountRef("openai", f"new-{number}")) is None:
                await accounts.changed.wait()

    assert [line["message"] for line in log.lines("account_unusable")] == list(store.troubles)
