"""Rows of numbers in a file that the processes of one host have in their memory, and a lock around them."""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple, Self

from loom_grpc.core.quota import MeterError

MOST: Final = 2**64 - 1
"""The largest number that a word holds."""
_VERSION: Final = 2
_WORD: Final = 8
_KEY: Final = 16
_WAYS: Final = 16
"""How many rows a key may be in, in each of its two sets."""
_SET: Final = _WAYS * _KEY
_EMPTY: Final = bytes(_KEY)
_KNOWN: Final = 16_384
"""Of how many keys it is remembered where they are."""
_PATIENCE_S: Final = 0.25
"""How long the lock is waited for. Others hold it for microseconds, so it is one that was stopped while it held it."""
_OPENING_S: Final = 10.0
"""How long it is waited for on opening, when no call waits: others that start at once make room for all rows, which the disk may take
its time for."""
_PAUSE_S: Final = 0.00005

Rank = Callable[[int], tuple[bool, int] | None]
"""Says of the row at a word how much it is missed: those of the least make room first, and None never does."""


class Shape(NamedTuple):
    """So many rows, a power of two and at least 16, of so many words each."""

    rows: int
    width: int

    @property
    def bytes(self) -> int:
        """How much room they take, with their keys."""
        return self.rows * (_KEY + self.width * _WORD)


class Rows:
    """Rows of 64-bit words, each found by a key of 16 evenly spread bytes and named by the index of its first word.

    The caller holds the table's lock. A key lies in either of two sets of 16 rows. The word at `changes` counts how often a row was taken
    from one key for another.
    """

    __slots__ = ("_changes", "_first", "_keys", "_known", "_known_changes", "_map", "_mask", "_width", "shape", "words")

    def __init__(self, memory: mmap.mmap, words: memoryview, changes: int, offset: int, shape: Shape) -> None:
        self.shape = shape
        self.words = words
        self._map = memory
        self._keys = offset
        self._first = (offset + shape.rows * _KEY) // _WORD
        self._width = shape.width
        self._mask = shape.rows // _WAYS - 1
        self._changes = changes
        self._known: dict[bytes, int] = {}
        """Where keys were found, for as long as no row is taken from any of them."""
        self._known_changes = 0

    def find(self, key: bytes) -> int:
        """Returns a row, or -1 when there is none of this key."""
        changes = self.words[self._changes]
        if changes != self._known_changes or len(self._known) > _KNOWN:
            self._known.clear()
            self._known_changes = changes
        row = self._known.get(key)
        if row is None:
            row = self._search(key)
            if row >= 0:
                self._known[key] = row
        return row

    def _search(self, key: bytes) -> int:
        start = self._keys + (int.from_bytes(key[:4], "little") & self._mask) * _SET
        found = self._map.find(key, start, start + _SET)
        if found < 0:
            start = self._keys + (int.from_bytes(key[4:8], "little") & self._mask) * _SET
            found = self._map.find(key, start, start + _SET)
            if found < 0:
                return -1
        return self._first + (found - self._keys) // _KEY * self._width

    def holds(self, row: int, key: bytes) -> bool:
        """Tells whether a row still is the one of this key."""
        at = self._keys + (row - self._first) // self._width * _KEY
        return self._map[at : at + _KEY] == key

    def make(self, key: bytes, rank: Rank) -> int:
        """Returns a row of zeros for a key that has none; raises `MeterError` when no other may make room."""
        place = self._free(key)
        if place is None:
            place = self._least(key, rank)
        row = self._row(place)
        # Whoever is killed in between leaves a row that counts nothing.
        self.words[row : row + self._width] = memoryview(bytes(self._width * _WORD)).cast("Q")
        self._map[place : place + _KEY] = key
        return row

    def key(self, number: int) -> bytes:
        """Returns the key of the row of a number, from 0."""
        at = self._keys + number * _KEY
        return self._map[at : at + _KEY]

    def column(self, index: int) -> memoryview:
        """Returns one word of every row, to be read and changed."""
        end = self._first + self.shape.rows * self._width
        return self.words[self._first + index : end : self._width]

    def _row(self, place: int) -> int:
        return self._first + (place - self._keys) // _KEY * self._width

    def _places(self, key: bytes) -> list[int]:
        halves = (key[:4], key[4:8])
        starts = [self._keys + (int.from_bytes(half, "little") & self._mask) * _SET for half in halves]
        return [start + way * _KEY for start in starts for way in range(_WAYS)]

    def _free(self, key: bytes) -> int | None:
        return next((place for place in self._places(key) if self._map[place : place + _KEY] == _EMPTY), None)

    def _least(self, key: bytes, rank: Rank) -> int:
        ranked = [(missed, place) for place in self._places(key) if (missed := rank(self._row(place))) is not None]
        if not ranked:
            raise MeterError(
                f"the counters are full: more keys, users, addresses or budgets are in use at once than {self.shape.rows} rows hold"
            )
        # First, or another process could take the row for that of its former key when this one is killed.
        self.words[self._changes] = (self.words[self._changes] + 1) & MOST
        return min(ranked)[1]


class Table:
    """Sets of rows, and a lock for all of them: `with table`. Without a path it is memory of this process alone.

    Each process opens the file itself, after it was forked. `spare` words are zero at first and nobody's. `alone` says that no other
    process uses the file meanwhile: then the lock is left out, which each call would take four times. Raises `MeterError` when the file
    cannot be used. One thread of a process uses it.
    """

    def __init__(self, path: Path | None, shapes: Sequence[Shape], spare: int = 0, *, alone: bool = False) -> None:
        self._path = path
        header = (1 + len(shapes) + spare) * _WORD
        size = header + sum(shape.bytes for shape in shapes)
        self._file = None if path is None else _open(path)
        try:
            self._map = self._attach(size, _mark(shapes, spare))
        except OSError as error:
            self._let_go()
            raise MeterError(
                f"{path}: {error.strerror}: give the counters {size} bytes of room that is theirs"
            ) from None
        except MeterError:
            self._let_go()
            raise
        if alone:
            self._let_go()
        self.words = memoryview(self._map).cast("Q")
        self.spare: Final = 1 + len(shapes)
        """The index of the first spare word."""
        self.rows: list[Rows] = []
        for number, shape in enumerate(shapes):
            self.rows.append(Rows(self._map, self.words, 1 + number, header, shape))
            header += shape.bytes

    def __enter__(self) -> Self:
        self._lock(_PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Holds the lock as `with table` does, for who begins to use the table and may wait longer for it."""
        self._lock(_OPENING_S)
        try:
            yield
        finally:
            self.__exit__()

    def close(self) -> None:
        """Lets go of the memory and the file, which stays."""
        for rows in self.rows:
            rows.words.release()
        self.words.release()
        self._map.close()
        self._let_go()

    def _let_go(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _lock(self, patience_s: float) -> None:
        if self._file is not None:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._wait(self._file, patience_s)

    def _wait(self, file: int, patience_s: float) -> None:
        until = time.monotonic() + patience_s
        while time.monotonic() < until:
            time.sleep(_PAUSE_S)
            try:
                return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
        raise MeterError(
            f"{self._path}: another process has held the counters for {patience_s:g} s; see that none is stopped"
        )

    def _attach(self, size: int, mark: bytes) -> mmap.mmap:
        if self._file is None:
            return mmap.mmap(-1, size)
        with self.opening():
            found = os.pread(self._file, _WORD, 0)
            if not found.strip(b"\0"):
                # All the room at once: a page that the disk has no room for later on would kill the process that touches it.
                os.posix_fallocate(self._file, 0, size)
                os.pwrite(self._file, mark, 0)
            elif found != mark or os.fstat(self._file).st_size != size:
                raise MeterError(
                    f"{self._path}: made by another version or for another number of workers; "
                    "remove it while no server uses it"
                )
            return mmap.mmap(self._file, size)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise MeterError(f"{path}: {error.strerror}") from None


def _mark(shapes: Sequence[Shape], spare: int) -> bytes:
    """Returns a word, never zero, that is the same where the layout is."""
    layout = repr((_VERSION, spare, [tuple(shape) for shape in shapes]))
    return b"loom" + hashlib.blake2b(layout.encode(), digest_size=4).digest()


def within(number: int) -> int:
    """Returns a number, or the one next to it that a word holds."""
    return min(max(number, 0), MOST)
