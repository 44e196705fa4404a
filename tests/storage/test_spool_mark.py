"""A spool is for records that go to one place."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from loom_grpc.core.ledger import SpoolError
from loom_grpc.storage.spool import FileSpool
from loom_grpc.storage.spool_mark import mark


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    spool = spool_in(tmp_path)
    yield tmp_path
    spool.close()


def spool_in(folder: Path) -> FileSpool:
    return FileSpool(folder, 2**20, lambda: 1.0, on_trouble=print, on_recovery=print, on_damage=print)


def leave(folder: Path, records: int) -> None:
    """Leaves records as a process does that has ended."""
    spool = spool_in(folder)
    for number in range(records):
        spool.put(str(number), b"record")
    spool.close()


def test_servers_whose_records_go_to_the_same_place_share_a_spool(folder: Path) -> None:
    descriptors = [mark(folder, "a") for _ in range(3)]

    for descriptor in descriptors:
        os.close(descriptor)


def test_workers_that_start_at_once_share_a_new_spool(tmp_path: Path) -> None:
    workers = 4
    together = Barrier(workers)

    def start(folder: Path) -> int:
        together.wait()
        return mark(folder, "a")

    with ThreadPoolExecutor(workers) as pool:
        for turn in range(50):
            folder = tmp_path / str(turn)
            folder.mkdir()
            descriptors = list(pool.map(start, [folder] * workers))

            with pytest.raises(SpoolError):
                mark(folder, "b")
            for descriptor in descriptors:
                os.close(descriptor)


def test_a_spool_in_use_takes_no_records_for_elsewhere(folder: Path) -> None:
    descriptor = mark(folder, "a")

    with pytest.raises(SpoolError, match="in use by a server whose records go elsewhere"):
        mark(folder, "b")

    os.close(descriptor)


def test_an_empty_spool_that_nobody_uses_is_for_whoever_comes(folder: Path) -> None:
    os.close(mark(folder, "a"))

    descriptor = mark(folder, "b")

    with pytest.raises(SpoolError):
        mark(folder, "a")
    os.close(descriptor)


def test_records_that_wait_for_their_place_keep_others_out(folder: Path) -> None:
    os.close(mark(folder, "a"))
    leave(folder, 3)

    with pytest.raises(SpoolError, match="has 3 records that are to go elsewhere"):
        mark(folder, "b")

    os.close(mark(folder, "a"))


def test_records_from_before_there_were_marks_go_where_records_go_now(folder: Path) -> None:
    leave(folder, 3)

    os.close(mark(folder, "a"))


def test_whoever_deletes_the_mark_has_the_records_go_elsewhere(folder: Path) -> None:
    os.close(mark(folder, "a"))
    leave(folder, 1)
    (folder / "destination").unlink()

    os.close(mark(folder, "b"))


def test_a_file_that_nobody_can_read_keeps_nobody_out(folder: Path) -> None:
    os.close(mark(folder, "a"))
    (folder / "spool-7.db").write_bytes(b"This is no database." * 100)

    os.close(mark(folder, "b"))


def test_the_mark_does_not_say_where_records_go_and_only_its_owner_may_read_it(folder: Path) -> None:
    os.close(mark(folder, "postgresql://host/db"))

    assert b"host" not in (folder / "destination").read_bytes()
    assert (folder / "destination").stat().st_mode & 0o777 == 0o600


def test_a_refused_mark_leaves_no_file_open(folder: Path) -> None:
    descriptor = mark(folder, "a")
    before = len(list(Path("/proc/self/fd").iterdir()))

    for _ in range(3):
        with pytest.raises(SpoolError):
            mark(folder, "b")

    assert len(list(Path("/proc/self/fd").iterdir())) == before
    os.close(descriptor)
    assert sqlite3.connect(folder / "spool-0.db").execute("SELECT count(*) FROM record").fetchone() == (0,)
