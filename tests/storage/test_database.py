from __future__ import annotations

import asyncio
import itertools
import sqlite3
import stat
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import select, text, update

from loom_grpc.core.account import StoreError
from loom_grpc.storage.database import Database
from loom_grpc.storage.migration import Change
from loom_grpc.storage.tables import ACCOUNT_REVISION
from tests.cut import Cut
from tests.postgres import PASSWORD, Databases, Postgres, postgres_server
from tests.program import run

Open = Callable[[str], Database]


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    databases: list[Database] = []

    def opened(url: str) -> Database:
        databases.append(Database(url))
        return databases[-1]

    yield opened
    for database in databases:
        await database.close()


@pytest.fixture
def crashing() -> Iterator[Postgres]:
    """A server that the test may stop."""
    with postgres_server() as server:
        yield server


async def number(database: Database) -> int:
    async with database.read() as connection:
        return await connection.scalar(select(ACCOUNT_REVISION.c.number)) or 0


async def add_one(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(update(ACCOUNT_REVISION).values(number=ACCOUNT_REVISION.c.number + 1))


async def execute(database: Database, *statements: str) -> None:
    """Runs statements in one transaction."""
    async with database.write() as connection:
        for statement in statements:
            await connection.execute(text(statement))


async def test_the_password_is_shown_nowhere(opened: Open, crashing: Postgres) -> None:
    url = crashing.url("missing").replace("loom:", "nobody:")
    database = opened(url)

    with pytest.raises(StoreError) as caught:
        await database.ready()

    assert repr(database) == f"Database('postgresql://127.0.0.1:{crashing.port}/missing')"
    assert 'password authentication failed for user "nobody"' in str(caught.value)
    assert PASSWORD not in f"{caught.value!r} {caught.value.__cause__!r}"
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://host/name", "database.url must begin with postgresql:// or sqlite:///"),
        ("sqlite://", "database.url names no file; write sqlite:/// and then its path"),
        ("sqlite:///:memory:", "database.url names no file; write sqlite:/// and then its path"),
        ("postgresql://user:pa:ss@word@host:pass/name", "database.url is no URL such as"),
        ("", "database.url is no URL such as"),
    ],
)
def test_a_url_that_leads_nowhere_says_how_to_write_one(url: str, words: str) -> None:
    with pytest.raises(StoreError) as caught:
        Database(url)

    assert str(caught.value).startswith(words)
    assert "ss@word" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg", "postgresql+asyncpg"])
async def test_every_spelling_of_postgresql_is_understood(opened: Open, postgres: Databases, scheme: str) -> None:
    database = opened(postgres.new_database().replace("postgresql", scheme, 1))

    assert await number(database) == 0


async def test_options_of_the_url_reach_the_server(opened: Open, postgres: Databases) -> None:
    database = opened(f"{postgres.new_database()}?application_name=named&connect_timeout=3")

    async with database.read() as connection:
        assert await connection.scalar(text("SHOW application_name")) == "named"


async def test_an_option_that_does_not_exist_is_explained(opened: Open, postgres: Databases) -> None:
    with pytest.raises(StoreError, match='invalid connection option "sslmood"'):
        await opened(f"{postgres.url()}?sslmood=on").ready()


async def test_the_files_of_sqlite_are_for_their_owner_alone(opened: Open, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    database = opened(f"sqlite:///{folder}/loom.db")

    await add_one(database)

    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (folder, *folder.iterdir())}
    assert modes == {"state": 0o700, "loom.db": 0o600, "loom.db-wal": 0o600, "loom.db-shm": 0o600}


async def test_many_who_make_a_file_of_sqlite_at_once_wait_for_each_other(opened: Open, tmp_path: Path) -> None:
    for n in range(15):
        databases = [opened(f"sqlite:///{tmp_path}/{n}/loom.db") for _ in range(6)]

        await asyncio.gather(*(add_one(databases[k % 6]) for k in range(18)))

        assert await number(databases[0]) == 18
        assert {file.name for file in (tmp_path / str(n)).iterdir()} == {"loom.db", "loom.db-wal", "loom.db-shm"}
        async with databases[0].read() as connection:
            assert await connection.scalar(text("PRAGMA journal_mode")) == "wal"


async def test_databases_of_one_process_are_made_at_once(opened: Open, tmp_path: Path) -> None:
    databases = [opened(f"sqlite:///{tmp_path}/{name}.db") for name in "abc"]

    changes = await asyncio.gather(*(database.upgrade() for database in databases))

    assert {change.before for change in changes} == {""}
    for database in databases:
        async with database.read() as connection:
            assert await connection.scalar(select(ACCOUNT_REVISION.c.number)) == 0


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Another program's connection to a file without a write-ahead log."""
    with closing(sqlite3.connect(tmp_path / "loom.db", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE other (number)")
        yield connection


async def test_a_file_that_somebody_has_locked_is_waited_for(
    opened: Open, tmp_path: Path, plain: sqlite3.Connection
) -> None:
    database = opened(f"sqlite:///{tmp_path}/loom.db")
    plain.execute("BEGIN EXCLUSIVE")

    upgrade = asyncio.create_task(database.upgrade())
    await asyncio.wait([upgrade], timeout=0.3)
    assert not upgrade.done()
    plain.execute("COMMIT")

    assert await upgrade == Change("", "0004")


async def test_upgrading_takes_no_lock_away_from_the_process(
    opened: Open, tmp_path: Path, plain: sqlite3.Connection
) -> None:
    database = opened(f"sqlite:///{tmp_path}/loom.db")
    lock_it = "import sqlite3; sqlite3.connect('loom.db', timeout=0, isolation_level=None).execute('BEGIN IMMEDIATE')"
    plain.execute("BEGIN IMMEDIATE")
    upgrade = asyncio.create_task(database.upgrade())
    await asyncio.wait([upgrade], timeout=0.3)

    # The system's locks are a process's own, so only another process sees that one has gone.
    other = await run(cwd=tmp_path, command=(sys.executable, "-c", lock_it))

    assert other.err.endswith("database is locked\n")
    plain.execute("COMMIT")
    await upgrade


async def test_sqlite_reads_while_somebody_writes(opened: Open, tmp_path: Path) -> None:
    database = opened(f"sqlite:///{tmp_path}/loom.db")

    async with database.write() as connection:
        await connection.execute(update(ACCOUNT_REVISION).values(number=7))
        assert await number(database) == 0

    assert await number(database) == 7


async def test_writers_take_turns(opened: Open, url: str) -> None:
    databases = [opened(url), opened(url)]

    await asyncio.gather(*(add_one(databases[n % 2]) for n in range(40)))

    assert await number(databases[0]) == 40


async def test_a_failure_within_a_transaction_takes_it_back(opened: Open, url: str) -> None:
    database = opened(url)

    with pytest.raises(StoreError, match="missing"):
        await execute(database, "UPDATE account_revision SET number = 7", "SELECT 1 FROM missing")

    assert await number(database) == 0


async def test_a_cancelled_transaction_is_taken_back_and_its_connection_not_lost(opened: Open, url: str) -> None:
    database, begun = opened(url), asyncio.Event()

    async def write() -> None:
        async with database.write() as connection:
            await connection.execute(update(ACCOUNT_REVISION).values(number=7))
            begun.set()
            await asyncio.Event().wait()

    for _ in range(20):
        begun.clear()
        writing = asyncio.create_task(write())
        await begun.wait()
        writing.cancel()
        await asyncio.wait([writing])

    assert await number(database) == 0
    await add_one(database)


async def test_a_write_that_is_cancelled_at_any_point_leaves_nothing_locked(opened: Open, url: str) -> None:
    one, other = opened(url), opened(url)
    await one.ready()

    async def write() -> None:
        async with one.write() as connection:
            statement = update(ACCOUNT_REVISION).values(number=ACCOUNT_REVISION.c.number + 1)
            await connection.execute(statement.returning(ACCOUNT_REVISION.c.number))

    async def finish(cut: Cut) -> None:
        await cut

    ended: list[asyncio.Task[None]] = []  # which hold what their errors hold
    for at in itertools.count(1):
        before, cut = await number(other), Cut(write(), at)
        ended.append(asyncio.create_task(finish(cut)))
        await asyncio.wait(ended)
        async with asyncio.timeout(5):
            await add_one(other)
        assert await number(other) - before in {1, 2}
        if cut.waits < at:
            break

    assert [task.cancelled() for task in ended] == [True] * (len(ended) - 1) + [False]


async def test_a_file_that_is_no_database_is_left_as_it_is(opened: Open, tmp_path: Path) -> None:
    file, content = tmp_path / "loom.db", b"not a database, but a text of some length. " * 20
    file.write_bytes(content)

    with pytest.raises(
        StoreError, match=f"the database sqlite:///{file} cannot be used: file is not a database; see that"
    ):
        await opened(f"sqlite:///{file}").ready()

    assert file.read_bytes() == content


async def test_a_folder_that_cannot_be_made_is_explained(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreError, match=r"cannot be used: .*Not a directory|cannot be used: .*File exists"):
        await opened(f"sqlite:///{tmp_path}/file/loom.db").ready()


async def test_a_full_disk_is_explained_and_nothing_is_lost(opened: Open, tmp_path: Path) -> None:
    database = opened(f"sqlite:///{tmp_path}/loom.db")
    await add_one(database)

    with pytest.raises(StoreError, match="database or disk is full"):
        await execute(
            database,
            "UPDATE account_revision SET number = 7",
            "PRAGMA max_page_count = 1",
            "CREATE TABLE big AS SELECT zeroblob(1000000) AS content",
        )

    assert await number(database) == 1


async def test_a_cut_connection_is_replaced(opened: Open, postgres: Databases) -> None:
    url = postgres.new_database()
    database = opened(url)
    await add_one(database)

    cut = postgres.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'loom-grpc'", url
    )

    assert (True,) in cut
    await add_one(database)
    assert await number(database) == 2


async def test_a_connection_that_is_cut_within_a_transaction_is_a_store_error(
    opened: Open, postgres: Databases
) -> None:
    database = opened(postgres.new_database())

    with pytest.raises(StoreError, match="cannot be used: terminating connection due to administrator command"):
        await execute(
            database,
            "UPDATE account_revision SET number = 7",
            "SELECT pg_terminate_backend(pg_backend_pid())",
            "SELECT 1",
        )

    assert await number(database) == 0


async def test_a_database_that_is_down_at_the_start_is_used_when_it_comes_back(
    opened: Open, crashing: Postgres
) -> None:
    database = opened(crashing.new_database())
    await asyncio.to_thread(crashing.stop)

    with pytest.raises(StoreError, match=r"Connection refused.*; see that it runs and that database.url is right"):
        await number(database)
    await asyncio.to_thread(crashing.start)
    assert await number(database) == 0
    await add_one(database)
    await asyncio.to_thread(crashing.stop)
    with pytest.raises(StoreError):
        await number(database)
    await asyncio.to_thread(crashing.start)
    assert await number(database) == 1
