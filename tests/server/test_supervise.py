"""The parent of several workers, beside workers that do as the test wants."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from loom_grpc.config import Config, Loaded
from loom_grpc.server.line import Serves, Wants
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
