"""Clients of other processes talk to the HTTP edge on the event loop that it is served on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop


@pytest.hookimpl
def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Has every test of this folder run on uvloop.

    Python 3.11's own loop never closes a connection that it accepts in the moment in which its server is closed
    (https://github.com/python/cpython/issues/109564, seen 2026-11-22).
    """
    return {"uvloop": uvloop.new_event_loop}
