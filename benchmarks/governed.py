"""Measures what access, limits, budgets, records and telemetry add: `python -m benchmarks.governed [--rounds N]`."""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks.__main__ import BARE, machine
from benchmarks.loom import start, start_module
from benchmarks.measure import SHAPES, Sample, Target, measure_all, table, write_raw
from benchmarks.process import RESULTS
from benchmarks.script import model_name
from loom_grpc.access.key import digest, new_key
from loom_grpc.v1 import access_pb2 as pb

OFF, ALL = "everything off", "everything on"
UNARY_LIMIT_US, EVENT_LIMIT_US = 120.0, 3.0
_SETTLE_S: Final = 1.5
"""Records are sent on once a second; what they cost then belongs to the calls before."""
_EVENTS: Final = {"burst": ("short", "long"), "paced": ("short_paced", "long_paced")}
"""The two lengths of stream whose difference says what an event costs."""
_SCOPES: Final = {
    "key": (pb.SCOPE_KIND_KEY, "bench-key"),
    "user": (pb.SCOPE_KIND_USER, "bench-user"),
    "team": (pb.SCOPE_KIND_TEAM, "bench-team"),
    "organization": (pb.SCOPE_KIND_ORGANIZATION, "bench-organization"),
}
_PLENTY: Final = {"requests_per_minute": 10**9, "tokens_per_minute": 10**12, "concurrent_streams": 10**6}
_SILENT: Final[Mapping[str, object]] = {"log": {"access": False}, "telemetry": {"metrics": False}}


def _models() -> list[str]:
    shapes = ("unary", *(shape for pair in _EVENTS.values() for shape in pair))
    return [f"openai/{model_name(SHAPES[shape].chunks, SHAPES[shape].pace_ms)}" for shape in shapes]


def _rules(folder: Path, scopes: Sequence[str]) -> Mapping[str, object]:
    """Returns the sections by which calls are admitted by their key, counted for scopes, priced and recorded."""
    prices = {"input": "2.5", "output": "10"}
    models = dict.fromkeys(_models(), _PLENTY) if len(scopes) > 1 else {}
    return {
        "access": {"enabled": True},
        "limits": {**dict.fromkeys(scopes, _PLENTY), "models": models},
        "models": {model: {"prices": prices, "max_output_tokens": 4096} for model in _models()},
        "audit": {"enabled": True, "spool_dir": str(folder / "spool")},
    }


async def _make_key(folder: Path, scopes: Sequence[str]) -> str:
    """Makes a key of a user of a team of an organization, and budgets, where the server looks for them."""
    from loom_grpc.storage.database import Database
    from loom_grpc.storage.directory import DatabaseDirectory

    text = new_key("lt")
    key, user, team, organization = (id for _, id in _SCOPES.values())
    directory = DatabaseDirectory(Database(f"sqlite:///{folder / 'loom-grpc' / 'loom.db'}"))
    await directory.create(pb.Organization(id=organization))
    await directory.create(pb.Team(id=team, organization=organization))
    await directory.create(pb.User(id=user, team=team, organization=organization))
    await directory.create_key(pb.HashedKey(key=pb.ApiKey(id=key, user=user), sha256=digest(text)))
    for name in scopes:
        scope, id = _SCOPES[name]
        month = pb.BUDGET_PERIOD_MONTH
        await directory.create(pb.Budget(id=id, scope=scope, scope_id=id, period=month, cap_nanos=10**18))
    await directory.close()
    return text


def _start(
    stack: ExitStack, name: str, upstream_port: int, sink_port: int | None = None, scopes: Sequence[str] = ()
) -> Target:
    """Starts a server with a folder of its own, and returns its way in by gRPC.

    Limits and budgets are for the scopes, and with more than one for the model too; without any, callers show a key that nobody looks at.
    Without a sink, nothing is logged or measured.
    """
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="loom-bench-")))
    key = asyncio.run(_make_key(folder, scopes)) if scopes else "lt_nobody"
    config = folder / "loom.yaml"
    config.write_text(json.dumps({**(_rules(folder, scopes) if scopes else {}), **({} if sink_port else _SILENT)}))
    environ = {"LOOM_CONFIG": str(config), "XDG_STATE_HOME": str(folder)}
    _, targets = start(stack, name, upstream_port, sink_port, environ)
    return replace(targets[0], name=name, key=key, settle_s=_SETTLE_S)


def _by_round(samples: Sequence[Sample]) -> dict[tuple[str, str], list[float]]:
    """Returns the CPU of a call, in microseconds, of each target and shape, round after round."""
    rounds: dict[tuple[str, str], list[float]] = {}
    for sample in samples:
        cost = sample.cpu_us * (SHAPES[sample.shape].chunks or 1)
        rounds.setdefault((sample.target, sample.shape), []).append(cost)
    return rounds


def _costs(samples: Sequence[Sample]) -> dict[tuple[str, str], list[float]]:
    """Returns what a unary call and an event of each kind of stream cost, round after round."""
    of_call = _by_round(samples)
    costs = {key: rounds for key, rounds in of_call.items() if key[1] == "unary"}
    for kind, (short, long) in _EVENTS.items():
        events = SHAPES[long].chunks - SHAPES[short].chunks
        for target, shape in of_call:
            if shape == long:
                pairs = zip(of_call[target, short], of_call[target, long], strict=True)
                costs[target, kind] = [(whole - part) / events for part, whole in pairs]
    return costs


def _added(own: Sequence[float], off: Sequence[float]) -> tuple[float, float]:
    """Returns the medians of the difference and of the ratio, each between two arms of one round: the machine is not always as fast."""
    pairs = list(zip(own, off, strict=True))
    return statistics.median(a - b for a, b in pairs), statistics.median(a / b for a, b in pairs)


def _report(targets: Sequence[Target], costs: Mapping[tuple[str, str], Sequence[float]]) -> str:
    kinds = [kind for kind in ("unary", *_EVENTS) if (OFF, kind) in costs]
    header = ["CPU of the server, us", *(f"{kind}{part}" for kind in kinds for part in ("", " added", " x off"))]
    rows = []
    for target in targets:
        cells = []
        for kind in kinds:
            own = costs[target.name, kind]
            added, ratio = _added(own, costs[OFF, kind])
            cells += [f"{statistics.median(own):.1f}", f"{added:+.1f}", f"{ratio:.2f}"]
        rows.append([target.name, *cells])
    return table(header, rows)


def _verdicts(costs: Mapping[tuple[str, str], Sequence[float]]) -> str:
    lines = []
    for kind, limit in {"unary": UNARY_LIMIT_US, **dict.fromkeys(_EVENTS, EVENT_LIMIT_US)}.items():
        if (ALL, kind) in costs:
            added, _ = _added(costs[ALL, kind], costs[OFF, kind])
            lines.append(f"{'met   ' if added <= limit else 'MISSED'} {kind}: adds {added:.1f} us, at most {limit:g}")
    return "\n".join(lines)


def main() -> None:
    """Runs everything and prints a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.governed", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kinds", default="unary,burst", help="of unary, burst and paced")
    arguments = parser.parse_args()
    shapes = [shape for kind in arguments.kinds.split(",") for shape in _EVENTS.get(kind, (kind,))]
    where = machine()
    with ExitStack() as stack:
        bare, bare_port = start_module(stack, "bare")
        _, upstream = start_module(stack, "upstream")
        _, sink = start_module(stack, "sink")
        targets = [
            Target(BARE, "grpc", bare_port, process=bare, settle_s=_SETTLE_S),
            _start(stack, OFF, upstream),
            _start(stack, "telemetry", upstream, sink),
            _start(stack, "records, limits and budget of a key", upstream, None, ["key"]),
            _start(stack, "records, limits and budgets of five", upstream, None, list(_SCOPES)),
            _start(stack, ALL, upstream, sink, list(_SCOPES)),
        ]
        samples = measure_all(targets, shapes, arguments.rounds)
        failures = sum(sample.reading.failures for sample in samples)
        write_raw(RESULTS / "governed.json", samples, [])
    costs = _costs(samples)
    print(f"{arguments.rounds} rounds, {failures} failed calls. {where}.\n")
    print(_report(targets, costs), _verdicts(costs), sep="\n\n")


if __name__ == "__main__":
    main()
