"""Which parts of the server are in trouble while it goes on, for its health and its metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from loom_grpc.core.ledger import SpoolState
from loom_grpc.telemetry import names
from loom_grpc.telemetry.metrics import Metrics

_LONGEST_WAIT_S: Final = 60.0
"""A record that waits for longer waits for somebody who is not there."""
_HALF: Final = 0.5
_WAIT: Final = "records of calls have waited in the spool for more than a minute"
_FULL: Final = "the spool is more than half full; when it is full, calls are refused"


class Troubles:
    """Keeps what is in trouble. Whoever is told of it learns no names, places or words of others: those are in the log."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._parts: dict[str, Callable[[], bool]] = {}
        self._spool: Callable[[], tuple[SpoolState, float, int]] | None = None

    def tell(self, part: str, *, is_there: bool) -> None:
        """Takes that a part of `names.PARTS` is in trouble, or no longer."""
        self._parts[part] = lambda: is_there
        self._metrics.put(names.UNAVAILABLE, (part,), int(is_there))

    def watch(self, part: str, is_there: Callable[[], bool]) -> None:
        """Asks whether a part is in trouble whenever somebody wants to know."""
        self._parts[part] = is_there
        self._metrics.watch(names.UNAVAILABLE, (part,), lambda: int(is_there()))

    def watch_spool(self, state: Callable[[], SpoolState], age_s: Callable[[], float], most_bytes: int) -> None:
        """Asks the spool of this process how it is doing whenever somebody wants to know."""
        self._spool = lambda: (state(), max(age_s(), 0.0), most_bytes)
        self._metrics.watch(names.SPOOLED, (), lambda: state().records)
        self._metrics.watch(names.SPOOL_SIZE, (), lambda: state().bytes)
        self._metrics.watch(names.SPOOL_AGE, (), lambda: round(max(age_s(), 0.0), 1))

    def warnings(self) -> list[tuple[str, str]]:
        """Returns each part that is in trouble, with what that means."""
        told = [(part, names.PARTS[part]) for part, is_there in self._parts.items() if is_there()]
        return sorted(told + self._of_spool())

    def _of_spool(self) -> list[tuple[str, str]]:
        if self._spool is None:
            return []
        state, age_s, most_bytes = self._spool()
        found = ((age_s > _LONGEST_WAIT_S, _WAIT), (state.bytes > _HALF * most_bytes, _FULL))
        return [(names.SPOOL_PART, words) for is_so, words in found if is_so]
