"""Records outlive their process, a full disk and a damaged file."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from loom_grpc.core.ledger import Spool, SpoolError, SpoolState
from loom_grpc.storage.spool import FileSpool
from tests.program import ROOT, environment

KEEP_AND_SAY_SO = """
import sys, time
from itertools import count
from pathlib import Path
from loom_grpc.storage.spool import FileSpool

spool = FileSpool(Path(sys.argv[1]), 2**30, time.time, on_trouble=print, on_recovery=print, on_damage=print)
for number in count():
    spool.put(f"id-{number}", f"record {number}".encode())
    print(number, flush=True)
"""
BEGIN_UNPRIVILEGED = """
import os, time
from pathlib import Path
from loom_grpc.core.ledger import SpoolError
from loom_grpc.storage.spool import FileSpool

if os.geteuid() == 0:
    os.setuid(65534)
try:
    FileSpool(Path(), 2**30, time.time, on_trouble=print, on_recovery=print, on_damage=print)
except SpoolError as error:
    print(error)
"""
ROOM = 2**30


@dataclass
class Told:
    """A spool's folder and clock, and what was told of it."""

    folder: Path
    now: float = 1000.0
    lines: list[str] = field(default_factory=list)
    spools: list[FileSpool] = field(default_factory=list)

    def spool(self, max_bytes: int = ROOM) -> FileSpool:
        spool = FileSpool(
            self.folder,
            max_bytes,
            lambda: self.now,
            on_trouble=self.lines.append,
            on_recovery=lambda: self.lines.append("recovered"),
            on_damage=self.lines.append,
        )
        self.spools.append(spool)
        return spool

    def close(self) -> None:
        while self.spools:
            self.spools.pop().close()

    def again(self) -> FileSpool:
        """Begins anew, as a server does that was stopped."""
        self.close()
        return self.spool()


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    told = Told(tmp_path / "spool")
    yield told
    told.close()


def records(spool: FileSpool, limit: int = 1000) -> list[bytes]:
    return [waiting.record for waiting in spool.take(limit)]


def put(spool: Spool, *numbers: int, size: int = 0) -> None:
    for number in numbers:
        spool.put(f"id-{number}", f"record {number}".encode().ljust(size))


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """Has the system refuse to let files grow, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def damage(file: Path) -> None:
    """Overwrites all of a file but its beginning."""
    size = file.stat().st_size
    with file.open("r+b") as stream:
        stream.seek(4096)
        stream.write(b"\xff" * (size - 4096))


def killed_after(folder: Path, least: int) -> int:
    """Kills a process that keeps records once it has said so of some; returns how many it said."""
    command = (sys.executable, "-c", KEEP_AND_SAY_SO, str(folder))
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(), cwd=ROOT) as process:  # noqa: S603
        assert process.stdout is not None
        for _ in range(least):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        return least + len([line for line in process.stdout.read().splitlines(keepends=True) if line.endswith(b"\n")])


def test_records_wait_in_order_until_they_are_done(told: Told) -> None:
    spool = told.spool()
    put(spool, 1, 2)
    told.now = 1001.0
    put(spool, 3)

    assert (records(spool, 2), spool.state()) == ([b"record 1", b"record 2"], SpoolState(3, 24, 1000.0, ""))
    spool.done(spool.take(2))
    assert (records(spool), spool.state()) == ([b"record 3"], SpoolState(1, 8, 1001.0, ""))
    spool.done(spool.take(2))
    assert (records(spool), spool.state()) == ([], SpoolState(0, 0, 0.0, ""))


def test_done_twice_is_done_once(told: Told) -> None:
    spool = told.spool()
    put(spool, 1, 2)
    first = spool.take(1)
    spool.done(first)
    spool.done(first)

    assert spool.state() == SpoolState(1, 8, 1000.0, "")


def test_one_take_holds_few_large_records(told: Told) -> None:
    spool = told.spool()
    put(spool, *range(10), size=2**20)

    assert len(spool.take(500)) == 4


def test_nobody_else_may_read_the_files(told: Told) -> None:
    put(told.spool(), 1)

    modes = {file.name: oct(file.stat().st_mode & 0o777) for file in [told.folder, *told.folder.iterdir()]}
    assert modes == {
        "spool": "0o700",
        "spool-0.db": "0o600",
        "spool-0.db-wal": "0o600",
        "spool-0.lock": "0o600",
    }


def test_every_record_of_a_process_that_was_killed_is_there_once(told: Told) -> None:
    said = killed_after(told.folder, 500)

    spool = told.spool()
    kept = records(spool, 10**6)
    assert (len(kept) >= said, kept) == (True, [f"record {number}".encode() for number in range(len(kept))])
    assert len(kept) - said <= 1
    assert [file.name for file in told.folder.glob("*.db")] == ["spool-0.db"]


async def test_the_records_of_dead_processes_go_on_by_a_living_one(told: Told) -> None:
    spool, other = told.spool(), told.spool()
    put(spool, 1)
    told.now = 999.0
    put(other, 2)
    await spool.adopt()
    assert records(spool) == [b"record 1"]

    told.spools.remove(other)
    other.close()
    await spool.adopt()
    assert (records(spool), spool.state()) == ([b"record 2", b"record 1"], SpoolState(2, 16, 999.0, ""))
    assert records(told.spool()) == []  # nobody takes the same file
    spool.done(spool.take(1))
    assert (records(spool), spool.state()) == ([b"record 1"], SpoolState(1, 8, 1000.0, ""))
    assert sorted(file.name for file in told.folder.glob("*.db")) == ["spool-0.db", "spool-2.db"]


async def test_a_damaged_file_of_a_dead_process_is_set_aside_and_told(told: Told) -> None:
    spool = told.spool()
    (told.folder / "spool-7.db").write_bytes(b"no database" * 1000)
    await spool.adopt()

    damaged = f"The file {told.folder}/spool-7.db was damaged and is now spool-7.db.damaged-1; "
    assert told.lines == [damaged + "a new one is used. Records may be missing."]
    assert (told.folder / "spool-7.db.damaged-1").read_bytes() == b"no database" * 1000
    assert not (told.folder / "spool-7.db").exists()


def test_a_full_spool_refuses_calls_until_records_went_on(told: Told) -> None:
    spool = told.spool(max_bytes=80)
    put(spool, *range(9))
    spool.check()
    put(spool, 9)

    full = f"The spool in {told.folder} is full; see why records do not go on, or raise audit.spool_max_bytes."
    for _ in range(2):
        with pytest.raises(SpoolError, match=r"is full; see why records do not go on"):
            spool.check()
    put(spool, 1)  # of a call that was under way
    assert (told.lines, spool.state()) == ([full], SpoolState(11, 88, 1000.0, full))
    spool.done(spool.take(3))
    spool.check()
    assert told.lines == [full, "recovered"]


def test_a_full_disk_refuses_calls_and_loses_no_record(told: Told) -> None:
    spool = told.spool()
    put(spool, 1)
    with no_file_beyond(200_000):
        put(spool, 2, size=400_000)
        with pytest.raises(SpoolError, match=r"cannot be used: the disk refuses to write; see that it has room"):
            spool.check()
        put(spool, 3)
        assert spool.state()[:2] == (3, 400_016)
        told.now += 1
        with pytest.raises(SpoolError):
            spool.check()
    with pytest.raises(SpoolError):
        spool.check()  # which does not ask the disk all the time
    told.now += 1
    spool.check()

    trouble = (
        f"The spool in {told.folder} cannot be used: the disk refuses to write; see that it has room and is in order."
    )
    assert told.lines == [trouble, "recovered"]
    assert [record.strip() for record in records(told.again())] == [b"record 1", b"record 2", b"record 3"]


def test_a_clock_that_was_set_back_keeps_no_spool_refusing(told: Told) -> None:
    spool = told.spool()
    with no_file_beyond(200_000):
        put(spool, 1, size=400_000)
    told.now -= 3600
    spool.check()

    assert told.lines[1:] == ["recovered"]


def test_records_that_the_disk_does_not_take_can_go_on(told: Told) -> None:
    spool = told.spool()
    with no_file_beyond(200_000):
        put(spool, 1, size=400_000)
        put(spool, 2)
        spool.done(spool.take(1))
        assert records(spool) == [b"record 2"]
    told.now += 1
    spool.mend()

    assert (records(spool), spool.state()) == ([b"record 2"], SpoolState(1, 8, 1000.0, ""))


def test_records_that_cannot_be_removed_are_still_there(told: Told) -> None:
    spool = told.spool()
    put(spool, *range(3), size=100_000)
    with no_file_beyond(1000), pytest.raises(SpoolError, match="the disk refuses to write"):
        spool.done(spool.take(3))

    assert (spool.state().records, len(told.lines), len(records(told.again()))) == (3, 1, 3)


def test_a_folder_that_cannot_be_used_is_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(SpoolError, match=r"file/spool cannot be used: Not a directory"):
        Told(tmp_path / "file" / "spool").spool()


def test_a_folder_that_may_only_be_read_is_said_at_the_start(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    command = (sys.executable, "-c", BEGIN_UNPRIVILEGED)
    said = subprocess.check_output(command, env=environment(), cwd=tmp_path, text=True)  # noqa: S603

    assert said == "The spool in . cannot be used: Permission denied; let the server's user write there.\n"


@pytest.mark.parametrize("kind", ["no database", "torn"])
def test_a_damaged_file_is_set_aside_and_a_new_one_begun(told: Told, kind: str) -> None:
    put(told.spool(), *range(1000), size=1000)
    told.close()
    file = told.folder / "spool-0.db"
    whole = file.read_bytes()
    left = b"no database" * 1000 if kind == "no database" else whole[: len(whole) // 2]
    file.write_bytes(left)

    spool = told.spool()
    put(spool, 1)
    spool.check()
    assert told.lines == [
        f"The file {file} was damaged and is now spool-0.db.damaged-1; a new one is used. Records may be missing."
    ]
    assert (told.folder / "spool-0.db.damaged-1").read_bytes() == left
    assert records(told.again()) == [b"record 1"]


async def test_a_file_that_is_damaged_while_it_is_used_makes_way_for_a_new_one(told: Told) -> None:
    spool = told.spool()
    put(spool, *range(5000), size=1000)  # more than SQLite keeps in memory
    await spool.tidy()
    damage(told.folder / "spool-0.db")
    with pytest.raises(SpoolError, match="cannot be used"):
        spool.take(5000)
    put(spool, 1)
    spool.check()

    assert [line.split(" and is")[0] for line in told.lines] == [f"The file {told.folder}/spool-0.db was damaged"]
    assert spool.state() == SpoolState(1, 8, 1000.0, "")
    assert records(told.again()) == [b"record 1"]


def test_a_record_that_was_set_aside_waits_for_the_next_start(told: Told) -> None:
    spool = told.spool()
    put(spool, 1, 2)
    spool.set_aside(spool.take(1)[0], "nobody can read it")

    assert (records(spool), spool.state()) == ([b"record 2"], SpoolState(1, 16, 1000.0, ""))
    spool = told.again()
    assert (records(spool), spool.state()) == ([b"record 2", b"record 1"], SpoolState(2, 16, 1000.0, ""))


async def test_100_000_records_are_drained_in_seconds_and_leave_a_small_file(told: Told) -> None:
    spool = told.spool()
    for number in range(100_000):
        spool.put(str(number), b"x" * 700)
        if number % 5000 == 0:
            await spool.tidy()
    log = (told.folder / "spool-0.db-wal").stat().st_size
    full = (told.folder / "spool-0.db").stat().st_size
    began = time.perf_counter()
    seen = 0
    while taken := spool.take(500):
        spool.done(taken)
        seen += len(taken)
    took_s = time.perf_counter() - began
    for _ in range(70):  # as many batches as come in little more than a minute
        put(spool, 1)
        spool.done(spool.take(1))
    told.close()

    assert (seen, took_s < 20, log < 40 * 2**20) == (100_000, True, True)
    assert (told.folder / "spool-0.db").stat().st_size < full / 3
    assert not (told.folder / "spool-0.db-wal").exists()


def test_a_put_takes_microseconds(told: Told) -> None:
    spool = told.spool()
    times = []
    for number in range(2000):
        began = time.perf_counter()
        spool.check()
        spool.put(str(number), b"x" * 700)
        times.append(time.perf_counter() - began)

    assert sorted(times)[1000] < 0.001  # measured: 20 µs


def test_a_server_that_only_spools_loads_no_database() -> None:
    code = "import loom_grpc.storage.spool, sys; print('sqlalchemy' in sys.modules)"
    said = subprocess.check_output((sys.executable, "-c", code), env=environment(), cwd=ROOT, text=True)  # noqa: S603

    assert said == "False\n"
