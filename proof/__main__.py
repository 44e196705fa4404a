"""Runs what docs/proof.md shows and writes it: `python -m proof [--quick] [--only faults,failover,llmock,records,bench,peers]`.

`--quick` makes waits twenty times shorter, measures little, and writes to build/proof instead of docs/.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import uvloop

from benchmarks.peers import PEERS, VENVS
from benchmarks.process import RESULTS
from proof import raw, records
from proof.about import ROOT, about
from proof.page import page
from proof.raw import PARTS, Part
from tests.faults import failover, fault, llmock_case

QUICK_SCALE: Final = 0.05
QUICK_PLAN: Final = records.Plan(calls=300, seconds=15, kills=1, longest_down_s=1)


def _faults(asked: argparse.Namespace) -> Part:
    stall_s = fault.STALL_S if asked.quick else fault.PEERS_STALL_S
    return raw.of_records(about(), uvloop.run(fault.all_records(stall_s=stall_s)), stall_s=stall_s)


def _failover(asked: argparse.Namespace) -> Part:
    scale = QUICK_SCALE if asked.quick else 1
    return raw.of_records(about(), uvloop.run(failover.all_records(scale=scale)), scale=scale)


def _llmock(_asked: argparse.Namespace) -> Part:
    return raw.of_records(about(), uvloop.run(llmock_case.all_records()))


def _records(asked: argparse.Namespace) -> Part:
    plan = QUICK_PLAN if asked.quick else records.Plan()
    return Part(about(), dataclasses.asdict(uvloop.run(records.run_alone(plan))), plan._asdict())


def _bench(asked: argparse.Namespace) -> Part:
    return _measured("benchmarks", "bench.json", "--rounds", "1" if asked.quick else "4")


def _peers(asked: argparse.Namespace) -> Part | None:
    """Measures those peers that are installed; returns nothing when none is."""
    installed = [name for name in PEERS if (asked.venvs / name / "installed").exists()]
    if not installed:
        return None
    rounds = "1" if asked.quick else "2"
    return _measured("benchmarks.peers", "peers.json", *installed, "--rounds", rounds, "--venvs", str(asked.venvs))


def _measured(module: str, result: str, *arguments: str) -> Part:
    where = about()
    subprocess.run((sys.executable, "-m", module, *arguments), cwd=ROOT, check=True)
    return Part(where, json.loads((RESULTS / result).read_text(encoding="utf-8")))


RUNS: Final[Mapping[str, Callable[[argparse.Namespace], Part | None]]] = {
    "faults": _faults,
    "failover": _failover,
    "llmock": _llmock,
    "records": _records,
    "bench": _bench,
    "peers": _peers,
}


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(PARTS):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: parts are {', '.join(PARTS)}")
    return names


def main() -> None:
    """Runs the parts that are asked for, one after the other, and writes the page of all parts that there are."""
    parser = argparse.ArgumentParser(prog="python -m proof", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", type=_names, default=list(PARTS), help="parts to run anew")
    parser.add_argument("--page", action="store_true", help="run nothing, write the page of what there is")
    parser.add_argument("--venvs", type=Path, default=VENVS, help="folder of the peers' environments")
    arguments = parser.parse_args()
    folder = ROOT / ("build" if arguments.quick else "docs")
    for name in [] if arguments.page else arguments.only:
        print(f"{name} ...", flush=True)
        if part := RUNS[name](arguments):
            raw.write(folder / "proof", name, part)
        else:
            print("nothing to measure: `make bench-peers` installs other gateways")
    (folder / "proof.md").write_text(page(raw.read(folder / "proof")), encoding="utf-8")
    print(f"written: {folder / 'proof.md'}")


if __name__ == "__main__":
    main()
