"""`loom-grpc users`, `teams` and `organizations` at a running server."""

from __future__ import annotations

from tests.operated import NASTY, Operated
from tests.program import Result


async def test_a_user_is_made_listed_changed_and_removed(operator: Operated) -> None:
    assert await operator("organizations", "create", "acme", "--name", "Acme") == Result(
        0, "made organization acme\n", ""
    )
    assert await operator("teams", "create", "core", "--organization", "acme") == Result(0, "made team core\n", "")
    words = ("--organization", "acme", "--team", "core", "--name", "Ann", "--tokens-per-minute", "90000")
    assert await operator("users", "create", "ann", *words) == Result(0, "made user ann\n", "")

    listed = await operator("users", "list", "--organization", "acme")
    assert listed == Result(
        0,
        "ID   NAME  ORGANIZATION  TEAM  ROLE  LIMITS\nann  Ann   acme          core  user  90,000 tokens/min\n",
        "",
    )

    changed = await operator(
        "users", "update", "ann", "--disabled", "yes", "--tokens-per-minute", "", "--role", "admin"
    )
    assert changed == Result(0, "changed user ann\n", "")
    listed = await operator("users", "list", "--organization", "acme")
    assert listed.out == ("ID   NAME  ORGANIZATION  TEAM  ROLE   DISABLED\nann  Ann   acme          core  admin  yes\n")

    refused = await operator("organizations", "delete", "acme")
    assert (refused.code, refused.err.endswith("(CONFLICT)\n")) == (1, True)
    assert await operator("users", "delete", "ann") == Result(0, "removed user ann\n", "")
    assert await operator("teams", "delete", "core") == Result(0, "removed team core\n", "")
    assert await operator("organizations", "delete", "acme") == Result(0, "removed organization acme\n", "")
    assert (await operator("users", "list", "--organization", "acme")).err == (
        "there are no such users; `loom-grpc users create` makes one\n"
    )


async def test_teams_and_organizations_are_tables_of_their_own(operator: Operated) -> None:
    await operator("organizations", "create", "globex", "--requests-per-minute", "5")
    await operator("teams", "create", "sales", "--organization", "globex", "--name", "Verkäufe")

    teams = await operator("teams", "list", "--organization", "globex")
    organizations = await operator.json("organizations", "list", "--json")

    assert teams.out == "ID     NAME      ORGANIZATION\nsales  Verkäufe  globex\n"
    globex = next(each for each in organizations if each["id"] == "globex")
    assert (globex["limits"], globex["disabled"]) == ({"requests_per_minute": "5"}, False)


async def test_an_id_that_is_none_is_refused(operator: Operated) -> None:
    result = await operator("users", "create", NASTY)

    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("error: user.id: ")
    assert "\x1b" not in result.err


async def test_wrong_usage_is_one_line(operator: Operated) -> None:
    results = [
        await operator("users", "create"),
        await operator("users", "update", "ann"),
        await operator("users", "update", "ann", "--disabled", "maybe"),
        await operator("organizations", "list", "--organization", "acme"),
    ]

    assert [(result.code, result.err.count("\n")) for result in results] == [(2, 1)] * 4
    assert results[1].err.startswith("error: nothing is to be changed; give one of --organization, --team, --role, ")
    assert results[2].err.startswith("error: argument --disabled: must be yes or no, not 'maybe'; ")
