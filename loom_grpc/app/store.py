"""Where accounts are kept that come while the server runs: in a file, or in the database where there is one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from loom_grpc.config import Config, ConfigError
from loom_grpc.core.account import CredentialStore
from loom_grpc.credentials.file_store import FileStore
from loom_grpc.credentials.secret import Secrets

if TYPE_CHECKING:
    from loom_grpc.storage.database import Database


def make_store(
    config: Config, secrets: Secrets, environ: Mapping[str, str], database: Database | None
) -> CredentialStore:
    """Makes the store that is configured, in `database` where the configuration names one; raises `ConfigError`.

    Nothing is read or written yet.
    """
    if database is None or config.database.url is None:
        return FileStore(config.credentials.file or usual_file(environ))
    from loom_grpc.storage.credential_store import DatabaseStore

    key = config.credentials.encryption_key
    if key is None:
        raise ConfigError("credentials.encryption_key: is needed with a database; `loom-grpc encryption-key` makes one")
    encryption_key = secrets.find(key.get_secret_value(), "credentials.encryption_key")
    return DatabaseStore(database, encryption_key.reveal)


def usual_file(environ: Mapping[str, str]) -> Path:
    """Returns the file that keeps accounts where the configuration names none.

    Source: specifications.freedesktop.org/basedir-spec, seen 2026-11-21.
    """
    state = environ.get("XDG_STATE_HOME")
    folder = Path(state) if state else Path(environ.get("HOME", ""), ".local", "state")
    return folder / "loom-grpc" / "credentials.json"
