"""Another configuration takes the place of the one before: at one moment, as a whole, and with all that stays the same kept."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from loom_grpc.app import App
from loom_grpc.client import llm_error
from loom_grpc.config import FIXED, Config, ConfigError, changed_keys
from loom_grpc.core.errors import MODEL_NOT_FOUND, PROVIDER_NOT_CONFIGURED, UNAUTHENTICATED
from loom_grpc.telemetry import Telemetry
from loom_grpc.v1.admin_service_pb2 import (
    ACCOUNT_STATUS_AVAILABLE,
    ACCOUNT_STATUS_COOLING_DOWN,
    ACCOUNT_STATUS_DISABLED,
    AddAccountRequest,
    DisableAccountRequest,
    ListAccountsRequest,
)
from loom_grpc.v1.admin_service_pb2_grpc import AdminServiceStub
from loom_grpc.v1.llm_service_pb2 import ListModelsRequest, LlmRequest
from tests.app.many_accounts import HEALTHY, REVOKED, many_accounts, used_up_for
from tests.app.test_failover import ADMIN, accounts_of, ask, pool
from tests.server.serving import COMPLETION, HI, LAST, chunk, configuration, serving
from tests.stand_in import Connection, json_answer, stand_in
from tests.telemetry.lines import Log


def changed(config: Config, **keys: Any) -> Config:
    """Returns a configuration with other values, by dotted path with `__` for the dots."""
    tree = config.model_dump(exclude_unset=True)
    for key, value in keys.items():
        node = tree
        *way, last = key.split("__")
        for step in way:
            node = node.setdefault(step, {})
        node[last] = value
    return Config.model_validate(tree)


# What stays


async def test_a_stream_ends_with_the_provider_that_it_began_with_and_then_its_connection_closes() -> None:
    go_on = asyncio.Event()

    async def slow(connection: Connection) -> None:
        await connection.head()
        await connection.send(chunk("from "))
        await go_on.wait()
        await connection.send(chunk("before"))
        await connection.send(LAST)
        await connection.end()

    async with stand_in(slow) as old, stand_in(json_answer(COMPLETION)) as new:
        config = configuration(old.url)
        async with serving(config) as server, asyncio.timeout(10):
            stream = aiter(server.stub.Stream(HI))
            events = [await anext(stream), await anext(stream)]
            await server.app.adopt(changed(config, providers__openai__base_url=new.url))
            after = await server.stub.Complete(HI)
            still_open = not old.connections[0].transport.is_closing()
            go_on.set()
            events += [event async for event in stream]
            await old.connections[0].closed.wait()

    assert "".join(event.text_delta.content for event in events) == "from before"
    assert (after.message.content, still_open, len(new.asked)) == ("Hello.", True, 1)


async def test_a_provider_that_stays_as_it_was_keeps_its_connections_and_what_it_listed() -> None:
    listing = json_answer({"object": "list", "data": [{"id": "gpt-listed", "object": "model"}]})
    async with stand_in(listing) as upstream:
        config = configuration(upstream.url)
        async with serving(config) as server:
            await server.stub.ListModels(ListModelsRequest(provider="openai"))
            upstream.play(json_answer(COMPLETION))
            keys = await server.app.adopt(changed(config, providers__mock__default_model="mock-echo"))
            await server.stub.Complete(HI)
            listed = await server.stub.ListModels(ListModelsRequest(provider="openai"))

    assert keys == ["providers.mock.default_model"]
    assert upstream.connected == 1
    assert "gpt-listed" in [model.id for model in listed.models]


async def test_accounts_of_a_changed_provider_keep_their_condition_and_their_counts(tmp_path: Path) -> None:
    async with many_accounts() as provider:
        provider.moods = {"key-a": used_up_for(3600), "key-b": HEALTHY, "key-c": HEALTHY}
        config = pool(provider, tmp_path, "a", "b", "c", strategy="first_available")
        async with serving(config) as server:
            admin = AdminServiceStub(server.channel)
            await server.stub.Complete(ask("one"))
            await admin.DisableAccount(DisableAccountRequest(provider="openai", id="b"), metadata=ADMIN)
            await server.app.adopt(changed(config, providers__openai__timeouts={"total_s": 30.0}))
            accounts = await accounts_of(server)
            await server.stub.Complete(ask("two"))

    assert [account.status for account in accounts.values()] == [
        ACCOUNT_STATUS_COOLING_DOWN,
        ACCOUNT_STATUS_DISABLED,
        ACCOUNT_STATUS_AVAILABLE,
    ]
    assert [account.requests for account in accounts.values()] == [1, 1, 0]
    assert provider.asked == [("key-a", "one"), ("key-b", "one"), ("key-c", "two")]


async def test_a_refused_account_is_asked_again_when_it_has_another_key(tmp_path: Path) -> None:
    async with many_accounts() as provider:
        provider.moods = {"key-a": REVOKED, "key-b": HEALTHY, "new": HEALTHY}
        config = pool(provider, tmp_path, "a", "b", strategy="first_available")
        async with serving(config) as server:
            await server.stub.Complete(ask("one"))
            refused = (await accounts_of(server))["a"].status
            await server.app.adopt(changed(config, providers__openai__accounts__a={"api_key": "new"}))
            await server.stub.Complete(ask("two"))

    assert (refused, provider.asked[-1]) == (ACCOUNT_STATUS_DISABLED, ("new", "two"))


async def test_accounts_that_were_added_stay_also_while_their_provider_is_away(tmp_path: Path) -> None:
    async with many_accounts() as provider:
        provider.moods = {"key-a": HEALTHY, "key-of-alice": HEALTHY}
        config = pool(provider, tmp_path, "a")
        async with serving(config) as server:
            admin = AdminServiceStub(server.channel)
            request = AddAccountRequest(provider="openai", id="alice", api_key="key-of-alice")
            await admin.AddAccount(request, metadata=ADMIN)
            await admin.DisableAccount(DisableAccountRequest(provider="openai", id="alice"), metadata=ADMIN)
            await server.app.adopt(changed(config, providers__openai__enabled=False))
            with pytest.raises(grpc.aio.AioRpcError) as away:
                await server.stub.Complete(ask("nobody"))
            await server.app.adopt(config)
            accounts = await accounts_of(server)

    assert llm_error(away.value, "").reason == PROVIDER_NOT_CONFIGURED
    assert {id: account.status for id, account in accounts.items()} == {
        "a": ACCOUNT_STATUS_AVAILABLE,
        "alice": ACCOUNT_STATUS_DISABLED,
    }


# What changes


async def test_providers_and_routes_come_and_go() -> None:
    async with stand_in(json_answer(COMPLETION)) as upstream:
        config = configuration(upstream.url)
        tree = config.model_dump(exclude_unset=True)
        tree["providers"]["other"] = {"dialect": "openai", "base_url": upstream.url, "api_key": "sk-other"}
        tree["routes"] = {"best": {"targets": [{"model": "other/m"}]}}
        async with serving(config) as server:
            keys = await server.app.adopt(Config.model_validate(tree))
            answer = await server.stub.Complete(LlmRequest(model="best", messages=HI.messages))
            back = await server.app.adopt(config)
            with pytest.raises(grpc.aio.AioRpcError) as gone:
                await server.stub.Complete(LlmRequest(model="best", messages=HI.messages))

    assert (answer.provider, keys) == ("other", back)
    assert {key.partition(".")[0] for key in keys} == {"providers", "routes"}
    assert llm_error(gone.value, "").reason == MODEL_NOT_FOUND
    assert upstream.asked[0].headers["authorization"] == "Bearer sk-other"


async def test_another_admin_key_holds_at_once(tmp_path: Path) -> None:
    async with many_accounts() as provider:
        config = pool(provider, tmp_path, "a")
        async with serving(config) as server:
            await server.app.adopt(changed(config, admin__api_key="la_wV8sNn3Fq0JkXb5Rt7Ue2c"))
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await accounts_of(server)
            listing = AdminServiceStub(server.channel).ListAccounts
            shown = (("authorization", "Bearer la_wV8sNn3Fq0JkXb5Rt7Ue2c"),)
            listed = await listing(ListAccountsRequest(), metadata=shown)

    assert llm_error(refused.value, "").reason == UNAUTHENTICATED
    assert [account.id for account in listed.accounts] == ["a", "default"]


async def test_the_log_follows_its_section() -> None:
    log = Log()
    async with stand_in(json_answer(COMPLETION)) as upstream:
        config = configuration(upstream.url)
        told = Telemetry(config, stream=log)
        async with App(config, {}, told) as app:
            told.log.info("quiet")
            await app.adopt(changed(config, log__level="info"))
            told.log.info("loud")
            await app.adopt(config)
            told.log.info("quiet again")

    assert [line["event"] for line in log.lines()] == ["loud"]


async def test_secrets_of_another_configuration_do_not_get_into_the_log() -> None:
    log = Log()
    async with stand_in(json_answer(COMPLETION)) as upstream:
        config = configuration(upstream.url, api_key="sk-the-first-one")
        told = Telemetry(config, stream=log)
        async with App(config, {}, told) as app:
            await app.adopt(changed(config, providers__openai__api_key="sk-the-second-one"))
            told.log.error("repeated", first="sk-the-first-one", second="sk-the-second-one")

    assert log.lines() == [{"level": "error", "event": "repeated", "first": "[REDACTED]", "second": "[REDACTED]"}]


async def test_the_same_configuration_changes_nothing() -> None:
    async with stand_in(json_answer(COMPLETION)) as upstream, serving(configuration(upstream.url)) as server:
        parts = server.app.parts

        assert await server.app.adopt(configuration(upstream.url)) == []
        assert server.app.parts is parts


async def test_reloads_at_one_time_come_one_after_the_other() -> None:
    async with stand_in(json_answer(COMPLETION)) as upstream:
        config = configuration(upstream.url)
        wanted = [changed(config, providers__mock__default_model=f"model-{number}") for number in range(8)]
        async with serving(config) as server:
            keys = await asyncio.gather(*(server.app.adopt(other) for other in wanted))

            assert keys == [["providers.mock.default_model"]] * 8
            assert server.app.config == wanted[-1]


# What is refused


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("providers__openai__api_key", "file:/nowhere/key", "providers.openai.api_key: "),
        ("providers__openai__headers", {"x-team": "file:/nowhere/team"}, "providers.openai.headers.x-team: "),
        ("providers__vertex", {}, "project and location are needed"),
        ("routes", {"best": {"targets": [{"model": "nobody/m"}]}}, "routes.best.targets: "),
        ("admin__api_key", "file:/nowhere/admin", "admin.api_key: "),
        ("grpc__address", "127.0.0.1:1", "grpc.address: cannot change while the server runs; restart it"),
        ("workers", 7, "workers: cannot change while the server runs; restart it to change this key"),
    ],
)
async def test_a_configuration_that_cannot_be_served_changes_nothing(key: str, value: object, problem: str) -> None:
    async with stand_in(json_answer(COMPLETION)) as upstream, stand_in(json_answer(COMPLETION)) as other:
        config = configuration(upstream.url)
        async with serving(config) as server:
            parts, tasks = server.app.parts, len(asyncio.all_tasks())
            wrong = changed(config, **{"providers__openai__base_url": other.url, key: value})
            with pytest.raises(ConfigError) as refused:
                await server.app.adopt(wrong)
            left = len(asyncio.all_tasks())
            answer = await server.stub.Complete(HI)

            assert server.app.parts is parts
            assert (server.app.config, left) == (config, tasks)

    assert problem in str(refused.value)
    assert (answer.message.content, len(other.asked)) == ("Hello.", 0)


async def test_a_secret_that_is_configured_again_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sk-in-a-file")
    async with stand_in(json_answer(COMPLETION)) as upstream:
        config = configuration(upstream.url)
        async with serving(config) as server:
            with_file = changed(config, providers__openai__api_key=f"file:{file}")
            for wanted in (with_file, config, with_file):
                await server.app.adopt(wanted)
                await server.stub.Complete(HI)
                file.write_text("sk-in-a-file-later")

    shown = [asked.headers["authorization"] for asked in upstream.asked]
    assert shown == ["Bearer sk-in-a-file", "Bearer sk-test", "Bearer sk-in-a-file-later"]


def test_changed_keys_are_those_of_values_and_not_of_what_holds_them() -> None:
    before = Config.model_validate({"aliases": {}, "providers": {"mock": {}}})
    after = Config.model_validate({"aliases": {"fast": "mock/m"}, "providers": {"mock": {"models": ["m"]}}})

    assert changed_keys(before, after) == ["providers.mock.models", "aliases.fast"]
    assert changed_keys(after, before) == ["providers.mock.models", "aliases.fast"]
    assert changed_keys(before, before) == []


def test_every_section_that_cannot_change_is_a_section() -> None:
    assert set(FIXED) < set(Config.model_fields)
