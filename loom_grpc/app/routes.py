"""How the routes of the configuration become a router."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping
from functools import partial

from loom_grpc.config import BreakerConfig, Config, ConfigError, RouteConfig, RouteTargetConfig
from loom_grpc.core.admission import Admission
from loom_grpc.core.breaker import Breaker
from loom_grpc.core.budget import RetryBudget
from loom_grpc.core.errors import LlmError
from loom_grpc.core.leg import Leg, Patience
from loom_grpc.core.route import Chain, Hold, Rules
from loom_grpc.core.router import Rewrite, Router, Target
from loom_grpc.providers import registry
from loom_grpc.telemetry import Telemetry


def make_router(config: Config, targets: Mapping[str, Target], telemetry: Telemetry) -> Router:
    """Makes the router, with all routes that the configuration names; raises `ConfigError`."""
    return _Routes(config, targets, telemetry).router


class _Routes:
    """The routes that have been made so far; one that names another has it made first."""

    def __init__(self, config: Config, targets: Mapping[str, Target], telemetry: Telemetry) -> None:
        self._config = config
        self._telemetry = telemetry
        self._made: dict[str, Chain] = {}
        self.router = Router(
            targets,
            titles={name: row.title for name, row in registry.PROVIDERS.items()},
            aliases=config.aliases,
            default_provider=config.default_provider,
            routes=self._made,
            default_route=config.default_route,
            rewrites=[Rewrite(re.compile(rewrite.match), rewrite.to) for rewrite in config.rewrites],
            make_chain=self._ad_hoc if config.chains else None,
        )
        for name in config.routes:
            self._make(name)

    def _make(self, name: str) -> None:
        if name in self._made:
            return
        route = self._config.routes[name]
        for target in route.targets:
            if target.model in self._config.routes:
                self._make(target.model)
        self._made[name] = Chain(
            name,
            [self._leg(name, target, route.breaker) for target in route.targets],
            _rules(route),
            budget=RetryBudget(route.retry_budget, time.monotonic),
            chance=random.random,
            events=self._telemetry,
        )

    def _leg(self, route: str, target: RouteTargetConfig, breaker: BreakerConfig) -> Leg:
        try:
            leg = self.router.leg(target.model)
        except LlmError as error:
            raise ConfigError(f"routes.{route}.targets: {error.message}") from None
        leg.weight = target.weight
        leg.patience = Patience(target.first_token_s, target.total_s, target.wait_s)
        leg.options = dict(target.options)
        if target.max_calls is not None:
            leg.admission = Admission(target.max_calls, target.queue, name=leg.name)
        leg.breaker = self._breaker(f"{route}: {leg.name}", breaker) if breaker.enabled else None
        return leg

    def _breaker(self, name: str, config: BreakerConfig) -> Breaker:
        breaker = Breaker(
            time.monotonic,
            consecutive_failures=config.consecutive_failures,
            failure_rate=config.failure_rate,
            window_s=config.window_s,
            min_calls=config.min_calls,
            open_s=config.open_s,
        )
        breaker.on_change = partial(self._telemetry.breaker_changed, name, breaker)
        return breaker

    def _ad_hoc(self, name: str, legs: list[Leg]) -> Chain:
        return Chain(name, legs, chance=random.random, events=self._telemetry)


def _rules(route: RouteConfig) -> Rules:
    held = route.hold_back
    hold = Hold(held.tokens, held.seconds) if held.tokens else None
    return Rules(route.policy, route.sticky, route.hedge_after_s, hold)
