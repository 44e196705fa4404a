"""Rows in a file are the same for all who open it, and a file that is not theirs is refused in words."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from loom_grpc.core.quota import MeterError
from loom_grpc.quota.table import Shape, Table

SHAPES = [Shape(64, 3), Shape(16, 2)]


def key(number: int) -> bytes:
    return number.to_bytes(4, "little") * 4


def never(row: int) -> None:
    return None


@pytest.fixture
def table() -> Iterator[Table]:
    table = Table(None, SHAPES)
    yield table
    table.close()


def test_a_row_is_found_again_by_its_key(table: Table) -> None:
    first, second = table.rows
    rows = [first.make(key(number), never) for number in range(1, 9)]
    table.words[rows[0] + 2] = 7

    assert len({*rows}) == 8
    assert [first.find(key(number)) for number in range(1, 9)] == rows
    assert first.find(key(9)) == -1
    assert second.find(key(1)) == -1
    assert first.holds(rows[0], key(1))
    assert not first.holds(rows[0], key(2))
    assert sum(first.column(2).tolist()) == 7


def test_a_key_whose_first_set_is_full_has_its_second(table: Table) -> None:
    rows = table.rows[0]

    def of_first_set(number: int) -> bytes:
        return bytes(4) + (4 * number + 1).to_bytes(4, "little") * 3

    made = [rows.make(of_first_set(number), never) for number in range(1, 33)]

    assert len({*made}) == 32
    assert [rows.find(of_first_set(number)) for number in range(1, 33)] == made


def test_the_least_missed_makes_room_and_its_row_is_zeros_again(table: Table) -> None:
    rows = table.rows[1]
    made = [rows.make(key(number), never) for number in range(1, 17)]
    for row in made:
        table.words[row] = 5
    table.words[made[3]] = 1

    row = rows.make(key(17), lambda row: (False, table.words[row]))

    assert row == made[3]
    assert table.words[row : row + 2].tolist() == [0, 0]
    assert rows.find(key(4)) == -1
    assert rows.find(key(17)) == row


def test_a_full_table_says_so(table: Table) -> None:
    rows = table.rows[1]
    for number in range(1, 17):
        rows.make(key(number), never)

    with pytest.raises(MeterError) as raised:
        rows.make(key(17), never)

    assert str(raised.value) == (
        "the counters are full: more keys, users, addresses or budgets are in use at once than 16 rows hold"
    )


def test_all_who_open_a_file_see_the_same(tmp_path: Path) -> None:
    one, other = Table(tmp_path / "t", SHAPES, 2), Table(tmp_path / "t", SHAPES, 2)
    row = one.rows[0].make(key(1), never)
    one.words[row] = 2**64 - 1
    one.words[one.spare + 1] = 3

    assert other.rows[0].find(key(1)) == row
    assert (other.words[row], other.words[other.spare + 1]) == (2**64 - 1, 3)
    assert (tmp_path / "t").stat().st_mode & 0o777 == 0o600
    one.close()
    other.close()


@pytest.mark.parametrize("shapes", [[Shape(64, 4), Shape(16, 2)], [Shape(128, 3), Shape(16, 2)], SHAPES[:1]])
def test_a_file_of_another_layout_is_refused(tmp_path: Path, shapes: list[Shape]) -> None:
    Table(tmp_path / "t", SHAPES).close()

    with pytest.raises(MeterError) as raised:
        Table(tmp_path / "t", shapes)

    assert str(raised.value) == (
        f"{tmp_path}/t: made by another version or for another number of workers; remove it while no server uses it"
    )


def test_a_file_that_was_cut_is_refused(tmp_path: Path) -> None:
    Table(tmp_path / "t", SHAPES).close()
    os.truncate(tmp_path / "t", 1000)

    with pytest.raises(MeterError, match="remove it while no server uses it"):
        Table(tmp_path / "t", SHAPES)


def test_a_file_whose_maker_was_killed_is_made_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(bytes(300))

    table = Table(tmp_path / "t", SHAPES)

    assert table.rows[1].find(key(1)) == -1
    table.close()
    Table(tmp_path / "t", SHAPES).close()


def test_a_path_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(MeterError, match="Too many levels of symbolic links"):
        Table(tmp_path / "t", SHAPES)
    with pytest.raises(MeterError, match="No such file or directory"):
        Table(tmp_path / "nowhere" / "t", SHAPES)


def test_a_lock_that_is_never_let_go_is_an_error_in_words(tmp_path: Path) -> None:
    table = Table(tmp_path / "t", SHAPES)
    with (tmp_path / "t").open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)

        with pytest.raises(MeterError) as raised, table:
            pytest.fail("somebody else has it")

    with table:
        pass
    table.close()
    assert str(raised.value) == (
        f"{tmp_path}/t: another process has held the counters for 0.25 s; see that none is stopped"
    )


def test_who_opens_the_file_waits_while_another_takes_its_time_to_make_room_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 0.0

    with (tmp_path / "t").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)

        def sleep(_seconds: float) -> None:
            nonlocal now_s
            now_s += 0.5
            if now_s >= 5:
                fcntl.flock(other, fcntl.LOCK_UN)

        monkeypatch.setattr("loom_grpc.quota.table.time", SimpleNamespace(monotonic=lambda: now_s, sleep=sleep))
        Table(tmp_path / "t", SHAPES).close()

    assert now_s == 5
