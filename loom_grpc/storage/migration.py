"""Bringing the tables to what this version needs."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from loom_grpc.core.account import StoreError

_FOLDER: Final = Path(__file__).with_name("migrations")
_LOCK: Final = 0x6C6F6F6D67727063
"""The number that all processes lock which upgrade a database of PostgreSQL: "loomgrpc" in ASCII."""


class Change(NamedTuple):
    """The revision of the tables before and after; empty when there were none."""

    before: str
    after: str


def upgrade(connection: Connection) -> Change:
    """Upgrades within the connection's transaction; raises `StoreError` for tables of a newer version.

    On SQLite the transaction must have begun as a writer's.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    script = ScriptDirectory.from_config(config)
    before = MigrationContext.configure(connection).get_current_revision() or ""
    after = script.get_current_head() or ""
    if before and before not in {revision.revision for revision in script.walk_revisions()}:
        raise StoreError(
            f"the database is of a newer version of loom-grpc (its revision is {before}, {after} is the newest known here);"
            " upgrade this server, or give it another database"
        )
    if before != after:
        command.upgrade(config, "head")
    return Change(before, after)
