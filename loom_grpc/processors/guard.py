"""Guards each target of a call: whether it may be asked, and what asking it may cost at most."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from loom_grpc.core.bill import Bill
from loom_grpc.core.call import Call, Handler, Send
from loom_grpc.core.charge import price
from loom_grpc.core.errors import PERMISSION_DENIED, LlmError
from loom_grpc.core.model import Facts
from loom_grpc.core.period import DAY_S, budget_slot, period_of
from loom_grpc.core.quota import Cap, Claim, Grant, Kind, Meter, Rate
from loom_grpc.core.tariff import Tariffs
from loom_grpc.processors.bound import most_input, most_output, names_others
from loom_grpc.processors.limits import claims_of, take, used
from loom_grpc.v1.access_pb2 import Charge

_ANY_MODEL: Final = (
    "These credentials may be used for some models alone, and a request that is passed on as it is may name any."
)
_ONE_MODEL: Final = (
    "models: these credentials are for some models alone, or under a budget; name one model, in the field model."
)


class Terms(NamedTuple):
    """What targets are guarded by."""

    meter: Meter
    tariffs: Tariffs
    """What a provider's model costs; None where that is not known."""
    facts: Callable[[str, str], Facts]
    rates: Mapping[str, Rate]
    """The limits of models by `provider/model`."""
    unpriced: Literal["refuse", "allow"]
    """What becomes of calls under a budget to models whose prices are not known."""
    assumed_tokens: int
    """What a call is guessed to generate that does not say how much it may."""
    most_tokens: int
    """What a call under a budget may generate where neither the request nor the model says how much."""
    clock: Callable[[], float]
    """Gives seconds since 1970."""


class Guard:
    """A handler around one provider: it is asked as what the caller is allowed, the model's limits and the caller's budgets let it."""

    def __init__(self, handler: Handler, terms: Terms) -> None:
        self._handler = handler
        self._terms = terms

    async def __call__(self, call: Call, send: Send) -> None:
        """Answers the call; raises `LlmError`: PERMISSION_DENIED, RATE_LIMITED, BUDGET_EXCEEDED, STORAGE_UNAVAILABLE."""
        allowed = call.principal.allowed
        if not (allowed.target(call.provider, call.model) and allowed.route(call.route)):
            raise not_allowed(call)
        if call.raw is not None and allowed.models:
            raise LlmError(PERMISSION_DENIED, _ANY_MODEL)
        if (allowed.models or call.principal.caps) and names_others(call):
            raise LlmError(PERMISSION_DENIED, _ONE_MODEL, field="models")
        whole = call.bill.whole
        call.bill = whole.part()
        whole.begin()
        try:
            await self._count(call, send)
        finally:
            whole.end()
            call.bill = whole

    async def _count(self, call: Call, send: Send) -> None:
        terms, now = self._terms, self._terms.clock()
        call.before_attempt = None  # a hedge has that of the call that it is beside
        rate = terms.rates.get(f"{call.provider}/{call.model}") if terms.rates else None
        limits = claims_of([rate], call, terms.assumed_tokens) if rate is not None else []
        money = self._money(call, now) if call.principal.caps else []
        if not limits and not money:
            await self._handler(call, send)
            return
        grant = await take(terms.meter, [*limits, *money], now)
        if limits:
            # Those of a model that was asked before say nothing of this one.
            callers = [standing for standing in call.standings if standing.claim.scope.kind != "model"]
            call.standings = [*callers, *grant.standings[: len(limits)]]
        bill, more = call.bill, _More(terms, call.bill, money)
        call.before_attempt = more.reserve if money else None
        try:
            await self._handler(call, send)
        finally:
            call.before_attempt = None
            spent = _spent(bill.charges, terms.tariffs) - more.nanos if money else 0
            amounts = used(limits, bill.tokens()) + [spent] * len(money)
            try:
                await terms.meter.settle(grant, amounts, terms.clock())
            finally:
                await more.settle()

    def _money(self, call: Call, now: float) -> list[Claim]:
        """Returns what a call may cost at most, as each of its caller's budgets is asked for it."""
        if call.raw is not None:
            message = "Requests that are passed on as they are have no price, and this caller has a budget."
            raise LlmError(PERMISSION_DENIED, message)
        terms = self._terms
        tariff = terms.tariffs(call.provider, call.model)
        if tariff is None:
            if terms.unpriced == "allow":
                return []
            message = f"model: the price of {call.provider}/{call.model} is not known, and this caller has a budget."
            raise LlmError(PERMISSION_DENIED, message, field="model")
        facts = terms.facts(call.provider, call.model)
        nanos = tariff.most(most_input(call, facts), most_output(call, facts, terms.most_tokens))
        return [_claim(cap, nanos, now) for cap in call.principal.caps]


class _More:
    """What is reserved of budgets beside what one attempt may cost: as much as the attempts before it have cost."""

    def __init__(self, terms: Terms, bill: Bill, money: Sequence[Claim]) -> None:
        self._terms = terms
        self._bill = bill
        self._money = money
        self._grants: list[tuple[Grant, int]] = []
        self.nanos = 0
        """How much that is."""

    async def reserve(self) -> None:
        """Reserves what is missing before another attempt; raises `LlmError`: BUDGET_EXCEEDED, STORAGE_UNAVAILABLE."""
        nanos = _spent(self._bill.charges, self._terms.tariffs) - self.nanos
        if nanos > 0:
            claims = [claim._replace(amount=nanos) for claim in self._money]
            self._grants.append((await take(self._terms.meter, claims, self._terms.clock()), nanos))
            self.nanos += nanos

    async def settle(self) -> None:
        """Says that it was spent, all of it also where this is cancelled."""
        if not self._grants:
            return
        grant, nanos = self._grants.pop()
        try:
            await self._terms.meter.settle(grant, [nanos] * len(self._money), self._terms.clock())
        finally:
            await self.settle()


def _spent(charges: Sequence[Charge], tariffs: Tariffs) -> int:
    for charge in charges:
        price(charge, tariffs)
    return sum(charge.cost.nanos for charge in charges)


def _claim(cap: Cap, nanos: int, now: float) -> Claim:
    slot, ends_s = _counted(cap, int(now // DAY_S))
    return Claim(slot, Kind.MONEY, nanos, cap.nanos, cap.scope, cap.period, ends_s)


@lru_cache(65_536)
def _counted(cap: Cap, day: int) -> tuple[bytes, float]:
    """Returns where a budget's money is counted on a day, and when its period ends."""
    period = period_of(cap.period, day * DAY_S)
    return budget_slot(cap, period.name), period.ends_s


def not_allowed(call: Call) -> LlmError:
    """Makes the error for a target that the caller may not ask."""
    message = f"model: these credentials may not be used for {call.provider}/{call.model}."
    return LlmError(PERMISSION_DENIED, message, field="model")
