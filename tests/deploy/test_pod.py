"""The server as a pod: read-only, as a stranger, probed, and drained while a long stream goes on."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from loom_grpc.client import LlmError, LlmEvent, LoomClient
from tests.deploy.image import Image
from tests.deploy.installed import container_of, named
from tests.deploy.pod import USER, Volumes, auditor_pod, pod
from tests.operated import ADMIN_KEY, Operated
from tests.postgres import Postgres, postgres_server
from tests.program import WAIT_S, Server
from tests.rabbitmq_server import RabbitServer
from tests.redis_server import redis_server
from tests.server.serving import health_of

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
LONG: Any = {"model": "mock-slow", "max_tokens": 16}
"""A word every half second."""


@pytest.fixture
def volumes(tmp_path: Path) -> Volumes:
    return Volumes.made(tmp_path, "small")


def client_of(server: Server) -> LoomClient:
    return LoomClient(server.grpc_address, api_key=ADMIN_KEY)


async def probed(server: Server, name: str) -> int:
    """Asks as the kubelet does: over a connection of its own, without a key, and within the probe's time."""
    probe = container_of(named("small", "StatefulSet"))[name]
    question = health_pb2.HealthCheckRequest(service=probe["grpc"].get("service", ""))
    async with grpc.aio.insecure_channel(server.grpc_address) as channel:
        answer = await health_of(channel).Check(question, timeout=probe["timeoutSeconds"])
        status: int = answer.status
        return status


def users_of(server: Server) -> set[int]:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("Uid:"))
    return set(map(int, line.split()[1:]))


async def recorded(operator: Operated) -> list[dict[str, Any]]:
    """Waits until there are records, which it returns."""
    async with asyncio.timeout(WAIT_S):
        while True:
            calls: list[dict[str, Any]] = json.loads((await operator("audit", "list", "--json")).out)
            if calls:
                return calls


def written(folder: Path) -> set[str]:
    return {file.relative_to(folder).parts[0] for file in folder.rglob("*") if file.is_file()}


async def test_it_serves_as_a_stranger_and_writes_nothing_but_its_state(image: Image, volumes: Volumes) -> None:
    with pod(image, volumes, "small") as server:
        users = users_of(server)
        probes = [await probed(server, name) for name in ("startupProbe", "livenessProbe", "readinessProbe")]
        async with client_of(server) as client:
            answer = await client.complete("Hello", model="mock-echo")
        code = server.stop()

    assert users == {USER}
    assert probes == [SERVING] * 3
    assert (answer.message.content, code) == ("Hello", 0)
    assert {"loom.db", "spool"} <= written(volumes.state)
    assert {file.stat().st_uid for file in volumes.state.rglob("*")} == {USER}


async def test_sigterm_drains_a_long_stream_to_its_end_while_nothing_new_is_taken(
    image: Image, volumes: Volumes
) -> None:
    with pod(image, volumes, "small") as server:
        async with client_of(server) as client, grpc.aio.insecure_channel(server.grpc_address) as channel:
            watch = health_of(channel).Watch(health_pb2.HealthCheckRequest(service="loom_grpc.v1.LlmService"))
            before = (await watch.read()).status
            stream = aiter(client.stream("Hello", **LONG))
            events: list[LlmEvent] = [await anext(stream)]

            server.process.send_signal(signal.SIGTERM)
            told = (await asyncio.wait_for(watch.read(), 5)).status
            await client.channel.wait_for_state_change(grpc.ChannelConnectivity.READY)  # until it is asked to go
            async with grpc.aio.insecure_channel(server.grpc_address) as new:
                await new.channel_ready()  # for some milliseconds nobody listens
            ready = await probed(server, "readinessProbe")
            with pytest.raises(LlmError) as refused:
                await client.complete("Hello", model="mock-echo")
            still_running = server.process.poll() is None
            events += [event async for event in stream]
        code = server.process.wait(WAIT_S)

    assert (before, told, ready, refused.value.name) == (SERVING, NOT_SERVING, NOT_SERVING, "DRAINING")
    assert (still_running, events[-1].WhichOneof("event"), code) == (True, "completed", 0)


async def test_what_waits_in_the_spool_of_a_killed_pod_is_sent_on_by_the_next(
    image: Image, volumes: Volumes, tmp_path: Path
) -> None:
    config = volumes.config / "loom.yaml"
    text = config.read_text()
    lazy = text.replace("spool_dir:", "flush_s: 3600, spool_dir:")
    assert lazy != text
    config.write_text(lazy)
    with pod(image, volumes, "small") as server:
        async with client_of(server) as client:
            await client.complete("Hello", model="mock-echo")
        server.process.kill()
        server.process.wait(WAIT_S)
    config.write_text(text)
    with pod(image, volumes, "small") as server:
        calls = await recorded(Operated(server.grpc_address, tmp_path))

    assert [(call["model"], call["attempts"], call["caller"]["method"]) for call in calls] == [
        ("mock-echo", 1, "admin_key")
    ]


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with postgres_server() as server:
        yield server


async def test_the_cluster_sends_records_through_the_broker_and_an_auditor(
    image: Image, tmp_path: Path, postgres: Postgres, rabbitmq: RabbitServer
) -> None:
    with redis_server() as redis:
        secrets = {"database_url": postgres.new_database(), "amqp_url": rabbitmq.url, "redis_url": redis.url}
        volumes = Volumes.made(tmp_path, "cluster", **secrets)
        # The queues are this test's own.
        config = volumes.config / "loom.yaml"
        names = ", ".join(
            f"{name}: deploy.{name}" for name in ("exchange", "queue", "dead_letter_exchange", "dead_letter_queue")
        )
        config.write_text(config.read_text().replace('amqp-url"}', f'amqp-url", {names}}}'))
        with pod(image, volumes, "cluster") as server, auditor_pod(image, volumes, "cluster"):
            async with client_of(server) as client:
                await client.complete("Hello", model="mock-echo")
            calls = await recorded(Operated(server.grpc_address, tmp_path))
            code = server.stop()

    assert ([call["model"] for call in calls], code) == (["mock-echo"], 0)
