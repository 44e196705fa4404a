"""Routes: one name for several targets, of which another one answers when the first cannot."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from loom_grpc.core.admission import Admission
from loom_grpc.core.breaker import Breaker
from loom_grpc.core.budget import RetryBudget
from loom_grpc.core.call import Call, Handler, Send
from loom_grpc.core.errors import MODEL_NOT_FOUND, RATE_LIMITED, LlmError
from loom_grpc.core.request import with_defaults
from loom_grpc.v1.llm_service_pb2 import LlmEvent, Restarted

_NEWEST: Final = 0.2
"""How much of the moving average of a target's latency is the latest call."""


class Patience(NamedTuple):
    """How long a route waits for a target, in seconds; None is as long as the provider's own limit."""

    first_token_s: float | None = None
    total_s: float | None = None


_USUAL: Final = Patience()


class Leg:
    """One target of a route: a model of a provider, or another route.

    `breaker` keeps calls away from a target that fails; None lets all through.
    """

    def __init__(
        self,
        name: str,
        handler: Handler,
        *,
        provider: str = "",
        model: str = "",
        weight: float = 1.0,
        patience: Patience = _USUAL,
        options: Mapping[str, Any] | None = None,
        breaker: Breaker | None = None,
    ) -> None:
        self.name = name
        self.handler = handler
        self.provider = provider
        self.model = model
        self.weight = weight
        self.patience = patience
        self.options = dict(options or {})
        self.breaker = breaker
        self.admission: Admission | None = None
        """Bounds how many calls ask the target at once; None admits all."""
        self.in_flight = 0
        self.latency_s = 0.0
        """The moving average of the time to the first content, for whole answers to their end; 0 before the first one."""

    def __repr__(self) -> str:
        return f"Leg({self.name})"

    def measure(self, seconds: float) -> None:
        """Takes the latency of an answer into the average."""
        self.latency_s = seconds if not self.latency_s else self.latency_s + _NEWEST * (seconds - self.latency_s)


Rank = Callable[[Leg, float], float]
"""Orders the targets of a route for one call, the first to ask being the lowest; the number is by chance, between 0 and 1."""

POLICIES: Final[Mapping[str, Rank]] = {
    "fallback": lambda _leg, _chance: 0.0,
    # Efraimidis and Spirakis, Weighted random sampling with a reservoir (2006): the order is as if each target were drawn by its weight.
    "weighted": lambda leg, chance: -(chance ** (1 / leg.weight)) if leg.weight else 1.0,
    "latency": lambda leg, _chance: leg.latency_s,
    "least_busy": lambda leg, _chance: leg.in_flight,
}
"""How the targets of a route are put in order; where two are equal, the one that comes first in the configuration goes first."""


class Chain:
    """A handler that asks one target after the other until one answers.

    Before the first event the next target is asked when a target cannot answer; never for what the caller did wrong. After the first event
    only for callers who sent `loom-events: restarted`, or who get nothing before the whole answer. `sticky` keeps the calls of a session on
    the target that chance gave the first one. `on_reroute` is told of every change: of the call, the target that failed, its error, and the
    next target.
    """

    def __init__(
        self,
        name: str,
        legs: Sequence[Leg],
        *,
        policy: str = "fallback",
        sticky: bool = False,
        budget: RetryBudget | None = None,
        chance: Callable[[], float],
        on_reroute: Callable[[Call, Leg, LlmError, Leg], None],
    ) -> None:
        self.name = name
        self.legs = tuple(legs)
        self._rank = POLICIES[policy]
        self._sticky = sticky
        self._budget = budget
        self._chance = chance
        self._on_reroute = on_reroute

    @property
    def first(self) -> Leg:
        """The first target, or the first one of the route that is the first target."""
        leg = self.legs[0]
        return leg.handler.first if isinstance(leg.handler, Chain) else leg

    async def __call__(self, call: Call, send: Send) -> None:
        """Answers the call; raises the `LlmError` of the last target that was asked."""
        request, is_last = call.request, call.is_last
        if self._budget is not None:
            self._budget.earn()
            call.budget = self._budget
        legs = self._order(call)
        for leg, following in zip(legs, [*legs[1:], None], strict=True):
            call.request = with_defaults(request, leg.options) if leg.options else request
            call.is_last = is_last and following is None
            try:
                return await _ask(call, leg, send)
            except LlmError as error:
                if following is None or not _may_go_on(call, error):
                    raise
                self._on_reroute(call, leg, error, following)
                if call.responded and call.stream:
                    send = _restarting(send, error)
                call.responded = False
        raise AssertionError("a route has targets")

    def _order(self, call: Call) -> list[Leg]:
        """Returns the targets in the order in which they are asked; where every breaker is open, all of them."""
        legs = [leg for leg in self.legs if leg.breaker is None or leg.breaker.allows()] or list(self.legs)
        session = call.request.session_id if self._sticky else ""
        return sorted(legs, key=lambda leg: self._rank(leg, _share(session, leg) if session else self._chance()))


async def _ask(call: Call, leg: Leg, send: Send) -> None:
    """Asks one target, when it is the call's turn."""
    if leg.admission is None:
        await _ask_now(call, leg, send)
        return
    left_s = call.deadline - asyncio.get_running_loop().time()
    async with leg.admission.enter(None if left_s == math.inf else max(0.0, left_s)):
        await _ask_now(call, leg, send)


async def _ask_now(call: Call, leg: Leg, send: Send) -> None:
    if leg.provider:
        call.provider, call.model = leg.provider, leg.model
    call.first_token_s, call.total_s = leg.patience
    call.refusals = call.attempt  # what former targets took is not of this one's budget
    now = asyncio.get_running_loop().time
    began = now()
    leg.in_flight += 1
    try:
        with _watched(call, leg.breaker):
            await leg.handler(call, send)
    finally:
        leg.in_flight -= 1
    leg.measure(call.first_content_s or now() - began)


@contextmanager
def _watched(call: Call, breaker: Breaker | None) -> Iterator[None]:
    """Lets a breaker know how a call ends; what the caller did says nothing of the target."""
    if breaker is None:
        yield
        return
    ticket = breaker.began()
    try:
        yield
    except LlmError as error:
        (breaker.failed if _is_of_the_target(call, error) else breaker.let_go)(ticket)
        raise
    except BaseException:
        breaker.let_go(ticket)
        raise
    breaker.succeeded(ticket)


def _may_go_on(call: Call, error: LlmError) -> bool:
    """Tells whether another target may be asked after an error."""
    if asyncio.get_running_loop().time() >= call.deadline or not _is_of_the_target(call, error):
        return False
    return not call.responded or not call.stream or call.wants_restarts


def _is_of_the_target(call: Call, error: LlmError) -> bool:
    """Tells whether a failure is one that another target need not meet."""
    if asyncio.get_running_loop().time() >= call.deadline:
        return False
    is_full = error.reason == RATE_LIMITED and "target" in error.metadata
    return error.row.next or is_full or error.reason == MODEL_NOT_FOUND


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
