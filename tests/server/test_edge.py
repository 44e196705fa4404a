"""The gRPC server itself: health, reflection, draining, certificates, limits."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from loom_grpc.client import llm_error
from loom_grpc.config import ConfigError
from loom_grpc.v1.error_pb2 import ERROR_REASON_DRAINING
from loom_grpc.v1.llm_service_pb2 import LlmRequest
from loom_grpc.v1.message_pb2 import ROLE_USER, Message
from tests.server.serving import HI, chunk, configuration, health_of, hello, serving
from tests.stand_in import Connection, stand_in

ECHO = LlmRequest(provider="mock", model="mock-echo", messages=[Message(role=ROLE_USER, content="hi")])


@pytest.mark.parametrize("service", ["", "loom_grpc.v1.LlmService", "loom_grpc.v1.AdminService"])
async def test_health_is_told_for_each_service(service: str) -> None:
    async with serving(configuration()) as server:
        stub = health_of(server.channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))

    assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("service", ["nobody", "n" * 20_000])
async def test_health_of_an_unknown_service_is_not_found(service: str) -> None:
    async with serving(configuration()) as server:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await health_of(server.channel).Check(health_pb2.HealthCheckRequest(service=service))

    assert failure.value.code() == grpc.StatusCode.NOT_FOUND


async def test_reflection_shows_the_contract() -> None:
    async with serving(configuration()) as server:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(server.channel)  # type: ignore[arg-type] # takes both kinds
        call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        answers = [answer async for answer in call]

    names = {service.name for service in answers[0].list_services_response.service}
    assert names == {
        "loom_grpc.v1.LlmService",
        "loom_grpc.v1.AdminService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }


async def test_a_tool_that_keeps_reflection_open_does_not_hold_a_server_up_that_drains() -> None:
    async with serving(configuration()) as server:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(server.channel)  # type: ignore[arg-type] # takes both kinds
        call = stub.ServerReflectionInfo()
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        await call.read()
        async with asyncio.timeout(5):
            await server.edge.drain(60)
        code, message = await call.code(), await call.details()

    assert (code, message) == (
        grpc.StatusCode.UNAVAILABLE,
        "The server is shutting down; call again, another one will answer.",
    )


async def test_channelz_is_served_when_it_is_switched_on() -> None:
    async with serving(configuration(grpc={"channelz": True})) as server:
        stub: Any = channelz_pb2_grpc.ChannelzStub(server.channel)  # type: ignore[arg-type] # takes both kinds
        await server.stub.Complete(ECHO)
        found = await stub.GetServers(channelz_pb2.GetServersRequest())

    # Servers of other tests are told of until they are collected.
    assert [calls for row in found.server if (calls := int(row.data.calls_started))] == [2]


async def test_draining_lets_a_stream_finish_and_refuses_new_calls() -> None:
    go_on = asyncio.Event()

    async with stand_in(hello(go_on)) as upstream, serving(configuration(upstream.url)) as server:
        health = health_of(server.channel).Watch(health_pb2.HealthCheckRequest())
        assert (await health.read()).status == health_pb2.HealthCheckResponse.SERVING
        stream = aiter(server.stub.Stream(HI))
        assert (await anext(stream)).HasField("started")

        draining = asyncio.create_task(server.edge.drain(10))
        assert (await health.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        await server.channel.wait_for_state_change(grpc.ChannelConnectivity.READY)  # until it is asked to go
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await server.stub.Complete(ECHO)
        go_on.set()
        events = [event async for event in stream]
        began = time.perf_counter()
        await draining

    assert failure.value.code() == grpc.StatusCode.UNAVAILABLE
    assert events[-1].completed.response.message.content == "Hello."
    assert time.perf_counter() - began < 2, "watchers of health do not hold the server up"


async def test_what_is_not_done_within_the_grace_time_ends_and_says_why() -> None:
    whole_is_asked = asyncio.Event()

    async def silent(connection: Connection) -> None:
        if connection.asked.json.get("stream"):
            await connection.head()
            await connection.send(chunk("Hel"))
        else:
            whole_is_asked.set()
        await connection.closed.wait()

    async with stand_in(silent) as upstream, serving(configuration(upstream.url)) as server:
        call, stream = server.stub.Complete(HI), aiter(server.stub.Stream(HI))
        begun = [await anext(stream), await anext(stream)]
        await whole_is_asked.wait()
        await server.edge.drain(0.2)
        last = await anext(stream)
        failures = []
        for ended in (call, anext(stream)):
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await ended
            failures.append(llm_error(failure.value, "").name)
        await asyncio.gather(*(connection.closed.wait() for connection in upstream.connections))

    assert [event.WhichOneof("event") for event in begun] == ["started", "text_delta"]
    assert last.error.reason == ERROR_REASON_DRAINING
    assert failures == ["DRAINING", "DRAINING"]


class Certificates:
    """An authority of the test's own, and files of what it issued."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        issued = self.authority.issue_cert("localhost")
        self.cert, self.key, self.ca = folder / "cert.pem", folder / "key.pem", folder / "ca.pem"
        self.cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        self.key.write_bytes(issued.private_key_pem.bytes())
        self.ca.write_bytes(self.authority.cert_pem.bytes())

    def tls(self, **more: Any) -> dict[str, Any]:
        """Returns the configuration of a server that shows the certificate."""
        files = {"cert_file": str(self.cert), "key_file": str(self.key)} | more
        return {"address": "localhost:0", "tls": files}

    def credentials(self, *, own: bool = False) -> grpc.ChannelCredentials:
        """Returns what a caller uses, with a certificate of its own or without."""
        issued = self.authority.issue_cert("caller@example.org")
        return grpc.ssl_channel_credentials(
            self.ca.read_bytes(),
            issued.private_key_pem.bytes() if own else None,
            issued.cert_chain_pems[0].bytes() if own else None,
        )


async def test_tls_by_configuration(tmp_path: Path) -> None:
    files = Certificates(tmp_path)
    async with serving(configuration(grpc=files.tls()), files.credentials()) as server:
        assert (await server.stub.Complete(ECHO)).message.content == "hi"


async def test_mutual_tls_refuses_a_caller_without_a_certificate(tmp_path: Path) -> None:
    files = Certificates(tmp_path)
    config = configuration(grpc=files.tls(client_ca_file=str(files.ca)))
    async with serving(config, files.credentials()) as server:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await server.stub.Complete(ECHO, timeout=5)
    async with serving(config, files.credentials(own=True)) as server:
        assert (await server.stub.Complete(ECHO)).message.content == "hi"

    assert failure.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    files = Certificates(tmp_path)
    files.key.unlink()

    with pytest.raises(ConfigError, match=r"grpc\.tls: .*key\.pem: No such file"):
        async with serving(configuration(grpc=files.tls())):
            pass


async def test_a_port_that_is_taken_is_a_clear_error() -> None:
    async with serving(configuration()) as server:
        taken = configuration(grpc={"address": f"127.0.0.1:{server.port}"})
        with pytest.raises(ConfigError, match="another program may have it"):
            async with serving(taken):
                pass
