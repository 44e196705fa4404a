from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import select, text, update

from loom_grpc.core.account import CredentialStore, Login, StoredKey, StoreError, Tokens
from loom_grpc.core.errors import PROVIDER_UNAVAILABLE, LlmError
from loom_grpc.core.health import Condition
from loom_grpc.storage.credential_store import DatabaseStore
from loom_grpc.storage.database import Database
from loom_grpc.storage.tables import ACCOUNT_CREDENTIAL, ACCOUNT_RECORD, METADATA
from tests.program import ROOT, run
from tests.store_contract import ALPHA, BETA, KEY, LOGIN, NOW, TOKENS, Clock, Open, StoreContract, record

FIRST = Fernet.generate_key().decode()
SECOND = Fernet.generate_key().decode()
OpenWith = Callable[[str], DatabaseStore]

COUNT_TWENTY_TIMES = """
import asyncio, os
from loom_grpc.core.account import Tokens
from loom_grpc.storage.credential_store import DatabaseStore
from loom_grpc.storage.database import Database
from tests.store_contract import ALPHA, number

async def main():
    store = DatabaseStore(Database(os.environ["URL"]), lambda: os.environ["KEY"])
    for _ in range(20):
        await number(store, ALPHA)
    await store.close()

asyncio.run(main())
"""


@pytest.fixture
async def open_with(url: str, clock: Clock) -> AsyncIterator[OpenWith]:
    """Opens the database with certain keys."""
    opened: list[DatabaseStore] = []

    def open_with(keys: str) -> DatabaseStore:
        opened.append(DatabaseStore(Database(url), lambda: keys, clock=clock))
        return opened[-1]

    yield open_with
    for store in opened:
        await store.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


class TestDatabaseStore(StoreContract):
    @pytest.fixture
    async def open_store(self, open_with: OpenWith) -> Open:
        async def open_store() -> CredentialStore:
            return open_with(FIRST)

        return open_store


async def everything(store: DatabaseStore) -> str:
    """Returns all that the tables hold."""
    rows: list[object] = []
    async with store.database.read() as connection:
        for table in METADATA.sorted_tables:
            rows += await connection.execute(select(table))
    return repr(rows)


async def test_no_secret_can_be_read_in_the_tables(open_with: OpenWith) -> None:
    store = open_with(FIRST)
    await store.add(ALPHA, KEY)
    await store.add(BETA, TOKENS)
    await store.keep_login("state-of-alpha", LOGIN)
    await store.merge_records({ALPHA: record()})

    shown = await everything(store)

    assert "alpha" in shown
    secrets = (KEY.key, TOKENS.access, TOKENS.refresh, LOGIN.verifier, "state-of-alpha", FIRST)
    assert not [secret for secret in secrets if secret in shown]


async def test_another_key_fits_nothing_and_says_what_to_do(open_with: OpenWith) -> None:
    store, other = open_with(FIRST), open_with(SECOND)
    await store.add(ALPHA, KEY)
    await store.keep_login("state", LOGIN)
    words = "credentials.encryption_key does not fit what the database holds for .*; add the key that encrypted it, after a comma"

    with pytest.raises(StoreError, match=words):
        await other.load()
    with pytest.raises(StoreError, match=words):
        async with other.hold(ALPHA):
            pytest.fail("there is nothing to give")
    with pytest.raises(StoreError, match=words):
        await other.add(BETA, TOKENS)
    with pytest.raises(StoreError, match=words):
        await other.save(BETA, TOKENS)
    with pytest.raises(StoreError, match=words):
        await other.take_login("state")

    assert await store.load() == {ALPHA: KEY}
    assert await store.take_login("state") == LOGIN


async def test_after_a_rotation_the_old_key_still_opens_and_the_new_one_encrypts(open_with: OpenWith) -> None:
    await open_with(FIRST).add(ALPHA, KEY)
    rotated = open_with(f"{SECOND}, {FIRST}")

    await rotated.add(BETA, TOKENS)

    assert await rotated.load() == {ALPHA: KEY, BETA: TOKENS}
    with pytest.raises(StoreError, match="anthropic/alpha"):
        await open_with(SECOND).load()


async def test_when_all_is_encrypted_anew_the_old_key_may_go(open_with: OpenWith) -> None:
    store = open_with(FIRST)
    await store.add(ALPHA, KEY)
    await store.add(BETA, TOKENS)
    rotated = open_with(f"{SECOND},{FIRST}")

    assert [await rotated.renew_encryption(), await rotated.renew_encryption()] == [2, 0]
    assert await open_with(SECOND).load() == {ALPHA: KEY, BETA: TOKENS}


async def test_a_key_that_rotates_while_the_server_runs_is_used(url: str) -> None:
    keys = [FIRST]
    store = DatabaseStore(Database(url), lambda: keys[-1])
    await store.add(ALPHA, KEY)

    keys.append(f"{SECOND},{FIRST}")
    await store.save(BETA, TOKENS)
    keys.append(SECOND)

    with pytest.raises(StoreError, match="anthropic/alpha"):
        await store.load()
    async with store.hold(BETA) as stored:
        assert stored == TOKENS
    await store.close()


async def test_a_secret_that_was_moved_to_another_row_is_refused(open_with: OpenWith) -> None:
    store = open_with(FIRST)
    await store.add(ALPHA, KEY)
    async with store.database.write() as connection:
        await connection.execute(update(ACCOUNT_CREDENTIAL).values(id="beta"))

    with pytest.raises(
        StoreError, match="holds for the account anthropic/beta what belongs to the account anthropic/alpha"
    ):
        await store.load()


@pytest.mark.parametrize("keys", ["", "secret-words", f"{FIRST},"])
async def test_what_is_no_key_is_named_and_not_shown(open_with: OpenWith, keys: str) -> None:
    with pytest.raises(StoreError) as caught:
        await open_with(keys).add(ALPHA, KEY)

    assert str(caught.value) == "credentials.encryption_key is no key as `loom-grpc encryption-key` prints them"


async def test_a_key_that_cannot_be_fetched_is_a_store_error(url: str) -> None:
    def sealed() -> str:
        raise LlmError(PROVIDER_UNAVAILABLE, "Vault is sealed.")

    store = DatabaseStore(Database(url), sealed)

    with pytest.raises(StoreError, match=r"credentials\.encryption_key: Vault is sealed\."):
        await store.add(ALPHA, KEY)
    assert await store.load() == {}
    await store.close()


async def test_words_that_postgresql_cannot_keep_are_left_out(open_with: OpenWith) -> None:
    store = open_with(FIRST)

    await store.merge_records({ALPHA: record(error=("over\0loaded \ud83d", NOW))})

    assert await store.load_records() == {ALPHA: record(error=("overloaded ?", NOW))}


async def test_a_condition_that_only_a_newer_version_knows_is_left_alone(open_with: OpenWith) -> None:
    store = open_with(FIRST)
    await store.merge_records({ALPHA: record(), BETA: record(NOW, Condition.OFF)})
    async with store.database.write() as connection:
        await connection.execute(
            update(ACCOUNT_RECORD).where(ACCOUNT_RECORD.c.id == "alpha").values(condition="resting")
        )

    assert await store.load_records() == {BETA: record(NOW, Condition.OFF)}


async def test_processes_take_turns_and_lose_nothing(open_with: OpenWith, url: str) -> None:
    store = open_with(FIRST)
    await store.add(ALPHA, Tokens("0", "refresh", None))
    command = (sys.executable, "-c", COUNT_TWENTY_TIMES)

    results = await asyncio.gather(*(run(env={"URL": url, "KEY": FIRST}, cwd=ROOT, command=command) for _ in range(2)))

    assert [(result.code, result.err) for result in results] == [(0, "")] * 2
    assert await store.load() == {ALPHA: Tokens("40", "refresh", None)}


async def test_nothing_changes_when_a_change_fails(open_with: OpenWith) -> None:
    store = open_with(FIRST)
    await store.add(ALPHA, KEY)
    async with store.database.write() as connection:
        await connection.execute(text("ALTER TABLE account_credential RENAME TO elsewhere"))
    before = await store.revision()

    with pytest.raises(StoreError):
        await store.save(ALPHA, StoredKey("another"))
    with pytest.raises(StoreError):
        await store.remove(ALPHA)

    assert await store.revision() == before


async def test_a_login_that_no_key_opens_is_not_lost(open_with: OpenWith) -> None:
    store = open_with(FIRST)
    await store.keep_login("state", Login(BETA, "verifier", NOW + 1))
    with pytest.raises(StoreError):
        await open_with(SECOND).take_login("state")

    assert await store.take_login("state") == Login(BETA, "verifier", NOW + 1)
