"""Counts calls, tokens and streams against the limits of whoever calls, before anything is asked."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Final

from loom_grpc.core.call import Call, Handler, Send
from loom_grpc.core.errors import BUDGET_EXCEEDED, RATE_LIMITED, LlmError, storage_unavailable
from loom_grpc.core.estimate import estimate_inputs, estimate_tokens
from loom_grpc.core.money import dollars
from loom_grpc.core.notice import NAMES
from loom_grpc.core.quota import Claim, Exceeded, Grant, Kind, Meter, MeterError, Rate, Scope, Standing

_WORDS: Final = {Kind.REQUESTS: "calls a minute", Kind.TOKENS: "tokens a minute", Kind.STREAMS: "streams at once"}


class Limits:
    """A handler that lets calls through as the limits of their callers and their addresses allow.

    `address` are the limits of each address. Calls that do not say how much they may generate are guessed to generate `assumed_tokens`.
    """

    def __init__(
        self,
        handler: Handler,
        meter: Meter,
        *,
        address: Rate | None,
        assumed_tokens: int,
        clock: Callable[[], float],
    ) -> None:
        self._handler = handler
        self._meter = meter
        self._address = address
        self._assumed_tokens = assumed_tokens
        self._clock = clock

    async def __call__(self, call: Call, send: Send) -> None:
        """Answers the call; raises `LlmError` (RATE_LIMITED) when a limit is reached."""
        rates = call.principal.rates
        if self._address is not None and call.address:
            rates = (*rates, self._address._replace(scope=Scope("address", _network(call.address))))
        claims = claims_of(rates, call, self._assumed_tokens) if rates else []
        if not claims:
            await self._handler(call, send)
            return
        grant = await take(self._meter, claims, self._clock())
        call.standings = grant.standings
        try:
            await self._handler(call, send)
        finally:
            await self._meter.settle(grant, used(claims, call.bill.whole.tokens()), self._clock())


def claims_of(rates: Sequence[Rate], call: Call, assumed_tokens: int) -> list[Claim]:
    """Returns what a call wants of limits."""
    claims: list[Claim] = []
    for rate in rates:
        for claim in _usual(rate, call.stream):
            if claim.kind is Kind.TOKENS:
                if call.guessed_tokens < 0:
                    call.guessed_tokens = _guess(call, assumed_tokens)
                claims.append(Claim(claim.slot, Kind.TOKENS, call.guessed_tokens, claim.most, claim.scope))
            else:
                claims.append(claim)
    return claims


def used(claims: Sequence[Claim], tokens: int) -> list[int]:
    """Returns what claims on limits come to at the end of a call."""
    return [tokens if claim.kind is Kind.TOKENS else 1 for claim in claims]


async def take(meter: Meter, claims: Sequence[Claim], now: float) -> Grant:
    """Takes claims; raises `LlmError`: RATE_LIMITED, BUDGET_EXCEEDED, STORAGE_UNAVAILABLE."""
    try:
        return await meter.take(claims, now)
    except Exceeded as exceeded:
        raise _refusal(exceeded.standing) from None
    except MeterError as error:
        message = "Limits cannot be counted at present; call again."
        raise storage_unavailable(message, retry_after=1.0, detail=str(error)) from None


@lru_cache(65_536)
def _usual(rate: Rate, stream: bool) -> tuple[Claim, ...]:
    """Returns what every call wants of a limit, the tokens left out; finding where a limit is counted takes longer than counting."""
    limits = (
        (Kind.REQUESTS, rate.requests),
        (Kind.TOKENS, rate.tokens),
        (Kind.STREAMS, rate.streams if stream else None),
    )
    return tuple(Claim(rate.slot(kind), kind, 1, most, rate.scope) for kind, most in limits if most is not None)


@lru_cache(4096)
def _network(address: str) -> str:
    """Returns what an address counts as: whoever has one of IPv6 has all of its network (/64)."""
    if ":" not in address:
        return address
    return f"{IPv6Address(IPv6Address(address).packed[:8] + bytes(8))}/64"


def _guess(call: Call, assumed_tokens: int) -> int:
    if call.embed is not None:
        return estimate_inputs(call.embed.inputs)
    return estimate_tokens(call.request) + (call.request.max_tokens or assumed_tokens)


def _refusal(standing: Standing) -> LlmError:
    claim = standing.claim
    scope, id = claim.scope
    if claim.kind is Kind.MONEY:
        period = {"day": " of today", "month": " of this month"}.get(claim.period, "")
        left, most = dollars(standing.left), dollars(claim.amount)
        message = f"The budget{period} of this {scope} has {left} dollars left, and this call may cost {most}."
        return LlmError(BUDGET_EXCEEDED, message, retry_after=_after(standing), standing=standing, scope=scope, id=id)
    message = f"The limit of {claim.most} {_WORDS[claim.kind]} of this {scope} is reached."
    error = LlmError(RATE_LIMITED, message, retry_after=_after(standing), standing=standing, scope=scope, id=id)
    error.metadata |= {"kind": NAMES[claim.kind], "limit": str(claim.most)}
    return error


def _after(standing: Standing) -> float | None:
    return standing.reset_s if 0 < standing.reset_s < math.inf else None
