"""Every recorded exchange that is kept with the tests is read as an independent reader reads it."""

from __future__ import annotations

import pytest

from tests.wire.cases import DIALECTS, Case, differences, fixtures
from tests.wire.check import known, problems, reasons

CASES = fixtures()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_recorded_answer_is_read_the_same_however_it_is_cut(case: Case) -> None:
    assert list(problems(case)) == []


def test_there_are_cases_for_every_dialect() -> None:
    assert {case.api for case in CASES} >= set(DIALECTS)


def test_every_reason_in_the_table_is_one_of_the_contract() -> None:
    assert [reason for reason in reasons().values() if not known(reason)] == []


def test_no_kept_case_is_among_the_differences() -> None:
    assert {case.id for case in CASES} & set(differences()) == set()
