"""A headless Chromium, driven by its DevTools protocol (chromedevtools.github.io/devtools-protocol, seen 2026-11-21)."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import select
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, Final

import aiohttp

from tests.needed import needed

WAIT_S: Final = 20
_NAMES: Final = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
_MISSING: Final = "needs Chromium. As root: apt-get install chromium-headless-shell; or name one in LOOM_TEST_CHROMIUM."
_FLAGS: Final = (
    "--headless",
    "--no-sandbox",  # which it does not have for root, as whom tests run in containers; the pages are our own
    "--disable-gpu",
    "--disable-dev-shm-usage",  # containers often have little of it
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--remote-debugging-port=0",
)


@dataclass(frozen=True)
class Browser:
    """A running browser."""

    url: str
    """Where its DevTools are, without the scheme."""


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """Starts a browser, whose profile is in `folder`."""
    found = (shutil.which(name) for name in (os.environ.get("LOOM_TEST_CHROMIUM", ""), *_NAMES) if name)
    program = needed(next(filter(None, found), None), _MISSING)
    with subprocess.Popen(  # noqa: S603
        [program, *_FLAGS, f"--user-data-dir={folder}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "HOME": str(folder)},
        start_new_session=True,  # Debian's program is a script that would not pass the signal on
    ) as process:
        try:
            yield Browser(_listening(process))
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(WAIT_S)


def _listening(process: subprocess.Popen[bytes]) -> str:
    """Waits until the browser says where its DevTools listen."""
    assert process.stderr is not None
    said = b""
    while b"/devtools/" not in said:
        ready, _, _ = select.select([process.stderr], [], [], WAIT_S)
        more = os.read(process.stderr.fileno(), 65_536) if ready else b""
        assert more, f"the browser did not start: {said.decode(errors='replace')}"
        said += more
    Thread(target=process.stderr.read, daemon=True).start()  # or it would wait for room when it has said a lot
    return said.partition(b"ws://")[2].partition(b"/")[0].decode()


class Tab:
    """An open page."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.told: asyncio.Queue[str] = asyncio.Queue()
        """What the page has said by calling `tell`."""

    async def call(self, script: str) -> Any:
        """Evaluates an expression and returns its value, or that of its promise."""
        told = await self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    async def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Asks for something by the protocol."""
        number = next(self._numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_str(json.dumps({"id": number, "method": method, "params": parameters}))
        answer = await asyncio.wait_for(self._waiting[number], WAIT_S)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    async def read(self) -> None:
        """Reads what the browser says, for as long as the page is open."""
        async for message in self._socket:
            said = json.loads(message.data)
            if "id" in said:
                self._waiting.pop(said["id"]).set_result(said)
            elif said["method"] == "Runtime.bindingCalled":
                self.told.put_nowait(said["params"]["payload"])


@asynccontextmanager
async def tab(browser: Browser, url: str) -> AsyncIterator[Tab]:
    """Opens a page, which is closed at the end."""
    async with aiohttp.ClientSession() as session:
        async with session.put(f"http://{browser.url}/json/new?about:blank") as response:
            target = (await response.json())["id"]
        async with session.ws_connect(f"ws://{browser.url}/devtools/page/{target}", max_msg_size=0) as socket:
            opened = Tab(socket)
            reading = asyncio.create_task(opened.read())
            try:
                await opened.ask("Runtime.enable")
                await opened.ask("Runtime.addBinding", name="tell")
                await opened.ask("Page.navigate", url=url)
                yield opened
            finally:
                reading.cancel()
                async with session.get(f"http://{browser.url}/json/close/{target}") as response:
                    assert response.status == 200
