"""Asking whether a server serves; needs `grpcio-health-checking`, which comes with the server and not with the client."""

from __future__ import annotations

import grpc
import grpc.aio
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from loom_grpc.client.connection import LoomClient
from loom_grpc.client.failure import llm_error


async def serving_status(client: LoomClient, service: str = "", *, timeout_s: float) -> str:
    """Returns the word of `grpc.health.v1` for a service or for the whole server, such as `SERVING`; raises `LlmError`."""
    check = client.channel.unary_unary(
        "/grpc.health.v1.Health/Check", HealthCheckRequest.SerializeToString, HealthCheckResponse.FromString
    )
    try:
        answer = await check(HealthCheckRequest(service=service), timeout=timeout_s, metadata=client.metadata())
    except grpc.aio.AioRpcError as failure:
        if failure.code() == grpc.StatusCode.NOT_FOUND:  # which is how the protocol says that nobody knows the service
            return "SERVICE_UNKNOWN"
        raise llm_error(failure, client.target) from failure
    return HealthCheckResponse.ServingStatus.Name(answer.status)
