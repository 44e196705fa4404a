"""Where accounts are kept that come while the server runs: in a file, or in the database where there is one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from loom_grpc.config import Config, ConfigError
from loom_grpc.core.account import CredentialStore, StoreError
from loom_grpc.credentials.file_store import FileStore
from loom_grpc.credentials.secret import Secrets


def make_store(config: Config, secrets: Secrets, environ: Mapping[str, str]) -> CredentialStore:
    """Makes the store that is configured; raises `ConfigError`. Nothing is read or written yet."""
    if config.database.url is None:
        return FileStore(config.credentials.file or usual_file(environ))
    from loom_grpc.storage.credential_store import DatabaseStore
    from loom_grpc.storage.database import Database

    key = config.credentials.encryption_key
    if key is None:
        raise ConfigError("credentials.encryption_key: is needed with a database; `loom-grpc encryption-key` makes one")
    url = secrets.find(config.database.url.get_secret_value(), "database.url")
    encryption_key = secrets.find(key.get_secret_value(), "credentials.encryption_key")
    try:
        return DatabaseStore(Database(url.reveal()), encryption_key.reveal)
    except StoreError as error:
        raise ConfigError(f"database.url: {error}") from None


def usual_file(environ: Mapping[str, str]) -> Path:
    """Returns the file that keeps accounts where the configuration names none.

    Source: specifications.freedesktop.org/basedir-spec, seen 2026-11-21.
    """
    state = environ.get("XDG_STATE_HOME")
    folder = Path(state) if state else Path(environ.get("HOME", ""), ".local", "state")
    return folder / "loom-grpc" / "credentials.json"
