"""The gateway: answers calls by the configuration, and lets the operator in."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self
from weakref import WeakSet

from loom_grpc.app.accounts import Accounts
from loom_grpc.app.administration import Administration, Reload
from loom_grpc.app.cache import Caching
from loom_grpc.app.kept import make_kept
from loom_grpc.app.parts import Parts, make_parts, retire
from loom_grpc.app.provider import Provider
from loom_grpc.app.records import Records
from loom_grpc.app.state import provider_state
from loom_grpc.app.store import make_store
from loom_grpc.app.upkeep import Upkeep
from loom_grpc.config import Config, changed_keys, oauth_of, refuse_fixed
from loom_grpc.config.tree import references
from loom_grpc.core.call import Call, Handler, Send
from loom_grpc.core.errors import INVALID_REQUEST, MODEL_NOT_FOUND, PERMISSION_DENIED, UNAUTHENTICATED, LlmError
from loom_grpc.core.estimate import estimate_tokens
from loom_grpc.core.ports import Admin, ProviderState
from loom_grpc.core.request import check, check_embed
from loom_grpc.credentials.secret import Secrets
from loom_grpc.providers import registry
from loom_grpc.providers._http import Transport
from loom_grpc.telemetry import Telemetry
from loom_grpc.v1.llm_service_pb2 import CountTokensResponse, EmbedRequest, EmbedResponse, LlmEvent, Model

_LISTED = ("anthropic", "openai", "vertex", "zai", "gemini", "ollama", "mock")
"""The providers that callers are told of even where they are not configured."""


class App:
    """Answers calls by the configuration. An async context manager: leaving it closes every connection.

    Raises `ConfigError` on entering when a provider cannot be set up.
    """

    def __init__(
        self, config: Config, environ: Mapping[str, str], telemetry: Telemetry, shared: Path | None = None
    ) -> None:
        self.config = config
        self._shared = shared
        self._environ = environ
        self._telemetry = telemetry
        self._stack = AsyncExitStack()
        self._adopting = asyncio.Lock()
        self._retired: WeakSet[Transport] = WeakSet()
        self._farewells: set[asyncio.Task[None]] = set()
        self.parts: Parts
        """What calls are answered with at present."""
        self.reload: Reload = _cannot_reload
        """Reads the configuration again; whoever knows where it is read from puts it here."""

    async def __aenter__(self) -> Self:
        try:
            self.provision()
            await self._secrets.start()
            await self._upkeep.start()
            await self.parts.models.prepare()
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
        check(call.request)
        await self._handler(call, send)

    async def list_models(self, provider: str = "") -> list[Model]:
        """Returns the models of one provider; or the routes and aliases, and the models of all."""
        parts = self.parts
        if provider and provider not in parts.shelves:
            raise parts.router.unknown_provider(provider)
        return await parts.models.list(provider)

    async def adopt(self, config: Config) -> list[str]:
        """Serves by another configuration from now on and returns the keys that it changes; raises `ConfigError`, and then nothing changes.

        Calls in flight go on to their end with what they began with. Cancelling before the change leaves everything as it was.
        """
        async with self._adopting:
            changed = changed_keys(self.config, config)
            refuse_fixed(changed)
            try:
                if changed:
                    await self._exchange(config)
            finally:
                self._secrets.retain({reference for _, reference in references(self.config)})
            return changed

    async def count_tokens(self, call: Call) -> CountTokensResponse:
        """Asks the provider, or estimates where it cannot count."""
        check(call.request)
        parts = self.parts
        await _route(parts, call)
        pool = parts.providers[call.provider].pool
        counted = await pool.ask(call, lambda account: account.inquiry.count_tokens(call), lenient=True)
        tokens = estimate_tokens(call.request) if counted is None else counted
        return CountTokensResponse(
            input_tokens=tokens, estimated=counted is None, provider=call.provider, model=call.model
        )

    async def embed(self, call: Call) -> EmbedResponse:
        """Turns texts into vectors, through the same routes, pools and retries as answers."""
        check_embed(call.embed or EmbedRequest())
        await _ask(self.parts, call, _no_events)
        return call.embedded or EmbedResponse()

    async def pass_on(self, call: Call) -> None:
        """Passes a request on to a provider's own API, with the provider's credentials."""
        parts, name = self.parts, call.request.provider
        provider = parts.providers.get(name)
        if provider is None:
            raise parts.router.unknown_provider(name)
        if not provider.config.raw:
            message = f"Requests are not passed on to {name} as they are; the operator may set providers.{name}.raw."
            raise LlmError(PERMISSION_DENIED, message)
        call.provider = name
        await provider.handler(call, _no_events)

    async def providers(self) -> list[ProviderState]:
        """Returns the providers that callers may know of."""
        names = [*_LISTED, *(name for name in self.parts.shelves if name not in _LISTED)]
        return [self._state(name) for name in names]

    def admin(self, key: str) -> Admin:
        """Lets whoever shows the admin key in."""
        admin_key = self.parts.admin_key
        if admin_key is None:
            message = "Administration is off: the server has no admin key. Set admin.api_key, or LOOM_ADMIN_KEY."
            raise LlmError(PERMISSION_DENIED, message)
        if not hmac.compare_digest(key.encode(), admin_key.reveal().encode()):
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
        self.kept = make_kept(config, secrets, store, self._shared)
        self._stack.push_async_callback(self.kept.close)
        accounts = self._accounts = Accounts(store, secrets, telemetry)
        self.parts = make_parts(config, accounts, secrets, telemetry)
        self._stack.push_async_callback(self._close_transports)
        self._caching = Caching(secrets, telemetry)
        self._stack.push_async_callback(self._caching.close)
        self._handler = self._caching.before(partial(_ask, self.parts), config)
        accounts.take_over(self.parts.providers)
        records = Records(store, lambda: accounts)
        self._upkeep = Upkeep(config.credentials, store, accounts, records, telemetry)
        self._stack.push_async_callback(self._upkeep.close)
        self._administration = Administration(
            accounts, records, store, self._upkeep.catch_up, self._unknown_provider, self._reload
        )

    async def _exchange(self, config: Config) -> None:
        """Makes everything that is new, waits until it can be used, and only then changes what calls are answered with."""
        former, accounts = self.parts, self._accounts
        parts = make_parts(config, accounts, self._secrets, self._telemetry, former)
        try:
            handler = self._caching.before(partial(_ask, parts), config)
            await self._secrets.settle()
            await self._upkeep.make_ready(accounts.newcomers(parts.providers))
            await parts.models.prepare()
        except BaseException:
            retire(parts.providers, kept=former.providers)
            raise
        accounts.take_over(parts.providers)
        self.parts, self._handler, self.config = parts, handler, config
        self._telemetry.reconfigure(config)
        for provider in retire(former.providers, kept=parts.providers):
            self._retired.add(provider.transport)
            self._farewell(provider)

    def _farewell(self, provider: Provider) -> None:
        """Has the logins that nobody uses any more save what they have not saved yet."""
        kept = self._accounts.logins().values()
        for credential in provider.logins.values():
            if not any(credential is other for other in kept):
                farewell = asyncio.create_task(credential.close())
                self._farewells.add(farewell)
                farewell.add_done_callback(self._farewells.discard)

    async def _close_transports(self) -> None:
        await asyncio.gather(*self._farewells)
        transports = [provider.transport for provider in self.parts.providers.values()]
        for transport in [*transports, *self._retired]:
            await transport.close()

    async def _reload(self) -> list[str]:
        return await self.reload()

    def _unknown_provider(self, name: str) -> LlmError:
        return self.parts.router.unknown_provider(name)

    def _state(self, name: str) -> ProviderState:
        provider = self._accounts.providers.get(name)
        if provider is None:
            return ProviderState(name, _title(name), configured=False)
        pool = self._administration.pool_health(provider)
        logs_in = oauth_of(provider.config) is not None
        return provider_state(_title(name), pool, provider.pool.accounts, logs_in=logs_in)


async def _ask(parts: Parts, call: Call, send: Send) -> None:
    handler = await _route(parts, call)
    await handler(call, send)


async def _no_events(_event: LlmEvent) -> None:
    """Takes the events of a call that has none."""


async def _route(parts: Parts, call: Call) -> Handler:
    """Finds the request's provider; an unknown model may be on a list that has not been asked for yet."""
    try:
        return parts.router.route(call)
    except LlmError as error:
        if error.reason != MODEL_NOT_FOUND:
            raise
    await parts.listing.models()
    return parts.router.route(call)


async def _cannot_reload() -> list[str]:
    raise LlmError(INVALID_REQUEST, "This server was started without anything that it could read again.")


def _title(name: str) -> str:
    row = registry.PROVIDERS.get(name)
    return row.title if row is not None else name
