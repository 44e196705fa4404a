"""One browser for all tests, each of which opens pages of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import pytest
import uvloop

from tests.browser.chromium import Browser, chromium
from tests.browser.site import CLIENT, Site, site


@pytest.hookimpl
def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Has every test of this folder run on uvloop, on which the HTTP edge is served."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One headless Chromium."""
    with chromium(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture(scope="session")
def client() -> bytes:
    """The TypeScript client for browsers, as one file; it is built where it is missing or older than its sources."""
    changed = max(file.stat().st_mtime for file in CLIENT.parents[1].glob("src/**/*.ts"))
    if not CLIENT.exists() or CLIENT.stat().st_mtime < changed:
        # The Node.js of the tests is beside their Python, where the machine may have none.
        environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        build = ["make", "--silent", "-C", str(CLIENT.parents[1]), "build"]
        subprocess.run(build, env=environ, check=True, timeout=300)  # noqa: S603
    return CLIENT.read_bytes()


@pytest.fixture
async def page(browser: Browser, client: bytes) -> AsyncIterator[Site]:
    """A page of an origin that the server does not know, unless it is told."""
    async with site(browser, client) as own:
        yield own
