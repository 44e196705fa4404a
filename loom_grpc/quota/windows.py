"""Counters of what happened in the last 60 seconds."""

from __future__ import annotations

from typing import Final

from loom_grpc.core.quota import WINDOW_S, Claim
from loom_grpc.quota.table import MOST, Rank, Rows, within

_BUCKET_S: Final = 5
"""What happens within a bucket is forgotten together."""
BUCKETS: Final = WINDOW_S // _BUCKET_S + 1
"""One more than a window has, because it begins in the middle of one."""


class Windows:
    """What happened in the last 60 seconds, in buckets of a few seconds. A row is the number of its newest bucket, and the buckets."""

    __slots__ = ("_rows", "_words")

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._words = rows.words

    def take(self, claim: Claim, now: float) -> tuple[int, int, int]:
        """Takes a claim if there is room for it; returns its row, what was left before, and the bucket."""
        words, bucket = self._words, int(now // _BUCKET_S)
        row = self._rows.find(claim.slot)
        if row < 0:
            row = self._rows.make(claim.slot, self._rank(bucket))
        if words[row] != bucket:
            bucket = self._roll(row, bucket)
        left = claim.most - sum(words[row + 1 : row + 1 + BUCKETS].tolist())
        if claim.amount <= left:
            words[row + 1 + bucket % BUCKETS] += claim.amount
        return row, left, bucket

    def undo(self, claim: Claim, row: int, bucket: int) -> None:
        """Takes back a claim that was taken just now."""
        self._change(row, bucket, -claim.amount)

    def settle(self, claim: Claim, row: int, bucket: int, amount: int) -> None:
        """Has a claim come to its amount, unless its bucket is over."""
        if self._rows.holds(row, claim.slot) and 0 <= self._words[row] - bucket < BUCKETS:
            self._change(row, bucket, amount - claim.amount)

    def reset_s(self, claim: Claim, bucket: int, now: float) -> float:
        """Returns in how many seconds the whole limit may be taken again."""
        return (bucket + BUCKETS) * _BUCKET_S - now

    def wait_s(self, claim: Claim, row: int, left: int, newest: int, now: float) -> float:
        """Returns in how many seconds a claim that was refused has room; 60 for one that never has."""
        missing = claim.amount - left
        for bucket in range(newest - BUCKETS + 1, newest + 1):
            missing -= self._words[row + 1 + bucket % BUCKETS]
            if missing <= 0:
                return (bucket + BUCKETS) * _BUCKET_S - now
        return float(WINDOW_S)

    def _change(self, row: int, bucket: int, amount: int) -> None:
        at = row + 1 + bucket % BUCKETS
        number = self._words[at] + amount
        self._words[at] = number if 0 <= number <= MOST else within(number)

    def _roll(self, row: int, bucket: int) -> int:
        """Empties the buckets that are over, then says which is the newest; returns which one that is."""
        newest = self._words[row]
        if newest - BUCKETS < bucket <= newest:
            return newest  # the clocks of two calls crossed
        if bucket < newest:
            self._gather(row, bucket)
        else:
            for over in range(max(newest + 1, bucket - BUCKETS + 1), bucket + 1):
                self._words[row + 1 + over % BUCKETS] = 0
        self._words[row] = bucket
        return bucket

    def _gather(self, row: int, bucket: int) -> None:
        """Has everything counted in one bucket, because the clock was set back and nobody knows what is over."""
        first, kept = row + 1, row + 1 + bucket % BUCKETS
        self._words[kept] = within(sum(self._words[first : first + BUCKETS].tolist()))
        for at in range(first, first + BUCKETS):
            if at != kept:
                self._words[at] = 0

    def _rank(self, bucket: int) -> Rank:
        def rank(row: int) -> tuple[bool, int] | None:
            newest = self._words[row]
            return None if abs(bucket - newest) < BUCKETS else (False, newest)

        return rank
