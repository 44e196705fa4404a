"""The gateway: answers calls by the configuration, and lets the operator in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self
from weakref import WeakSet

from loom_grpc.app.access import make_doors, make_meter
from loom_grpc.app.accounts import Accounts
from loom_grpc.app.administration import Administration, Reload
from loom_grpc.app.cache import Caching
from loom_grpc.app.call_records import CallRecords
from loom_grpc.app.kept import make_kept
from loom_grpc.app.ledgers import open_ledger, shared_database
from loom_grpc.app.office import Office
from loom_grpc.app.parts import Parts, make_parts, rate_of, refuse_weak, retire
from loom_grpc.app.provider import Provider
from loom_grpc.app.records import Records
from loom_grpc.app.secret import make_secrets
from loom_grpc.app.state import provider_state
from loom_grpc.app.store import make_store
from loom_grpc.app.upkeep import Upkeep
from loom_grpc.config import Config, changed_keys, oauth_of, refuse_fixed
from loom_grpc.config.tree import references
from loom_grpc.core.call import Call, Handler, Send
from loom_grpc.core.errors import INVALID_REQUEST, MODEL_NOT_FOUND, PERMISSION_DENIED, LlmError
from loom_grpc.core.estimate import estimate_tokens
from loom_grpc.core.ports import Admin, Gatekeeper, ProviderState
from loom_grpc.core.principal import Allowed, Shown
from loom_grpc.core.quota import Scope
from loom_grpc.core.request import check, check_embed
from loom_grpc.core.route import Chain
from loom_grpc.processors.guard import not_allowed
from loom_grpc.processors.limits import Limits
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
        self,
        config: Config,
        environ: Mapping[str, str],
        telemetry: Telemetry,
        shared: Path | None = None,
        number: int = 0,
    ) -> None:
        self.config = config
        self._shared = shared
        self._number = number
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
            await self._doors.start()
            await self._records.start()
            await self._prepare(self.config, self.parts)
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

    async def list_models(self, call: Call, provider: str = "") -> list[Model]:
        """Returns the models of one provider; or the routes and aliases, and the models of all; as far as the caller may ask them."""
        parts = self.parts
        if provider and provider not in parts.shelves:
            raise parts.router.unknown_provider(provider)
        allowed = call.principal.allowed
        return [model for model in await parts.models.list(provider) if _may_be_asked(allowed, model)]

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
        counted: list[CountTokensResponse] = []

        async def count(call: Call, _send: Send) -> None:
            counted.append(await self._count(call))

        await self._counted(count)(call, _no_events)
        return counted[0]

    async def _count(self, call: Call) -> CountTokensResponse:
        parts = self.parts
        handler, allowed = await _route(parts, call), call.principal.allowed
        call.route = handler.name if isinstance(handler, Chain) else ""
        if not (allowed.target(call.provider, call.model) and allowed.route(call.route)):
            raise not_allowed(call)
        pool = parts.providers[call.provider].pool
        counted = await pool.ask(call, lambda account: account.inquiry.count_tokens(call), lenient=True)
        tokens = estimate_tokens(call.request) if counted is None else counted
        return CountTokensResponse(
            input_tokens=tokens, estimated=counted is None, provider=call.provider, model=call.model
        )

    async def embed(self, call: Call) -> EmbedResponse:
        """Turns texts into vectors, through the same routes, pools and retries as answers."""
        check_embed(call.embed or EmbedRequest())
        await self._counted(partial(_ask, self.parts))(call, _no_events)
        return call.embedded or EmbedResponse()

    async def pass_on(self, call: Call) -> None:
        """Passes a request on to a provider's own API, with the provider's credentials."""
        await self._counted(self._pass_on)(call, _no_events)

    async def _pass_on(self, call: Call, send: Send) -> None:
        parts, name = self.parts, call.request.provider
        provider = parts.providers.get(name)
        if provider is None:
            raise parts.router.unknown_provider(name)
        if not provider.config.raw:
            message = f"Requests are not passed on to {name} as they are; the operator may set providers.{name}.raw."
            raise LlmError(PERMISSION_DENIED, message)
        call.provider = name
        await parts.shelves[name].target.handler(call, send)

    async def providers(self) -> list[ProviderState]:
        """Returns the providers that callers may know of."""
        names = [*_LISTED, *(name for name in self.parts.shelves if name not in _LISTED)]
        return [self._state(name) for name in names]

    async def watch_providers(self) -> AsyncGenerator[Mapping[str, bool], None]:
        """Yields of each configured provider whether it has an account that may be asked, at once and after every change."""
        while True:
            changed = self._accounts.changed
            pools = {name: provider.pool.accounts for name, provider in self._accounts.providers.items()}
            yield {name: any(account.health.usable() for account in pool) for name, pool in pools.items()}
            await self._accounts.wait(changed)

    @property
    def gatekeeper(self) -> Gatekeeper:
        """Decides who may call what."""
        return self._doors.authority

    def conclude(self, call: Call, error: LlmError | None = None, *, cancelled: bool = False) -> None:
        """Leaves the record of a call, once."""
        self._records.recorder.conclude(call, error, cancelled=cancelled)

    def admin(self, shown: Shown) -> Admin:
        """Returns what an operator may do, who has been let in."""
        return self._administration

    def office(self, shown: Shown) -> Office:
        """Returns what an operator may do with keys, budgets and records, who has been let in."""
        return self._office

    def provision(self, *, is_check: bool = False) -> None:
        """Makes everything that the configuration asks for and starts nothing; for a check it writes nothing. Raises `ConfigError`."""
        config, telemetry = self.config, self._telemetry
        secrets = self._secrets = make_secrets(config, self._environ, telemetry)
        self._stack.push_async_callback(secrets.close)
        database = shared_database(config, secrets, self._environ)
        if database is not None:
            self._stack.push_async_callback(database.close)
        store = make_store(config, secrets, self._environ, database)
        self._stack.push_async_callback(store.close)
        self.kept = make_kept(config, secrets, store, self._shared)
        self._stack.push_async_callback(self.kept.close)
        accounts = self._accounts = Accounts(store, secrets, telemetry)
        self._meter = make_meter(
            config, secrets, self._environ, self._shared, self._number, telemetry, is_check=is_check
        )
        self._stack.push_async_callback(self._meter.close)
        self.parts = make_parts(config, accounts, secrets, telemetry, self._meter)
        self._stack.push_async_callback(self._close_transports)
        self._doors = make_doors(
            config, self._environ, self._shared, database, self._meter, lambda: self.parts.admin_key, telemetry
        )
        self._stack.push_async_callback(self._doors.close)
        ledger = partial(open_ledger, config, database)
        self._records = CallRecords(config, secrets, self._environ, ledger, lambda: self.parts.catalogue, telemetry)
        self._stack.push_async_callback(self._records.close)
        self._office = Office(self._doors.directory, ledger, self._doors, self._meter, lambda: self.config)
        self._caching = Caching(secrets, telemetry)
        self._stack.push_async_callback(self._caching.close)
        self._handler = self._around(self._caching.before(partial(_ask, self.parts), config), config)
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
        parts = make_parts(config, accounts, self._secrets, self._telemetry, self._meter, former)
        try:
            handler = self._around(self._caching.before(partial(_ask, parts), config), config)
            await self._secrets.settle()
            await self._upkeep.make_ready(accounts.newcomers(parts.providers))
            await self._prepare(config, parts)
            book = await self._doors.prepare(config)
        except BaseException:
            retire(parts.providers, kept=former.providers)
            raise
        accounts.take_over(parts.providers)
        self.parts, self._handler, self.config = parts, handler, config
        self._telemetry.reconfigure(config)
        self._doors.reconfigure(config, book)
        for provider in retire(former.providers, kept=parts.providers):
            self._retired.add(provider.transport)
            self._farewell(provider)

    def _around(self, handler: Handler, config: Config) -> Handler:
        """Puts the limits and the records around what answers calls."""
        limits = config.limits
        address = rate_of(Scope("address", ""), limits.address)
        return self._records.recorder.around(
            Limits(
                handler,
                self._meter,
                address=address if any(limit is not None for limit in address[1:]) else None,
                assumed_tokens=limits.assumed_output_tokens,
                clock=time.time,
            )
        )

    def _counted(self, handler: Handler) -> Handler:
        return self._around(handler, self.config)

    async def _prepare(self, config: Config, parts: Parts) -> None:
        """Reads the prices where calls are priced; raises `ConfigError` for an admin key that may be guessed."""
        if parts.admin_key is not None:
            refuse_weak(parts.admin_key)  # it may have come from Vault only now
        await parts.models.prepare()
        if self._records.is_on or config.access.is_on or config.spending.budgets:
            await parts.catalogue.load_prices()

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


def _may_be_asked(allowed: Allowed, model: Model) -> bool:
    return allowed.target(model.provider, model.id) if model.provider else allowed.route(model.id)


def _title(name: str) -> str:
    row = registry.PROVIDERS.get(name)
    return row.title if row is not None else name
