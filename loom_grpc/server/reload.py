"""Another configuration while the server runs: on SIGHUP, when the file changes, and when an operator asks for it."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from time import perf_counter

from loom_grpc.app import App
from loom_grpc.config import Config, ConfigError
from loom_grpc.core.errors import server_draining
from loom_grpc.server.source import Source
from loom_grpc.telemetry import Telemetry


async def adopt(app: App, config: Config, telemetry: Telemetry) -> list[str]:
    """Serves by another configuration, and writes down which keys it changes; raises `ConfigError`."""
    began = perf_counter()
    keys = await app.adopt(config)
    if keys:
        telemetry.config_reloaded(keys, perf_counter() - began)
    else:
        telemetry.config_unchanged()
    return keys


class Reloading:
    """Reads the configuration again in the only process of a server, in the running event loop; one reload at a time."""

    def __init__(self, source: Source, app: App, telemetry: Telemetry) -> None:
        self._source = source
        self._app = app
        self._telemetry = telemetry
        self._lock = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._closed = False

    def start(self) -> None:
        """Listens to SIGHUP and begins to look at the file."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._wanted.set)
        self._following = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Refuses to reload from now on."""
        self._closed = True
        self._following.cancel()
        await asyncio.wait([self._following])

    async def reload(self) -> list[str]:
        """Reads the configuration and serves by it; returns the keys that it changes. Raises `ConfigError`, and `LlmError` (DRAINING)."""
        async with self._lock:
            if self._closed:
                raise server_draining()
            try:
                loaded = await asyncio.to_thread(self._source.renew, self._app.config)
                keys = await adopt(self._app, loaded.config, self._telemetry)
            except ConfigError as error:
                self._telemetry.config_refused(error.problems)
                raise
            for warning in loaded.warnings:
                self._telemetry.config_doubtful(warning)
            return keys

    async def _follow(self) -> None:
        while True:
            try:
                if await self._is_wanted():
                    with suppress(ConfigError):  # which is told already
                        await self.reload()
            except Exception as error:  # noqa: BLE001 - a background loop goes on, whatever happens to one of its rounds
                self._telemetry.crashed(None, error)

    async def _is_wanted(self) -> bool:
        """Waits for SIGHUP or the next look at the file, and tells whether there is anything to do."""
        config = self._app.config.reload
        with suppress(TimeoutError):
            async with asyncio.timeout(self._source.pause_s(config.poll_s)):
                await self._wanted.wait()
        if self._wanted.is_set():
            self._wanted.clear()
            return True
        return config.watch and await asyncio.to_thread(self._source.has_changed)
