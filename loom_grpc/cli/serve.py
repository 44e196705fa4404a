"""`loom-grpc serve`: the server."""

from __future__ import annotations

import argparse

from loom_grpc.cli import configuration
from loom_grpc.cli.banner import banner, command_name
from loom_grpc.cli.output import FAILED, leave_pipe, say
from loom_grpc.config import ConfigError, check_exposure


def run(arguments: argparse.Namespace) -> int:
    """Serves until SIGTERM or SIGINT."""
    try:
        loaded = configuration.read(arguments)
        check_exposure(loaded.config)
        from loom_grpc.server.serve import run as serve

        file = configuration.file_of(arguments)

        def on_ready(grpc_address: str, http_address: str) -> None:
            try:
                say(banner(loaded, file, grpc_address, http_address, command=command_name()))
            except BrokenPipeError:
                leave_pipe()

        return serve(loaded, on_ready)
    except ConfigError as failure:
        configuration.report(failure)
        return FAILED
