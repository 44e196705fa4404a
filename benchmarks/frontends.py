"""Measures how much later the first token comes through each front end: `python -m benchmarks.frontends [--rounds N]`."""

from __future__ import annotations

import argparse
from contextlib import ExitStack

from benchmarks.__main__ import machine
from benchmarks.loom import front_ends, start, start_module
from benchmarks.measure import Target, measure_all, summarise, table, write_raw
from benchmarks.process import RESULTS

DIRECT = "straight to the provider"
SHAPE = "alone_stream"
LIMIT_MS = 2.0
"""What a front end may add to the first token at the median."""


def main() -> None:
    """Runs everything and prints a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.frontends", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with ExitStack() as stack:
        _, upstream_port = start_module(stack, "upstream")
        process, ways = start(stack, "loom", upstream_port)
        http_port = ways[1].port
        targets = [
            Target(DIRECT, "openai", upstream_port, "/v1/chat/completions"),
            *ways,
            *front_ends(process, http_port),
        ]
        samples = measure_all(targets, [SHAPE], rounds)
    results = summarise(samples)
    base = results[DIRECT, SHAPE].first_token_ms
    rows = []
    for target in targets:
        result = results[target.name, SHAPE]
        added = result.first_token_ms - base
        verdict = "" if target.name == DIRECT else "met" if added <= LIMIT_MS else "MISSED"
        rows.append((target.name, f"{result.first_token_ms:.2f}", f"{added:.2f}", str(result.failures), verdict))
    print(f"First token, median ms, one caller, {rounds} rounds. {machine()}.\n")
    print(table(["way in", "first token ms", "added ms", "failed", f"at most {LIMIT_MS:g} ms"], rows))
    RESULTS.mkdir(exist_ok=True)
    write_raw(RESULTS / "frontends.json", samples, [])


if __name__ == "__main__":
    main()
