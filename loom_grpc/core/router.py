"""Finds the provider and the model, or the route, that a request means."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from loom_grpc.core.call import Call, Handler, Send
from loom_grpc.core.errors import INVALID_REQUEST, MODEL_NOT_FOUND, PROVIDER_NOT_CONFIGURED, LlmError
from loom_grpc.core.leg import Leg
from loom_grpc.core.model import UNKNOWN, Facts
from loom_grpc.core.route import Chain

_DEFAULT = ("", "default")
_LONGEST_CHAIN = 8


@dataclass(slots=True)
class Target:
    """A configured provider as the router sees it."""

    handler: Handler
    default_model: str
    models: Collection[str] = ()
    """The models that the provider is known to list."""
    facts: Callable[[str], Facts] = lambda _model: UNKNOWN
    """Says what is known of a model."""


class Rewrite(NamedTuple):
    """Another name for the models whose whole name matches."""

    match: re.Pattern[str]
    to: str
    """May refer to the groups of the match, as `re.Match.expand` takes it."""


class Router:
    """A handler that hands each call to the provider or the route it means.

    `titles` names the providers that exist but may not be configured, for the error that says so. `routes` may grow after the router was
    made. `make_chain` makes a handler of the targets that a caller chains as `a|b`; None forbids it.
    """

    def __init__(
        self,
        targets: Mapping[str, Target],
        *,
        titles: Mapping[str, str],
        aliases: Mapping[str, str],
        default_provider: str = "",
        routes: Mapping[str, Chain] | None = None,
        default_route: str = "",
        rewrites: Sequence[Rewrite] = (),
        make_chain: Callable[[str, list[Leg]], Chain] | None = None,
    ) -> None:
        self._targets = targets
        self._titles = titles
        self._aliases = aliases
        self._default_provider = default_provider
        self._routes = {} if routes is None else routes
        self._default_route = default_route
        self._rewrites = rewrites
        self._make_chain = make_chain

    async def __call__(self, call: Call, send: Send) -> None:
        """Sets `provider` and `model` of the call and answers it."""
        await self.route(call)(call, send)

    def route(self, call: Call) -> Handler:
        """Returns who answers, and sets `provider` and `model` of the call, for a route to those of its first target.

        Raises `LlmError` when the request names none that can be had.
        """
        request = call.request
        model = request.model if request.provider else self._rewritten(request.model)
        chain = self._routes.get(request.provider) if request.provider else self._chain(model)
        if chain is None:
            target, call.provider, call.model = self._target(*self._find(request.provider, model))
            return target.handler
        call.provider, call.model = chain.first.provider, chain.first.model
        return chain

    def leg(self, name: str) -> Leg:
        """Returns the target that a model name means, which is not rewritten; raises `LlmError`."""
        chain = self._chain(name)
        if chain is not None:
            return Leg(name, chain, facts=chain.facts)
        target, provider, model = self._target(*self._find("", name))
        facts = partial(target.facts, model)
        return Leg(f"{provider}/{model}", target.handler, provider=provider, model=model, facts=facts)

    def _chain(self, model: str) -> Chain | None:
        """Returns the route that a model name means, or None when it means a model."""
        if model in _DEFAULT:
            return self._routes.get(self._default_route)
        if "|" in model:
            return self._chained(model)
        return self._routes.get(self._aliases.get(model, model))

    def _chained(self, model: str) -> Chain:
        if self._make_chain is None:
            message = (
                "model: this server takes no chains of models (a|b); the operator may allow them with `chains: true`."
            )
            raise LlmError(INVALID_REQUEST, message, field="model")
        names = [name.strip() for name in model.split("|")]
        if len(names) > _LONGEST_CHAIN or not all(names):
            message = f"model: a chain has at most {_LONGEST_CHAIN} models, each with a name, such as a|b."
            raise LlmError(INVALID_REQUEST, message, field="model")
        return self._make_chain(model, [self.leg(name) for name in names])

    def _target(self, provider: str, model: str) -> tuple[Target, str, str]:
        target = self._targets.get(provider)
        if target is None:
            raise self.unknown_provider(provider)
        if model in _DEFAULT:
            model = target.default_model
        if not model:
            message = f"model: {provider} has no default model; name one, or set providers.{provider}.default_model."
            raise LlmError(INVALID_REQUEST, message, field="model", provider=provider)
        return target, provider, model

    def _rewritten(self, model: str) -> str:
        for rewrite in self._rewrites:
            if match := rewrite.match.fullmatch(model):
                return match.expand(rewrite.to)
        return model

    def _find(self, provider: str, model: str) -> tuple[str, str]:
        if provider:
            return provider, model
        model = self._aliases.get(model, model)
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
