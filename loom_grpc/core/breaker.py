"""A circuit breaker: it keeps calls away from a target that fails, and lets one through now and then to see whether it is well again."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Final

from loom_grpc.core.window import Window


class State(enum.StrEnum):
    """Whether calls pass the breaker."""

    CLOSED = "closed"
    """They do."""
    OPEN = "open"
    """None does before a certain time."""
    HALF_OPEN = "half_open"
    """One at a time does, to probe the target."""


class Event(enum.Enum):
    """What happens to a breaker."""

    SUCCEEDED = enum.auto()
    """A call succeeded."""
    FAILED = enum.auto()
    """A call failed by the target's fault, as happens now and then."""
    FAILED_TOO_OFTEN = enum.auto()
    """A call failed by the target's fault, and with it too many have."""
    TIME_PASSED = enum.auto()
    """The time for which the breaker is open is over."""


_C, _O, _H = State

TABLE: Final[dict[Event, dict[State, State]]] = {
    event: dict(zip(State, row, strict=True))
    for event, row in {
        # from                  _C  _O  _H
        Event.SUCCEEDED: (_C, _O, _C),
        Event.FAILED: (_C, _O, _O),
        Event.FAILED_TOO_OFTEN: (_O, _O, _O),
        Event.TIME_PASSED: (_C, _H, _H),
    }.items()
}
"""The state that follows, by the event and the state before."""

BESIDE: Final = -1
"""The ticket of a call that began beside the probe, because it had no other target: how it ends changes nothing."""


class Breaker:
    """The circuit breaker of one target. `clock` gives seconds; `on_change` is told of every change, after it, with the state before.

    It opens after `consecutive_failures` failures in a row, or when at least `min_calls` calls ended in the last `window_s` seconds and
    the share `failure_rate` of them (between 0 and 1) or more failed; `open_s` later it is half open. A call that may pass says
    `began`, and exactly once how it ended: `succeeded`, `failed` or `let_go`, with the ticket that `began` gave. A ticket tells how the
    breaker stood when the call began: what a call brings from before the last change says nothing of the target now.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        consecutive_failures: int = 5,
        failure_rate: float = 0.5,
        window_s: float = 30.0,
        min_calls: int = 10,
        open_s: float = 15.0,
        on_change: Callable[[State], object] = lambda _before: None,
    ) -> None:
        self.state = State.CLOSED
        self.on_change = on_change
        self._clock = clock
        self._consecutive_failures = consecutive_failures
        self._failure_rate = failure_rate
        self._min_calls = min_calls
        self._open_s = open_s
        self._window = Window(clock, window_s)  # of calls and of failures
        self._in_a_row = 0
        self._until = 0.0
        self._is_probing = False
        self._ticket = 0

    def allows(self) -> bool:
        """Tells whether a call may pass now; where the time is over, the breaker is half open from here on."""
        if self.state is State.CLOSED:
            return True
        self._look_at_the_clock()
        return self.state is State.HALF_OPEN and not self._is_probing

    def began(self) -> int:
        """Takes note of a call that begins, and returns its ticket; in half open the first one is the probe.

        It does not ask whether the call may pass: a caller's last target is asked whatever the breaker says.
        """
        if self.state is State.CLOSED:
            return self._ticket
        self._look_at_the_clock()
        if self.state is State.HALF_OPEN and self._is_probing:
            return BESIDE
        self._is_probing = self.state is State.HALF_OPEN
        return self._ticket

    def succeeded(self, ticket: int | None = None) -> None:
        """Takes note of a call that succeeded; without a ticket it is one that began after the last change."""
        if ticket is not None and ticket != self._ticket:
            return
        if self.state is State.CLOSED:
            self._in_a_row = 0
            self._window.add(1, 0)
        else:
            self._record(Event.SUCCEEDED)

    def failed(self, ticket: int | None = None) -> None:
        """Takes note of a call that failed by the target's fault; without a ticket it is one that began after the last change."""
        if ticket is not None and ticket != self._ticket:
            return
        if self.state is State.CLOSED:
            self._in_a_row += 1
            self._window.add(1, 1)
        self._record(Event.FAILED_TOO_OFTEN if self._has_enough() else Event.FAILED)

    def let_go(self, ticket: int | None = None) -> None:
        """Takes note of a call that was cancelled, or failed by its caller's fault: it says nothing, and another may be the probe."""
        if ticket is None or ticket == self._ticket:
            self._is_probing = False

    def _look_at_the_clock(self) -> None:
        if self.state is State.OPEN and self._clock() >= self._until:
            self._record(Event.TIME_PASSED)

    def _has_enough(self) -> bool:
        if self._in_a_row >= self._consecutive_failures:
            return True
        calls, failures = self._window.sums()
        return calls >= self._min_calls and failures >= self._failure_rate * calls

    def _record(self, event: Event) -> None:
        """Takes an event: the table says what follows."""
        before, after = self.state, TABLE[event][self.state]
        if after is before:
            return
        self.state = after
        self._ticket += 1
        self._is_probing = False
        self._in_a_row = 0
        self._window.clear()
        if after is State.OPEN:
            self._until = self._clock() + self._open_s
        self.on_change(before)
