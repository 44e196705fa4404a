"""What an operator may do with the accounts."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final

from loom_grpc.app.accounts import Accounts
from loom_grpc.app.provider import Provider
from loom_grpc.app.records import Records
from loom_grpc.config import ConfigError, account_id
from loom_grpc.core import pool
from loom_grpc.core.account import AccountExistsError, AccountRef, CredentialStore, Login, StoredKey, StoreError
from loom_grpc.core.errors import (
    ACCOUNT_EXISTS,
    ACCOUNT_NOT_FOUND,
    INVALID_REQUEST,
    LOGIN_STATE_INVALID,
    LlmError,
    storage_unavailable,
)
from loom_grpc.core.health import Condition, Event
from loom_grpc.core.moment import timestamp
from loom_grpc.credentials.oauth import new_state, new_verifier
from loom_grpc.v1.admin_service_pb2 import (
    ACCOUNT_KIND_OAUTH,
    ACCOUNT_STATUS_AVAILABLE,
    ACCOUNT_STATUS_COOLING_DOWN,
    ACCOUNT_STATUS_DISABLED,
    Account,
    AccountStatus,
    PoolHealth,
    StartLoginResponse,
    WatchHealthResponse,
)

LOGIN_S: Final = 600.0
"""How long a person has for a login."""

_STATUS: Final[dict[Condition, AccountStatus.ValueType]] = {
    Condition.AVAILABLE: ACCOUNT_STATUS_AVAILABLE,
    Condition.COOLING: ACCOUNT_STATUS_COOLING_DOWN,
    Condition.REFUSED: ACCOUNT_STATUS_DISABLED,
    Condition.OFF: ACCOUNT_STATUS_DISABLED,
}
_LONGEST_KEY: Final = 16 * 1024
_TAKE_NO_KEY: Final = {
    "vertex": "provider: Vertex AI takes no keys; give it accounts with a credentials_file in the configuration.",
    "mock": "provider: the mock provider takes no keys.",
}


Reload = Callable[[], Awaitable[list[str]]]
"""Reads the configuration again, serves by it and returns the keys that it changes; raises `ConfigError`, `LlmError`."""


class Administration:
    """Implements `core.ports.Admin` for the accounts of this server.

    `catch_up` takes in what other processes have changed; `unknown_provider` makes the error for a name that is none; `reload` reads the
    configuration again.
    """

    def __init__(
        self,
        accounts: Accounts,
        records: Records,
        store: CredentialStore,
        catch_up: Callable[[], Awaitable[None]],
        unknown_provider: Callable[[str], LlmError],
        reload: Reload,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._accounts = accounts
        self._records = records
        self._store = store
        self._catch_up = catch_up
        self._unknown_provider = unknown_provider
        self._reload = reload
        self._clock = clock

    async def list_accounts(self, provider: str = "") -> list[Account]:
        """Returns the accounts of one provider or of all."""
        await self._catch_up()
        return [self._shown(account) for chosen in self._chosen(provider) for account in chosen.pool.accounts]

    async def add_account(self, provider: str, id: str, api_key: str) -> Account:
        """Keeps a new account and lets it be asked."""
        chosen = self._provider(provider)
        if reason := _TAKE_NO_KEY.get(chosen.row.dialect):
            raise LlmError(INVALID_REQUEST, reason, field="provider")
        _check_key(api_key)
        await self._catch_up()
        ref = self._new_ref(provider, id)
        stored = StoredKey(api_key)
        try:
            async with self._accounts.lock:
                await self._store.add(ref, stored)
                self._accounts.keep(ref, stored)
        except AccountExistsError:
            raise _exists(ref) from None
        except StoreError as error:
            raise _unavailable(error) from error
        return self._shown(self._account(ref))

    async def remove_account(self, provider: str, id: str) -> None:
        """Forgets an account."""
        await self._catch_up()
        account = self._account(AccountRef(provider, id))
        if account.configured:
            message = f"id: {account.ref} stands in the configuration; remove it there, or disable it."
            raise LlmError(INVALID_REQUEST, message, field="id")
        try:
            # Held, so that no process renews the login meanwhile and brings it back.
            async with self._store.hold(account.ref), self._accounts.lock:
                await self._store.remove(account.ref)
                self._accounts.forget(account.ref)
        except StoreError as error:
            raise _unavailable(error) from error

    async def enable_account(self, provider: str, id: str) -> Account:
        """Lets an account be asked again."""
        return await self._switch(AccountRef(provider, id), Event.SWITCHED_ON)

    async def disable_account(self, provider: str, id: str) -> Account:
        """Keeps an account from being asked until it is enabled."""
        return await self._switch(AccountRef(provider, id), Event.SWITCHED_OFF)

    async def start_login(self, provider: str, account_id: str = "") -> StartLoginResponse:
        """Begins an OAuth login."""
        self._provider(provider)
        await self._catch_up()
        ref = self._login_ref(provider, account_id)
        app = self._accounts.oauth_app(ref)
        if app is None:
            message = f"provider: {provider} has no OAuth login; the operator must set providers.{provider}.oauth."
            raise LlmError(INVALID_REQUEST, message, field="provider", not_implemented="oauth")
        state, verifier = new_state(), new_verifier()
        expires = self._clock() + LOGIN_S
        try:
            await self._store.keep_login(state, Login(ref, verifier, expires))
        except StoreError as error:
            raise _unavailable(error) from error
        url = await asyncio.to_thread(app.authorize_url, state, verifier)  # the first one loads Authlib
        return StartLoginResponse(authorize_url=url, state=state, expire_time=timestamp(expires))

    async def finish_login(self, provider: str, code: str, state: str) -> Account:
        """Ends an OAuth login; some providers show the code with the state behind a `#`."""
        self._provider(provider)
        login = await self._take_login(provider, state)
        code, _, shown_state = code.strip().partition("#")
        if shown_state and shown_state != state:
            raise _invalid_state("The code belongs to another login; start a new one.")
        app = self._accounts.oauth_app(login.ref)
        if app is None:
            raise _invalid_state(f"{provider} no longer has an OAuth login in the configuration.")
        tokens = await app.exchange(code, state, login.verifier)
        try:
            # Held, so that no process that renews the old login puts it in the place of the new one.
            async with self._store.hold(login.ref) as stored, self._accounts.lock:
                if isinstance(stored, StoredKey):  # added since the login began
                    raise _exists(login.ref)
                await self._store.save(login.ref, tokens)
                self._accounts.keep(login.ref, tokens)
        except StoreError as error:
            raise _unavailable(error) from error
        return self._shown(self._account(login.ref))

    async def reload_config(self) -> list[str]:
        """Reads the configuration again and serves by it from now on."""
        try:
            return await self._reload()
        except ConfigError as error:
            raise LlmError(
                INVALID_REQUEST, "The configuration stays as it was.\n" + "\n".join(error.problems)
            ) from None

    async def watch_health(self, provider: str = "") -> AsyncGenerator[WatchHealthResponse, None]:
        """Yields how all accounts fare, at once and after every change."""
        while True:
            changed = self._accounts.changed
            yield WatchHealthResponse(pools=[self.pool_health(chosen) for chosen in self._chosen(provider)])
            await self._accounts.wait(changed)

    def pool_health(self, provider: Provider) -> PoolHealth:
        """Returns how the accounts of a provider fare."""
        accounts = [self._shown(account) for account in provider.pool.accounts]
        return PoolHealth(provider=provider.name, strategy=provider.pool.strategy, accounts=accounts)

    async def _switch(self, ref: AccountRef, event: Event) -> Account:
        await self._catch_up()
        account = self._account(ref)
        account.health.record(event)
        try:
            await self._records.write()
        except StoreError as error:
            raise _unavailable(
                error, "It is done in this process, and kept as soon as the store can be written: "
            ) from error
        return self._shown(account)

    async def _take_login(self, provider: str, state: str) -> Login:
        try:
            login = await self._store.take_login(state)
        except StoreError as error:
            raise _unavailable(error) from error
        if login is None or login.ref.provider != provider:
            raise _invalid_state("This login was never started here, is finished, or took too long; start a new one.")
        return login

    def _login_ref(self, provider: str, id: str) -> AccountRef:
        """Returns whose login begins: a new account's, or an OAuth account's that logs in again."""
        account = self._accounts.find(AccountRef(provider, id)) if id else None
        if account is not None and account.kind == ACCOUNT_KIND_OAUTH:
            return account.ref
        return self._new_ref(provider, id)

    def _new_ref(self, provider: str, id: str) -> AccountRef:
        if not id:
            return AccountRef(provider, f"{provider}-{int(self._clock())}-{secrets.token_hex(3)}")
        try:
            ref = AccountRef(provider, account_id(id))
        except ValueError as error:
            raise LlmError(INVALID_REQUEST, f"id: {error}.", field="id") from None
        if self._accounts.find(ref) is not None:
            raise _exists(ref)
        return ref

    def _account(self, ref: AccountRef) -> pool.Account:
        self._provider(ref.provider)
        account = self._accounts.find(ref)
        if account is None:
            message = (
                f"id: {ref.provider} has no account {ref.id[:80]!r}; `loom-grpc accounts list` shows those that it has."
            )
            raise LlmError(ACCOUNT_NOT_FOUND, message, field="id")
        return account

    def _chosen(self, provider: str) -> list[Provider]:
        return [self._provider(provider)] if provider else list(self._accounts.providers.values())

    def _provider(self, name: str) -> Provider:
        provider = self._accounts.providers.get(name)
        if provider is None:
            raise self._unknown_provider(name)
        return provider

    def _shown(self, account: pool.Account) -> Account:
        """Writes an account as the contract has it."""
        health, counts = account.health, self._records.counts(account)
        health.usable()  # a pause that is over ends
        credential = self._accounts.login(account.ref)
        expires = credential.expires if credential is not None else None
        return Account(
            provider=account.ref.provider,
            id=account.ref.id,
            kind=account.kind,
            configured=account.configured,
            status=_STATUS[health.condition],
            disabled_by_operator=health.condition is Condition.OFF,
            cooling_until=timestamp(health.until) if health.condition is Condition.COOLING else None,
            last_error=health.last_error,
            last_error_time=timestamp(health.last_error_at) if health.last_error else None,
            token_expire_time=timestamp(expires) if expires is not None else None,
            calls_in_flight=health.in_flight,
            **counts._asdict(),
        )


def _check_key(key: str) -> None:
    if not key:
        raise LlmError(INVALID_REQUEST, "api_key: is missing; give the provider's key.", field="api_key")
    if len(key) > _LONGEST_KEY or not (key.isascii() and key.isprintable()) or " " in key:
        message = "api_key: must be printable ASCII without spaces, as a header can carry it."
        raise LlmError(INVALID_REQUEST, message, field="api_key")


def _exists(ref: AccountRef) -> LlmError:
    message = f"id: {ref.provider} has an account {ref.id} already; choose another id, or remove that one."
    return LlmError(ACCOUNT_EXISTS, message, field="id")


def _invalid_state(message: str) -> LlmError:
    return LlmError(LOGIN_STATE_INVALID, message, field="state")


def _unavailable(error: StoreError, opening: str = "") -> LlmError:
    return storage_unavailable(f"{opening}{error}")
