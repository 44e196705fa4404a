"""The database: connections, transactions, and errors in words for the operator (docs/decisions/0012-database.md)."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

from sqlalchemy import URL, Connection, Table, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from loom_grpc.core.account import StoreError
from loom_grpc.storage.migration import Change, downgrade, upgrade

_DRIVERS: Final = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "sqlite": "sqlite+aiosqlite",
}
_INSERT: Final[dict[str, Any]] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}
_CONNECT_S: Final = 5
_BUSY_S: Final = 10.0
"""How long one writer waits for another (SQLite), and a task for a connection."""
_LONGEST_S: Final = 30.0
"""How long a transaction may take, with everything that it waits for."""
_READS: Final = "loom_grpc_reads"
_TURNS: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock]] = WeakKeyDictionary()
_SECRET_PARTS: Final = ("password", "sslpassword", "passfile")


class Database:
    """A database of PostgreSQL or SQLite, by its URL; nothing is opened before it is needed. Raises `StoreError` for any other URL."""

    def __init__(self, url: str) -> None:
        self._url = _parse(url)
        self._engine = _make_engine(self._url)
        self._starting = asyncio.Lock()
        self._ready = False

    def __repr__(self) -> str:
        return f"Database({_place(self._url)!r})"

    @property
    def dialect(self) -> str:
        """`postgresql` or `sqlite`."""
        return self._engine.dialect.name

    def insert(self, table: Table) -> postgresql.Insert:
        """Returns an insertion that can say what to do on a conflict."""
        # Each dialect has a class of its own for it, with the same methods.
        return cast("postgresql.Insert", _INSERT[self.dialect](table))

    async def ready(self) -> None:
        """Brings the tables to what this version needs, once; raises `StoreError`."""
        async with self._starting:
            if not self._ready:
                await self.upgrade(_LONGEST_S)

    async def upgrade(self, longest_s: float = 600.0) -> Change:
        """Brings the tables to what this version needs and tells from where; of several processes one does it while the others wait.

        Raises `StoreError`, also when the tables are those of a newer version.
        """
        change = await self._migrate(upgrade, longest_s)
        self._ready = True
        return change

    async def downgrade(self, revision: str, longest_s: float = 600.0) -> Change:
        """Brings the tables back to an earlier revision, or none, with the loss of all that only later ones hold; raises `StoreError`."""
        change = await self._migrate(lambda connection: downgrade(connection, revision), longest_s)
        self._ready = False
        return change

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Gives a connection to read with; raises `StoreError`."""
        await self.ready()
        with self._explained():
            async with asyncio.timeout(_LONGEST_S), self._engine.connect() as connection:
                yield await connection.execution_options(**{_READS: True})

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """Gives a connection with a transaction, which ends with the block; raises `StoreError`."""
        await self.ready()
        with self._explained():
            async with asyncio.timeout(_LONGEST_S), self._engine.begin() as connection:
                yield connection

    async def close(self) -> None:
        """Closes all connections."""
        await self._engine.dispose()

    async def _migrate(self, migrate: Callable[[Connection], Change], longest_s: float) -> Change:
        with self._explained():
            if self.dialect == "sqlite":
                await asyncio.to_thread(_make_file, str(self._url.database))
            async with asyncio.timeout(longest_s), _turn(), self._engine.begin() as connection:
                return await connection.run_sync(migrate)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            raise StoreError(
                f"the database {_place(self._url)} does not answer in time; see that it runs and has not too much to do"
            ) from None
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            # The cause holds the statement and, from some drivers, the password.
            raise StoreError(_explain(self._url, error)) from None


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # whose words may hold half of the password
        raise StoreError(
            "database.url is no URL such as postgresql://user:password@host/name; write @, / and : in the password as %40, %2F and %3A"
        ) from None
    driver = _DRIVERS.get(parsed.drivername.partition("+")[0])
    if driver is None:
        raise StoreError("database.url must begin with postgresql:// or sqlite:///")
    if driver.startswith("sqlite") and parsed.database in (None, "", ":memory:"):
        raise StoreError("database.url names no file; write sqlite:/// and then its path")
    return parsed.set(drivername=driver)


def _make_engine(url: URL) -> AsyncEngine:
    if url.get_backend_name() == "sqlite":
        engine = create_async_engine(
            url,
            hide_parameters=True,
            pool_timeout=_BUSY_S,
            connect_args={"timeout": _BUSY_S, "isolation_level": None, "factory": _Connection},
        )
        event.listen(engine.sync_engine, "connect", _prepare)
        event.listen(engine.sync_engine, "begin", _begin)
        return engine
    # A server that vanishes without a word is noticed by the keepalives. Prepared statements and PgBouncer do not go together.
    arguments = {
        "connect_timeout": _CONNECT_S,
        "application_name": "loom-grpc",
        "keepalives_idle": 30,
        "tcp_user_timeout": 20_000,
        "prepare_threshold": None,
    }
    return create_async_engine(
        url,
        hide_parameters=True,
        pool_timeout=_BUSY_S,
        pool_pre_ping=True,
        connect_args={name: value for name, value in arguments.items() if name not in url.query},
    )


class _Connection(sqlite3.Connection):
    """A connection of SQLite that gives its lock back when it is closed.

    Of a task that was cancelled amid a statement the error may hold that statement for long, and SQLite ends a transaction only when
    all statements of a closed connection are gone (sqlite.org/c3ref/close.html, seen 2026-11-21).
    """

    def close(self) -> None:
        """Rolls back and closes; does nothing the second time."""
        with suppress(sqlite3.Error):  # of a connection that is closed, or broken: closing it is all that is left
            self.rollback()
        super().close()


def _prepare(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin(connection: Any) -> None:
    """Begins a transaction of SQLite, which sqlite3 would do too late.

    A writer takes its place in the queue at once: a reader that turns writer is refused when another has written meanwhile.
    """
    reads = connection.get_execution_options().get(_READS)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _make_file(name: str) -> None:
    """Makes the file of SQLite, where there is none: for its owner alone, and with a write-ahead log.

    It gets its name when it is complete. Switching the log on in a file that others have open fails when they are busy, without waiting
    for them; and whoever closes a file takes this process's locks on it away (sqlite.org/howtocorrupt.html, seen 2026-11-21).
    """
    file = Path(name).resolve()
    if file.exists():
        return
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".loom-grpc-") as folder:
        new = Path(folder, "new.db")
        with closing(sqlite3.connect(new)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
        new.chmod(0o600)
        with suppress(FileExistsError):  # another process was quicker, and its file is as good
            os.link(new, file)


def _turn() -> asyncio.Lock:
    """Returns what is held by who migrates: Alembic knows of one migration in a process, and takes two for the same."""
    return _TURNS.setdefault(asyncio.get_running_loop(), asyncio.Lock())


def _place(url: URL) -> str:
    """Returns where the database is, without the user, the password and the options."""
    return URL.create(url.get_backend_name(), host=url.host, port=url.port, database=url.database).render_as_string()


def _explain(url: URL, error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error
    text = str(cause).strip() or type(error).__name__
    for part in (url.password, *(url.query.get(name) for name in _SECRET_PARTS)):
        text = text.replace(str(part), "***") if part else text
    return f"the database {_place(url)} cannot be used: {text.splitlines()[0]}; see that it runs and that database.url is right"
