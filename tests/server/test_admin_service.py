"""AdminService over a real channel."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from loom_grpc.client import AdminClient, LlmError, LoomClient, llm_error
from loom_grpc.core.errors import STORAGE_UNAVAILABLE
from loom_grpc.v1.admin_service_pb2 import (
    ACCOUNT_KIND_API_KEY,
    ACCOUNT_KIND_OAUTH,
    ACCOUNT_STATUS_AVAILABLE,
    ACCOUNT_STATUS_DISABLED,
    DESCRIPTOR,
    Account,
    AddAccountRequest,
    ListAccountsRequest,
    RemoveAccountRequest,
    WatchHealthRequest,
    WatchHealthResponse,
)
from tests.books import (
    CODE,
    KEY,
    PROVIDERS_KEY,
    STATE,
    WAIT_S,
    Books,
    Desk,
    configuration,
    open_desk,
    open_server,
    stub_of,
)

SERVICE = DESCRIPTOR.services_by_name["AdminService"]
BEARER = (("authorization", f"Bearer {KEY}"),)
ADDED = Account(provider="openai", id="a", kind=ACCOUNT_KIND_API_KEY, status=ACCOUNT_STATUS_AVAILABLE)
SECRETS = [text.encode() for text in (KEY, PROVIDERS_KEY, CODE, STATE)]


@pytest.fixture
def books() -> Books:
    return Books()


@pytest.fixture
async def desk(books: Books) -> AsyncIterator[Desk]:
    async with open_desk(books) as desk:
        yield desk


@pytest.fixture
async def admin(desk: Desk) -> AsyncIterator[AdminClient]:
    async with LoomClient(desk.target) as client:
        yield client.admin(KEY)


@pytest.fixture
async def stub(desk: Desk) -> AsyncIterator[Any]:
    async with stub_of(desk) as stub:
        yield stub


async def failed(call: Awaitable[Any]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await call
    return failure.value


async def test_an_account_is_added_listed_disabled_enabled_and_removed(admin: AdminClient, books: Books) -> None:
    added = await admin.add_account("openai", "a", PROVIDERS_KEY)
    listed = await admin.list_accounts()
    disabled = await admin.disable_account("openai", "a")
    enabled = await admin.enable_account("openai", "a")
    await admin.remove_account("openai", "a")

    off = Account()
    off.CopyFrom(ADDED)
    off.status, off.disabled_by_operator = ACCOUNT_STATUS_DISABLED, True
    assert (added, listed, disabled, enabled) == (ADDED, [ADDED], off, ADDED)
    assert await admin.list_accounts() == []
    assert books.keys == {("openai", "a"): PROVIDERS_KEY}


async def test_the_whole_server_is_administered(tmp_path: Path) -> None:
    providers = {"openai": {"accounts": {"a": {"api_key": "sk-a"}, "b": {"api_key": "sk-b"}}}, "mock": {}}
    async with open_server(tmp_path, providers=providers) as desk, LoomClient(desk.target, api_key=KEY) as client:
        admin = client.admin()
        watch = admin.watch_health("openai")
        seen = [statuses(await anext(watch))]
        added = await admin.add_account("openai", "c", PROVIDERS_KEY)
        seen.append(statuses(await anext(watch)))
        await admin.disable_account("openai", "a")
        seen.append(statuses(await anext(watch)))
        with pytest.raises(LlmError) as configured:
            await admin.remove_account("openai", "a")
        await admin.remove_account("openai", "c")
        seen.append(statuses(await anext(watch)))
        await watch.aclose()

    on, off = ACCOUNT_STATUS_AVAILABLE, ACCOUNT_STATUS_DISABLED
    assert (added.id, added.kind, added.configured) == ("c", ACCOUNT_KIND_API_KEY, False)
    assert seen == [{"a": on, "b": on}, {"a": on, "b": on, "c": on}, {"a": off, "b": on, "c": on}, {"a": off, "b": on}]
    assert (configured.value.name, configured.value.metadata["field"]) == ("INVALID_REQUEST", "id")
    assert [text for text in SECRETS if text in desk.log.getvalue()] == []


async def test_a_login_is_started_and_finished(admin: AdminClient) -> None:
    login = await admin.start_login("anthropic", "team@example.com")
    account = await admin.finish_login("anthropic", CODE, login.state)

    assert (login.authorize_url, login.expire_time.seconds) == (f"https://login.example/?state={STATE}", 1_800_000_000)
    assert account == Account(
        provider="anthropic", id="team@example.com", kind=ACCOUNT_KIND_OAUTH, status=ACCOUNT_STATUS_AVAILABLE
    )


async def test_every_act_leaves_a_line_and_no_secret(admin: AdminClient, desk: Desk) -> None:
    await admin.add_account("openai", "", PROVIDERS_KEY)
    login = await admin.start_login("anthropic", "b")
    await admin.finish_login("anthropic", CODE, login.state)
    with pytest.raises(LlmError):
        await admin.remove_account("openai", "nobody")

    lines = desk.lines("admin")
    ids = [line.pop("request_id") for line in lines]
    common = {"edge": "grpc", "level": "info", "who": "admin_key"}
    assert len(set(ids)) == 4
    assert lines == [
        common | {"method": "AddAccount", "account": "openai/openai-1", "reason": "OK"},
        common | {"method": "StartLogin", "account": "anthropic/b", "reason": "OK"},
        common | {"method": "FinishLogin", "account": "anthropic/b", "reason": "OK"},
        common
        | {
            "method": "RemoveAccount",
            "account": "openai/nobody",
            "reason": "ACCOUNT_NOT_FOUND",
            "message": "id: openai has no account 'nobody'.",
        },
    ]
    assert [text for text in SECRETS if text in desk.log.getvalue()] == []


@pytest.mark.parametrize(
    "metadata",
    [
        (("authorization", f"Bearer {KEY}"),),
        (("authorization", f"bearer  {KEY} "),),
        (("x-api-key", KEY),),
        (("authorization", "Basic Zm9v"), ("x-api-key", KEY)),
    ],
)
async def test_the_key_may_be_a_bearer_token_or_x_api_key(stub: Any, metadata: Any) -> None:
    assert list((await stub.ListAccounts(ListAccountsRequest(), metadata=metadata)).accounts) == []


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("authorization", ""),),
        (("authorization", "Bearer"),),
        (("authorization", "Bearer "),),
        (("authorization", KEY),),
        (("authorization", f"Bearer {KEY[:-1]}"),),
        (("authorization", f"Bearer {KEY}0"),),
        (("authorization", f"Bearer {KEY[:-1]}0"),),
        (("authorization", f"Bearer {'x' * 4000}"),),
        (("x-api-key", "wrong"),),
    ],
)
async def test_whoever_shows_no_key_or_a_wrong_one_is_refused(
    stub: Any, desk: Desk, books: Books, metadata: Any
) -> None:
    books.fill(1)
    request = AddAccountRequest(provider="openai", id="b", api_key=PROVIDERS_KEY)

    error = await failed(stub.AddAccount(request, metadata=metadata))
    watch = await failed(stub.WatchHealth(WatchHealthRequest(), metadata=metadata).read())

    line = desk.lines("admin")[0]
    assert (error.code(), error.details()) == (
        grpc.StatusCode.UNAUTHENTICATED,
        "Administration needs the server's admin key, in the header authorization.",
    )
    assert llm_error(error, "").name == "UNAUTHENTICATED"
    assert watch.code() == grpc.StatusCode.UNAUTHENTICATED
    assert list(books.accounts) == [("openai", "a-0")]
    assert (line["method"], line["account"], line["reason"], line["level"]) == (
        "AddAccount",
        "",
        "UNAUTHENTICATED",
        "warning",
    )
    assert [text for text in SECRETS if text in desk.log.getvalue()] == []


async def test_every_method_of_the_contract_is_served(desk: Desk) -> None:
    codes = {}
    channel: Any
    async with grpc.aio.insecure_channel(desk.target) as channel:
        for method in SERVICE.methods:
            path = f"/{SERVICE.full_name}/{method.name}"
            call = channel.unary_stream(path)(b"").read() if method.server_streaming else channel.unary_unary(path)(b"")
            codes[method.name] = (await failed(call)).code()

    assert codes == dict.fromkeys(SERVICE.methods_by_name, grpc.StatusCode.UNAUTHENTICATED)


async def test_two_different_keys_are_ambiguous(stub: Any, books: Books) -> None:
    metadata = (("authorization", "Bearer wrong"), ("x-api-key", KEY))

    error = await failed(stub.ListAccounts(ListAccountsRequest(), metadata=metadata))

    assert (error.code(), error.details()) == (
        grpc.StatusCode.UNAUTHENTICATED,
        "The credentials are ambiguous: the request has different ones; send one.",
    )


@pytest.mark.parametrize("metadata", [(), BEARER, (("authorization", "Bearer"),)])
async def test_without_a_configured_key_nobody_gets_in(books: Books, metadata: Any) -> None:
    books.key = None
    async with open_desk(books) as desk, stub_of(desk) as stub:
        error = await failed(stub.ListAccounts(ListAccountsRequest(), metadata=metadata))

    assert (error.code(), error.details()) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "Administration is off: the server has no admin key. Set admin.api_key, or LOOM_ADMIN_KEY.",
    )


async def test_accounts_are_listed_page_by_page(stub: Any, admin: AdminClient, books: Books) -> None:
    accounts = books.fill(5)
    pages: list[list[Account]] = []
    token = ""
    while not pages or token:
        page = await stub.ListAccounts(ListAccountsRequest(page_size=2, page_token=token), metadata=BEARER)
        pages.append(list(page.accounts))
        token = page.next_page_token

    assert pages == [accounts[:2], accounts[2:4], accounts[4:]]
    books.fill(2100)
    assert await admin.list_accounts("openai") == list(books.accounts.values())


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (ListAccountsRequest(page_size=-1), "page_size"),
        (ListAccountsRequest(page_size=1001), "page_size"),
        (ListAccountsRequest(page_token="rubbish"), "page_token"),
        (ListAccountsRequest(page_token="-1"), "page_token"),
        (ListAccountsRequest(page_token="9" * 5000), "page_token"),
        (ListAccountsRequest(page_token="٣"), "page_token"),
    ],
)
async def test_a_page_that_cannot_be_is_refused(stub: Any, request_: ListAccountsRequest, field: str) -> None:
    error = await failed(stub.ListAccounts(request_, metadata=BEARER))

    assert (error.code(), llm_error(error, "").metadata["field"]) == (grpc.StatusCode.INVALID_ARGUMENT, field)


@pytest.mark.parametrize("id", ["", "a/b", "a\nb", "../a", "a\0", "-a", "x" * 129, "ä"])
async def test_an_id_that_cannot_be_is_refused(stub: Any, desk: Desk, id: str) -> None:
    error = await failed(stub.RemoveAccount(RemoveAccountRequest(provider="openai", id=id), metadata=BEARER))

    assert (error.code(), llm_error(error, "").metadata["field"]) == (grpc.StatusCode.INVALID_ARGUMENT, "id")
    assert len(desk.log.getvalue().splitlines()) == 1


@pytest.mark.parametrize("method", ["AddAccount", "RemoveAccount", "EnableAccount", "StartLogin", "FinishLogin"])
async def test_a_provider_must_be_named(desk: Desk, method: str) -> None:
    async with LoomClient(desk.target) as client:
        call: Any = client.channel.unary_unary(f"/loom_grpc.v1.AdminService/{method}")
        error = await failed(call(b"", metadata=BEARER))

    assert (error.code(), error.details()) == (grpc.StatusCode.INVALID_ARGUMENT, "provider: is missing.")


@pytest.mark.parametrize("method", ["ListAccounts", "AddAccount", "FinishLogin"])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff\xff\xff", "The request is not a loom_grpc.v1.{}Request message."),
        (b"\x0a\x02\xc3\x28", "provider: is not valid UTF-8."),
    ],
)
async def test_rubbish_gets_a_clear_error(desk: Desk, method: str, data: bytes, message: str) -> None:
    async with LoomClient(desk.target) as client:
        call: Any = client.channel.unary_unary(f"/loom_grpc.v1.AdminService/{method}")
        error = await failed(call(data, metadata=BEARER))
        unknown = await failed(call(data, metadata=()))

    assert (error.code(), error.details()) == (grpc.StatusCode.INVALID_ARGUMENT, message.format(method))
    assert unknown.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_a_request_that_is_too_large_is_refused(books: Books) -> None:
    async with open_desk(books, configuration(grpc={"max_message_bytes": 2**20})) as desk, stub_of(desk) as stub:
        request = AddAccountRequest(provider="openai", id="a", api_key="x" * 2**20)
        error = await failed(stub.AddAccount(request, metadata=BEARER))

    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "grpc.max_message_bytes" in (error.details() or "")
    assert books.accounts == {}


async def test_a_crash_is_told_without_its_words_and_logged_with_the_request_id(
    stub: Any, desk: Desk, books: Books
) -> None:
    books.trouble = RuntimeError(f"no good: {PROVIDERS_KEY}")
    request = AddAccountRequest(provider="openai", api_key=PROVIDERS_KEY)

    error = await failed(stub.AddAccount(request, metadata=(*BEARER, ("x-request-id", "r-1"))))

    assert (error.code(), error.details()) == (
        grpc.StatusCode.INTERNAL,
        "The server failed; its log has the details under the request id.",
    )
    assert desk.lines("crashed")[0]["request_id"] == "r-1"
    assert desk.lines("admin") == [
        {
            "level": "warning",
            "request_id": "r-1",
            "method": "AddAccount",
            "account": "openai",
            "edge": "grpc",
            "who": "admin_key",
            "reason": "INTERNAL",
            "message": "The server failed; its log has the details under the request id.",
        }
    ]
    assert [text for text in SECRETS if text in desk.log.getvalue()] == []


async def test_a_store_that_is_away_is_said_so(stub: Any, books: Books) -> None:
    books.trouble = LlmError(STORAGE_UNAVAILABLE, "The store cannot be written.")

    call = stub.ListAccounts(ListAccountsRequest(), metadata=(*BEARER, ("x-request-id", "r-2")))
    error = await failed(call)

    assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, "The store cannot be written.")
    assert dict(error.trailing_metadata())["loom-request-id"] == "r-2"


async def test_a_watch_tells_of_every_change_until_it_is_cancelled(
    admin: AdminClient, desk: Desk, books: Books
) -> None:
    watch = admin.watch_health("openai")
    first = await anext(watch)
    await admin.add_account("openai", "a", PROVIDERS_KEY)
    second = await anext(watch)
    await watch.aclose()
    await asyncio.wait_for(books.unwatched.wait(), WAIT_S)

    assert [list(health.pools[0].accounts) for health in (first, second)] == [[], [ADDED]]
    await desk.grpc_edge.drain(WAIT_S)
    line = desk.lines("admin")[1]
    assert (line["method"], line["account"], line["reason"]) == ("WatchHealth", "openai", "CANCELLED")


async def test_watches_end_when_the_server_drains_and_do_not_hold_it_up(
    admin: AdminClient, desk: Desk, books: Books
) -> None:
    watches = [admin.watch_health() for _ in range(3)]
    for watch in watches:
        await anext(watch)
    began = time.perf_counter()
    draining = asyncio.create_task(desk.grpc_edge.drain(30))
    ends = [await ended(watch) for watch in watches]
    await draining

    assert time.perf_counter() - began < 5
    assert [(error.name, error.retry_after) for error in ends] == [("DRAINING", 1.0)] * 3
    assert [line["reason"] for line in desk.lines("admin")] == ["DRAINING"] * 3


async def test_an_act_in_flight_is_finished_while_the_server_drains(
    admin: AdminClient, desk: Desk, books: Books
) -> None:
    books.waiting = asyncio.Event()
    act = asyncio.create_task(admin.add_account("openai", "a", PROVIDERS_KEY))
    await books.watching.wait()
    draining = asyncio.create_task(desk.grpc_edge.drain(30))
    await asyncio.sleep(0)
    books.waiting.set()

    assert await act == ADDED
    await draining


def statuses(health: WatchHealthResponse) -> dict[str, int]:
    return {account.id: account.status for account in health.pools[0].accounts}


async def ended(watch: Any) -> LlmError:
    with pytest.raises(LlmError) as failure:
        await anext(watch)
    return failure.value
