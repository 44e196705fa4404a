"""The gateway that is a server somewhere else, which here is a real gRPC server whose answers the tests write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from loom_grpc.client import LlmError, LlmEvent, LlmRequest, LoomClient, Model, user
from loom_grpc.core import errors
from loom_grpc.core.call import Call
from loom_grpc.core.ports import ProviderState
from loom_grpc.shim.remote import RemoteGateway
from loom_grpc.v1.llm_service_pb2 import CountTokensResponse, Error, ListModelsResponse, Started
from tests.program import Server
from tests.scripted import (
    ANSWER,
    COMPLETED,
    STARTED,
    WAIT_S,
    Context,
    Script,
    aborts,
    answers,
    info,
    plays,
    serving,
    stays,
    text,
)

REQUEST = LlmRequest(provider="mock", model="m", messages=[user("Hi")])
TRAILERS = (("loom-provider", "mock"), ("loom-model", "m-2"), ("loom-attempts", "3"))


@pytest.fixture
async def server() -> AsyncIterator[Script]:
    async with serving() as script:
        yield script


@pytest.fixture
async def gateway(server: Script) -> AsyncIterator[RemoteGateway]:
    async with LoomClient(server.target) as client:
        yield RemoteGateway(client)


def call(*, stream: bool = True, **metadata: str) -> Call:
    return Call(REQUEST, stream, "r-1", metadata={name.replace("_", "-"): value for name, value in metadata.items()})


async def answered(gateway: RemoteGateway, call: Call) -> list[LlmEvent]:
    events: list[LlmEvent] = []

    async def send(event: LlmEvent) -> None:
        events.append(event)

    await gateway.answer(call, send)
    return events


async def test_a_stream_is_passed_on_event_by_event(gateway: RemoteGateway, server: Script) -> None:
    server.play = plays(STARTED, text("h"), text("i"), COMPLETED)
    asked = call()

    events = await answered(gateway, asked)

    assert events == [STARTED, text("h"), text("i"), COMPLETED]
    assert server.requests == [REQUEST]
    assert (asked.provider, asked.model, asked.attempt, asked.responded) == ("mock", "m", 1, True)
    assert asked.upstream_s > 0


async def test_a_whole_answer_is_passed_on_as_completed(gateway: RemoteGateway, server: Script) -> None:
    async def play(request: Any, context: Context) -> Any:
        context.set_trailing_metadata(TRAILERS)
        return ANSWER

    server.play = play
    asked = call(stream=False)

    events = await answered(gateway, asked)

    assert events == [COMPLETED]
    assert (asked.provider, asked.model, asked.attempt, asked.responded) == ("mock", "m-2", 3, True)


@pytest.mark.parametrize("stream", [True, False])
async def test_credentials_ids_and_deadline_go_on(gateway: RemoteGateway, server: Script, stream: bool) -> None:
    server.play = plays(COMPLETED) if stream else answers(ANSWER)
    asked = call(stream=stream, authorization="Bearer k", traceparent="00-1-2-01", loom_events="restarted", cookie="c")
    asked.deadline = asyncio.get_running_loop().time() + 30

    await answered(gateway, asked)

    names = ("authorization", "traceparent", "loom-events", "x-request-id", "cookie")
    assert [server.metadata.get(name) for name in names] == ["Bearer k", "00-1-2-01", "restarted", "r-1", None]
    assert server.time_remaining is not None
    assert 20 < server.time_remaining < 31


@pytest.mark.parametrize("stream", [True, False])
async def test_what_the_servers_cache_may_do_and_did_is_passed_on(
    gateway: RemoteGateway, server: Script, stream: bool
) -> None:
    async def play(request: Any, context: Context) -> Any:
        context.set_trailing_metadata((("loom-cache", "shared"),))
        if not stream:
            return ANSWER
        await context.write(COMPLETED)
        return None

    server.play = play
    asked = call(stream=stream, loom_cache="refresh")
    asked.tenant = "0a1b"

    await answered(gateway, asked)

    assert [server.metadata.get(name) for name in ("loom-cache", "loom-tenant")] == ["refresh", "0a1b"]
    assert asked.cache == "shared"


async def test_a_replayed_stream_is_known_when_it_begins(gateway: RemoteGateway, server: Script) -> None:
    server.play = plays(LlmEvent(started=Started(provider="mock", model="m")), COMPLETED)
    asked = call()
    known: list[str] = []

    async def send(event: LlmEvent) -> None:
        known.append(asked.cache)

    await gateway.answer(asked, send)

    assert known == ["hit", "hit"]


async def test_a_failed_stream_raises_what_the_server_said(gateway: RemoteGateway, server: Script) -> None:
    last = LlmEvent(error=Error(reason=errors.PROVIDER_UNAVAILABLE, message="It broke.", partial=ANSWER))
    server.play = aborts(
        grpc.StatusCode.UNAVAILABLE,
        "It broke.",
        info("PROVIDER_UNAVAILABLE"),
        events=(STARTED, last),
        trailers=TRAILERS,
    )
    asked = call()

    with pytest.raises(LlmError, match=r"^It broke\.$") as caught:
        await answered(gateway, asked)

    assert (caught.value.name, caught.value.partial) == ("PROVIDER_UNAVAILABLE", ANSWER)
    assert (asked.provider, asked.model, asked.attempt) == ("mock", "m-2", 3)


async def test_a_failed_call_raises_what_the_server_said(gateway: RemoteGateway, server: Script) -> None:
    details = info("PROVIDER_NOT_CONFIGURED", provider="openai")
    server.play = aborts(grpc.StatusCode.FAILED_PRECONDITION, "No key.", details, trailers=TRAILERS)
    asked = call(stream=False)

    with pytest.raises(LlmError, match=r"^No key\.$") as caught:
        await answered(gateway, asked)

    assert (caught.value.name, caught.value.metadata) == ("PROVIDER_NOT_CONFIGURED", {"provider": "openai"})
    assert asked.attempt == 3


@pytest.mark.parametrize("stream", [True, False])
async def test_cancelling_goes_on_at_once(gateway: RemoteGateway, server: Script, stream: bool) -> None:
    begun = asyncio.Event()

    async def play(request: Any, context: Context) -> None:
        begun.set()
        await (stays(request, context) if stream else asyncio.Event().wait())

    server.play = play
    task = asyncio.create_task(answered(gateway, call(stream=stream)))
    await begun.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(server.cancelled.wait(), WAIT_S)


async def test_a_send_that_fails_cancels_the_call(gateway: RemoteGateway, server: Script) -> None:
    server.play = stays

    async def send(event: LlmEvent) -> None:
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await gateway.answer(call(), send)

    await asyncio.wait_for(server.cancelled.wait(), WAIT_S)


async def test_models_and_counts_are_the_servers(gateway: RemoteGateway, server: Script) -> None:
    server.play = answers(ListModelsResponse(models=[Model(provider="mock", id="m")]))
    models = await gateway.list_models(call(), "mock")
    server.play = answers(CountTokensResponse(input_tokens=3, provider="mock", model="m"))
    asked = call()

    counted = await gateway.count_tokens(asked)

    assert models == [Model(provider="mock", id="m")]
    assert counted == CountTokensResponse(input_tokens=3, provider="mock", model="m")
    assert (asked.provider, asked.model) == ("mock", "m")


async def test_providers_are_those_that_the_server_lists(live_server: Server) -> None:
    async with LoomClient(live_server.grpc_address) as client:
        states = await RemoteGateway(client).providers()

    assert states == [ProviderState("mock", "Mock", configured=True)]


async def test_routes_and_aliases_are_no_providers(gateway: RemoteGateway, server: Script) -> None:
    server.health = "SERVING"
    server.play = answers(
        ListModelsResponse(models=[Model(id="smart", targets=["mock/m"]), Model(provider="mock", id="m")])
    )

    assert await gateway.providers() == [ProviderState("mock", "Mock", configured=True)]


async def test_providers_are_unhealthy_once_the_server_does_not_answer(gateway: RemoteGateway, server: Script) -> None:
    server.health = "SERVING"
    server.play = answers(ListModelsResponse(models=[Model(provider="openai", id="a"), Model(provider="own", id="b")]))
    before = await gateway.providers()
    server.health = "NOT_SERVING"

    after = await gateway.providers()

    error = f"The server at {server.target} is NOT_SERVING."
    assert before == [
        ProviderState("openai", "OpenAI", configured=True),
        ProviderState("own", "own", configured=True),
    ]
    assert after == [
        ProviderState("openai", "OpenAI", configured=True, status="unhealthy", error=error),
        ProviderState("own", "own", configured=True, status="unhealthy", error=error),
    ]


async def test_a_server_that_was_never_there_is_an_error(unused_tcp_port: int) -> None:
    async with LoomClient(f"127.0.0.1:{unused_tcp_port}") as client:
        with pytest.raises(LlmError, match="There is no connection to the server"):
            await RemoteGateway(client).providers()
