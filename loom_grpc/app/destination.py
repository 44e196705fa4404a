"""Where records of calls go, as far as servers can be told apart by it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from loom_grpc.app.ledgers import usual_ledger
from loom_grpc.config import Config
from loom_grpc.credentials.secret import Secrets


def destination(config: Config, secrets: Secrets, environ: Mapping[str, str]) -> str:
    """Returns the place of the broker and its exchange, or of the database; without users and passwords, which change."""
    bus = config.audit.bus
    if bus is not None:
        return f"{_place(secrets.find(bus.url.get_secret_value(), 'audit.bus.url').reveal())} {bus.exchange}"
    if config.database.url is None:
        return _place(usual_ledger(environ))
    return _place(secrets.find(config.database.url.get_secret_value(), "database.url").reveal())


def _place(url: str) -> str:
    scheme, _, rest = url.partition("://")
    kind = scheme.partition("+")[0]
    place = rest.rpartition("@")[2].partition("?")[0]
    return f"{kind}://{Path(place.removeprefix('/')).resolve()}" if kind == "sqlite" else f"{kind}://{place}"
