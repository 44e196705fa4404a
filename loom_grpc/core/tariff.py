"""What tokens cost: exact, in billionths of a dollar, and never by a float."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction
from math import lcm
from operator import mul
from typing import Final, NamedTuple, Protocol

from loom_grpc.core.model import Prices
from loom_grpc.v1.usage_pb2 import Usage

CURRENCY: Final = "USD"
_NANOS: Final = 1_000_000_000
_PRICED: Final = 1_000_000
"""Prices are for so many tokens."""
MOST: Final = 2**63 - 1
"""What a field of the contract holds; only usage that no model can have costs more, or adds up to more."""
_PROMPT: Final = 7
"""How many of the kinds are parts of the prompt; the others are of the answer."""


class Tier(NamedTuple):
    """What a model costs from a length of the prompt on."""

    above: int
    """Prompts of more tokens than this pay these prices, for all of their tokens and for those of the answer."""
    prices: Prices


class Tariff(Protocol):
    """What one model costs."""

    def cost(self, usage: Usage) -> int:
        """Returns what a call cost, in billionths of a dollar: the sum is exact, and rounded once, half to even."""

    def most(self, input_tokens: int, output_tokens: int) -> int:
        """Returns the most that a call can cost that has no more than so many tokens, whatever kind they are of; rounded up."""


Tariffs = Callable[[str, str], Tariff | None]
"""Returns what a provider's model costs; None where that is not known."""


class Counts(NamedTuple):
    """The tokens of a call by what they cost: no token is in two kinds, and the kinds have the names of `Prices`."""

    input: int
    """Of the prompt what is nothing else."""
    cache_read: int
    cache_write: int
    cache_write_1h: int
    input_audio: int
    cache_read_audio: int
    input_image: int
    output: int
    """Of the answer what is nothing else."""
    reasoning: int
    output_audio: int
    output_image: int


def split(usage: Usage) -> Counts:
    """Tells the kinds of tokens apart: a part that is larger than what is left of its whole is cut, and none is below zero."""
    return Counts(*_prompt(usage), *_answer(usage))


class PriceList:
    """A tariff by the kind of the tokens and the length of the prompt; made once, as that takes longer than to ask it.

    `tiers` are in the order of their lengths; `request` is dollars for a call, whatever its tokens.
    """

    def __init__(self, prices: Prices, tiers: Sequence[Tier] = (), request: Decimal = Decimal(0)) -> None:
        self.prices = prices
        """What prompts pay that no tier is for."""
        self.tiers = tuple(tiers)
        steps = (prices, *(tier.prices for tier in tiers))
        rows = [[Fraction(price) * _NANOS / _PRICED for price in each(step)] for step in steps]
        fee = Fraction(request) * _NANOS
        # In whole parts of a nano-dollar, small enough for every price, a sum needs no more than integers.
        self._parts = lcm(fee.denominator, *(price.denominator for row in rows for price in row))
        self._fee = int(fee * self._parts)
        self._short, *long = (tuple(int(price * self._parts) for price in row) for row in rows)
        self._long = tuple(zip((tier.above for tier in tiers), long, strict=True))[::-1]
        steps_above = ((-1, self._short), *self._long)
        self._dearest = [(above, max(row[:_PROMPT]), max(row[_PROMPT:])) for above, row in steps_above]

    def cost(self, usage: Usage) -> int:
        """Returns what a call cost, in billionths of a dollar: the sum is exact, and rounded once, half to even."""
        tokens: int = sum(map(mul, split(usage), self._row(usage.input_tokens)))
        parts = self._fee + tokens
        nanos, rest = divmod(parts, self._parts)
        if 2 * rest > self._parts - (nanos & 1):
            nanos += 1
        return min(nanos, MOST)

    def most(self, input_tokens: int, output_tokens: int) -> int:
        """Returns the most that a call can cost that has no more than so many tokens, whatever kind they are of; rounded up."""
        prompt, answer = max(0, input_tokens), max(0, output_tokens)
        # A shorter prompt may be of a dearer tier.
        dearest = max([prompt * read + answer * written for above, read, written in self._dearest if above < prompt])
        parts = self._fee + dearest
        return min(-(-parts // self._parts), MOST)

    def _row(self, input_tokens: int) -> tuple[int, ...]:
        for above, row in self._long:
            if input_tokens > above:
                return row
        return self._short


def each(prices: Prices) -> tuple[Decimal, ...]:
    """Returns what each kind of token costs, in the order of `Counts`: what has no price of its own costs what it is a kind of."""
    write = _first(prices.cache_write, prices.input)
    audio = _first(prices.input_audio, prices.input)
    return (
        prices.input,
        _first(prices.cache_read, prices.input),
        write,
        _first(prices.cache_write_1h, write),
        audio,
        _first(prices.cache_read_audio, prices.cache_read, audio),
        _first(prices.input_image, prices.input),
        prices.output,
        _first(prices.reasoning, prices.output),
        _first(prices.output_audio, prices.output),
        _first(prices.output_image, prices.output),
    )


def _prompt(usage: Usage) -> tuple[int, ...]:
    left = max(0, usage.input_tokens)
    read = _part(usage.cache_read_tokens, left)
    left -= read
    written = _part(usage.cache_write_tokens, left)
    left -= written
    hour = _part(usage.cache_write_1h_tokens, written)
    audio_read = _part(usage.cache_read_audio_tokens, read)
    audio = _part(usage.input_audio_tokens - audio_read, left)
    left -= audio
    image = _part(usage.input_image_tokens, left)
    return left - image, read - audio_read, written - hour, hour, audio, audio_read, image


def _answer(usage: Usage) -> tuple[int, ...]:
    left = max(0, usage.output_tokens)
    audio = _part(usage.output_audio_tokens, left)
    left -= audio
    image = _part(usage.output_image_tokens, left)
    left -= image
    reasoning = _part(usage.reasoning_tokens, left)
    return left - reasoning, reasoning, audio, image


def _part(tokens: int, whole: int) -> int:
    return min(tokens, whole) if tokens > 0 else 0


def _first(*prices: Decimal | None) -> Decimal:
    return next(price for price in prices if price is not None)


FREE: Final = PriceList(Prices(Decimal(0), Decimal(0)))
"""The tariff of models that cost nothing."""
