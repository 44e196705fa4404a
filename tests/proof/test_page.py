"""The published proof: exactly what the raw results say, failures included."""

from __future__ import annotations

import dataclasses

import pytest

from proof import raw
from proof.page import page
from proof.peers import FAULT_PEERS, FAULTS
from proof.raw import Part
from tests.faults.fault import LEFT, TABLE
from tests.program import ROOT

DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def parts() -> dict[str, Part]:
    return raw.read(DOCS / "proof")


def test_the_page_is_what_the_raw_results_render_to(parts: dict[str, Part]) -> None:
    assert (DOCS / "proof.md").read_text(encoding="utf-8") == page(parts)


def test_a_failing_cell_is_shown_as_failing(parts: dict[str, Part]) -> None:
    first, *rest = parts["failover"].results
    failing = first | {"ok": False, "verdict": "safe", "detail": "an error"}
    worse = parts | {"failover": dataclasses.replace(parts["failover"], results=[failing, *rest])}

    assert "**safe**: an error" in page(worse)
    assert f"**15 of 16 over {first['over']}**" in page(worse)
    assert "**safe**: an error" not in page(parts)


def test_a_part_that_was_not_run_is_named_so(parts: dict[str, Part]) -> None:
    without = page({name: part for name, part in parts.items() if name != "peers"})

    assert "Not run: no other gateway was installed" in without


def test_the_peers_have_a_cell_for_every_fault() -> None:
    assert list(FAULTS) == [*(row.title for row in TABLE.values()), *(title for title, _ in LEFT.values())]
    assert {len(cells) for cells in FAULTS.values()} == {len(FAULT_PEERS)}


def _bench(part: dict[str, float], *servers: str) -> Part:
    """Makes the benchmark's part, with the CPU microseconds of each target's unary call."""
    reading = {"calls": 100, "failures": 0, "p50_ms": 1.0, "p99_ms": 2.0}
    reading |= {"first_token_p50_ms": 1.0, "first_token_p99_ms": 2.0}
    samples = [
        {"target": target, "shape": shape, "cpu_us": cpu_us, "memory_mb": 80.0, "reading": reading}
        for target, cpu_us in part.items()
        for shape in ("unary", "alone", "alone_stream")
    ]
    about = {"date": "2026-11-21 10:00 UTC", "commit": "0", "machine": "one", "versions": "some"}
    weights = [{"name": name, "idle_mb": 70.0, "start_s": 0.5} for name in servers]
    return Part(about, {"servers": weights, "samples": samples})


def test_a_missed_limit_is_shown_as_missed() -> None:
    bench = _bench({"bare gRPC handler": 100, "loom gRPC": 301.0}, "loom")

    shown = page({"bench": bench})

    assert "| cost beside a bare handler | **2 of 3 limits met** |" in shown
    assert "| loom, unary call over gRPC, x bare | 3.01 | 3 | **no** |" in shown
    assert "| loom, idle MB | 70.00 | 90 | yes |" in shown


def test_peers_that_were_not_installed_are_named() -> None:
    targets = {"straight to the provider": 0.0, "loom gRPC": 300.0, "loom /proxy": 150.0, "smg": 75.0}
    peers = _bench(targets, "loom", "smg")

    shown = page({"peers": peers})

    assert "CPU of a unary call over `/proxy`: 2.00 of smg's" in shown
    assert "| smg 1.13.0 | 75.0 µs | 0.25 |" in shown
    assert "Not installed, so not measured: litellm, tensorzero." in shown
