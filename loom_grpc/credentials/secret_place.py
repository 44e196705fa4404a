"""Looks at a place where secrets are, off the event loop and for all who ask at one time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from loom_grpc.credentials.secret_text import SecretError

T = TypeVar("T")

_PAUSE_S: Final = 0.2
"""The least time between two looks, however many calls were refused and ask for one."""


class Place(Generic[T]):
    """A file, or a path in Vault: `read` is called in a thread, and `take` with what came of it in the event loop's.

    Places that share a `lock` are read one at a time.
    """

    def __init__(self, read: Callable[[], T], take: Callable[[T | SecretError], None], lock: asyncio.Lock) -> None:
        self._read = read
        self._take = take
        self._lock = lock
        self._next: asyncio.Task[None] | None = None
        self._looks: set[asyncio.Task[None]] = set()
        self._not_before = 0.0

    async def look(self) -> None:
        """Looks now; those who ask before the look has begun share it. Cancelling one of them does not stop it."""
        if self._next is None:
            self._next = asyncio.create_task(self._look())
            self._looks.add(self._next)
            self._next.add_done_callback(self._looks.discard)
        await asyncio.shield(self._next)

    async def finish(self) -> None:
        """Waits for the looks that have begun."""
        await asyncio.gather(*self._looks)

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        async with self._lock:
            await asyncio.sleep(self._not_before - loop.time())
            # Who asks from here on may know of something newer than what is about to be read.
            self._next = None
            outcome = await asyncio.to_thread(self._outcome)
            self._not_before = loop.time() + _PAUSE_S
            try:
                self._take(outcome)
            except Exception as error:  # noqa: BLE001 - whoever watches may fail, the looking goes on
                loop.call_exception_handler({"message": "A secret's change could not be taken in.", "exception": error})

    def _outcome(self) -> T | SecretError:
        try:
            return self._read()
        except SecretError as error:
            return error
        except Exception as error:  # noqa: BLE001 - a look in the background must not end the looking
            return SecretError(f"reading it failed ({type(error).__name__})")
