"""What is another in another configuration, and what a running server cannot change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from loom_grpc.config.error import ConfigError
from loom_grpc.config.schema import Config
from loom_grpc.config.tree import leaves, where

FIXED: Final = (
    *("grpc", "http", "workers", "credentials", "database", "vault", "telemetry", "compat", "responses"),
    *("access", "audit"),
)
"""The sections that only a start reads; every other one may change while the server runs."""

FIXED_KEYS: Final = ("limits.redis_url", "spending.without_redis")
"""The keys of other sections that only a start reads: what was counted elsewhere would be forgotten."""

ROUTING: Final = ("default_provider", "aliases", "routes", "default_route", "rewrites", "chains", "models")
"""The sections that say, beside `providers`, who answers a call."""

_NOTHING: Final[object] = object()


def changed_keys(before: Config, after: Config) -> list[str]:
    """Returns the keys whose values differ, by dotted path: those of the one after in its order, then those that are gone."""
    old, new = dict(leaves(before)), dict(leaves(after))
    changed = [path for path in {**new, **old} if old.get(path, _NOTHING) != new.get(path, _NOTHING)]
    inner = {path[:depth] for path in changed for depth in range(1, len(path))}
    return [where(path) for path in changed if path not in inner]  # `aliases` itself is a key only while it is empty


def refuse_fixed(keys: Iterable[str], origins: Mapping[str, str] | None = None) -> None:
    """Raises `ConfigError` where a key is among those that cannot change; `origins` says who set a key."""
    problems = []
    for key in keys:
        if key.partition(".")[0] in FIXED or key in FIXED_KEYS:
            origin = (origins or {}).get(key, "")
            place = f" ({origin})" if origin else ""
            problems.append(f"{key}: cannot change while the server runs; restart it to change this key{place}")
    if problems:
        raise ConfigError(*problems)
