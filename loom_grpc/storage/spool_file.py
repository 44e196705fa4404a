"""One file of a spool, which belongs to one process for as long as that lives."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

_PAGE: Final = 4096
_CHECKPOINT_PAGES: Final = 4096
"""How long the log may become before a `put` has to move it into the file, which waits for the disk; `tidy` is there before that."""
_TIDY_BYTES: Final = 2 * 2**20
_SPARE_PAGES: Final = 4096
"""How many unused pages stay in the file for the next records."""
_FREED_PAGES: Final = 256
"""How many unused pages leave the file at once."""
_BUSY_S: Final = 0.05
"""How long it is waited for somebody who looks into the file with other tools."""
_SET_UP: Final = (
    "PRAGMA auto_vacuum = INCREMENTAL",
    "PRAGMA journal_mode = WAL",
    # What is committed is with the operating system: killing this process cannot lose it, and no call waits for the disk.
    "PRAGMA synchronous = NORMAL",
    f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}",
    f"PRAGMA journal_size_limit = {_CHECKPOINT_PAGES * _PAGE}",
    "CREATE TABLE IF NOT EXISTS record (n INTEGER PRIMARY KEY, id TEXT NOT NULL, came REAL NOT NULL, data BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS unreadable (id TEXT NOT NULL, came REAL NOT NULL, data BLOB NOT NULL, why TEXT NOT NULL)",
)
_ASK_AGAIN: Final = (
    "INSERT INTO record (id, came, data) SELECT id, came, data FROM unreadable ORDER BY rowid",
    "DELETE FROM unreadable",
)
_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_GROUPS: Final[dict[int, str]] = {
    sqlite3.SQLITE_FULL: "the disk is full; make room",
    sqlite3.SQLITE_READONLY: "it may only be read; let the server's user write there",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; let the server's user write there",
    sqlite3.SQLITE_BUSY: "another program keeps it locked; end that program",
    sqlite3.SQLITE_IOERR: "the disk refuses to write; see that it has room and is in order",
}


class Waiting(NamedTuple):
    """A record that waits in a spool."""

    file: int
    """The number of its file; -1 is the memory."""
    n: int
    """Its number there."""
    id: str
    came: float
    record: bytes


class SpoolFile:
    """A SQLite file with records in the order in which they came. Every method raises `sqlite3.Error`."""

    def __init__(self, path: Path, number: int, lock: int) -> None:
        """Opens a file, or begins one; `lock` is the descriptor that keeps other processes from it. Raises `OSError` too."""
        self.path = path
        self.number = number
        self._lock = lock
        self.records = 0
        self.bytes = 0
        """What the records take, those that were set aside included."""
        self.oldest_s = 0.0
        self._written = 0
        self.open()

    def open(self) -> None:
        """Opens the file once more, or begins one, after `replace`; raises `OSError` too."""
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._database = _connect(self.path)
        try:
            self._set_up()
        except BaseException:
            self._database.close()
            raise
        self.is_open = True

    def put(self, id: str, came: float, record: bytes) -> None:
        """Keeps a record."""
        self._database.execute("INSERT INTO record (id, came, data) VALUES (?, ?, ?)", (id, came, record))
        self._count(came, len(record))

    def put_all(self, records: Sequence[Waiting]) -> None:
        """Keeps some records or none."""
        with self._transaction():
            self._database.executemany(
                "INSERT INTO record (id, came, data) VALUES (?, ?, ?)", [waiting[2:] for waiting in records]
            )
        for waiting in records:
            self._count(waiting.came, len(waiting.record))

    def take(self, limit: int, most_bytes: int) -> list[Waiting]:
        """Returns the first records, which stay: at most `limit`, and at most one beyond `most_bytes`."""
        taken: list[Waiting] = []
        rows = self._database.execute("SELECT n, id, came, data FROM record ORDER BY n LIMIT ?", (limit,))
        with closing(rows):
            for n, id, came, record in rows:
                taken.append(Waiting(self.number, n, id, came, record))
                most_bytes -= len(record)
                if most_bytes <= 0:
                    break
        return taken

    def remove(self, records: Sequence[Waiting]) -> None:
        """Forgets records; those that are not there are none."""
        with self._transaction():
            delete = self._database.execute
            gone = [
                len(each.record) for each in records if delete("DELETE FROM record WHERE n = ?", (each.n,)).rowcount
            ]
        self.records -= len(gone)
        self.bytes -= sum(gone)
        self._written += sum(gone)
        self._find_oldest()
        if not self.records:
            self._shrink()

    def set_aside(self, waiting: Waiting, why: str) -> None:
        """Keeps a record where `take` does not find it until the file is opened anew."""
        row = (waiting.id, waiting.came, waiting.record, why)
        self._database.execute("INSERT INTO unreadable (id, came, data, why) VALUES (?, ?, ?, ?)", row)
        self.bytes += len(waiting.record)

    def probe(self) -> None:
        """Writes something that is nothing."""
        self._database.execute("PRAGMA user_version = 1")

    @property
    def is_untidy(self) -> bool:
        """Whether it is time to `tidy`."""
        return self._written >= _TIDY_BYTES

    def tidy(self) -> None:
        """Moves what was written from the log into the file. Waits for the disk and keeps nobody from writing: made for a thread."""
        self._written = 0
        with closing(_connect(self.path)) as database:
            database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def close(self, *, remove: bool = False) -> None:
        """Lets go of the file, or has it away."""
        self._database.close()
        if remove:
            self.path.unlink(missing_ok=True)
        os.close(self._lock)

    def replace(self) -> Path:
        """Gives a damaged file another name, which is returned, and has it closed; `open` begins a new one. Raises `OSError`."""
        name = _rename(self.path)
        self._database.close()
        self.is_open = False
        self.records = self.bytes = self._written = 0
        return name

    def _set_up(self) -> None:
        for statement in _SET_UP:
            self._database.execute(statement).fetchall()
        if self._database.execute(
            "SELECT 1 FROM unreadable LIMIT 1"
        ).fetchone():  # whoever refused them may be another by now
            with self._transaction():
                for statement in _ASK_AGAIN:
                    self._database.execute(statement)
        found = self._database.execute("SELECT count(*), coalesce(sum(length(data)), 0) FROM record").fetchone()
        self.records, self.bytes = found
        self._find_oldest()

    def _count(self, came: float, size: int) -> None:
        if not self.records:
            self.oldest_s = came
        self.records += 1
        self.bytes += size
        self._written += size + _PAGE

    def _find_oldest(self) -> None:
        row = self._database.execute("SELECT came FROM record ORDER BY n LIMIT 1").fetchone()
        self.oldest_s = row[0] if row else 0.0

    def _shrink(self) -> None:
        """Gives room back to the disk, little by little."""
        (spare,) = self._database.execute("PRAGMA freelist_count").fetchone()
        if spare > _SPARE_PAGES:
            most = min(spare - _SPARE_PAGES, _FREED_PAGES)
            # Each step frees one page, and `execute` takes one step of a statement without columns.
            self._database.executescript(f"PRAGMA incremental_vacuum({most})")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise


def open_file(path: Path, number: int, lock: int) -> tuple[SpoolFile, Path | None]:
    """Opens a file that this process holds, or begins one; a damaged file gets another name, which is returned too.

    Raises `sqlite3.Error` and `OSError`, and lets go of the lock then.
    """
    try:
        try:
            return SpoolFile(path, number, lock), None
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            name = _rename(path)
            return SpoolFile(path, number, lock), name
    except BaseException:
        os.close(lock)
        raise


def hold(path: Path) -> int | None:
    """Keeps other processes from a file for as long as the descriptor that is returned is open; None when one holds it.

    The lock files stay: one that is deleted while somebody opens it would be held by two. Raises `OSError`.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_damage(error: sqlite3.Error) -> bool:
    """Tells whether a file makes no sense, other than one that cannot be used for now."""
    return _group(error) in _DAMAGE


def advice(error: sqlite3.Error | OSError) -> str:
    """Says what is wrong and what to do."""
    if isinstance(error, OSError):
        return f"{error.strerror or type(error).__name__}; let the server's user write there"
    return _GROUPS.get(_group(error), str(error))


def _group(error: sqlite3.Error) -> int:
    # Errors that the sqlite3 module finds itself have no number. The lower byte is what SQLite calls the primary code.
    number: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return number & 0xFF


def _connect(path: Path) -> sqlite3.Connection:
    # No other process may open it while this one has it: that saves four system calls, and 5 of 12 us, for every record
    # (sqlite.org/vfs.html, seen 2026-11-21).
    place = f"{path.absolute().as_uri()}?vfs=unix-excl"
    # Files of dead processes are opened in a thread and used by the event loop.
    return sqlite3.connect(place, uri=True, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)


def _rename(path: Path) -> Path:
    """Gives a file and its log another name, by which they still belong together."""
    names = (path.with_name(f"{path.name}.damaged-{number}") for number in count(1))
    name = next(name for name in names if not name.exists())
    path.rename(name)
    for end in ("-wal", "-shm"):
        log = path.with_name(path.name + end)
        if log.exists():
            log.rename(name.with_name(name.name + end))
    return name
