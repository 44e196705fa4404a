"""Vectors over HTTP, from the address to the provider and back."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import orjson
import pytest

from loom_grpc.client import LoomClient
from loom_grpc.config import Config
from loom_grpc.core.call import Call
from loom_grpc.shim.remote import RemoteGateway
from loom_grpc.v1.llm_service_pb2 import EmbedResponse
from tests.server.serving import serving
from tests.shim.serving import WAIT_S, Answer, Script, configuration, plays, request, shim

ASK: dict[str, Any] = {"model": "mock/mock-embed", "input": ["a", "b"], "dimensions": 3}
CONTENT = {"content": {"parts": [{"text": "a"}]}, "outputDimensionality": 3}
HERE = "/v1beta/models/mock/mock-embed"


class Silent(Script):
    """Never comes back with vectors."""

    async def embed(self, call: Call) -> EmbedResponse:
        self.asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        raise AssertionError


async def remotely(stack: AsyncExitStack) -> RemoteGateway:
    """Returns a gateway to a server with the mock provider."""
    config = Config.model_validate(
        {"grpc": {"address": "127.0.0.1:0"}, "providers": {"mock": {}}, "log": {"level": "error"}}
    )
    server = await stack.enter_async_context(serving(config))
    return RemoteGateway(await stack.enter_async_context(LoomClient(f"127.0.0.1:{server.port}")))


async def ask(path: str, body: Any, *, remote: bool = False) -> Answer:
    async with AsyncExitStack() as stack:
        gateway = await remotely(stack) if remote else None
        edge = await stack.enter_async_context(shim(configuration(), gateway))
        return await edge.post(path, body)


@pytest.mark.parametrize("remote", [False, True], ids=["in one process", "before a server"])
async def test_vectors_come_with_what_is_known_of_the_call(remote: bool) -> None:
    answer = await ask("/v1/embeddings", ASK, remote=remote)

    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert [len(row["embedding"]) for row in answer.json["data"]] == [3, 3]
    told = ("loom-provider", "loom-model", "loom-attempts")
    assert [answer.headers[name] for name in told] == ["mock", "mock-embed", "1"]
    assert float(answer.headers["loom-overhead-ms"]) >= 0


async def test_the_vector_of_one_content_is_the_first_of_a_batch() -> None:
    one = await ask(f"{HERE}:embedContent", CONTENT)
    many = await ask(f"{HERE}:batchEmbedContents", {"requests": [CONTENT, CONTENT]})

    assert (one.status, many.status) == (200, 200)
    assert many.json["embeddings"] == [one.json["embedding"]] * 2


@pytest.mark.parametrize("remote", [False, True], ids=["in one process", "before a server"])
async def test_a_failure_has_the_callers_words_and_the_status(remote: bool) -> None:
    answer = await ask("/v1/embeddings", ASK | {"model": "nobody/has"}, remote=remote)

    assert (answer.status, answer.json["error"]["code"]) == (404, "model_not_found")


async def test_a_body_that_is_no_json_is_refused_in_the_callers_words() -> None:
    openai, google = await ask("/v1/embeddings", b"{"), await ask(f"{HERE}:embedContent", b"{")

    assert (openai.status, openai.json["error"]["type"]) == (400, "invalid_request_error")
    assert (google.status, google.json["error"]["status"]) == (400, "INVALID_ARGUMENT")


async def test_a_caller_that_goes_away_stops_the_call() -> None:
    gateway = Silent(plays().play)

    async with shim(gateway=gateway) as edge:
        _, writer = await edge.connect(request("/v1/embeddings", orjson.dumps(ASK)))
        await asyncio.wait_for(gateway.asked.wait(), WAIT_S)
        writer.close()
        await asyncio.wait_for(gateway.cancelled.wait(), WAIT_S)
