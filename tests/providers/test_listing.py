"""The models of every provider, as configured and as the providers say themselves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from loom_grpc.core.account import AccountRef
from loom_grpc.core.call import Call, Send
from loom_grpc.core.errors import PROVIDER_AUTH_FAILED, PROVIDER_BAD_RESPONSE, LlmError
from loom_grpc.core.health import Health
from loom_grpc.core.pool import Account, Pool
from loom_grpc.core.router import Target
from loom_grpc.credentials.api_key import ApiKey
from loom_grpc.providers import listing
from loom_grpc.providers._http import HttpTransport
from loom_grpc.providers.dialect import Dialect
from loom_grpc.providers.listing import Listing, Shelf
from loom_grpc.providers.openai import OpenAI
from loom_grpc.providers.upstream import Limits, Upstream
from loom_grpc.providers.vertex import Vertex
from loom_grpc.v1.admin_service_pb2 import ACCOUNT_KIND_NONE
from loom_grpc.v1.llm_service_pb2 import Model
from tests.stand_in import Connection, Script, StandIn, json_answer, stand_in

LIMITS = Limits(connect_s=5, first_token_s=5, idle_s=5)
LISTED = json_answer({"data": [{"id": "b", "name": "B"}, {"id": "a"}]})
REFUSED = json_answer({"error": {}}, status=401)


class Place:
    """Listings of stand-ins, and what they report."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.shelves: dict[str, Shelf] = {}
        self.stands: dict[str, StandIn] = {}
        self.failures: list[tuple[str, LlmError]] = []
        self.listing = Listing(self.shelves, lambda provider, error: self.failures.append((provider, error)))

    async def add(
        self, name: str, script: Script, *, default: str = "", configured: list[str] | None = None, dialect: Dialect | None = None
    ) -> None:  # fmt: skip
        stand = await self._stack.enter_async_context(stand_in(script))
        http = HttpTransport(10)
        self._stack.push_async_callback(http.close)
        upstream = Upstream(dialect or OpenAI(), stand.url, ApiKey("authorization", "", None), http, LIMITS, {}, {})
        pool = Pool(name, max_attempts=1)
        health = Health(time.time)
        ref = AccountRef(name, "default")
        pool.accounts = [Account(ref, ACCOUNT_KIND_NONE, upstream, upstream, health, configured=True, implicit=True)]
        self.stands[name] = stand
        self.shelves[name] = Shelf(pool, Target(_unused, default), configured or [])

    async def models(self, provider: str = "") -> list[tuple[str, str, str, bool]]:
        models = await self.listing.models(provider)
        return [(model.provider, model.id, model.display_name, model.is_default) for model in models]


async def _unused(call: Call, send: Send) -> None: ...


@asynccontextmanager
async def place() -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        yield Place(stack)


async def test_models_of_all_providers_are_in_order() -> None:
    async with place() as at:
        await at.add("zebra", LISTED)
        await at.add("ape", json_answer({"data": [{"id": "m"}]}), default="m")

        assert await at.models() == [("ape", "m", "", True), ("zebra", "a", "", False), ("zebra", "b", "B", False)]
        assert await at.models("zebra") == [("zebra", "a", "", False), ("zebra", "b", "B", False)]


async def test_configured_models_and_the_default_are_there_even_if_they_are_not_listed() -> None:
    async with place() as at:
        await at.add("one", LISTED, default="d", configured=["c", "b"])

        assert await at.models() == [
            ("one", "a", "", False),
            ("one", "b", "B", False),
            ("one", "c", "", False),
            ("one", "d", "", True),
        ]


async def test_the_router_is_told_what_is_listed() -> None:
    async with place() as at:
        await at.add("one", LISTED, default="d", configured=["c"])
        await at.listing.models()

        assert at.shelves["one"].target.models == {"a", "b", "c"}


async def test_a_list_is_asked_for_once_however_many_want_it() -> None:
    async with place() as at:
        await at.add("one", LISTED)
        lists = await asyncio.gather(*(at.listing.models() for _ in range(5)))
        await at.listing.models("one")

        assert lists == [[Model(provider="one", id="a"), Model(provider="one", id="b", display_name="B")]] * 5
        assert len(at.stands["one"].asked) == 1


async def test_a_list_that_is_too_old_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "_FRESH_S", 0.0)
    async with place() as at:
        await at.add("one", LISTED)
        await at.listing.models()
        at.stands["one"].play(json_answer({"data": [{"id": "new"}]}))

        assert await at.models() == [("one", "new", "", False)]


@pytest.mark.parametrize(
    ("script", "reason"),
    [(REFUSED, PROVIDER_AUTH_FAILED), (json_answer({"data": [{}]}), PROVIDER_BAD_RESPONSE), (json_answer(5), PROVIDER_BAD_RESPONSE)],
)  # fmt: skip
async def test_a_provider_that_fails_is_listed_as_configured_and_the_others_in_full(
    script: Script, reason: int
) -> None:
    async with place() as at:
        await at.add("bad", script, default="d", configured=["c"])
        await at.add("good", LISTED)

        assert [row[:2] for row in await at.models()] == [("bad", "c"), ("bad", "d"), ("good", "a"), ("good", "b")]
        assert [(name, error.reason) for name, error in at.failures] == [("bad", reason)]


async def test_a_provider_that_failed_is_left_alone_for_a_while() -> None:
    async with place() as at:
        await at.add("one", REFUSED)
        await at.models()
        await at.models()

        assert len(at.stands["one"].asked) == len(at.failures) == 1


async def test_a_provider_that_failed_is_asked_again_soon_and_keeps_its_list_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listing, "_FRESH_S", 0.0)
    monkeypatch.setattr(listing, "_FAILED_S", 0.0)
    async with place() as at:
        await at.add("one", LISTED)
        before = await at.models()
        at.stands["one"].play(REFUSED, LISTED)

        assert await at.models() == before
        assert await at.models() == before
        assert len(at.stands["one"].asked) == 3


async def test_a_caller_that_hangs_up_spoils_the_list_for_nobody() -> None:
    async def silent(connection: Connection) -> None:
        await connection.closed.wait()

    async with place() as at:
        await at.add("one", silent)
        impatient = asyncio.ensure_future(at.models())
        await at.stands["one"].arrived.wait()
        at.stands["one"].play(LISTED)
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient

        assert [row[1] for row in await at.models()] == ["a", "b"]
        assert at.failures == []


async def test_a_provider_without_a_list_has_what_is_configured() -> None:
    async with place() as at:
        await at.add("vertex", LISTED, default="gemini", dialect=Vertex("p", "l"))

        assert await at.models() == [("vertex", "gemini", "", True)]
        assert at.stands["vertex"].asked == []
