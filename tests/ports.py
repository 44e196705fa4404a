"""Ports for servers that a test stops and starts again at the same address."""

from __future__ import annotations

import random
import socket
from contextlib import closing, suppress
from typing import Final

_PORTS: Final = range(12_000, 32_000)
"""Below those that systems give to connections (Linux: from 32768): one that is free while its server is down would soon be somebody's."""


def free_ports(number: int) -> list[int]:
    """Returns ports of 127.0.0.1 at which nobody listens."""
    ports: set[int] = set()
    while len(ports) < number:
        port = random.SystemRandom().choice(_PORTS)
        with closing(socket.socket()) as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            ports.add(port)
    return list(ports)
