"""Which event loops the tests of this folder run on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

_BOTH = frozenset({"test_http.py", "test_upstream.py"})
"""What touches sockets is tested on the loop that serves and on Python's own."""


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Has the tests of sockets run on each loop."""
    if item.path.name in _BOTH:
        return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}
