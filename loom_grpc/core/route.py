"""Routes: one name for several targets, of which another one answers when the first cannot."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from loom_grpc.core.budget import RetryBudget
from loom_grpc.core.call import Call, Send
from loom_grpc.core.errors import CONTEXT_TOO_LONG, INVALID_REQUEST, LlmError
from loom_grpc.core.hedge import hedge
from loom_grpc.core.hold import HoldBack
from loom_grpc.core.leg import Leg, is_of_the_target
from loom_grpc.core.model import Facts, Size, obstacle
from loom_grpc.v1.llm_service_pb2 import LlmEvent, LlmRequest, Restarted

_DEAREST: Final = float("inf")

Rank = Callable[[Leg, float], Any]
"""Orders the targets of a route for one call, the first to ask being the lowest; the number is by chance, between 0 and 1."""

POLICIES: Final[Mapping[str, Rank]] = {
    "fallback": lambda _leg, _chance: 0,
    # Efraimidis and Spirakis, Weighted random sampling with a reservoir (2006): the order is as if each target were drawn by its weight.
    "weighted": lambda leg, chance: -(chance ** (1 / leg.weight)) if leg.weight else 1.0,
    "latency": lambda leg, _chance: leg.latency_s,
    "least_busy": lambda leg, _chance: leg.in_flight,
    "cheapest": lambda leg, _chance: prices.blended if (prices := leg.facts().prices) is not None else _DEAREST,
}
"""How the targets of a route are put in order; where two are equal, the one that comes first in the configuration goes first."""


class Events(Protocol):
    """Whoever is told what a route does."""

    def rerouting(self, call: Call, leg: Leg, error: LlmError, following: Leg) -> None:
        """A target failed a call with an error, and the following one is asked."""

    def hedging(self, call: Call, leg: Leg, beside: Leg) -> None:
        """A target is silent, and another one is asked beside it."""

    def skipping(self, call: Call, leg: Leg, obstacle: str) -> None:
        """A target is known not to be able to serve a call, by what `core.model.obstacle` says."""


class Hold(NamedTuple):
    """How much of a stream is held back: tokens, and seconds at the most."""

    tokens: int
    seconds: float


class Rules(NamedTuple):
    """How a route chooses and waits."""

    policy: str = "fallback"
    """A name of `POLICIES`."""
    sticky: bool = False
    """Keeps the calls of a session on the target that chance gave the first one."""
    hedge_after_s: float | None = None
    """How long a target may be silent until the next one is asked beside it; None is for ever."""
    hold: Hold | None = None
    """What is held back of a stream, for callers who cannot begin anew."""


_PLAIN: Final = Rules()


class Chain:
    """A handler that asks one target after the other until one answers.

    Targets that are known not to be able to serve the request are left out, as long as there are others. Before the first event the next
    target is asked when a target cannot answer; never for what the caller did wrong. After the first event only for callers who sent
    `loom-events: restarted`, who get nothing before the whole answer, or for whom it is still held back. Every repetition is spent from
    `budget`.
    """

    def __init__(
        self,
        name: str,
        legs: Sequence[Leg],
        rules: Rules = _PLAIN,
        *,
        budget: RetryBudget | None = None,
        chance: Callable[[], float],
        events: Events,
    ) -> None:
        self.name = name
        self.legs = tuple(legs)
        self._rules = rules
        self._rank = POLICIES[rules.policy]
        self._budget = budget
        self._chance = chance
        self._events = events

    @property
    def first(self) -> Leg:
        """The first target, or the first one of the route that is the first target."""
        leg = self.legs[0]
        return leg.handler.first if isinstance(leg.handler, Chain) else leg

    def facts(self) -> Facts:
        """Returns what one target or another can do, as far as it is known of all of them."""
        return Facts(*(_best(values) for values in zip(*(leg.facts()[:-1] for leg in self.legs), strict=True)))

    async def __call__(self, call: Call, send: Send) -> None:
        """Answers the call; raises the `LlmError` of the last target that was asked."""
        call.route = call.route or self.name
        if self._budget is not None:
            self._budget.earn()
        hold = self._rules.hold
        if hold is None or call.held or not call.stream or call.wants_restarts:
            await self._answer(call, send)
            return
        async with HoldBack(call, send, tokens=hold.tokens, seconds=hold.seconds) as held:
            await self._answer(call, held.send)

    async def _answer(self, call: Call, send: Send) -> None:
        request, is_last = call.request, call.is_last
        waiting = self._order(call)
        asked: list[Leg] = []
        first_error: LlmError | None = None
        is_shown = False
        while True:
            try:
                return await self._ask(call, request, asked, waiting, send, is_last=is_last)
            except LlmError as error:
                following = _others(call, error, asked, waiting)
                is_broken_off = call.responded and call.stream and not call.held
                is_shown = is_shown or is_broken_off
                if not following:
                    # A route whose target this one is has to begin anew, although the last one here said nothing.
                    call.responded = call.responded or is_shown
                    raise _telling(first_error, error) from None
                first_error = first_error or error
                self._events.rerouting(call, asked[-1], error, following[0])
                if is_broken_off:
                    send = _restarting(send, error)
                call.responded = False
                waiting = following

    async def _ask(
        self, call: Call, request: LlmRequest, asked: list[Leg], waiting: list[Leg], send: Send, *, is_last: bool
    ) -> None:
        """Asks the first target that waits, and perhaps the second one beside it; both then count as asked."""
        leg = waiting.pop(0)
        asked.append(leg)
        hedge_after_s = self._rules.hedge_after_s
        if hedge_after_s is None or not waiting:
            await self._ask_one(leg, call, request, send, is_last=is_last and not waiting)
            return
        beside = waiting[0]

        def may() -> bool:
            if self._budget is not None and not self._budget.spend():
                return False
            asked.append(waiting.pop(0))
            self._events.hedging(call, leg, beside)
            return True

        async def first(call: Call, send: Send) -> None:
            await self._ask_one(leg, call, request, send, is_last=False)

        async def second(call: Call, send: Send) -> None:
            await self._ask_one(beside, call, request, send, is_last=is_last and not waiting)

        await hedge(call, send, first, second, after_s=hedge_after_s, may=may)

    async def _ask_one(self, leg: Leg, call: Call, request: LlmRequest, send: Send, *, is_last: bool) -> None:
        call.budget = self._budget  # the target before may have been a route, which has one of its own
        await leg.ask(call, request, send, is_last=is_last)

    def _order(self, call: Call) -> list[Leg]:
        """Returns the targets in the order in which they are asked; where every breaker is open, all that can serve the request."""
        size = Size(call.request)
        able = [leg for leg in self.legs if not self._is_skipped(call, leg, size)] or list(self.legs)
        legs = [leg for leg in able if leg.breaker is None or leg.breaker.allows()] or able
        session = call.request.session_id if self._rules.sticky else ""
        return sorted(legs, key=lambda leg: self._rank(leg, _share(session, leg) if session else self._chance()))

    def _is_skipped(self, call: Call, leg: Leg, size: Size) -> bool:
        is_allowed = not leg.provider or call.principal.allowed.target(leg.provider, leg.model)
        word = obstacle(call.request, leg.facts(), size) if is_allowed else "permission"
        if word:
            self._events.skipping(call, leg, word)
        return bool(word)


def _others(call: Call, error: LlmError, asked: Sequence[Leg], waiting: list[Leg]) -> list[Leg]:
    """Returns the targets that may be asked after an error; none when it is told."""
    if call.responded and call.stream and not call.wants_restarts and not call.held:
        return []
    if error.reason == CONTEXT_TOO_LONG:
        return _longer(asked, waiting)
    return waiting if is_of_the_target(call, error) else []


def _longer(asked: Iterable[Leg], waiting: Iterable[Leg]) -> list[Leg]:
    """Returns the targets that are known to take longer prompts than all that were asked."""
    taken = [leg.facts().context_tokens for leg in asked]
    longest = max((tokens for tokens in taken if tokens is not None), default=None)
    if longest is None:
        return []
    return [leg for leg in waiting if (leg.facts().context_tokens or 0) > longest]


def _telling(first: LlmError | None, last: LlmError) -> LlmError:
    """Returns the error that says the most: that a stand-in does not take the request must not hide why it had to stand in."""
    return first if first is not None and last.reason == INVALID_REQUEST else last


def _best(values: Iterable[Any]) -> Any:
    """Returns the most that one of several can do; None when it is not known of each."""
    known = list(values)
    return None if None in known else max(known)


def _restarting(send: Send, error: LlmError) -> Send:
    """Returns how to send the answer that takes the place of one that broke off: it begins with `restarted` instead of `started`.

    Whoever sees no other answer begin keeps what came of the first one.
    """

    async def restarting(event: LlmEvent) -> None:
        if not event.HasField("started"):
            await send(event)
            return
        began = event.started
        restarted = Restarted(attempt=began.attempt, provider=began.provider, model=began.model, reason=error.reason)
        if error.partial is not None and error.partial.HasField("usage"):
            restarted.usage.CopyFrom(error.partial.usage)
        await send(LlmEvent(restarted=restarted))

    return restarting


def _share(session: str, leg: Leg) -> float:
    """Places a session among the targets: a number between 0 and 1, the same in every process."""
    digest = hashlib.blake2b(f"{session}\0{leg.name}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest) + 1) / (2**64 + 1)
