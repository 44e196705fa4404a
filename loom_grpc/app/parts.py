"""What a configuration becomes, and what the next one takes over of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from loom_grpc.app.accounts import Accounts
from loom_grpc.app.models import Models, make_catalogue
from loom_grpc.app.provider import Provider
from loom_grpc.app.routes import make_router
from loom_grpc.catalogue import Catalogue
from loom_grpc.config import Config, ConfigError, LimitConfig
from loom_grpc.config.change import ROUTING
from loom_grpc.config.weak_key import weakness
from loom_grpc.core.quota import Meter, Rate, Scope
from loom_grpc.core.router import Router, Target
from loom_grpc.credentials.secret import Secret, Secrets
from loom_grpc.processors.guard import Guard, Terms
from loom_grpc.providers.listing import Listing, Shelf
from loom_grpc.telemetry import Telemetry


@dataclass(frozen=True, eq=False)
class Parts:
    """Everything that calls are answered with and that another configuration replaces, at one moment and as a whole."""

    config: Config
    providers: dict[str, Provider]
    shelves: dict[str, Shelf]
    listing: Listing
    models: Models
    catalogue: Catalogue
    router: Router
    admin_key: Secret | None


def make_parts(
    config: Config,
    accounts: Accounts,
    secrets: Secrets,
    telemetry: Telemetry,
    meter: Meter,
    former: Parts | None = None,
) -> Parts:
    """Makes the parts and changes nothing; raises `ConfigError`.

    Providers that are configured as before are taken over as they are, and the router too where none of what it is made of has changed.
    """
    old = former.providers if former is not None else {}
    providers: dict[str, Provider] = {}
    try:
        for name, wanted in config.providers.items():
            before = old.get(name)
            if before is not None and before.config == wanted:
                providers[name] = before
            elif wanted.enabled:
                provider = providers[name] = Provider(name, wanted, secrets, telemetry, accounts.condition_changed)
                accounts.furnish(provider, before)
        admin_key = _admin_key(config, secrets)
        if former is not None and providers == old and _routes_alike(config, former.config):
            return replace(former, config=config, admin_key=admin_key)
        catalogue = make_catalogue(config, providers)
        terms = _terms(config, catalogue, meter)
        shelves = {name: _shelf(provider, config, catalogue, terms, former) for name, provider in providers.items()}
        listing = Listing(shelves, telemetry.listing_failed)
        router = make_router(config, {name: shelf.target for name, shelf in shelves.items()}, telemetry)
    except BaseException:
        retire(providers, kept=old)
        raise
    models = Models(config, listing, catalogue, router)
    return Parts(config, providers, shelves, listing, models, catalogue, router, admin_key)


def retire(providers: Mapping[str, Provider], *, kept: Mapping[str, Provider]) -> list[Provider]:
    """Retires the providers that are not among those that are kept, and returns them."""
    gone = [provider for name, provider in providers.items() if kept.get(name) is not provider]
    for provider in gone:
        provider.retire()
    return gone


def _terms(config: Config, catalogue: Catalogue, meter: Meter) -> Terms:
    limits, spending = config.limits, config.spending
    return Terms(
        meter,
        catalogue.tariff,
        catalogue.facts,
        {name: rate_of(Scope("model", name), limit) for name, limit in limits.models.items()},
        spending.unpriced,
        limits.assumed_output_tokens,
        spending.max_output_tokens,
        time.time,
    )


def rate_of(scope: Scope, limit: LimitConfig) -> Rate:
    """Returns the limits of a scope as the configuration has them."""
    return Rate(scope, limit.requests_per_minute, limit.tokens_per_minute, limit.concurrent_streams)


def _shelf(provider: Provider, config: Config, catalogue: Catalogue, terms: Terms, former: Parts | None) -> Shelf:
    """Makes a provider's shelf; what the provider itself has said of its models is kept."""
    described = (name.partition("/") for name in config.models)
    configured = [*provider.config.models, *(model for name, _, model in described if name == provider.name)]
    handler = Guard(provider.handler, terms)
    target = Target(handler, provider.default_model, configured, partial(catalogue.facts, provider.name))
    before = former.shelves.get(provider.name) if former is not None else None
    if before is None or before.pool is not provider.pool:
        return Shelf(provider.pool, target, configured)
    target.models = frozenset(before.models) | frozenset(configured)
    return replace(before, target=target, configured=configured)


def _routes_alike(config: Config, former: Config) -> bool:
    return all(getattr(config, key) == getattr(former, key) for key in (*ROUTING, "limits", "spending"))


def _admin_key(config: Config, secrets: Secrets) -> Secret | None:
    reference = config.admin.api_key
    if reference is None:
        return None
    secret = secrets.find(reference.get_secret_value(), "admin.api_key")
    refuse_weak(secret)
    return secret


def refuse_weak(admin_key: Secret) -> None:
    """Raises `ConfigError` for an admin key that may be guessed; one that has not been fetched yet is nobody's."""
    why = weakness(admin_key.reveal()) if admin_key.known else ""
    if why:
        raise ConfigError(f"admin.api_key: {why}")
