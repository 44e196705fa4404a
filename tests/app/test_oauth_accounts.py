"""OAuth accounts behind a real server: logged in by the operator, renewed in time, shared by several processes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import orjson
import pytest

from loom_grpc.client import llm_error
from loom_grpc.config import Config
from loom_grpc.core.account import AccountRef, Tokens
from loom_grpc.core.errors import LOGIN_EXCHANGE_FAILED, LOGIN_STATE_INVALID, PROVIDER_AUTH_FAILED
from loom_grpc.credentials.file_store import FileStore
from loom_grpc.v1.admin_service_pb2 import (
    ACCOUNT_KIND_OAUTH,
    ACCOUNT_STATUS_AVAILABLE,
    ACCOUNT_STATUS_DISABLED,
    FinishLoginRequest,
    StartLoginRequest,
    StartLoginResponse,
)
from loom_grpc.v1.admin_service_pb2_grpc import AdminServiceStub
from loom_grpc.v1.llm_service_pb2_grpc import LlmServiceStub
from tests.app.many_accounts import HEALTHY, REVOKED
from tests.app.test_failover import ADMIN, ADMIN_KEY, accounts_of, ask
from tests.oauth_server import OAuthServer, browse, oauth_server
from tests.program import Server, served
from tests.server.serving import Serving, configuration, serving
from tests.stand_in import Connection, StandIn, stand_in


@dataclass
class World:
    """A provider that takes the access tokens of an OAuth server, and the configuration of a server that logs in there."""

    provider: StandIn
    oauth: OAuthServer
    config: Config
    store: Path
    refused: list[str]
    """The credentials that the provider refused."""


@asynccontextmanager
async def world(tmp_path: Path, **openai: Any) -> AsyncIterator[World]:
    """Runs both on real sockets."""
    refused: list[str] = []
    async with oauth_server() as oauth, stand_in(HEALTHY) as provider:

        async def answer(connection: Connection) -> None:
            shown = connection.asked.headers.get("authorization", "")
            if not oauth.valid(shown.removeprefix("Bearer ")):
                refused.append(shown)
                await REVOKED(connection)
            else:
                await HEALTHY(connection)

        provider.play(answer)
        login = {
            "authorize_url": oauth.authorize_url,
            "token_url": oauth.token_url,
            "client_id": oauth.client_id,
            "redirect_uri": oauth.redirect_uri,
            "scopes": ["inference"],
            "headers": {"x-of-the-operator": "yes"},
        }
        store = tmp_path / "credentials.json"
        config = configuration(provider.url, api_key=None, oauth=login, **openai).model_dump(exclude_unset=True)
        config |= {"credentials": {"file": store}, "admin": {"api_key": ADMIN_KEY}}
        yield World(provider, oauth, Config.model_validate(config), store, refused)


async def log_in(server: Serving, id: str = "") -> StartLoginResponse:
    """Begins a login."""
    request = StartLoginRequest(provider="openai", account_id=id)
    return await AdminServiceStub(server.channel).StartLogin(request, metadata=ADMIN)


async def finish(server: Serving, code: str, state: str) -> Any:
    """Ends a login and returns the account."""
    request = FinishLoginRequest(provider="openai", code=code, state=state)
    return (await AdminServiceStub(server.channel).FinishLogin(request, metadata=ADMIN)).account


async def failed_finish(server: Serving, code: str, state: str) -> int:
    """Ends a login in vain and returns the reason."""
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await finish(server, code, state)
    return llm_error(failure.value, "").reason


async def test_an_operator_logs_in_and_callers_are_answered_also_after_a_restart(tmp_path: Path) -> None:
    async with world(tmp_path) as our:
        async with serving(our.config) as server:
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await server.stub.Complete(ask("too early"))
            login = await log_in(server, "alice")
            code, state = await browse(login.authorize_url)
            account = await finish(server, f"{code}#{state}", login.state)
            await server.stub.Complete(ask("hi"))
        async with serving(our.config) as server:
            await server.stub.Complete(ask("hi again"))
            listed = await accounts_of(server)

    assert llm_error(failure.value, "").reason == PROVIDER_AUTH_FAILED
    assert state == login.state
    assert (account.id, account.kind, account.status) == ("alice", ACCOUNT_KIND_OAUTH, ACCOUNT_STATUS_AVAILABLE)
    assert our.oauth.authorized[0]["scope"] == "inference"
    assert our.refused == []
    assert [asked.headers["x-of-the-operator"] for asked in our.provider.asked] == ["yes", "yes"]
    assert listed["alice"].requests == 2
    assert (our.oauth.exchanges, our.oauth.refreshes) == (1, 0)


async def test_a_login_is_finished_once_by_its_own_code_and_nothing_else(tmp_path: Path) -> None:
    async with world(tmp_path) as our, serving(our.config) as server:
        first, second, third = [await log_in(server) for _ in range(3)]
        code, _ = await browse(first.authorize_url)
        other_code, other_state = await browse(second.authorize_url)
        never_begun = await failed_finish(server, code, "11111111-2222-4333-8444-555555555555")
        another_state = await failed_finish(server, f"{other_code}#{other_state}", first.state)
        used_up_by_the_failure = await failed_finish(server, code, first.state)
        another_code = await failed_finish(server, other_code, third.state)
        accounts = await accounts_of(server)

    assert never_begun == another_state == used_up_by_the_failure == LOGIN_STATE_INVALID
    assert another_code == LOGIN_EXCHANGE_FAILED
    assert accounts == {}


async def test_fifty_calls_at_the_moment_a_token_ends_make_one_refresh(tmp_path: Path) -> None:
    async with world(tmp_path) as our:
        our.oauth.expires_in = 30  # less than what is left when tokens are renewed
        store = FileStore(our.store)
        await store.save(AccountRef("openai", "alice"), our.oauth.login())
        our.oauth.expires_in = 3600
        async with serving(our.config) as server:
            await asyncio.gather(*(server.stub.Complete(ask(f"call {number}")) for number in range(50)))

    assert (our.oauth.refreshes, our.oauth.reused, our.refused) == (1, [], [])
    assert len(our.provider.asked) == 50


async def test_a_token_that_is_taken_back_early_is_renewed_within_the_call(tmp_path: Path) -> None:
    async with world(tmp_path) as our:
        tokens = our.oauth.login()
        await FileStore(our.store).save(AccountRef("openai", "alice"), tokens)
        our.oauth.forget(tokens.access)
        async with serving(our.config) as server:
            await asyncio.gather(*(server.stub.Complete(ask(f"call {number}")) for number in range(20)))
            account = (await accounts_of(server))["alice"]

    assert (our.oauth.refreshes, our.oauth.reused) == (1, [])
    assert set(our.refused) == {f"Bearer {tokens.access}"}
    assert (account.requests, account.errors, account.status) == (20, 0, ACCOUNT_STATUS_AVAILABLE)


async def test_a_revoked_login_disables_its_account_and_a_new_login_brings_it_back(tmp_path: Path) -> None:
    async with world(tmp_path) as our:
        store = FileStore(our.store)
        revoked = our.oauth.login()
        await store.save(AccountRef("openai", "alice"), revoked)
        await store.save(AccountRef("openai", "bob"), our.oauth.login())
        our.oauth.revoke(revoked.refresh)
        async with serving(our.config) as server:
            for number in range(6):
                await server.stub.Complete(ask(f"call {number}"))
            disabled = (await accounts_of(server))["alice"]
            login = await log_in(server, "alice")
            code, _ = await browse(login.authorize_url)
            renewed = await finish(server, code, login.state)
            for number in range(4):
                await server.stub.Complete(ask(f"call {number}"))
            served = (await accounts_of(server))["alice"]

    assert (disabled.status, disabled.requests, disabled.errors) == (ACCOUNT_STATUS_DISABLED, 1, 1)
    assert our.refused == [f"Bearer {revoked.access}"]
    assert (renewed.status, renewed.last_error) == (ACCOUNT_STATUS_AVAILABLE, "")
    assert served.requests == 3


async def test_trouble_on_the_way_to_the_token_endpoint_disables_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as our:
        our.oauth.expires_in = -1
        await FileStore(our.store).save(AccountRef("openai", "alice"), our.oauth.login())
        our.oauth.expires_in = 3600
        our.oauth.go_on.clear()
        async with serving(our.config) as server:
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await server.stub.Complete(ask("while it hangs"), timeout=0.5)
            our.oauth.go_on.set()
            await server.stub.Complete(ask("when it is back"))
            account = (await accounts_of(server))["alice"]

    assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert account.status == ACCOUNT_STATUS_AVAILABLE
    assert our.oauth.reused == []


async def test_two_server_processes_never_use_a_refresh_token_twice(tmp_path: Path) -> None:
    async with world(tmp_path) as our:
        our.oauth.expires_in = 2  # renewed when half of it is over
        await FileStore(our.store).save(AccountRef("openai", "alice"), our.oauth.login())
        file = tmp_path / "loom.yaml"
        file.write_text(json.dumps(orjson.loads(our.config.model_dump_json(exclude_unset=True)) | secrets(our)))
        flags = ("serve", "--config", str(file), "--grpc-address", "127.0.0.1:0", "--no-http")
        with served(*flags, cwd=tmp_path) as one, served(*flags, cwd=tmp_path) as other:
            answered = await asyncio.gather(calls(one, our), calls(other, our))
        last = (await FileStore(our.store).load())[AccountRef("openai", "alice")]

    assert our.oauth.reused == []
    assert our.oauth.refreshes >= 3
    assert min(answered) > 0
    assert isinstance(last, Tokens)
    assert our.oauth.valid(last.access)


def secrets(our: World) -> dict[str, Any]:
    """Writes out what a dump of the configuration hides."""
    return {"admin": {"api_key": ADMIN_KEY}}


async def calls(server: Server, our: World) -> int:
    """Calls a server until three refreshes have been made, and returns how often it answered."""
    answered = 0
    async with grpc.aio.insecure_channel(server.grpc_address) as channel, asyncio.timeout(30):
        stub = LlmServiceStub(channel)
        while our.oauth.refreshes < 3:
            await asyncio.gather(*(stub.Complete(ask(f"call {number}")) for number in range(5)))
            answered += 5
    return answered


async def test_a_login_outlasts_another_configuration_of_its_provider(tmp_path: Path) -> None:
    async with world(tmp_path) as our, serving(our.config) as server:
        login = await log_in(server, "alice")
        code, state = await browse(login.authorize_url)
        await finish(server, code, state)
        tree = our.config.model_dump(exclude_unset=True)
        patient, off = (
            Config.model_validate(
                tree | {"providers": {**tree["providers"], "openai": tree["providers"]["openai"] | keys}}
            )
            for keys in ({"timeouts": {"total_s": 30.0}}, {"enabled": False})
        )
        before = server.app.parts.providers["openai"].logins["alice"]
        await server.app.adopt(patient)
        after = server.app.parts.providers["openai"].logins["alice"]
        await server.stub.Complete(ask("patiently"))
        await server.app.adopt(off)
        await server.app.adopt(our.config)
        await server.stub.Complete(ask("back again"))

        assert after is before
    assert (our.oauth.exchanges, our.oauth.refreshes, our.refused) == (1, 0, [])
