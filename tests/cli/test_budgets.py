"""`loom-grpc budgets` at a running server."""

from __future__ import annotations

import re

import pytest

from tests.operated import Operated
from tests.program import Result


async def test_a_budget_is_made_listed_changed_and_removed(operator: Operated) -> None:
    await operator("users", "create", "budget-ann")
    made = await operator("budgets", "create", "--user", "budget-ann", "--usd", "12.5")
    found = re.fullmatch(r"made budget (budget-\w+): user budget-ann, month, 12\.50 dollars\n", made.out)
    assert (made.code, made.err, bool(found)) == (0, "", True)
    id = found[1] if found else ""

    again = await operator("budgets", "create", "--user", "budget-ann", "--usd", "1")
    assert (again.code, again.err.endswith("(CONFLICT)\n")) == (1, True)

    changed = await operator("budgets", "update", id, "--usd", "0.000000001")
    assert changed == Result(0, f"changed budget {id}: user budget-ann, month, 0.000000001 dollars\n", "")
    head, row = (re.split(r" {2,}", line) for line in (await operator("budgets", "list")).out.splitlines())
    assert head == ["ID", "FOR", "PERIOD", "CAP $", "SPENT $", "RESERVED $", "LEFT $", "UNTIL"]
    assert row[:-1] == [id, "user budget-ann", "month", "0.000000001", "0.00", "0.00", "0.000000001"]
    assert re.fullmatch(r"\d{4}-\d\d-01 00:00:00Z", row[-1])

    assert await operator("budgets", "delete", id) == Result(0, f"removed budget {id}\n", "")
    assert await operator("budgets", "list", "--user", "budget-ann", "--json") == Result(
        0, "[]\n", "there are no such budgets; `loom-grpc budgets create` makes one\n"
    )


async def test_budgets_are_listed_by_what_they_are_for(operator: Operated) -> None:
    for team in ("north", "south"):
        await operator("teams", "create", team)
        await operator("budgets", "create", "--team", team, "--usd", "3", "--period", "total")

    budgets = await operator.json("budgets", "list", "--team", "south", "--json")

    assert [(each["scope"], each["scope_id"], each["cap_nanos"]) for each in budgets] == [
        ("SCOPE_KIND_TEAM", "south", "3000000000")
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("create", "--usd", "3"),
            "nothing says whose budget it is; give one of --key, --user, --team, --organization",
        ),
        (("create", "--user", "a", "--key", "b", "--usd", "3"), "a budget is for one thing; give one of --key, "),
        (("create", "--user", "a", "--usd", "-3"), "argument --usd: must be dollars such as 12.50, "),
        (("create", "--user", "a"), "the following arguments are required: --usd; "),
        (("create", "--user", "a", "--usd", "3", "--period", "week"), "argument --period: invalid choice: 'week' "),
    ],
)
async def test_wrong_usage_is_one_line(operator: Operated, words: tuple[str, ...], message: str) -> None:
    result = await operator("budgets", *words)

    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"error: {message}")
    assert result.err.count("\n") == 1


async def test_a_budget_for_nobody_is_refused(operator: Operated) -> None:
    result = await operator("budgets", "create", "--user", "nobody", "--usd", "3")

    assert result == Result(1, "", "error: There is no user nobody (NOT_FOUND)\n")
