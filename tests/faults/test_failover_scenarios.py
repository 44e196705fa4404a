"""The failover scenarios: a route's first target fails in sixteen ways, and another target answers where one may.

After the catalogue of github.com/failoverbench/failoverbench (scenarios/catalogue.yaml, seen 2026-11-21), with its long times shortened.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest

from tests.faults.caller import GrpcCaller, Outcome, Restart, Told, configuration, over_grpc
from tests.faults.upstream import (
    FORTY_WORDS,
    PIECES,
    TWENTY_WORDS,
    WHOLE_ANSWER,
    Upstream,
    upstream,
)

SOON_S = 1.0
"""What a busy machine may add to a time."""
FIRST_TOKEN_S = 0.3
STALL_S = 0.3
TOTAL_S = 1.0
OPEN_S = 0.5
"""How long the breaker keeps calls away from a target that flaps."""
NINE_WORDS = "".join(PIECES[:9])


class Scenario(NamedTuple):
    """What is to come of a call of a route of two targets."""

    outcome: Outcome
    seen: dict[str, int]
    """How often each model was asked."""
    at_least_s: float = 0.0


def _answered_by(model: str, *replaced: str, attempt: int = 0, reason: str = "") -> Outcome:
    """Makes what comes of an answer of a model; `replaced` is the text before the restart as `attempt`, for `reason`."""
    kinds = ["started", *["text_delta", "restarted"] * len(replaced), "text_delta", "completed"]
    restarts = [Restart(attempt, model, reason)] if replaced else []
    return Outcome([*replaced, WHOLE_ANSWER], kinds, restarts, [Told(model, WHOLE_ANSWER, 60)])


BEFORE_THE_FIRST_EVENT = {
    "fb-s01": Scenario(_answered_by("fb-ok"), {"fb-s01": 1, "fb-ok": 1}),
    "fb-s02": Scenario(_answered_by("fb-ok"), {"fb-s02": 1, "fb-ok": 1}),
    "fb-s03": Scenario(_answered_by("fb-s03"), {"fb-s03": 2}),
    "fb-s04": Scenario(_answered_by("fb-ok"), {"fb-s04": 3, "fb-ok": 1}),
    "fb-s05": Scenario(_answered_by("fb-s05"), {"fb-s05": 2}),
    "fb-s06": Scenario(_answered_by("fb-ok"), {"fb-s06": 1, "fb-ok": 1}, at_least_s=FIRST_TOKEN_S),
    "fb-s07": Scenario(_answered_by("fb-ok"), {"fb-s07": 1, "fb-ok": 1}, at_least_s=FIRST_TOKEN_S),
    "fb-s11": Scenario(_answered_by("fb-s11"), {"fb-s11": 1}),
    "fb-s16": Scenario(_answered_by("fb-ok"), {"fb-s16": 3, "fb-ok": 1}),
}
"""A failure that nobody saw costs the caller time, and less than `SOON_S` of it beyond the limits."""

IN_MID_STREAM = {
    "fb-s08": Scenario(
        _answered_by("fb-ok", FORTY_WORDS, attempt=2, reason="PROVIDER_UNAVAILABLE"), {"fb-s08": 1, "fb-ok": 1}
    ),
    "fb-s09": Scenario(
        _answered_by("fb-ok", TWENTY_WORDS, attempt=2, reason="PROVIDER_TIMEOUT"),
        {"fb-s09": 1, "fb-ok": 1},
        at_least_s=STALL_S,
    ),
    "fb-s10": Scenario(
        _answered_by("fb-ok", NINE_WORDS, attempt=2, reason="PROVIDER_BAD_RESPONSE"), {"fb-s10": 1, "fb-ok": 1}
    ),
}
"""A failure of which the caller has seen the beginning."""

REFUSED = {
    "fb-s12": Scenario(Outcome(error="CONTEXT_TOO_LONG"), {"fb-s12": 1}),
    "fb-s13": Scenario(Outcome(error="CONTENT_BLOCKED"), {"fb-s13": 1}),
}
"""What is wrong with the request itself is told, and neither asked again nor elsewhere."""


WHOLE = {
    "fb-s01": ("fb-ok", {"fb-s01": 1, "fb-ok": 1}),
    "fb-s02": ("fb-ok", {"fb-s02": 1, "fb-ok": 1}),
    "fb-s03": ("fb-s03", {"fb-s03": 2}),
    "fb-s04": ("fb-ok", {"fb-s04": 3, "fb-ok": 1}),
    "fb-s05": ("fb-s05", {"fb-s05": 2}),
    "fb-s06": ("fb-ok", {"fb-s06": 1, "fb-ok": 1}),
    "fb-s08": ("fb-ok", {"fb-s08": 3, "fb-ok": 1}),
    "fb-s09": ("fb-ok", {"fb-s09": 1, "fb-ok": 1}),
    "fb-s10": ("fb-ok", {"fb-s10": 1, "fb-ok": 1}),
}
"""Who answers those who wait for the whole answer, and how often each model was asked: they have seen nothing of what failed."""


@asynccontextmanager
async def routed(model: str, fallback: str = "fb-ok", **route: Any) -> AsyncIterator[tuple[Upstream, GrpcCaller]]:
    """Runs a server whose route `smart` asks a model that fails and then the fallback."""
    first = {"model": f"openai/{model}", "first_token_s": FIRST_TOKEN_S, "total_s": TOTAL_S}
    targets = [first, {"model": f"openai/{fallback}"}]
    async with upstream() as models:
        routes = {"smart": {"targets": targets, **route}}
        config = configuration(models.url, routes=routes, timeouts={"idle_s": STALL_S, "first_token_s": 5})
        async with over_grpc(config) as caller:
            yield models, caller


async def _check(scenario: Scenario, model: str, fallback: str = "fb-ok", *, restarts: bool) -> None:
    async with routed(model, fallback) as (models, caller):
        outcome = await caller.stream("smart", provider="", restarts=restarts)
        seen = models.seen()
        afterwards = await caller.stream("fb-ok")

    assert outcome == scenario.outcome
    assert seen == scenario.seen
    assert scenario.at_least_s <= outcome.lasted_s < scenario.at_least_s + SOON_S
    assert afterwards == _answered_by("fb-ok")


@pytest.mark.parametrize("restarts", [False, True], ids=["plain", "restarts"])
@pytest.mark.parametrize("model", BEFORE_THE_FIRST_EVENT)
async def test_a_failure_before_the_first_event_is_not_seen(model: str, restarts: bool) -> None:
    await _check(BEFORE_THE_FIRST_EVENT[model], model, restarts=restarts)


@pytest.mark.parametrize("model", IN_MID_STREAM)
async def test_a_failure_in_mid_stream_restarts_the_answer_for_callers_who_take_it(model: str) -> None:
    await _check(IN_MID_STREAM[model], model, restarts=True)


@pytest.mark.parametrize("model", IN_MID_STREAM)
async def test_a_failure_in_mid_stream_is_an_error_for_everybody_else(model: str) -> None:
    rescued = IN_MID_STREAM[model]
    kinds = ["started", "text_delta", "error"]
    outcome = Outcome(rescued.outcome.texts[:1], kinds, error=rescued.outcome.restarts[0].reason)

    await _check(Scenario(outcome, {model: 1}, rescued.at_least_s), model, restarts=False)


@pytest.mark.parametrize("model", ["fb-s06", "fb-s07", "fb-s09"])
async def test_the_connection_of_a_target_that_is_left_is_closed(model: str) -> None:
    async with routed(model) as (models, caller):
        await caller.stream("smart", provider="", restarts=True)
        async with asyncio.timeout(SOON_S):
            await models.attempts(model)[0].connection.closed.wait()

    assert models.seen() == {model: 1, "fb-ok": 1}


@pytest.mark.parametrize("model", WHOLE)
async def test_a_whole_answer_is_failed_over_unseen(model: str) -> None:
    answering, seen = WHOLE[model]
    async with routed(model) as (models, caller):
        began = time.perf_counter()
        response, _ = await caller.complete("smart", provider="")
        took_s = time.perf_counter() - began

    told = Told(response.model, response.message.content, response.usage.output_tokens)
    assert told == Told(answering, WHOLE_ANSWER, 60)
    assert models.seen() == seen
    assert took_s < TOTAL_S + SOON_S


@pytest.mark.parametrize("restarts", [False, True], ids=["plain", "restarts"])
@pytest.mark.parametrize("model", REFUSED)
async def test_a_request_that_is_refused_is_asked_neither_again_nor_elsewhere(model: str, restarts: bool) -> None:
    await _check(REFUSED[model], model, restarts=restarts)


async def test_a_restart_asks_the_fallback_for_the_whole_answer_and_not_for_its_end() -> None:
    """S14: the fallback refuses requests that end with the beginning of an answer."""
    rescued = _answered_by("fb-ok-noprefill", FORTY_WORDS, attempt=2, reason="PROVIDER_UNAVAILABLE")
    scenario = Scenario(rescued, {"fb-s14": 1, "fb-ok-noprefill": 1})

    await _check(scenario, "fb-s14", "fb-ok-noprefill", restarts=True)


async def test_a_target_that_flaps_is_left_alone_and_is_back_within_its_time() -> None:
    """S15: down at first, then healthy."""
    down, well = _answered_by("fb-ok"), _answered_by("fb-s15")
    breaker = {"consecutive_failures": 2, "open_s": OPEN_S}
    async with routed("fb-s15", breaker=breaker, retry_budget=1) as (models, caller):
        failing = [await caller.stream("smart", provider="") for _ in range(2)]
        opened = time.perf_counter()
        asked = models.seen()
        models.down = False
        waiting = []
        while (outcome := await caller.stream("smart", provider="")) == down:
            waiting.append(outcome)
        back_s = time.perf_counter() - opened
        after = [await caller.stream("smart", provider="") for _ in range(5)]

    assert failing == [down, down]
    assert asked == {"fb-s15": 6, "fb-ok": 2}
    assert outcome == well
    assert OPEN_S - 0.1 < back_s < OPEN_S + SOON_S
    assert len(waiting) >= 1
    assert after == [well] * 5
    assert models.seen() == {"fb-s15": 6 + 1 + 5, "fb-ok": 2 + len(waiting)}


async def test_the_answer_and_the_metadata_name_the_model_that_answered() -> None:
    """S16: a failover is counted to the fallback, streamed or whole."""
    async with routed("fb-s16") as (models, caller):
        response, trailing = await caller.complete("smart", provider="")

    told = Told(response.model, response.message.content, response.usage.output_tokens)
    assert told == Told("fb-ok", WHOLE_ANSWER, 60)
    assert (trailing["loom-provider"], trailing["loom-model"], trailing["loom-attempts"]) == ("openai", "fb-ok", "4")
    assert models.seen() == {"fb-s16": 3, "fb-ok": 1}
