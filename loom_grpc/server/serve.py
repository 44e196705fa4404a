"""The life of the server: start, serve, drain, in one process or in several that share the ports."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable, Coroutine
from pathlib import Path

import uvloop

from loom_grpc.app import App
from loom_grpc.config import Config, Loaded
from loom_grpc.server.edge import GrpcEdge
from loom_grpc.server.process import Worker, make_telemetry, stop_signal, with_port
from loom_grpc.server.worker import supervise
from loom_grpc.shim.serve import HttpEdge
from loom_grpc.telemetry import Telemetry

Ready = Callable[[str, str], None]
"""Is told the gRPC and the HTTP address, the latter empty when there is none, once calls are served."""


def run(loaded: Loaded, on_ready: Ready) -> int:
    """Serves until SIGTERM or SIGINT and returns the exit code; raises `ConfigError` when it cannot start."""
    config = loaded.config
    if config.workers > 1:
        return supervise(config, work, on_ready)
    return _run(_serve(config, on_ready, None))


def work(config: Config, number: int, shared: Path, on_ready: Callable[[], None]) -> int:
    """Serves as one of several workers."""
    return _run(_serve(config, lambda _grpc, _http: on_ready(), Worker(number, shared)))


def _run(serving: Coroutine[None, None, int]) -> int:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serving)


async def _serve(config: Config, on_ready: Ready, worker: Worker | None) -> int:
    stop = stop_signal(worker=worker is not None)
    telemetry = make_telemetry(config, worker)
    await telemetry.start()
    try:
        async with App(config, os.environ, telemetry) as app:
            await _serve_edges(config, app, telemetry, on_ready, stop, shared_port=worker is not None)
    finally:
        await telemetry.close()
    return 0


async def _serve_edges(
    config: Config, app: App, telemetry: Telemetry, on_ready: Ready, stop: asyncio.Event, *, shared_port: bool
) -> None:
    grpc_edge = GrpcEdge(config.grpc, app, telemetry, shared_port=shared_port)
    http_edge = HttpEdge(config, app, telemetry, shared_port=shared_port) if config.http.enabled else None
    grpc_address = with_port(config.grpc.address, await grpc_edge.start())
    http_address = with_port(config.http.address, await http_edge.start()) if http_edge else ""
    telemetry.log.info("serving", grpc=grpc_address, http=http_address, providers=list(config.providers))
    # What start-up made stays for good: the garbage collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    on_ready(grpc_address, http_address)
    await stop.wait()
    grace_s = config.grpc.drain_grace_s
    telemetry.log.info("draining", grace_s=grace_s)
    await asyncio.gather(grpc_edge.drain(grace_s), *([http_edge.drain(grace_s)] if http_edge else []))
    telemetry.log.info("stopped")
