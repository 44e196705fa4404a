"""`loom-grpc usage` at a running server."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import pytest

from loom_grpc.cli.output import harmless
from loom_grpc.client import LoomClient
from tests.operated import MANY, NASTY, Operated
from tests.program import Result, at_terminal, run

OLD = ("--until", "2026-11-06")
"""Without the calls of `many` and what tests call themselves."""


async def test_usage_is_a_table_of_days_with_a_total(operator: Operated) -> None:
    result = await operator("usage", *OLD)

    assert result == Result(
        0,
        "DAY         CALLS  FAILED  CANCELLED  INPUT  CACHED  OUTPUT       COST $  UNPRICED\n"
        "2026-11-03      2       0          0  2,000   1,200      40  1.234567891\n"
        "2026-11-04      2       1          1     12       0       0   1.23456789         1\n"
        "2026-11-05      1       0          0  1,000     600      20   1.23456789\n"
        "total           5       1          1  3,012   1,800      60  3.703703671         1\n",
        "",
    )


async def test_usage_by_several_and_filtered(operator: Operated) -> None:
    result = await operator(
        "usage", *OLD, "--by", "user,label:project", "--since", "2026-11-03", "--until", "2026-11-05"
    )

    assert result.out.splitlines()[:4] == [
        "USER   LABEL:project  CALLS  FAILED  CANCELLED  INPUT  CACHED  OUTPUT       COST $  UNPRICED",
        "ann    -                  2       1          1     12       0       0   1.23456789         1",
        "ann    atlas              1       0          0  1,000     600      20   1.23456789",
        "bob    zephyr             1       0          0  1,000     600      20  0.000000001",
    ]


@pytest.mark.parametrize(
    ("words", "calls"),
    [
        (("--user", "ann"), 3),
        (("--key", "key-bob"), 1),
        (("--error", "ANY"), 1),
        (("--error", "PROVIDER_TIMEOUT", "--provider", "openai", "-m", "gpt-4o"), 1),
        (("--label", "project=atlas"), 1),
        (("--label", "project=atlas", "--label", "project2=x"), 0),
        (("--request-id", "request-04"), 1),
        (("--session", NASTY), 1),
        (("--user", NASTY, "--model", NASTY, "--label", f"{NASTY.replace('=', '')}={NASTY}"), 0),
    ],
)
async def test_filters_choose_the_calls(operator: Operated, words: tuple[str, ...], calls: int) -> None:
    rows = await operator.json("usage", *OLD, "--by", "", "--format", "json", *words)

    assert [row["calls"] for row in rows] == [calls]


async def test_usage_as_json_has_a_field_for_each_group(operator: Operated) -> None:
    rows = await operator.json("usage", "--by", "model,day", "--format", "json", "--user", "bob")

    assert rows == [
        {
            "model": "gpt-4o",
            "day": "2026-11-03T00:00:00Z",
            "calls": 1,
            "failed_calls": 0,
            "cancelled_calls": 0,
            "input_tokens": 1000,
            "output_tokens": 20,
            "cache_read_tokens": 600,
            "cost_usd": "0.000000001",
            "unpriced_calls": 0,
            "reported_cost_usd": "0.00",
        }
    ]


async def test_usage_as_csv_holds_no_formula(operator: Operated) -> None:
    result = await operator("usage", *OLD, "--by", "user", "--format", "csv", "--since", "2026-11-05")

    head, row = csv.reader(io.StringIO(result.out, newline=""))
    assert head[:2] == ["user", "calls"]
    assert row[:2] == [f"'{NASTY}", "1"]


async def test_a_terminal_gets_nothing_but_text(operator: Operated) -> None:
    words = ("usage", *OLD, "--by", "user", "--since", "2026-11-05", "--format")
    for form in ("table", "csv", "json"):
        async with at_terminal(*words, form, env=operator.env(), cwd=operator.cwd) as terminal:
            assert await terminal.ends() == 0

        assert "DROP TABLE" in terminal.seen
        assert harmless(terminal.seen) == terminal.seen


async def test_what_is_called_now_is_counted_soon(operator: Operated) -> None:
    key = (await operator("keys", "create", "--name", "caller")).out.strip()
    async with LoomClient(operator.target, api_key=key) as client:
        await client.complete("Hello", model="mock/mock-echo", labels={"test": "now"})

    rows: list[Any] = []
    while not rows:  # the record is on its way through the spool
        rows = await operator.json(
            "usage", "--since", "1h", "--by", "provider", "--label", "test=now", "--format", "json"
        )

    assert (rows[0]["provider"], rows[0]["calls"]) == ("mock", 1)


async def test_a_day_of_many_calls(operator: Operated) -> None:
    result = await operator("usage", "--user", "many", "--by", "month")

    assert re.search(rf"2026-11 +{MANY:,} +0 +0 +2,100,000 ", result.out)


async def test_no_calls_are_said_to_be_none(operator: Operated) -> None:
    result = await operator("usage", "--until", "2020-01-01", "--format", "csv")

    assert (result.code, result.out.count("\r\n"), result.err) == (0, 1, "there were no such calls\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--since", "2026-11-31"), "argument --since: must be like 2026-11-21, "),
        (("--label", "atlas"), "argument --label: must be NAME=VALUE, not 'atlas'"),
        (("--format", "xml"), "argument --format: invalid choice: 'xml' "),
    ],
)
async def test_wrong_usage_is_one_line(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    result = await run("usage", *words, cwd=tmp_path)

    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"error: {message}")
    assert result.err.count("\n") == 1


async def test_an_unknown_group_is_refused_by_the_server(operator: Operated) -> None:
    result = await operator("usage", "--by", "colour")

    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("error: group_by has no 'colour'; it takes hour, day, ")
