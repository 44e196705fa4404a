"""What a run of a server has spent the next one knows, however the former ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from loom_grpc.core.quota import Claim, Kind, MeterError, Scope, slot
from loom_grpc.quota.run import open_run
from tests.state import held

NOW: Final = 1_800_000_000.0
ROOT: Final = Path(__file__).parents[2]
_HOLD: Final = """
import asyncio, sys
from pathlib import Path
from tests.quota.test_run import NOW, money, open_run

async def main():
    meter = open_run(Path(sys.argv[1]), "killed", 1, 2, NOW)
    await meter.settle(await meter.take([money("k", 30)], NOW), [20], NOW)
    await meter.take([money("k", 30)], NOW)
    print("held", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def money(name: str, amount: int, ends_s: float = 0.0) -> Claim:
    scope = Scope("key", name)
    return Claim(slot(Kind.MONEY, scope), Kind.MONEY, amount, 100, scope, "day" if ends_s else "total", ends_s)


def counters(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.counters"))


async def spend(folder: Path, run: str, *claims: Claim, owners: int = 1) -> None:
    """Is a whole run of a server that spends all that it takes."""
    meter = open_run(folder, run, 0, owners, NOW)
    await meter.settle(await meter.take(claims, NOW), [claim.amount for claim in claims], NOW)
    await meter.close()


async def test_the_next_run_knows_what_was_spent_whatever_its_number_of_workers(tmp_path: Path) -> None:
    await spend(tmp_path, "a", money("k", 40), money("l", 7))
    await spend(tmp_path, "b", money("k", 10), owners=4)
    meter = open_run(tmp_path, "c", 0, 2, NOW)

    assert await meter.spent([money("k", 0).slot, money("l", 0).slot]) == [(50, 0), (7, 0)]
    assert counters(tmp_path) == ["2-c.counters"]
    await meter.close()


async def test_all_workers_of_a_run_know_it(tmp_path: Path) -> None:
    await spend(tmp_path, "a", money("k", 40))
    workers = [open_run(tmp_path, "b", number, 2, NOW) for number in range(2)]

    assert [await worker.spent([money("k", 0).slot]) for worker in workers] == [[(40, 0)], [(40, 0)]]
    for worker in workers:
        await worker.close()


async def test_what_a_killed_run_spent_is_known_and_what_it_held_is_free(tmp_path: Path) -> None:
    with subprocess.Popen(  # noqa: ASYNC220, S603 - its one line is read at once
        [sys.executable, "-c", _HOLD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        beside = open_run(tmp_path, "beside", 0, 1, NOW)
        assert await beside.spent([money("k", 0).slot]) == [(0, 0)]  # of a server that lives
        os.kill(process.pid, signal.SIGKILL)
    after = open_run(tmp_path, "after", 0, 1, NOW)

    assert await after.spent([money("k", 0).slot]) == [(20, 0)]
    await beside.close()
    await after.close()


async def test_periods_that_are_over_are_forgotten(tmp_path: Path) -> None:
    await spend(tmp_path, "a", money("k", 40, ends_s=NOW + 10), money("l", 7, ends_s=NOW + 1000))
    meter = open_run(tmp_path, "b", 0, 1, NOW + 10)

    assert await meter.spent([money("k", 0).slot, money("l", 0).slot]) == [(0, 0), (7, 0)]
    await meter.close()


async def test_the_files_of_other_versions_are_left_out(tmp_path: Path) -> None:
    for name in ("1-old.counters", "x-other.counters"):
        (tmp_path / name).write_bytes(b"other" * 100)
    meter = open_run(tmp_path, "new", 0, 1, NOW)

    assert counters(tmp_path) == ["1-new.counters"]
    await meter.close()


def test_a_run_that_cannot_take_over_lets_go_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "1-former.counters").touch()
    (tmp_path / "1-former.lock").mkdir()

    with pytest.raises(MeterError, match="Is a directory"):
        open_run(tmp_path, "new", 0, 1, NOW)

    assert held(tmp_path) == set()


def test_a_folder_that_cannot_be_used_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(MeterError, match="let the server's user write there"):
        open_run(tmp_path / "file" / "counters", "a", 0, 1, NOW)
