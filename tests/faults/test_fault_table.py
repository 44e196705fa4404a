"""The fault table: what callers get of each fault, how soon, and what the upstream sees. No fault looks like a whole answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

import pytest

from loom_grpc.config import Config
from tests.faults.caller import Caller, Outcome, Told, configuration, over_grpc, over_proxy
from tests.faults.upstream import TEN_WORDS, WHOLE_ANSWER, upstream

Edge = Callable[[Config], AbstractAsyncContextManager[Caller]]

over_both = pytest.mark.parametrize("edge", [over_grpc, over_proxy], ids=["grpc", "proxy"])
"""Runs a test for callers of either kind."""

SOON_S = 1.0
"""What a busy machine may add to a time."""
CLOSE_S = 0.05
"""How soon a caller that goes away must have closed the provider's connection."""
STALL_S = 0.6
"""How long the server lets a stream stall: a tenth of what the peers were given."""


class Row(NamedTuple):
    """What is to come of a fault."""

    outcome: Outcome
    attempts: int = 1
    at_least_s: float = 0.0
    """How long the caller has to wait for it."""
    gap_s: float = 0.0
    """How long the upstream is left alone between the first attempt and the last."""


def _whole(model: str) -> Outcome:
    kinds = ["started", "text_delta", "completed"]
    return Outcome([WHOLE_ANSWER], kinds, completed=[Told(model, WHOLE_ANSWER, 60)])


def _broken_off(reason: str) -> Outcome:
    return Outcome([TEN_WORDS], ["started", "text_delta", "error"], error=reason)


TABLE = {
    "rate-limited-once": Row(_whole("rate-limited-once"), attempts=2, at_least_s=2.0, gap_s=2.0),
    "clean-early-end": Row(_broken_off("PROVIDER_BAD_RESPONSE")),
    "tcp-cut": Row(_broken_off("PROVIDER_UNAVAILABLE")),
    "malformed-event": Row(_broken_off("PROVIDER_BAD_RESPONSE")),
    "no-done": Row(_whole("no-done")),
    "stall": Row(_broken_off("PROVIDER_TIMEOUT"), at_least_s=STALL_S),
}

LAST_WORDS = {
    "clean-early-end": "Invalid response: The provider's answer ended before it was complete.",
    "tcp-cut": "HTTP error: The connection to the provider broke off.",
    "malformed-event": "Invalid response: The provider's answer is malformed.",
    "stall": "Request timed out",
}
"""What the last event says to callers who know Loom's events alone."""


@over_both
@pytest.mark.parametrize("model", TABLE)
async def test_a_fault_is_waited_out_or_told_and_never_passes_for_a_whole_answer(model: str, edge: Edge) -> None:
    row = TABLE[model]
    async with upstream() as models, edge(_config(models.url)) as caller:
        outcome = await caller.stream(model)

    assert outcome == row.outcome
    assert row.at_least_s <= outcome.lasted_s < row.at_least_s + SOON_S
    assert models.seen() == {model: row.attempts}
    attempts = models.attempts(model)
    assert attempts[-1].at - attempts[0].at >= row.gap_s


@over_both
@pytest.mark.parametrize(("model", "stream"), [("stall", True), ("silence", False)], ids=["stream", "unary"])
async def test_a_caller_that_goes_away_closes_the_providers_connection_at_once(
    model: str, stream: bool, edge: Edge
) -> None:
    async with upstream() as models, edge(configuration(models.url)) as caller:
        go_away = await caller.begin(model, stream=stream)
        await models.arrived.wait()
        began = time.perf_counter()
        go_away()
        async with asyncio.timeout(SOON_S):
            await models.attempts(model)[0].connection.closed.wait()
        took_s = time.perf_counter() - began

    assert took_s < CLOSE_S
    assert models.seen() == {model: 1}


@pytest.mark.parametrize("model", LAST_WORDS)
async def test_a_stream_that_breaks_off_ends_with_an_error_that_looms_callers_know(model: str) -> None:
    async with upstream() as models, over_proxy(_config(models.url)) as caller:
        last = await caller.last_event(model)

    assert last == {"type": "error", "message": LAST_WORDS[model]}


@over_both
async def test_a_stalled_stream_closes_the_providers_connection(edge: Edge) -> None:
    async with upstream() as models, edge(_config(models.url)) as caller:
        await caller.stream("stall")
        async with asyncio.timeout(SOON_S):
            await models.attempts("stall")[0].connection.closed.wait()


def _config(url: str) -> Config:
    return configuration(url, timeouts={"idle_s": STALL_S, "first_token_s": 5})
