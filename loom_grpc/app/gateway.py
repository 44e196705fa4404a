"""The gateway: answers calls by the configuration, and lets the operator in."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from loom_grpc.app.accounts import Accounts
from loom_grpc.app.administration import Administration
from loom_grpc.app.provider import Provider
from loom_grpc.app.records import Records
from loom_grpc.app.routes import make_router
from loom_grpc.app.state import provider_state
from loom_grpc.app.store import make_store
from loom_grpc.app.upkeep import Upkeep
from loom_grpc.config import Config, oauth_of
from loom_grpc.core.call import Call, Handler, Send
from loom_grpc.core.errors import MODEL_NOT_FOUND, PERMISSION_DENIED, UNAUTHENTICATED, LlmError
from loom_grpc.core.estimate import estimate_tokens
from loom_grpc.core.ports import Admin, ProviderState
from loom_grpc.core.request import check
from loom_grpc.core.router import Target
from loom_grpc.credentials.secret import Secret, Secrets
from loom_grpc.providers import registry
from loom_grpc.providers.catalogue import Catalogue, Shelf
from loom_grpc.telemetry import Telemetry
from loom_grpc.v1.llm_service_pb2 import CountTokensResponse, Model

_LISTED = ("anthropic", "openai", "vertex", "zai", "gemini", "ollama", "mock")
"""The providers that callers are told of even where they are not configured."""


class App:
    """Answers calls by the configuration. An async context manager: leaving it closes every connection.

    Raises `ConfigError` on entering when a provider cannot be set up.
    """

    def __init__(self, config: Config, environ: Mapping[str, str], telemetry: Telemetry) -> None:
        self.config = config
        self._environ = environ
        self._telemetry = telemetry
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            self.provision()
            await self._secrets.start()
            await self._upkeep.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes every connection, and writes what is left to write."""
        await self._stack.aclose()

    async def answer(self, call: Call, send: Send) -> None:
        """Answers a call; raises `LlmError`; cancelling stops the upstream work."""
        handler = await self._route(call)
        await handler(call, send)

    async def list_models(self, provider: str = "") -> list[Model]:
        """Returns the models of one provider or of all."""
        if provider and provider not in self._shelves:
            raise self._router.unknown_provider(provider)
        return await self._catalogue.models(provider)

    async def count_tokens(self, call: Call) -> CountTokensResponse:
        """Asks the provider, or estimates where it cannot count."""
        await self._route(call)
        pool = self._accounts.providers[call.provider].pool
        counted = await pool.ask(call, lambda account: account.inquiry.count_tokens(call), lenient=True)
        tokens = estimate_tokens(call.request) if counted is None else counted
        return CountTokensResponse(
            input_tokens=tokens, estimated=counted is None, provider=call.provider, model=call.model
        )

    async def providers(self) -> list[ProviderState]:
        """Returns the providers that callers may know of."""
        names = [*_LISTED, *(name for name in self._shelves if name not in _LISTED)]
        return [self._state(name) for name in names]

    def admin(self, key: str) -> Admin:
        """Lets whoever shows the admin key in."""
        if self._admin_key is None:
            message = "Administration is off: the server has no admin key. Set admin.api_key, or LOOM_ADMIN_KEY."
            raise LlmError(PERMISSION_DENIED, message)
        if not hmac.compare_digest(key.encode(), self._admin_key.reveal().encode()):
            raise LlmError(UNAUTHENTICATED, "Administration needs the server's admin key, in the header authorization.")
        return self._administration

    def provision(self) -> None:
        """Makes everything that the configuration asks for and starts nothing; raises `ConfigError`."""
        config, telemetry = self.config, self._telemetry
        secrets = self._secrets = Secrets(
            self._environ,
            config.vault,
            on_text=telemetry.hide,
            on_trouble=telemetry.secret_unavailable,
            on_rotation=telemetry.secret_rotated,
        )
        self._stack.push_async_callback(secrets.close)
        store = make_store(config, secrets, self._environ)
        self._stack.push_async_callback(store.close)
        self._accounts = Accounts(store, secrets, telemetry)
        for name, provider in config.providers.items():
            if provider.enabled:
                self._add(Provider(name, provider, secrets, telemetry, self._accounts.condition_changed))
        self._admin_key = _admin_key(config, secrets)
        self._route_calls()
        records = Records(store, lambda: self._accounts)
        self._upkeep = Upkeep(config.credentials, store, self._accounts, records, telemetry)
        self._stack.push_async_callback(self._upkeep.close)
        self._administration = Administration(
            self._accounts, records, store, self._upkeep.catch_up, self._router.unknown_provider
        )

    def _add(self, provider: Provider) -> None:
        self._stack.push_async_callback(provider.transport.close)
        self._accounts.add_provider(provider)

    def _route_calls(self) -> None:
        self._shelves = {name: _shelf(provider) for name, provider in self._accounts.providers.items()}
        self._catalogue = Catalogue(self._shelves, self._telemetry.listing_failed)
        self._router = make_router(
            self.config, {name: shelf.target for name, shelf in self._shelves.items()}, self._telemetry
        )

    def _state(self, name: str) -> ProviderState:
        provider = self._accounts.providers.get(name)
        if provider is None:
            return ProviderState(name, _title(name), configured=False)
        pool = self._administration.pool_health(provider)
        logs_in = oauth_of(provider.config) is not None
        return provider_state(_title(name), pool, provider.pool.accounts, logs_in=logs_in)

    async def _route(self, call: Call) -> Handler:
        """Checks the request and finds its provider; an unknown model may be on a list that has not been asked for yet."""
        check(call.request)
        try:
            return self._router.route(call)
        except LlmError as error:
            if error.reason != MODEL_NOT_FOUND:
                raise
        await self._catalogue.models()
        return self._router.route(call)


def _shelf(provider: Provider) -> Shelf:
    models = list(provider.config.models)
    return Shelf(provider.pool, Target(provider.handler, provider.default_model, frozenset(models)), models)


def _admin_key(config: Config, secrets: Secrets) -> Secret | None:
    reference = config.admin.api_key
    return secrets.find(reference.get_secret_value(), "admin.api_key") if reference is not None else None


def _title(name: str) -> str:
    row = registry.PROVIDERS.get(name)
    return row.title if row is not None else name
