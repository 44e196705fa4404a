"""Counters of what is under way and of what was spent."""

from __future__ import annotations

import math
from collections.abc import Iterator

from loom_grpc.core.quota import STREAM_RESET_S, WINDOW_S, Claim, Kind, Spent
from loom_grpc.quota.table import MOST, Rank, Rows, within


class Gauges:
    """What is under way, and what was spent. A row is when the period ends (0 is never), what was spent, and what each process holds.

    Nothing but these is kept, so that no total can differ from what it is the sum of, whenever a process is killed.
    """

    __slots__ = ("_generation", "_mine", "_number", "_rows", "_width", "_words")

    def __init__(self, rows: Rows, owner: int, generation: int) -> None:
        self._rows = rows
        self._words = rows.words
        self._mine = 2 + owner
        self._width = rows.shape.width
        self._generation = generation
        self._number = 0

    def succeed(self) -> None:
        """Gives back what the former process of this number held."""
        former = self._words[self._generation]
        self._number = former + 1
        self._words[self._generation] = self._number  # first, or it could give back itself what was given back already
        if former:
            self._clear()

    def leave(self) -> None:
        """Gives back what this process still holds, unless its successor has done so."""
        if self._words[self._generation] == self._number:
            self._clear()

    def take(self, claim: Claim, now: float) -> tuple[int, int, int]:
        """Takes a claim if there is room for it; returns its row, what was left before, and who holds it."""
        words, row = self._words, self._row(claim.slot, now)
        ends = math.ceil(claim.ends_s)
        if words[row] != ends:
            words[row] = ends
        left = claim.most - sum(words[row + 1 : row + self._width].tolist())
        if claim.amount <= left:
            words[row + self._mine] += claim.amount
        return row, left, words[self._generation]

    def undo(self, claim: Claim, row: int, _generation: int) -> None:
        """Takes back a claim that was taken just now."""
        self._change(row + self._mine, -claim.amount)

    def settle(self, claim: Claim, row: int, generation: int, amount: int) -> None:
        """Gives back what a claim holds, and counts what was spent of money."""
        # Else a successor has given it back, and the row may be gone.
        is_held = self._words[self._generation] == generation
        # Spent before it is given back: who is killed in between has counted too much rather than too little.
        if claim.kind is Kind.MONEY and amount:
            spender = row if is_held else self._rows.find(claim.slot)
            if spender >= 0:
                self._change(spender + 1, amount)
        if is_held:
            self._change(row + self._mine, -claim.amount)

    def reset_s(self, claim: Claim, _generation: int, now: float) -> float:
        """Returns in how many seconds to ask again for a stream, or a period ends; `math.inf` is never."""
        if claim.kind is Kind.STREAMS:
            return STREAM_RESET_S
        return max(0.0, claim.ends_s - now) if claim.ends_s else math.inf

    def wait_s(self, claim: Claim, _row: int, _left: int, generation: int, now: float) -> float:
        """Returns the same for a claim that was refused; 60 for more streams than there may ever be."""
        if claim.kind is Kind.STREAMS and claim.amount > claim.most:
            return float(WINDOW_S)
        return self.reset_s(claim, generation, now)

    def read(self, slot: bytes) -> tuple[int, int]:
        """Returns what was spent and what all processes hold."""
        row = self._rows.find(slot)
        if row < 0:
            return 0, 0
        return self._words[row + 1], sum(self._words[row + 2 : row + self._width].tolist())

    def raise_spent(self, spent: Spent) -> None:
        """Has a budget come to no less than it is told."""
        if spent.nanos <= 0:
            return
        row = self._row(spent.slot, 0.0)
        self._words[row] = math.ceil(spent.ends_s)
        self._words[row + 1] = within(max(self._words[row + 1], spent.nanos))

    def all_spent(self, now: float) -> Iterator[Spent]:
        """Yields what was spent in periods that last."""
        ends, amounts = self._rows.column(0).tolist(), self._rows.column(1).tolist()
        for number, nanos in enumerate(amounts):
            if nanos and not 0 < ends[number] <= now:
                yield Spent(self._rows.key(number), nanos, float(ends[number]))

    def _row(self, slot: bytes, now: float) -> int:
        row = self._rows.find(slot)
        return row if row >= 0 else self._rows.make(slot, self._rank(now))

    def _change(self, at: int, amount: int) -> None:
        number = self._words[at] + amount
        self._words[at] = number if 0 <= number <= MOST else within(number)

    def _clear(self) -> None:
        column = self._rows.column(self._mine)
        for index, amount in enumerate(column.tolist()):
            if amount:
                column[index] = 0

    def _rank(self, now: float) -> Rank:
        def rank(row: int) -> tuple[bool, int] | None:
            ends, spent, *held = self._words[row : row + self._width].tolist()
            if any(held) or (spent and not 0 < ends <= now):
                return None
            return False, ends

        return rank
