"""The whole collection of recorded traffic, where it lies beside the checkout, is read as an independent reader reads it."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import pytest

from tests.wire.cases import DIALECTS, Case, differences, fixtures, load
from tests.wire.check import problems

COLLECTION = Path(__file__).parents[2].parent / "shared" / "wire"


def _cases() -> list[Case]:
    expect = {}
    for line in (COLLECTION / "EXPECT.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        expect[row["id"]] = row
    cases = [load(path, expect.get(path.stem)) for path in sorted(COLLECTION.glob("*/*.json"))]
    return [case for case in cases if case.api in DIALECTS and case.expect is not None]


def test_the_collection_is_read_right_but_for_the_differences_on_purpose(capsys: pytest.CaptureFixture[str]) -> None:
    whole = COLLECTION.is_dir()
    cases = _cases() if whole else fixtures()
    failed = {case.id: found for case in cases if (found := list(problems(case)))}

    with capsys.disabled():
        _print_table(cases, failed)
    assert {case_id: found[:2] for case_id, found in failed.items() if case_id not in differences()} == {}
    assert set(failed) == (set(differences()) if whole else set())


def _print_table(cases: list[Case], failed: Collection[str]) -> None:
    """Prints how many cases of each provider are read as the independent reader reads them."""
    print(f"\n{'provider':18} passed  failed")
    for provider in sorted({case.provider for case in cases}):
        ids = [case.id for case in cases if case.provider == provider]
        bad = sum(case_id in failed for case_id in ids)
        print(f"{provider:18} {len(ids) - bad:6} {bad:7}")
