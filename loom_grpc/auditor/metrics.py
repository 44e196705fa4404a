"""The auditor's metrics for Prometheus."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from loom_grpc.config import ConfigError
from loom_grpc.telemetry import Telemetry

_TEXT = "text/plain; version=0.0.4; charset=utf-8"


@asynccontextmanager
async def metrics_served(address: str, telemetry: Telemetry) -> AsyncIterator[int]:
    """Serves `/metrics` to whoever reaches the address, and gives the port; raises `ConfigError` when the address cannot be had."""

    async def metrics(_request: Request) -> Response:
        return Response(telemetry.prometheus(), media_type=_TEXT)

    listening = _bind(address)
    options = uvicorn.Config(
        Starlette(routes=[Route("/metrics", metrics)]),
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
    )
    options.load()
    server = uvicorn.Server(options)
    server.lifespan = options.lifespan_class(options)
    await server.startup([listening])
    ticking = asyncio.create_task(server.main_loop())  # keeps the header `date` right
    try:
        yield int(listening.getsockname()[1])
    finally:
        ticking.cancel()
        await asyncio.wait({ticking})
        await server.shutdown([listening])


def _bind(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    try:
        return socket.create_server((host.strip("[]"), int(port)), family=_family(host))
    except (OSError, ValueError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it must be HOST:PORT, such as 127.0.0.1:9464"
        raise ConfigError(f"--metrics-address: cannot listen on {address}: {reason}") from None


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if host.startswith("[") else socket.AF_INET
