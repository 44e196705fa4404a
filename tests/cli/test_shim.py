"""`loom-grpc shim` as a process of its own, in front of a server in another process."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from loom_grpc.providers.mock import MODELS
from loom_grpc.v1.llm_service_pb2 import ListModelsRequest, ListModelsResponse
from tests.program import Result, Server, run, served
from tests.scripted import WAIT_S, Context, serving, stays

HELLO = MODELS["mock-words"].text
FREE = ("--http-address", "127.0.0.1:0", "--log-level", "error")
BODY = {"model": "default", "messages": [{"role": "user", "content": "Hi"}], "tools": []}


@pytest.fixture
def shim(live_server: Server, tmp_path: Path) -> Iterator[Server]:
    with served("shim", "--target", live_server.grpc_address, *FREE, cwd=tmp_path) as server:
        yield server


async def test_the_printed_line_streams_an_answer(shim: Server, live_server: Server) -> None:
    assert f"serves HTTP in front of {live_server.grpc_address}\n" in shim.banner
    words = shlex.split(shim.banner.splitlines()[-1])
    assert words[:2] == ["curl", "-N"]

    async with aiohttp.ClientSession() as session:
        headers = {"content-type": "application/json"}
        async with session.post(words[2], data=words[6], headers=headers) as answer:
            lines = (await answer.text()).splitlines()

    events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    assert events[-1]["response"]["message"]["content"] == HELLO
    assert "".join(event.get("content", "") for event in events) == HELLO


async def test_whole_answers_errors_and_health_are_the_servers(shim: Server) -> None:
    async with aiohttp.ClientSession(shim.http_url) as session:
        async with session.post("/proxy/mock/complete", json=BODY, headers={"x-request-id": "r-1"}) as answer:
            whole = await answer.json()
            headers = {name: answer.headers.get(name) for name in ("loom-request-id", "loom-provider", "loom-attempts")}
        async with session.post("/proxy/openai/complete", json=BODY) as answer:
            missing = (answer.status, await answer.json())
        async with session.get("/health") as answer:
            health = (await answer.json())["components"]["llm_providers"]["providers"]

    assert whole["message"]["content"] == HELLO
    assert headers == {"loom-request-id": "r-1", "loom-provider": "mock", "loom-attempts": "1"}
    assert missing == (
        503,
        {"error": "service_unavailable", "message": "OpenAI provider is not configured on the server"},
    )
    assert health == [{"name": "mock", "status": "healthy", "mode": "api_key"}]


async def test_a_caller_that_goes_away_cancels_the_call_at_the_server(tmp_path: Path) -> None:
    async with serving() as server:

        async def play(request: Any, context: Context) -> Any:
            return ListModelsResponse() if isinstance(request, ListModelsRequest) else await stays(request, context)

        server.play = play
        with ExitStack() as stack:
            start = served("shim", "--target", server.target, *FREE, cwd=tmp_path, last="  HTTP ")
            shim = await asyncio.to_thread(stack.enter_context, start)  # it asks for the models before it serves
            async with aiohttp.ClientSession(shim.http_url) as session:
                answer = await session.post("/proxy/mock/stream", json=BODY)
                await answer.content.readuntil(b"\n\n")
                answer.close()

            await asyncio.wait_for(server.cancelled.wait(), WAIT_S)


async def test_a_server_that_is_not_there_is_warned_of_and_an_upstream_error(
    tmp_path: Path, unused_tcp_port: int
) -> None:
    target = f"127.0.0.1:{unused_tcp_port}"

    with served("shim", "--target", target, *FREE, cwd=tmp_path, last="  HTTP ") as shim:
        async with (
            aiohttp.ClientSession(shim.http_url) as session,
            session.post("/proxy/mock/complete", json=BODY) as answer,
        ):
            status, body = answer.status, await answer.json()
        shim.log.seek(0)
        warning = shim.log.read()
        code = shim.stop()

    assert (status, body["error"], code) == (502, "upstream_error", 0)
    assert f"There is no connection to the server at {target}" in body["message"]
    assert warning.startswith(f"warning: There is no connection to the server at {target} (")
    assert warning.endswith("Calls fail until it is there.\n")


async def test_an_open_address_without_access_control_is_refused(tmp_path: Path) -> None:
    result = await run("shim", "--http-address", "0.0.0.0:0", cwd=tmp_path)

    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("error: http.address: 0.0.0.0:0 can be reached from other machines")


async def test_a_file_of_tls_that_is_missing_is_wrong_usage(tmp_path: Path) -> None:
    result = await run("shim", "--ca-file", "none.pem", cwd=tmp_path)

    assert result == Result(2, "", "error: none.pem: No such file or directory\n")
