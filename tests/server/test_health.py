"""Health over gRPC: of the server, of its services and of each provider."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_status import rpc_status

from loom_grpc.config import Config
from loom_grpc.server.edge import GrpcEdge
from loom_grpc.server.health import Health
from loom_grpc.telemetry import Telemetry
from loom_grpc.v1.llm_service_pb2 import LlmRequest
from loom_grpc.v1.message_pb2 import ROLE_USER, Message
from tests.server.serving import HI, Serving, configuration, health_of, serving
from tests.shim.serving import plays
from tests.stand_in import Connection, json_answer, stand_in

LLM, ADMIN = "loom_grpc.v1.LlmService", "loom_grpc.v1.AdminService"
ECHO = LlmRequest(provider="mock", model="mock-echo", messages=[Message(role=ROLE_USER, content="hi")])
TWO_ACCOUNTS: dict[str, Any] = {"accounts": {"a": {"api_key": "sk-a"}, "b": {"api_key": "sk-b"}}, "api_key": None}


def word(answer: HealthCheckResponse) -> str:
    return HealthCheckResponse.ServingStatus.Name(answer.status)


async def statuses(server: Serving) -> dict[str, str]:
    """Returns the status of everything that the server lists."""
    answer = await health_of(server.channel).List(health_pb2.HealthListRequest())  # type: ignore[attr-defined] # newer than the published types
    return {name: word(status) for name, status in answer.statuses.items()}


async def heard(watch: Any) -> str:
    """Returns what a watcher is told next."""
    async with asyncio.timeout(10):
        return word(await watch.read())


async def test_the_server_its_services_and_its_providers_are_listed() -> None:
    async with serving(configuration()) as server:
        listed = await statuses(server)

    assert listed == dict.fromkeys(["", LLM, ADMIN, f"{LLM}/openai", f"{LLM}/mock"], "SERVING")


async def test_a_provider_serves_as_long_as_one_account_may_be_asked() -> None:
    async with serving(configuration(**TWO_ACCOUNTS)) as server:
        admin = server.app.admin(None)  # type: ignore[arg-type] # who has been let in makes no difference
        watch = health_of(server.channel).Watch(HealthCheckRequest(service=f"{LLM}/openai"))
        told = [await heard(watch)]
        await admin.disable_account("openai", "a")
        listed = await statuses(server)
        await admin.disable_account("openai", "b")
        told.append(await heard(watch))
        listed_then = await statuses(server)
        await admin.enable_account("openai", "a")
        told.append(await heard(watch))

    assert told == ["SERVING", "NOT_SERVING", "SERVING"]
    assert listed == dict.fromkeys(["", LLM, ADMIN, f"{LLM}/openai", f"{LLM}/mock"], "SERVING")
    assert listed_then == listed | {f"{LLM}/openai": "NOT_SERVING"}


async def test_a_provider_serves_again_when_its_pause_is_over_though_nobody_asks() -> None:
    error = {"error": {"code": "insufficient_quota", "message": "used up"}}
    exhausted = json_answer(error, status=429, retry_after="1")
    async with stand_in(exhausted) as upstream, serving(configuration(upstream.url, **TWO_ACCOUNTS)) as server:
        watch = health_of(server.channel).Watch(HealthCheckRequest(service=f"{LLM}/openai"))
        told = [await heard(watch)]
        with pytest.raises(grpc.aio.AioRpcError):
            await server.stub.Complete(HI)
        told += [await heard(watch), await heard(watch)]

    assert told == ["SERVING", "NOT_SERVING", "SERVING"]


async def test_providers_come_and_go_with_the_configuration() -> None:
    async with serving(configuration()) as server:
        watches = {
            name: health_of(server.channel).Watch(HealthCheckRequest(service=f"{LLM}/{name}"))
            for name in ("openai", "zai")
        }
        told = {name: [await heard(watch)] for name, watch in watches.items()}
        settings = configuration().model_dump(mode="json", exclude_unset=True)
        providers = {"mock": {}, "zai": {"api_key": "key"}}
        await server.app.adopt(Config.model_validate(settings | {"providers": providers}))
        for name, watch in watches.items():
            told[name].append(await heard(watch))
        listed = await statuses(server)

    assert told == {"openai": ["SERVING", "SERVICE_UNKNOWN"], "zai": ["SERVICE_UNKNOWN", "SERVING"]}
    assert listed == dict.fromkeys(["", LLM, ADMIN, f"{LLM}/mock", f"{LLM}/zai"], "SERVING")


async def test_a_mistake_is_logged_and_the_health_of_providers_is_told_all_the_same() -> None:
    rounds = iter([True, False])

    async def providers() -> AsyncGenerator[Mapping[str, bool], None]:
        first = next(rounds)
        yield {"mock": first}
        if first:
            await broken.wait()
            raise KeyError("a mistake")
        await asyncio.Event().wait()

    broken, log = asyncio.Event(), io.BytesIO()
    telemetry = Telemetry(configuration(), stream=log)
    edge = GrpcEdge(configuration().grpc, plays(), telemetry, shared_port=False, providers=providers)
    async with grpc.aio.insecure_channel(f"localhost:{await edge.start()}") as channel:
        watch = health_of(channel).Watch(HealthCheckRequest(service=f"{LLM}/mock"))
        told = [await heard(watch)]
        broken.set()
        told.append(await heard(watch))
        await edge.drain(0)

    assert told == ["SERVING", "NOT_SERVING"]
    assert log.getvalue().count(b'"event":"crashed"') == 1


class SlowWatcher:
    """Takes what it is told only when it is let."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.takes = asyncio.Event()

    async def write(self, answer: HealthCheckResponse) -> None:
        self.told.append(word(answer))
        await self.takes.wait()


async def test_a_watcher_that_is_told_something_when_the_drain_begins_is_told_of_it_too() -> None:
    health, watcher = Health([LLM], providers_of=LLM), SlowWatcher()
    health.tell({})

    watching = asyncio.create_task(health.Watch(HealthCheckRequest(), watcher))
    await asyncio.sleep(0)
    health.drain()
    watcher.takes.set()
    await watching

    assert watcher.told == ["SERVING", "NOT_SERVING"]


async def test_while_it_drains_whoever_connects_is_told_so() -> None:
    go_on = asyncio.Event()

    async def slow(connection: Connection) -> None:
        await connection.head()
        await go_on.wait()
        await connection.end()

    async with stand_in(slow) as upstream, serving(configuration(upstream.url)) as server:
        watch = health_of(server.channel).Watch(HealthCheckRequest(service=f"{LLM}/mock"))
        told = [await heard(watch)]
        call = server.stub.Complete(HI)
        await upstream.arrived.wait()
        draining = asyncio.create_task(server.edge.drain(10))
        told += [await heard(watch), await watch.read()]
        await server.channel.wait_for_state_change(grpc.ChannelConnectivity.READY)  # until it is asked to go
        async with grpc.aio.insecure_channel(
            f"localhost:{server.port}", options=[("grpc.use_local_subchannel_pool", 1)]
        ) as channel:
            await channel.channel_ready()
            late = Serving(server.edge, server.app, server.port, channel, type(server.stub)(channel))
            listed = await statuses(late)
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await late.stub.Complete(ECHO)
        go_on.set()
        with pytest.raises(grpc.aio.AioRpcError):
            await call
        await draining

    status = rpc_status.from_call(refusal.value)  # type: ignore[arg-type] # takes both kinds
    info = ErrorInfo()
    assert status is not None
    assert status.details[0].Unpack(info)
    assert told == ["SERVING", "NOT_SERVING", grpc.aio.EOF]
    assert listed == dict.fromkeys(["", LLM, ADMIN, f"{LLM}/openai", f"{LLM}/mock"], "NOT_SERVING")
    assert (status.code, info.reason) == (grpc.StatusCode.UNAVAILABLE.value[0], "DRAINING")


async def test_a_server_that_somebody_watches_answers_until_they_can_have_left() -> None:
    async with serving(configuration()) as server:
        watch = health_of(server.channel).Watch(HealthCheckRequest(service=""))
        told = [await heard(watch)]
        draining = asyncio.create_task(server.edge.drain(10))
        told.append(await heard(watch))
        answer = await server.stub.Complete(ECHO)
        await draining

    assert (told, answer.message.content) == (["SERVING", "NOT_SERVING"], "hi")


async def test_a_caller_that_watches_health_leaves_a_server_that_drains_and_no_call_of_its_own_fails() -> None:
    go_on = asyncio.Event()

    async def slow(connection: Connection) -> None:
        await connection.head()
        await go_on.wait()
        await connection.end()

    policy = '{"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}'
    async with (
        stand_in(slow) as upstream,
        serving(configuration(upstream.url, grpc={"address": "127.0.0.1:0"})) as one,
        serving(configuration(grpc={"address": "127.0.0.1:0"})) as two,
        grpc.aio.insecure_channel(
            f"ipv4:127.0.0.1:{one.port},127.0.0.1:{two.port}", options=[("grpc.service_config", policy)]
        ) as channel,
    ):
        stub = type(one.stub)(channel)
        before = {(await stub.Complete(ECHO)).message.content for _ in range(10)}
        held = one.stub.Complete(HI)
        await upstream.arrived.wait()
        draining = asyncio.create_task(one.edge.drain(10))
        after = {(await stub.Complete(ECHO)).message.content for _ in range(20)}
        still_draining = not draining.done()
        go_on.set()
        with pytest.raises(grpc.aio.AioRpcError):
            await held
        await draining

    assert (before, after, still_draining) == ({"hi"}, {"hi"}, True)
