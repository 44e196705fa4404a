"""`loom-grpc shim`: the HTTP edge as a process of its own, in front of a server elsewhere."""

from __future__ import annotations

import argparse
import asyncio
import shlex
from typing import Final

import uvloop

from loom_grpc import __version__
from loom_grpc.cli import configuration
from loom_grpc.cli.banner import curl, http_url
from loom_grpc.cli.output import FAILED, say, warning
from loom_grpc.cli.server import make_client
from loom_grpc.client import LlmError, LoomClient
from loom_grpc.config import Config, ConfigError, GrpcConfig, check_exposure
from loom_grpc.server.process import make_telemetry, outlive_terminal, stop_signal, with_port
from loom_grpc.shim.remote import RemoteGateway
from loom_grpc.shim.serve import HttpEdge

_GREETING_S: Final = 3.0


def run(arguments: argparse.Namespace) -> int:
    """Serves HTTP until SIGTERM or SIGINT."""
    outlive_terminal()
    client = make_client(arguments)
    try:
        config = configuration.read(arguments).config
        check_exposure(config.model_copy(update={"grpc": GrpcConfig()}))  # which is not served here
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(config, client))
    except ConfigError as failure:
        configuration.report(failure)
        return FAILED
    return 0


async def _serve(config: Config, client: LoomClient) -> None:
    stop = stop_signal()
    telemetry = make_telemetry(config)
    await telemetry.start()
    try:
        async with client:
            edge = HttpEdge(config, RemoteGateway(client), telemetry)
            say(await _banner(config, client, with_port(config.http.address, await edge.start())))
            await stop.wait()
            await edge.drain(config.grpc.drain_grace_s)
    finally:
        await telemetry.close()


async def _banner(config: Config, client: LoomClient, address: str) -> str:
    """Writes where the shim is, and a line to try it with; a server that is not there yet is no reason to stop."""
    lines = [
        f"loom-grpc {__version__} serves HTTP in front of {client.target}",
        f"  HTTP       {http_url(config.http.tls, address)}",
    ]
    try:
        models = await client.list_models(timeout_s=_GREETING_S)
    except LlmError as failure:
        warning(f"{failure.message} Calls fail until it is there.")
        return "\n".join(lines)
    ready = [model for model in models if model.is_default] or models
    if ready:
        lines += ["", "Try it:", f"  {shlex.join(curl(config.http.tls, address, ready[0].provider, ready[0].id))}"]
    return "\n".join(lines)
