"""What a configuration becomes, and what the next one takes over of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from loom_grpc.app.accounts import Accounts
from loom_grpc.app.models import Models, make_catalogue
from loom_grpc.app.provider import Provider
from loom_grpc.app.routes import make_router
from loom_grpc.catalogue import Catalogue
from loom_grpc.config import Config
from loom_grpc.config.change import ROUTING
from loom_grpc.core.router import Router, Target
from loom_grpc.credentials.secret import Secret, Secrets
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
    router: Router
    admin_key: Secret | None


def make_parts(
    config: Config, accounts: Accounts, secrets: Secrets, telemetry: Telemetry, former: Parts | None = None
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
            return Parts(config, old, former.shelves, former.listing, former.models, former.router, admin_key)
        catalogue = make_catalogue(config, providers)
        shelves = {name: _shelf(provider, config, catalogue, former) for name, provider in providers.items()}
        listing = Listing(shelves, telemetry.listing_failed)
        router = make_router(config, {name: shelf.target for name, shelf in shelves.items()}, telemetry)
    except BaseException:
        retire(providers, kept=old)
        raise
    models = Models(config, listing, catalogue, router)
    return Parts(config, providers, shelves, listing, models, router, admin_key)


def retire(providers: Mapping[str, Provider], *, kept: Mapping[str, Provider]) -> list[Provider]:
    """Retires the providers that are not among those that are kept, and returns them."""
    gone = [provider for name, provider in providers.items() if kept.get(name) is not provider]
    for provider in gone:
        provider.retire()
    return gone


def _shelf(provider: Provider, config: Config, catalogue: Catalogue, former: Parts | None) -> Shelf:
    """Makes a provider's shelf; what the provider itself has said of its models is kept."""
    described = (name.partition("/") for name in config.models)
    configured = [*provider.config.models, *(model for name, _, model in described if name == provider.name)]
    target = Target(provider.handler, provider.default_model, configured, partial(catalogue.facts, provider.name))
    before = former.shelves.get(provider.name) if former is not None else None
    if before is None or before.pool is not provider.pool:
        return Shelf(provider.pool, target, configured)
    target.models = frozenset(before.models) | frozenset(configured)
    return replace(before, target=target, configured=configured)


def _routes_alike(config: Config, former: Config) -> bool:
    return all(getattr(config, key) == getattr(former, key) for key in ROUTING)


def _admin_key(config: Config, secrets: Secrets) -> Secret | None:
    reference = config.admin.api_key
    return secrets.find(reference.get_secret_value(), "admin.api_key") if reference is not None else None
