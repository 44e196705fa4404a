from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import AsyncIterator, Iterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, create_engine, text

from loom_grpc.core.account import StoreError
from loom_grpc.storage import ledger_tables  # noqa: F401 - adds its tables to those of METADATA
from loom_grpc.storage.database import Database
from loom_grpc.storage.migration import Change
from loom_grpc.storage.tables import METADATA
from tests.program import ROOT, run

NEWEST = "0004"
UPGRADE = """
import asyncio, os
from loom_grpc.storage.database import Database

async def main():
    database = Database(os.environ["URL"])
    print(*await database.upgrade())
    await database.close()

asyncio.run(main())
"""


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    database = Database(url)
    yield database
    await database.close()


@pytest.fixture
def other(url: str) -> Iterator[Engine]:
    """Another program that uses the database, and brings no tables to what they should be."""
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    yield engine
    engine.dispose()


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


def shape(other: Engine) -> dict[str, str]:
    """Returns everything that the database says of its tables, by their names."""
    with other.connect() as connection:
        rows = connection.execute(text(_SHAPE[other.dialect.name])).all()
    return {name: words for name, words in rows}  # noqa: C416 - rows are no pairs


_SHAPE = {
    "sqlite": "SELECT tbl_name, group_concat(sql, ';') FROM (SELECT * FROM sqlite_master ORDER BY tbl_name, name) GROUP BY 1",
    "postgresql": """
        SELECT relname, concat_ws(';',
            (SELECT string_agg(concat(attname, ' ', format_type(atttypid, atttypmod), ' ', attnotnull), ',' ORDER BY attnum)
               FROM pg_attribute WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped),
            (SELECT string_agg(concat(conname, ' ', pg_get_constraintdef(oid)), ',' ORDER BY conname)
               FROM pg_constraint WHERE conrelid = pg_class.oid),
            (SELECT string_agg(indexdef, ',' ORDER BY indexname) FROM pg_indexes WHERE tablename = relname))
        FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace""",
}


def execute(other: Engine, *statements: str) -> None:
    with other.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


async def test_an_upgrade_that_fails_leaves_nothing_behind(database: Database, other: Engine) -> None:
    # As if another program had a table of this name in the database.
    await database.upgrade()
    await database.downgrade("")
    execute(other, "DROP TABLE alembic_version", "CREATE TABLE oauth_login (id TEXT)")
    before = shape(other)

    with pytest.raises(StoreError, match=r"oauth_login.* already exists"):
        await database.ready()

    assert shape(other) == before
    assert set(before) == {"oauth_login"}


async def test_each_revision_goes_down_to_what_was_before_it_and_up_again(database: Database, other: Engine) -> None:
    await database.upgrade()
    whole, shapes = shape(other), []

    for revision in ("0003", "0002", "0001", ""):
        await database.downgrade(revision)
        shapes.append(set(shape(other)))
    change = await database.upgrade()

    assert shapes[-1] == {"alembic_version"}
    assert [len(more - less) for more, less in itertools.pairwise([set(whole), *shapes])] == [4, 6, 1, 5]
    assert (change, shape(other)) == (Change("", NEWEST), whole)


async def test_going_down_loses_only_what_later_revisions_hold(database: Database, other: Engine) -> None:
    await database.upgrade()
    execute(
        other,
        "INSERT INTO organization (id, display_name, disabled) VALUES ('acme', '', false)",
        "INSERT INTO oauth_login VALUES ('state', 'secret', 1)",
    )

    assert await database.downgrade("0002") == Change(NEWEST, "0002")
    await database.ready()

    async with database.read() as connection:
        assert (await connection.execute(text("SELECT * FROM oauth_login"))).all() == [("state", "secret", 1.0)]
        assert (await connection.execute(text("SELECT * FROM organization"))).all() == []
        assert await connection.scalar(text("SELECT number FROM access_revision")) == 0


async def test_an_upgrade_that_fails_halfway_leaves_the_tables_as_they_were(database: Database, other: Engine) -> None:
    await database.upgrade()
    await database.downgrade("0002")
    # `budget` comes late in 0003, when other tables are made already.
    execute(other, "INSERT INTO oauth_login VALUES ('state', 'secret', 1)", "CREATE TABLE budget (id TEXT)")
    before = shape(other)

    with pytest.raises(StoreError, match=r"budget.* already exists"):
        await database.upgrade()

    assert shape(other) == before
    execute(other, "DROP TABLE budget")
    assert await database.upgrade() == Change("0002", NEWEST)
    async with database.read() as connection:
        assert (await connection.execute(text("SELECT * FROM oauth_login"))).all() == [("state", "secret", 1.0)]


async def test_a_downgrade_that_fails_halfway_leaves_the_tables_as_they_were(database: Database, other: Engine) -> None:
    await database.upgrade()
    # `organization` goes last in 0003, when all other tables are gone already.
    execute(
        other,
        "CREATE TABLE other (organization TEXT REFERENCES organization (id))",
        "INSERT INTO organization (id, display_name, disabled) VALUES ('acme', '', false)",
        "INSERT INTO other VALUES ('acme')",
    )
    before = shape(other)

    with pytest.raises(StoreError, match=r"organization|FOREIGN KEY"):
        await database.downgrade("")

    assert shape(other) == before
    assert await database.upgrade() == Change(NEWEST, NEWEST)
    async with database.read() as connection:
        assert await connection.scalar(text("SELECT id FROM organization")) == "acme"


@pytest.mark.parametrize("revision", ["0009", NEWEST, "base", "' OR 1=1"])
async def test_there_is_no_going_down_to_what_is_not_below(database: Database, revision: str) -> None:
    await database.upgrade()
    await database.downgrade("0003")

    with pytest.raises(StoreError) as caught:
        await database.downgrade(revision)

    assert str(caught.value) == (
        f"there is no revision {revision} to go back to; those up to the database's own are 0001, 0002, 0003"
    )
    assert await database.upgrade() == Change("0003", NEWEST)


async def test_tables_of_a_newer_version_do_not_go_down(database: Database, other: Engine) -> None:
    await database.upgrade()
    execute(other, "UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(StoreError, match="the database is of a newer version of loom-grpc"):
        await database.downgrade("0002")
