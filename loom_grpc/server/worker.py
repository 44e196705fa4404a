"""Several server processes behind one port: the parent holds the port, starts the workers, and replaces those that die."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Final, NamedTuple

from loom_grpc.config import Config, ConfigError

_MAX_EARLY_DEATHS: Final = 3
"""So many workers that die one after the other without having served end the server: the cause will not go away."""
_SPAWN: Final = multiprocessing.get_context("spawn")

Ready = Callable[[str, str], None]
Work = Callable[[Config, int, Path, Callable[[], None]], int]
"""Serves in a process of its own: the configuration, the worker's number, a folder that the workers share, and whom to tell when
calls are served."""


class _Worker(NamedTuple):
    number: int
    process: SpawnProcess
    news: Connection
    """Says when the worker serves, or the problems of a configuration that it cannot serve with; at its end when it died before."""


def supervise(config: Config, work: Work, on_ready: Ready) -> int:
    """Runs `config.workers` processes until SIGTERM or SIGINT and returns the exit code; raises `ConfigError` when it cannot start."""
    held = [_hold("grpc.address", config.grpc.address)]
    if config.http.enabled:
        held.append(_hold("http.address", config.http.address))
    addresses = [_address(sock) for sock in held]
    grpc = config.grpc.model_copy(update={"address": addresses[0]})
    http = config.http.model_copy(update={"address": addresses[-1]}) if config.http.enabled else config.http
    try:
        with TemporaryDirectory(prefix="loom-grpc-") as shared:
            return _Fleet(config.model_copy(update={"grpc": grpc, "http": http}), work, Path(shared), on_ready).run()
    finally:
        for sock in held:
            sock.close()


class _Fleet:
    """The workers and what has become of them."""

    def __init__(self, config: Config, work: Work, shared: Path, on_ready: Ready) -> None:
        self._config = config
        self._work = work
        self._shared = shared
        self._on_ready = on_ready
        self._workers: dict[int, _Worker] = {}
        self._unserved: set[int] = set(range(config.workers))
        self._early_deaths = 0
        self._refusal: tuple[str, ...] = ()
        self._signals = 0

    def run(self) -> int:
        wake, self._wake = os.pipe()
        for end in (signal.SIGTERM, signal.SIGINT):
            signal.signal(end, self._on_signal)
        for number in range(self._config.workers):
            self._start(number)
        while self._workers:
            news = {worker.news: worker for worker in self._workers.values() if worker.number in self._unserved}
            ends = {worker.process.sentinel: worker for worker in self._workers.values()}
            for source in wait([wake, *news, *ends]):
                if source == wake:
                    self._stop(os.read(wake, 1))
                elif isinstance(source, int):
                    self._buried(ends[source])
                else:
                    self._hear(news[source])  # type: ignore[index] # wait() returns what it was given
        if self._refusal:
            raise ConfigError(*self._refusal)
        return 1 if self._early_deaths >= _MAX_EARLY_DEATHS else 0

    def _start(self, number: int) -> None:
        receiver, sender = _SPAWN.Pipe(duplex=False)
        process = _SPAWN.Process(target=_run_worker, args=(self._work, self._config, number, self._shared, sender))
        process.start()
        sender.close()
        self._workers[number] = _Worker(number, process, receiver)

    def _hear(self, worker: _Worker) -> None:
        """Takes the news that a worker serves; the end of its pipe without news is followed by its end."""
        try:
            refusal: tuple[str, ...] = worker.news.recv()
        except EOFError:
            worker.process.join()
            return
        if refusal:
            self._refusal = refusal
            self._end()
            return
        self._early_deaths = 0
        self._unserved.discard(worker.number)
        if not self._unserved and self._on_ready is not _said:
            on_ready, self._on_ready = self._on_ready, _said
            on_ready(self._config.grpc.address, self._config.http.address if self._config.http.enabled else "")

    def _buried(self, worker: _Worker) -> None:
        """Replaces a worker that died, except while stopping."""
        if self._workers.get(worker.number) is not worker:
            return
        worker.process.join()
        worker.news.close()
        del self._workers[worker.number]
        if self._signals:
            return
        if worker.number in self._unserved:
            self._early_deaths += 1
        if self._early_deaths >= _MAX_EARLY_DEATHS:
            self._end()
            return
        self._unserved.add(worker.number)
        self._start(worker.number)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        os.write(self._wake, bytes([number]))

    def _stop(self, number: bytes) -> None:
        """Hands the first signal on as SIGTERM; a second one kills."""
        self._signals += 1
        self._signal_workers(signal.SIGTERM if self._signals == 1 else signal.SIGKILL)

    def _end(self) -> None:
        """Stops what still runs, as if a signal had come."""
        self._signals += 1
        self._signal_workers(signal.SIGTERM)

    def _signal_workers(self, number: int) -> None:
        for worker in self._workers.values():
            if worker.process.pid is not None and worker.process.is_alive():
                os.kill(worker.process.pid, number)


def _said(grpc_address: str, http_address: str) -> None:
    """Stands in for `on_ready` once it has been told."""


def _run_worker(work: Work, config: Config, number: int, shared: Path, news: Connection) -> None:
    # The terminal sends Ctrl-C to every process of the group; only the parent decides when to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        code = work(config, number, shared, lambda: news.send(()))
    except ConfigError as error:
        news.send(error.problems)
        code = 1
    raise SystemExit(code)


def _hold(key: str, address: str) -> socket.socket:
    """Takes a port for the workers to share, without listening on it; raises `ConfigError` when it is not to be had."""
    host, _, port = address.rpartition(":")
    if address.startswith("unix:"):
        raise ConfigError(f"{key}: several workers cannot share a Unix socket; give host:port or set workers to 1")
    try:
        family, kind, proto, _, where = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, proto)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(where)
    except OSError as error:
        raise ConfigError(f"{key}: cannot listen on {address}: {error.strerror}") from None
    return sock


def _address(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
