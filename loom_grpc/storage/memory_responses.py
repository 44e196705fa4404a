"""Responses in the memory of one process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from loom_grpc.core.kept import KeptResponse

_ENTRY_BYTES: Final = 600
"""What an entry takes beside its texts, roughly."""


class _Entry(NamedTuple):
    kept: KeptResponse
    expires: float
    size: int


class MemoryResponses:
    """Keeps up to `max_bytes`, each response for `ttl_s`; the oldest go first. `clock` gives seconds."""

    def __init__(self, max_bytes: int, ttl_s: float, clock: Callable[[], float]) -> None:
        self._max_bytes = max_bytes
        self._ttl_s = ttl_s
        self._clock = clock
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()
        self._size = 0

    async def put(self, kept: KeptResponse) -> None:
        """Keeps a response until its time is over or there is no room."""
        self._remove((kept.tenant, kept.id))
        size = sum(map(len, kept)) + _ENTRY_BYTES
        now = self._clock()
        self._entries[kept.tenant, kept.id] = _Entry(kept, now + self._ttl_s, size)
        self._size += size
        while self._entries:
            oldest = next(iter(self._entries))
            if self._size <= self._max_bytes and self._entries[oldest].expires > now:
                break
            self._remove(oldest)

    async def chain(self, tenant: str, id: str) -> list[KeptResponse]:
        """Returns a response and all that it goes on from, the first of the conversation first."""
        found: OrderedDict[str, KeptResponse] = OrderedDict()
        while id and id not in found and (kept := self._get(tenant, id)) is not None:
            found[id] = kept
            id = kept.previous
        return list(reversed(found.values()))

    async def delete(self, tenant: str, id: str) -> bool:
        """Forgets a response; tells whether there was one."""
        return self._get(tenant, id) is not None and self._remove((tenant, id))

    async def close(self) -> None:
        """Forgets everything."""
        self._entries.clear()
        self._size = 0

    def _get(self, tenant: str, id: str) -> KeptResponse | None:
        entry = self._entries.get((tenant, id))
        return entry.kept if entry is not None and entry.expires > self._clock() else None

    def _remove(self, key: tuple[str, str]) -> bool:
        entry = self._entries.pop(key, None)
        if entry is None:
            return False
        self._size -= entry.size
        return True
