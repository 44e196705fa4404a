"""Prices of models, from the package genai-prices (docs/decisions/0014-model-catalogue.md)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from loom_grpc.core.model import UNKNOWN, Facts, Prices

if TYPE_CHECKING:
    from genai_prices.types import ConditionalPrice, ModelPrice, Provider, TieredPrices

_NAMES: Final = {"gemini": "google", "vertex": "google", "xai": "x-ai"}
"""What the package calls places that have another name here."""


class PriceBook:
    """The prices as they are on one day. Making it takes a tenth of a second or two and opens no connection."""

    def __init__(self, today: date | None = None) -> None:
        from genai_prices.data import providers

        self._providers = {provider.id: provider for provider in providers}
        self._today = today or datetime.now(UTC).date()

    def find(self, place: str, base_url: str, model: str) -> Facts:
        """Returns what a model costs at a provider, and how much it takes."""
        provider = self._provider(place, base_url)
        name = model.rpartition("/")[2] if place in ("gemini", "vertex") else model
        known = provider and provider.find_model(name, all_providers=list(self._providers.values()))
        if not known:
            return UNKNOWN
        return Facts(context_tokens=known.context_window, prices=_prices(_current(known.prices, self._today)))

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


def _prices(price: ModelPrice) -> Prices | None:
    """Returns the prices of text; None for models that are not paid by it."""
    read, written = _amount(price, "input_mtok"), _amount(price, "output_mtok")
    if read is None or written is None:
        return None
    return Prices(read, written, _amount(price, "cache_read_mtok"), _amount(price, "cache_write_mtok"))


def _amount(price: ModelPrice, unit: str) -> Decimal | None:
    """Returns dollars for a million; where long prompts cost more, those for short ones."""
    value: Decimal | TieredPrices | None = getattr(price, unit, None)
    return value if value is None or isinstance(value, Decimal) else value.base
