"""Prices of models, from the package genai-prices (docs/decisions/0014-model-catalogue.md)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from loom_grpc.core.model import UNKNOWN, Facts, Prices
from loom_grpc.core.tariff import PriceList, Tier

if TYPE_CHECKING:
    from genai_prices.types import ConditionalPrice, ModelInfo, ModelPrice, Provider, TieredPrices
    from genai_prices.types import Tier as PackageTier

_NAMES: Final = {"gemini": "google", "vertex": "google", "xai": "x-ai"}
"""What the package calls places that have another name here."""

_UNITS: Final = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "reasoning": "output_reasoning_mtok",
    "input_audio": "input_audio_mtok",
    "cache_read_audio": "cache_audio_read_mtok",
    "output_audio": "output_audio_mtok",
    "input_image": "input_image_mtok",
    "output_image": "output_image_mtok",
}
"""What the package calls the prices, which all are for a million tokens."""


class PriceBook:
    """The prices as they are on one day. Making it takes a tenth of a second or two and opens no connection."""

    def __init__(self, today: date | None = None) -> None:
        from genai_prices.data import providers

        self._providers = {provider.id: provider for provider in providers}
        self._today = today or datetime.now(UTC).date()

    def find(self, place: str, base_url: str, model: str) -> Facts:
        """Returns what a model costs at a provider, and how much it takes."""
        known = self._model(place, base_url, model)
        if known is None:
            return UNKNOWN
        return Facts(context_tokens=known.context_window, prices=_prices(known.id, _current(known.prices, self._today)))

    def tariff(self, place: str, base_url: str, model: str) -> PriceList | None:
        """Returns what calls of a model cost at a provider; None for models that are not paid by tokens of text."""
        known = self._model(place, base_url, model)
        return None if known is None else price_list(known.id, _current(known.prices, self._today))

    def _model(self, place: str, base_url: str, model: str) -> ModelInfo | None:
        provider = self._provider(place, base_url)
        name = model.rpartition("/")[2] if place in ("gemini", "vertex") else model
        if provider is None:
            return None
        return provider.find_model(name, all_providers=list(self._providers.values()))

    def _provider(self, place: str, base_url: str) -> Provider | None:
        for provider in self._providers.values():
            if re.match(provider.api_pattern, base_url):
                return provider
        return self._providers.get(_NAMES.get(place, place))


def _current(prices: ModelPrice | Sequence[ConditionalPrice], today: date) -> ModelPrice:
    """Returns the newest price that has begun; where it changes with the hour, that of the dearest one."""
    from genai_prices.types import ModelPrice, TimeOfDateConstraint

    if isinstance(prices, ModelPrice):
        return prices
    current, hourly = prices[0].prices, []
    for price in prices:
        if isinstance(price.constraint, TimeOfDateConstraint):
            hourly.append(price.prices)
        elif price.constraint is None or price.constraint.start_date <= today:
            current = price.prices
    return max([current, *hourly], key=lambda price: _amount(price, "input_mtok") or 0)


def price_list(model: str, price: ModelPrice) -> PriceList | None:
    """Makes a tariff of what the package has; None for models that are not paid by tokens of text."""
    short = _step(model, price, 0)
    if short is None:
        return None
    # Prompts of more tokens than a tier's start pay its price for all of their tokens, as `calc_unit_price` of the package has it.
    starts = {tier.start for unit in _UNITS.values() for tier in _tiers(price, unit)}
    tiers = [Tier(start, step) for start in sorted(starts) if (step := _step(model, price, start + 1))]
    return PriceList(short, tiers, (_amount(price, "requests_kcount") or Decimal(0)) / 1000)


def _prices(model: str, price: ModelPrice) -> Prices | None:
    """Returns the prices of text, of short prompts where long ones cost more; None for models that are not paid by it."""
    return _step(model, price, 0) if _amount(price, "output_mtok") is not None else None


def _step(model: str, price: ModelPrice, tokens: int) -> Prices | None:
    """Returns the prices of prompts of so many tokens; models without a price of output, such as for vectors, have none."""
    amounts = {name: _amount(price, unit, tokens) for name, unit in _UNITS.items()}
    read, written = amounts.pop("input"), amounts.pop("output")
    if read is None:
        return None
    if amounts["cache_write_1h"] is None and amounts["cache_write"] is not None and "claude" in model:
        # What the package has of Anthropic's own endpoint, wherever it has both; it leaves it out for most other hosts of Claude.
        amounts["cache_write_1h"] = 2 * read
    return Prices(read, written or Decimal(0), **amounts)


def _amount(price: ModelPrice, unit: str, tokens: int = 0) -> Decimal | None:
    """Returns dollars for as many as the unit says, in a prompt of so many tokens."""
    value: Decimal | TieredPrices | None = getattr(price, unit, None)
    if value is None or isinstance(value, Decimal):
        return value
    return next((tier.price for tier in reversed(value.tiers) if tokens > tier.start), value.base)


def _tiers(price: ModelPrice, unit: str) -> Sequence[PackageTier]:
    value: Decimal | TieredPrices | None = getattr(price, unit, None)
    return () if value is None or isinstance(value, Decimal) else value.tiers
