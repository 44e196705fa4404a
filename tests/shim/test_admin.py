"""Administration over HTTP, in Loom's shapes."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from loom_grpc.client import LlmError, LoomClient
from loom_grpc.core.errors import PROVIDER_UNAVAILABLE, storage_unavailable
from loom_grpc.frontends import loom_admin
from loom_grpc.shim.remote import RemoteGateway
from loom_grpc.v1.admin_service_pb2 import (
    ACCOUNT_KIND_API_KEY,
    ACCOUNT_KIND_GOOGLE,
    ACCOUNT_KIND_OAUTH,
    ACCOUNT_STATUS_AVAILABLE,
    ACCOUNT_STATUS_COOLING_DOWN,
    ACCOUNT_STATUS_DISABLED,
    Account,
)
from tests.books import (
    CODE,
    KEY,
    PROVIDERS_KEY,
    STATE,
    WAIT_S,
    Books,
    Desk,
    Told,
    ask,
    configuration,
    open_desk,
    open_server,
    session,
)

NOW = 1_795_000_000.25
SECRETS = [text.encode() for text in (KEY, PROVIDERS_KEY, CODE, STATE)]
OPENAI = "/api/admin/openai"
ANTHROPIC = "/api/admin/anthropic"


@pytest.fixture
def books() -> Books:
    return Books()


@pytest.fixture
async def desk(books: Books) -> AsyncIterator[Desk]:
    async with open_desk(books) as desk:
        yield desk


@pytest.fixture
async def operator(desk: Desk) -> AsyncIterator[aiohttp.ClientSession]:
    async with session(desk) as operator:
        yield operator


def item(id: str, status: str = "available", kind: str = "api_key", **more: Any) -> dict[str, Any]:
    """Makes an account as it is shown."""
    counts = {"requests": 0, "errors": 0, "input_tokens": 0, "output_tokens": 0}
    return {
        "id": id,
        "status": status,
        "kind": kind,
        "configured": False,
        "disabled_by_operator": False,
    } | (counts | more)


def failure(error: str, message: str) -> dict[str, str]:
    return {"error": error, "message": message}


async def test_accounts_are_added_listed_disabled_enabled_and_removed(
    operator: aiohttp.ClientSession, books: Books
) -> None:
    told = [
        await ask(operator, "POST", f"{OPENAI}/accounts", {"id": "a", "api_key": PROVIDERS_KEY}),
        await ask(operator, "POST", f"{OPENAI}/accounts/a/disable"),
        await ask(operator, "GET", f"{OPENAI}/accounts"),
        await ask(operator, "POST", f"{OPENAI}/accounts/a/enable"),
        await ask(operator, "DELETE", f"{OPENAI}/accounts/a"),
        await ask(operator, "GET", f"{OPENAI}/accounts"),
    ]

    off = item("a", "disabled", disabled_by_operator=True)
    assert [(answer.status, answer.json) for answer in told] == [
        (200, {"account_id": "a", "account": item("a")}),
        (200, {"account_id": "a", "account": off}),
        (200, {"accounts": [off], "summary": {"total": 1, "available": 0, "cooling_down": 0, "disabled": 1}}),
        (200, {"account_id": "a", "account": item("a")}),
        (200, {"removed": "a"}),
        (200, {"accounts": [], "summary": {"total": 0, "available": 0, "cooling_down": 0, "disabled": 0}}),
    ]
    assert {answer.headers["cache-control"] for answer in told} == {"no-store"}
    assert books.keys == {("openai", "a"): PROVIDERS_KEY}


async def test_the_whole_server_is_administered(tmp_path: Path) -> None:
    oauth = {
        "authorize_url": "https://login.example/authorize",
        "token_url": "http://127.0.0.1:9/token",
        "client_id": "our-app",
        "redirect_uri": "https://our.example/callback",
    }
    providers = {"openai": {"accounts": {"a": {"api_key": "sk-a"}}}, "anthropic": {"api_key": "sk-c", "oauth": oauth}}
    async with open_server(tmp_path, providers=providers) as desk, session(desk) as operator:
        added = await ask(operator, "POST", f"{OPENAI}/accounts", {"id": "b", "api_key": PROVIDERS_KEY})
        await ask(operator, "POST", f"{OPENAI}/accounts/b/disable")
        listed = await ask(operator, "GET", f"{OPENAI}/accounts")
        health = await ask(operator, "GET", "/health")
        login = await ask(operator, "POST", f"{ANTHROPIC}/oauth/initiate", {})
        failures = [
            await ask(operator, "DELETE", f"{OPENAI}/accounts/a"),
            await ask(operator, "DELETE", f"{OPENAI}/accounts/x%0Ay"),
            await ask(operator, "POST", f"{OPENAI}/accounts", {"id": "b", "api_key": PROVIDERS_KEY}),
            await ask(operator, "POST", f"{OPENAI}/accounts", {"id": "x/y", "api_key": PROVIDERS_KEY}),
            await ask(operator, "POST", f"{OPENAI}/accounts", {"api_key": "two words"}),
            await ask(operator, "POST", f"{OPENAI}/oauth/initiate", {}),
            await ask(operator, "GET", "/api/admin/zai/accounts"),
            await ask(operator, "GET", "/api/admin/nobody/accounts"),
            await ask(operator, "POST", f"{ANTHROPIC}/oauth/complete", {"code": CODE, "state": "another"}),
            await ask(operator, "POST", f"{ANTHROPIC}/oauth/complete", {"code": CODE, "state": login.json["state"]}),
        ]

    pool = health.json["components"]["llm_providers"]["providers"][1]
    secrets = [*SECRETS, login.json["state"].encode()]
    answers = b"".join(answer.body for answer in [added, listed, health, *failures])
    assert added.json == {"account_id": "b", "account": item("b")}
    assert listed.json["summary"] == {"total": 2, "available": 1, "cooling_down": 0, "disabled": 1}
    assert (pool["name"], pool["status"], pool["mode"], pool["pool"]["accounts_disabled"]) == (
        "openai",
        "degraded",
        "api_key_pool",
        1,
    )
    assert login.json["redirect_url"].startswith("https://login.example/authorize?")
    assert [answer.status for answer in failures] == [400, 404, 409, 400, 400, 501, 501, 404, 400, 502]
    assert [text for text in secrets if text in desk.log.getvalue() + answers] == []


async def test_a_login_is_initiated_and_completed(operator: aiohttp.ClientSession) -> None:
    began = await ask(operator, "POST", f"{ANTHROPIC}/oauth/initiate", {"redirect_after": "/x", "account_id": "b"})
    done = await ask(operator, "POST", f"{ANTHROPIC}/oauth/complete", {"code": CODE, "state": began.json["state"]})
    again = await ask(operator, "POST", f"{ANTHROPIC}/oauth/complete", {"code": CODE, "state": STATE})

    assert (began.status, began.json) == (
        200,
        {
            "redirect_url": f"https://login.example/?state={STATE}",
            "state": STATE,
            "expires_at": "2027-01-15T08:00:00Z",
        },
    )
    assert (done.status, done.json) == (200, {"account_id": "b", "account": item("b", kind="oauth")})
    assert (again.status, again.json) == (400, failure("invalid_state", "There is no such login."))


async def test_an_empty_object_initiates_a_login_too(operator: aiohttp.ClientSession, books: Books) -> None:
    answer = await ask(operator, "POST", f"{ANTHROPIC}/oauth/initiate", {})

    assert (answer.status, books.logins) == (200, {STATE: ("anthropic", "anthropic-1")})


async def test_every_act_leaves_a_line_and_no_secret(operator: aiohttp.ClientSession, desk: Desk) -> None:
    await ask(operator, "POST", f"{OPENAI}/accounts", {"api_key": PROVIDERS_KEY})
    await ask(operator, "POST", f"{ANTHROPIC}/oauth/initiate", {"account_id": "b"})
    await ask(operator, "POST", f"{ANTHROPIC}/oauth/complete", {"code": CODE, "state": STATE})
    await ask(operator, "POST", f"{ANTHROPIC}/oauth/complete", {"code": CODE, "state": STATE})
    await ask(operator, "POST", f"{OPENAI}/accounts", {"api_key": [PROVIDERS_KEY]})

    common = {"edge": "http", "level": "info", "who": "admin_key"}
    lines = desk.lines("admin")
    ids = [line.pop("request_id") for line in lines]
    assert len(set(ids)) == 5
    assert lines == [
        common | {"method": "AddAccount", "account": "openai/openai-1", "reason": "OK"},
        common | {"method": "StartLogin", "account": "anthropic/b", "reason": "OK"},
        common | {"method": "FinishLogin", "account": "anthropic/b", "reason": "OK"},
        common
        | {
            "method": "FinishLogin",
            "account": "anthropic",
            "reason": "LOGIN_STATE_INVALID",
            "message": "There is no such login.",
        },
        common
        | {
            "method": "AddAccount",
            "account": "openai",
            "reason": "INVALID_REQUEST",
            "message": "api_key: must be a string.",
        },
    ]
    assert [text for text in SECRETS if text in desk.log.getvalue()] == []


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": KEY},
        {"authorization": f"Basic {KEY}"},
        {"authorization": f"Bearer {KEY[:-1]}"},
        {"authorization": f"Bearer {KEY}0"},
        {"authorization": "Bearer k\u00e4y"},
        {"x-api-key": KEY.upper()},
        {"cookie": f"key={KEY}"},
    ],
)
async def test_whoever_shows_no_key_or_a_wrong_one_is_refused(
    desk: Desk, books: Books, headers: dict[str, str]
) -> None:
    async with session(desk, **headers) as stranger:
        answer = await ask(stranger, "POST", f"{OPENAI}/accounts?key={KEY}", {"api_key": PROVIDERS_KEY})

    assert (answer.status, answer.json) == (
        401,
        failure("unauthorized", "Administration needs the server's admin key, in the header authorization."),
    )
    assert answer.headers["cache-control"] == "no-store"
    assert (books.accounts, desk.lines("admin")[0]["level"]) == ({}, "warning")
    assert [text for text in SECRETS if text in desk.log.getvalue() + answer.body] == []


@pytest.mark.parametrize("name", ["x-api-key", "x-goog-api-key"])
async def test_the_key_may_be_in_other_headers(desk: Desk, name: str) -> None:
    async with session(desk, **{name: KEY}) as operator:
        answer = await ask(operator, "GET", f"{OPENAI}/accounts")

    assert answer.status == 200


async def test_without_a_configured_key_nobody_gets_in(operator: aiohttp.ClientSession, books: Books) -> None:
    books.key = None

    answer = await ask(operator, "GET", f"{OPENAI}/accounts")

    assert (answer.status, answer.json) == (
        403,
        failure(
            "forbidden", "Administration is off: the server has no admin key. Set admin.api_key, or LOOM_ADMIN_KEY."
        ),
    )


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error"),
    [
        ("GET", "/api/admin/zai/accounts", None, 501, "not_implemented"),
        ("POST", "/api/admin/zai/oauth/initiate", {}, 501, "not_implemented"),
        ("POST", f"{OPENAI}/oauth/initiate", {}, 501, "not_implemented"),
        ("POST", f"{ANTHROPIC}/oauth/complete", {"code": CODE, "state": "x"}, 400, "invalid_state"),
        ("DELETE", f"{OPENAI}/accounts/nobody", None, 404, "not_found"),
        ("DELETE", f"{OPENAI}/accounts/a%0Ab", None, 404, "not_found"),
        ("DELETE", f"{OPENAI}/accounts/a%2Fb", None, 404, "not_found"),
        ("POST", f"{OPENAI}/accounts/nobody/enable", None, 404, "not_found"),
        ("DELETE", f"{OPENAI}/accounts/fixed", None, 400, "bad_request"),
        ("POST", f"{OPENAI}/accounts", {"id": "fixed", "api_key": "k"}, 409, "conflict"),
        ("POST", f"{OPENAI}/accounts", {"id": "b"}, 422, "unprocessable_entity"),
        ("POST", f"{OPENAI}/accounts", {"id": 1, "api_key": "k"}, 422, "unprocessable_entity"),
        ("POST", f"{OPENAI}/accounts", [], 422, "unprocessable_entity"),
        ("POST", f"{OPENAI}/accounts", b"{", 400, "bad_request"),
        ("POST", f"{OPENAI}/accounts", b"\xff\xfe", 400, "bad_request"),
        ("POST", f"{OPENAI}/accounts", b"[" * 100_000, 400, "bad_request"),
        ("POST", f"{ANTHROPIC}/oauth/initiate", b"", 400, "bad_request"),
        ("POST", f"{ANTHROPIC}/oauth/initiate", {"redirect_after": 1}, 422, "unprocessable_entity"),
        ("POST", f"{ANTHROPIC}/oauth/complete", {"code": "c"}, 422, "unprocessable_entity"),
        ("PUT", f"{OPENAI}/accounts", {}, 405, "method_not_allowed"),
        ("GET", f"{OPENAI}/accounts/", None, 404, "not_found"),
        ("GET", "/api/admin//accounts", None, 404, "not_found"),
    ],
)
async def test_what_goes_wrong_is_told_in_looms_shape(
    operator: aiohttp.ClientSession, books: Books, method: str, path: str, body: Any, status: int, error: str
) -> None:
    books.accounts["openai", "fixed"] = Account(provider="openai", id="fixed", configured=True)

    answer = await ask(operator, method, path, body)

    assert (answer.status, answer.json["error"], set(answer.json)) == (status, error, {"error", "message"})
    assert list(books.accounts) == [("openai", "fixed")]


async def test_a_code_that_is_not_taken_is_exchange_failed(operator: aiohttp.ClientSession) -> None:
    await ask(operator, "POST", f"{ANTHROPIC}/oauth/initiate", {})
    answer = await ask(operator, "POST", f"{ANTHROPIC}/oauth/complete", {"code": "x", "state": STATE})

    assert (answer.status, answer.json) == (
        400,
        failure("exchange_failed", "The provider did not take the code."),
    )


@pytest.mark.parametrize(
    ("trouble", "status", "body", "again"),
    [
        (storage_unavailable("No store."), 503, failure("service_unavailable", "No store."), "5"),
        (LlmError(PROVIDER_UNAVAILABLE, "Nobody there."), 502, failure("upstream_error", "Nobody there."), None),
        (
            RuntimeError(PROVIDERS_KEY),
            500,
            failure("internal_error", "The server failed; its log has the details under the request id."),
            None,
        ),
    ],
)
async def test_trouble_has_a_status_of_its_own(
    operator: aiohttp.ClientSession,
    desk: Desk,
    books: Books,
    trouble: Exception,
    status: int,
    body: Any,
    again: str | None,
) -> None:
    books.trouble = trouble

    answer = await ask(operator, "GET", f"{OPENAI}/accounts")

    assert (answer.status, answer.json, answer.headers.get("retry-after")) == (status, body, again)
    assert [text for text in SECRETS if text in desk.log.getvalue()] == []
    request_id = answer.headers["loom-request-id"]
    assert {line["request_id"] for line in desk.lines("admin") + desk.lines("crashed")} == {request_id}


@pytest.mark.parametrize("key", [KEY, "wrong"])
async def test_a_body_of_16_mb_is_refused(desk: Desk, books: Books, key: str) -> None:
    data = io.BytesIO(b'{"api_key": "' + b"x" * 16 * 2**20 + b'"}')
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    async with session(desk, **headers) as operator, operator.post(f"{OPENAI}/accounts", data=data) as response:
        status = response.status

    assert (status, books.accounts) == (413 if key == KEY else 401, {})


async def test_a_body_must_be_json(operator: aiohttp.ClientSession) -> None:
    async with operator.post(f"{OPENAI}/accounts", data={"api_key": "k"}) as response:
        answer = await Told.read(response)

    assert (answer.status, answer.json) == (
        415,
        failure("unsupported_media_type", "content-type: must be application/json."),
    )


async def test_pages_of_other_origins_are_not_let_in(books: Books) -> None:
    config = configuration(http={"cors": {"allow_origins": ["*"]}})
    headers = {"origin": "https://page.example", "access-control-request-method": "POST"}
    async with open_desk(books, config) as desk, session(desk) as operator:
        admin = await ask(operator, "GET", f"{OPENAI}/accounts", headers=headers)
        preflight = await ask(operator, "OPTIONS", f"{OPENAI}/accounts", headers=headers)
        other = await ask(operator, "GET", "/livez", headers=headers)

    assert (admin.status, preflight.status, other.headers["access-control-allow-origin"]) == (200, 405, "*")
    assert [name for name in {**admin.headers, **preflight.headers} if name.startswith("access-control")] == []


async def test_an_act_is_done_although_its_caller_goes_away(desk: Desk, books: Books) -> None:
    books.waiting = asyncio.Event()
    async with session(desk) as operator:
        asking = asyncio.create_task(ask(operator, "POST", f"{OPENAI}/accounts", {"id": "a", "api_key": "k"}))
        await books.watching.wait()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    books.waiting.set()
    await desk.http_edge.drain(WAIT_S)

    assert list(books.accounts) == [("openai", "a")]
    assert [line["reason"] for line in desk.lines("admin")] == ["OK"]


async def test_a_draining_server_tells_to_come_again(operator: aiohttp.ClientSession, desk: Desk, books: Books) -> None:
    books.waiting = asyncio.Event()
    asking = asyncio.create_task(ask(operator, "GET", f"{OPENAI}/accounts"))
    await books.watching.wait()
    await desk.http_edge.drain(0)
    answer = await asking

    assert (answer.status, answer.json["error"], answer.headers["retry-after"]) == (503, "service_unavailable", "1")
    assert [line["reason"] for line in desk.lines("admin")] == ["DRAINING"]


async def test_a_shim_passes_administration_on_and_its_errors_too(desk: Desk, books: Books) -> None:
    async with LoomClient(desk.target, api_key=KEY) as client, open_desk(RemoteGateway(client)) as front:
        async with session(front) as operator:
            told = [
                await ask(operator, "POST", f"{OPENAI}/accounts", {"id": "a", "api_key": PROVIDERS_KEY}),
                await ask(operator, "POST", f"{OPENAI}/accounts", {"id": "a", "api_key": PROVIDERS_KEY}),
                await ask(operator, "POST", f"{OPENAI}/oauth/initiate", {}),
                await ask(operator, "DELETE", f"{OPENAI}/accounts/x%0Ay"),
                await ask(operator, "DELETE", f"{OPENAI}/accounts/a"),
            ]
        strangers = []
        for header in ("", "Bearer", "Bearer wrong", "Bearer k\u00e4y"):
            async with session(front, authorization=header) as stranger:
                strangers.append((await ask(stranger, "GET", f"{OPENAI}/accounts")).status)

    conflict = failure("conflict", "id: openai has an account a already.")
    assert [answer.status for answer in told] == [200, 409, 501, 400, 200]
    assert (told[1].json, told[2].json["error"], told[4].json) == (conflict, "not_implemented", {"removed": "a"})
    assert strangers == [401, 401, 401, 401]
    ids = {line["request_id"] for line in front.lines("admin")}
    assert {line["request_id"] for line in desk.lines("admin")} < ids, "one id on both sides"
    assert [text for text in SECRETS if text in desk.log.getvalue() + front.log.getvalue()] == []


def test_an_account_is_shown_with_what_is_known() -> None:
    cooling = Account(
        provider="anthropic",
        id="a",
        kind=ACCOUNT_KIND_OAUTH,
        status=ACCOUNT_STATUS_COOLING_DOWN,
        cooling_until=Timestamp(seconds=1_795_000_060),
        last_error="The quota is used up.",
        token_expire_time=Timestamp(seconds=1_795_003_600),
        requests=3,
        errors=1,
        input_tokens=5,
        output_tokens=7,
    )
    over = Account(
        id="b", status=ACCOUNT_STATUS_COOLING_DOWN, kind=ACCOUNT_KIND_GOOGLE, cooling_until=Timestamp(seconds=1)
    )
    off = Account(id="c", status=ACCOUNT_STATUS_DISABLED, kind=ACCOUNT_KIND_API_KEY)
    on = Account(id="d", status=ACCOUNT_STATUS_AVAILABLE, kind=ACCOUNT_KIND_API_KEY, configured=True)

    shown = loom_admin.accounts([cooling, over, off, on], NOW)

    counts = {"requests": 3, "errors": 1, "input_tokens": 5, "output_tokens": 7}
    wait = {"cooldown_remaining_secs": 60, "last_error": "The quota is used up."}
    assert shown == {
        "accounts": [
            item("a", "cooling_down", "oauth", expires_at="2026-11-18T12:06:40Z", **wait, **counts),
            item("b", "cooling_down", "google", cooldown_remaining_secs=0),
            item("c", "disabled"),
            item("d", configured=True),
        ],
        "summary": {"total": 4, "available": 1, "cooling_down": 2, "disabled": 1},
    }
