"""Faults are tested on the event loop that the server runs on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop


@pytest.hookimpl
def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Has every test of this folder run on uvloop."""
    return {"uvloop": uvloop.new_event_loop}
