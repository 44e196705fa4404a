"""The failover scenarios, twenty times as fast: their verdicts, and to the last event what their callers get."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.faults.caller import GrpcCaller, Outcome, Restart, Told, over_grpc
from tests.faults.failover import CATALOGUE, EDGES, REAL, SLACK_S, Run, configured, meet, score
from tests.faults.upstream import FORTY_WORDS, PIECES, TWENTY_WORDS, WHOLE_ANSWER, Upstream, upstream

SCALE = 0.05
SOON_S = 1.0
"""What a busy machine may add to a time."""
NINE_WORDS = "".join(PIECES[:9])


def _answered_by(model: str, replaced: str = "", reason: str = "") -> Outcome:
    """Makes what comes of an answer of a model; `replaced` is the text before the restart for `reason`."""
    if not replaced:
        kinds = ["started", "text_delta", "completed"]
        return Outcome([WHOLE_ANSWER], kinds, [], [Told(model, WHOLE_ANSWER, 60)])
    kinds = ["started", "text_delta", "restarted", "text_delta", "completed"]
    return Outcome([replaced, WHOLE_ANSWER], kinds, [Restart(2, model, reason)], [Told(model, WHOLE_ANSWER, 60)])


EXPECTED = {
    "S01": (_answered_by("fb-s01"), 2, 0),
    "S02": (_answered_by("fb-ok"), 1, 1),
    "S03": (_answered_by("fb-s03"), 2, 0),
    "S04": (_answered_by("fb-ok"), 3, 1),
    "S05": (_answered_by("fb-s05"), 2, 0),
    "S06": (_answered_by("fb-ok"), 1, 1),
    "S07": (_answered_by("fb-ok"), 1, 1),
    "S08": (_answered_by("fb-ok", FORTY_WORDS, "PROVIDER_UNAVAILABLE"), 1, 1),
    "S09": (_answered_by("fb-ok", TWENTY_WORDS, "PROVIDER_TIMEOUT"), 1, 1),
    "S10": (_answered_by("fb-ok", NINE_WORDS, "PROVIDER_BAD_RESPONSE"), 1, 1),
    "S11": (_answered_by("fb-s11"), 1, 0),
    "S12": (_answered_by("fb-ok"), 1, 1),
    "S13": (Outcome(error="CONTENT_BLOCKED"), 1, 0),
    "S14": (_answered_by("fb-ok-noprefill", FORTY_WORDS, "PROVIDER_UNAVAILABLE"), 1, 1),
    "S16": (_answered_by("fb-ok"), 3, 1),
}
"""What callers get who take an answer that begins anew, and how often the first target and the fallback are asked."""

REFUSALS = {"/proxy": "bad_request", "/v1/chat/completions": "CONTENT_POLICY_VIOLATION"}
"""What callers get of S13 whose words are not ours: Loom's, and OpenAI's."""


def _expected(name: str, over: str) -> tuple[Outcome, int, int]:
    """Where callers cannot begin anew nothing of a restart is seen: what it replaces has been held back."""
    outcome, first, second = EXPECTED[name]
    if over not in REFUSALS:
        return outcome, first, second
    if outcome.error:
        return Outcome(error=REFUSALS[over]), first, second
    return Outcome([WHOLE_ANSWER], ["text_delta", "completed"], [], outcome.completed), first, second


@pytest.mark.parametrize("over", EDGES)
async def test_every_scenario_passes_and_callers_see_exactly_what_they_should(over: str) -> None:
    runs = await asyncio.gather(*(meet(name, over, scale=SCALE) for name in CATALOGUE))
    results = dict(zip(CATALOGUE, runs, strict=True))

    verdicts = {name: (record.verdict, record.detail) for name, (_, record) in results.items()}
    assert verdicts == dict.fromkeys(CATALOGUE, ("pass", ""))
    single = {name: run for name, (run, _) in results.items() if name in EXPECTED}
    got = {name: (run.outcomes[0], len(run.primary), len(run.fallback)) for name, run in single.items()}
    assert got == {name: _expected(name, over) for name in single}
    _check_flapping(results["S15"][0])


def _check_flapping(run: Run) -> None:
    """While a target is down five calls find it out; then one tries it every 15 s of the catalogue's."""
    answered_by = [told.model for outcome in run.outcomes for told in outcome.completed]
    tried = [attempt.number for attempt in run.primary if attempt.is_down]
    assert set(answered_by) == {"fb-ok", "fb-s15"}
    assert answered_by == sorted(answered_by), "once it is back, it stays"
    assert 5 <= len(tried) <= (5 + 4) * 3


@asynccontextmanager
async def routed(model: str, fallback: str = "fb-ok", **route: Any) -> AsyncIterator[tuple[Upstream, GrpcCaller]]:
    """Runs a server that holds nothing back and a caller who does not take restarts."""
    async with upstream(REAL.scaled(SCALE)) as models:
        config = configured(models.url, model, fallback, SCALE, **{"hold_back": {}} | route)
        async with over_grpc(config) as caller:
            yield models, caller


@pytest.mark.parametrize("name", ["S08", "S09", "S10", "S14"])
async def test_a_failure_in_mid_stream_is_an_error_for_callers_who_can_neither_begin_anew_nor_wait(name: str) -> None:
    rescued, *_ = EXPECTED[name]
    model = f"fb-{name.lower()}"
    async with routed(model) as (models, caller):
        outcome = await caller.stream("default", provider="smart")

    kinds = ["started", "text_delta", "error"]
    assert outcome == Outcome(rescued.texts[:1], kinds, error=rescued.restarts[0].reason)
    assert models.seen() == {model: 1}


@pytest.mark.parametrize("model", ["fb-s06", "fb-s07"])
async def test_the_connection_of_a_target_that_is_left_is_closed(model: str) -> None:
    async with routed(model) as (models, caller):
        await caller.stream("default", provider="smart")
        async with asyncio.timeout(SOON_S):
            await models.attempts(model)[0].connection.closed.wait()

    assert models.seen() == {model: 1, "fb-ok": 1}


WHOLE = {
    "fb-s02": ("fb-ok", {"fb-s02": 1, "fb-ok": 1}),
    "fb-s03": ("fb-s03", {"fb-s03": 2}),
    "fb-s04": ("fb-ok", {"fb-s04": 3, "fb-ok": 1}),
    "fb-s05": ("fb-s05", {"fb-s05": 2}),
    "fb-s06": ("fb-ok", {"fb-s06": 1, "fb-ok": 1}),
    "fb-s08": ("fb-ok", {"fb-s08": 3, "fb-ok": 1}),
    "fb-s09": ("fb-ok", {"fb-s09": 1, "fb-ok": 1}),
    "fb-s10": ("fb-ok", {"fb-s10": 1, "fb-ok": 1}),
    "fb-s12": ("fb-ok", {"fb-s12": 1, "fb-ok": 1}),
}
"""Who answers those who wait for the whole answer, and how often each model was asked: they have seen nothing of what failed."""


@pytest.mark.parametrize("model", WHOLE)
async def test_a_whole_answer_is_failed_over_unseen(model: str) -> None:
    answering, seen = WHOLE[model]
    targets = [{"model": f"openai/{model}", "total_s": SLACK_S}, {"model": "openai/fb-ok"}]
    async with routed(model, targets=targets) as (models, caller):
        began = time.perf_counter()
        response, _ = await caller.complete("default", provider="smart")
        took_s = time.perf_counter() - began

    told = Told(response.model, response.message.content, response.usage.output_tokens)
    assert told == Told(answering, WHOLE_ANSWER, 60)
    assert models.seen() == seen
    assert took_s < SLACK_S + SOON_S


async def test_the_answer_and_the_metadata_name_the_model_that_answered() -> None:
    """S16: a failover is counted to the fallback, streamed or whole."""
    async with routed("fb-s16") as (models, caller):
        response, trailing = await caller.complete("default", provider="smart")

    told = Told(response.model, response.message.content, response.usage.output_tokens)
    assert told == Told("fb-ok", WHOLE_ANSWER, 60)
    assert (trailing["loom-provider"], trailing["loom-model"], trailing["loom-attempts"]) == ("openai", "fb-ok", "4")
    assert models.seen() == {"fb-s16": 3, "fb-ok": 1}


def _run(*outcomes: Outcome, seconds: float = 1.0, hangs: int = 0) -> Run:
    return Run(1, list(outcomes), [0.0] * len(outcomes), hangs, seconds, is_alive=True)


HALF = Outcome([FORTY_WORDS], ["text_delta", "completed"], [], [Told("fb-s08", FORTY_WORDS, 40)])
CLEAN_ERROR = Outcome([FORTY_WORDS], ["text_delta", "error"], error="PROVIDER_UNAVAILABLE")


@pytest.mark.parametrize(
    ("name", "run", "verdict"),
    [
        ("S08", _run(_answered_by("fb-ok")), ("pass", "")),
        ("S08", _run(CLEAN_ERROR), ("safe", "an error")),
        ("S08", _run(HALF), ("fail", "a part passes for the whole")),
        ("S08", _run(Outcome(), hangs=1), ("fail", "a call hangs")),
        ("S07", _run(_answered_by("fb-s07"), seconds=21), ("partial", "not so: ends within 15 s")),
        ("S11", _run(_answered_by("fb-s11"), seconds=9), ("fail", "not so: ends within 8 s")),
        ("S12", _run(_answered_by("fb-ok")), ("fail", "not so: asked once")),
    ],
)
def test_scenarios_are_scored_as_their_authors_do(name: str, run: Run, verdict: tuple[str, str]) -> None:
    assert score(CATALOGUE[name], run) == verdict
