"""A budget for repetitions: while everything fails, asking again must not multiply the load."""

from __future__ import annotations

from collections.abc import Callable

from loom_grpc.core.window import Window


class RetryBudget:
    """What may be asked again: in the last `window_s` seconds of `clock` at most `share` times the first attempts, and `floor` beside.

    The floor is for quiet times, when a share of a few calls would be none.
    """

    __slots__ = ("_floor", "_share", "_window")

    def __init__(self, share: float, clock: Callable[[], float], *, floor: int = 3, window_s: float = 10.0) -> None:
        self._share = share
        self._floor = floor
        self._window = Window(clock, window_s)  # of first attempts and of repetitions

    def earn(self) -> None:
        """Takes note of a first attempt."""
        self._window.add(1, 0)

    def spend(self) -> bool:
        """Tells whether there may be a repetition now, and counts it when there may."""
        first, repeated = self._window.sums()
        if repeated + 1 > self._share * first + self._floor:
            return False
        self._window.add(0, 1)
        return True
