"""Answers in Redis, for all processes together (docs/decisions/0015-response-cache.md)."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, OutOfMemoryError, ResponseError

from loom_grpc.redis_client import TROUBLES, RedisUse, place

_PREFIX: Final = "loom-grpc:cache:"
_PROBE_S: Final = 2.0
"""How long a connection may take to be made when no call waits for it."""
_REST_S: Final = 1.0
"""How long Redis is left alone between two looks whether it is back."""
USE: Final = RedisUse(
    "cache.redis_url",
    connections=32,
    patience_s=0.1,  # a model takes longer
    retries=1,  # for a connection that was closed while nobody used it
    refusals={
        NoPermissionError: "does not let this user use GETRANGE, SET and PING on keys that begin with loom-grpc:cache:",
        OutOfMemoryError: "has no memory left; give it more, or let it drop old keys (maxmemory-policy allkeys-lru)",
        ResponseError: "refuses commands; see its log",
    },
)


class RedisStore:
    """Keeps answers of up to `max_entry_bytes` in the Redis that `url` names at the time.

    A Redis that cannot be reached or does not answer in time is left alone, so that no call waits for it, until it answers a look in the
    background. `on_trouble` is told once, in words for the operator, when something begins to go wrong; `on_recovery` when all is well
    again. `clock` gives seconds.
    """

    def __init__(
        self,
        url: Callable[[], str],
        *,
        max_entry_bytes: int,
        clock: Callable[[], float],
        on_trouble: Callable[[str], object],
        on_recovery: Callable[[], object],
        use: RedisUse = USE,
    ) -> None:
        self._use = use
        self._url = url
        self._last_byte = max_entry_bytes - 1
        self._clock = clock
        self._on_trouble = on_trouble
        self._on_recovery = on_recovery
        self._connected_to = ""
        self._client: Redis | None = None
        self._troubles: set[str] = set()
        """What goes wrong at present: `reach`, `read` or `write`."""
        self._looking: asyncio.Task[None] | None = None
        self._rests_until = 0.0

    def __repr__(self) -> str:
        return f"RedisStore({place(self._connected_to)!r})"

    async def get(self, key: bytes) -> bytes | None:
        """Returns what was put under a key and has not expired; None also while Redis is in trouble."""
        # Whoever else writes there may have put anything of any size.
        data = await self._do("read", lambda redis: redis.getrange(_name(key), 0, self._last_byte))
        return data if isinstance(data, bytes) and data else None

    async def put(self, key: bytes, value: bytes, ttl_s: float) -> None:
        """Keeps a value for so many seconds; does nothing while Redis is in trouble."""
        await self._do("write", lambda redis: redis.set(_name(key), value, px=math.ceil(ttl_s * 1000)))

    async def close(self) -> None:
        """Closes all connections."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait((self._looking,))
        if self._client is not None:
            await self._client.aclose()

    async def _do(self, act: str, command: Callable[[Redis], Awaitable[Any]]) -> Any:
        """Gives Redis a command; None when it does not carry it out in time."""
        if "reach" in self._troubles:
            self._look_again()
            return None
        try:
            async with asyncio.timeout(self._use.patience_s):
                answer = await command(self._client or await self._renew())
        except ResponseError as error:
            if not str(error).startswith("WRONGTYPE"):  # which is somebody else's value
                self._begin(act, error)
            return None
        except TROUBLES as error:
            self._begin("reach", error)
            return None
        self._end(act)
        return answer

    def _begin(self, act: str, error: Exception) -> None:
        told = bool(self._troubles)
        self._troubles.add(act)
        if act == "reach":
            self._rests_until = self._clock() + _REST_S
        if not told:
            self._on_trouble(self._use.explain(place(self._connected_to), error))

    def _end(self, act: str) -> None:
        if act in self._troubles:
            self._troubles.remove(act)
            if not self._troubles:
                self._on_recovery()

    def _look_again(self) -> None:
        """Looks in the background whether Redis is back, unless it was looked for just now."""
        if self._looking is None and self._clock() >= self._rests_until:
            self._looking = asyncio.create_task(self._look())
            self._looking.add_done_callback(self._looked)

    def _looked(self, _task: asyncio.Task[None]) -> None:
        self._looking = None
        self._rests_until = self._clock() + _REST_S

    async def _look(self) -> None:
        try:
            async with asyncio.timeout(_PROBE_S):
                client = await self._renew()
                await client.ping()
            async with asyncio.timeout(self._use.patience_s):
                await client.ping()
        except TROUBLES:
            return
        self._end("reach")

    async def _renew(self) -> Redis:
        """Returns the client of the URL as it is now, which may have a new password."""
        url = self._url()
        former, client = self._client, self._client
        if client is None or url != self._connected_to:
            client = self._client = self._use.make_client(url)
            self._connected_to = url
            if former is not None:
                await former.aclose()
        return client


def _name(key: bytes) -> str:
    return _PREFIX + key.hex()
