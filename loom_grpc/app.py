"""The composition root: a configuration becomes a gateway. The only file that knows every package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from loom_grpc.config import Config, ProviderConfig
from loom_grpc.core.call import Call, Handler, Send
from loom_grpc.core.errors import MODEL_NOT_FOUND, LlmError
from loom_grpc.core.estimate import estimate_tokens
from loom_grpc.core.ports import ProviderState
from loom_grpc.core.request import check
from loom_grpc.core.retry import Retry, RetryPolicy
from loom_grpc.core.router import Router, Target
from loom_grpc.credentials.api_key import ApiKey
from loom_grpc.credentials.secret import resolve
from loom_grpc.providers import registry
from loom_grpc.providers._http import HttpTransport, Transport
from loom_grpc.providers.catalogue import Catalogue, Shelf
from loom_grpc.providers.upstream import Credential, Limits, Upstream
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
            shelves = {name: self._shelf(name, provider) for name, provider in self._enabled()}
        except BaseException:
            await self._stack.aclose()
            raise
        titles = {name: registry.PROVIDERS[name].title for name in registry.PROVIDERS}
        self._shelves = shelves
        self._catalogue = Catalogue(shelves, self._telemetry.listing_failed)
        self._router = Router(
            {name: shelf.target for name, shelf in shelves.items()},
            titles=titles,
            aliases=self.config.aliases,
            default_provider=self.config.default_provider,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def answer(self, call: Call, send: Send) -> None:
        """Answers a call; raises `LlmError`; cancelling stops the upstream work."""
        target = await self._route(call)
        await target.handler(call, send)

    async def list_models(self, provider: str = "") -> list[Model]:
        """Returns the models of one provider or of all."""
        if provider and provider not in self._shelves:
            raise self._router.unknown_provider(provider)
        return await self._catalogue.models(provider)

    async def count_tokens(self, call: Call) -> CountTokensResponse:
        """Asks the provider, or estimates where it cannot count."""
        await self._route(call)
        counted = await self._shelves[call.provider].upstream.count_tokens(call)
        tokens = estimate_tokens(call.request) if counted is None else counted
        return CountTokensResponse(
            input_tokens=tokens, estimated=counted is None, provider=call.provider, model=call.model
        )

    async def providers(self) -> list[ProviderState]:
        """Returns the providers that callers may know of."""
        names = [*_LISTED, *(name for name in self._shelves if name not in _LISTED)]
        return [ProviderState(name, _title(name), configured=name in self._shelves) for name in names]

    async def _route(self, call: Call) -> Target:
        """Checks the request and finds its provider; an unknown model may be on a list that has not been asked for yet."""
        check(call.request)
        try:
            return self._router.route(call)
        except LlmError as error:
            if error.reason != MODEL_NOT_FOUND:
                raise
        await self._catalogue.models()
        return self._router.route(call)

    def _enabled(self) -> list[tuple[str, ProviderConfig]]:
        return [(name, provider) for name, provider in self.config.providers.items() if provider.enabled]

    def _shelf(self, name: str, config: ProviderConfig) -> Shelf:
        upstream = self._upstream(name, config)
        policy = RetryPolicy(
            max_attempts=config.retry.max_attempts,
            base_delay_s=config.retry.base_delay_s,
            max_delay_s=config.retry.max_delay_s,
            backoff_factor=config.retry.backoff_factor,
            jitter=config.retry.jitter,
            total_s=config.timeouts.total_s,
        )
        handler: Handler = Retry(
            self._telemetry.attempt(upstream, registry.base_url(name, config)),
            policy,
            retryable=_retryable(frozenset(config.retry.statuses)),
            on_retry=self._telemetry.retrying,
        )
        default = config.default_model or registry.row_of(name, config).default_model
        return Shelf(upstream, Target(handler, default, frozenset(config.models)), list(config.models))

    def _upstream(self, name: str, config: ProviderConfig) -> Upstream:
        transport = self._transport(name, config)
        self._stack.push_async_callback(transport.close)
        return Upstream(
            registry.make_dialect(name, config),
            registry.base_url(name, config),
            self._credential(name, config),
            transport,
            Limits(config.timeouts.connect_s, config.timeouts.first_token_s, config.timeouts.idle_s),
            {
                header: resolve(value, self._environ, key=f"providers.{name}.headers.{header}").reveal()
                for header, value in config.headers.items()
            },
            dict(config.options),
        )

    def _transport(self, name: str, config: ProviderConfig) -> Transport:
        if registry.row_of(name, config).dialect == "mock":
            from loom_grpc.providers.mock import MockTransport

            return MockTransport()
        return HttpTransport(config.max_connections)

    def _credential(self, name: str, config: ProviderConfig) -> Credential:
        row = registry.row_of(name, config)
        if row.dialect == "vertex" and config.access_token is None:
            from loom_grpc.credentials.google_adc import GoogleAdc

            return GoogleAdc()
        field = "access_token" if row.dialect == "vertex" else "api_key"
        at = f"providers.{name}.{field}"
        reference = getattr(config, field)
        key = resolve(reference.get_secret_value(), self._environ, key=at).reveal() if reference is not None else ""
        shown = registry.DIALECTS[row.dialect]
        return ApiKey(shown.key_header, shown.key_prefix, key)


def _title(name: str) -> str:
    row = registry.PROVIDERS.get(name)
    return row.title if row is not None else name


def _retryable(statuses: frozenset[int]) -> Callable[[LlmError], bool]:
    """Makes the rule which failures are worth another try: by reason, and by status where the provider gave one."""

    def retryable(error: LlmError) -> bool:
        status = error.metadata.get("provider_status")
        return error.row.retry and (status is None or int(status) in statuses)

    return retryable
