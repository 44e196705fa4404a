"""Addresses that show wrong credentials again and again."""

from __future__ import annotations

import hashlib
import math
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from pathlib import Path
from typing import Final

from loom_grpc.quota.table import MOST, Rank, Shape, Table

_STAMPS: Final = 16
"""How many failures are remembered one by one; where more of them block, a stamp is a group of failures."""
_UNTIL, _BLOCKS, _LAST, _GROUP, _FIRST = range(5)
"""The words of a row: when the block ends, how many there were, the last failure, failures of the group that fills, and the stamps."""


class Throttle:
    """Blocks an address after `failures` within `window_s`, for `block_s` the first time, then for twice as long each time, up to
    `max_block_s`, until it has been quiet for the longer of `window_s` and `max_block_s`.

    Counts in a file for all processes of a host, or in memory when `path` is None. The networks of IPv6 (/64) count as one address each,
    and what is no address counts as one by its text. Of more than 16 failures it takes up to a sixteenth fewer to block. A success changes
    nothing: others may be behind the same address, and who has one key could go on guessing others. Where `rows` do not suffice, the
    addresses are forgotten that failed longest ago, and blocked ones last of all. Each process opens the file itself, after it was forked.
    Raises `MeterError` when the file cannot be used.
    """

    def __init__(
        self,
        path: Path | None,
        failures: int,
        window_s: float,
        block_s: float,
        max_block_s: float,
        *,
        rows: int = 16_384,
    ) -> None:
        self._group = -(-failures // _STAMPS)
        self._enough = failures // self._group
        self._window_ms = math.ceil(window_s * 1000)
        self._block_ms = math.ceil(block_s * 1000)
        self._max_block_ms = max(math.ceil(max_block_s * 1000), self._block_ms)
        self._quiet_ms = max(self._window_ms, self._max_block_ms)
        self._table = Table(path, [Shape(rows, _FIRST + _STAMPS)], spare=1)
        self._rows = self._table.rows[0]
        self._words = self._table.words
        self._last = self._table.spare
        """The word that says when the last of all blocks ends, so that who is not under attack pays nothing."""

    def blocked_s(self, address: str, now: float) -> float:
        """Returns for how many more seconds an address is blocked, 0 when it is not; `now` is seconds since 1970."""
        # Without the lock: one word is never half written, and a row that has changed hands in between is noticed.
        if self._words[self._last] <= now * 1000:
            return 0.0
        key = _key(address)
        row = self._rows.find(key)
        if row < 0:
            return 0.0
        left_ms = self._words[row + _UNTIL] - now * 1000
        # More is left than any block lasts when the clock was set back.
        return left_ms / 1000 if 0 < left_ms <= self._max_block_ms and self._rows.holds(row, key) else 0.0

    def failed(self, address: str, now: float) -> None:
        """Counts a failure of an address; raises `MeterError` when the lock is not to be had. Those of a blocked address do not count."""
        key, now_ms = _key(address), math.floor(now * 1000)
        with self._table:
            row = self._rows.find(key)
            if row < 0:
                row = self._rows.make(key, self._rank(now_ms))
            if not self._is_blocked(row, now_ms):
                self._count(row, now_ms)

    def close(self) -> None:
        """Lets go of the file, which stays."""
        self._table.close()

    def _count(self, row: int, now_ms: int) -> None:
        words, first = self._words, row + _FIRST
        stamps: list[int] = words[first : first + _STAMPS].tolist()
        if now_ms - self._busy(row) >= self._quiet_ms:
            words[row + _BLOCKS] = words[row + _GROUP] = 0
        words[row + _LAST] = now_ms
        recent = [stamp for stamp in stamps if stamp and abs(now_ms - stamp) < self._window_ms]
        words[row + _GROUP] += 1
        if words[row + _GROUP] >= self._group:
            words[row + _GROUP] = 0
            recent.append(now_ms)
        if len(recent) >= self._enough:
            self._block(row, now_ms)
            recent = []
        for index in range(_STAMPS):
            words[first + index] = recent[index] if index < len(recent) else 0

    def _block(self, row: int, now_ms: int) -> None:
        words = self._words
        doublings = min(words[row + _BLOCKS], 32)
        until = min(now_ms + min(self._block_ms << doublings, self._max_block_ms), MOST)
        words[row + _BLOCKS] = doublings + 1
        words[row + _UNTIL] = until
        words[self._last] = max(words[self._last], until)

    def _is_blocked(self, row: int, now_ms: int) -> bool:
        return 0 < self._words[row + _UNTIL] - now_ms <= self._max_block_ms

    def _busy(self, row: int) -> int:
        """Returns until when there was something to remember."""
        return max(self._words[row + _UNTIL], self._words[row + _LAST])

    def _rank(self, now_ms: int) -> Rank:
        def rank(row: int) -> tuple[bool, int]:
            return self._is_blocked(row, now_ms), self._busy(row)

        return rank


@lru_cache(4096)
def _key(address: str) -> bytes:
    return hashlib.blake2b(_network(address).encode(errors="surrogatepass"), digest_size=16).digest()


def _network(address: str) -> str:
    """Returns the first 64 bits of an IPv6 address, unless it is an IPv4 address in disguise, and other texts as they are."""
    try:
        wide = IPv6Address(address)
    except AddressValueError:
        return address
    return str(wide.ipv4_mapped or wide.packed[:8].hex())
