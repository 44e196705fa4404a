"""What no key can tell by itself: whether the keys of a configuration fit together."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from typing import Final

from pydantic import SecretStr

from loom_grpc.config.error import meant, nearest
from loom_grpc.config.schema import AccountConfig, Config, OAuthConfig, ProviderConfig, oauth_of, unset_oauth
from loom_grpc.config.tree import KeyPath, dotted, references, where
from loom_grpc.config.value import split_reference
from loom_grpc.config.weak_key import weakness
from loom_grpc.core.quota import SHARED_MOST

Finding = tuple[KeyPath, str]
"""Where something is wrong, and what."""

_DATABASES: Final = ("sqlite:///", "postgresql://", "postgres://")
_REDIS: Final = ("redis://", "rediss://", "unix://")
_NO_ENCRYPTION_KEY: Final = (
    "needs credentials.encryption_key, because credentials in a database are encrypted; "
    "`loom-grpc encryption-key` prints one"
)
_LOGINS: Final = {"token": ("token",), "approle": ("role_id",), "kubernetes": ("role",)}
"""What each way to log in at Vault needs."""
_BEFORE_VAULT: Final = (("vault",), ("database", "url"), ("telemetry", "otlp_headers"))
"""What is needed before Vault can be asked, or without it."""


def problems_of(config: Config, environ: Mapping[str, str], registry: Collection[str]) -> Iterator[Finding]:
    """Yields what keeps a configuration from being used; `registry` names the providers that need no `dialect`."""
    yield from _unknown_providers(config, registry)
    yield from _unknown_targets(config)
    yield from _route_problems(config)
    yield from _circles(config)
    yield from _rewrite_problems(config)
    yield from _unknown_models(config)
    for name, provider in config.providers.items():
        if provider.enabled:
            yield from _provider_problems(("providers", name), provider)
    yield from _admin_problems(config, environ)
    yield from _database_problems(config, environ)
    yield from _redis_problems(("cache", "redis_url"), config.cache.redis_url, environ)
    yield from _redis_problems(("limits", "redis_url"), config.limits.redis_url, environ)
    yield from _budget_problems(config)
    yield from _vault_problems(config)
    yield from _unset_variables(config, environ)


def warnings_of(config: Config) -> Iterator[Finding]:
    """Yields what can be used and is probably not meant so."""
    for name, route in config.routes.items():
        if route.sticky and route.policy != "weighted":
            yield ("routes", name, "sticky"), f"does nothing while policy is {route.policy}; it is for weighted"
    for name, provider in config.providers.items():
        for at, oauth in _logins(("providers", name), provider):
            if oauth.client_secret is not None and oauth.client_auth == "none":
                yield (
                    (*at, "client_secret"),
                    "is not shown to anybody while client_auth is none; set it to post or basic",
                )


def _unknown_providers(config: Config, registry: Collection[str]) -> Iterator[Finding]:
    for name, provider in config.providers.items() if registry else ():
        if provider.dialect and provider.dialect not in registry:
            yield ("providers", name, "dialect"), f"unknown provider{nearest(provider.dialect, registry)}"
        elif not provider.dialect and name not in registry:
            hint = nearest(name, registry)
            yield ("providers", name), f"unknown provider, and no dialect says how it speaks{hint}"


def _unknown_targets(config: Config) -> Iterator[Finding]:
    on = [name for name, provider in config.providers.items() if provider.enabled]
    if config.default_provider and config.default_provider not in on:
        yield ("default_provider",), f"is not a provider that is on; those are {', '.join(on)}"
    for alias, target in config.aliases.items():
        name, _, model = target.partition("/")
        if name not in on or not model:
            yield ("aliases", alias), f"must be provider/model, the provider one of {', '.join(on)}"


def _route_problems(config: Config) -> Iterator[Finding]:
    on = [name for name, provider in config.providers.items() if provider.enabled]
    for name, route in config.routes.items():
        at = ("routes", name)
        if name in {"", "default"} or "/" in name or "|" in name:
            yield at, "must have another name: one without / and |, not empty, and not default"
        elif name in config.aliases:
            yield at, "is also the name of an alias; rename one"
        elif name in config.providers:
            yield at, "is also the name of a provider; rename the route"
        if route.policy == "weighted" and not any(target.weight for target in route.targets):
            yield (*at, "targets"), "have no weight but 0, so none would be chosen; give one of them more"
        for number, target in enumerate(route.targets):
            if not _is_target(target.model, config, on):
                hint = meant(target.model, [*config.routes, *config.aliases])
                wanted = f"provider/model, the provider one of {', '.join(on)}, or a route or an alias"
                yield (*at, "targets", str(number), "model"), f"must be {wanted}{hint}"
    yield from _default_problems(config)


def _is_target(model: str, config: Config, on: Collection[str]) -> bool:
    provider, _, rest = model.partition("/")
    return model in config.routes or model in config.aliases or (provider in on and bool(rest))


def _default_problems(config: Config) -> Iterator[Finding]:
    if not config.default_route:
        return
    if config.default_route not in config.routes:
        hint = nearest(config.default_route, config.routes) if config.routes else "; there are none"
        yield ("default_route",), f"is not a route{hint}"
    if config.default_provider:
        yield ("default_route",), "is not used beside default_provider; keep one of them"


def _circles(config: Config) -> Iterator[Finding]:
    """Finds routes that lead to themselves; a circle behind another one may show only when that is mended."""
    ways = {name: [t.model for t in route.targets if t.model in config.routes] for name, route in config.routes.items()}
    done: set[str] = set()
    for name in ways:
        if circle := _circle(name, ways, done):
            way = " -> ".join(where((step,)) for step in circle)
            yield ("routes", circle[0]), f"leads back to itself: {way}; leave one of these targets out"


def _circle(start: str, ways: Mapping[str, list[str]], done: set[str]) -> list[str]:
    """Returns a circle that can be reached from a route; `done` has the routes that were looked at, and grows."""
    trail: list[str] = []
    waiting = [(start, 0)]
    while waiting:  # not by recursion, since a file may nest as many routes as it likes
        name, depth = waiting.pop()
        del trail[depth:]
        if name in trail:
            return [*trail[trail.index(name) :], name]
        if name not in done:
            done.add(name)
            trail.append(name)
            waiting += [(way, depth + 1) for way in reversed(ways[name])]
    return []


def _rewrite_problems(config: Config) -> Iterator[Finding]:
    for number, rewrite in enumerate(config.rewrites):
        at = ("rewrites", str(number))
        try:
            pattern = re.compile(rewrite.match)
        except (re.error, OverflowError, RecursionError):
            yield (*at, "match"), "is not a regular expression; put a \\ before characters that mean themselves"
            continue
        try:
            pattern.sub(rewrite.to, "")
        except (re.error, IndexError):  # IndexError is for a group's name
            groups = _groups(pattern)
            yield (
                (*at, "to"),
                f"may refer to groups of match, as \\1 or \\g<name>, and to no others; match has {groups}",
            )


def _unknown_models(config: Config) -> Iterator[Finding]:
    on = [name for name, provider in config.providers.items() if provider.enabled]
    for name in config.models:
        provider, _, model = name.partition("/")
        if provider not in on or model in {"", "default"}:
            hint = "" if provider in on else meant(provider, on)
            yield ("models", name), f"must be provider/model, the provider one of {', '.join(on)}{hint}"


def _groups(pattern: re.Pattern[str]) -> str:
    names = {number: name for name, number in pattern.groupindex.items()}
    return ", ".join(names.get(number, str(number)) for number in range(1, pattern.groups + 1)) or "no groups"


def _provider_problems(at: KeyPath, provider: ProviderConfig) -> Iterator[Finding]:
    own = [key for key in ("api_key", "access_token", "credentials_file") if getattr(provider, key) is not None]
    for key in own if provider.accounts else ():
        yield (*at, key), "is not used beside accounts; leave it out, or make an account of it"
    if {"access_token", "credentials_file"} <= {*own}:
        yield (*at, "access_token"), "is not used beside credentials_file; keep one of them"
    for id_, account in provider.accounts.items():
        yield from _account_problems((*at, "accounts", id_), account)
    yield from _google_problems(at, provider)
    for path, oauth in _logins(at, provider):
        yield from _oauth_problems(path, oauth, (*at, "oauth"))


def _account_problems(at: KeyPath, account: AccountConfig) -> Iterator[Finding]:
    shown = [key for key in AccountConfig.model_fields if getattr(account, key) is not None]
    if not shown:
        yield at, f"must have one of {', '.join(AccountConfig.model_fields)}"
    elif len(shown) > 1:
        yield at, f"has {' and '.join(shown)}; an account has one of them"


def _google_problems(at: KeyPath, provider: ProviderConfig) -> Iterator[Finding]:
    if (provider.dialect or at[-1]) == "vertex":
        return
    files = {at: provider.credentials_file}
    files |= {(*at, "accounts", id_): account.credentials_file for id_, account in provider.accounts.items()}
    for path, file in files.items():
        if file is not None:
            yield (*path, "credentials_file"), "is for Vertex AI only; set api_key, or the dialect vertex"


def _logins(at: KeyPath, provider: ProviderConfig) -> Iterator[tuple[KeyPath, OAuthConfig]]:
    """Yields the settings by which accounts log in; those of the provider alone where no account completes them."""
    own = False
    for id_, account in provider.accounts.items():
        if account.oauth is not None and (oauth := oauth_of(provider, account)) is not None:
            own = True
            yield (*at, "accounts", id_, "oauth"), oauth
    if provider.oauth is not None and not own:
        yield (*at, "oauth"), provider.oauth


def _oauth_problems(at: KeyPath, oauth: OAuthConfig, common: KeyPath) -> Iterator[Finding]:
    place = "must be set" if at == common else f"must be set here or in {dotted(common)}"
    for key in unset_oauth(oauth):
        yield (*at, key), place
    if oauth.client_auth != "none" and oauth.client_secret is None:
        yield (*at, "client_secret"), f"{place}, because client_auth is {oauth.client_auth}"


def _admin_problems(config: Config, environ: Mapping[str, str]) -> Iterator[Finding]:
    if config.admin.api_key is None:
        return
    text = _text_of(config.admin.api_key.get_secret_value(), environ)
    if text and (why := weakness(text)):
        yield ("admin", "api_key"), why


def _database_problems(config: Config, environ: Mapping[str, str]) -> Iterator[Finding]:
    if config.database.url is None:
        return
    url = _text_of(config.database.url.get_secret_value(), environ)
    if url and not url.startswith(_DATABASES):
        yield ("database", "url"), f"must begin with one of {', '.join(_DATABASES)}"
    if config.credentials.encryption_key is None:
        yield ("database", "url"), _NO_ENCRYPTION_KEY


def _redis_problems(at: KeyPath, reference: SecretStr | None, environ: Mapping[str, str]) -> Iterator[Finding]:
    url = _text_of(reference.get_secret_value(), environ) if reference is not None else ""
    if url and not url.startswith(_REDIS):
        yield at, f"must begin with one of {', '.join(_REDIS)}"


def _budget_problems(config: Config) -> Iterator[Finding]:
    """Finds budgets that would not hold."""
    budgets = config.spending.budgets
    if budgets and not config.access.is_on:
        yield (
            ("spending", "budgets"),
            "count for nobody while callers need not show who they are; set access.enabled, access.jwt or access.certificates",
        )
    most = Decimal(SHARED_MOST) / 10**9
    for number, budget in enumerate(budgets if config.limits.redis_url is not None else ()):
        if budget.usd > most:
            yield (
                ("spending", "budgets", str(number), "usd"),
                f"must be at most {most}, which is what Redis (limits.redis_url) counts exactly",
            )


def _vault_problems(config: Config) -> Iterator[Finding]:
    used = False
    for path, source, _ in _references(config):
        if source == "vault":
            used = True
            if any(path[: len(early)] == early for early in _BEFORE_VAULT):
                yield path, "cannot be in Vault; use env:NAME or file:/path"
            elif not config.vault.address:
                yield path, "is in Vault, but vault.address (or VAULT_ADDR) is not set"
    # An address and a token may lie in the environment for other programs.
    for key in _LOGINS[config.vault.auth] if used or config.vault.auth != "token" else ():
        if not getattr(config.vault, key):
            yield ("vault", key), f"must be set, because vault.auth is {config.vault.auth}"


def _unset_variables(config: Config, environ: Mapping[str, str]) -> Iterator[Finding]:
    for path, source, rest in _references(config):
        if source == "env" and not environ.get(rest):
            yield path, f"the environment variable {rest} is not set; set it or change the key"


def _references(config: Config) -> Iterator[tuple[KeyPath, str, str]]:
    for path, reference in references(config):
        if path[0] != "providers" or config.providers[path[1]].enabled:
            yield path, *split_reference(reference)


def _text_of(reference: str, environ: Mapping[str, str]) -> str:
    """Returns a secret as far as it is known without reading a file or asking anybody."""
    source, rest = split_reference(reference)
    return {"literal": rest, "env": environ.get(rest, "")}.get(source, "")
