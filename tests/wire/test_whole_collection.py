"""The whole collection of recorded traffic, where it lies beside the checkout, is read as an independent reader reads it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.wire.cases import DIALECTS, Case, differences, load
from tests.wire.check import problems

COLLECTION = Path(__file__).parents[2].parent / "shared" / "wire"


def _cases() -> list[Case]:
    expect = {}
    for line in (COLLECTION / "EXPECT.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        expect[row["id"]] = row
    cases = [load(path, expect.get(path.stem)) for path in sorted(COLLECTION.glob("*/*.json"))]
    return [case for case in cases if case.api in DIALECTS and case.expect is not None]


@pytest.mark.skipif(not COLLECTION.is_dir(), reason="the collection is not beside the checkout; tests/fixtures has a part of it")
def test_the_whole_collection_is_read_right(capsys: pytest.CaptureFixture[str]) -> None:
    passed: Counter[str] = Counter()
    failed: dict[str, list[str]] = {}
    for case in _cases():
        found = list(problems(case))
        if found:
            failed[case.id] = found
        passed[case.provider] += not found

    with capsys.disabled():
        print("\nprovider           passed  failed")
        for provider in sorted({case.provider for case in _cases()}):
            bad = sum(1 for case in _cases() if case.provider == provider and case.id in failed)
            print(f"{provider:18} {passed[provider]:6} {bad:7}")
    unexplained = {case_id: found[:2] for case_id, found in failed.items() if case_id not in differences()}
    assert unexplained == {}
    assert set(differences()) == set(failed)
