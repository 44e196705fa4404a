"""Memory that is bounded, and forgets in time."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_grpc.cache.memory import MemoryStore

ENTRY = 400
"""What an entry of no bytes takes."""


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def test_what_was_put_is_there_until_its_time_is_over(clock: Clock) -> None:
    store = MemoryStore(10_000, clock)
    await store.put(b"k", b"one", 5)
    await store.put(b"k", b"two", 10)
    clock.now += 9.9
    before = await store.get(b"k")
    clock.now += 0.1

    assert (before, await store.get(b"k"), await store.get(b"other")) == (b"two", None, None)
    assert store.size == 0


async def test_what_was_not_asked_for_the_longest_goes_first(clock: Clock) -> None:
    store = MemoryStore(3 * (ENTRY + 1), clock)
    for key in (b"a", b"b", b"c"):
        await store.put(key, b"x", 5)
    await store.get(b"a")
    await store.put(b"d", b"x", 5)

    assert [await store.get(key) for key in (b"a", b"b", b"c", b"d")] == [b"x", None, b"x", b"x"]


async def test_what_has_no_room_at_all_is_not_kept_and_drives_nothing_else_out(clock: Clock) -> None:
    store = MemoryStore(1000, clock)
    await store.put(b"a", b"x", 5)
    await store.put(b"b", b"x", 5)
    await store.put(b"b", bytes(1000), 5)

    assert (await store.get(b"a"), await store.get(b"b"), store.size) == (b"x", None, ENTRY + 1)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 900), st.floats(0.1, 5), st.floats(0, 2))))
def test_it_never_takes_more_than_it_may(puts: list[tuple[int, int, float, float]]) -> None:
    clock = Clock()
    store = MemoryStore(3000, clock)

    async def play() -> None:
        for key, size, ttl_s, passed_s in puts:
            await store.put(bytes([key]), bytes(size), ttl_s)
            clock.now += passed_s
            assert store.size <= 3000
            await store.get(bytes([key]))
        kept = [value for key in range(10) if (value := await store.get(bytes([key]))) is not None]
        assert store.size == sum(len(value) + ENTRY for value in kept)

    asyncio.run(play())
