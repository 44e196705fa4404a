"""The models that can be called, with all that is known of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Final

from loom_grpc.app.provider import Provider
from loom_grpc.catalogue import Catalogue, Place
from loom_grpc.config import Config, ModelConfig
from loom_grpc.core.errors import LlmError
from loom_grpc.core.model import UNKNOWN, Facts, Prices
from loom_grpc.core.router import Router
from loom_grpc.providers import registry
from loom_grpc.providers.listing import Listing
from loom_grpc.v1.llm_service_pb2 import Model, ModelAbilities, ModelPrices

_ABILITIES: Final = tuple(field.name for field in ModelAbilities.DESCRIPTOR.fields)
_NANOS: Final = 1_000_000_000
_AT_ONCE: Final = 10
"""How many models are described until others have their turn: to find the price of one takes up to a millisecond."""


def make_catalogue(config: Config, providers: Mapping[str, Provider]) -> Catalogue:
    """Makes the catalogue of the configured providers' models."""
    places = {
        name: Place(provider.row.dialect, registry.base_url(name, provider.config))
        for name, provider in providers.items()
    }
    return Catalogue(places, {name: _facts(model) for name, model in config.models.items()})


class Models:
    """Lists the providers' models and the names of the configuration, each with what is known of it."""

    def __init__(self, config: Config, listing: Listing, catalogue: Catalogue, router: Router) -> None:
        self._config = config
        self._listing = listing
        self._catalogue = catalogue
        self._router = router

    async def prepare(self) -> None:
        """Reads the prices where a route needs them."""
        if any(route.policy == "cheapest" for route in self._config.routes.values()):
            await self._catalogue.load_prices()

    async def list(self, provider: str = "") -> list[Model]:
        """Returns the models of one configured provider; or the routes and aliases, and the models of all providers."""
        models, _ = await asyncio.gather(self._listing.models(provider), self._catalogue.load_prices())
        for number, model in enumerate(models):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
            _describe(model, self._catalogue.facts(model.provider, model.id))
        return models if provider else [*sorted(self._names(), key=lambda model: model.id), *models]

    def _names(self) -> Iterator[Model]:
        for name, route in self._config.routes.items():
            targets = [target.model for target in route.targets]
            yield self._named(Model(id=name, targets=targets, is_default=name == self._config.default_route))
        for name, target in self._config.aliases.items():
            yield self._named(Model(id=name, targets=[target]))

    def _named(self, model: Model) -> Model:
        try:
            facts = self._router.leg(model.id).facts()
        except LlmError:  # an alias of `default` where a provider has none: every call of it says so
            facts = UNKNOWN
        return _describe(model, facts)


def _facts(model: ModelConfig) -> Facts:
    values = {name: getattr(model, name) for name in Facts._fields}
    if model.prices is not None:
        values["prices"] = Prices(**{name: getattr(model.prices, name) for name in Prices._fields})
    return Facts(**values)


def _describe(model: Model, facts: Facts) -> Model:
    """Writes what is known into a model, and returns it."""
    model.context_tokens = facts.context_tokens or 0
    model.max_output_tokens = facts.max_output_tokens or 0
    for name in _ABILITIES:
        if (able := getattr(facts, name)) is not None:
            setattr(model.abilities, name, able)
    if facts.prices is not None:
        model.prices.CopyFrom(_written(facts.prices))
    return model


def _written(prices: Prices) -> ModelPrices:
    return ModelPrices(
        currency_code="USD",
        input_nanos=_nanos(prices.input),
        output_nanos=_nanos(prices.output),
        cache_read_nanos=None if prices.cache_read is None else _nanos(prices.cache_read),
        cache_write_nanos=None if prices.cache_write is None else _nanos(prices.cache_write),
    )


def _nanos(dollars: Decimal) -> int:
    return round(dollars * _NANOS)
