"""Every case through every runner."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from google.protobuf.json_format import MessageToDict

from clients.conformance.case import Case
from clients.conformance.judge import judge
from clients.conformance.match import differences
from clients.conformance.odd import CALL, OddServer, Seen, cutting, late_port, listening, odd_ports, odd_server
from clients.conformance.runner import Runner, RunnerError
from clients.conformance.servers import Servers, real_servers
from loom_grpc import __version__

_CANCEL_S: Final = 5
"""How long a server may take to hear of a cancel."""
_PAUSE_S: Final = 0.1
"""Before a case is tried again: nobody tells when a client is ready to connect again."""
_WRONG_KEY: Final = "lt_" + "0" * 43
END: Final = "the runner ends with its input"
"""What every runner has to do beside the cases."""


@dataclass(frozen=True)
class Stage:
    """All servers."""

    real: Servers
    odd: OddServer
    targets: Mapping[str, str]


async def drive(cases: list[Case], commands: Mapping[str, Path]) -> dict[str, dict[str, list[str]]]:
    """Runs the cases in all languages at once, since most cases wait, and returns by language and by case what is wrong."""
    async with odd_server(cases) as odd, odd_ports() as ports, real_servers() as real:
        stage = Stage(real, odd, {**real.targets, **ports, "aging": f"127.0.0.1:{odd.aging_port}"})
        runs = [_run(stage, language, command, cases) for language, command in commands.items()]
        return dict(zip(commands, await asyncio.gather(*runs), strict=True))


async def _run(stage: Stage, language: str, command: Path, cases: Iterable[Case]) -> dict[str, list[str]]:
    """Runs the cases in one language, one after the other."""
    async with AsyncExitStack() as stack:
        runner = Runner(command)
        stack.push_async_callback(runner.kill)
        late = await stack.enter_async_context(late_port(cutting(stage.odd.port)))
        # A connection that is cut is that of one language only.
        odd = await stack.enter_async_context(listening(cutting(stage.odd.port)))
        targets = {**stage.targets, "odd": odd, "late": late.address}
        found = {}
        for case in cases:
            if case.server == "late" and case.odd is not None:
                await late.open()
            found[case.name] = await _try_until(stage, runner, language, targets[case.server], case)
        found[END] = await _end(runner)
    return found


async def _end(runner: Runner) -> list[str]:
    try:
        await runner.close()
    except RunnerError as error:
        return [str(error)]
    return []


async def _try_until(stage: Stage, runner: Runner, language: str, target: str, case: Case) -> list[str]:
    """Runs a case, again where it may take its time, and returns what is wrong."""
    end = time.monotonic() + case.until_s
    while True:
        problems = await _try(stage, runner, language, target, case)
        if not problems or time.monotonic() >= end:
            return problems
        await asyncio.sleep(_PAUSE_S)


async def _try(stage: Stage, runner: Runner, language: str, target: str, case: Case) -> list[str]:
    """Runs a case once and returns what is wrong."""
    call = f"{language}.{case.slug}"
    stage.odd.seen.pop(call, None)
    key = {"good": stage.real.key, "wrong": _WRONG_KEY}.get(case.api_key or "", case.api_key)
    words = {"target": target, "language": language, "version": re.escape(__version__)}
    try:
        line = await runner.ask(json.dumps(job(stage, target, case, key, call)), case.limit_s)
    except RunnerError as error:
        return [str(error)]
    seen = stage.odd.seen[call] if case.odd is not None else None
    if seen is not None and "cancelled" in case.expect.get("seen", {}):
        await _wait_for_cancel(seen)
    problems = judge(case, words, line, seen, key)
    if not problems and "record" in case.expect:
        problems = await _compare_record(stage.real, call, case.expect["record"])
    return problems


def job(stage: Stage, target: str, case: Case, key: str | None, call: str) -> dict[str, Any]:
    """Says a case in the words of the runners' protocol."""
    marks = {CALL: call} if case.odd is not None else {"x-request-id": call} if "record" in case.expect else {}
    return {
        "name": case.name,
        "target": target,
        "tls": stage.real.papers.of(case.tls),
        "api_key": key,
        "metadata": {**case.metadata, **marks},
        "method": case.method,
        "request": base64.b64encode(case.message().SerializeToString()).decode(),
        "timeout_ms": case.timeout_ms,
        "cancel_after_events": case.cancel_after_events,
        "cancel_after_ms": case.cancel_after_ms,
    }


async def _wait_for_cancel(seen: Seen) -> None:
    try:
        await asyncio.wait_for(seen.cancelled.wait(), _CANCEL_S)
    except TimeoutError:
        return  # the expectation says so


async def _compare_record(real: Servers, request_id: str, expected: Mapping[str, Any]) -> list[str]:
    """Compares what the server itself noted down of the call, as far as the case speaks of it."""
    try:
        record = MessageToDict(await real.record(request_id), preserving_proto_field_name=True)
    except TimeoutError:
        return ["the server has no record of the call"]
    return differences(dict(expected), {name: record.get(name) for name in expected}, "record")
