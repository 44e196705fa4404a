"""`loom-grpc migrate`: brings the database to what this version needs, as a server does when it starts, or back."""

from __future__ import annotations

import argparse
import asyncio
import os
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from loom_grpc.cli import configuration
from loom_grpc.cli.output import FAILED, error, say
from loom_grpc.config import Config, ConfigError
from loom_grpc.core.account import StoreError

if TYPE_CHECKING:
    from loom_grpc.storage.migration import Change

_NONE: Final = "none"
"""What `--down-to` is given for no tables at all."""


def run(arguments: argparse.Namespace) -> int:
    """Upgrades the tables, and encrypts with the first key what another one has encrypted; or goes back."""
    try:
        asyncio.run(_migrate(configuration.read(arguments).config, arguments.down_to))
    except ConfigError as failure:
        configuration.report(failure)
        return FAILED
    except StoreError as failure:
        error(str(failure))
        return FAILED
    return 0


async def _migrate(config: Config, down_to: str | None) -> None:
    from loom_grpc.app.kept import in_database
    from loom_grpc.app.ledgers import shared_database
    from loom_grpc.app.store import make_store
    from loom_grpc.credentials.secret import Secrets
    from loom_grpc.storage.credential_store import DatabaseStore

    async with AsyncExitStack() as stack:
        secrets = Secrets(os.environ, config.vault)
        stack.push_async_callback(secrets.close)
        store = make_store(config, secrets, os.environ, shared_database(config, secrets, os.environ))
        stack.push_async_callback(store.close)
        if not isinstance(store, DatabaseStore):
            raise ConfigError("database.url: is not set, so accounts are kept in a file, which needs no migration")
        await secrets.start()
        if down_to is not None:
            say(_words(await store.database.downgrade("" if down_to == _NONE else down_to)))
            return
        say(_words(await store.database.upgrade()))
        if renewed := await store.renew_encryption():
            say(f"accounts encrypted anew, with the first of the keys: {renewed}")
        if renewed := await in_database(config, secrets, store).renew_encryption():
            say(f"responses encrypted anew, with the first of the keys: {renewed}")


def _words(change: Change) -> str:
    before, after = (f"at revision {revision}" if revision else "empty" for revision in change)
    return f"the database is {after} already" if before == after else f"the database is now {after}; it was {before}"
