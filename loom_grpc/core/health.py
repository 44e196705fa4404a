"""How an account fares: its condition, the table of what changes it, and its counts."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from loom_grpc.core.errors import (
    PROVIDER_AUTH_FAILED,
    PROVIDER_QUOTA_EXCEEDED,
    PROVIDER_RATE_LIMITED,
    LlmError,
)
from loom_grpc.v1.usage_pb2 import Usage


class Condition(enum.StrEnum):
    """What may be done with an account. The word is Loom's; the last two are both `disabled` there."""

    AVAILABLE = "available"
    COOLING = "cooling_down"
    """Not to be asked before a certain time."""
    REFUSED = "refused"
    """The provider does not take what the account shows."""
    OFF = "off"
    """The operator has switched it off."""


class Event(enum.Enum):
    """What happens to an account."""

    ANSWERED = enum.auto()
    """A call ended well, or failed by its caller's fault."""
    FAILED = enum.auto()
    """A call failed in a way that says nothing of the account: overload, a broken connection, a burst limit without a time."""
    THROTTLED = enum.auto()
    """A burst of calls was too much, and the provider says for how long."""
    EXHAUSTED = enum.auto()
    """A quota or a balance is used up."""
    REFUSED = enum.auto()
    """The provider, or the server that gives tokens, does not take what the account shows."""
    TIME_PASSED = enum.auto()
    """The pause is over."""
    RENEWED = enum.auto()
    """The account has something new to show: another key, or another login."""
    SWITCHED_OFF = enum.auto()
    SWITCHED_ON = enum.auto()


_A, _C, _R, _O = Condition

TABLE: Final[dict[Event, dict[Condition, Condition]]] = {
    event: dict(zip(Condition, row, strict=True))
    for event, row in {
        # from              _A  _C  _R  _O
        Event.ANSWERED: (_A, _C, _R, _O),
        Event.FAILED: (_A, _C, _R, _O),
        Event.THROTTLED: (_C, _C, _R, _O),
        Event.EXHAUSTED: (_C, _C, _R, _O),
        Event.REFUSED: (_R, _R, _R, _O),
        Event.TIME_PASSED: (_A, _A, _R, _O),
        Event.RENEWED: (_A, _C, _A, _O),
        Event.SWITCHED_OFF: (_O, _O, _O, _O),
        Event.SWITCHED_ON: (_A, _A, _A, _A),
    }.items()
}
"""The condition that follows, by the event and the condition before."""


def event_of(error: LlmError) -> Event:
    """Says what a failed call means for the account that it was made with.

    An account is refused by a status or a code, never by a word in a message.
    """
    if error.reason == PROVIDER_QUOTA_EXCEEDED:
        return Event.EXHAUSTED
    if error.reason == PROVIDER_RATE_LIMITED and error.retry_after is not None:
        return Event.THROTTLED
    if error.reason == PROVIDER_AUTH_FAILED and not error.by_words:
        return Event.REFUSED
    return Event.FAILED if error.row.next else Event.ANSWERED


@dataclass(frozen=True, slots=True)
class Standing:
    """An account's condition as it is kept across restarts and told to other processes. Times are seconds since 1970."""

    condition: Condition
    since: float
    """When the condition began, was last switched to, or its pause made longer: of two standings the later one holds."""
    until: float = 0.0
    """When a pause ends; 0 when it is none."""
    last_error: str = ""
    last_error_at: float = 0.0
    """When the last error came or was forgotten: of two the later one holds."""
    switched_at: float = 0.0
    """When the operator last switched the account on or off."""
    is_burst: bool = False
    """Whether a pause is for a burst of calls."""

    @property
    def order(self) -> tuple[float, float, float]:
        """Says which of two standings holds: the greater one.

        What a process noticed before it heard of the operator's word does not overrule that, and the longer of two pauses holds.
        """
        return self.switched_at, self.since, self.until


class Counts(NamedTuple):
    """How much an account was used."""

    requests: int = 0
    errors: int = 0
    """Calls that the provider or the way to it failed; what callers did wrong is not counted."""
    input_tokens: int = 0
    output_tokens: int = 0

    def plus(self, other: Counts) -> Counts:
        """Adds number by number."""
        return Counts(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    def minus(self, other: Counts) -> Counts:
        """Subtracts number by number."""
        return Counts(*(mine - theirs for mine, theirs in zip(self, other, strict=True)))


class Record(NamedTuple):
    """What is kept of how an account fares."""

    standing: Standing
    counts: Counts


_PARTS: Final = 12
"""The window moves on by this part of itself."""


class Health:
    """How one account fares in this process. `clock` gives seconds since 1970.

    `cooldown_s` is the pause after a used-up quota when the provider names no time; `window_s` is what `recent_tokens` looks back.
    `on_change` is told of every change of the condition, after it.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        cooldown_s: float = 7200.0,
        window_s: float = 3600.0,
        on_change: Callable[[Condition], object] = lambda _before: None,
    ) -> None:
        self.condition = Condition.AVAILABLE
        self.since = 0.0
        self.until = 0.0
        self.switched_at = 0.0
        self.is_burst = False
        """Whether the account pauses for a burst of calls, and not for a quota."""
        self.last_error = ""
        self.last_error_at = 0.0
        self.in_flight = 0
        self.requests = self.errors = self.input_tokens = self.output_tokens = 0
        self._clock = clock
        self._cooldown_s = cooldown_s
        self._part_s = window_s / _PARTS
        self._recent: dict[int, int] = {}
        self.on_change = on_change

    def retune(self, *, cooldown_s: float, window_s: float) -> None:
        """Takes other lengths for the pause and the window; a pause that has begun stays as it is."""
        self._cooldown_s = cooldown_s
        if self._part_s != window_s / _PARTS:
            self._part_s = window_s / _PARTS
            self._recent.clear()

    def usable(self) -> bool:
        """Tells whether the account may be asked now; a pause that is over ends here."""
        if self.condition is Condition.COOLING and self._clock() >= self.until:
            self.record(Event.TIME_PASSED)
        return self.condition is Condition.AVAILABLE

    def begin(self) -> None:
        """Counts a call that begins."""
        self.requests += 1
        self.in_flight += 1

    def end(self, error: LlmError | None = None, usage: Usage | None = None, *, lenient: bool = False) -> None:
        """Counts a call that ends. `lenient` leaves the condition as it is, for an account that nothing can stand in for."""
        self.in_flight -= 1
        if usage is not None:
            self._use(usage.input_tokens, usage.output_tokens)
        if error is None:
            return
        event = event_of(error)
        if event is Event.ANSWERED:
            return
        self.errors += 1
        self.record(Event.FAILED if lenient else event, error)

    def record(self, event: Event, error: LlmError | None = None) -> None:
        """Takes an event: the table says what follows."""
        before, now = self.condition, self._clock()
        after = TABLE[event][before]
        # A pause ends at one moment in all processes, whenever they notice: so none of them overrules what came after that.
        moment = self.until if event is Event.TIME_PASSED and before is Condition.COOLING else now
        if error is not None:
            self.last_error, self.last_error_at = _words(error), now
        if after is Condition.COOLING and event in _PAUSES:
            self._pause(event, now, error.retry_after if error is not None else None)
        elif after is not Condition.COOLING:
            self.until = 0.0
        if event in _FRESH_STARTS and after is Condition.AVAILABLE and self.last_error_at <= moment:
            self.last_error, self.last_error_at = "", moment
        if event in _SWITCHES:
            self.switched_at = now
        if after is not before or event in _SWITCHES:
            self.condition, self.since = after, moment
        if after is not before:
            self.on_change(before)

    def remaining_s(self) -> float:
        """Returns how long the pause still lasts."""
        return max(0.0, self.until - self._clock())

    def counts(self) -> Counts:
        """Returns what this process has counted."""
        return Counts(self.requests, self.errors, self.input_tokens, self.output_tokens)

    def recent_tokens(self) -> int:
        """Returns how many tokens the account's calls took in the window."""
        self._part()
        return sum(self._recent.values())

    def standing(self) -> Standing:
        """Returns the condition as it is kept."""
        return Standing(
            self.condition,
            self.since,
            self.until,
            self.last_error,
            self.last_error_at,
            self.switched_at,
            self.is_burst and self.condition is Condition.COOLING,
        )

    def adopt(self, standing: Standing) -> None:
        """Takes over what another process, or this one before a restart, knows, unless it is older than what is known here."""
        if standing.last_error_at > self.last_error_at:
            self.last_error, self.last_error_at = standing.last_error, standing.last_error_at
        if standing.order <= self.standing().order:
            return
        before = self.condition
        self.condition, self.since, self.until = standing.condition, standing.since, standing.until
        self.switched_at, self.is_burst = standing.switched_at, standing.is_burst
        if before is not self.condition:
            self.on_change(before)

    def _use(self, input_tokens: int, output_tokens: int) -> None:
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens
        part = self._part()
        self._recent[part] = self._recent.get(part, 0) + input_tokens + output_tokens

    def _part(self) -> int:
        """Returns the number of the window's present part, and forgets those that have left the window."""
        present = int(self._clock() / self._part_s)
        for part in [part for part in self._recent if part <= present - _PARTS]:
            del self._recent[part]
        return present

    def _pause(self, event: Event, now: float, asked_s: float | None) -> None:
        """Pauses as long as the provider asks; of two pauses the one that ends later holds."""
        until = now + (self._cooldown_s if asked_s is None else asked_s)
        if until > self.until:
            self.until, self.since, self.is_burst = until, now, event is Event.THROTTLED


_PAUSES: Final = frozenset({Event.THROTTLED, Event.EXHAUSTED})
_SWITCHES: Final = frozenset({Event.SWITCHED_OFF, Event.SWITCHED_ON})
_FRESH_STARTS: Final = frozenset({Event.TIME_PASSED, Event.RENEWED, Event.SWITCHED_ON})


def _words(error: LlmError) -> str:
    """Returns the error's own words, which hold nothing secret, with the provider's status and code."""
    facts = [error.metadata[key] for key in ("provider_status", "provider_code") if key in error.metadata]
    return f"{error.message.rstrip('.')} ({', '.join(facts)})" if facts else error.message
