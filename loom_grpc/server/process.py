"""What a server process needs to begin and to know when to end."""

from __future__ import annotations

import asyncio
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from loom_grpc.config import Config
from loom_grpc.credentials.secret import resolve
from loom_grpc.telemetry import Telemetry


class Worker(NamedTuple):
    """Which of several workers a process is, and the folder that they share."""

    number: int
    shared: Path
    line: Connection
    """To the parent, which tells it when the configuration changes."""


def make_telemetry(config: Config, worker: Worker | None = None) -> Telemetry:
    """Makes the telemetry of this process; raises `ConfigError` when a secret in its headers is not to be had."""
    headers = {
        name: resolve(value.get_secret_value(), os.environ, key=f"telemetry.otlp_headers.{name}").reveal()
        for name, value in config.telemetry.otlp_headers.items()
    }
    if worker is None:
        return Telemetry(config, otlp_headers=headers)
    return Telemetry(config, otlp_headers=headers, worker=worker.number, shared=worker.shared)


def outlive_terminal() -> None:
    """Keeps SIGHUP from ending the process, as it would until somebody listens to it."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def stop_signal(*, worker: bool = False) -> asyncio.Event:
    """Returns the event that SIGTERM and SIGINT set; a second one ends the process at once.

    A worker listens to SIGTERM alone and any number of times: a signal to the whole process group reaches it from the system and from
    its parent, which decides how long to be patient.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        if stop.is_set() and not worker:
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM,) if worker else (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    return stop


def with_port(address: str, port: int) -> str:
    """Puts the port that was taken in the place of port 0."""
    host, colon, given = address.rpartition(":")
    return f"{host}:{port}" if colon and given == "0" else address
