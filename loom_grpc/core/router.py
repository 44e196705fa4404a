"""Finds the provider and the model that a request means."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from loom_grpc.core.call import Call, Handler, Send
from loom_grpc.core.errors import INVALID_REQUEST, MODEL_NOT_FOUND, PROVIDER_NOT_CONFIGURED, LlmError
from loom_grpc.v1.llm_service_pb2 import LlmRequest

_DEFAULT = ("", "default")


@dataclass(slots=True)
class Target:
    """A configured provider as the router sees it."""

    handler: Handler
    default_model: str
    models: Collection[str] = ()
    """The models that the provider is known to list."""


class Router:
    """A handler that hands each call to the provider it means.

    `titles` names the providers that exist but may not be configured, for the error that says so.
    """

    def __init__(
        self,
        targets: Mapping[str, Target],
        *,
        titles: Mapping[str, str],
        aliases: Mapping[str, str],
        default_provider: str = "",
    ) -> None:
        self._targets = targets
        self._titles = titles
        self._aliases = aliases
        self._default_provider = default_provider

    async def __call__(self, call: Call, send: Send) -> None:
        """Sets `provider` and `model` of the call and answers it."""
        await self.route(call).handler(call, send)

    def route(self, call: Call) -> Target:
        """Sets `provider` and `model` of the call; raises `LlmError` when the request names none that can be had."""
        provider, model = self._find(call.request)
        target = self._targets.get(provider)
        if target is None:
            raise self.unknown_provider(provider)
        if model in _DEFAULT:
            model = target.default_model
        if not model:
            message = f"model: {provider} has no default model; name one, or set providers.{provider}.default_model."
            raise LlmError(INVALID_REQUEST, message, field="model", provider=provider)
        call.provider, call.model = provider, model
        return target

    def _find(self, request: LlmRequest) -> tuple[str, str]:
        if request.provider:
            return request.provider, request.model
        model = self._aliases.get(request.model, request.model)
        provider, slash, rest = model.partition("/")
        if slash and provider in self._targets:
            return provider, rest
        if model in _DEFAULT:
            return self._default(), model
        return self._lister(model), model

    def _default(self) -> str:
        if self._default_provider:
            return self._default_provider
        if len(self._targets) == 1:
            return next(iter(self._targets))
        names = ", ".join(self._targets)
        message = f"model: name a provider ({names}) or a model; the server has no default_provider."
        raise LlmError(INVALID_REQUEST, message, field="model")

    def _lister(self, model: str) -> str:
        """Returns the only provider that lists a model."""
        listers = [
            name for name, target in self._targets.items() if model in target.models or model == target.default_model
        ]
        if len(listers) == 1:
            return listers[0]
        if not listers:
            message = f"model: no configured provider lists {model!r}; write it as provider/model, or see ListModels."
            raise LlmError(MODEL_NOT_FOUND, message, field="model")
        choices = ", ".join(f"{name}/{model}" for name in listers)
        raise LlmError(
            INVALID_REQUEST, f"model: several providers list {model!r}; write one of {choices}.", field="model"
        )

    def unknown_provider(self, provider: str) -> LlmError:
        """Makes the error for a provider that is not configured or not known at all."""
        if title := self._titles.get(provider):
            return LlmError(
                PROVIDER_NOT_CONFIGURED, f"{title} provider is not configured on the server", provider=provider
            )
        names = ", ".join(self._targets)
        message = f"provider: there is no provider {provider[:80]!r}; configured are {names}."
        return LlmError(INVALID_REQUEST, message, field="provider")
