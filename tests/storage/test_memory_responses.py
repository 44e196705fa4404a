from __future__ import annotations

import pytest

from loom_grpc.core.kept import ResponseStore
from loom_grpc.storage.memory_responses import MemoryResponses
from tests.response_contract import FIRST, SECOND, THIRD, TTL_S, Clock, Open, ResponseStoreContract


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open(clock: Clock) -> Open:
    async def opened() -> ResponseStore:
        return MemoryResponses(1_000_000, TTL_S, clock)

    return opened


class TestMemoryResponses(ResponseStoreContract):
    pass


async def test_the_oldest_goes_when_there_is_no_room() -> None:
    store = MemoryResponses(1_300, TTL_S, Clock())
    for kept in (FIRST, SECOND, THIRD):
        await store.put(kept)

    assert await store.chain("ann", "resp_3") == [SECOND, THIRD]


async def test_what_is_larger_than_the_room_is_not_kept() -> None:
    store = MemoryResponses(1_000, TTL_S, Clock())
    await store.put(FIRST._replace(response_json="x" * 1_000))

    assert await store.chain("ann", "resp_1") == []


async def test_a_circle_ends() -> None:
    store = MemoryResponses(10_000, TTL_S, Clock())
    await store.put(FIRST._replace(previous="resp_2"))
    await store.put(SECOND)

    assert [kept.id for kept in await store.chain("ann", "resp_2")] == ["resp_1", "resp_2"]
