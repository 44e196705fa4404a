"""Answers in the memory of one process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

_ENTRY_BYTES: Final = 400
"""What an entry takes beside its value, roughly: the key, the place in the table, three objects."""


class MemoryStore:
    """Keeps up to `max_bytes`; what was not asked for the longest goes first. `clock` gives seconds."""

    def __init__(self, max_bytes: int, clock: Callable[[], float]) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()
        self._size = 0

    @property
    def size(self) -> int:
        """How many bytes it takes."""
        return self._size

    async def get(self, key: bytes) -> bytes | None:
        """Returns what was put under a key and is not out of date."""
        expires, value = self._entries.get(key, (0.0, None))
        if value is None:
            return None
        if self._clock() >= expires:
            self._remove(key)
            return None
        self._entries.move_to_end(key)
        return value

    async def put(self, key: bytes, value: bytes, ttl_s: float) -> None:
        """Keeps a value for so many seconds, or until there is no room."""
        self._remove(key)
        if len(value) + _ENTRY_BYTES > self._max_bytes:
            return  # all others would have to go for it, and then it would too
        self._entries[key] = (self._clock() + ttl_s, value)
        self._size += len(value) + _ENTRY_BYTES
        while self._size > self._max_bytes:
            self._remove(next(iter(self._entries)))

    async def close(self) -> None:
        """Forgets everything."""
        self._entries.clear()
        self._size = 0

    def _remove(self, key: bytes) -> None:
        _, value = self._entries.pop(key, (0.0, None))
        if value is not None:
            self._size -= len(value) + _ENTRY_BYTES
