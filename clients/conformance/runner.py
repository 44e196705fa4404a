"""The runner of one language, as a process that answers line by line."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from subprocess import PIPE
from typing import IO, Final

CLIENTS: Final = Path(__file__).parents[1]
_LONGEST_LINE: Final = 64 * 2**20
_END_S: Final = 10
_MOST_FAILURES: Final = 3


class RunnerError(Exception):
    """A runner that did not answer."""


def runners(folder: Path = CLIENTS) -> dict[str, Path]:
    """Finds the runners by language: every folder with an executable called `conformance`."""
    found = {path.parent.name: path for path in sorted(folder.glob("*/conformance"))}
    return {language: path for language, path in found.items() if path.is_file() and os.access(path, os.X_OK)}


class Runner:
    """Answers one case after the other; where it fails, the next case gets a new process."""

    def __init__(self, command: Path) -> None:
        self._command = command
        self._process: asyncio.subprocess.Process | None = None
        self._log: IO[bytes] | None = None
        self._failures = 0

    async def ask(self, line: str, limit_s: float) -> str:
        """Hands a case over and returns the line that comes back; raises `RunnerError`, and ends a process that takes longer."""
        if self._failures >= _MOST_FAILURES:
            raise RunnerError(f"not run: the runner failed {_MOST_FAILURES} times before")
        try:
            async with asyncio.timeout(limit_s):
                return await self._exchange(line)
        except TimeoutError:
            raise await self._failed(f"no answer within {limit_s:g} s") from None
        except (OSError, ValueError) as error:  # no such program, a broken pipe, a line without an end
            raise await self._failed(f"the runner cannot be talked to: {error}") from error

    async def close(self) -> None:
        """Lets the process end; raises `RunnerError` where it does not, or not well."""
        process = self._process
        if process is None or process.stdin is None:
            return
        process.stdin.close()
        try:
            code = await asyncio.wait_for(process.wait(), _END_S)
        except TimeoutError:
            raise await self._failed(f"the runner had not ended {_END_S} s after its input") from None
        if code:
            raise await self._failed(f"the runner ended with code {code}")
        self._forget()

    async def kill(self) -> None:
        """Ends the process."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        self._forget()

    async def _exchange(self, line: str) -> str:
        process = self._process or await self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(line.encode() + b"\n")
        await process.stdin.drain()
        answer = await process.stdout.readline()
        if not answer.endswith(b"\n"):
            raise await self._failed(f"the runner ended with code {await process.wait()}")
        return answer.decode(errors="replace")

    async def _start(self) -> asyncio.subprocess.Process:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = await asyncio.create_subprocess_exec(
            self._command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=self._log,
            cwd=self._command.parent,
            env={"PYTHON": sys.executable, **os.environ},
            limit=_LONGEST_LINE,
        )
        return self._process

    async def _failed(self, why: str) -> RunnerError:
        """Ends the process and returns the error, with the end of what it wrote to stderr."""
        self._failures += 1
        said = b""
        if self._log is not None:
            self._log.seek(0)
            said = self._log.read()[-500:]
        await self.kill()
        return RunnerError(why + (f"; it said: {said.decode(errors='replace').strip()}" if said else ""))

    def _forget(self) -> None:
        self._process = None
        if self._log is not None:
            self._log.close()
            self._log = None
