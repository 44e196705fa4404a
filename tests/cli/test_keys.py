"""`loom-grpc keys` at a running server."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from loom_grpc.client import LlmError, LoomClient
from loom_grpc.core.errors import UNAUTHENTICATED
from tests.operated import NASTY, Operated
from tests.program import Result, run

TEXT = r"l[kt]_[0-9A-Za-z]{38}"
TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ"


async def made(operator: Operated, *words: str) -> tuple[str, str]:
    """Makes a key and returns its id and its text."""
    result = await operator("keys", "create", "--json", *words)
    assert result.code == 0, result.err
    answer = json.loads(result.out)
    return answer["key"]["id"], answer["secret"]


async def models(operator: Operated, secret: str) -> list[str]:
    async with LoomClient(operator.target, api_key=secret) as client:
        return [model.provider for model in await client.list_models()][:1]


async def test_a_keys_text_is_all_of_the_output_and_works(operator: Operated) -> None:
    result = await operator("keys", "create", "--name", "laptop")

    assert result.code == 0
    assert re.fullmatch(rf"{TEXT}\n", result.out)
    secret = result.out.strip()
    told = rf"key key-\w+ \({secret[:9]}\.\.\. laptop\): this is its text, which is not shown again\n"
    assert re.fullmatch(told, result.err)
    assert await models(operator, secret) == ["mock"]


async def test_keys_are_a_table(operator: Operated) -> None:
    await operator("users", "create", "keys-ann")
    id, secret = await made(
        operator, "--user", "keys-ann", "--name", "Ann's", "--expires", "2099-01-31", "--models", "mock/*,b",
        "--networks", "10.0.0.0/8", "--requests-per-minute", "1200", "--concurrent-streams", "3",
    )  # fmt: skip

    result = await operator("keys", "list", "--user", "keys-ann")

    assert (result.code, result.err) == (0, "")
    head, row = (re.split(r" {2,}", line) for line in result.out.splitlines())
    assert head == ["ID", "TEXT", "NAME", "USER", "ROLE", "MADE", "ALLOWED", "LIMITS", "STATUS"]
    assert re.fullmatch(TIME, row.pop(5))
    assert row == [
        id,
        f"{secret[:9]}...",
        "Ann's",
        "keys-ann",
        "user",
        "models: mock/*, b; source_networks: 10.0.0.0/8",
        "1,200 requests/min, 3 streams",
        "ends 2099-01-31 00:00:00Z",
    ]


async def test_keys_as_json_have_all_fields_and_no_text(operator: Operated) -> None:
    id, secret = await made(operator, "--name", "json", "--organization", "")

    result = await operator("keys", "list", "--json")

    key = next(key for key in json.loads(result.out) if key["id"] == id)
    assert (key["display_name"], key["prefix"], key["role"]) == ("json", secret[:9], "ACCESS_ROLE_USER")
    assert secret not in result.out


async def test_an_update_changes_what_is_given_and_an_empty_value_takes_it_back(operator: Operated) -> None:
    id, _ = await made(operator, "--name", "old", "--models", "a,b", "--requests-per-minute", "5")

    assert (await operator("keys", "update", id, "--tokens-per-minute", "0", "--name", "new")).code == 0
    assert (await operator("keys", "update", id, "--models", "", "--requests-per-minute", "")).code == 0

    key = next(key for key in await operator.json("keys", "list", "--json") if key["id"] == id)
    assert key["display_name"] == "new"
    assert key["limits"] == {"tokens_per_minute": "0"}
    assert key["allowed"] == {"providers": [], "models": [], "routes": [], "source_networks": []}


async def test_a_rotated_key_ends_when_it_is_said_to(operator: Operated) -> None:
    id, old = await made(operator)

    result = await operator("keys", "rotate", id, "--overlap", "1h")

    assert re.fullmatch(rf"{TEXT}\n", result.out)
    assert re.fullmatch(
        rf"key key-\w+ \(\S+\): this is its text, which is not shown again\nkey {id} \({old[:9]}\.\.\.\) ends {TIME}\n",
        result.err,
    )
    assert await models(operator, old) == await models(operator, result.out.strip()) == ["mock"]


async def test_a_key_rotated_without_overlap_is_refused_at_once(operator: Operated) -> None:
    id, old = await made(operator)

    result = await operator("keys", "rotate", id, "--overlap", "0s")

    assert result.code == 0
    with pytest.raises(LlmError) as caught:
        await models(operator, old)
    assert caught.value.reason == UNAUTHENTICATED


async def test_a_revoked_key_is_refused_and_listed_only_with_all(operator: Operated) -> None:
    id, secret = await made(operator, "--name", "lost")

    result = await operator("keys", "revoke", id)

    assert result == Result(0, f"revoked {id} ({secret[:9]}... lost)\n", "")
    with pytest.raises(LlmError) as caught:
        await models(operator, secret)
    assert caught.value.reason == UNAUTHENTICATED
    assert id not in (await operator("keys", "list")).out
    assert re.search(rf"{id} .* revoked {TIME}\n", (await operator("keys", "list", "--all")).out)


async def test_a_key_of_an_admin_administers_and_one_of_a_user_does_not(operator: Operated) -> None:
    _, admin = await made(operator, "--role", "admin")
    _, user = await made(operator, "--role", "user")

    results = [
        await operator("keys", "list", env={"LOOM_ADMIN_KEY": "", "LOOM_API_KEY": secret}) for secret in (admin, user)
    ]

    assert [result.code for result in results] == [0, 1]
    assert results[1].err.endswith("(PERMISSION_DENIED)\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("revoke", "key-none"), "There is no key key-none (NOT_FOUND)"),
        (
            ("create", "--name", NASTY),
            "key.display_name: must not contain line breaks or control characters (INVALID_REQUEST)",
        ),
        (("create", "--networks", "10.0.0.0/99"), "key.allowed.source_networks[0]: "),
        (("create", "--user", "no'body\x1b[31m"), "key.user: "),
        (("list", "--user", "\x1b]0;x\x07"), ""),
    ],
)
async def test_what_the_server_refuses_is_one_harmless_line(
    operator: Operated, words: tuple[str, ...], message: str
) -> None:
    result = await operator("keys", *words)

    assert result.err.startswith(f"error: {message}") or not message
    assert result.err.count("\n") == 1
    assert not set(map(chr, range(32))) & set(result.err) - {"\n"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("create", "--role", "root"), "argument --role: invalid choice: 'root' (choose from "),
        (("create", "--expires", "soon"), "argument --expires: must be like 2026-11-21, "),
        (
            ("create", "--requests-per-minute", "many"),
            "argument --requests-per-minute: must be a whole number, not 'many'",
        ),
        (("update", "key-1"), "nothing is to be changed; give one of --name, --expires, --providers, "),
        (("rotate", "key-1", "--overlap", "-1h"), "argument --overlap: "),
        (("revoke", b"\xff"), "the arguments are not UTF-8 text"),
    ],
)
async def test_wrong_usage_is_one_line(tmp_path: Path, words: tuple[str | bytes, ...], message: str) -> None:
    result = await run("keys", *words, cwd=tmp_path)

    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"error: {message}")
    assert result.err.count("\n") == 1


async def test_without_an_admin_key_one_line_says_where_it_goes(operator: Operated) -> None:
    result = await operator("keys", "list", env={"LOOM_ADMIN_KEY": ""})

    assert (result.code, result.out) == (1, "")
    assert result.err.endswith("; set LOOM_ADMIN_KEY to the admin key of this server (UNAUTHENTICATED)\n")
