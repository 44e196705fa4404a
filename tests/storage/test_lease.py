from __future__ import annotations

import asyncio
import itertools
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, suppress

import pytest
from sqlalchemy import func, select

from loom_grpc.core.account import AccountRef, StoreError
from loom_grpc.storage.database import Database
from loom_grpc.storage.lease import Lease
from loom_grpc.storage.tables import ACCOUNT_HOLD
from tests.cut import Cut
from tests.postgres import Databases
from tests.program import ROOT, environment

REF = AccountRef("anthropic", "alpha")

HOLD_AND_SAY_SO = """
import asyncio, os
from loom_grpc.core.account import AccountRef
from loom_grpc.storage.database import Database
from loom_grpc.storage.lease import Lease

async def main():
    async with Lease(Database(os.environ["URL"]), AccountRef("anthropic", "alpha"), 1.0).held():
        print("held", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    database = Database(url)
    yield database
    await database.close()


async def holds(database: Database) -> int:
    async with database.read() as connection:
        return await connection.scalar(select(func.count()).select_from(ACCOUNT_HOLD)) or 0


async def test_a_process_that_is_killed_lets_go(database: Database, url: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HOLD_AND_SAY_SO),
        stdout=asyncio.subprocess.PIPE,
        env=environment({"URL": url}),
        cwd=ROOT,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"held\n"
    process.send_signal(signal.SIGKILL)
    await process.wait()

    assert await holds(database) == 1
    async with asyncio.timeout(10), Lease(database, REF, 1.0).held():
        assert await holds(database) == 1
    assert await holds(database) == 0


async def test_a_hold_that_lasts_longer_than_a_lease_is_kept(database: Database) -> None:
    async with Lease(database, REF, 0.4).held():
        with pytest.raises(StoreError, match=r"the account anthropic/alpha has been held elsewhere for 2 s; try again"):
            async with Lease(database, REF, 1.0).held():
                pytest.fail("two hold the account")
        assert await holds(database) == 1

    assert await holds(database) == 0


async def test_one_who_gives_up_leaves_the_others_hold(database: Database) -> None:
    async with Lease(database, REF, 60.0).held():
        waiting = asyncio.create_task(Lease(database, REF, 60.0).held().__aenter__())
        await asyncio.wait([waiting], timeout=0.3)
        waiting.cancel()
        await asyncio.wait([waiting])

        assert (waiting.cancelled(), await holds(database)) == (True, 1)


@pytest.mark.parametrize("how", [Lease.held, Lease.held_if_free])
async def test_one_who_is_cancelled_at_any_point_holds_nothing(
    database: Database, how: Callable[[Lease], AbstractAsyncContextManager[object]]
) -> None:
    await database.ready()

    async def hold() -> None:
        async with how(Lease(database, REF, 60.0)):
            await asyncio.sleep(0)

    for at in itertools.count(1):
        cut = Cut(hold(), at)
        with suppress(asyncio.CancelledError):
            await cut
        assert (at, await holds(database)) == (at, 0)
        if cut.waits < at:
            break


async def test_what_was_done_stands_when_letting_go_fails(postgres: Databases) -> None:
    database = Database(postgres.new_database())
    await database.ready()

    async with Lease(database, REF, 60.0).held(), database.write() as connection:
        await connection.exec_driver_sql("ALTER TABLE account_hold RENAME TO elsewhere")
    await database.close()


async def test_who_does_not_want_to_wait_hears_whether_it_is_free(database: Database) -> None:
    async with Lease(database, REF, 60.0).held_if_free() as first:
        async with Lease(database, REF, 60.0).held_if_free() as second:
            told = (first, second)
        assert await holds(database) == 1  # the second has not let go of what is the first's

    assert told == (True, False)
    assert await holds(database) == 0


async def test_what_a_process_that_died_held_is_free_after_its_lease(database: Database) -> None:
    dead = Lease(database, REF, 0.05)
    await dead._try_to_take()  # noqa: SLF001 - and then nothing, as after a SIGKILL
    async with asyncio.timeout(10):
        while True:
            async with Lease(database, REF, 60.0).held_if_free() as is_free:
                if is_free:
                    break

    assert await holds(database) == 0
