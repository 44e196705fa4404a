"""The fault table: what goes wrong at a provider, and what callers are to get of it, how soon, after how many attempts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Final, NamedTuple

from loom_grpc.config import Config
from tests.faults.caller import (
    Edge,
    Outcome,
    Told,
    configuration,
    over_extended_proxy,
    over_grpc,
    over_openai,
    over_proxy,
)
from tests.faults.record import Record, attempts_of, words
from tests.faults.upstream import TEN_WORDS, WHOLE_ANSWER, upstream

EDGES: Final[Mapping[str, Edge]] = {
    "gRPC": over_grpc,
    "/proxy": over_proxy,
    "/proxy extended": over_extended_proxy,
    "/v1/chat/completions": over_openai,
}

SOON_S: Final = 1.0
"""What a busy machine may add to a time."""
CLOSE_S: Final = 0.05
"""How soon a caller that goes away must have closed the provider's connection."""
STALL_S: Final = 0.6
"""How long the server lets a stream stall in tests."""
PEERS_STALL_S: Final = 6.0
"""How long the peers were told to let a stream stall."""


class Row(NamedTuple):
    """What is to come of a fault."""

    title: str
    expected: str
    outcome: Outcome
    loom: str = ""
    """What the last event says to callers who know Loom's events alone, where it is an error."""
    attempts: int = 1
    at_least_s: float = 0.0
    """How long the caller has to wait for it."""
    stalls: bool = False
    """Whether the caller has to wait for as long as a stream may stall."""
    gap_s: float = 0.0
    """How long the upstream is left alone between the first attempt and the last."""


def _whole(model: str) -> Outcome:
    kinds = ["started", "text_delta", "completed"]
    return Outcome([WHOLE_ANSWER], kinds, completed=[Told(model, WHOLE_ANSWER, 60)])


def _broken_off(reason: str) -> Outcome:
    return Outcome([TEN_WORDS], ["started", "text_delta", "error"], error=reason)


TABLE: Final[Mapping[str, Row]] = {
    "rate-limited-once": Row(
        "429 with Retry-After: 2",
        "waits 2 s, then the answer",
        _whole("rate-limited-once"),
        attempts=2,
        at_least_s=2.0,
        gap_s=2.0,
    ),
    "clean-early-end": Row(
        "stream ends cleanly, without a finish reason and without [DONE]",
        "an error",
        _broken_off("PROVIDER_BAD_RESPONSE"),
        "Invalid response: The provider's answer ended before it was complete.",
    ),
    "tcp-cut": Row(
        "TCP reset in mid-stream",
        "an error",
        _broken_off("PROVIDER_UNAVAILABLE"),
        "HTTP error: The connection to the provider broke off.",
    ),
    "malformed-event": Row(
        "one malformed event",
        "skipped, or an error",
        _broken_off("PROVIDER_BAD_RESPONSE"),
        "Invalid response: The provider's answer is malformed.",
    ),
    "no-done": Row("[DONE] is missing after the finish reason", "the answer", _whole("no-done")),
    "stall": Row(
        "stall in mid-stream",
        "an error once the time limit has passed",
        _broken_off("PROVIDER_TIMEOUT"),
        "Request timed out",
        stalls=True,
    ),
}

LEFT: Final[Mapping[bool, tuple[str, str]]] = {
    True: ("caller cancels a stream", "stall"),
    False: ("caller cancels a unary call", "silence"),
}
"""By whether a stream is left: what happens, and the model that is asked."""


def configured(url: str, stall_s: float = STALL_S) -> Config:
    """Makes the configuration that all faults meet."""
    return configuration(url, timeouts={"idle_s": stall_s, "first_token_s": 5})


def outcome_for(row: Row, over: str) -> Outcome:
    """Returns what a caller is to get: by the APIs of others nobody is told of the start, and over plain `/proxy` of no reason either."""
    if over in ("gRPC", "/proxy extended"):
        return row.outcome
    error = row.loom if over == "/proxy" else row.outcome.error
    return Outcome(row.outcome.texts, row.outcome.kinds[1:], completed=row.outcome.completed, error=error)


async def meet(model: str, over: str, *, stall_s: float = STALL_S) -> Record:
    """Has a caller read a stream of a model that fails."""
    row = TABLE[model]
    async with upstream() as models, EDGES[over](configured(models.url, stall_s)) as caller:
        began = time.perf_counter()
        outcome = await caller.stream(model)
    attempts = models.attempts(model)
    waited = attempts[-1].at - attempts[0].at >= row.gap_s
    at_least_s = stall_s if row.stalls else row.at_least_s
    in_time = at_least_s <= outcome.lasted_s < at_least_s + SOON_S
    as_told = outcome == outcome_for(row, over)
    ok = as_told and in_time and waited and models.seen() == {model: row.attempts}
    seen = attempts_of(models, began)
    return Record(row.title, over, words(outcome), row.expected, round(outcome.lasted_s, 4), ok, seen, repr(outcome))


async def leave(over: str, *, stream: bool) -> Record:
    """Has a caller go away, a stream's after its first event; `seconds` is how long the upstream's connection stays open after it."""
    title, model = LEFT[stream]
    async with upstream() as models, EDGES[over](configuration(models.url)) as caller:
        go_away = await caller.begin(model, stream=stream)
        await models.arrived.wait()
        began = time.perf_counter()
        go_away()
        is_closed = await _is_closed(models.attempts(model)[0].connection.closed)
        took_s = time.perf_counter() - began
    ok = is_closed and took_s < CLOSE_S and models.seen() == {model: 1}
    outcome = "closed" if is_closed else "still open"
    return Record(title, over, outcome, "closed at once", round(took_s, 4), ok, attempts_of(models, began))


async def _is_closed(closed: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(SOON_S):
            await closed.wait()
    except TimeoutError:
        return False
    return True


async def all_records(*, stall_s: float = PEERS_STALL_S) -> list[Record]:
    """Runs the whole table by every way in, one case after the other."""
    records = [await meet(model, over, stall_s=stall_s) for model in TABLE for over in EDGES]
    return records + [await leave(over, stream=stream) for stream in LEFT for over in EDGES]
