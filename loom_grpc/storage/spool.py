"""Where records are durable before their calls are answered: files of one folder, one for each process."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final

from loom_grpc.core.ledger import SpoolError, SpoolState
from loom_grpc.storage.spool_file import SpoolFile, Waiting, advice, hold, is_damage, open_file

_MOST_BYTES: Final = 4 * 2**20
"""How much is taken at once, whatever the number of records."""
_PROBE_S: Final = 0.25
"""How long a spool that cannot be written to is left alone between two tries."""
_ROOM: Final = 0.9
"""How full a spool that was full may be for calls to go on."""
_MEMORY: Final = -1
_FULL: Final = "see why records do not go on, or raise audit.spool_max_bytes"


class FileSpool:
    """Keeps records in the first file of `folder` that no living process holds, and goes on with what is there from before.

    Beyond `max_bytes` of records in its own file it is full. `clock` gives seconds since 1970. `on_trouble` is told once, in words for the
    operator, when no more records can be taken, and `on_recovery` when they can; `on_damage` is told of a file that made no sense, which
    is kept by another name. Raises `SpoolError` when the folder cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        max_bytes: int,
        clock: Callable[[], float],
        *,
        on_trouble: Callable[[str], object],
        on_recovery: Callable[[], object],
        on_damage: Callable[[str], object],
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._clock = clock
        self._on_trouble = on_trouble
        self._on_recovery = on_recovery
        self._on_damage = on_damage
        self._on_put: Callable[[], object] = lambda: None
        self._held: dict[int, Waiting] = {}
        """Records that could not be written, by numbers of their own."""
        self._numbers = count()
        self._full = self._broken = self._told = ""
        self._probe_at = 0.0
        self._adopted: SpoolFile | None = None
        self._is_tidying = False
        self._unusable: set[Path] = set()
        self._own, damage = self._begin()
        self._tell_damage(self._own.path, damage)
        self._weigh()

    def check(self) -> None:
        """Raises `SpoolError` when there is no room for the record of another call."""
        if self._told and not self.mend():
            raise SpoolError(self._told)

    def put(self, id: str, record: bytes) -> None:
        """Keeps a record, so that killing the process does not lose it; in memory while it cannot be written."""
        came = self._clock()
        if self._broken:
            self._hold(id, came, record)
            self.mend()
        else:
            try:
                self._own.put(id, came, record)
            except sqlite3.Error as error:
                self._hold(id, came, record)
                self._fail(error)
                self.mend()
            if self._own.bytes >= self._max_bytes:
                self._weigh()
        self._on_put()

    def state(self) -> SpoolState:
        """Tells how it is doing; the bytes of records that were set aside count, for they take room."""
        files, held = self._files(), self._held.values()
        oldest = [file.oldest_s for file in files if file.records] + [waiting.came for waiting in held]
        return SpoolState(
            self.waiting(),
            sum(file.bytes for file in files) + sum(len(waiting.record) for waiting in held),
            min(oldest, default=0.0),
            self._told,
        )

    def waiting(self) -> int:
        """Returns how many records wait."""
        adopted = self._adopted.records if self._adopted is not None else 0  # asked for with every record
        return adopted + self._own.records + len(self._held)

    def age_s(self) -> float:
        """Returns for how many seconds the oldest record has waited; 0 when there is none."""
        oldest_s = self.state().oldest_s
        return self._clock() - oldest_s if oldest_s else 0.0

    def when_put(self, then: Callable[[], object]) -> None:
        """Calls `then` after every record that comes."""
        self._on_put = then

    def take(self, limit: int) -> list[Waiting]:
        """Returns the first records, which stay until they are `done`; raises `SpoolError` for a file that cannot be read."""
        taken: list[Waiting] = []
        if self._broken and not self.mend():
            taken += list(self._held.values())[:limit]
        for file in self._files():
            room = _MOST_BYTES - sum(len(waiting.record) for waiting in taken)
            if len(taken) < limit and room > 0:
                with self._using(file):
                    taken += file.take(limit - len(taken), room)
        return taken

    def done(self, records: Sequence[Waiting]) -> None:
        """Forgets records that are elsewhere by now; raises `SpoolError` when that cannot be written, and then they are still there."""
        for waiting in records:
            if waiting.file == _MEMORY:
                self._held.pop(waiting.n, None)
        for file in self._files():
            mine = [waiting for waiting in records if waiting.file == file.number]
            if mine:
                with self._using(file):
                    file.remove(mine)
        self._weigh()
        if self._adopted is not None and not self._adopted.records:
            self._adopted.close(remove=True)
            self._adopted = None

    def set_aside(self, waiting: Waiting, why: str) -> None:
        """Keeps a record that nobody can read where `take` does not find it until the next start; raises `SpoolError`."""
        with self._using(self._own):
            self._own.set_aside(waiting, why)
        self.done([waiting])

    def mend(self) -> bool:
        """Writes what could not be written before; tells whether records can be taken now. Tries no more often than four times a second."""
        if self._broken:
            if not 0 < self._probe_at - self._clock() <= _PROBE_S:  # or the clock was set back
                self._try_again()
            self._weigh()
        return not self._told

    async def adopt(self) -> None:
        """Takes over a file of a process that has died, at most one at a time, so that its records go on too."""
        if self._adopted is not None or self._broken:
            return
        for path in sorted(self._folder.glob("spool-*.db")):
            if path != self._own.path and path.stem.removeprefix("spool-").isdecimal() and await self._adopt(path):
                return

    async def tidy(self) -> None:
        """Keeps the log of what was written short, in a thread, because that waits for the disk."""
        if self._broken or not self._own.is_untidy:
            return
        self._is_tidying = True
        try:
            await asyncio.to_thread(self._own.tidy)
        except sqlite3.Error as error:
            self._fail(error)
            self._weigh()
        finally:
            self._is_tidying = False

    def close(self) -> None:
        """Lets go of the files, for the next process to go on with them; not while `adopt` or `tidy` is under way."""
        self._probe_at = 0.0
        self.mend()
        self._own.close()
        if self._adopted is not None:
            self._adopted.close()

    def _begin(self) -> tuple[SpoolFile, Path | None]:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            number = 0
            while (lock := hold(self._folder / f"spool-{number}.lock")) is None:
                number += 1
            return open_file(self._folder / f"spool-{number}.db", number, lock)
        except (sqlite3.Error, OSError) as error:
            raise SpoolError(self._cannot_be_used(error)) from error

    async def _adopt(self, path: Path) -> bool:
        """Takes over one file, unless a living process holds it or nothing is in it."""
        try:
            lock = hold(path.with_suffix(".lock"))
            if lock is None:
                return False
            # In a thread, for it may have to read all of a large file.
            number = int(path.stem.removeprefix("spool-"))
            self._adopted, damage = await asyncio.to_thread(open_file, path, number, lock)
        except (sqlite3.Error, OSError) as error:
            if path not in self._unusable:
                self._unusable.add(path)
                self._on_damage(f"The file {path} of a former process cannot be used: {advice(error)}.")
            return False
        self._tell_damage(path, damage)
        self.done([])  # has an empty one away
        return self._adopted is not None

    def _files(self) -> list[SpoolFile]:
        return [self._own] if self._adopted is None else [self._adopted, self._own]

    def _hold(self, id: str, came: float, record: bytes) -> None:
        n = next(self._numbers)
        self._held[n] = Waiting(_MEMORY, n, id, came, record)

    @contextmanager
    def _using(self, file: SpoolFile) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if file is self._own:
                self._fail(error)
                self.mend()
            else:
                self._drop(file, error)
            raise SpoolError(self._cannot_be_used(error)) from error

    def _try_again(self) -> None:
        try:
            if not self._own.is_open:
                self._own.open()
            if self._held:
                self._own.put_all(list(self._held.values()))
            else:
                self._own.probe()
        except (sqlite3.Error, OSError) as error:
            self._fail(error)
        else:
            self._held.clear()
            self._broken = ""

    def _fail(self, error: sqlite3.Error | OSError) -> None:
        """Takes note that the own file failed; a damaged one makes way for a new one, which the next try begins."""
        self._probe_at = self._clock() + _PROBE_S
        # While it is tidied, a second connection would have the new file's log away when it is closed.
        if isinstance(error, sqlite3.Error) and is_damage(error) and not self._is_tidying:
            try:
                self._tell_damage(self._own.path, self._own.replace())
                self._probe_at = self._clock()
            except OSError as refused:
                error = refused
        self._broken = self._cannot_be_used(error)

    def _drop(self, file: SpoolFile, error: sqlite3.Error) -> None:
        """Lets go of a dead process's file that failed."""
        if is_damage(error):
            self._tell_damage(file.path, file.replace())
        file.close()
        self._adopted = None

    def _weigh(self) -> None:
        """Finds out whether records can be taken, and tells when that changes."""
        if self._own.bytes >= self._max_bytes:
            self._full = f"The spool in {self._folder} is full; {_FULL}."
        elif self._own.bytes < _ROOM * self._max_bytes:
            self._full = ""
        told, self._told = self._told, self._broken or self._full
        if self._told and not told:
            self._on_trouble(self._told)
        elif told and not self._told:
            self._on_recovery()

    def _tell_damage(self, path: Path, name: Path | None) -> None:
        if name is not None:
            self._on_damage(
                f"The file {path} was damaged and is now {name.name}; a new one is used. Records may be missing."
            )

    def _cannot_be_used(self, error: sqlite3.Error | OSError) -> str:
        return f"The spool in {self._folder} cannot be used: {advice(error)}."
