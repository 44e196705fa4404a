"""The configuration that the flags of `serve`, `shim` and `check-config` make."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Final

from loom_grpc.cli.command import VARIABLES
from loom_grpc.cli.output import error, warning
from loom_grpc.config import FLAGS, ConfigError, Loaded, load
from loom_grpc.providers.registry import PROVIDERS

_USUAL_FILE: Final = Path("loom.yaml")


def read(arguments: argparse.Namespace) -> Loaded:
    """Reads the configuration and writes its warnings; raises `ConfigError`."""
    loaded = read_quietly(arguments, file_of(arguments))
    for text in loaded.warnings:
        warning(text)
    return loaded


def read_quietly(arguments: argparse.Namespace, file: Path | None) -> Loaded:
    """Reads the configuration from a file, the environment and the flags; raises `ConfigError`."""
    given = {flag: getattr(arguments, flag.removeprefix("--").replace("-", "_"), None) for flag in FLAGS}
    environ = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return load(file, environ, given, registry=PROVIDERS)


def file_of(arguments: argparse.Namespace) -> Path | None:
    """Returns the file that is named, or the usual one when it is there."""
    if arguments.config:
        return Path(arguments.config)
    return _USUAL_FILE if _USUAL_FILE.is_file() else None


def report(failure: ConfigError) -> None:
    """Writes every problem as a line of its own."""
    for problem in failure.problems:
        error(problem)
