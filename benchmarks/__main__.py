"""Measures the server against a bare gRPC handler: `python -m benchmarks [--rounds N] [--shapes unary,paced,burst]`."""

from __future__ import annotations

import argparse
import os
import platform
from contextlib import ExitStack

from benchmarks.loom import start, start_module
from benchmarks.measure import Result, Target, measure_all, summarise, table, write_raw
from benchmarks.process import RESULTS, Process

BARE = "bare gRPC handler"
UNARY_LIMIT, PACED_LIMIT = 3.0, 2.5
IDLE_MB_LIMIT, START_S_LIMIT = 90.0, 1.5


def machine() -> str:
    """Describes where the numbers come from."""
    load, *_ = os.getloadavg()
    system = f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}, load {load:.1f} before the run"
    return f"{system}, Python {platform.python_version()}"


def _ratios(targets: list[Target], results: dict[tuple[str, str], Result], shapes: list[str]) -> str:
    header = ["CPU of the server", *(f"{shape} {part}" for shape in shapes for part in ("us", "x bare")), "failed"]
    rows = []
    for target in targets:
        found = [results[target.name, shape] for shape in shapes]
        bare = [results[BARE, shape] for shape in shapes]
        cells = [
            (f"{own.cpu_us:.1f}", f"{own.cpu_us / base.cpu_us:.2f}") for own, base in zip(found, bare, strict=True)
        ]
        failed = sum(result.failures for result in found)
        rows.append([target.name, *(cell for pair in cells for cell in pair), str(failed)])
    return table(header, rows)


def _weights(servers: list[tuple[Process, float]]) -> str:
    rows = [
        (process.name, f"{idle_mb:.0f}", f"{process.memory_mb():.0f}", f"{process.start_s:.2f}")
        for process, idle_mb in servers
    ]
    return table(["server", "idle MB", "MB after the load", "start to serving s"], rows)


def _verdict(name: str, value: float, limit: float) -> str:
    return f"{'met   ' if value <= limit else 'MISSED'} {name}: {value:.2f}, at most {limit:g}"


def _verdicts(name: str, results: dict[tuple[str, str], Result], server: tuple[Process, float]) -> list[str]:
    limits = {"unary": UNARY_LIMIT, "paced": PACED_LIMIT}
    lines = [
        _verdict(
            f"{name}, {shape}: times the bare handler's CPU",
            results[name, shape].cpu_us / results[BARE, shape].cpu_us,
            limit,
        )
        for shape, limit in limits.items()
        if (name, shape) in results
    ]
    process, idle_mb = server
    return [
        *lines,
        _verdict(f"{process.name}, idle memory: MB", idle_mb, IDLE_MB_LIMIT),
        _verdict(f"{process.name}, start to serving: s", process.start_s, START_S_LIMIT),
    ]


def main() -> None:
    """Runs everything and prints tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shapes", default="unary,paced,burst")
    arguments = parser.parse_args()
    shapes = arguments.shapes.split(",")
    with ExitStack() as stack:
        bare, bare_port = start_module(stack, "bare")
        _, upstream_port = start_module(stack, "upstream")
        _, sink_port = start_module(stack, "sink")
        told, told_targets = start(stack, "loom with OTLP", upstream_port, sink_port)
        quiet, quiet_targets = start(stack, "loom without OTLP", upstream_port)
        where = machine()
        servers = [(process, process.memory_mb()) for process in (told, quiet)]
        targets = [Target(BARE, "grpc", bare_port, process=bare), *told_targets, *quiet_targets]
        samples = measure_all(targets, shapes, arguments.rounds)
        results = summarise(samples)
        raw = RESULTS / "bench.json"
        write_raw(raw, samples, [{"name": p.name, "idle_mb": mb, "start_s": p.start_s} for p, mb in servers])
        print(where)
        print(_ratios(targets, results, shapes), _weights(servers), sep="\n\n", end="\n\n")
        for server in servers:
            print(*_verdicts(f"{server[0].name} gRPC", results, server), sep="\n")
        print(f"raw samples: {raw}")


if __name__ == "__main__":
    main()
