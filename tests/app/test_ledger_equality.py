"""The ledger adds up to what the provider itself has counted, to the token and to the billionth of a dollar, whatever becomes of calls."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiohttp
import pytest
from cryptography.fernet import Fernet

from loom_grpc.access.key import digest, new_key, shown_prefix
from loom_grpc.client import LlmError, LoomClient
from loom_grpc.core.errors import INTERNAL
from loom_grpc.storage.database import Database
from loom_grpc.storage.directory import DatabaseDirectory
from loom_grpc.storage.ledger import DatabaseLedger
from loom_grpc.v1.access_pb2 import (
    BUDGET_PERIOD_TOTAL,
    SCOPE_KIND_ORGANIZATION,
    ApiKey,
    Budget,
    Charge,
    HashedKey,
    Organization,
    User,
)
from loom_grpc.v1.admin_service_pb2 import CallFilter, UsageRow
from loom_grpc.v1.audit_pb2 import CallRecord
from tests.postgres import databases
from tests.program import Server, served
from tests.till import ANSWER_KINDS, PROMPT_KINDS, Sale, Till, till

AT_ONCE: Final = 24
WAIT_S: Final = 20
CAP_NANOS: Final = 10**15
DEADLINE_S: Final = 0.5
PRICES: Final[Mapping[str, Mapping[str, float]]] = {
    "openai/chat": {
        "input": 1.2375,
        "cache_read": 0.30005,
        "input_audio": 2.5,
        "output": 4.00007,
        "reasoning": 5.125,
        "output_audio": 12.3456,
    },
    "anthropic/chat": {
        "input": 3.0001,
        "cache_read": 0.3,
        "cache_write": 3.75,
        "cache_write_1h": 6.00003,
        "output": 15.12345,
    },
    "gemini/chat": {"input": 0.10001, "cache_read": 0.02505, "input_audio": 0.7, "output": 0.4, "reasoning": 0.45},
    "modern/chat": {
        "input": 1.1,
        "cache_read": 0.55001,
        "input_audio": 2,
        "output": 4.4,
        "reasoning": 4.45,
        "output_audio": 9,
    },
    "openai/vectors": {"input": 0.02003, "output": 0},
}
"""Dollars for a million tokens, so odd that a sum that is not exact is wrong."""
PROVIDERS: Final = ("openai", "anthropic", "gemini", "modern")
APIS: Final = ("grpc", "/proxy", "/v1/chat/completions", "/v1/messages", "/v1beta", "/v1/responses")
RESTARTS: Final = {"loom-events": "restarted"}
CACHED: Final = {"loom-cache": "yes"}


class Row(NamedTuple):
    """What the ledger has to say of an attempt."""

    target: str
    is_guess: bool
    input_tokens: int
    output_tokens: int
    cache_read: int
    cache_write: int
    cache_write_1h: int
    input_audio: int
    reasoning: int
    output_audio: int
    nanos: int


class Case(NamedTuple):
    """A kind of call and what becomes of it."""

    api: str
    target: str
    stream: bool = False
    plan: Mapping[str, str] = {}
    error: str = ""
    is_left: bool = False
    """Whether the caller goes away before the end."""
    metadata: Mapping[str, str] = {}


@dataclass
class World:
    """A server between its callers and a provider, and what its ledger has to say in the end."""

    till: Till
    client: LoomClient
    http: aiohttp.ClientSession
    expected: dict[str, tuple[str, bool] | None] = field(default_factory=dict)
    """By the ids of the requests: the error, and whether the caller went away; None where that may be either."""
    payer: dict[str, str] = field(default_factory=dict)
    """The names of the calls by the ids of the requests that pay for them, where those are not the same."""
    costs: dict[str, int] = field(default_factory=dict)
    """By the ids of the requests, what callers over gRPC were told that it cost."""
    alike: list[list[str]] = field(default_factory=list)
    """Ids of requests that share one call."""
    reached: set[str] = field(default_factory=set)
    """The calls whose callers have seen the last word before a stall."""
    room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def make(self, name: str, case: Case, *, id: str = "") -> None:
        """Makes a call and notes what is to be recorded of it."""
        id = id or name
        async with self.room, waiting(name, case):
            asking = asyncio.create_task(self.ask(name, case, {"x-request-id": id, **case.metadata}))
            if case.is_left and "silent" in case.plan.values():
                await self.till.has(name, len(case.plan))
                asking.cancel()
                await asyncio.wait({asking})
            else:
                await asking
        self.expected[id] = (case.error, case.is_left)

    async def ask(self, name: str, case: Case, metadata: Mapping[str, str]) -> None:
        """Makes a call; a caller who goes away from a stream does so at its last word."""
        self.till.plan(name, **case.plan)
        ask = self.ask_grpc if case.api == "grpc" else self.ask_http
        with pytest.raises(LlmError) if case.error else nullcontext():
            await ask(name, case, metadata)

    async def ask_grpc(self, name: str, case: Case, metadata: Mapping[str, str]) -> None:
        id = metadata["x-request-id"]
        if not case.stream:
            response = await self.client.complete(prompt(name), model=case.target, metadata=metadata)
            self.costs[id] = response.cost.nanos
            return
        seen = ""
        async with self.client.stream(prompt(name), model=case.target, metadata=metadata) as stream:
            async for event in stream:
                seen += event.text_delta.content
                if self.is_last(name, seen) and case.is_left:
                    return
                self.costs[id] = event.completed.response.cost.nanos

    async def ask_http(self, name: str, case: Case, metadata: Mapping[str, str]) -> None:
        path, body = written(case.api, name, case.target, stream=case.stream)
        async with self.http.post(path, json=body, headers=metadata) as response:
            seen = ""
            async for data in response.content.iter_any():
                seen += data.decode(errors="replace")
                if self.is_last(name, seen) and case.is_left:
                    return
        if response.status != 200 or case.error:
            raise LlmError(INTERNAL, seen)

    def is_last(self, name: str, seen: str) -> bool:
        is_so = name in self.till.last and self.till.last[name] in seen
        if is_so and name not in self.reached:
            self.reached.add(name)
            self.till.tell()
        return is_so

    async def embed(
        self, name: str, api: str, *, inputs: int = 1, plan: str = "well", attempts: Sequence[int] = (1,)
    ) -> None:
        """Has vectors made; each attempt is charged at once, for however many requests it has made."""
        self.till.plan(name, openai=plan)
        texts = [f"{name} {number}" for number in range(inputs)]
        async with self.room, waiting(name, api):
            if api == "grpc":
                response = await self.client.embed(texts, model="openai/vectors", metadata={"x-request-id": name})
                assert len(response.embeddings) == inputs
            else:
                body = {"model": "openai/vectors", "input": texts}
                async with self.http.post(api, json=body, headers={"x-request-id": name}) as answer:
                    assert len((await answer.json())["data"]) == inputs
        self.till.sales[name] = list(summed(self.till.sales[name], attempts))
        self.expected[name] = ("", False)

    async def again(self, name: str, case: Case) -> None:
        """Makes a call, and then twice the same, which cost nothing."""
        await self.make(name, case)
        for id in (f"{name}.2", f"{name}.3"):
            await self.make(name, case, id=id)
        self.alike.append([name, f"{name}.2", f"{name}.3"])

    async def together(self, name: str, case: Case) -> None:
        """Makes the same call three times at once, of which one is asked for."""
        ids = [f"{name}.{number}" for number in range(3)]
        await asyncio.gather(*(self.make(name, case, id=id) for id in ids))
        self.alike.append(ids)

    async def abandoned(self, name: str, case: Case) -> None:
        """Has two callers share an answer, of whom the one who began it goes away before its end."""
        self.till.plan(name, **case.plan)
        ids = [f"{name}.{number}" for number in range(2)]
        async with self.room, waiting(name):
            first, second = [
                self.client.stream(prompt(name), model=case.target, metadata={"x-request-id": id, **CACHED})
                for id in ids
            ]
            for stream in (first, second):
                seen = ""
                while not self.is_last(name, seen):
                    seen += (await anext(stream)).text_delta.content
            await first.aclose()
            self.till.paused[name].set()
            assert [event.WhichOneof("event") async for event in second][-1] == "completed"
        self.expected |= {ids[0]: None, ids[1]: ("", False)}  # by chance the end comes first
        self.payer[ids[0]] = name

    async def late(self, name: str) -> None:
        """Makes a call that takes longer than its caller's deadline; who of caller and server is the first to say so is chance."""
        self.till.plan(name, openai="silent")
        with pytest.raises(LlmError):
            await self.client.complete(
                prompt(name), model="openai/chat", metadata={"x-request-id": name}, timeout_s=DEADLINE_S
            )
        self.expected[name] = None

    async def refused(self, name: str) -> None:
        """Makes calls that are no calls, or to nobody."""
        with pytest.raises(LlmError):
            await self.client.complete(prompt(name), model="nobody/nothing", metadata={"x-request-id": name})
        self.expected[name] = ("MODEL_NOT_FOUND", False)
        with pytest.raises(LlmError):
            await self.client.complete(prompt(name), model="nothing", metadata={"x-request-id": f"{name}-2"})
        self.expected[f"{name}-2"] = ("MODEL_NOT_FOUND", False)
        headers = {"x-request-id": f"{name}-3", "content-type": "application/json"}
        async with self.http.post("/v1/chat/completions", data=b"{", headers=headers) as response:
            assert response.status == 400
        self.expected[f"{name}-3"] = ("INVALID_REQUEST", False)
        wrong = {"x-request-id": f"{name}-4", "authorization": f"Bearer {new_key('lt')}"}
        async with self.http.post("/v1/chat/completions", data=b"{", headers=wrong) as response:
            assert response.status == 401
        await self.client.count_tokens(prompt(name), model="openai/chat", metadata={"x-request-id": f"{name}-5"})
        self.expected[f"{name}-5"] = ("", False)


@asynccontextmanager
async def waiting(*what: object) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(WAIT_S):
            yield
    except TimeoutError:
        raise AssertionError(f"no end: {what}") from None


def prompt(name: str) -> str:
    return f"This is {name}, and it asks for the wörld."


def written(api: str, name: str, target: str, *, stream: bool) -> tuple[str, dict[str, Any]]:
    """Writes a request as callers of an API do."""
    provider, _, model = target.partition("/")
    words = prompt(name)
    messages = [{"role": "user", "content": words}]
    match api:
        case "/proxy":
            return f"/proxy/{provider}/{'stream' if stream else 'complete'}", {"model": model, "messages": messages}
        case "/v1/messages":
            return api, {"model": target, "max_tokens": 4096, "messages": messages, "stream": stream}
        case "/v1beta":
            method = "streamGenerateContent?alt=sse" if stream else "generateContent"
            return f"/v1beta/models/{target}:{method}", {"contents": [{"role": "user", "parts": [{"text": words}]}]}
        case "/v1/responses":
            return api, {"model": target, "input": words, "stream": stream, "store": False}
        case _:
            return api, {"model": target, "messages": messages, "stream": stream}


def work(world: World) -> Iterator[Awaitable[None]]:
    """Says what is to be done, each call under a name of its own."""
    rows: list[tuple[Callable[[str, Case], Awaitable[None]], Case]] = []
    for _ in range(2):
        rows += [(world.make, case) for case in well()]
        rows += [(world.make, case) for case in badly()]
        rows += [(world.make, case) for case in routed()]
        rows += [(world.again, Case("grpc", f"{provider}/chat", metadata=CACHED)) for provider in PROVIDERS]
        rows += [(world.again, Case("grpc", "openai/chat", stream=True, metadata=CACHED))]
        rows += [
            (world.together, Case("grpc", "openai/chat", stream, {"openai": "late"}, metadata=CACHED))
            for stream in (False, True)
        ]
    for number, (make, case) in enumerate(rows):
        yield make(f"call-{number}", case)
    yield world.embed("call-vectors-1", "grpc")
    yield world.embed("call-vectors-2", "/v1/embeddings")
    yield world.embed("call-vectors-3", "grpc", plan="500 well")
    yield world.embed("call-vectors-4", "grpc", inputs=5000, attempts=(3,))
    yield world.embed("call-vectors-5", "grpc", inputs=5000, plan="well 500 well", attempts=(1, 3))
    yield world.embed("call-vectors-6", "grpc", inputs=5000, plan="well cut well", attempts=(1, 1, 3))
    yield world.refused("call-refused")
    yield world.late("call-late")
    for number, provider in enumerate(PROVIDERS):
        case = Case("grpc", f"{provider}/chat", stream=True, plan={provider: "pause"}, metadata=CACHED)
        yield world.abandoned(f"call-abandoned-{number}", case)


def well() -> Iterator[Case]:
    for api in APIS:
        for provider in PROVIDERS:
            for stream in (False, True):
                yield Case(api, f"{provider}/chat", stream)


def badly() -> Iterator[Case]:
    for api in ("grpc", "/proxy", "/v1/chat/completions", "/v1/messages", "/v1/responses"):
        for provider in PROVIDERS:
            target = f"{provider}/chat"
            for stream in (False, True):
                yield Case(api, target, stream, {provider: "500 well"})
                yield Case(api, target, stream, {provider: "503 503 well"})
                yield Case(api, target, stream, {provider: "500"}, "PROVIDER_UNAVAILABLE")
                yield Case(api, target, stream, {provider: "429"}, "PROVIDER_RATE_LIMITED")
                yield Case(api, target, stream, {provider: "400"}, "INVALID_REQUEST")
            yield Case(api, target, False, {provider: "cut well"})
            yield Case(api, target, False, {provider: "silent"}, is_left=True)
            yield Case(api, target, True, {provider: "cut"}, "PROVIDER_UNAVAILABLE")
            yield Case(api, target, True, {provider: "fault"}, "PROVIDER_UNAVAILABLE")
            yield Case(api, target, True, {provider: "stall"}, is_left=True)


def routed() -> Iterator[Case]:
    for api in ("grpc", "/v1/chat/completions"):
        for stream in (False, True):
            yield Case(api, "plain", stream, {"openai": "500"})
            yield Case(api, "plain", stream, {"openai": "429"})
            yield Case(api, "hedged", stream, {"openai": "silent"})
            yield Case(api, "hedged", stream, {"openai": "late", "anthropic": "silent"})
            yield Case(api, "hedged", stream, {"openai": "silent", "anthropic": "silent"}, is_left=True)
        yield Case(api, "held", True, {"openai": "cut"})
        yield Case(api, "impatient", True, {"openai": "silent"})
        yield Case(api, "plain", True, {"openai": "500", "anthropic": "stall"}, is_left=True)
    yield Case("grpc", "plain", True, {"openai": "cut"}, metadata=RESTARTS)
    yield Case("grpc", "plain", True, {"openai": "fault", "anthropic": "cut"}, "PROVIDER_UNAVAILABLE", False, RESTARTS)


def configuration(found: Till, database_url: str) -> dict[str, Any]:
    def route(**more: Any) -> dict[str, Any]:
        targets = [{"model": "openai/chat"}, {"model": "anthropic/chat"}]
        return {"targets": targets, "breaker": {"enabled": False}, "retry_budget": 1, **more}

    impatient = [{"model": "openai/chat", "first_token_s": 0.2}, {"model": "anthropic/chat"}]
    patience = {"retry": {"base_delay_s": 0.001}, "api_key": "sk-test"}
    return {
        "grpc": {"address": "127.0.0.1:0", "drain_grace_s": 0.1},
        "http": {"address": "127.0.0.1:0"},
        "log": {"level": "error"},
        "access": {"enabled": True},
        "database": {"url": database_url},
        "credentials": {"encryption_key": Fernet.generate_key().decode()},
        "cache": {"enabled": True},
        "providers": {name: {"base_url": f"{found.url}/{name}", **patience} for name in PROVIDERS}
        | {"modern": {"base_url": f"{found.url}/modern", "dialect": "openai", "responses": True, **patience}},
        "models": {name: {"prices": prices, "max_output_tokens": 100_000} for name, prices in PRICES.items()},
        "routes": {
            "plain": route(),
            "hedged": route(hedge_after_s=0.1),
            "held": route(hold_back={"tokens": 10_000, "seconds": 10}),
            "impatient": route(targets=impatient),
        },
    }


@contextmanager
def database(kind: str, folder: Path) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite:///{folder}/loom.db"
        return
    with databases() as server:
        yield server.new_database()


async def make_key(url: str) -> str:
    """Lets a user in, whose organization has a budget."""
    key = new_key("lt")
    directory = DatabaseDirectory(Database(url))
    await directory.create(Organization(id="acme"))
    await directory.create(User(id="ann", organization="acme"))
    kept = ApiKey(id="key-1", prefix=shown_prefix(key), user="ann", organization="acme")
    await directory.create_key(HashedKey(key=kept, sha256=digest(key)))
    await directory.create(
        Budget(
            id="budget-1",
            scope=SCOPE_KIND_ORGANIZATION,
            scope_id="acme",
            period=BUDGET_PERIOD_TOTAL,
            cap_nanos=CAP_NANOS,
        )
    )
    await directory.close()
    return key


@asynccontextmanager
async def running(url: str, folder: Path) -> AsyncIterator[tuple[Server, World]]:
    """Runs a server between callers with a key and a provider that counts."""
    key = await make_key(url)
    file, env = folder / "loom.json", {"XDG_STATE_HOME": str(folder)}
    headers = {"authorization": f"Bearer {key}"}
    async with till() as found:
        file.write_text(json.dumps(configuration(found, url)))
        with served("serve", "--config", str(file), env=env, cwd=folder) as server:
            async with (
                LoomClient(server.grpc_address, api_key=key) as client,
                aiohttp.ClientSession(server.http_url, headers=headers) as http,
            ):
                yield server, World(found, client, http)


def summed(sales: Sequence[Sale], attempts: Sequence[int]) -> Iterator[Sale]:
    """Adds up what was taken in so many requests each."""
    rest = iter(sales)
    for requests in attempts:
        some = [next(rest) for _ in range(requests)]
        yield some[0]._replace(tokens={"input": sum(sale.tokens["input"] for sale in some)})


def nanos(sale: Sale) -> int:
    """Works out what was taken by hand."""
    prices = PRICES[f"{sale.provider}/{sale.model}"]
    dollars = sum(
        (Decimal(str(prices[kind])) * count / 1_000_000 for kind, count in sale.tokens.items()), start=Decimal(0)
    )
    return int((dollars * 10**9).to_integral_value(ROUND_HALF_EVEN))


def row_of(sale: Sale) -> Row:
    """Says of what was taken what the ledger has to say."""
    tokens = Counter(sale.tokens)
    return Row(
        f"{sale.provider}/{sale.model}",
        sale.is_guess,
        sum(tokens[kind] for kind in PROMPT_KINDS),
        sum(tokens[kind] for kind in ANSWER_KINDS),
        tokens["cache_read"],
        tokens["cache_write"] + tokens["cache_write_1h"],
        tokens["cache_write_1h"],
        tokens["input_audio"],
        tokens["reasoning"],
        tokens["output_audio"],
        nanos(sale),
    )


def row_of_charge(charge: Charge) -> Row:
    usage = charge.usage
    return Row(
        f"{charge.provider}/{charge.model}",
        usage.estimated,
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.cache_write_1h_tokens,
        usage.input_audio_tokens,
        usage.reasoning_tokens,
        usage.output_audio_tokens,
        charge.cost.nanos,
    )


def told(record: CallRecord) -> tuple[object, ...]:
    return (record.error_reason, record.cancelled, sorted(map(row_of_charge, record.charges)))


async def read(url: str) -> tuple[list[CallRecord], UsageRow, int]:
    """Reads all records, what they add up to, and what the budget says was spent."""
    ledger, directory = DatabaseLedger(Database(url)), DatabaseDirectory(Database(url))
    records = [record async for some in ledger.export(CallFilter()) for record in some]
    [usage] = await ledger.usage(CallFilter(), (), 0, 10)
    [budget] = (await directory.snapshot(time.time())).budgets
    await ledger.close()
    await directory.close()
    return records, usage, budget.spent_nanos


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_the_ledger_adds_up_to_what_the_provider_counted(kind: str, tmp_path: Path) -> None:
    with database(kind, tmp_path) as url:
        async with running(url, tmp_path) as (server, world):
            await asyncio.gather(*work(world))
            assert server.stop() == 0
            server.log.seek(0)
            assert server.log.read() == ""
        records, usage, spent = await read(url)

    sales = {name: sorted(map(row_of, some)) for name, some in world.till.sales.items()}
    by_id = {record.request_id: record for record in records}
    costs = {id: by_id[id].cost.nanos for id in world.costs if not (by_id[id].error_reason or by_id[id].cancelled)}
    assert {id: world.costs[id] for id in costs} == costs
    assert Counter(record.request_id for record in records) == Counter(dict.fromkeys(world.expected, 1))
    for group in world.alike:
        paid = sorted((told(by_id.pop(id)) for id in group), key=str)
        name = group[0].partition(".")[0]
        assert paid == sorted([("", False, []), ("", False, []), ("", False, sales[name])], key=str), name
    wrong = {}
    for id, record in by_id.items():
        error, is_left = world.expected[id] or (record.error_reason, record.cancelled)
        right = (error, is_left, sales.get(world.payer.get(id, id), []))
        if told(record) != right:
            wrong[id] = (told(record), right)
    assert wrong == {}

    everything = [row for rows in sales.values() for row in rows]
    total = sum(row.nanos for row in everything)
    assert usage.calls == len(world.expected)
    assert usage.cost_nanos == spent == total
    assert usage.input_tokens == sum(row.input_tokens for row in everything)
    assert usage.output_tokens == sum(row.output_tokens for row in everything)
    assert usage.cancelled_calls == sum(record.cancelled for record in records)


async def test_what_a_server_breaks_off_that_stops_is_in_the_ledger(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/loom.db"
    cases = [
        Case(api, f"{provider}/chat", stream, {provider: "stall" if stream else "silent"})
        for api in APIS
        for provider in PROVIDERS
        for stream in (False, True)
    ]
    names = {f"call-{number}": case for number, case in enumerate(cases)}
    streams = {name for name, case in names.items() if case.stream}
    async with running(url, tmp_path) as (server, world), asyncio.timeout(WAIT_S):
        calls = [asyncio.create_task(world.ask(name, case, {"x-request-id": name})) for name, case in names.items()]
        await world.till.until(lambda: streams <= world.reached and names.keys() <= world.till.asked.keys())
        assert await asyncio.to_thread(server.stop) == 0
        await asyncio.gather(*calls, return_exceptions=True)
    records, _, spent = await read(url)

    sales = {name: sorted(map(row_of, some)) for name, some in world.till.sales.items()}
    assert {record.request_id: told(record)[-1] for record in records} == sales
    assert len(records) == len(names)
    assert not [record for record in records if not (record.cancelled or record.error_reason)]
    assert spent == sum(row.nanos for rows in sales.values() for row in rows)
