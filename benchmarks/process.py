"""Servers as processes: start, wait, read clocks and memory from the operating system, stop by pid."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import Self

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def free_port() -> int:
    """Returns a loopback port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


class Process:
    """A running server. A context manager: leaving it stops the server and whatever the server started."""

    def __init__(self, name: str, command: Sequence[str], environ: Mapping[str, str] | None = None) -> None:
        RESULTS.mkdir(exist_ok=True)
        self.name = name
        self.log = RESULTS / f"{name}.log"
        self.start_s = 0.0
        self._began = monotonic()
        with self.log.open("wb") as log:
            self._popen = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | (environ or {}), cwd=ROOT
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        pids = _tree(self._popen.pid)
        self._popen.terminate()
        try:
            self._popen.wait(10)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        for pid in pids[1:]:
            if Path(f"/proc/{pid}").exists():
                os.kill(pid, signal.SIGKILL)

    def wait_until_serving(self, port: int, path: str | None = None) -> None:
        """Waits for the port, and for a 200 on `path` when it is given; notes how long the start took.

        Raises RuntimeError with the end of the log when the server stops or takes longer than 90 s.
        """
        self._wait(lambda: _answers(port, path) if path else _listens(port))

    def wait_for_log(self, pattern: str) -> str:
        """Waits until the log has the pattern, returns its first group; notes and raises as `wait_until_serving`."""
        self._wait(lambda: re.search(pattern, self._log_text()) is not None)
        _, found, *_ = re.split(pattern, self._log_text(), maxsplit=1)
        return found

    def _wait(self, is_serving: Callable[[], bool]) -> None:
        while not is_serving():
            if self._popen.poll() is not None or monotonic() - self._began > 90:
                raise RuntimeError(f"{self.name} does not serve: {self._log_text()[-2000:]}")
            sleep(0.005)
        self.start_s = monotonic() - self._began

    def _log_text(self) -> str:
        return self.log.read_text(errors="replace")

    def cpu_s(self) -> float:
        """Returns the CPU seconds that the process and its children have used."""
        return sum(_cpu_ticks(pid) for pid in _tree(self._popen.pid)) / _TICKS_PER_S

    def memory_mb(self) -> float:
        """Returns the resident memory of the process and its children."""
        return sum(_resident_pages(pid) for pid in _tree(self._popen.pid)) * _PAGE_BYTES / 1e6


def _tree(pid: int) -> list[int]:
    children = [
        int(child) for tasks in Path(f"/proc/{pid}/task").glob("*/children") for child in tasks.read_text().split()
    ]
    return [pid] + [found for child in children for found in _tree(child)]


def _cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15]))  # utime, stime and those of children that have ended


def _resident_pages(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1])


def _listens(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
