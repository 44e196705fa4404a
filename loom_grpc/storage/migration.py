"""Bringing the tables to what this version needs, and back to what an earlier one needs."""

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
    config, script, before = _begin(connection)
    after = script.get_current_head() or ""
    if before != after:
        command.upgrade(config, "head")
    return Change(before, after)


def downgrade(connection: Connection, revision: str) -> Change:
    """Goes back to an earlier revision as `upgrade` goes forward, with all that only later ones hold; an empty one is no tables at all.

    Raises `StoreError` also for a revision that there is not, and for a later one.
    """
    config, script, before = _begin(connection)
    earlier = [""] if not before else ["", *(each.revision for each in script.iterate_revisions(before, "base"))]
    if revision not in earlier:
        known = ", ".join(sorted(earlier[1:])) or "none"
        raise StoreError(f"there is no revision {revision} to go back to; those up to the database's own are {known}")
    if before != revision:
        command.downgrade(config, revision or "base")
    return Change(before, revision)


def _begin(connection: Connection) -> tuple[Config, ScriptDirectory, str]:
    """Keeps other processes from migrating, and returns what Alembic needs and the present revision."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    script = ScriptDirectory.from_config(config)
    before = MigrationContext.configure(connection).get_current_revision() or ""
    if before and before not in {revision.revision for revision in script.walk_revisions()}:
        raise StoreError(
            f"the database is of a newer version of loom-grpc (its revision is {before}, {script.get_current_head()} is the newest"
            " known here); upgrade this server, or give it another database"
        )
    return config, script, before
