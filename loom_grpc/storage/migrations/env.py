"""What Alembic runs: the revisions, over the connection and in the transaction of whoever upgrades."""

from __future__ import annotations

from alembic import context

from loom_grpc.storage import ledger_tables  # noqa: F401 - adds its tables to those of METADATA
from loom_grpc.storage.tables import METADATA

# SQLite cannot alter much of a table; in batch mode Alembic copies it.
context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA, render_as_batch=True)
context.run_migrations()
