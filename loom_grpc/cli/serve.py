"""`loom-grpc serve`: the server."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from loom_grpc.cli import configuration
from loom_grpc.cli.banner import banner, command_name
from loom_grpc.cli.output import FAILED, leave_pipe, say, warning
from loom_grpc.config import ConfigError, Loaded, check_exposure
from loom_grpc.server.process import outlive_terminal
from loom_grpc.server.source import Source


def run(arguments: argparse.Namespace) -> int:
    """Serves until SIGTERM or SIGINT."""
    outlive_terminal()
    try:
        file = configuration.file_of(arguments)
        source = Source(file, partial(_read, arguments, file))
        loaded = source.read()
        for text in loaded.warnings:
            warning(text)
        from loom_grpc.server.serve import run as serve

        def on_ready(grpc_address: str, http_address: str) -> None:
            try:
                say(banner(loaded, file, grpc_address, http_address, command=command_name()))
            except BrokenPipeError:
                leave_pipe()

        return serve(loaded, source, on_ready)
    except ConfigError as failure:
        configuration.report(failure)
        return FAILED


def _read(arguments: argparse.Namespace, file: Path | None) -> Loaded:
    """Reads what is to be served; raises `ConfigError`."""
    loaded = configuration.read_quietly(arguments, file)
    check_exposure(loaded.config)
    return loaded
