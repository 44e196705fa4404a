"""What every store of responses does, as tests; each store's test file subclasses them and says how one is opened."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from loom_grpc.core.kept import KeptResponse, ResponseStore

TTL_S = 1000.0
FIRST = KeptResponse("ann", "resp_1", "", '[{"role":"user"}]', '{"id":"resp_1","text":"\\u0000 <&> \u2713"}')
SECOND = KeptResponse("ann", "resp_2", "resp_1", "[2]", '{"id":"resp_2"}')
THIRD = KeptResponse("ann", "resp_3", "resp_2", "[3]", '{"id":"resp_3"}')
OTHER = KeptResponse("bob", "resp_2", "resp_1", "[4]", '{"id":"resp_2"}')


class Clock:
    """A clock that is set by hand."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


Open = Callable[[], Awaitable[ResponseStore]]
"""Opens the store of a test."""


class ResponseStoreContract:
    """The subclass has fixtures `open` and `clock`."""

    async def test_a_response_comes_back_with_all_that_it_goes_on_from(self, open: Open) -> None:
        store = await open()
        for kept in (FIRST, SECOND, THIRD):
            await store.put(kept)

        assert await store.chain("ann", "resp_3") == [FIRST, SECOND, THIRD]
        assert await store.chain("ann", "resp_1") == [FIRST]

    async def test_an_unknown_id_is_nothing(self, open: Open) -> None:
        assert await (await open()).chain("ann", "resp_9") == []

    async def test_another_tenants_response_is_nothing(self, open: Open) -> None:
        store = await open()
        await store.put(FIRST)

        assert await store.chain("bob", "resp_1") == []
        assert await store.chain("", "resp_1") == []
        assert not await store.delete("bob", "resp_1")
        assert await store.chain("ann", "resp_1") == [FIRST]

    async def test_a_chain_does_not_go_on_to_another_tenants_response(self, open: Open) -> None:
        store = await open()
        await store.put(FIRST)
        await store.put(OTHER)

        assert await store.chain("bob", "resp_2") == [OTHER]

    async def test_a_response_that_was_deleted_is_gone_and_leaves_a_gap(self, open: Open) -> None:
        store = await open()
        for kept in (FIRST, SECOND, THIRD):
            await store.put(kept)

        assert await store.delete("ann", "resp_2")
        assert not await store.delete("ann", "resp_2")

        assert await store.chain("ann", "resp_3") == [THIRD]

    async def test_the_same_id_again_replaces_the_response(self, open: Open) -> None:
        store = await open()
        await store.put(FIRST)
        await store.put(FIRST._replace(input_json="[]"))

        assert await store.chain("ann", "resp_1") == [FIRST._replace(input_json="[]")]

    async def test_a_response_is_gone_when_its_time_is_over(self, open: Open, clock: Clock) -> None:
        store = await open()
        await store.put(FIRST)
        clock.now += TTL_S - 1
        await store.put(SECOND)
        assert await store.chain("ann", "resp_2") == [FIRST, SECOND]
        clock.now += 1

        assert await store.chain("ann", "resp_2") == [SECOND]
        assert not await store.delete("ann", "resp_1")
        await store.put(THIRD)
        assert await store.chain("ann", "resp_3") == [SECOND, THIRD]
