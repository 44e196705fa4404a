"""Sends loads to servers and reads what they cost."""

from __future__ import annotations

import dataclasses
import json
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from time import sleep

from benchmarks.load import Load, Reading, Speaks
from benchmarks.process import ROOT, Process


@dataclasses.dataclass(frozen=True)
class Target:
    """One way into one server."""

    name: str
    speaks: Speaks
    port: int
    path: str = ""
    model_prefix: str = ""
    process: Process | None = None
    """Whose clocks to read; None where only the callers' are wanted."""
    key: str = ""
    """What its callers show."""
    settle_s: float = 0.0
    """How long the server is left alone before its clocks are read, because it does some of its work later."""


@dataclasses.dataclass(frozen=True)
class Shape:
    """How many callers send for how long, and what a stream looks like."""

    callers: int
    seconds: float
    chunks: int = 0
    pace_ms: int = 0


SHAPES: Mapping[str, Shape] = {
    "unary": Shape(callers=32, seconds=3),
    # Every 0.6 ms one of the 32 streams has a chunk: the server has gone to sleep between most of them.
    "paced": Shape(callers=32, seconds=4, chunks=100, pace_ms=20),
    "burst": Shape(callers=32, seconds=3, chunks=100),
    # From the difference of two lengths follows what an event costs, without what the call around it does.
    "short": Shape(callers=32, seconds=3, chunks=10),
    "long": Shape(callers=32, seconds=3, chunks=1000),
    "short_paced": Shape(callers=32, seconds=3, chunks=10, pace_ms=5),
    "long_paced": Shape(callers=32, seconds=3, chunks=1000, pace_ms=5),
    "alone": Shape(callers=1, seconds=3),
    "alone_stream": Shape(callers=1, seconds=2, chunks=5, pace_ms=2),
}


@dataclasses.dataclass(frozen=True)
class Sample:
    """One load's result. `cpu_us` is for a call, or for a chunk that the provider sent where the shape streams."""

    target: str
    shape: str
    cpu_us: float
    memory_mb: float
    reading: Reading


def measure(target: Target, shape_name: str) -> Sample:
    """Sends one load to one target."""
    shape = SHAPES[shape_name]
    load = Load(
        target.speaks, target.port, target.path, target.model_prefix, **dataclasses.asdict(shape), key=target.key
    )
    command = [sys.executable, "-m", "benchmarks.load", json.dumps(dataclasses.asdict(load))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as callers:
        if _read_line(callers) != "warm\n":
            raise RuntimeError(f"the callers of {target.name} did not start")
        before = _cpu_s(target)
        _say_go(callers)
        reading = Reading(**json.loads(_read_line(callers)))
        used = _cpu_s(target) - before
    events = (reading.calls - reading.failures) * (shape.chunks or 1) or 1
    memory_mb = target.process.memory_mb() if target.process else 0.0
    return Sample(target.name, shape_name, used / events * 1e6, memory_mb, reading)


def _cpu_s(target: Target) -> float:
    """Reads a server's clock once it has come to rest."""
    if target.process is None:
        return 0.0
    sleep(target.settle_s)
    return target.process.cpu_s()


def _read_line(callers: subprocess.Popen[str]) -> str:
    return callers.stdout.readline() if callers.stdout else ""


def _say_go(callers: subprocess.Popen[str]) -> None:
    if callers.stdin:
        callers.stdin.write("go\n")
        callers.stdin.flush()


def measure_all(targets: Sequence[Target], shape_names: Iterable[str], rounds: int) -> list[Sample]:
    """Measures every target in turn, round after round, so that a noisy minute of the machine hits all alike."""
    samples = []
    for shape_name in shape_names:
        for number in range(rounds):
            for target in targets:
                print(f"\r{shape_name} {number + 1}/{rounds} {target.name:40}", end="", file=sys.stderr, flush=True)
                samples.append(measure(target, shape_name))
    print(f"\r{'':60}\r", end="", file=sys.stderr)
    return samples


@dataclasses.dataclass(frozen=True)
class Result:
    """The medians of a target's samples of one shape."""

    cpu_us: float
    memory_mb: float
    p50_ms: float
    p99_ms: float
    first_token_ms: float
    failures: int


def summarise(samples: Sequence[Sample]) -> dict[tuple[str, str], Result]:
    """Takes medians by target and shape."""
    groups: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.target, sample.shape), []).append(sample)
    return {key: _median(group) for key, group in groups.items()}


def _median(samples: Sequence[Sample]) -> Result:
    readings = [sample.reading for sample in samples]
    return Result(
        cpu_us=statistics.median(sample.cpu_us for sample in samples),
        memory_mb=statistics.median(sample.memory_mb for sample in samples),
        p50_ms=statistics.median(reading.p50_ms for reading in readings),
        p99_ms=statistics.median(reading.p99_ms for reading in readings),
        first_token_ms=statistics.median(reading.first_token_p50_ms for reading in readings),
        failures=sum(reading.failures for reading in readings),
    )


def write_raw(path: Path, samples: Sequence[Sample], servers: Iterable[Mapping[str, object]]) -> None:
    """Writes every sample and what is known of the servers as JSON."""
    raw = {"servers": list(servers), "samples": [dataclasses.asdict(sample) for sample in samples]}
    path.write_text(json.dumps(raw, indent=1) + "\n")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lays rows out as a Markdown table, the first column to the left and numbers to the right."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
        return "| " + " | ".join([cells[0].ljust(widths[0]), *padded[1:]]) + " |"

    rule = "|" + "|".join("-" * (width + 1) + ("-" if not n else ":") for n, width in enumerate(widths)) + "|"
    return "\n".join([line(lines[0]), rule, *map(line, lines[1:])])
