"""How the configuration's response cache comes before everything else that answers calls."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from typing import Any, Final

from loom_grpc.cache.memory import MemoryStore
from loom_grpc.config import CacheConfig, Config, ConfigError
from loom_grpc.config.change import ROUTING
from loom_grpc.core.cache import Cache, Store
from loom_grpc.core.call import Handler
from loom_grpc.credentials.secret import Secrets
from loom_grpc.telemetry import Telemetry

_PROVIDER: Final = (
    *("enabled", "dialect", "base_url", "default_model", "models"),
    *("organization", "project", "location", "headers", "options"),
)
"""What an answer depends on, of a provider. Who pays for it and how patient we are make no other answer."""
_MOST_STORES: Final = 2
"""The one in use, and the one that takes its place when the rest of its configuration is as good."""
_STORE: Final = ("redis_url", "max_bytes", "max_entry_bytes")


class Caching:
    """Puts the cache of one configuration after the other before what answers calls; what is kept outlasts a change of anything else."""

    def __init__(self, secrets: Secrets, telemetry: Telemetry) -> None:
        self._secrets = secrets
        self._telemetry = telemetry
        self._stores: dict[tuple[object, ...], Store] = {}
        """By their settings, the latest last."""
        self._closing: set[asyncio.Task[None]] = set()

    def before(self, handler: Handler, config: Config) -> Handler:
        """Returns the handler with the cache before it, or as it is where the cache is off; raises `ConfigError`."""
        cache = config.cache
        if not cache.enabled:
            return handler
        return Cache(
            handler,
            self._store(cache),
            ttl_s=cache.ttl_s,
            max_entry_bytes=cache.max_entry_bytes,
            share=cache.share,
            space=space_of(config),
        )

    async def close(self) -> None:
        """Closes the connections of all stores."""
        await asyncio.gather(*self._closing, *(store.close() for store in self._stores.values()))

    def _store(self, config: CacheConfig) -> Store:
        """Returns the store that is configured, the same for the same settings."""
        settings = tuple(getattr(config, key) for key in _STORE)
        store = self._stores.pop(settings, None) or self._make_store(config)
        self._stores[settings] = store
        if len(self._stores) > _MOST_STORES:
            gone = asyncio.create_task(self._stores.pop(next(iter(self._stores))).close())
            self._closing.add(gone)
            gone.add_done_callback(self._closing.discard)
        return store

    def _make_store(self, config: CacheConfig) -> Store:
        if config.redis_url is None:
            return MemoryStore(config.max_bytes, time.monotonic)
        from loom_grpc.cache.redis import USE, RedisStore

        url = self._secrets.find(config.redis_url.get_secret_value(), "cache.redis_url")
        try:
            if url.known:
                USE.make_client(url.reveal())
        except ValueError as error:
            raise ConfigError(f"cache.redis_url: {error}") from None
        return RedisStore(
            url.reveal,
            max_entry_bytes=config.max_entry_bytes,
            clock=time.monotonic,
            on_trouble=self._telemetry.cache_unavailable,
            on_recovery=self._telemetry.cache_works_again,
        )


def space_of(config: Config) -> bytes:
    """Returns a digest of all that the configuration has to do with an answer, the same in every process that has the same."""
    providers: dict[str, Any] = {
        name: provider.model_dump(mode="json", include=set(_PROVIDER)) for name, provider in config.providers.items()
    }
    text = json.dumps([providers, config.model_dump(mode="json", include=set(ROUTING))], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
