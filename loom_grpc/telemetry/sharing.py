"""Metrics of several worker processes: each writes its own to a file, and whichever is asked adds all of them up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

import orjson
from structlog.typing import FilteringBoundLogger

from loom_grpc.core.to_its_end import to_its_end
from loom_grpc.telemetry.background import again_and_again
from loom_grpc.telemetry.metrics import State, merge
from loom_grpc.telemetry.names import METRICS

_EVERY_S: Final = 1.0
_GAUGES: Final = frozenset(metric.name for metric in METRICS if metric.kind == "gauge")


class Sharing:
    """A worker's part in a folder that all workers of a server share and nobody else can write to.

    A worker that takes a dead one's place goes on counting where that one stopped, so that the sums never go back.
    """

    def __init__(self, folder: Path, worker: int, measure: Callable[[], State], log: FilteringBoundLogger) -> None:
        self._folder = folder
        self._log = log
        self._file = folder / f"{worker}.json"
        self._measure = measure
        before = _read(self._file)
        self._before = {name: series for name, series in before.items() if name not in _GAUGES}
        self._written = b""
        self._turn = asyncio.Lock()
        """Held while the file is written: of two who write at once, one would take the other's draft away."""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts to write, every second when something has changed."""
        self._task = again_and_again(self.write, lambda: asyncio.sleep(_EVERY_S), self._log)

    async def close(self) -> None:
        """Writes for the last time."""
        if self._task is not None:
            self._task.cancel()
        await self.write()

    async def write(self) -> None:
        """Writes what has been measured so far. Cancelling waits for its end."""
        async with self._turn:
            data = _encode(merge([self._before, self._measure()]))
            if data != self._written:
                await to_its_end(asyncio.to_thread(_replace, self._file, data))
                self._written = data

    def total(self) -> State:
        """Adds up what all workers have measured, the others' up to about a second ago."""
        others = [_read(file) for file in self._folder.glob("*.json") if file != self._file]
        return merge([self._before, self._measure(), *others])


def _encode(state: State) -> bytes:
    return orjson.dumps({name: list(series.items()) for name, series in state.items()})


def _replace(file: Path, data: bytes) -> None:
    """Readers see the old content or the new one, never a part."""
    draft = file.with_suffix(".draft")
    draft.write_bytes(data)
    draft.replace(file)


def _read(file: Path) -> State:
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return {}
    return {name: {tuple(labels): cells for labels, cells in series} for name, series in orjson.loads(data).items()}
