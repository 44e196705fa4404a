"""Where responses are kept: in the database, else in a file that all workers share, else in the memory of the one process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loom_grpc.config import Config, ConfigError
from loom_grpc.core.account import CredentialStore
from loom_grpc.core.kept import KeptResponse, ResponseStore
from loom_grpc.credentials.secret import Secrets
from loom_grpc.storage.memory_responses import MemoryResponses

if TYPE_CHECKING:
    from loom_grpc.storage.response_store import DatabaseResponses

_FILE: Final = "responses.db"


def make_kept(config: Config, secrets: Secrets, store: CredentialStore, shared: Path | None) -> ResponseStore:
    """Makes the store that is configured; `shared` is the folder of several workers, and `store` is in the database if there is one.

    Raises `ConfigError`. Nothing is read or written yet.
    """
    if config.database.url is not None:
        return in_database(config, secrets, store)
    if shared is not None:
        return Deferred(lambda: _in_file(config, shared))
    return MemoryResponses(config.responses.max_bytes, config.responses.ttl_s, time.monotonic)


class Deferred:
    """A store that is made when it is needed: a server whose callers keep nothing loads no database."""

    def __init__(self, make: Callable[[], ResponseStore]) -> None:
        self._make = make
        self._making = asyncio.Lock()
        self._store: ResponseStore | None = None

    async def put(self, kept: KeptResponse) -> None:
        """Keeps a response."""
        await (await self._made()).put(kept)

    async def chain(self, tenant: str, id: str) -> list[KeptResponse]:
        """Returns a response and all that it goes on from."""
        return await (await self._made()).chain(tenant, id)

    async def delete(self, tenant: str, id: str) -> bool:
        """Forgets a response."""
        return await (await self._made()).delete(tenant, id)

    async def close(self) -> None:
        """Closes the store, if there is one by now."""
        if self._store is not None:
            await self._store.close()

    async def _made(self) -> ResponseStore:
        async with self._making:
            if self._store is None:
                self._store = await asyncio.to_thread(self._make)
            return self._store


def in_database(config: Config, secrets: Secrets, store: CredentialStore) -> DatabaseResponses:
    """Makes the store in the database in which `store` keeps accounts; raises `ConfigError`."""
    from loom_grpc.storage.credential_store import DatabaseStore
    from loom_grpc.storage.response_store import DatabaseResponses

    key = config.credentials.encryption_key
    if key is None or not isinstance(store, DatabaseStore):
        raise ConfigError("credentials.encryption_key: is needed with a database; `loom-grpc encryption-key` makes one")
    encryption_key = secrets.find(key.get_secret_value(), "credentials.encryption_key")
    return DatabaseResponses(store.database, encryption_key.reveal, config.responses.ttl_s)


def _in_file(config: Config, shared: Path) -> ResponseStore:
    from loom_grpc.storage.database import Database
    from loom_grpc.storage.response_store import DatabaseResponses

    database = Database(f"sqlite:///{shared / _FILE}")
    return DatabaseResponses(database, None, config.responses.ttl_s, max_bytes=config.responses.max_bytes)
