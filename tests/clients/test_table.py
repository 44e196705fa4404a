"""The table of cases, the runners' processes and the page with the matrix."""

from __future__ import annotations

import json
from pathlib import Path

import grpc
import pytest

from clients.conformance.case import METHODS, Case, read
from clients.conformance.match import differences
from clients.conformance.matrix import BAD, BEGIN, END, PAGE, Results, kept, languages, matrix, problems, replaced
from clients.conformance.odd import CUT, RESET
from clients.conformance.runner import Runner, RunnerError, runners
from loom_grpc.core import errors

ANSWERS = """#!/usr/bin/env python3
import json, sys, time
for line in sys.stdin:
    job = json.loads(line)
    if job["name"] == "hang":
        time.sleep(60)
    if job["name"] == "die":
        sys.exit("I die")
    print(json.dumps({"name": job["name"]}), flush=True)
"""


def script(folder: Path, text: str = ANSWERS) -> Path:
    path = folder / "conformance"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


def job(name: str) -> str:
    return json.dumps({"name": name})


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return read()


@pytest.mark.parametrize("row", ["every reason, unary", "every reason, in mid-stream"])
def test_every_reason_is_tried_with_its_status(cases: list[Case], row: str) -> None:
    ends = [case.odd[-1]["end"] for case in cases if case.row == row and case.odd]

    assert {end["info"]["reason"]: grpc.StatusCode[end["code"]].value[0] for end in ends} == {
        errors.reason_name(reason): row.grpc for reason, row in errors.TABLE.items()
    }


def test_every_request_is_one_and_every_method_is_called(cases: list[Case]) -> None:
    assert {case.method for case in cases if case.message() is not None} == METHODS.keys()


def test_the_marks_that_end_a_connection_are_those_of_the_odd_server(cases: list[Case]) -> None:
    steps = json.dumps([case.odd for case in cases])

    assert CUT.decode() in steps or CUT.hex() in steps
    assert RESET.decode() in steps


def test_two_cases_of_one_name_are_refused(tmp_path: Path) -> None:
    table = tmp_path / "cases.yaml"
    row = "{name: $n, each: [{n: a b}, {n: a-b}], server: plain, method: complete, expect: {}}"
    table.write_text(f"cases: [{row}]", encoding="utf-8")

    with pytest.raises(ValueError, match="two cases have the name a-b"):
        read(table)


def test_a_key_that_no_case_has_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "cases.yaml"
    table.write_text("cases: [{name: a, server: plain, method: complete, expects: {}}]", encoding="utf-8")

    with pytest.raises(TypeError, match="expects"):
        read(table)


def test_numbers_fit_their_digits_and_true_is_no_number() -> None:
    assert differences({"tokens": 9007199254740993}, {"tokens": "9007199254740993"}) == []
    assert differences({"tokens": 1}, {"tokens": "2"}) == ["tokens: 2 instead of 1"]
    assert differences({"on": True}, {"on": "1"}) == ["on: '1' instead of True"]


def test_every_folder_with_a_runner_is_a_language(tmp_path: Path) -> None:
    for name in ("zig", "ada", "conformance"):
        (tmp_path / name).mkdir()
    script(tmp_path / "zig")
    script(tmp_path / "ada")
    (tmp_path / "conformance" / "conformance").mkdir()

    assert runners(tmp_path) == {"ada": tmp_path / "ada" / "conformance", "zig": tmp_path / "zig" / "conformance"}


async def test_a_runner_that_hangs_or_dies_is_a_failure_and_the_next_case_gets_another_one(tmp_path: Path) -> None:
    runner = Runner(script(tmp_path))

    assert await runner.ask(job("one"), 10) == '{"name": "one"}\n'
    with pytest.raises(RunnerError, match=r"^no answer within 0.2 s$"):
        await runner.ask(job("hang"), 0.2)
    assert await runner.ask(job("two"), 10) == '{"name": "two"}\n'
    with pytest.raises(RunnerError, match=r"^the runner ended with code 1; it said: I die$"):
        await runner.ask(job("die"), 10)
    assert await runner.ask(job("three"), 10) == '{"name": "three"}\n'
    with pytest.raises(RunnerError, match=r"^no answer within 0.2 s$"):
        await runner.ask(job("hang"), 0.2)
    with pytest.raises(RunnerError, match=r"^not run: the runner failed 3 times before$"):
        await runner.ask(job("four"), 10)


async def test_a_runner_has_to_end_well(tmp_path: Path) -> None:
    runner = Runner(script(tmp_path, "#!/bin/sh\nread line\necho '{}'\ncat > /dev/null\nexit 3\n"))
    await runner.ask(job("one"), 10)

    with pytest.raises(RunnerError, match=r"^the runner ended with code 3$"):
        await runner.close()


async def test_a_language_that_is_not_built_is_a_failure(tmp_path: Path) -> None:
    runner = Runner(script(tmp_path, "#!/bin/sh\nexec ./bin/conformance\n"))

    with pytest.raises(RunnerError, match=r"the runner .*bin/conformance: not found"):
        await runner.ask(job("one"), 10)


def case(name: str, row: str) -> Case:
    return Case(name=name, row=row, server="plain", method="complete", expect={})


RESULTS: Results = {"go": {"a": [], "b": ["x: 1", "y: 2"], "c": ["x: 1", "y: 2"]}, "rust": {"a": [], "b": [], "c": []}}


def test_a_row_of_the_matrix_counts_its_cases() -> None:
    assert matrix([case("a", "one"), case("b", "two"), case("c", "two")], RESULTS) == (
        "| case | go | rust |\n|---|---|---|\n| one | ✓ | ✓ |\n| two (2) | ✗ 2 of 2 | ✓ |\n"
    )


def test_what_is_wrong_in_the_same_way_is_said_once() -> None:
    assert problems(RESULTS) == ["go: b (and 1 more cases)\n    x: 1\n    y: 2"]


def test_the_page_keeps_the_matrix_and_everything_around_it() -> None:
    page = f"# Clients\n\n{BEGIN}\nold\n{END}\nthe rest\n"

    assert replaced(page, "new\n") == f"# Clients\n\n{BEGIN}\nnew\n\n{END}\nthe rest\n"
    assert kept(replaced(page, "new\n")) == "new\n"


def test_the_page_has_every_language_and_nothing_red() -> None:
    text = kept(PAGE.read_text(encoding="utf-8"))
    languages_list, _, table = text.partition("\n\n")

    assert languages_list + "\n" == languages(runners())
    assert table.startswith(f"| case | {' | '.join(runners())} |\n")
    assert BAD not in table
