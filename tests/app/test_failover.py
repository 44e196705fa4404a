"""A pool of accounts behind a real server: what one account cannot answer, another one does, and nobody notices."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from loom_grpc.client import llm_error
from loom_grpc.config import Config
from loom_grpc.core.errors import PROVIDER_QUOTA_EXCEEDED
from loom_grpc.v1.admin_service_pb2 import (
    ACCOUNT_STATUS_AVAILABLE,
    ACCOUNT_STATUS_COOLING_DOWN,
    ACCOUNT_STATUS_DISABLED,
    Account,
    DisableAccountRequest,
    EnableAccountRequest,
    ListAccountsRequest,
)
from loom_grpc.v1.admin_service_pb2_grpc import AdminServiceStub
from loom_grpc.v1.llm_service_pb2 import LlmRequest, LlmResponse
from loom_grpc.v1.message_pb2 import ROLE_USER, Message
from tests.app.many_accounts import (
    HEALTHY,
    OVERLOADED,
    REVOKED,
    USED_UP,
    ManyAccounts,
    many_accounts,
    throttled,
    used_up_for,
)
from tests.server.serving import Serving, chunk, configuration, serving
from tests.stand_in import Connection, Script

ADMIN_KEY = "la_BXq7cVn2Lr9TzKp4Wm6Yd1"
ADMIN = (("authorization", f"Bearer {ADMIN_KEY}"),)


def pool(provider: ManyAccounts, tmp_path: Path, *ids: str, **options: Any) -> Config:
    """Configures a pool whose accounts show `key-<id>`."""
    accounts = {id: {"api_key": f"key-{id}"} for id in ids}
    config = configuration(provider.url, api_key=None, accounts=accounts, **options).model_dump(exclude_unset=True)
    config["credentials"] = {"file": tmp_path / "credentials.json"}
    config["admin"] = {"api_key": ADMIN_KEY}
    return Config.model_validate(config)


def ask(prompt: str, **fields: Any) -> LlmRequest:
    """Makes a request that the provider recognises by its prompt."""
    messages = [Message(role=ROLE_USER, content=prompt)]
    return LlmRequest(provider="openai", model="gpt-4o", messages=messages, **fields)


async def accounts_of(server: Serving) -> dict[str, Account]:
    """Returns the accounts of OpenAI as the operator sees them."""
    listed = await AdminServiceStub(server.channel).ListAccounts(ListAccountsRequest(provider="openai"), metadata=ADMIN)
    return {account.id: account for account in listed.accounts}


async def load(server: Serving, prompts: range) -> list[LlmResponse]:
    """Makes many calls, twenty at a time."""
    limit = asyncio.Semaphore(20)

    async def call(number: int) -> LlmResponse:
        async with limit:
            return await server.stub.Complete(ask(f"call {number}"))

    return await asyncio.gather(*(call(number) for number in prompts))


def at_request(provider: ManyAccounts, number: int, token: str, mood: Script) -> None:
    """Changes how a token is answered when the provider gets its so-manieth request."""
    provider.on_request = lambda now: provider.moods.update({token: mood}) if now == number else None


async def test_no_caller_sees_an_error_while_one_account_is_healthy(tmp_path: Path) -> None:
    """Under load one account's quota ends, another one is revoked, and a third is overloaded."""
    async with many_accounts() as provider:
        provider.moods = {"key-a": HEALTHY, "key-b": HEALTHY, "key-c": HEALTHY}
        async with serving(pool(provider, tmp_path, "a", "b", "c")) as server:
            at_request(provider, 70, "key-a", USED_UP)
            answers = await load(server, range(200))
            at_request(provider, len(provider.asked) + 70, "key-b", REVOKED)
            answers += await load(server, range(200, 400))
            before = await accounts_of(server)
            provider.moods["key-a"] = HEALTHY
            admin = AdminServiceStub(server.channel)
            await admin.EnableAccount(EnableAccountRequest(provider="openai", id="a"), metadata=ADMIN)
            at_request(provider, len(provider.asked) + 70, "key-c", OVERLOADED)
            answers += await load(server, range(400, 600))
            after = await accounts_of(server)

    assert [answer.message.content for answer in answers] == ["Hello."] * 600
    assert provider.repeated() == []
    assert {id: account.status for id, account in before.items()} == {
        "a": ACCOUNT_STATUS_COOLING_DOWN,
        "b": ACCOUNT_STATUS_DISABLED,
        "c": ACCOUNT_STATUS_AVAILABLE,
    }
    assert {id: account.status for id, account in after.items()} == {
        "a": ACCOUNT_STATUS_AVAILABLE,
        "b": ACCOUNT_STATUS_DISABLED,
        "c": ACCOUNT_STATUS_AVAILABLE,
    }
    assert {f"key-{id}": account.requests for id, account in after.items()} == dict(provider.counts())
    assert sum(account.requests - account.errors for account in after.values()) == 600
    assert sum(account.input_tokens for account in after.values()) == 600 * 8
    assert sum(account.output_tokens for account in after.values()) == 600 * 2
    assert {account.calls_in_flight for account in after.values()} == {0}


async def test_a_used_up_quota_is_left_alone_for_as_long_as_the_provider_says(tmp_path: Path) -> None:
    async with many_accounts() as provider:
        provider.moods = {"key-a": used_up_for(300), "key-b": HEALTHY}
        async with serving(pool(provider, tmp_path, "a", "b", strategy="first_available")) as server:
            for number in range(5):
                await server.stub.Complete(ask(f"call {number}"))
            account = (await accounts_of(server))["a"]

    assert provider.counts() == {"key-a": 1, "key-b": 5}
    assert account.status == ACCOUNT_STATUS_COOLING_DOWN
    assert 290 < account.cooling_until.seconds - account.last_error_time.seconds <= 300
    assert account.last_error == "The provider account's quota or balance is used up (429, insufficient_quota)"


async def test_a_call_that_finds_no_account_says_when_to_come_back(tmp_path: Path) -> None:
    async with many_accounts() as provider:
        provider.moods = {"key-a": used_up_for(300), "key-b": used_up_for(100)}
        async with serving(pool(provider, tmp_path, "a", "b")) as server:
            with pytest.raises(grpc.aio.AioRpcError):
                await server.stub.Complete(ask("first"))
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await server.stub.Complete(ask("second"))

    assert [prompt for _, prompt in provider.asked] == ["first", "first"]
    error = llm_error(failure.value, "")
    assert error.reason == PROVIDER_QUOTA_EXCEEDED
    assert error.retry_after is not None
    assert 90 < error.retry_after <= 100


async def test_a_burst_limit_is_waited_for(tmp_path: Path) -> None:
    async with many_accounts() as provider:
        provider.moods = {"key-a": throttled(1)}
        at_request(provider, 2, "key-a", HEALTHY)
        async with serving(pool(provider, tmp_path, "a")) as server:
            answer = await server.stub.Complete(ask("call"))

    assert answer.message.content == "Hello."
    assert provider.counts() == {"key-a": 2}


async def test_the_callers_deadline_ends_the_search_for_an_account(tmp_path: Path) -> None:
    async def silent(connection: Connection) -> None:
        await connection.closed.wait()

    async with many_accounts() as provider:
        provider.moods = {"key-a": silent, "key-b": HEALTHY}
        async with serving(pool(provider, tmp_path, "a", "b", strategy="first_available")) as server:
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await server.stub.Complete(ask("call"), timeout=0.3)

    assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert provider.counts() == {"key-a": 1}


async def test_nobody_is_asked_after_the_first_event(tmp_path: Path) -> None:
    async def breaks_off(connection: Connection) -> None:
        await connection.head()
        await connection.send(chunk("Hel"))
        connection.cut()

    async with many_accounts() as provider:
        provider.moods = {"key-a": breaks_off, "key-b": HEALTHY}
        async with serving(pool(provider, tmp_path, "a", "b", strategy="first_available")) as server:
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                async for _ in server.stub.Stream(ask("call")):
                    pass

    assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
    assert provider.counts() == {"key-a": 1}


async def test_a_session_stays_on_its_account(tmp_path: Path) -> None:
    async with many_accounts() as provider:
        provider.moods = {"key-a": HEALTHY, "key-b": HEALTHY, "key-c": HEALTHY}
        async with serving(pool(provider, tmp_path, "a", "b", "c", strategy="session")) as server:
            for number in range(60):
                session = f"session {number % 12}"
                await server.stub.Complete(ask(session, session_id=session))

    homes = {prompt: token for token, prompt in provider.asked}
    assert {(token, prompt) for token, prompt in provider.asked} == {(token, prompt) for prompt, token in homes.items()}
    assert len(homes) == 12
    assert set(homes.values()) == {"key-a", "key-b", "key-c"}


async def test_a_plain_key_is_asked_whatever_happened_before(tmp_path: Path) -> None:
    async with many_accounts() as provider:
        provider.moods = {"sk-test": USED_UP}
        async with serving(configuration(provider.url)) as server:
            with pytest.raises(grpc.aio.AioRpcError):
                await server.stub.Complete(ask("first"))
            provider.moods = {"sk-test": HEALTHY}
            answer = await server.stub.Complete(ask("second"))

    assert answer.message.content == "Hello."


async def test_what_an_operator_switched_off_stays_off_after_a_restart(tmp_path: Path) -> None:
    async with many_accounts() as provider:
        provider.moods = {"key-a": HEALTHY, "key-b": used_up_for(300), "key-c": HEALTHY}
        config = pool(provider, tmp_path, "a", "b", "c")
        async with serving(config) as server:
            admin = AdminServiceStub(server.channel)
            await admin.DisableAccount(DisableAccountRequest(provider="openai", id="a"), metadata=ADMIN)
            for number in range(4):
                await server.stub.Complete(ask(f"call {number}"))
            before = await accounts_of(server)
        async with serving(config) as server:
            after = await accounts_of(server)
            await server.stub.Complete(ask("after the restart"))

    for account in after.values():
        account.calls_in_flight = 0
    assert after == before
    assert (after["a"].disabled_by_operator, after["b"].status) == (True, ACCOUNT_STATUS_COOLING_DOWN)
    assert provider.asked[-1] == ("key-c", "after the restart")
