"""Administration of keys, budgets and records over HTTP: the same as over gRPC, in JSON."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from loom_grpc.client import LoomClient
from loom_grpc.client.export import csv_header, csv_row, json_line
from loom_grpc.shim.remote import RemoteGateway
from loom_grpc.v1 import admin_service_pb2 as pb
from loom_grpc.v1.audit_pb2 import CallRecord
from tests.app.test_office import DEAR, HOSTILE, ledger_of, record
from tests.books import KEY, WAIT_S, Desk, ask, configuration, open_desk, open_server, session

ADMIN = "/api/admin"


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_server(tmp_path, access={"enabled": True}, providers={"mock": {}}, models=DEAR) as desk:
        yield desk


@pytest.fixture
async def operator(desk: Desk) -> AsyncIterator[aiohttp.ClientSession]:
    async with session(desk) as operator:
        yield operator


async def done(operator: aiohttp.ClientSession, method: str, path: str, body: Any = None) -> Any:
    """Asks for what must be done, and returns the answer."""
    told = await ask(operator, method, f"{ADMIN}/{path}", body)
    assert (told.status, told.headers["cache-control"]) == (200, "no-store"), told.body
    return told.json


async def refused(operator: aiohttp.ClientSession, method: str, path: str, body: Any = None) -> tuple[int, str, str]:
    """Asks for what must be refused, and returns why."""
    told = await ask(operator, method, f"{ADMIN}/{path}", body)
    return told.status, told.json["error"], told.json["message"]


async def keep(folder: Path, *records: CallRecord) -> None:
    """Puts records into the server's ledger."""
    ledger = ledger_of(folder)
    await ledger.add(records)
    await ledger.close()


async def test_organizations_teams_and_users_are_made_listed_changed_and_removed(
    operator: aiohttp.ClientSession,
) -> None:
    made = [
        await done(operator, "POST", "organizations", {"id": "acme", "display_name": "Acme"}),
        await done(operator, "POST", "teams", {"id": "red", "organization": "acme"}),
        await done(operator, "POST", "users", {"id": "anna@acme.example", "team": "red", "role": "ACCESS_ROLE_ADMIN"}),
    ]
    limits = {"requests_per_minute": 5, "tokens_per_minute": "6"}
    changed = await done(operator, "PATCH", "users/anna@acme.example", {"limits": limits, "team": None, "role": None})
    disabled = await done(operator, "PATCH", "teams/red?update_mask=disabled", {"disabled": True, "organization": ""})
    listed = await done(operator, "GET", "teams?organization=acme&page_size=5")
    removed = [await done(operator, "DELETE", path) for path in ("users/anna@acme.example", "teams/red")]

    assert [list(one) for one in made] == [["organization"], ["team"], ["user"]]
    assert made[0]["organization"] == {
        "id": "acme",
        "display_name": "Acme",
        "disabled": False,
        "create_time": made[0]["organization"]["create_time"],
    }
    assert changed["user"]["limits"] == {"requests_per_minute": "5", "tokens_per_minute": "6"}
    assert (changed["user"]["team"], changed["user"]["role"]) == ("", "ACCESS_ROLE_USER")
    assert listed == {"teams": [disabled["team"]], "next_page_token": ""}
    assert (disabled["team"]["disabled"], disabled["team"]["organization"]) == (True, "acme")
    assert removed == [{}, {}]


async def test_a_key_is_made_changed_rotated_and_revoked(operator: aiohttp.ClientSession, desk: Desk) -> None:
    made = await done(operator, "POST", "keys", {"allowed": {"models": ["mock-*"]}})
    id = made["key"]["id"]
    changed = await done(operator, "PATCH", f"keys/{id}", {"expire_time": "2099-01-01T00:00:00Z", "display_name": "A"})
    rotated = await done(operator, "POST", f"keys/{id}/rotate", {"overlap": "60s"})
    async with session(desk, authorization=f"Bearer {rotated['secret']}") as caller:
        before = await ask(caller, "GET", "/v1/models")
        administers = await refused(caller, "GET", "keys")
        revoked = await done(operator, "POST", f"keys/{rotated['key']['id']}/revoke")
        after = await ask(caller, "GET", "/v1/models")
    listed = await done(operator, "GET", "keys?show_ended=true")
    current = await done(operator, "GET", "keys?show_ended=false")

    assert made["secret"].startswith(made["key"]["prefix"])
    assert (changed["key"]["expire_time"], changed["key"]["display_name"]) == ("2099-01-01T00:00:00Z", "A")
    assert rotated["replaced"]["replaced_by"] == rotated["key"]["id"]
    assert (before.status, administers[0], after.status) == (200, 403, 401)
    assert [key["id"] for key in listed["keys"]] == [revoked["key"]["id"], id]
    assert [key["id"] for key in current["keys"]] == [id]
    assert [secret for secret in (made["secret"], rotated["secret"]) if secret.encode() in desk.log.getvalue()] == []
    assert [(line["method"], line["account"]) for line in desk.lines("admin")][:3] == [
        ("CreateKey", f"key/{id}"),
        ("UpdateKey", f"key/{id}"),
        ("RotateKey", f"key/{rotated['key']['id']}"),
    ]


async def test_a_budget_is_made_changed_and_removed(operator: aiohttp.ClientSession) -> None:
    key = (await done(operator, "POST", "keys", {}))["key"]["id"]
    wanted = {
        "scope": "SCOPE_KIND_KEY",
        "scope_id": key,
        "period": "BUDGET_PERIOD_TOTAL",
        "cap_nanos": "9007199254740993",
    }
    budget = (await done(operator, "POST", "budgets", wanted))["budget"]
    changed = (await done(operator, "PATCH", f"budgets/{budget['id']}", {"cap_nanos": 9007199254740995}))["budget"]
    listed = await done(operator, "GET", f"budgets?scope=SCOPE_KIND_KEY&scope_id={key}")
    removed = await done(operator, "DELETE", f"budgets/{budget['id']}")

    counted = {"spent_nanos": "0", "reserved_nanos": "0"}
    assert budget == {"id": budget["id"], **wanted, **counted, "create_time": budget["create_time"]}
    assert changed == {**budget, "cap_nanos": "9007199254740995"}
    assert (listed, removed) == ({"budgets": [changed], "next_page_token": ""}, {})


REFUSED: list[tuple[str, str, Any, tuple[int, str, str]]] = [
    (
        "POST",
        "teams",
        {"id": "x", "nmae": 1},
        (
            422,
            "unprocessable_entity",
            "nmae: is not known here; this takes id, organization, display_name, limits, disabled, create_time.",
        ),
    ),
    ("POST", "teams", {"id": 5}, (422, "unprocessable_entity", "id: must be a string.")),
    ("POST", "teams", [], (422, "unprocessable_entity", "The body must be a JSON object.")),
    ("POST", "teams", b'{"id": ', (400, "bad_request", "The body is not valid JSON: ")),
    ("POST", "teams", {"id": "x", "limits": []}, (422, "unprocessable_entity", "limits: must be an object.")),
    (
        "POST",
        "teams",
        {"id": "x", "limits": {"tokens_per_minute": 1.5}},
        (422, "unprocessable_entity", "limits.tokens_per_minute: must be an integer of 64 bits."),
    ),
    (
        "POST",
        "teams",
        {"id": "x", "limits": {"tokens_per_minute": "1e3"}},
        (422, "unprocessable_entity", "limits.tokens_per_minute: must be an integer of 64 bits."),
    ),
    (
        "POST",
        "teams",
        {"id": "x", "limits": {"tokens_per_minute": True}},
        (422, "unprocessable_entity", "limits.tokens_per_minute: must be an integer of 64 bits."),
    ),
    (
        "POST",
        "teams",
        {"id": "x", "disabled": "false"},
        (422, "unprocessable_entity", "disabled: must be true or false."),
    ),
    ("POST", "keys", {"role": 2}, (422, "unprocessable_entity", "role: must be a string.")),
    (
        "POST",
        "keys",
        {"role": "admin"},
        (
            422,
            "unprocessable_entity",
            "role: must be one of ACCESS_ROLE_UNSPECIFIED, ACCESS_ROLE_USER, ACCESS_ROLE_ADMIN.",
        ),
    ),
    (
        "POST",
        "keys",
        {"expire_time": "tomorrow"},
        (422, "unprocessable_entity", "expire_time: must be a time such as 2026-11-21T10:00:00Z."),
    ),
    (
        "POST",
        "keys",
        {"allowed": {"models": ["a", 1]}},
        (422, "unprocessable_entity", "allowed.models[1]: must be a string."),
    ),
    (
        "POST",
        "keys",
        {"expire_time": "2001-01-01T00:00:00Z"},
        (400, "bad_request", "key.expire_time: must be in the future; to end a key now, revoke it."),
    ),
    ("POST", "keys/x/rotate", {"overlap": 60}, (422, "unprocessable_entity", "overlap: must be a string.")),
    ("POST", "keys/x/rotate", {"id": "y"}, (422, "unprocessable_entity", "id: is another one than in the address.")),
    ("PATCH", "keys/x", {"display_name": "X"}, (404, "not_found", "There is no key x.")),
    ("PATCH", "budgets/x", {}, (422, "unprocessable_entity", "cap_nanos: is missing.")),
    ("POST", "budgets", {"scope": "SCOPE_KIND_KEY"}, (422, "unprocessable_entity", "cap_nanos: is missing.")),
    (
        "PATCH",
        "budgets/user/anna/month",
        {"cap_nanos": 1},
        (400, "bad_request", "id: must be letters, digits and . _ - @"),
    ),
    ("GET", "keys?show_ended=1", None, (422, "unprocessable_entity", "show_ended: must be true or false.")),
    ("GET", "keys?page_size=x", None, (422, "unprocessable_entity", "page_size: must be an integer of 32 bits.")),
    (
        "GET",
        "keys?users=x",
        None,
        (
            400,
            "bad_request",
            "users: is no parameter of this address; this takes page_size, page_token, user, team, organization, show_ended.",
        ),
    ),
    ("GET", "keys?user=x&user=y", None, (400, "bad_request", "user: is there more than once.")),
    ("DELETE", "keys/x", None, (405, "method_not_allowed", "This address takes another method; see the header Allow.")),
    ("GET", "usage?group_by=colour", None, (400, "bad_request", "group_by has no 'colour'; ")),
    ("GET", "usage?start_time=yesterday", None, (422, "unprocessable_entity", "start_time: must be a time such as ")),
    ("GET", "calls/x", None, (404, "not_found", "There is no call x; it may not be in the database yet.")),
    ("GET", "calls/export?format=xml", None, (400, "bad_request", "format: must be jsonl or csv, and is 'xml'.")),
    ("GET", "nothing", None, (404, "not_found", "There is nothing at this address; ")),
]


async def test_what_may_not_be_is_refused_by_the_name_of_its_field(operator: aiohttp.ClientSession) -> None:
    told = [(await refused(operator, method, path, body)) for method, path, body, _ in REFUSED]

    wanted = [why for *_, why in REFUSED]
    assert [
        (status, error, message[: len(want[2])]) for (status, error, message), want in zip(told, wanted, strict=True)
    ] == wanted


async def test_an_address_says_which_methods_it_takes(operator: aiohttp.ClientSession) -> None:
    told = await ask(operator, "PUT", f"{ADMIN}/keys")

    assert (told.status, set(told.headers["allow"].split(", "))) == (405, {"GET", "HEAD", "POST"})


async def test_a_body_that_is_no_json_is_refused(operator: aiohttp.ClientSession) -> None:
    told = await ask(operator, "POST", f"{ADMIN}/keys/x/revoke", b"id=x", headers={"content-type": "text/plain"})

    assert told.status == 415


async def test_a_provider_may_be_named_as_something_else_is(tmp_path: Path) -> None:
    keys = {"dialect": "openai", "base_url": "http://127.0.0.1:9", "api_key": "sk-x"}
    async with (
        open_server(tmp_path, access={"enabled": True}, providers={"keys": keys, "calls": keys}) as desk,
        session(desk) as operator,
    ):
        accounts = [await done(operator, "GET", f"{name}/accounts") for name in ("keys", "calls")]
        listed = await done(operator, "GET", "keys")
        made = await done(operator, "POST", "organizations", {"id": "accounts"})
        removed = await done(operator, "DELETE", "organizations/accounts")

    assert [sorted(answer) for answer in accounts] == [["accounts", "summary"]] * 2
    assert (listed["keys"], made["organization"]["id"], removed) == ([], "accounts", {})


async def test_usage_and_calls_are_told_by_their_filters(operator: aiohttp.ClientSession, tmp_path: Path) -> None:
    records = [record(number, labels={"job": "night", "a b": "c&d"}) for number in range(1, 5)]
    await keep(tmp_path, *records, record(9))
    usage = await done(
        operator, "GET", "usage?group_by=month&group_by=user&label:job=night&label:a%20b=c%26d&user=user-1"
    )
    calls = await done(
        operator, "GET", "calls?start_time=2026-11-01T00:00:02Z&end_time=2026-11-01T00:00:04Z&page_size=1"
    )
    more = await done(
        operator,
        "GET",
        "calls?start_time=2026-11-01T00:00:02Z&end_time=2026-11-01T00:00:04Z&page_token=" + calls["next_page_token"],
    )
    one = await done(operator, "GET", f"calls/{records[0].id}")

    assert [(row["group"], row["calls"], row["cost_nanos"]) for row in usage["rows"]] == [
        (["2026-11-01T00:00:00Z", "user-1"], "2", "4")
    ]
    assert [call["id"] for call in (*calls["calls"], *more["calls"])] == [records[2].id, records[1].id]
    assert one["call"] == json.loads(json_line(records[0]))


async def test_records_are_exported_as_json_lines_and_as_csv(operator: aiohttp.ClientSession, tmp_path: Path) -> None:
    records = [record(number, session_id=text, labels={text: text}) for number, text in enumerate(HOSTILE)]
    await keep(tmp_path, *records)
    as_json = await ask(operator, "GET", f"{ADMIN}/calls/export")
    as_csv = await ask(operator, "GET", f"{ADMIN}/calls/export?format=csv&user=user-0")

    assert (as_json.status, as_json.headers["content-type"], as_json.headers["loom-total"]) == (
        200,
        "application/x-ndjson",
        str(len(records)),
    )
    assert as_json.body.decode() == "".join(map(json_line, records))
    assert as_csv.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert as_csv.headers["content-disposition"] == 'attachment; filename="calls.csv"'
    assert as_csv.body.decode() == csv_header() + "".join(map(csv_row, records[::2]))
    rows = list(csv.DictReader(io.StringIO(as_csv.body.decode(), newline="")))
    assert [row["session_id"] for row in rows] == [f"'{text}" if text[0] == "=" else text for text in HOSTILE[::2]]


async def test_an_export_waits_for_its_reader_and_ends_when_that_one_goes_away(
    desk: Desk, operator: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Else a slow reader would have the whole ledger in the server's memory."""
    await keep(tmp_path, *(record(number, prompt_json="x" * 500_000) for number in range(100)))
    response = await operator.get(f"{ADMIN}/calls/export", auto_decompress=False)
    await response.content.readline()
    still = [line for line in desk.lines("admin") if line["method"] == "ExportCalls"]
    response.close()
    async with asyncio.timeout(WAIT_S):
        while not (ended := [line for line in desk.lines("admin") if line["method"] == "ExportCalls"]):  # noqa: ASYNC110 - the log tells nobody
            await asyncio.sleep(0.01)

    assert still == []
    assert [line["reason"] for line in ended] == ["CANCELLED"]


async def test_an_export_that_breaks_off_does_not_look_whole(
    desk: Desk, operator: aiohttp.ClientSession, tmp_path: Path
) -> None:
    records = [record(number) for number in range(250)]
    await keep(tmp_path, *records)
    with sqlite3.connect(tmp_path / "loom-grpc" / "loom.db") as database:
        no_text = "INSERT INTO call_content SELECT id, started_us, x'ff', '' FROM call_record WHERE id = ?"
        database.execute(no_text, [records[240].id])
    database.close()
    response = await operator.get(f"{ADMIN}/calls/export")
    with pytest.raises(aiohttp.ClientPayloadError):
        await response.read()

    assert response.status == 200
    assert [(line["method"], line["reason"]) for line in desk.lines("admin")] == [("ExportCalls", "INTERNAL")]


async def test_all_of_it_goes_through_a_shim_too(desk: Desk, tmp_path: Path) -> None:
    await keep(tmp_path, record(1), record(2))
    config = configuration()
    async with (
        LoomClient(desk.target) as client,
        open_desk(RemoteGateway(client), config) as shim,
        session(shim) as operator,
    ):
        made = await done(operator, "POST", "keys", {"display_name": "Batch"})
        listed = await done(operator, "GET", "keys")
        missing = await refused(operator, "POST", "keys/x/revoke")
        exported = await ask(operator, "GET", f"{ADMIN}/calls/export")
        async with session(shim, authorization=f"Bearer {made['secret']}") as caller:
            as_caller = await refused(caller, "GET", "keys")
        async with aiohttp.ClientSession(shim.url) as nobody:
            as_nobody = await refused(nobody, "GET", "keys")
            export_of_nobody = await refused(nobody, "GET", "calls/export")
        async with LoomClient(shim.target, api_key=KEY) as through:
            stub = through.channel.unary_unary(
                "/loom_grpc.v1.AdminService/ListKeys",
                request_serializer=pb.ListKeysRequest.SerializeToString,
                response_deserializer=pb.ListKeysResponse.FromString,
            )
            by_grpc = await stub(pb.ListKeysRequest(), metadata=through.metadata())

    assert listed["keys"] == [made["key"]]
    assert [key.id for key in by_grpc.keys] == [made["key"]["id"]]
    assert missing == (404, "not_found", "There is no key x.")
    assert exported.body.decode() == json_line(record(1)) + json_line(record(2))
    assert (as_caller[0], as_nobody[0], export_of_nobody[0]) == (403, 401, 401)
