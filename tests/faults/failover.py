"""The failover scenarios: a route's first target fails in sixteen ways, and another target answers where one may.

The scenarios, their times and their scoring are those of github.com/failoverbench/failoverbench, methodology v0.1 (METHODOLOGY.md,
scenarios/catalogue.yaml and failoverbench/runner.py, seen 2026-11-21), in our own words and code.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from loom_grpc.config import Config
from tests.faults.caller import (
    LOCAL,
    Caller,
    Edge,
    Outcome,
    over_extended_proxy,
    over_grpc_with_restarts,
    over_openai,
    over_proxy,
)
from tests.faults.record import Record, attempts_of, words
from tests.faults.upstream import WHOLE_ANSWER, Attempt, Times, Upstream, upstream

EDGES: Final[Mapping[str, Edge]] = {
    "gRPC": over_grpc_with_restarts,
    "/proxy extended": over_extended_proxy,
    "/proxy": over_proxy,
    "/v1/chat/completions": over_openai,
}

CONFIGURATION: Final = Path(__file__).with_name("failover.yaml")
"""What a user writes; PRIMARY and FALLBACK stand for the models of a scenario."""
BASELINE: Final = Path(__file__).with_name("failover_baseline.yaml")
"""What a user writes who knows of nothing but fallbacks and time-outs."""
BASELINE_SUFFIX: Final = ", baseline"
"""Ends the way in of a record that was made with the baseline."""

REAL: Final = Times(first_token_s=20, silence_s=120, stall_s=30, down_s=60, token_s=0.015)
"""The catalogue's own times."""
ALIVE_S: Final = 10.0
SLACK_S: Final = 0.5
"""What a busy machine may add to a limit where times are made shorter."""


@dataclass
class Run:
    """What came of a scenario, as its caller and as the upstream saw it; points in time are seconds from its beginning."""

    scale: float
    outcomes: list[Outcome] = field(default_factory=list)
    """What each call got; one for all scenarios but the one that makes many."""
    asked_at: list[float] = field(default_factory=list)
    hangs: int = 0
    seconds: float = 0.0
    primary: list[Attempt] = field(default_factory=list)
    fallback: list[Attempt] = field(default_factory=list)
    began: float = 0.0
    is_alive: bool = False
    """Whether a healthy call through the same server is answered afterwards."""

    @property
    def is_complete(self) -> bool:
        """Whether every call got the whole answer."""
        return not self.hangs and all(_is_complete(outcome) for outcome in self.outcomes)

    @property
    def is_success(self) -> bool:
        """Whether every call ended as if all were well."""
        return not self.hangs and all(outcome.completed for outcome in self.outcomes)

    @property
    def answered_by(self) -> str:
        """The model that the answer names."""
        told = self.outcomes[-1].completed if self.outcomes else []
        return told[-1].model if told else ""

    @property
    def has_usage(self) -> bool:
        """Whether the answer tells its usage."""
        told = self.outcomes[-1].completed if self.outcomes else []
        return bool(told and told[-1].output_tokens)

    def within(self, seconds: float) -> bool:
        """Tells whether it ended in so many seconds of the catalogue's."""
        return self.seconds <= self.limit(seconds)

    def limit(self, seconds: float) -> float:
        """Returns a limit of the catalogue's as it is here."""
        return seconds if self.scale == 1 else seconds * self.scale + SLACK_S

    def served_while_down(self) -> tuple[int, int]:
        """Counts the calls that were answered while the first target was down, and all that were made then."""
        down = [
            outcome for at, outcome in zip(self.asked_at, self.outcomes, strict=True) if at < REAL.down_s * self.scale
        ]
        return sum(bool(outcome.completed) for outcome in down), len(down)

    def back_after_s(self) -> float | None:
        """Returns how long after it had recovered the first target was asked again; None is never."""
        healthy = [attempt.at for attempt in self.primary if not attempt.is_down]
        return min(healthy) - self.began - REAL.down_s * self.scale if healthy else None


class Check(NamedTuple):
    """What is to hold; where one that only advises does not, the verdict is `partial` instead of `fail`."""

    name: str
    holds: Callable[[Run], bool]
    advises: bool = False


def _asked(check: Callable[[int], bool]) -> Callable[[Run], bool]:
    return lambda run: check(len(run.primary))


def _asked_within(seconds: float, most: int) -> Callable[[Run], bool]:
    """At most so many attempts in the first seconds, which are never made shorter."""
    return lambda run: sum(attempt.at - run.primary[0].at < seconds for attempt in run.primary) <= most


def _gap(run: Run) -> bool:
    return len(run.primary) > 1 and run.primary[1].at - run.primary[0].at >= 1.8


def _all_served(run: Run) -> bool:
    served, made = run.served_while_down()
    return 0 < made == served


def _is_back(run: Run) -> bool:
    after_s = run.back_after_s()
    return after_s is not None and after_s <= run.limit(30)


def _names_the_fallback(run: Run) -> bool:
    return not run.fallback or run.answered_by == run.fallback[0].connection.asked.json["model"]


def _no_prefill_error(run: Run) -> bool:
    return run.is_success or not any(attempt.is_prefilled for attempt in run.fallback)


NO_HANG: Final = Check("ends in time", lambda run: not run.hangs)
NO_HALF_ANSWER: Final = Check("no part passes for the whole", lambda run: run.is_complete or not run.is_success)
ALIVE: Final = Check("serves afterwards", lambda run: run.is_alive)
FEW: Final = Check("at most 6 attempts", _asked(lambda count: count <= 6))
ONCE: Final = Check("asked once", _asked(lambda count: count == 1))
AGAIN: Final = Check("asked again", _asked(lambda count: count >= 2), advises=True)
USAGE: Final = Check("tells usage", lambda run: run.has_usage, advises=True)


class Scenario(NamedTuple):
    """What goes wrong, what is right then, and what is checked."""

    title: str
    right: str
    longest_s: float
    """How long a call may take before it counts as hanging; never made shorter."""
    checks: tuple[Check, ...]
    fallback: str = "fb-ok"
    calls: int = 1
    every_s: float = 0.0
    is_error_right: bool = False


CATALOGUE: Final[Mapping[str, Scenario]] = {
    "S01": Scenario(
        "429 with Retry-After: 2, once",
        "asked again after 2 s",
        20,
        (
            AGAIN,
            Check("waits as long as it is told", _gap, advises=True),
            Check("no hammering", _asked_within(1.5, 2)),
        ),
    ),
    "S02": Scenario(
        "429 without Retry-After, lasting",
        "no hammering, then the fallback",
        40,
        (Check("no hammering", _asked_within(3, 4)), FEW, NO_HANG),
    ),
    "S03": Scenario("500 once", "asked again", 20, (NO_HANG, AGAIN)),
    "S04": Scenario("503, lasting", "the fallback", 40, (FEW, NO_HANG)),
    "S05": Scenario("TCP reset before the head, once", "an answer", 20, (NO_HANG,)),
    "S06": Scenario(
        "no response for 120 s",
        "the fallback after the first time-out",
        130,
        (
            Check("ends within 100 s", lambda run: run.within(100)),
            NO_HANG,
            Check("a silent target is not asked again", _asked(lambda count: count <= 1), advises=True),
        ),
    ),
    "S07": Scenario(
        "first token after 20 s",
        "the fallback within 15 s",
        60,
        (NO_HANG, Check("ends within 15 s", lambda run: run.within(15), advises=True)),
    ),
    "S08": Scenario("cut after 40 of 60 tokens", "the whole answer", 40, (NO_HALF_ANSWER, NO_HANG)),
    "S09": Scenario(
        "stall after 20 tokens for 30 s",
        "the whole answer",
        70,
        (Check("ends within 45 s", lambda run: run.within(45)), NO_HALF_ANSWER, ALIVE, NO_HANG),
    ),
    "S10": Scenario(
        "malformed event in mid-stream",
        "the whole answer",
        30,
        (ALIVE, NO_HALF_ANSWER, NO_HANG, Check("recovers", lambda run: run.is_complete, advises=True)),
    ),
    "S11": Scenario(
        "no [DONE]", "ends at once, with usage", 30, (Check("ends within 8 s", lambda run: run.within(8)), USAGE)
    ),
    "S12": Scenario("context length exceeded", "a model with a larger context", 20, (ONCE, NO_HANG)),
    "S13": Scenario("rejected by a content filter", "the error, asked once", 20, (ONCE, NO_HANG), is_error_right=True),
    "S14": Scenario(
        "cut after 40 tokens; the fallback rejects prefill",
        "the whole answer",
        40,
        (Check("no prefill error at the end", _no_prefill_error), NO_HALF_ANSWER),
        fallback="fb-ok-noprefill",
    ),
    "S15": Scenario(
        "down for 60 s, then healthy; 20 calls, one every 4 s",
        "the fallback, and back within 30 s",
        30,
        (
            NO_HANG,
            Check("all served while it is down", _all_served),
            Check("back within 30 s", _is_back),
        ),
        calls=20,
        every_s=4,
    ),
    "S16": Scenario(
        "503, lasting: accounting",
        "the fallback's name and usage",
        40,
        (Check("names the fallback", _names_the_fallback), USAGE, FEW),
    ),
}


def score(scenario: Scenario, run: Run) -> tuple[str, str]:
    """Returns the verdict, as the catalogue's authors reach it, and what it rests on.

    `pass`: what is right came of it, and every check holds; `partial`: a check that advises does not hold, or an error was right and
    another model was asked instead; `safe`: a clean error in time; `fail`: a hang, a part that passes for the whole, or a check that does
    not hold.
    """
    failed = [check for check in scenario.checks if not check.holds(run)]
    if run.hangs or (run.is_success and not run.is_complete and not scenario.is_error_right):
        return "fail", "a call hangs" if run.hangs else "a part passes for the whole"
    if required := [check.name for check in failed if not check.advises]:
        return "fail", "not so: " + ", ".join(required)
    if scenario.is_error_right:
        return ("partial", "answered elsewhere") if run.is_success else ("pass", "")
    if not run.is_complete:
        return "safe", "an error"
    return ("partial", "not so: " + ", ".join(check.name for check in failed)) if failed else ("pass", "")


def configured(
    url: str, primary: str, fallback: str, scale: float, *, file: Path = CONFIGURATION, **route: Any
) -> Config:
    """Makes the configuration, with what time-outs there are made shorter by `scale`; `route` replaces keys of its route."""
    text = file.read_text(encoding="utf-8").replace("PRIMARY", primary).replace("FALLBACK", fallback)
    tree = LOCAL | _scaled(yaml.safe_load(text), scale)
    openai = tree["providers"]["openai"]
    openai |= {"base_url": url, "api_key": "sk-test"}
    if scale != 1:
        openai["retry"] = {"base_delay_s": 0.5 * scale}
        tree["routes"]["smart"]["breaker"] = {"open_s": 15 * scale}
    tree["routes"]["smart"] |= route
    return Config.model_validate(tree)


def _scaled(tree: dict[str, Any], scale: float) -> dict[str, Any]:
    """Makes times shorter, but for `wait_s`: a provider tells how long to wait in whole seconds."""
    return {key: _scaled_value(key, value, scale) for key, value in tree.items()}


def _scaled_value(key: str, value: Any, scale: float) -> Any:
    if isinstance(value, dict):
        return _scaled(value, scale)
    if isinstance(value, list):
        return [_scaled(item, scale) for item in value]
    return value * scale if key in ("first_token_s", "idle_s", "seconds") else value


async def meet(name: str, over: str, *, scale: float = 1, file: Path = CONFIGURATION) -> tuple[Run, Record]:
    """Runs a scenario by one way in, on a server and an upstream of its own."""
    scenario, primary = CATALOGUE[name], f"fb-{name.lower()}"
    async with upstream(REAL.scaled(scale)) as models:
        config = configured(models.url, primary, scenario.fallback, scale, file=file)
        async with EDGES[over](config) as caller:
            run = await _run(caller, models, scenario, scale)
            run.primary, run.fallback = list(models.attempts(primary)), list(models.attempts(scenario.fallback))
            seen = attempts_of(models, run.began)
            run.is_alive = await _answers(caller)
    verdict, reason = score(scenario, run)
    outcome = _summary(run) if scenario.calls > 1 else words(run.outcomes[-1]) if run.outcomes else "a hang"
    ok, way = verdict == "pass", over + (BASELINE_SUFFIX if file is BASELINE else "")
    return run, Record(name, way, outcome, scenario.right, round(run.seconds, 3), ok, seen, reason, verdict)


async def _run(caller: Caller, models: Upstream, scenario: Scenario, scale: float) -> Run:
    run = Run(scale, began=time.perf_counter())
    models.began = run.began
    for number in range(scenario.calls):
        at = number * scenario.every_s * scale
        await asyncio.sleep(max(0.0, run.began + at - time.perf_counter()))
        run.asked_at.append(time.perf_counter() - run.began)
        try:
            async with asyncio.timeout(scenario.longest_s):
                run.outcomes.append(await caller.stream("default", provider="smart"))
        except TimeoutError:
            run.hangs += 1
            run.outcomes.append(Outcome())
    run.seconds = time.perf_counter() - run.began
    return run


async def _answers(caller: Caller) -> bool:
    try:
        async with asyncio.timeout(ALIVE_S):
            return await caller.whole("fb-ok") == WHOLE_ANSWER
    except TimeoutError:
        return False


def _is_complete(outcome: Outcome) -> bool:
    """Tells whether a call got the whole answer, in its pieces and at their end."""
    told = outcome.completed[-1].content if outcome.completed else ""
    return outcome.texts[-1] == told == WHOLE_ANSWER


def _summary(run: Run) -> str:
    (served, made), after_s = run.served_while_down(), run.back_after_s()
    back = "never back" if after_s is None else f"back after {after_s:.1f} s"
    return f"{served} of {made} served while it was down, {back}"


async def all_records(*, scale: float = 1) -> list[Record]:
    """Runs all scenarios by every way in, all at once, since they mostly wait; then once more with the baseline."""
    records = []
    for file in (CONFIGURATION, BASELINE):
        both = await asyncio.gather(*(meet(name, over, scale=scale, file=file) for name in CATALOGUE for over in EDGES))
        records += [record for _, record in both]
    return records
