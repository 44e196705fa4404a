from __future__ import annotations

import asyncio
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from loom_grpc.core.account import StoreError
from loom_grpc.storage.database import Database
from loom_grpc.storage.migration import Change
from loom_grpc.storage.tables import METADATA
from tests.program import ROOT, run

NEWEST = "0002"
UPGRADE = """
import asyncio, os
from loom_grpc.storage.database import Database

async def main():
    database = Database(os.environ["URL"])
    print(*await database.upgrade())
    await database.close()

asyncio.run(main())
"""


async def test_the_revisions_make_the_tables_that_the_code_uses(url: str) -> None:
    def compare(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), METADATA))

    database = Database(url)

    async with database.read() as connection:
        assert await connection.run_sync(compare) == []
    await database.close()


async def test_an_upgrade_tells_what_it_did(url: str) -> None:
    database = Database(url)

    assert [await database.upgrade(), await database.upgrade()] == [Change("", NEWEST), Change(NEWEST, NEWEST)]
    await database.close()


async def test_of_many_processes_that_start_at_once_one_upgrades(url: str) -> None:
    command = (sys.executable, "-c", UPGRADE)

    results = await asyncio.gather(*(run(env={"URL": url}, cwd=ROOT, command=command) for _ in range(6)))

    assert [result.err for result in results] == [""] * 6
    assert sorted(result.out.strip() for result in results) == [NEWEST, *[f"{NEWEST} {NEWEST}"] * 5]


async def test_tables_of_a_newer_version_are_left_alone(url: str) -> None:
    database = Database(url)
    async with database.write() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await database.close()
    older = Database(url)

    with pytest.raises(StoreError) as caught:
        await older.ready()

    assert str(caught.value) == (
        f"the database is of a newer version of loom-grpc (its revision is 9999, {NEWEST} is the newest known here);"
        " upgrade this server, or give it another database"
    )
    await older.close()


async def test_an_upgrade_that_fails_leaves_nothing_behind(url: str) -> None:
    database = Database(url)
    await database.upgrade()
    async with database.write() as connection:
        # As if another program had a table of this name in the database.
        for name in (
            *("account_hold", "account_record", "account_revision", "account_credential", "kept_response"),
            "alembic_version",
        ):
            await connection.execute(text(f"DROP TABLE {name}"))
    other = Database(url)

    with pytest.raises(StoreError, match=r"oauth_login.* already exists"):
        await other.ready()

    async with database.read() as connection:
        tables = await connection.run_sync(lambda each: set(each.dialect.get_table_names(each)))
    assert tables == {"oauth_login"}
    for each in (database, other):
        await each.close()
