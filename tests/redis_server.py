"""A Redis of the tests' own on a free port of 127.0.0.1, gone afterwards; or the one that `LOOM_TEST_REDIS_URL` names."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.needed import needed
from tests.ports import free_ports

PASSWORD = "pass-of-the-tests"
_START_S = 10.0
_MISSING = (
    "Redis is not installed, and these tests need it: `apt-get install redis-server` (Debian, Ubuntu) or `brew install redis`"
    " (macOS), or name a server in LOOM_TEST_REDIS_URL."
)


class RedisServer:
    """A server with a password, which a test may stop, start and make slow."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_ports(1)[0]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Starts it, empty, and waits until it serves."""
        settings = {"port": self.port, "bind": "127.0.0.1", "requirepass": PASSWORD, "save": "", "dir": self._folder}
        arguments = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([_find(), *arguments], stdout=log, stderr=log)  # noqa: S603
        deadline = time.monotonic() + _START_S
        while not self._serves():
            assert time.monotonic() < deadline, (self._folder / "log").read_text()
            time.sleep(0.01)

    def stop(self) -> None:
        """Ends it as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self, seconds: float) -> None:
        """Lets it answer nobody for a while."""
        self.do("CLIENT", "PAUSE", round(seconds * 1000), "ALL")

    def do(self, *command: Any) -> Any:
        """Gives it a command beside the code under test."""
        return _do(self.url, *command)

    def _serves(self) -> bool:
        try:
            return bool(self.do("PING"))
        except RedisConnectionError:
            return False


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    """Runs a server; see `needed` for a machine without Redis."""
    folder = Path(tempfile.mkdtemp(prefix="loom-redis-"))
    server = RedisServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@contextmanager
def redis_url() -> Iterator[str]:
    """Gives the URL of a Redis that is up, for tests that do nothing to the server itself."""
    given = os.environ.get("LOOM_TEST_REDIS_URL")
    if given:
        yield given
        return
    with redis_server() as server:
        yield server.url


def _do(url: str, *command: Any) -> Any:
    with Redis.from_url(url) as client:
        return client.execute_command(*command)


def _find() -> str:
    return needed(shutil.which("redis-server"), _MISSING)
