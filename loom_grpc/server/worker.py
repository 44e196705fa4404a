"""Several server processes behind one port: the parent holds the port, starts the workers, and replaces those that die.

It alone reads the configuration again. One worker tries what it has read; when that one serves by it the others get it, and so do those
that are started later.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any, Final, NamedTuple

from loom_grpc.config import Config, ConfigError, Loaded, changed_keys
from loom_grpc.server.line import Gives, Misses, Offers, Serves, Tells, Tried, Wants
from loom_grpc.server.source import Source

_MAX_EARLY_DEATHS: Final = 3
"""So many workers that die one after the other without having served end the server: the cause will not go away."""
_AGAIN_S: Final = 5.0
"""How long after a worker that could not take a dead one's place, while others serve, the next one tries."""
_SPAWN: Final = multiprocessing.get_context("spawn")
_IGNORED: Final = (signal.SIGINT, signal.SIGHUP)
"""What workers leave to their parent."""

Ready = Callable[[str, str], None]
Work = Callable[[Config, int, Path, Connection], int]
"""Serves in a process of its own: the configuration, the worker's number, a folder that the workers share, and the line to the parent."""


@dataclass(eq=False)
class _Worker:
    """A worker, and what it is known to serve by."""

    number: int
    process: SpawnProcess
    line: Connection
    config: Config
    serves: bool = False
    trying: Config | None = None
    refused: Config | None = None

    def say(self, message: Misses | Offers | Tells) -> None:
        """Tells the worker something; one that has just died needs no word."""
        with suppress(OSError):
            self.line.send(message)

    def knows(self, config: Config) -> bool:
        """Tells whether the worker serves by a configuration or has refused it."""
        return config is self.config or config is self.refused

    def offer(self, config: Config) -> None:
        """Has the worker try a configuration."""
        self.trying = config
        self.say(Offers(config))


class _Wish(NamedTuple):
    """Somebody wants the configuration to be read again: an operator who has asked a worker, or else SIGHUP or a changed file."""

    worker: _Worker | None = None
    number: int | None = None


class _Trial(NamedTuple):
    """A configuration that one worker tries for all."""

    wish: _Wish
    worker: _Worker
    loaded: Loaded
    keys: tuple[str, ...]
    due: float
    """When the worker must have said what came of it, on the monotonic clock."""


def supervise(loaded: Loaded, source: Source, work: Work, on_ready: Ready) -> int:
    """Runs `workers` processes until SIGTERM or SIGINT and returns the exit code; raises `ConfigError` when it cannot start."""
    config = loaded.config
    held = [_hold("grpc.address", config.grpc.address)]
    if config.http.enabled:
        held.append(_hold("http.address", config.http.address))
    addresses = [_address(sock) for sock in held]
    grpc = config.grpc.model_copy(update={"address": addresses[0]})
    http = config.http.model_copy(update={"address": addresses[-1]}) if config.http.enabled else config.http
    try:
        with TemporaryDirectory(prefix="loom-grpc-") as shared:
            return _Fleet(config, {"grpc": grpc, "http": http}, source, work, Path(shared), on_ready).run()
    finally:
        for sock in held:
            sock.close()


class _Fleet:
    """The workers and what has become of them. `edges` are the sections with the ports that were taken."""

    def __init__(
        self,
        config: Config,
        edges: Mapping[str, object],
        source: Source,
        work: Work,
        shared: Path,
        on_ready: Ready,
    ) -> None:
        self._read = config
        """The configuration as it was read."""
        self._edges = edges
        self._config = config.model_copy(update=edges)
        """What the workers are to serve by."""
        self._source = source
        self._work = work
        self._shared = shared
        self._on_ready = on_ready
        self._workers: dict[int, _Worker] = {}
        self._unserved: set[int] = set(range(config.workers))
        self._put_off: dict[int, float] = {}
        """When those begin whose place is empty for now, on the monotonic clock."""
        self._early_deaths = 0
        self._refusal: tuple[str, ...] = ()
        self._signals = 0
        self._is_hung_up = False
        """Whether a SIGHUP is on its way."""
        self._wishes: deque[_Wish] = deque()
        self._trial: _Trial | None = None
        self._look_at = 0.0

    def run(self) -> int:
        wake, self._wake = os.pipe()
        for heard in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(heard, self._on_signal)
        for number in range(self._config.workers):
            self._start(number)
        while self._workers or self._put_off:
            lines = {worker.line: worker for worker in self._workers.values()}
            ends = {worker.process.sentinel: worker for worker in self._workers.values()}
            for source in wait([wake, *lines, *ends], self._pause_s()):
                if source == wake:
                    self._take_signal(os.read(wake, 1)[0])
                elif isinstance(source, int):
                    self._buried(ends[source])
                else:
                    self._hear(lines[source])  # type: ignore[index] # wait() returns what it was given
            self._look()
            self._go_on()
        if self._refusal:
            raise ConfigError(*self._refusal)
        return 1 if self._early_deaths >= _MAX_EARLY_DEATHS else 0

    def _start(self, number: int) -> None:
        line, far_end = _SPAWN.Pipe()
        process = _SPAWN.Process(target=_run_worker, args=(self._work, self._config, number, self._shared, far_end))
        resource_tracker.ensure_running()  # or the first start would do it, and unblock SIGINT
        # Blocked here they stay blocked there, until the worker ignores them: they may come to the whole process group.
        signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED)
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _IGNORED)
        far_end.close()
        self._workers[number] = _Worker(number, process, line, self._config)

    def _hear(self, worker: _Worker) -> None:
        """Takes a message; the end of a line is followed by the end of its worker."""
        try:
            message: Any = worker.line.recv()
        except (EOFError, OSError):
            worker.process.join()
            return
        match message:
            case Serves():
                self._welcome(worker)
            case Gives(problems):
                self._miss(worker, problems)
            case Wants(number):
                self._wishes.append(_Wish(worker, number))
            case Tried(problems):
                self._weigh(worker, problems)

    def _miss(self, worker: _Worker, problems: tuple[str, ...]) -> None:
        """Ends a server that cannot begin. Where others have served and still do, what keeps a worker from it may pass."""
        serving = [other for other in self._workers.values() if other.serves]
        if not serving or self._on_ready is not _said:
            self._refusal = problems
            self._end()
        elif not self._signals:
            self._put_off[worker.number] = time.monotonic() + _AGAIN_S
            serving[0].say(Misses(worker.number, problems))

    def _welcome(self, worker: _Worker) -> None:
        """Counts a worker in that has begun to serve."""
        worker.serves = True
        self._early_deaths = 0
        self._unserved.discard(worker.number)
        if not self._unserved and self._on_ready is not _said:
            on_ready, self._on_ready = self._on_ready, _said
            on_ready(self._config.grpc.address, self._config.http.address if self._config.http.enabled else "")

    def _pause_s(self) -> float:
        due = self._trial.due if self._trial is not None else math.inf
        return max(0.0, min(self._look_at, due, *self._put_off.values()) - time.monotonic())

    def _look(self) -> None:
        """Does what is due: fills empty places, gives up on a worker that is silent about a configuration, and looks at the file."""
        now = time.monotonic()
        for number in [number for number, due in self._put_off.items() if now >= due]:
            del self._put_off[number]
            self._start(number)
        if self._trial is not None and now >= self._trial.due:
            wish, self._trial = self._trial.wish, None
            self._tell(wish, problems=("the worker that tried the new configuration does not answer; try once more",))
        if now < self._look_at:
            return
        config = self._read.reload
        if config.watch and self._source.has_changed():
            self._want()
        self._look_at = time.monotonic() + self._source.pause_s(config.poll_s)

    def _want(self) -> None:
        """Wishes for another reading, unless one is due anyway."""
        if _Wish() not in self._wishes:
            self._wishes.append(_Wish())

    def _go_on(self) -> None:
        """Turns to the next wish when no worker is trying the last one's configuration, and brings all others in step."""
        if self._signals:
            return
        if self._trial is None and self._wishes and any(worker.serves for worker in self._workers.values()):
            self._fulfil(self._wishes[0])
        for worker in self._workers.values():
            if worker.serves and worker.trying is None and not worker.knows(self._config):
                worker.offer(self._config)

    def _fulfil(self, wish: _Wish) -> None:
        worker = self._spokesman(wish)
        if worker.trying is not None or not (wish.worker or worker).serves:
            return  # it will say when it is done, or serves
        self._wishes.popleft()
        try:
            loaded = self._source.renew(self._read)
        except ConfigError as error:
            self._tell(wish, problems=error.problems)
            return
        keys = tuple(changed_keys(self._read, loaded.config))
        if not keys:
            self._tell(wish, warnings=loaded.warnings)
            return
        self._trial = _Trial(wish, worker, loaded, keys, time.monotonic() + self._read.reload.timeout_s)
        worker.offer(loaded.config.model_copy(update=self._edges))

    def _weigh(self, worker: _Worker, problems: tuple[str, ...]) -> None:
        """Takes what came of a configuration that a worker was offered."""
        tried, worker.trying = worker.trying, None
        if problems:
            worker.refused = tried
        elif tried is not None:
            worker.config = tried
        trial = self._trial
        if trial is None or trial.worker is not worker:
            if problems:
                worker.say(Tells(None, problems=problems))
            return
        self._trial = None
        if problems:
            self._tell(trial.wish, problems=problems)
        else:
            self._read, self._config = trial.loaded.config, worker.config
            self._tell(trial.wish, keys=trial.keys, warnings=trial.loaded.warnings)

    def _tell(self, wish: _Wish, **news: tuple[str, ...]) -> None:
        """Tells a worker what came of a wish: the one that has it of an operator, or else any, which writes it to the log."""
        self._spokesman(wish).say(Tells(wish.number, **news))

    def _spokesman(self, wish: _Wish) -> _Worker:
        serving = [worker for worker in self._workers.values() if worker.serves]
        return wish.worker if wish.worker in serving else min(serving, key=lambda worker: worker.trying is not None)

    def _buried(self, worker: _Worker) -> None:
        """Replaces a worker that died, except while stopping."""
        if self._workers.get(worker.number) is not worker:
            return
        worker.process.join()
        worker.line.close()
        del self._workers[worker.number]
        self._wishes = deque(wish for wish in self._wishes if wish.worker is not worker)
        if self._signals:
            return
        if self._trial is not None and self._trial.worker is worker:
            self._trial = None
            self._bury_trial()
        if worker.number in self._put_off:
            return
        if worker.number in self._unserved:
            self._early_deaths += 1
        if self._early_deaths >= _MAX_EARLY_DEATHS:
            self._end()
            return
        self._unserved.add(worker.number)
        self._start(worker.number)

    def _bury_trial(self) -> None:
        """Refuses a configuration whose first worker died over it, or while it tried: it is not worth another one."""
        if any(worker.serves for worker in self._workers.values()):
            self._tell(_Wish(), problems=("the worker that tried the new configuration has died; try once more",))

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            if self._is_hung_up:
                return  # or a storm of them would keep SIGTERM waiting, and at last fill the pipe
            self._is_hung_up = True
        os.write(self._wake, bytes([number]))

    def _take_signal(self, number: int) -> None:
        """Reads the configuration on SIGHUP. Of the others, hands the first on as SIGTERM; a second one kills."""
        if number == signal.SIGHUP:
            self._is_hung_up = False
            self._want()
            return
        self._signals += 1
        self._signal_workers(signal.SIGTERM if self._signals == 1 else signal.SIGKILL)

    def _end(self) -> None:
        """Stops what still runs, as if a signal had come."""
        self._signals += 1
        self._signal_workers(signal.SIGTERM)

    def _signal_workers(self, number: int) -> None:
        self._put_off.clear()
        self._trial = None  # its worker tells who asked for it that the server stops
        for worker in self._workers.values():
            if worker.process.pid is not None and worker.process.is_alive():
                os.kill(worker.process.pid, number)


def _said(grpc_address: str, http_address: str) -> None:
    """Stands in for `on_ready` once it has been told."""


def _run_worker(work: Work, config: Config, number: int, shared: Path, line: Connection) -> None:
    # The terminal sends Ctrl-C to every process of the group; only the parent decides when to stop, and when to read again.
    for ignored in _IGNORED:
        signal.signal(ignored, signal.SIG_IGN)
    try:
        code = work(config, number, shared, line)
    except ConfigError as error:
        line.send(Gives(error.problems))
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
        # Connections of a server that was here before, of one process, keep others from the port for a minute without the first of them.
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            sock.setsockopt(socket.SOL_SOCKET, option, 1)
        sock.bind(where)
    except OSError as error:
        raise ConfigError(f"{key}: cannot listen on {address}: {error.strerror}") from None
    return sock


def _address(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
