"""Everything that is known of a model, from where it is known best."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from loom_grpc.catalogue.table import filled, table
from loom_grpc.core.model import UNKNOWN, Facts
from loom_grpc.core.tariff import FREE, PriceList, Tariff

if TYPE_CHECKING:
    from loom_grpc.catalogue.price import PriceBook

_MOST: Final = 10_000
"""How many models are remembered; callers may name as many as they like."""
_FREE: Final = ("ollama", "mock")
"""The dialects whose models cost nothing where the configuration gives no prices, as they run on the operator's own machines."""


class Place(NamedTuple):
    """Where a provider is and how it speaks."""

    dialect: str
    base_url: str


class Catalogue:
    """Knows the models of the configured providers: first by the configuration, then by our table, then by genai-prices.

    `overrides` are the configuration's facts by `provider/model`. Nothing is read before the first question.
    """

    def __init__(self, places: Mapping[str, Place], overrides: Mapping[str, Facts]) -> None:
        self._places = places
        self._overrides = overrides
        self._known: dict[tuple[str, str], Facts] = {}
        self._tariffs: dict[tuple[str, str], Tariff | None] = {}
        self._book: PriceBook | None = None
        self._loading = asyncio.Lock()

    def facts(self, provider: str, model: str) -> Facts:
        """Returns what is known of a provider's model; of prices only the configuration's until `load_prices` was called."""
        key = (provider, model)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _MOST:
                self._known.clear()
            known = self._known[key] = self._find(provider, model)
        return known

    def tariff(self, provider: str, model: str) -> Tariff | None:
        """Returns what calls of a provider's model cost; None where that is not known, as most is not until `load_prices` was called."""
        key = (provider, model)
        if key not in self._tariffs:
            if len(self._tariffs) >= _MOST:
                self._tariffs.clear()
            self._tariffs[key] = self._price(provider, model)
        return self._tariffs[key]

    async def load_prices(self) -> None:
        """Reads the prices, once, beside the event loop; from the package's own files, never from the network."""
        async with self._loading:
            if self._book is None:
                self._book = await asyncio.to_thread(_price_book)
                self._known.clear()
                self._tariffs.clear()

    def _price(self, provider: str, model: str) -> Tariff | None:
        own = self._overrides.get(f"{provider}/{model}", UNKNOWN).prices
        if own is not None:
            return PriceList(own)
        place = self._places.get(provider)
        if place is None:
            return None
        if place.dialect in _FREE:
            return FREE
        return None if self._book is None else self._book.tariff(_name(provider, place), place.base_url, model)

    def _find(self, provider: str, model: str) -> Facts:
        own = self._overrides.get(f"{provider}/{model}", UNKNOWN)
        place = self._places.get(provider)
        if place is None:
            return own
        name = _name(provider, place)
        priced = self._book.find(name, place.base_url, model) if self._book is not None else UNKNOWN
        return filled(own, table().find(name, model), priced)


@cache
def _price_book() -> PriceBook:
    """Returns the prices as they were on the day on which the process first needed them."""
    from loom_grpc.catalogue.price import PriceBook

    return PriceBook()


def _name(provider: str, place: Place) -> str:
    """Returns the name under which the table has a place; empty for hosts of Chat Completions that nobody knows."""
    if place.dialect != "openai":
        return place.dialect
    hosts = table().hosts
    known = hosts.get(urlsplit(place.base_url).hostname or "")
    return known or (provider if provider in hosts.values() else "")
