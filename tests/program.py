"""Running `loom-grpc` as a process of its own: to its end, at a terminal, or as a server."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[1]
COMMAND = (sys.executable, "-m", "loom_grpc.cli")
WAIT_S = 20
# Opening the terminal makes it the one whose Ctrl-C this process gets.
_AT_TERMINAL = (
    "import os, sys; os.open(os.ttyname(0), os.O_RDWR); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)


@dataclass(frozen=True)
class Result:
    """What a process left behind."""

    code: int
    out: str
    err: str


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Makes an environment without keys and settings of whoever runs the tests."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return kept | {"PYTHONPATH": str(ROOT), "TERM": "xterm"} | dict(extra or {})


def _environment_in(cwd: Path, extra: Mapping[str, str] | None) -> dict[str, str]:
    """Makes an environment whose state is that of one test: what a killed server has left is not for that of another test."""
    given = dict(extra or {})
    return environment(given if "HOME" in given else {"XDG_STATE_HOME": f"{cwd}/.state"} | given)


async def run(
    *arguments: str | bytes,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    cwd: Path,
    command: Sequence[str] = COMMAND,
) -> Result:
    """Runs a command to its end."""
    process = await asyncio.create_subprocess_exec(
        *command,
        *arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_environment_in(cwd, env),
        cwd=cwd,
    )
    out, err = await asyncio.wait_for(process.communicate(stdin), WAIT_S)
    return Result(process.returncode or 0, out.decode(), err.decode())


class Terminal:
    """A process at a terminal, seen from the other side of the screen."""

    def __init__(self, process: asyncio.subprocess.Process, screen: int) -> None:
        self.seen = ""
        self._process = process
        self._screen = screen
        self._more = asyncio.Event()
        asyncio.get_running_loop().add_reader(screen, self._read)

    def type(self, keys: str) -> None:
        """Presses keys; Ctrl-C is `\\x03`, Ctrl-D `\\x04`."""
        os.write(self._screen, keys.encode())

    async def until(self, text: str, times: int = 1) -> None:
        """Waits until a text is on the screen."""
        async with asyncio.timeout(WAIT_S):
            while self.seen.count(text) < times:
                self._more.clear()
                await self._more.wait()

    async def waits(self) -> None:
        """Waits until the process sleeps, for a Ctrl-C between its prompt and its `select` is heard a key later."""
        async with asyncio.timeout(WAIT_S):
            while not _sleeps(self._process.pid):  # noqa: ASYNC110 - the kernel tells nobody
                await asyncio.sleep(0.001)

    async def ends(self) -> int:
        """Waits for the end and returns the exit code."""
        return await asyncio.wait_for(self._process.wait(), WAIT_S)

    def close(self) -> None:
        """Switches the terminal off."""
        asyncio.get_running_loop().remove_reader(self._screen)
        os.close(self._screen)

    def _read(self) -> None:
        try:
            data = os.read(self._screen, 65536)
        except OSError:  # nobody is at the other side any more
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._screen)
        self.seen += data.decode().replace("\r\n", "\n")
        self._more.set()


def _sleeps(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


@asynccontextmanager
async def at_terminal(*arguments: str, env: Mapping[str, str] | None = None, cwd: Path) -> AsyncIterator[Terminal]:
    """Runs a command at a terminal."""
    screen, tty = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _AT_TERMINAL, *COMMAND[1:], *arguments),
        stdin=tty,
        stdout=tty,
        stderr=tty,
        env=_environment_in(cwd, env),
        cwd=cwd,
        start_new_session=True,
    )
    os.close(tty)
    terminal = Terminal(process, screen)
    try:
        yield terminal
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        terminal.close()


@dataclass(frozen=True)
class Server:
    """A server in another process."""

    process: subprocess.Popen[str]
    banner: str
    log: IO[str]

    @property
    def grpc_address(self) -> str:
        """Where gRPC is."""
        return self._fact("gRPC")

    @property
    def http_url(self) -> str:
        """Where HTTP is."""
        return self._fact("HTTP")

    def stop(self) -> int:
        """Asks the server to stop and returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WAIT_S)

    def _fact(self, name: str) -> str:
        found = re.search(rf"^  {name} +(\S+)", self.banner, re.MULTILINE)
        assert found, self.banner
        return found[1]


@contextmanager
def served(*arguments: str, env: Mapping[str, str] | None = None, cwd: Path, last: str = "") -> Iterator[Server]:
    """Starts a server, waits until it serves, and stops it at the end if it is still there.

    `last` is what the last line of its greeting holds, where that is not the usual one.
    """
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(  # noqa: S603
            [*COMMAND, *arguments],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=_environment_in(cwd, env),
            cwd=cwd,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            last = last or {"serve": " chat ", "shim": " curl "}[arguments[0]]
            lines = [process.stdout.readline()]
            while lines[-1] and last not in lines[-1]:
                lines.append(process.stdout.readline())
            if not lines[-1]:
                log.seek(0)  # not while the server runs, for it would write on from there
                raise AssertionError(log.read())
            yield Server(process, "".join(lines), log)
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(WAIT_S)
