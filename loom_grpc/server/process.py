"""What a server process needs of the system it runs in."""

from __future__ import annotations

import asyncio
import os
import signal


def stop_signal() -> asyncio.Event:
    """Returns the event that SIGTERM and SIGINT set; a second one ends the process at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    return stop


def with_port(address: str, port: int) -> str:
    """Puts the port that was taken in the place of port 0."""
    host, colon, given = address.rpartition(":")
    return f"{host}:{port}" if colon and given == "0" else address
