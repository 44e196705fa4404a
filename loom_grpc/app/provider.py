"""How a provider's configuration becomes a pool of accounts and a handler that asks them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from loom_grpc.config import ProviderConfig
from loom_grpc.core.account import AccountRef, Stored
from loom_grpc.core.errors import LlmError
from loom_grpc.core.health import Condition, Health
from loom_grpc.core.pool import Account, Pool
from loom_grpc.core.retry import Retry, RetryPolicy
from loom_grpc.credentials.api_key import ApiKey
from loom_grpc.credentials.oauth_account import OAuthCredential
from loom_grpc.credentials.secret import Secret, Secrets
from loom_grpc.providers import registry
from loom_grpc.providers._http import HttpTransport, Transport
from loom_grpc.providers.upstream import Credential, Limits, Upstream
from loom_grpc.telemetry import Telemetry
from loom_grpc.v1.admin_service_pb2 import AccountKind

LONE: str = "default"
"""The id of the account that a provider's plain `api_key` makes."""

_TUNING: Final = {
    *("strategy", "cooldown_s", "usage_window_s", "default_model", "models", "options", "retry", "timeouts"),
    *("max_connections", "accounts"),
}
"""The keys that have no say in whether an account of the configuration is taken, its own aside."""

ConditionChanged = Callable[[Account, Condition], None]
"""Is told of an account and the condition that it had before."""


class Provider:
    """One configured provider. Raises `ConfigError` when it cannot be set up."""

    def __init__(
        self,
        name: str,
        config: ProviderConfig,
        secrets: Secrets,
        telemetry: Telemetry,
        on_condition: ConditionChanged,
    ) -> None:
        self.name = name
        self.config = config
        self.row = registry.row_of(name, config)
        self.transport = _transport(self.row, config)
        self.pool = Pool(
            name, strategy=config.strategy, max_attempts=config.retry.max_attempts, on_failover=telemetry.failing_over
        )
        self.handler = Retry(
            self.pool,
            _policy(config),
            retryable=_retryable(frozenset(config.retry.statuses)),
            on_retry=telemetry.retrying,
        )
        self.lone: Account | None = None
        """The account of a provider that is configured without `accounts`."""
        self.logins: dict[str, OAuthCredential] = {}
        """What the OAuth accounts show, by their ids."""
        self.stored: Mapping[AccountRef, Stored] = {}
        """What of the store its accounts were made of, until it is in use."""
        self._address = registry.base_url(name, config)
        self._measured = telemetry.attempt
        self._on_condition = on_condition
        self._watches: list[Callable[[], None]] = []
        self._upstream = self._make_upstream(secrets)

    @property
    def default_model(self) -> str:
        """What the model name `default` means."""
        return self.config.default_model or self.row.default_model

    def key(self, secret: Secret | None) -> ApiKey:
        """Makes the credential that shows a key as this provider wants it; without a secret it shows nothing."""
        shown = registry.DIALECTS[self.row.dialect]
        return ApiKey(shown.key_header, shown.key_prefix, secret)

    def account(
        self,
        id: str,
        kind: AccountKind.ValueType,
        credential: Credential,
        *,
        configured: bool,
        implicit: bool = False,
    ) -> Account:
        """Makes an account that asks this provider; it is not in the pool yet."""
        upstream = self._upstream.showing(credential)
        health = Health(time.time, cooldown_s=self.config.cooldown_s, window_s=self.config.usage_window_s)
        account = Account(
            AccountRef(self.name, id),
            kind,
            self._measured(upstream, self._address),
            upstream,
            health,
            configured=configured,
            implicit=implicit,
        )
        health.on_change = lambda before: self._on_condition(account, before)
        return account

    def succeed(self, account: Account, former: Account) -> None:
        """Lets an account go on with the condition and the counts of the one whose place it takes."""
        health = account.health = former.health
        health.retune(cooldown_s=self.config.cooldown_s, window_s=self.config.usage_window_s)
        health.on_change = lambda before: self._on_condition(account, before)

    def shows_the_same(self, id: str, former: ProviderConfig) -> bool:
        """Tells whether an account of the configuration shows the same in the same place as with a former one."""
        mine, other = (
            (config.model_dump(exclude=_TUNING), config.accounts.get(id)) for config in (self.config, former)
        )
        return mine == other

    def watch(self, secret: Secret, on_change: Callable[[], object]) -> None:
        """Has a function called whenever a secret changes, until the provider retires."""
        self._watches.append(secret.watch(on_change))

    def retire(self) -> None:
        """Lets calls in flight come to their end, and closes each connection as soon as it is free."""
        self.transport.retire()
        while self._watches:
            self._watches.pop()()

    def _make_upstream(self, secrets: Secrets) -> Upstream:
        config = self.config
        upstream = Upstream(
            registry.make_dialect(self.name, config),
            self._address,
            self.key(None),
            self.transport,
            Limits(config.timeouts.connect_s, config.timeouts.first_token_s, config.timeouts.idle_s),
            {},
            dict(config.options),
        )
        found = {
            name: secrets.find(text, f"providers.{self.name}.headers.{name}") for name, text in config.headers.items()
        }
        for name, secret in found.items():
            self._keep_header(upstream, name, secret)
        return upstream

    def _keep_header(self, upstream: Upstream, header: str, secret: Secret) -> None:
        """Sends a header from now on, and always with its secret's present text."""

        def renew() -> None:
            upstream.set_header(header, secret.reveal())

        self.watch(secret, renew)
        if secret.known:
            renew()


def _transport(row: registry.Row, config: ProviderConfig) -> Transport:
    if row.dialect == "mock":
        from loom_grpc.providers.mock import MockTransport

        return MockTransport()
    return HttpTransport(config.max_connections)


def _policy(config: ProviderConfig) -> RetryPolicy:
    return RetryPolicy(
        max_attempts=config.retry.max_attempts,
        base_delay_s=config.retry.base_delay_s,
        max_delay_s=config.retry.max_delay_s,
        backoff_factor=config.retry.backoff_factor,
        jitter=config.retry.jitter,
        total_s=config.timeouts.total_s,
    )


def _retryable(statuses: frozenset[int]) -> Callable[[LlmError], bool]:
    """Makes the rule which failures are worth another try: by reason, and by status where the provider gave one."""

    def retryable(error: LlmError) -> bool:
        status = error.metadata.get("provider_status")
        return error.row.retry and (status is None or int(status) in statuses)

    return retryable
