"""A database with one caller in it, for servers that want to know who calls."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet

from loom_grpc.access.key import digest, new_key, shown_prefix
from loom_grpc.storage.database import Database
from loom_grpc.storage.directory import DatabaseDirectory
from loom_grpc.v1.access_pb2 import ApiKey, HashedKey, User


@dataclass(frozen=True)
class LetIn:
    """A caller, and what a server's configuration and environment need to know them."""

    key: str
    settings: dict[str, Any]
    environ: dict[str, str]

    @property
    def authorization(self) -> str:
        """The header that shows the key."""
        return f"Bearer {self.key}"


async def let_in(folder: Path, user: str = "ann") -> LetIn:
    """Makes a database with a key of a user's."""
    url = f"sqlite:///{folder}/loom.db"
    key = new_key("lt")
    directory = DatabaseDirectory(Database(url))
    await directory.create(User(id=user))
    await directory.create_key(
        HashedKey(key=ApiKey(id="key-1", prefix=shown_prefix(key), user=user), sha256=digest(key))
    )
    await directory.close()
    settings = {
        "access": {"enabled": True},
        "database": {"url": url},
        "credentials": {"encryption_key": Fernet.generate_key().decode()},
    }
    return LetIn(key, settings, {"XDG_STATE_HOME": str(folder)})
