"""The parent of several workers, beside workers that do as the test wants."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from loom_grpc.config import Config, ConfigError, Loaded
from loom_grpc.server.line import Misses, Serves, Wants
from loom_grpc.server.source import Source
from loom_grpc.server.worker import supervise

TRY_S = 0.2
SETTINGS = {
    "workers": 2,
    "grpc": {"address": "127.0.0.1:0"},
    "http": {"enabled": False},
    "reload": {"timeout_s": TRY_S},
    "providers": {"mock": {}},
}


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    heard = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in heard]
    yield
    for number, handler in zip(heard, before, strict=True):
        signal.signal(number, handler)


def loaded(**more: object) -> Loaded:
    return Loaded(Config.model_validate(SETTINGS | more), {})


class Changed(Source):
    """Has another configuration whenever it is read again."""

    def __init__(self) -> None:
        super().__init__(None, lambda: loaded(log={"level": "error"}))


def stop_amid_a_reload(config: Config, number: int, shared: Path, line: Connection) -> int:
    """One worker dies of the stop that comes while it tries a configuration; the other, slow to begin, outlives the try."""
    life = shared / "life"
    with suppress(FileExistsError):
        os.mkfifo(life)
    if number == 1:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        life.read_bytes()  # until the first one is dead
        line.poll(2 * TRY_S)
        return 0
    with life.open("wb"):
        line.send(Serves())
        line.send(Wants(0))
        line.recv()
        os.kill(os.getppid(), signal.SIGTERM)
        signal.pause()
    return 0


def test_a_stop_amid_a_reload_is_the_end_of_both() -> None:
    assert supervise(loaded(), Changed(), stop_amid_a_reload, lambda *_: None) == 0


@dataclass
class LosesOne:
    """Worker 1 is killed when all serve; the first one in its place cannot begin, and the second one can."""

    folder: Path

    def __call__(self, config: Config, number: int, shared: Path, line: Connection) -> int:
        if number == 0:
            line.send(Serves())
            (self.folder / "heard").write_text(repr(line.recv()))
            signal.pause()
        with (self.folder / "lives").open("a+") as lives:
            lives.write(f"{os.getpid()} ")
            lives.seek(0)
            life = len(lives.read().split())
        if life == 2:
            raise ConfigError("audit.spool_dir: the disk is full")
        line.send(Serves())
        if life == 3:
            (self.folder / "said").write_text((self.folder / "heard").read_text())
            os.kill(os.getppid(), signal.SIGTERM)
        signal.pause()
        return 0

    def kill(self, *_: str) -> None:
        os.kill(int((self.folder / "lives").read_text()), signal.SIGKILL)


def test_a_worker_that_cannot_take_a_dead_ones_place_is_tried_again_while_others_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loom_grpc.server.worker._AGAIN_S", 0.1)
    os.mkfifo(tmp_path / "heard")  # so that who writes to it waits for who reads
    work = LosesOne(tmp_path)

    assert supervise(loaded(), Changed(), work, work.kill) == 0

    assert (tmp_path / "said").read_text() == repr(Misses(1, ("audit.spool_dir: the disk is full",)))
    assert len((tmp_path / "lives").read_text().split()) == 3


class Interrupted:
    """A worker that the terminal's Ctrl-C reaches as soon as it is a process."""

    def __setstate__(self, _state: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    def __getstate__(self) -> bool:
        return True

    def __call__(self, config: Config, number: int, shared: Path, line: Connection) -> int:
        line.send(Serves())
        signal.pause()
        return 0


def test_an_interrupt_leaves_it_to_the_parent_to_end_workers_that_have_just_begun() -> None:
    def stop(*_: str) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    assert supervise(loaded(), Changed(), Interrupted(), stop) == 0
