"""`GET /v1/models`, as programs written for OpenAI ask it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from loom_grpc.client import LoomClient
from loom_grpc.core.call import Call
from loom_grpc.core.errors import PROVIDER_UNAVAILABLE, LlmError
from loom_grpc.shim.remote import RemoteGateway
from loom_grpc.v1.llm_service_pb2 import Model
from tests.program import Server
from tests.shim.serving import Script, configuration, plays, shim

ECHO: dict[str, Any] = {
    "id": "mock/mock-echo",
    "object": "model",
    "created": 0,
    "owned_by": "mock",
    "name": "Says what the user said last.",
    "abilities": {
        "tools": True,
        "images": True,
        "documents": True,
        "audio": True,
        "reasoning": False,
        "json_schema": True,
        "prefill": False,
    },
}
OF_OURS = {"object": "model", "created": 0, "owned_by": "loom-grpc", "abilities": ECHO["abilities"]}


class Failing(Script):
    """Fails to list anything."""

    def __init__(self, failure: Exception) -> None:
        super().__init__(plays().play)
        self.failure = failure

    async def list_models(self, call: Call, provider: str = "") -> list[Model]:
        raise self.failure


async def test_the_list_has_routes_and_aliases_and_then_the_models() -> None:
    routes = {"smart": {"targets": [{"model": "mock/mock-words"}, {"model": "echo"}]}}
    async with shim(configuration(routes=routes, aliases={"echo": "mock/mock-echo"})) as server:
        answer = await server.get("/v1/models")

    echo, smart, *models = answer.json["data"]
    assert (answer.status, answer.headers["content-type"], answer.json["object"]) == (200, "application/json", "list")
    assert echo == OF_OURS | {"id": "echo", "targets": ["mock/mock-echo"]}
    assert smart == OF_OURS | {"id": "smart", "targets": ["mock/mock-words", "echo"]}
    assert ECHO in models


@pytest.mark.parametrize("name", ["mock/mock-echo", "mock%2Fmock-echo"])
async def test_one_model_is_asked_for_by_its_name(name: str) -> None:
    async with shim() as server:
        answer = await server.get(f"/v1/models/{name}", x_request_id="r-1")

    assert (answer.status, answer.json) == (200, ECHO)
    assert (answer.headers["x-request-id"], answer.headers["loom-request-id"]) == ("r-1", "r-1")


async def test_a_model_that_is_not_there_is_404_in_openais_words() -> None:
    async with shim() as server:
        answer = await server.get("/v1/models/gpt-4o")

    assert (answer.status, answer.json) == (
        404,
        {
            "error": {
                "message": "The model 'gpt-4o' is not listed here; GET /v1/models has those that are.",
                "type": "invalid_request_error",
                "param": "model",
                "code": "model_not_found",
            }
        },
    )


async def test_a_failure_is_told_in_openais_words() -> None:
    async with shim(gateway=Failing(LlmError(PROVIDER_UNAVAILABLE, "Nobody is there.", retry_after=1.2))) as server:
        answer = await server.get("/v1/models")

    assert (answer.status, answer.headers["retry-after"]) == (503, "2")
    assert answer.json == {
        "error": {"message": "Nobody is there.", "type": "server_error", "param": None, "code": "provider_unavailable"}
    }


async def test_what_nobody_foresaw_is_logged_and_told_without_details() -> None:
    async with shim(configuration(log={"level": "error"}), Failing(RuntimeError("a secret"))) as server:
        answer = await server.get("/v1/models")

    assert (answer.status, answer.json["error"]["type"]) == (500, "server_error")
    assert b"crashed" in server.log.getvalue()
    assert b"a secret" not in answer.body + server.log.getvalue()


async def test_a_draining_server_tells_to_come_again() -> None:
    class Slow(Script):
        async def list_models(self, call: Call, provider: str = "") -> list[Model]:
            self.asked.set()
            await asyncio.Event().wait()
            return []

    script = Slow(plays().play)
    async with shim(gateway=script) as server:
        asking = asyncio.create_task(server.get("/v1/models"))
        await script.asked.wait()
        await server.edge.drain(0)
        answer = await asking

    assert (answer.status, answer.headers["retry-after"], answer.json["error"]["type"]) == (503, "1", "server_error")


async def test_only_reading_is_allowed() -> None:
    async with shim() as server:
        answer = await server.post("/v1/models", {})
        head = await server.get("/v1/models", "HEAD")

    assert (answer.status, set(answer.headers["allow"].split(", "))) == (405, {"GET", "HEAD"})
    assert (head.status, head.body) == (200, b"")


async def test_a_shim_lists_what_the_server_behind_it_has(live_server: Server) -> None:
    async with (
        LoomClient(live_server.grpc_address) as client,
        shim(gateway=RemoteGateway(client)) as server,
    ):
        answer = await server.get("/v1/models/mock/mock-echo")

    assert (answer.status, answer.json) == (200, ECHO)
