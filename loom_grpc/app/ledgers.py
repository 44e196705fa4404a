"""The database of a process, and where the records of calls are kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from loom_grpc.app.store import usual_file
from loom_grpc.config import Config, ConfigError
from loom_grpc.core.account import StoreError
from loom_grpc.core.errors import INVALID_REQUEST, LlmError
from loom_grpc.core.ledger import Ledger
from loom_grpc.credentials.secret import Secrets

if TYPE_CHECKING:
    from loom_grpc.storage.database import Database
    from loom_grpc.storage.ledger import DatabaseLedger

_FILE: Final = "loom.db"


def keeps_records(config: Config) -> bool:
    """Tells whether calls are recorded."""
    wanted = config.audit.enabled
    return wanted if wanted is not None else config.access.is_on or config.database.url is not None


def shared_database(config: Config, secrets: Secrets, environ: Mapping[str, str]) -> Database | None:
    """Makes the one database of a server's process, whose maker closes it; None where nothing needs one.

    Raises `ConfigError`. Nothing is opened yet.
    """
    keeps_records_itself = keeps_records(config) and config.audit.bus is None
    if config.database.url is not None or config.access.is_on or keeps_records_itself:
        return make_database(config, secrets, environ)
    return None


def make_ledger(config: Config, secrets: Secrets, environ: Mapping[str, str]) -> DatabaseLedger:
    """Makes a ledger with a database of its own: the one that is configured, else a file of SQLite; raises `ConfigError`.

    Nothing is opened yet.
    """
    from loom_grpc.storage.ledger import DatabaseLedger

    return DatabaseLedger(make_database(config, secrets, environ))


def open_ledger(config: Config, database: Database | None) -> Ledger:
    """Returns the ledger to ask; raises `LlmError` where this server keeps no records, or does not know where others keep them."""
    if not keeps_records(config):
        message = "This server keeps no records of calls; set audit.enabled: true."
        raise LlmError(INVALID_REQUEST, message, not_implemented="audit")
    if database is None or (config.audit.bus is not None and config.database.url is None):
        message = (
            "The auditor keeps the records, and this server does not know where; set database.url to its database."
        )
        raise LlmError(INVALID_REQUEST, message, not_implemented="audit")
    from loom_grpc.storage.ledger import DatabaseLedger

    return DatabaseLedger(database)


def usual_ledger(environ: Mapping[str, str]) -> str:
    """Returns the address of the database where the configuration names none."""
    return f"sqlite:///{usual_file(environ).with_name(_FILE)}"


def make_database(config: Config, secrets: Secrets, environ: Mapping[str, str]) -> Database:
    """Makes the database that keeps keys and records; raises `ConfigError`. Nothing is opened yet."""
    from loom_grpc.storage.database import Database

    if config.database.url is None:
        return Database(usual_ledger(environ))
    url = secrets.find(config.database.url.get_secret_value(), "database.url")
    try:
        return Database(url.reveal())
    except StoreError as error:
        raise ConfigError(f"database.url: {error}") from None
