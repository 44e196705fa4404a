"""What was counted lately: two numbers over a window of time that moves on part by part."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

PARTS: Final = 10
"""The window moves on by this part of itself."""


class Window:
    """Two counts over the last `window_s` seconds of `clock`, the present part included; its memory does not grow with the counts."""

    __slots__ = ("_clock", "_part_s", "_parts")

    def __init__(self, clock: Callable[[], float], window_s: float) -> None:
        self._clock = clock
        self._part_s = window_s / PARTS
        self._parts: deque[list[int]] = deque(maxlen=PARTS)  # each the part's number and its two counts

    def add(self, first: int, second: int) -> None:
        """Adds to both counts."""
        number = int(self._clock() / self._part_s)
        parts = self._parts
        # A clock that was set back adds to the latest part.
        if not parts or number > parts[-1][0]:
            parts.append([number, 0, 0])
        part = parts[-1]
        part[1] += first
        part[2] += second

    def sums(self) -> tuple[int, int]:
        """Returns both counts of the window."""
        oldest = int(self._clock() / self._part_s) - PARTS
        parts = [part for part in self._parts if part[0] > oldest]
        return sum(part[1] for part in parts), sum(part[2] for part in parts)

    def clear(self) -> None:
        """Forgets what was counted."""
        self._parts.clear()
