"""Accounts that several server processes share: what one of them does or finds, the others know, and nothing is counted twice."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
import orjson
import pytest
from cryptography.fernet import Fernet

from loom_grpc.client import LlmError, LoomClient
from loom_grpc.client.admin import AdminClient
from loom_grpc.core.account import AccountRef, StoredKey
from loom_grpc.core.errors import ACCOUNT_EXISTS, LOGIN_STATE_INVALID
from loom_grpc.core.health import Counts
from loom_grpc.credentials.file_store import FileStore
from loom_grpc.v1.admin_service_pb2 import (
    ACCOUNT_STATUS_AVAILABLE,
    ACCOUNT_STATUS_COOLING_DOWN,
    ACCOUNT_STATUS_DISABLED,
    Account,
    AccountStatus,
    EnableAccountRequest,
)
from loom_grpc.v1.admin_service_pb2_grpc import AdminServiceStub
from tests.app.many_accounts import HEALTHY, OVERLOADED, ManyAccounts, many_accounts, used_up_for
from tests.app.test_failover import ADMIN, ADMIN_KEY, ask, load, pool
from tests.app.test_oauth_accounts import World, secrets, world
from tests.oauth_server import browse
from tests.postgres import databases
from tests.program import Server, run, served
from tests.server.serving import serving
from tests.server.test_worker import OWN, log_of, workers
from tests.stand_in import Connection

ON, OFF, PAUSED = ACCOUNT_STATUS_AVAILABLE, ACCOUNT_STATUS_DISABLED, ACCOUNT_STATUS_COOLING_DOWN
KNOWN_S = 2.0
"""How long it may take until all processes know what one of them knows (docs/accounts.md)."""
PATIENCE_S = 6.0
"""How long that is waited for."""
FREE = ("--grpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0", "--log-level", "warning")


@contextmanager
def store_of(kind: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Gives what the configuration says of a store, where nothing is yet."""
    key = Fernet.generate_key().decode()
    if kind == "file":
        yield {"credentials": {"file": f"{folder}/credentials.json"}}
    elif kind == "sqlite":
        yield {"credentials": {"encryption_key": key}, "database": {"url": f"sqlite:///{folder}/loom.db"}}
    else:
        with databases() as server:
            yield {"credentials": {"encryption_key": key}, "database": {"url": server.new_database()}}


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    with store_of(request.param, tmp_path) as store:
        yield store


@dataclass
class Process:
    """One server process, over a connection that leads to no other."""

    client: LoomClient
    server: Server

    @property
    def admin(self) -> AdminClient:
        return self.client.admin(ADMIN_KEY)

    async def ask(self, prompt: str, **fields: Any) -> None:
        await self.client.complete(ask(prompt, **fields))

    async def accounts(self) -> dict[str, Account]:
        return {account.id: account for account in await self.admin.list_accounts("openai")}

    async def counts(self) -> dict[str, Counts]:
        return {id: Counts(*(getattr(a, name) for name in Counts._fields)) for id, a in (await self.accounts()).items()}

    async def knows(self, **statuses: AccountStatus.ValueType) -> float:
        """Waits until the process knows this of its accounts; returns how long it took, in seconds."""
        began = time.perf_counter()
        async with asyncio.timeout(PATIENCE_S):
            async for health in self.admin.watch_health("openai"):
                if {account.id: account.status for account in health.pools[0].accounts} == statuses:
                    break
        return time.perf_counter() - began


def write_config(folder: Path, store: dict[str, Any], others: dict[str, Any] | None = None, **openai: Any) -> Path:
    """Writes a configuration in which OpenAI retries at once and the mock provider tells one worker from another."""
    provider = {"retry": {"base_delay_s": 0}} | openai
    config = {"providers": {"openai": provider, "mock": {}} | (others or {}), "admin": {"api_key": ADMIN_KEY}} | store
    file = folder / "loom.json"
    file.write_text(json.dumps(config))
    return file


def keys(*ids: str) -> dict[str, Any]:
    return {id: {"api_key": f"key-{id}"} for id in ids}


@asynccontextmanager
async def two(layout: str, config: Path) -> AsyncIterator[tuple[Process, Process]]:
    """Runs two processes: the workers of one server, or two servers."""
    flags = ("serve", "--config", str(config), *FREE)
    async with AsyncExitStack() as stack:
        if layout == "servers":
            servers = [stack.enter_context(served(*flags, cwd=config.parent)) for _ in range(2)]
            clients = [await stack.enter_async_context(connect(server)) for server in servers]
            yield Process(clients[0], servers[0]), Process(clients[1], servers[1])
        else:
            server = stack.enter_context(served(*flags, "--workers", "2", cwd=config.parent))
            one, other = await workers_of(server, stack)
            yield Process(one, server), Process(other, server)


def connect(server: Server) -> LoomClient:
    return LoomClient(server.grpc_address, options=dict(OWN), timeout_s=15)


async def workers_of(server: Server, stack: AsyncExitStack) -> tuple[LoomClient, LoomClient]:
    """Connects to both workers of a server. `calls_in_flight` is the answering process's own, so it tells who has a call that hangs."""

    async def has_it(client: LoomClient) -> bool:
        (account,) = await client.admin(ADMIN_KEY).list_accounts("mock")
        return account.calls_in_flight > 0

    one = await stack.enter_async_context(connect(server))
    hanging = asyncio.ensure_future(one.complete("hang", provider="mock", model="mock-silent"))
    try:
        async with asyncio.timeout(10):
            while not await has_it(one):
                pass
            other = await stack.enter_async_context(connect(server))
            while await has_it(other):
                await asyncio.sleep(0.01)  # a worker may just be starting
                other = await stack.enter_async_context(connect(server))
    finally:
        hanging.cancel()
        await asyncio.wait({hanging})
    return one, other


async def until(check: Callable[[], Awaitable[bool]], within_s: float) -> float:
    """Asks again and again until the answer is yes; returns how long it took, in seconds."""
    began = time.perf_counter()
    async with asyncio.timeout(within_s):
        while not await check():  # noqa: ASYNC110 - nothing tells this process of what another one does
            await asyncio.sleep(0.02)
    return time.perf_counter() - began


# What an operator does, and what a provider says


async def test_what_one_process_knows_of_accounts_the_other_knows_within_two_seconds(tmp_path: Path) -> None:
    """All kinds of store at once, for it is mostly waiting."""
    async with AsyncExitStack() as stack:
        cases = [
            await stack.enter_async_context(pair(kind, layout, tmp_path / kind))
            for kind, layout in (("file", "workers"), ("sqlite", "servers"), ("postgresql", "workers"))
        ]
        times = chain.from_iterable(await asyncio.gather(*(check_that_news_travel(*case) for case in cases)))

    assert median(times) < KNOWN_S  # and not the longest, to which a busy machine adds a second


@asynccontextmanager
async def pair(kind: str, layout: str, folder: Path) -> AsyncIterator[tuple[ManyAccounts, Process, Process]]:
    """Runs two processes with the accounts a and b, and their provider."""
    folder.mkdir()  # noqa: ASYNC240 - nothing else is going on
    async with many_accounts() as provider:
        provider.moods = {f"key-{id}": HEALTHY for id in ("a", "b", "new")}
        with store_of(kind, folder) as store:
            config = write_config(folder, store, base_url=provider.url, accounts=keys("a", "b"))
            async with two(layout, config) as (one, other):
                yield provider, one, other


async def check_that_news_travel(provider: ManyAccounts, one: Process, other: Process) -> tuple[float, float, float]:
    """Returns how many seconds it took each time until the other process knew."""
    await one.admin.disable_account("openai", "a")
    await one.admin.add_account("openai", "new", "key-new")
    switched_s = await other.knows(a=OFF, b=ON, new=ON)
    first = await shown(provider, other, 4)
    await other.admin.enable_account("openai", "a")
    await other.admin.remove_account("openai", "new")
    back_s = await one.knows(a=ON, b=ON)
    second = await shown(provider, one, 4)
    provider.moods["key-b"] = used_up_for(60)
    third = await shown(provider, one, 4)
    paused_s = await other.knows(a=ON, b=PAUSED)
    fourth = await shown(provider, other, 4)
    paused = [(await process.accounts())["b"] for process in (one, other)]

    print(f"disabled and added {switched_s:.2f} s, enabled and removed {back_s:.2f} s, paused {paused_s:.2f} s")
    assert first == {"key-b": 2, "key-new": 2}
    assert second == {"key-a": 2, "key-b": 2}
    assert third == {"key-a": 4, "key-b": 1}
    assert fourth == {"key-a": 4}
    assert paused[0].cooling_until == paused[1].cooling_until
    assert paused[0].last_error == paused[1].last_error
    return switched_s, back_s, paused_s


async def shown(provider: ManyAccounts, process: Process, calls: int) -> dict[str, int]:
    """Makes calls and returns how often each key was shown for them."""
    before = len(provider.asked)
    for number in range(calls):
        await process.ask(f"call {number}")
    return dict(Counter(token for token, _ in provider.asked[before:]))


async def test_an_operator_may_turn_to_another_process_at_once(tmp_path: Path) -> None:
    with store_of("sqlite", tmp_path) as store:
        config = write_config(tmp_path, store, accounts=keys("a"))
    async with two("workers", config) as (one, other):
        await one.admin.add_account("openai", "new", "key-1")
        disabled = await other.admin.disable_account("openai", "new")
        listed = await one.accounts()
        await one.admin.remove_account("openai", "new")
        again = await other.admin.add_account("openai", "new", "key-2")
        both = await asyncio.gather(
            *(process.admin.add_account("openai", "race", "key-race") for process in (one, other)),
            return_exceptions=True,
        )
        enabled = await asyncio.gather(*(process.admin.enable_account("openai", "race") for process in (one, other)))

    assert (disabled.status, listed["new"].status, again.status) == (OFF, OFF, ON)
    assert [outcome.reason for outcome in both if isinstance(outcome, LlmError)] == [ACCOUNT_EXISTS]
    assert [account.status for account in enabled] == [ON, ON]


@pytest.mark.parametrize(("store", "layout"), [("file", "workers"), ("sqlite", "servers")], indirect=["store"])
async def test_a_login_that_one_process_begins_is_finished_once_by_any(
    store: dict[str, Any], layout: str, tmp_path: Path
) -> None:
    async with world(tmp_path) as our, two(layout, config_of(our, store)) as (one, other):
        login = await one.admin.start_login("openai", "alice")
        code, _ = await browse(login.authorize_url)
        alice = await other.admin.finish_login("openai", code, login.state)
        races = [await race(one, other, f"racer-{number}") for number in range(3)]
        ready_s = await one.knows(**{"alice": ON} | {f"racer-{number}": ON for number in range(3)})
        for number in range(4):
            await one.ask(f"call {number}")
            await other.ask(f"call {number}")

    print(f"{layout}: logged in {ready_s:.2f} s")
    assert (alice.id, alice.status) == ("alice", ON)
    assert races == [[LOGIN_STATE_INVALID, ON]] * 3
    assert (our.oauth.exchanges, our.oauth.reused, our.refused) == (4, [], [])
    assert len(our.provider.asked) == 8


def config_of(our: World, store: dict[str, Any]) -> Path:
    """Writes the configuration of a world of OAuth."""
    file = our.store.parent / "loom.json"
    file.write_text(json.dumps(orjson.loads(our.config.model_dump_json(exclude_unset=True)) | secrets(our) | store))
    return file


async def race(one: Process, other: Process, id: str) -> list[int]:
    """Lets both finish a login at the same moment; returns the reason of the failure and the account's status."""
    login = await other.admin.start_login("openai", id)
    code, _ = await browse(login.authorize_url)
    both = await asyncio.gather(
        *(process.admin.finish_login("openai", code, login.state) for process in (one, other)), return_exceptions=True
    )
    failures = [outcome.reason for outcome in both if isinstance(outcome, LlmError)]
    return [*failures, *(outcome.status for outcome in both if isinstance(outcome, Account))]


async def test_a_refusal_is_known_to_all_until_a_process_starts_anew(tmp_path: Path) -> None:
    """What an account shows may be another after a restart, so it is then asked again, by whichever process."""
    file = tmp_path / "credentials.json"
    async with many_accounts() as provider:
        provider.moods = {"key-b": HEALTHY}
        config = write_config(
            tmp_path,
            {"credentials": {"file": str(file)}},
            base_url=provider.url,
            accounts=keys("a", "b"),
            strategy="first_available",
        )
        async with two("servers", config) as (one, other):
            before = await shown(provider, one, 2)
            refused_s = await other.knows(a=OFF, b=ON)
            with served("serve", "--config", str(config), *FREE, cwd=tmp_path) as third:
                async with connect(third) as client:
                    started = await Process(client, third).accounts()
            told_s = await one.knows(a=ON, b=ON)
            again = await shown(provider, one, 2)

    print(f"servers: refused {refused_s:.2f} s, asked again {told_s:.2f} s")
    assert before == again == {"key-a": 1, "key-b": 2}
    assert (started["a"].status, started["a"].last_error) == (ON, "")


# What is counted


@pytest.mark.parametrize(("store", "layout"), [("file", "servers"), ("sqlite", "workers")], indirect=["store"])
async def test_counts_of_all_processes_add_up_also_after_a_restart(
    store: dict[str, Any], layout: str, tmp_path: Path
) -> None:
    async with many_accounts() as provider:
        overloaded: Counter[str] = Counter()

        async def now_and_then(connection: Connection) -> None:
            overloaded["b"] += len(provider.asked) % 5 == 0
            await (OVERLOADED if len(provider.asked) % 5 == 0 else HEALTHY)(connection)

        def expected() -> dict[str, Counts]:
            asked = {id: provider.counts()[f"key-{id}"] for id in ("a", "b")}
            good = {id: count - overloaded[id] for id, count in asked.items()}
            return {id: Counts(asked[id], overloaded[id], 8 * good[id], 2 * good[id]) for id in asked}

        provider.moods = {"key-a": HEALTHY, "key-b": now_and_then}
        config = write_config(tmp_path, store, base_url=provider.url, accounts=keys("a", "b"))
        async with two(layout, config) as processes:
            for number in range(4):
                await asyncio.gather(*(process.ask(f"{number} {n}") for n in range(15) for process in processes))
                await asyncio.gather(*(switch(process, 0.001 * n) for n in range(1, 6) for process in processes))
            await asyncio.gather(*(process.admin.enable_account("openai", "a") for process in processes))
            running = [await process.counts() for process in processes]
            then = expected()
            await asyncio.gather(*(process.ask(f"last {n}") for n in range(10) for process in processes))
        async with two(layout, config) as processes:
            restarted = [await process.counts() for process in processes]

    assert running == [then, then]
    assert restarted == [expected(), expected()]
    assert overloaded["b"] > 0


async def switch(process: Process, patience_s: float) -> None:
    """Switches an account on, which writes down what was counted, and soon hangs up."""
    with suppress(TimeoutError):
        await asyncio.wait_for(process.admin.enable_account("openai", "a"), patience_s)


async def test_an_account_whose_stored_key_is_replaced_counts_on(tmp_path: Path) -> None:
    async with many_accounts() as provider:
        provider.moods = {"key-1": HEALTHY, "key-2": HEALTHY}
        store = FileStore(tmp_path / "credentials.json")
        await store.add(AccountRef("openai", "stored"), StoredKey("key-1"))
        config = pool(provider, tmp_path)
        async with serving(config) as server, asyncio.timeout(10):
            await load(server, range(10))
            await AdminServiceStub(server.channel).EnableAccount(
                EnableAccountRequest(provider="openai", id="stored"), metadata=ADMIN
            )
            await store.save(AccountRef("openai", "stored"), StoredKey("key-2"))
            while not provider.counts()["key-2"]:
                await server.stub.Complete(ask("later"))
        (record,) = (await store.load_records()).values()

    assert record.counts.requests == len(provider.asked)


# A worker that is killed


async def test_a_killed_worker_takes_nothing_with_it_that_was_stored(tmp_path: Path) -> None:
    store = {"credentials": {"file": f"{tmp_path}/credentials.json"}}
    async with many_accounts() as provider:
        provider.moods = {f"key-{id}": HEALTHY for id in ("a", "b", "new")}
        config = write_config(tmp_path, store, base_url=provider.url, accounts=keys("a", "b"))
        async with two("workers", config) as (one, other), AsyncExitStack() as stack:
            server = one.server
            await one.admin.add_account("openai", "new", "key-new")
            await other.admin.list_accounts()  # looks at what the first one has done
            await asyncio.gather(shown(provider, one, 6), shown(provider, other, 6))
            for process in (one, other):
                await process.admin.disable_account("openai", "a")  # which also writes down what was counted
            summed_s = await until(lambda: all_say(server, 12), 3)
            before = [await process.counts() for process in (one, other)]
            os.kill(workers(server)[0], signal.SIGKILL)
            killed = time.perf_counter()
            meanwhile = [await calls_counted(server) for _ in range(8)]
            replaced = [Process(client, server) for client in await workers_of(server, stack)]
            replaced_s = time.perf_counter() - killed
            after = [await process.counts() for process in replaced]
            served_by = [await shown(provider, process, 4) for process in replaced]
            summed = [await calls_counted(server) for _ in range(8)]
            states = [await health(server) for _ in range(8)]

    print(f"workers: metrics {summed_s:.2f} s, replaced {replaced_s:.2f} s")
    assert {id: counts.requests for id, counts in before[0].items()} == {
        id: provider.counts()[f"key-{id}"] - (id != "a") * 4 for id in before[0]
    }
    assert before == after == [before[0]] * 2
    assert served_by == [{"key-b": 2, "key-new": 2}] * 2
    assert set(meanwhile) <= {12}
    assert {calls >= 12 + 4 for calls in summed} == {True}
    assert {state["status"] for state in states} == {"degraded"}
    assert [account["status"] for account in states[0]["pool"]["accounts"]] == ["disabled", "available", "available"]


async def test_an_account_that_a_killed_process_held_is_free_at_once(tmp_path: Path) -> None:
    async with world(tmp_path) as our:
        our.oauth.expires_in = 30  # less than what is left when tokens are renewed
        await FileStore(our.store).save(AccountRef("openai", "alice"), our.oauth.login())
        our.oauth.expires_in = 3600
        our.oauth.scripts = [until_it_hangs_up]
        async with two("servers", config_of(our, {})) as (one, other):
            asking = asyncio.ensure_future(one.ask("killed"))
            await our.oauth.arrived.wait()
            waiting = asyncio.ensure_future(other.ask("waits"))
            one.server.process.kill()
            began = time.perf_counter()
            await waiting
            free_s = time.perf_counter() - began
            await asyncio.wait({asking})

    print(f"servers: free {free_s:.2f} s")
    assert isinstance(asking.exception(), LlmError)
    assert free_s < KNOWN_S
    assert (our.oauth.refreshes, our.oauth.reused, our.refused) == (1, [], [])


async def until_it_hangs_up(connection: Connection) -> None:
    await connection.closed.wait()


# Which account is chosen


async def test_every_process_chooses_the_same_account_for_a_session_and_first(tmp_path: Path) -> None:
    store = {"credentials": {"file": f"{tmp_path}/credentials.json"}}
    ids = ("z", "a", "m", "new")
    async with many_accounts() as provider:
        provider.moods = {f"key-{id}": HEALTHY for id in ids}
        first = {"base_url": provider.url, "accounts": keys("z", "a"), "strategy": "first_available"}
        config = write_config(
            tmp_path,
            store,
            {"first": {"dialect": "openai"} | first},
            base_url=provider.url,
            accounts=keys("z", "a", "m"),
            strategy="session",
        )
        async with two("servers", config) as (one, other):
            await one.admin.add_account("openai", "new", "key-new")
            await other.admin.list_accounts()  # looks at what the first one has done
            sessions = [[await chosen(provider, process, f"s{n}") for n in range(12)] for process in (one, other)]
            in_order = [await firsts(provider, process) for process in (one, other)]
            await one.admin.disable_account("openai", sessions[0][0].removeprefix("key-"))
            await other.admin.list_accounts()
            moved = [[await chosen(provider, process, f"s{n}") for n in range(12)] for process in (one, other)]

    assert sessions[0] == sessions[1]
    assert len(set(sessions[0])) > 1
    assert in_order == ["key-z", "key-z"]
    assert moved[0] == moved[1]
    gone = sessions[0][0]
    assert [now for was, now in zip(sessions[0], moved[0], strict=True) if was != gone] == [
        was for was in sessions[0] if was != gone
    ]
    assert gone not in moved[0]


async def chosen(provider: ManyAccounts, process: Process, session: str) -> str:
    """Makes a call of a session and returns the key that was shown."""
    await process.ask(session, session_id=session)
    return provider.asked[-1][0]


async def firsts(provider: ManyAccounts, process: Process) -> str:
    await process.client.complete("hi", provider="first", model="gpt-4o")
    return provider.asked[-1][0]


# Starting, serving and stopping with a database


async def test_a_server_with_a_database_starts_serves_and_stops(tmp_path: Path) -> None:
    key = (await run("encryption-key", cwd=tmp_path)).out.strip()
    folder, env = tmp_path / "db", {"KEY": key}
    store = {"credentials": {"encryption_key": "env:KEY"}, "database": {"url": f"sqlite:///{folder}/loom.db"}}
    flags = ("--config", write_config(tmp_path, store, accounts=keys("a")).name)
    checked = await run("check-config", *flags, env=env, cwd=tmp_path)
    was_made_by_the_check = folder.exists()
    migrated = await run("migrate", *flags, env=env, cwd=tmp_path)
    with served("serve", *flags, *FREE, "--workers", "2", env=env, cwd=tmp_path) as server:
        async with connect(server) as client:
            await client.admin(ADMIN_KEY).add_account("openai", "new", "key-of-a-customer")
            answer = await client.complete("hi", provider="mock", model="mock-echo")
        code = server.stop()
        log = log_of(server)

    assert (checked.code, checked.err, was_made_by_the_check) == (0, "", False)
    assert (migrated.code, migrated.err) == (0, "")
    assert (answer.message.content, code, log) == ("hi", 0, "")
    assert [file.name for file in folder.iterdir()] == ["loom.db"]
    assert b"key-of-a-customer" not in (folder / "loom.db").read_bytes()


async def get(server: Server, path: str) -> bytes:
    """Asks whichever worker gets the new connection."""
    async with aiohttp.ClientSession() as session, session.get(f"{server.http_url}{path}") as answer:
        return await answer.read()


async def calls_counted(server: Server) -> int:
    lines = (await get(server, "/metrics")).decode().splitlines()
    return sum(
        int(float(line.split()[-1])) for line in lines if line.startswith("loom_calls_total{") and "openai" in line
    )


async def all_say(server: Server, calls: int) -> bool:
    return [await calls_counted(server) for _ in range(8)] == [calls] * 8


async def health(server: Server) -> dict[str, Any]:
    providers = orjson.loads(await get(server, "/health"))["components"]["llm_providers"]["providers"]
    return next(provider for provider in providers if provider["name"] == "openai")
