"""The accounts of all providers: those of the configuration, and those that come and go with the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping

from loom_grpc.app.provider import LONE, Provider
from loom_grpc.config import AccountConfig, OAuthConfig, oauth_of
from loom_grpc.core.account import AccountRef, CredentialStore, Stored, StoredKey, Tokens
from loom_grpc.core.health import Condition, Event
from loom_grpc.core.pool import Account
from loom_grpc.credentials.google_adc import GoogleAdc
from loom_grpc.credentials.oauth import OAuthApp, OAuthSettings
from loom_grpc.credentials.oauth_account import OAuthCredential
from loom_grpc.credentials.secret import Secret, Secrets
from loom_grpc.telemetry import Telemetry
from loom_grpc.v1.admin_service_pb2 import (
    ACCOUNT_KIND_API_KEY,
    ACCOUNT_KIND_GOOGLE,
    ACCOUNT_KIND_NONE,
    ACCOUNT_KIND_OAUTH,
)

Headers = Callable[[], Mapping[str, str]]


class Accounts:
    """Puts accounts into the providers' pools and takes them out again."""

    def __init__(self, store: CredentialStore, secrets: Secrets, telemetry: Telemetry) -> None:
        self.providers: dict[str, Provider] = {}
        self.changed = asyncio.Event()
        """Set, and replaced by another, when an account comes, goes or changes its condition."""
        self.lock = asyncio.Lock()
        """Held while the store is read or written together with the pools: what was read before a change must not undo it."""
        self._store = store
        self._secrets = secrets
        self._telemetry = telemetry
        self._stored: dict[AccountRef, Stored] = {}

    def __iter__(self) -> Iterator[Account]:
        for provider in self.providers.values():
            yield from provider.pool.accounts

    async def wait(self, changed: asyncio.Event) -> None:
        """Waits until `changed` is set or a pause is over, which by itself nobody notices before the account is to be asked."""
        pauses = [account.health.remaining_s() for account in self if account.health.condition is Condition.COOLING]
        try:
            async with asyncio.timeout(min(pauses, default=None)):
                await changed.wait()
        except TimeoutError:
            for account in self:
                account.health.usable()

    def find(self, ref: AccountRef) -> Account | None:
        """Returns an account by its name."""
        provider = self.providers.get(ref.provider)
        return _named(provider, ref) if provider is not None else None

    def login(self, ref: AccountRef) -> OAuthCredential | None:
        """Returns what an OAuth account shows."""
        provider = self.providers.get(ref.provider)
        return provider.logins.get(ref.id) if provider is not None else None

    def logins(self) -> dict[AccountRef, OAuthCredential]:
        """Returns what the OAuth accounts show."""
        return {
            AccountRef(name, id): credential
            for name, provider in self.providers.items()
            for id, credential in provider.logins.items()
        }

    def furnish(self, provider: Provider, former: Provider | None = None) -> None:
        """Makes the accounts of a provider's configuration; raises `ConfigError`.

        Logins that are configured as those of the `former` provider of its name are kept.
        """
        config = provider.config
        if config.oauth is not None:  # so that what is wrong there is found before somebody logs in
            self._settings(provider.name, config.oauth)
        if not config.accounts:
            provider.lone = self._lone_account(provider)
        configured = [self._configured(provider, id, account, former) for id, account in config.accounts.items()]
        self._arrange(provider, configured)
        self._level(provider, former)

    def newcomers(self, providers: Mapping[str, Provider]) -> list[Account]:
        """Returns the accounts of these providers that take nobody's place here."""
        return [
            account
            for provider in providers.values()
            for account in provider.pool.accounts
            if self.find(account.ref) is None
        ]

    def take_over(self, providers: dict[str, Provider]) -> None:
        """Puts these providers in the place of those that are there; accounts go on with the condition of those of their name."""
        before, self.providers = self.providers, providers
        for name, provider in providers.items():
            former = before.get(name)
            if provider is former:
                continue
            self._level(provider, former)  # with what has come since it was furnished
            if former is not None:
                _succeed(provider, former)
        self._tell()

    def sync(self, stored: Mapping[AccountRef, Stored]) -> None:
        """Brings the pools in step with what the store has."""
        for ref in [ref for ref in self._stored if ref not in stored]:
            self.forget(ref)
        for ref, value in stored.items():
            self.keep(ref, value)

    def keep(self, ref: AccountRef, stored: Stored) -> None:
        """Takes in what the store has for an account: a new one, or something new for one that is there."""
        before = self._stored.get(ref)
        self._stored[ref] = stored
        provider = self.providers.get(ref.provider)
        if provider is not None and before != stored:
            self._take_in(provider, ref, stored)

    def forget(self, ref: AccountRef) -> None:
        """Lets go of what the store no longer has."""
        self._stored.pop(ref, None)
        if (provider := self.providers.get(ref.provider)) is not None:
            self._drop(provider, ref)

    def _drop(self, provider: Provider, ref: AccountRef) -> None:
        account = _named(provider, ref)
        if account is not None and not account.configured:
            provider.logins.pop(ref.id, None)
            self._arrange(provider, [other for other in provider.pool.accounts if other is not account])
        elif ref.id in provider.logins:
            provider.logins[ref.id].adopt(None)

    def condition_changed(self, account: Account, before: Condition) -> None:
        """Tells the log, and whoever waits for `changed`."""
        self._telemetry.account_changed(account, before)
        self._tell()

    def oauth_app(self, ref: AccountRef) -> OAuthApp | None:
        """Returns the operator's application for an account's login; None where the configuration does not say."""
        config = self.providers[ref.provider].config
        settings = oauth_of(config, config.accounts.get(ref.id))
        return OAuthApp(ref.provider, self._settings(ref.provider, settings)) if settings is not None else None

    def _level(self, provider: Provider, former: Provider | None) -> None:
        """Brings a provider that is not in use yet in step with what the store has."""
        stored = {ref: value for ref, value in self._stored.items() if ref.provider == provider.name}
        for ref in provider.stored.keys() - stored.keys():
            self._drop(provider, ref)
        for ref, value in stored.items():
            if provider.stored.get(ref) != value:
                self._take_in(provider, ref, value, former)
        provider.stored = stored

    def _take_in(self, provider: Provider, ref: AccountRef, stored: Stored, former: Provider | None = None) -> None:
        account = _named(provider, ref)
        if account is not None and account.kind == ACCOUNT_KIND_OAUTH and isinstance(stored, Tokens):
            if provider.logins[ref.id].adopt(stored):
                account.health.record(Event.RENEWED)
        elif account is None or not account.configured:
            others = [other for other in provider.pool.accounts if other is not account]
            self._arrange(provider, [*others, self._added(provider, ref, stored, account, former)])

    def _arrange(self, provider: Provider, accounts: list[Account]) -> None:
        """Sets a pool: the configuration's accounts, then the store's by their ids; and the plain key, unless it is none and others are."""
        order = {id: number for number, id in enumerate(provider.config.accounts)}
        chosen = [account for account in accounts if not account.implicit]
        chosen.sort(key=lambda account: (order.get(account.ref.id, len(order)), account.ref.id))
        lone = provider.lone
        has_others = bool(chosen) or provider.config.oauth is not None
        if lone is not None and not (lone.kind == ACCOUNT_KIND_NONE and has_others):
            chosen.insert(0, lone)
        provider.pool.accounts = chosen
        self._tell()

    def _lone_account(self, provider: Provider) -> Account:
        """Makes the account of a provider that is configured with one key, with Google's credentials, or with nothing to show."""
        config, is_vertex = provider.config, provider.row.dialect == "vertex"
        field = "access_token" if is_vertex else "api_key"
        reference = config.access_token if is_vertex else config.api_key
        if reference is not None:
            secret = self._secrets.find(reference.get_secret_value(), f"providers.{provider.name}.{field}")
            return self._with_key(provider, LONE, secret, configured=True, implicit=True)
        if is_vertex:
            google = GoogleAdc(config.credentials_file)
            return provider.account(LONE, ACCOUNT_KIND_GOOGLE, google, configured=True, implicit=True)
        return provider.account(LONE, ACCOUNT_KIND_NONE, provider.key(None), configured=True, implicit=True)

    def _configured(self, provider: Provider, id: str, config: AccountConfig, former: Provider | None) -> Account:
        if config.api_key is not None:
            key = f"providers.{provider.name}.accounts.{id}.api_key"
            secret = self._secrets.find(config.api_key.get_secret_value(), key)
            return self._with_key(provider, id, secret, configured=True)
        if config.credentials_file is not None:
            return provider.account(id, ACCOUNT_KIND_GOOGLE, GoogleAdc(config.credentials_file), configured=True)
        return self._with_login(provider, AccountRef(provider.name, id), None, former, configured=True)

    def _added(
        self, provider: Provider, ref: AccountRef, stored: Stored, before: Account | None, former: Provider | None
    ) -> Account:
        """Makes an account of the store's; one that takes the place of another of its name goes on with its counts."""
        if isinstance(stored, StoredKey):
            self._telemetry.hide(stored.key)
            account = self._with_key(provider, ref.id, Secret.literal(stored.key), configured=False)
        else:
            account = self._with_login(provider, ref, stored, former, configured=False)
        if before is not None:
            provider.succeed(account, before)
            account.health.record(Event.RENEWED)
        return account

    def _with_key(
        self, provider: Provider, id: str, secret: Secret, *, configured: bool, implicit: bool = False
    ) -> Account:
        credential = provider.key(secret)
        account = provider.account(id, ACCOUNT_KIND_API_KEY, credential, configured=configured, implicit=implicit)
        provider.watch(secret, lambda: account.health.record(Event.RENEWED))
        return account

    def _with_login(
        self,
        provider: Provider,
        ref: AccountRef,
        tokens: Tokens | None,
        former: Provider | None,
        *,
        configured: bool,
    ) -> Account:
        settings = _login_settings(provider, ref)
        kept = former.logins.get(ref.id) if former is not None and _login_settings(former, ref) == settings else None
        credential = provider.logins[ref.id] = kept or OAuthCredential(
            ref,
            OAuthApp(provider.name, self._settings(provider.name, settings)),
            self._store,
            tokens=tokens,
            headers=self._headers(provider.name, "headers", settings.headers),
            on_tokens=self._hide,
            on_unsaved=self._telemetry.tokens_unsaved,
        )
        return provider.account(ref.id, ACCOUNT_KIND_OAUTH, credential, configured=configured)

    def _settings(self, provider: str, config: OAuthConfig) -> OAuthSettings:
        secret = config.client_secret
        at = f"providers.{provider}.oauth.client_secret"
        return OAuthSettings(
            authorize_url=config.authorize_url,
            token_url=config.token_url,
            client_id=config.client_id,
            client_secret=self._secrets.find(secret.get_secret_value(), at).reveal if secret is not None else None,
            client_auth=config.client_auth,
            redirect_uri=config.redirect_uri,
            scopes=tuple(config.scopes),
            token_format=config.token_format,
            authorize_params=config.authorize_params,
            token_headers=self._headers(provider, "token_headers", config.token_headers),
        )

    def _headers(self, provider: str, key: str, references: Mapping[str, str]) -> Headers:
        found = {
            name: self._secrets.find(reference, f"providers.{provider}.oauth.{key}.{name}")
            for name, reference in references.items()
        }
        return lambda: {name.lower(): secret.reveal() for name, secret in found.items()}

    def _hide(self, tokens: Tokens) -> None:
        self._telemetry.hide(tokens.access)
        self._telemetry.hide(tokens.refresh)

    def _tell(self) -> None:
        told, self.changed = self.changed, asyncio.Event()
        told.set()


def _named(provider: Provider, ref: AccountRef) -> Account | None:
    return next((account for account in provider.pool.accounts if account.ref == ref), None)


def _login_settings(provider: Provider, ref: AccountRef) -> OAuthConfig:
    return oauth_of(provider.config, provider.config.accounts.get(ref.id)) or OAuthConfig()


def _succeed(provider: Provider, former: Provider) -> None:
    """Lets accounts go on as those of their name; one that was refused is asked again when it shows another thing now."""
    for account in provider.pool.accounts:
        before = _named(former, account.ref)
        if before is None:
            continue
        provider.succeed(account, before)
        if not provider.shows_the_same(account.ref.id, former.config):
            account.health.record(Event.RENEWED)
