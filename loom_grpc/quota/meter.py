"""Counters of one host's processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from loom_grpc.core.quota import Claim, Exceeded, Grant, Kind, MeterError, Spent, Standing
from loom_grpc.quota.gauges import Gauges
from loom_grpc.quota.table import Shape, Table
from loom_grpc.quota.windows import BUCKETS, Windows

_Place = tuple[int, int]
"""Where a claim was counted: its row, and the bucket's number or which process of this owner's number it was.

No NamedTuple, because a call makes a dozen of them.
"""


class TableGrant:
    """Claims that were taken from a `TableMeter`."""

    __slots__ = ("is_settled", "places", "standings")

    def __init__(self) -> None:
        self.standings: list[Standing] = []
        self.places: list[_Place] = []
        self.is_settled = False


class TableMeter:
    """Counts in a file that `owners` processes share, or in the memory of one process when `path` is None.

    `owner` is this process's number, from 0, which no other has at the same time: what a killed process of the same number held is given
    back. All give the same `owners`, `windows` and `gauges`: how many scopes are counted at once by the minute, and how many have streams
    or a budget. Each opens the file itself, after it was forked. `on_end` is called when it is closed. Raises `MeterError` when the file
    cannot be used.
    """

    def __init__(
        self,
        path: Path | None,
        owner: int,
        *,
        owners: int = 64,
        windows: int = 65_536,
        gauges: int = 131_072,
        on_end: Callable[[], object] = lambda: None,
    ) -> None:
        if not 0 <= owner < owners:
            raise ValueError(f"process {owner} is none of {owners}")
        shapes = (Shape(windows, 1 + BUCKETS), Shape(gauges, 2 + owners))
        self._table = Table(path, shapes, spare=owners, alone=owners == 1)
        self._windows = Windows(self._table.rows[0])
        self._gauges = Gauges(self._table.rows[1], owner, self._table.spare + owner)
        # By the numbers of the kinds, from 1: looking an enum's member up in a dict takes longer than counting.
        self._counters = (self._windows, self._windows, self._windows, self._gauges, self._gauges)
        self._late: list[tuple[TableGrant, Sequence[int]]] = []
        self._is_closed = False
        self._on_end = on_end
        try:
            with self._table.opening():
                self._gauges.succeed()
        except MeterError:
            self._table.close()
            raise

    async def take(self, claims: Sequence[Claim], now: float) -> Grant:
        """Takes all claims or none; `now` is seconds since 1970.

        Raises `Exceeded` for the claim that has to wait the longest, and `MeterError`. A claim that is larger than the whole limit is told
        to wait for 60 seconds although it never fits. Budgets without an end are reset never (`math.inf`); streams are said to be
        after a second, as nobody knows when one ends.
        """
        grant = TableGrant()
        with self._table:
            self._catch_up()
            try:
                refused = self._take(grant, claims, now)
            except MeterError:
                self._undo(grant)
                raise
            if refused:
                self._undo(grant)
                raise Exceeded(max(refused, key=lambda standing: standing.reset_s))
        return grant

    async def settle(self, grant: Grant, amounts: Sequence[int], now: float) -> None:
        """Ends a grant, once: each claim comes to its amount, and what was taken beyond is given back.

        Never raises: what cannot be settled because the lock is not to be had is settled with whatever comes next.
        """
        if not isinstance(grant, TableGrant) or grant.is_settled or self._is_closed:
            return
        grant.is_settled = True
        self._late.append((grant, amounts))
        try:
            with self._table:
                self._catch_up()
        except MeterError:
            return  # the next one settles it

    async def spent(self, slots: Sequence[bytes]) -> list[tuple[int, int]]:
        """Returns what was spent and what is reserved of budgets; raises `MeterError`."""
        with self._table:
            self._catch_up()
            return [self._gauges.read(slot) for slot in slots]

    async def raise_spent(self, spent: Sequence[Spent]) -> None:
        """Has no budget come to less than it is told; raises `MeterError`."""
        with self._table:
            self._catch_up()
            for one in spent:
                self._gauges.raise_spent(one)

    def take_over(self, former: TableMeter, now: float) -> None:
        """Has budgets know what was spent of them by the counters of another run, in periods that last; raises `MeterError`."""
        with self._table:
            for spent in former._gauges.all_spent(now):
                self._gauges.raise_spent(spent)

    async def close(self) -> None:
        """Gives back what this process holds and lets go of the file; what is settled afterwards counts no more."""
        self.end()

    def end(self) -> None:
        """Does at once what `close` does."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            with self._table:
                self._catch_up()
                self._gauges.leave()
        finally:
            self._table.close()
            self._on_end()

    def _take(self, grant: TableGrant, claims: Sequence[Claim], now: float) -> list[Standing]:
        """Takes until one is refused, and returns all that are."""
        refused: list[Standing] = []
        for claim in claims:
            counter = self._counters[claim.kind]
            row, left, mark = counter.take(claim, now)
            if claim.amount > left:
                refused.append(Standing(claim, max(0, left), counter.wait_s(claim, row, left, mark, now)))
            elif not refused:
                grant.places.append((row, mark))
                grant.standings.append(Standing(claim, left - claim.amount, counter.reset_s(claim, mark, now)))
            else:
                counter.undo(claim, row, mark)
        return refused

    def _undo(self, grant: TableGrant) -> None:
        for standing, place in zip(grant.standings, grant.places, strict=True):
            self._counters[standing.claim.kind].undo(standing.claim, *place)

    def _catch_up(self) -> None:
        """Settles what is to be settled; the lock is held."""
        while self._late:
            grant, amounts = self._late.pop()
            for standing, (row, mark), amount in zip(grant.standings, grant.places, amounts, strict=True):
                claim = standing.claim
                if claim.kind is not Kind.REQUESTS:
                    self._counters[claim.kind].settle(claim, row, mark, max(0, amount))
