"""Keeps servers whose records go to different places from sharing one spool, where one would send on what the other has left."""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from loom_grpc.core.ledger import SpoolError

_NAME: Final = "destination"
_GATE: Final = "destination.lock"


def mark(folder: Path, destination: str) -> int:
    """Marks a spool as one for a destination, and returns the descriptor that holds others from marking it as long as it is open.

    `destination` is any text that names where records go. A spool that nobody uses and where nothing waits may go elsewhere from now on;
    otherwise `SpoolError` is raised. Waits for whoever marks it at the same time. Files of the spool are opened afterwards: those that
    another process has open keep their records to themselves.
    """
    wanted = hashlib.sha256(destination.encode()).hexdigest().encode()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(folder):
            return _mark(folder, wanted)
    except OSError as error:
        raise SpoolError(f"The spool in {folder} cannot be used: {error.strerror}.") from error


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps others from marking the spool meanwhile: what the mark says and who holds it are two steps for flock(2)."""
    gate = _open(folder / _GATE)
    try:
        fcntl.flock(gate, fcntl.LOCK_EX)
        yield
    finally:
        os.close(gate)


def _mark(folder: Path, wanted: bytes) -> int:
    descriptor = _open(folder / _NAME)
    try:
        if os.pread(descriptor, len(wanted) + 1, 0) != wanted:
            _change(descriptor, wanted, folder)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _change(descriptor: int, wanted: bytes, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SpoolError(
            f"The spool in {folder} is in use by a server whose records go elsewhere; set another audit.spool_dir."
        ) from None
    if os.fstat(descriptor).st_size and (records := _waiting(folder)):
        raise SpoolError(
            f"The spool in {folder} has {records} records that are to go elsewhere. Start the server once more as it was configured "
            f"before, or set another audit.spool_dir; or delete {folder / _NAME}, and they go where records go now."
        )
    os.pwrite(descriptor, wanted, 0)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _waiting(folder: Path) -> int:
    """Returns how many records wait in all files of a spool."""
    return sum(_records(path) for path in folder.glob("spool-*.db"))


def _records(path: Path) -> int:
    try:
        with closing(sqlite3.connect(path)) as database:
            sums = database.execute("SELECT (SELECT count(*) FROM record) + (SELECT count(*) FROM unreadable)")
            return int(sums.fetchone()[0])
    except sqlite3.Error:  # nobody can send on what nobody can read
        return 0
