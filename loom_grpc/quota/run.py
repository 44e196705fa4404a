"""Counters of one run of a server in a file that outlives it: the next run takes over what was spent of budgets."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from loom_grpc.core.quota import MeterError
from loom_grpc.quota.meter import TableMeter

_COUNTERS: Final = ".counters"
_LIVES: Final = ".lock"
"""Beside each file of counters: the processes of its run hold it, so that nobody takes over from a run that lives."""


def open_run(folder: Path, run: str, owner: int, owners: int, now: float) -> TableMeter:
    """Opens the counters of a run, of which a process is the `owner` of several; raises `MeterError`.

    Nobody else opens any in this folder meanwhile, so that all processes of a run begin with what former runs had spent.
    """
    path = folder / f"{owners}-{run}{_COUNTERS}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(folder):
            lives = _open(path)
            fcntl.flock(lives, fcntl.LOCK_SH)
            try:
                meter = TableMeter(path, owner, owners=owners, on_end=partial(os.close, lives))
            except MeterError:
                os.close(lives)
                raise
            try:
                _take_over(folder, path, meter, now)
            except BaseException:
                meter.end()
                raise
    except OSError as error:
        raise MeterError(f"{folder}: {error.strerror}; let the server's user write there") from None
    return meter


def _take_over(folder: Path, own: Path, meter: TableMeter, now: float) -> None:
    """Takes over from the runs that have ended, and removes their files."""
    for path in sorted(folder.glob(f"*{_COUNTERS}")):
        if path == own:
            continue
        lives = _open(path)
        try:
            fcntl.flock(lives, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another server of this user
            continue
        else:
            _hand_over(path, meter, now)
            path.unlink()
            path.with_suffix(_LIVES).unlink()
        finally:
            os.close(lives)


def _hand_over(path: Path, meter: TableMeter, now: float) -> None:
    owners = path.name.partition("-")[0]
    try:
        former = TableMeter(path, 0, owners=int(owners))
    except (MeterError, ValueError):
        return  # the file of another version; the ledger knows what was spent
    try:
        meter.take_over(former, now)
    finally:
        former.end()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _open(path: Path) -> int:
    return os.open(path.with_suffix(_LIVES), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
