"""Answers in a real Redis: found by every process, and no call waits for a Redis that is in trouble."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from loom_grpc.cache.redis import USE, RedisStore
from loom_grpc.core.errors import PROVIDER_UNAVAILABLE, LlmError
from tests.redis_server import PASSWORD, RedisServer, redis_url

KEY = bytes(range(32))
NAME = "loom-grpc:cache:" + KEY.hex()
WAIT_S = 10


@dataclass
class World:
    """A store, what it told, and a clock that a test moves. It waits long for Redis, which a busy machine may keep from answering soon."""

    url: str
    patience_s: float = 5.0
    now: float = 0.0
    told: list[str] = field(default_factory=list)
    recovered: asyncio.Event = field(default_factory=asyncio.Event)

    def store(self, url: Callable[[], str] | None = None) -> RedisStore:
        def recover() -> None:
            self.told.append("works again")
            self.recovered.set()

        return RedisStore(
            url or (lambda: self.url),
            max_entry_bytes=1000,
            clock=lambda: self.now,
            on_trouble=self.told.append,
            on_recovery=recover,
            use=replace(USE, patience_s=self.patience_s),
        )

    async def comes_back(self, store: RedisStore) -> None:
        """Goes on asking, a second after the other by the clock, until all is well."""
        async with asyncio.timeout(WAIT_S):
            while not self.recovered.is_set():
                self.now += 1.1
                assert await store.get(KEY) is None or self.recovered.is_set()
                await asyncio.sleep(0.01)


@asynccontextmanager
async def world(url: str, patience_s: float = World.patience_s) -> AsyncIterator[tuple[World, RedisStore]]:
    our = World(url, patience_s)
    store = our.store()
    try:
        yield our, store
    finally:
        await store.close()


def place(redis: RedisServer) -> str:
    return f"the Redis at 127.0.0.1:{redis.port}"


async def test_what_one_process_put_another_one_gets() -> None:
    key = time.time_ns().to_bytes(32)
    with redis_url() as url:
        async with world(url) as (one, store), world(url) as (_, other):
            await store.put(key, b"\0\xffvalue", 60)

            assert await other.get(key) == b"\0\xffvalue"
            assert await other.get(key[::-1]) is None
            assert one.told == []


async def test_it_expires(redis: RedisServer) -> None:
    async with world(redis.url) as (_, store):
        await store.put(KEY, b"value", 2.5)

        assert 2400 < redis.do("PTTL", NAME) <= 2500


async def test_somebody_elses_value_is_a_miss_and_overwritten(redis: RedisServer) -> None:
    redis.do("RPUSH", NAME, "a list")
    async with world(redis.url) as (our, store):
        before = await store.get(KEY)
        await store.put(KEY, b"value", 60)

        assert (before, await store.get(KEY), our.told) == (None, b"value", [])


async def test_of_a_huge_value_no_more_is_read_than_an_entry_may_have(redis: RedisServer) -> None:
    redis.do("SETRANGE", NAME, 50_000_000, "x")
    async with world(redis.url) as (_, store):
        found = await store.get(KEY)

    assert found == bytes(1000)


async def test_a_redis_that_is_down_is_told_once_and_works_again_when_it_is_back(redis: RedisServer) -> None:
    redis.stop()
    async with world(redis.url) as (our, store):
        for _ in range(3):
            assert await store.get(KEY) is None
            await store.put(KEY, b"value", 60)
            our.now += 0.3
        down = list(our.told)
        redis.start()
        await our.comes_back(store)
        await store.put(KEY, b"value", 60)

        assert await store.get(KEY) == b"value"
    wrong = f"{place(redis)} cannot be reached; see that it runs and that cache.redis_url is right"
    assert (down, our.told) == ([wrong], [wrong, "works again"])


async def test_a_redis_that_dies_and_comes_back_is_used_again(redis: RedisServer) -> None:
    async with world(redis.url) as (our, store):
        await store.put(KEY, b"value", 60)
        redis.stop()
        assert await store.get(KEY) is None
        redis.start()
        await our.comes_back(store)
        await store.put(KEY, b"new", 60)

        assert await store.get(KEY) == b"new"
        assert len(our.told) == 2


async def test_a_redis_that_was_restarted_between_two_calls_is_no_trouble(redis: RedisServer) -> None:
    async with world(redis.url) as (our, store):
        await store.put(KEY, b"value", 60)
        redis.stop()
        redis.start()
        await store.put(KEY, b"new", 60)

        assert (await store.get(KEY), our.told) == (b"new", [])


async def test_a_slow_redis_holds_one_call_up_for_a_moment_and_the_next_ones_not_at_all(redis: RedisServer) -> None:
    async with world(redis.url) as (_, patient), world(redis.url, USE.patience_s) as (our, store):
        await patient.put(KEY, b"value", 60)
        if await store.get(KEY) is None:  # a busy machine wants more time to connect
            await our.comes_back(store)
        our.told.clear()
        our.recovered.clear()
        redis.pause(1)
        began = time.perf_counter()
        first = await store.get(KEY)
        first_s = time.perf_counter() - began
        our.now += 1.1
        began = time.perf_counter()
        rest = [await store.get(KEY) for _ in range(100)]
        rest_s = time.perf_counter() - began

        assert (first, rest) == (None, [None] * 100)
        assert 0.09 < first_s < 0.9
        assert rest_s < 0.9
        assert our.told == [f"{place(redis)} does not answer within 0.1 s"]
        await our.comes_back(store)
        assert await patient.get(KEY) == b"value"


async def test_cancelled_calls_never_get_one_anothers_answers(redis: RedisServer) -> None:
    async with world(redis.url) as (our, store):
        keys = [bytes([number]) * 32 for number in range(50)]
        for key in keys:
            await store.put(key, key, 60)
        for round_ in range(20):
            tasks = [asyncio.create_task(store.get(key)) for key in keys]
            await asyncio.sleep(0.0005 * (round_ % 5))
            for task in tasks[::2]:
                task.cancel()
            found = await asyncio.gather(*tasks, return_exceptions=True)
            assert [value for value in found[1::2] if value is not None] == keys[1::2]

        assert [await store.get(key) for key in keys] == keys
        assert our.told == []


async def test_a_wrong_password_is_told_without_it_and_a_new_one_taken_into_use(redis: RedisServer) -> None:
    our = World(redis.url.replace(PASSWORD, "not-the-password"))
    store = our.store()
    assert await store.get(KEY) is None
    our.url = redis.url
    await our.comes_back(store)
    await store.put(KEY, b"value", 60)

    assert await store.get(KEY) == b"value"
    assert our.told == [f"{place(redis)} does not take the user name and password of cache.redis_url", "works again"]
    assert "password" not in repr(store).replace("RedisStore", "")
    await store.close()


async def test_a_redis_without_memory_is_told_and_still_read(redis: RedisServer) -> None:
    async with world(redis.url) as (our, store):
        await store.put(KEY, b"value", 60)
        redis.do("CONFIG", "SET", "maxmemory", "1")
        await store.put(KEY, b"new", 60)
        found = await store.get(KEY)
        redis.do("CONFIG", "SET", "maxmemory", "0")
        await store.put(KEY, b"newest", 60)

        assert (found, await store.get(KEY)) == (b"value", b"newest")
    full = "has no memory left; give it more, or let it drop old keys (maxmemory-policy allkeys-lru)"
    assert our.told == [f"{place(redis)} {full}", "works again"]


async def test_a_user_who_may_not_is_told_and_no_call_fails(redis: RedisServer) -> None:
    redis.do("ACL", "SETUSER", "guest", "on", ">guest-password", "+ping", "+set", "~other:*")
    async with world(redis.url.replace(f":{PASSWORD}", "guest:guest-password")) as (our, store):
        await store.put(KEY, b"value", 60)

        assert await store.get(KEY) is None
    words = "does not let this user use GETRANGE, SET and PING on keys that begin with loom-grpc:cache:"
    assert our.told == [f"{place(redis)} {words}"]


async def test_a_url_that_cannot_be_had_yet_is_trouble_until_it_can(redis: RedisServer) -> None:
    our = World(redis.url)
    urls = [LlmError(PROVIDER_UNAVAILABLE, "The secret cache.redis_url cannot be fetched at present.")]

    def url() -> str:
        if urls:
            raise urls.pop()
        return redis.url

    store = our.store(url)
    assert await store.get(KEY) is None
    await our.comes_back(store)

    assert our.told == ["The secret cache.redis_url cannot be fetched at present.", "works again"]
    await store.close()
