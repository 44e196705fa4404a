"""The line between a worker and its parent: what they tell each other, and the worker's end of it."""

from __future__ import annotations

import asyncio
from itertools import count
from multiprocessing.connection import Connection
from typing import NamedTuple

from loom_grpc.app import App
from loom_grpc.config import Config, ConfigError
from loom_grpc.core.errors import LlmError, server_draining
from loom_grpc.server.reload import adopt
from loom_grpc.telemetry import Telemetry


class Serves(NamedTuple):
    """A worker serves."""


class Gives(NamedTuple):
    """A worker cannot begin to serve."""

    problems: tuple[str, ...]


class Wants(NamedTuple):
    """An operator has asked a worker for the configuration to be read again."""

    number: int


class Tried(NamedTuple):
    """A worker serves by the configuration that it was offered, or not, because of these problems."""

    problems: tuple[str, ...]


class Offers(NamedTuple):
    """The parent has another configuration."""

    config: Config


class Tells(NamedTuple):
    """What came of a reload; the number is that of who asked, None where that was nobody in the worker."""

    number: int | None
    keys: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Misses(NamedTuple):
    """Another worker cannot begin to serve, and is tried again."""

    number: int
    problems: tuple[str, ...]


class Line:
    """A worker's end, in the running event loop."""

    def __init__(self, pipe: Connection, app: App, telemetry: Telemetry) -> None:
        self._pipe = pipe
        self._app = app
        self._telemetry = telemetry
        self._numbers = count()
        self._asking: dict[int, asyncio.Future[list[str]]] = {}
        self._trying: set[asyncio.Task[None]] = set()
        self._closed = False

    def start(self) -> None:
        """Listens to the parent, and tells it that calls are served."""
        asyncio.get_running_loop().add_reader(self._pipe.fileno(), self._hear)
        self._pipe.send(Serves())

    async def close(self) -> None:
        """Listens no longer; who waits for a reload is told that the server stops."""
        self._leave()
        for task in self._trying:
            task.cancel()
        await asyncio.gather(*self._trying, return_exceptions=True)

    async def reload(self) -> list[str]:
        """Has the parent read the configuration and all workers serve by it; returns the keys that it changes.

        Raises `ConfigError`, and `LlmError` (DRAINING).
        """
        if self._closed:
            raise server_draining()
        number = next(self._numbers)
        answer: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        self._asking[number] = answer
        try:
            self._pipe.send(Wants(number))
            return await answer
        finally:
            del self._asking[number]

    def _leave(self) -> None:
        if not self._closed:
            asyncio.get_running_loop().remove_reader(self._pipe.fileno())
        self._closed = True
        for answer in self._asking.values():
            _fail(answer, server_draining())

    def _hear(self) -> None:
        try:
            while not self._closed and self._pipe.poll():
                self._take(self._pipe.recv())
        except (EOFError, OSError):  # the parent is gone; its workers go on as they are
            self._leave()

    def _take(self, message: object) -> None:
        if isinstance(message, Offers):
            task = asyncio.create_task(self._try(message.config))
            self._trying.add(task)
            task.add_done_callback(self._trying.discard)
        elif isinstance(message, Tells):
            self._tell(message)
        elif isinstance(message, Misses):
            self._telemetry.worker_missing(message.number, message.problems)

    async def _try(self, config: Config) -> None:
        problems: tuple[str, ...] = ()
        try:
            await adopt(self._app, config, self._telemetry)
        except ConfigError as error:
            problems = error.problems
        except Exception as error:  # noqa: BLE001 - whatever goes wrong, the parent must not wait for ever
            self._telemetry.crashed(None, error)
            problems = ("the server failed while it made the change; its log has the details",)
        self._pipe.send(Tried(problems))

    def _tell(self, news: Tells) -> None:
        if news.problems:
            self._telemetry.config_refused(news.problems)
        elif not news.keys:
            self._telemetry.config_unchanged()
        for warning in news.warnings:
            self._telemetry.config_doubtful(warning)
        answer = self._asking.get(news.number) if news.number is not None else None
        if answer is None:
            return
        if news.problems:
            _fail(answer, ConfigError(*news.problems))
        elif not answer.done():
            answer.set_result(list(news.keys))


def _fail(answer: asyncio.Future[list[str]], error: ConfigError | LlmError) -> None:
    if not answer.done():
        answer.set_exception(error)
