"""Counters for the time when those that hosts share cannot be reached."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal

from loom_grpc.core.quota import SHARED_MOST, Claim, Exceeded, Grant, Kind, Meter, MeterError, Spent, Standing


class _Part:
    """A grant, and the meter that it is of."""

    __slots__ = ("grant", "is_settled", "meter")

    def __init__(self, meter: Meter, grant: Grant) -> None:
        self.meter = meter
        self.grant = grant
        self.is_settled = False

    @property
    def standings(self) -> Sequence[Standing]:
        """How the counters stood afterwards."""
        return self.grant.standings


class FallbackMeter:
    """Counts by `first`, and by `local` while that cannot be reached.

    Budgets are refused then, or counted locally when `without_redis` is `local`: each host may spend what it knows to be left, and `first`
    is told what was spent when it is back.
    """

    def __init__(self, first: Meter, local: Meter, without_redis: Literal["refuse", "local"]) -> None:
        self._first = first
        self._local = local
        self._counts_money = without_redis == "local"
        self._owed: dict[bytes, tuple[Claim, int]] = {}
        """What was spent of budgets without `first`."""

    async def take(self, claims: Sequence[Claim], now: float) -> Grant:
        """Takes all claims or none; raises `Exceeded`, and `MeterError` for a budget that is not counted locally."""
        try:
            if self._owed:
                await self._hand_over(now)
            return _Part(self._first, await self._first.take(claims, now))
        except MeterError:
            if not self._counts_money and any(claim.kind is Kind.MONEY for claim in claims):
                raise
        return _Part(self._local, await self._local.take(claims, now))

    async def settle(self, grant: Grant, amounts: Sequence[int], now: float) -> None:
        """Ends a grant, once, where it was taken; never raises."""
        if not isinstance(grant, _Part) or grant.is_settled:
            return
        grant.is_settled = True
        if grant.meter is self._local:
            for (claim, _, _), amount in zip(grant.standings, amounts, strict=True):
                if claim.kind is Kind.MONEY and amount > 0:
                    self._owe(claim, amount)
        await grant.meter.settle(grant.grant, amounts, now)

    async def spent(self, slots: Sequence[bytes]) -> list[tuple[int, int]]:
        """Returns what was spent and what is reserved of budgets, as those know who count them at present; raises `MeterError`."""
        try:
            return await self._first.spent(slots)
        except MeterError:
            if not self._counts_money:
                raise
            return await self._local.spent(slots)

    async def raise_spent(self, spent: Sequence[Spent]) -> None:
        """Has no budget come to less than it is told, of both; raises `MeterError` after the local one knows."""
        await self._local.raise_spent(spent)
        await self._first.raise_spent(spent)

    async def close(self) -> None:
        """Closes both."""
        try:
            await self._first.close()
        finally:
            await self._local.close()

    def _owe(self, claim: Claim, amount: int) -> None:
        _, before = self._owed.get(claim.slot, (claim, 0))
        self._owed[claim.slot] = claim._replace(amount=0, most=SHARED_MOST), before + amount

    async def _hand_over(self, now: float) -> None:
        """Tells the first what was spent without it, in one grant."""
        owed, self._owed = list(self._owed.values()), {}
        try:
            grant = await self._first.take([claim for claim, _ in owed], now)
        except (MeterError, Exceeded, asyncio.CancelledError) as error:
            for claim, amount in owed:
                self._owe(claim, amount)
            if isinstance(error, Exceeded):
                return  # of a budget that is beyond all measure already
            raise
        await self._first.settle(grant, [amount for _, amount in owed], now)
