"""The life of the server: start, serve, drain, in one process or in several that share the ports."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import uvloop

from loom_grpc.app import App
from loom_grpc.config import Config, ConfigError, Loaded
from loom_grpc.server.edge import GrpcEdge
from loom_grpc.server.line import Line
from loom_grpc.server.process import Worker, make_telemetry, stop_signal, with_port
from loom_grpc.server.reload import Reloading
from loom_grpc.server.source import Source
from loom_grpc.server.worker import supervise
from loom_grpc.shim.serve import HttpEdge
from loom_grpc.telemetry import Telemetry

Ready = Callable[[str, str], None]
"""Is told the gRPC and the HTTP address, the latter empty when there is none, once calls are served."""


def run(loaded: Loaded, source: Source, on_ready: Ready) -> int:
    """Serves until SIGTERM or SIGINT and returns the exit code; raises `ConfigError` when it cannot start.

    `source` is where the configuration is read from again.
    """
    if loaded.config.workers > 1:
        return supervise(loaded, source, work, on_ready)
    return _run(_serve_alone(loaded.config, source, on_ready))


def work(config: Config, number: int, shared: Path, line: Connection) -> int:
    """Serves as one of several workers."""
    return _run(_serve_beside(config, Worker(number, shared, line)))


def _run(serving: Coroutine[None, None, int]) -> int:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serving)


async def _serve_alone(config: Config, source: Source, on_ready: Ready) -> int:
    stop = stop_signal()
    telemetry = make_telemetry(config)
    async with _running(telemetry), App(config, os.environ, telemetry) as app:
        await _serve_edges(config, app, telemetry, Reloading(source, app, telemetry), on_ready, stop)
    return 0


async def _serve_beside(config: Config, worker: Worker) -> int:
    stop = stop_signal(worker=True)
    telemetry = make_telemetry(config, worker)
    async with _running(telemetry), App(config, os.environ, telemetry, worker.shared, worker.number) as app:
        await _serve_edges(config, app, telemetry, Line(worker.line, app, telemetry), _parent_tells, stop)
    return 0


@asynccontextmanager
async def _running(telemetry: Telemetry) -> AsyncIterator[None]:
    await telemetry.start()
    try:
        yield
    finally:
        await telemetry.close()


async def _serve_edges(
    config: Config,
    app: App,
    telemetry: Telemetry,
    reloading: Reloading | Line,
    on_ready: Ready,
    stop: asyncio.Event,
) -> None:
    shared_port = isinstance(reloading, Line)
    app.reload = reloading.reload
    grpc_edge = GrpcEdge(config.grpc, app, telemetry, shared_port=shared_port, providers=app.watch_providers)
    http_edge = None
    if config.http.enabled:
        http_edge = HttpEdge(config, app, telemetry, shared_port=shared_port, kept=app.kept)
    grpc_address = with_port(config.grpc.address, await grpc_edge.start())
    try:
        http_address = with_port(config.http.address, await http_edge.start()) if http_edge else ""
    except ConfigError:
        await grpc_edge.drain(0)  # or else grpcio complains at the end that it could not do so
        raise
    telemetry.log.info("serving", grpc=grpc_address, http=http_address, providers=list(config.providers))
    # What start-up made stays for good: the garbage collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    reloading.start()
    on_ready(grpc_address, http_address)
    await stop.wait()
    await reloading.close()
    grace_s = config.grpc.drain_grace_s
    telemetry.log.info("draining", grace_s=grace_s)
    await asyncio.gather(grpc_edge.drain(grace_s), *([http_edge.drain(grace_s)] if http_edge else []))
    telemetry.log.info("stopped")


def _parent_tells(_grpc_address: str, _http_address: str) -> None:
    """Leaves it to the parent to say where calls are served."""
