from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import text

from loom_grpc.core.account import StoreError
from loom_grpc.core.kept import ResponseStore
from loom_grpc.storage.database import Database
from loom_grpc.storage.response_store import DatabaseResponses
from tests.response_contract import FIRST, SECOND, TTL_S, Clock, Open, ResponseStoreContract

KEY = Fernet.generate_key().decode()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=[True, False], ids=["encrypted", "plain"])
async def open(request: pytest.FixtureRequest, url: str, clock: Clock) -> AsyncIterator[Open]:
    opened: list[ResponseStore] = []

    async def one() -> ResponseStore:
        key = (lambda: KEY) if request.param else None
        opened.append(DatabaseResponses(Database(url), key, TTL_S, clock=clock))
        return opened[-1]

    yield one
    for store in opened:
        await store.close()


class TestDatabaseResponses(ResponseStoreContract):
    async def test_another_process_finds_what_one_has_kept(self, open: Open) -> None:
        one, other = await open(), await open()
        await one.put(FIRST)
        await other.put(SECOND)

        assert await one.chain("ann", "resp_2") == [FIRST, SECOND]


async def test_the_oldest_go_when_there_is_no_room(url: str, clock: Clock) -> None:
    database = Database(url)
    await DatabaseResponses(database, None, TTL_S, clock=clock).put(FIRST)
    clock.now += 1
    await DatabaseResponses(database, None, TTL_S, max_bytes=60, clock=clock).put(SECOND)

    store = DatabaseResponses(database, None, TTL_S, clock=clock)
    assert await store.chain("ann", "resp_2") == [SECOND]
    await database.close()


async def test_with_a_key_nothing_of_a_response_can_be_read_in_the_database(url: str) -> None:
    database = Database(url)
    await DatabaseResponses(database, lambda: KEY, TTL_S).put(FIRST)

    async with database.read() as connection:
        content = await connection.scalar(text("SELECT content FROM kept_response"))
    await database.close()

    assert "user" not in str(content)


async def test_responses_are_encrypted_anew_with_the_first_key(url: str) -> None:
    database = Database(url)
    await DatabaseResponses(database, lambda: KEY, TTL_S).put(FIRST)
    newer = Fernet.generate_key().decode()
    both = DatabaseResponses(database, lambda: f"{newer},{KEY}", TTL_S)
    await both.put(SECOND)

    assert [await both.renew_encryption(), await both.renew_encryption()] == [1, 0]
    assert await DatabaseResponses(database, lambda: newer, TTL_S).chain("ann", "resp_2") == [FIRST, SECOND]
    await database.close()


async def test_a_response_that_was_moved_to_another_tenant_is_not_opened(url: str) -> None:
    database = Database(url)
    store = DatabaseResponses(database, lambda: KEY, TTL_S)
    await store.put(FIRST)
    async with database.write() as connection:
        await connection.execute(text("UPDATE kept_response SET tenant = 'bob'"))

    with pytest.raises(StoreError, match="somebody has moved it there"):
        await store.chain("bob", "resp_1")
    await database.close()
