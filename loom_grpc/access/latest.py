"""Looks whether the directory knows more than the book does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from loom_grpc.core.account import StoreError

_EVERY_S: Final = 0.2
_LIMIT_S: Final = 2.0
"""How long the directory may take."""


class Latest:
    """Looks for a newer snapshot, once for all who wait, and no more often than every 0.2 s.

    `refresh` reads the directory and has what is newer adopted; it may raise `StoreError`. `is_stale` tells that the directory could not
    be read the last time.
    """

    def __init__(self, refresh: Callable[[], Awaitable[None]], is_stale: Callable[[], bool]) -> None:
        self._refresh = refresh
        self._is_stale = is_stale
        self._has_failed = False
        self._lock = asyncio.Lock()
        self._coming: asyncio.Task[None] | None = None
        """A look that has not begun, so that it finds all that is there now."""
        self._looks: set[asyncio.Task[None]] = set()
        self._not_before = 0.0

    @property
    def is_stale(self) -> bool:
        """Whether what is known may not be the latest."""
        return self._has_failed or self._is_stale()

    async def look(self) -> None:
        """Returns when the directory was read after now, or could not be; cancelling it leaves the others waiting."""
        if self._coming is None:
            self._coming = asyncio.create_task(self._run())
            self._looks.add(self._coming)
            self._coming.add_done_callback(self._looks.discard)
        await asyncio.shield(self._coming)

    async def close(self) -> None:
        """Ends a look that is under way."""
        for look in self._looks:
            look.cancel()
        await asyncio.gather(*self._looks, return_exceptions=True)

    async def _run(self) -> None:
        now = asyncio.get_running_loop().time
        async with self._lock:
            await asyncio.sleep(self._not_before - now())
            self._coming = None
            self._not_before = now() + _EVERY_S
            try:
                async with asyncio.timeout(_LIMIT_S):
                    await self._refresh()
                self._has_failed = False
            except (StoreError, TimeoutError):
                self._has_failed = True
