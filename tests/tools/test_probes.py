"""What probes see: grpc-health-probe, and a kubelet's."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from loom_grpc.client import LoomClient
from tests.program import Server, run
from tests.tools.serving import ADMIN_KEY, Guarded

LLM = "loom_grpc.v1.LlmService"
# https://github.com/grpc-ecosystem/grpc-health-probe, seen 2026-11-21: what its exit code says.
HEALTHY, NOT_CONNECTED, FAILED, UNHEALTHY = 0, 2, 3, 4
NOT_SERVING = 'service unhealthy (responded with "NOT_SERVING")\n'


async def kubelet(address: str, service: str = "") -> str:
    """Probes as a kubelet does, with a connection of its own and for a second, and returns the status or why there was none.

    https://github.com/kubernetes/kubernetes/blob/master/pkg/probe/grpc/grpc.go, seen 2026-11-21.
    """
    options = [("grpc.primary_user_agent", "kube-probe/1.34"), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check", HealthCheckRequest.SerializeToString, HealthCheckResponse.FromString
        )
        try:
            answer = await check(HealthCheckRequest(service=service), timeout=1)
        except grpc.aio.AioRpcError as failure:
            return failure.code().name
    return HealthCheckResponse.ServingStatus.Name(answer.status)


@pytest.mark.parametrize("service", ["", LLM, f"{LLM}/mock", f"{LLM}/openai", "loom_grpc.v1.AdminService"])
async def test_a_server_serves(grpc_health_probe: str, live: Server, tmp_path: Path, service: str) -> None:
    result = await run("-addr", live.grpc_address, "-service", service, command=[grpc_health_probe], cwd=tmp_path)

    assert (result.code, result.err) == (HEALTHY, "status: SERVING\n")
    assert await kubelet(live.grpc_address, service) == "SERVING"


async def test_a_provider_without_an_account_does_not_serve_and_the_server_does(
    grpc_health_probe: str, own: Server, tmp_path: Path
) -> None:
    async with LoomClient(own.grpc_address) as client:
        await client.admin(ADMIN_KEY).disable_account("openai", "a")
    result = await run(
        "-addr", own.grpc_address, "-service", f"{LLM}/openai", command=[grpc_health_probe], cwd=tmp_path
    )

    assert (result.code, result.err) == (UNHEALTHY, NOT_SERVING)
    assert [await kubelet(own.grpc_address, service) for service in (f"{LLM}/openai", f"{LLM}/mock", LLM, "")] == [
        "NOT_SERVING",
        "SERVING",
        "SERVING",
        "SERVING",
    ]


async def test_a_service_that_nobody_knows_is_a_failure(grpc_health_probe: str, live: Server, tmp_path: Path) -> None:
    result = await run("-addr", live.grpc_address, "-service", "nobody", command=[grpc_health_probe], cwd=tmp_path)

    assert result.code == FAILED
    assert "NotFound" in result.err


async def test_a_server_that_drains_does_not_serve_and_finishes_what_it_has_begun(
    grpc_health_probe: str, own: Server, tmp_path: Path
) -> None:
    async with (
        LoomClient(own.grpc_address) as client,
        client.stream("Hi", model="mock-slow", max_tokens=8) as stream,
    ):
        await anext(stream)
        own.process.terminate()
        async with asyncio.timeout(10):
            while await kubelet(own.grpc_address) != "NOT_SERVING":  # noqa: ASYNC110 - a probe asks again and again
                await asyncio.sleep(0.01)
        services = ["", LLM, f"{LLM}/mock"]
        results = [
            await run("-addr", own.grpc_address, "-service", service, command=[grpc_health_probe], cwd=tmp_path)
            for service in services
        ]
        probed = [await kubelet(own.grpc_address, service) for service in services]
        events = [event.WhichOneof("event") async for event in stream]

    assert [(result.code, result.err) for result in results] == [(UNHEALTHY, NOT_SERVING)] * 3
    assert probed == ["NOT_SERVING"] * 3
    assert events[-1] == "completed"
    assert own.process.wait(10) == 0


async def test_a_server_that_is_gone_cannot_be_reached(grpc_health_probe: str, own: Server, tmp_path: Path) -> None:
    address = own.grpc_address
    own.stop()
    result = await run("-addr", address, command=[grpc_health_probe], cwd=tmp_path)

    assert result.code == NOT_CONNECTED


async def test_probes_need_no_key(grpc_health_probe: str, guarded: Guarded, tmp_path: Path) -> None:
    tls = ["-tls", "-tls-ca-cert", str(guarded.ca), "-tls-server-name", "localhost"]
    result = await run(
        "-addr", guarded.address, *tls, "-service", f"{LLM}/mock", command=[grpc_health_probe], cwd=tmp_path
    )

    assert (result.code, result.err) == (HEALTHY, "status: SERVING\n")
