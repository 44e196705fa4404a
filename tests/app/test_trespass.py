"""What one key may not ask, it does not reach in a roundabout way: by the cache, a count of tokens, the provider's own API, or a proxy."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from multidict import CIMultiDict

from tests.app.crowd import ADMIN_KEY, serving
from tests.stand_in import Connection, StandIn, json_answer, stand_in

ANSWER = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Tea."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2},
}
ASK = {"model": "openai/large", "temperature": 0, "messages": [{"role": "user", "content": "Say tea."}]}
REFUSED = "model: these credentials may not be used for openai/large."


@dataclass
class World:
    """A server, and what its provider was asked."""

    upstream: StandIn
    session: aiohttp.ClientSession
    keys: list[str] = field(default_factory=list)

    async def key(self, **fields: Any) -> str:
        """Makes a key of the one user."""
        body = {"user": "ann"} | fields
        async with self.session.post("/api/admin/keys", json=body, headers=shown(ADMIN_KEY)) as response:
            secret: str = (await response.json())["secret"]
        return secret

    async def post(self, key: str, path: str, body: Any, **more: str) -> tuple[int, Any, str | None]:
        """Asks, and returns the status, the answer and what the cache had to do with it."""
        async with self.session.post(path, json=body, headers=shown(key) | more) as response:
            return response.status, await response.json(), response.headers.get("loom-cache")

    async def budget(self, nanos: int) -> None:
        """Puts the one user under a budget."""
        body = {
            "scope": "SCOPE_KIND_USER",
            "scope_id": "ann",
            "period": "BUDGET_PERIOD_TOTAL",
            "cap_nanos": nanos,
        }
        async with self.session.post("/api/admin/budgets", json=body, headers=shown(ADMIN_KEY)) as response:
            assert response.status == 200

    async def spent(self) -> int:
        """Returns what was spent of the one budget."""
        async with self.session.get("/api/admin/budgets", headers=shown(ADMIN_KEY)) as response:
            (budget,) = (await response.json())["budgets"]
        assert budget["reserved_nanos"] == "0"
        return int(budget["spent_nanos"])

    async def status(self, key: str, *forwarded: str) -> int:
        """Asks for the models behind proxies, each of which has written a header of its own, and returns the status."""
        headers = [*shown(key).items(), *(("x-forwarded-for", text) for text in forwarded)]
        async with self.session.get("/v1/models", headers=CIMultiDict(headers)) as response:
            return response.status


def shown(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@asynccontextmanager
async def world(folder: Path, limits: Any = None, **access: Any) -> AsyncIterator[World]:
    async with stand_in(json_answer(ANSWER)) as upstream:
        openai = {"api_key": "sk-test", "base_url": upstream.url, "raw": True, "retry": {"base_delay_s": 0}}
        config = {
            "access": {"enabled": True} | access,
            "admin": {"api_key": ADMIN_KEY},
            "log": {"level": "error"},
            "limits": limits or {},
            "cache": {"enabled": True},
            "providers": {"openai": openai},
            "models": {"openai/large": {"prices": {"input": 2, "output": 10}, "max_output_tokens": 1000}},
            "routes": {"house": {"targets": [{"model": "openai/large"}]}},
        }
        async with (
            serving(folder, config, workers=1) as server,
            aiohttp.ClientSession(server.http_url) as session,
        ):
            yield World(upstream, session)


async def test_a_key_does_not_see_a_kept_answer_of_a_model_that_it_may_not_ask(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        any_model, small = await there.key(), await there.key(allowed={"models": ["small"]})
        first = await there.post(any_model, "/v1/chat/completions", ASK)
        again = await there.post(any_model, "/v1/chat/completions", ASK)
        status, told, cache = await there.post(small, "/v1/chat/completions", ASK)

    assert (first[0], first[2]) == (200, "miss")
    assert (again[0], again[2]) == (200, "hit")
    assert (status, told["error"]["message"], cache) == (403, REFUSED, "miss")
    assert len(there.upstream.asked) == 1


async def test_a_key_for_some_models_does_not_speak_the_providers_own_api(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        small = await there.key(allowed={"models": ["small"]})
        told = await there.post(small, "/openai/raw/models/large:generate", {"model": "small"})
        free = await there.post(await there.key(allowed={"providers": ["openai"]}), "/openai/raw/models", {})

    assert (told[0], told[1]["message"]) == (
        403,
        "These credentials may be used for some models alone, and a request that is passed on as it is may name any.",
    )
    assert free[0] == 200
    assert [asked.path for asked in there.upstream.asked] == ["/models"]


async def test_a_key_for_some_models_names_no_others_for_a_gateway_to_fall_back_to(tmp_path: Path) -> None:
    body = ASK | {"models": ["large"]}
    async with world(tmp_path) as there:
        some = await there.key(allowed={"models": ["large"]})
        refused = await there.post(some, "/v1/chat/completions", body)
        free = await there.post(await there.key(), "/v1/chat/completions", body)
        await there.budget(9_000_000)
        under_budget = await there.post(await there.key(), "/v1/chat/completions", body | {"temperature": 1})

    assert (refused[0], refused[1]["error"]["param"]) == (403, "models")
    assert free[0] == 200
    assert (under_budget[0], under_budget[1]["error"]["param"]) == (403, "models")
    assert len(there.upstream.asked) == 1


async def test_a_key_for_some_routes_does_not_count_the_tokens_of_a_model_itself(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        house = await there.key(allowed={"routes": ["house"]})
        directly = await there.post(house, "/v1/messages/count_tokens", ASK)
        by_route = await there.post(house, "/v1/messages/count_tokens", ASK | {"model": "house"})

    assert (directly[0], directly[1]["error"]["message"]) == (403, REFUSED)
    assert by_route[0] == 200


async def test_proxies_one_after_the_other_may_each_write_a_header_of_their_own(tmp_path: Path) -> None:
    async with world(tmp_path, trusted_proxies=["127.0.0.0/8"]) as there:
        key = await there.key(allowed={"source_networks": ["192.0.2.0/24"]})
        statuses = [
            await there.status(key, *forwarded)
            for forwarded in (
                ("192.0.2.7", "127.0.0.2"),
                ("198.51.100.1, 192.0.2.7", "127.0.0.2, 127.0.0.3"),
                ("192.0.2.7", "198.51.100.1"),
                ("192.0.2.7", "nonsense"),
            )
        ]

    assert statuses == [200, 200, 403, 403]


async def test_all_addresses_of_one_ipv6_network_are_under_one_limit(tmp_path: Path) -> None:
    proxies = ["127.0.0.0/8"]
    async with world(tmp_path, {"address": {"requests_per_minute": 2}}, trusted_proxies=proxies) as there:
        key = await there.key()
        answers = [
            await there.post(key, "/v1/chat/completions", ASK, **{"x-forwarded-for": address})
            for address in ("2001:db8:1:2::1", "2001:db8:1:2::2", "2001:db8:1:2:ffff::3", "2001:db8:1:3::1")
        ]

    assert [status for status, _, _ in answers] == [200, 200, 429, 200]


async def test_attempts_that_break_off_do_not_spend_together_what_is_reserved_for_one(tmp_path: Path) -> None:
    async def half(connection: Connection) -> None:
        await connection.head(200, "application/json")
        await connection.send(b'{"choices": [')
        connection.cut()

    body = ASK | {"messages": [{"role": "user", "content": "a"}] * 500, "max_tokens": 1}
    async with world(tmp_path) as there:
        there.upstream.play(half, half, half)
        key = await there.key()
        await there.budget(9_000_000)
        status, told, _ = await there.post(key, "/v1/chat/completions", body)
        spent = await there.spent()

    assert (status, told["error"]["code"]) == (429, "insufficient_quota")
    assert (len(there.upstream.asked), spent) == (1, 5_000_000)
