"""What came of one case, in words and figures that can be kept: tests assert on it, and the published proof is made of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.faults.caller import Outcome
from tests.faults.upstream import WHOLE_ANSWER, Upstream


@dataclass(frozen=True)
class Record:
    """What came of one case by one way in."""

    case: str
    over: str
    outcome: str
    expected: str
    seconds: float
    ok: bool
    attempts: list[str] = field(default_factory=list)
    """What the upstream saw: each request's model with the second in which it came."""
    detail: str = ""
    """What the result is made of, where it is made of several things."""
    verdict: str = ""
    """Of a scenario: pass, partial, safe or fail."""


def words(outcome: Outcome) -> str:
    """Says in a line what a caller got of a stream."""
    said = [_answer(text) for text in outcome.texts if text]
    said += [f"error {outcome.error}"] if outcome.error else []
    said += [f"completed by {told.model}" for told in outcome.completed]
    return ", ".join(said) or "nothing"


def attempts_of(models: Upstream, began: float) -> list[str]:
    """Lists what the upstream saw, in the order in which it came; `began` is on the clock of `time.perf_counter`."""
    seen = sorted((attempt.at, model) for model in models.seen() for attempt in models.attempts(model))
    return [f"{at - began:.2f} s {model}" for at, model in seen]


def _answer(text: str) -> str:
    return "the whole answer" if text == WHOLE_ANSWER else f"{len(text.split())} words"
