"""Who guesses credentials is refused for a while, whichever worker and whichever edge is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import aiohttp
import grpc.aio

from loom_grpc.v1.llm_service_pb2 import ListModelsRequest
from loom_grpc.v1.llm_service_pb2_grpc import LlmServiceStub
from tests.app.crowd import KEY, configuration, serving, shop
from tests.program import Server
from tests.server.test_worker import OWN

BLOCK_S: Final = 4
FAILURES: Final = 5


async def over_http(server: Server, key: str, forwarded: str = "") -> tuple[int, str | None]:
    """Asks over a connection of its own; returns the status and when to ask again."""
    headers = {"authorization": f"Bearer {key}", **_forwarded(forwarded)}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{server.http_url}/v1/models") as response,
    ):
        return response.status, response.headers.get("retry-after")


async def over_grpc(server: Server, key: str, forwarded: str = "") -> grpc.StatusCode:
    metadata = [*{"authorization": f"Bearer {key}", **_forwarded(forwarded)}.items()]
    async with grpc.aio.insecure_channel(server.grpc_address, options=OWN) as channel:
        try:
            await LlmServiceStub(channel).ListModels(ListModelsRequest(), metadata=metadata)
        except grpc.aio.AioRpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def _forwarded(text: str) -> Mapping[str, str]:
    return {"x-forwarded-for": text} if text else {}


async def guess(server: Server, forwarded: str = "") -> None:
    """Fails as often as it takes to be refused, at both edges."""
    for number in range(FAILURES):
        if number % 2:
            assert await over_http(server, f"wrong-{number}", forwarded) == (401, None)
        else:
            assert await over_grpc(server, f"wrong-{number}", forwarded) is grpc.StatusCode.UNAUTHENTICATED


async def refused_s(server: Server, forwarded: str = "") -> int:
    """Returns for how long an address is refused, right credentials included, by every worker."""
    answers = await asyncio.gather(*(over_http(server, KEY, forwarded) for _ in range(8)))
    codes = await asyncio.gather(*(over_grpc(server, KEY, forwarded) for _ in range(8)))
    assert {status for status, _ in answers} == {429}
    assert set(codes) == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    return max(int(after or 0) for _, after in answers)


async def test_five_failures_at_any_worker_block_an_address_at_all_and_the_next_block_is_twice_as_long(
    tmp_path: Path,
) -> None:
    access = {"enabled": True, "throttle": {"block_s": BLOCK_S}}
    async with shop() as found, serving(tmp_path, configuration(found, access=access)) as server:
        await guess(server, "203.0.113.7")  # which nobody believes who is no proxy
        first = await refused_s(server)
        await asyncio.sleep(first)
        assert await over_http(server, KEY) == (200, None)
        await guess(server)
        second = await refused_s(server, "203.0.113.8")

    assert 0 < first <= BLOCK_S < second <= 2 * BLOCK_S


async def test_behind_a_trusted_proxy_only_the_address_is_blocked_that_guesses(tmp_path: Path) -> None:
    access = {"enabled": True, "trusted_proxies": ["127.0.0.0/8"]}
    async with shop() as found, serving(tmp_path, configuration(found, access=access), workers=2) as server:
        await guess(server, "198.51.100.1, 203.0.113.7")

        assert 15 < await refused_s(server, "198.51.100.2, 203.0.113.7") <= 30
        assert await over_http(server, KEY, "203.0.113.7, 203.0.113.8") == (200, None)
        assert await over_grpc(server, KEY, "203.0.113.8") is grpc.StatusCode.OK
