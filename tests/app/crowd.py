"""Servers that keep limits and budgets, many callers with one key, and a provider that counts what it sells."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson

from loom_grpc.access.key import digest, new_key, shown_prefix
from loom_grpc.client import LoomClient
from loom_grpc.storage.database import Database
from loom_grpc.storage.directory import DatabaseDirectory
from loom_grpc.v1.access_pb2 import ApiKey, Budget, HashedKey, Limits, Organization, User
from loom_grpc.v1.llm_service_pb2 import LlmRequest
from loom_grpc.v1.message_pb2 import ROLE_USER, Message
from tests.program import Server, served
from tests.server.test_worker import OWN
from tests.stand_in import Connection, stand_in

ADMIN_KEY: Final = "la_BXq7cVn2Lr9TzKp4Wm6Yd1"
KEY: Final = new_key("lt")
LIMITED: Final[Mapping[str, Limits]] = {
    new_key("lt"): Limits(requests_per_minute=50),
    new_key("lt"): Limits(tokens_per_minute=5000),
    new_key("lt"): Limits(concurrent_streams=7),
}
"""Other keys of the same user, by their limits."""
PROMPT_TOKENS: Final = 7
PROMPT_NANOS: Final = 2_000
ANSWER_NANOS: Final = 10_000
"""What a token costs; in the configuration as dollars for a million."""
PIECE: Final = "tea tea "
PIECES: Final = 2
"""What is sent of a stream that does not come to its end."""
_CONNECTIONS: Final = 8


@dataclass
class Shop:
    """The provider. What the prompt of a call says is what becomes of it: `well`, `fail`, `cut`, `stall`, `hang`, `wait`."""

    url: str = ""
    sold: Counter[str] = field(default_factory=Counter)
    """What answers cost that were said to their ends, by the model."""
    busy: int = 0
    """How many calls are being answered."""
    asked: Counter[str] = field(default_factory=Counter)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """Set, and replaced by another, when a call comes or goes."""
    open: asyncio.Event = field(default_factory=asyncio.Event)
    """What calls wait for that say `wait`."""

    async def has(self, busy: int) -> None:
        """Waits until so many calls are being answered."""
        async with asyncio.timeout(15):
            while self.busy != busy:
                await self.news.wait()

    async def answer(self, connection: Connection) -> None:
        if connection.asked.method == "GET":
            await _send(connection, {"data": []})
            return
        body = connection.asked.json
        wish = body["messages"][0]["content"]
        self.asked[wish] += 1
        self._count(1)
        try:
            await self._answer(connection, wish, body)
        finally:
            self._count(-1)

    async def _answer(self, connection: Connection, wish: str, body: Any) -> None:
        if wish == "fail":
            await _send(connection, {"error": {"message": "Not now."}}, 500)
        elif wish == "hang":
            await connection.closed.wait()
        elif wish in ("cut", "stall"):
            await connection.head()
            for _ in range(PIECES):
                await connection.send(_event(choices=[_choice({"content": PIECE})]))
            if wish == "cut":
                connection.cut()
            await connection.closed.wait()
        else:
            if wish == "wait" and not await self._opens(connection):
                return
            await self._sell(connection, body)

    async def _opens(self, connection: Connection) -> bool:
        """Waits until calls may go on, or the caller has gone; tells whether it is still there."""
        waits = [asyncio.create_task(event.wait()) for event in (self.open, connection.closed)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        return not connection.closed.is_set()

    async def _sell(self, connection: Connection, body: Any) -> None:
        tokens = tokens_of(body.get("max_completion_tokens") or body["max_tokens"])
        self.sold[body["model"]] += PROMPT_TOKENS * PROMPT_NANOS + tokens * ANSWER_NANOS
        usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": tokens}
        if not body.get("stream"):
            message = {"role": "assistant", "content": PIECE}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            await _send(connection, {"id": "c", "model": body["model"], "choices": [choice], "usage": usage})
            return
        await connection.head()
        await connection.send(_event(choices=[_choice({"content": PIECE})]))
        await connection.send(_event(choices=[_choice({}, "stop")]) + _event(choices=[], usage=usage))
        await connection.send("data: [DONE]\n\n")
        await connection.end()

    def _count(self, change: int) -> None:
        self.busy += change
        news, self.news = self.news, asyncio.Event()
        news.set()


def tokens_of(max_tokens: int) -> int:
    """Returns how many tokens an answer has."""
    return max_tokens // 2


def request(wish: str = "well", max_tokens: int = 100) -> LlmRequest:
    messages = [Message(role=ROLE_USER, content=wish)]
    return LlmRequest(provider="openai", model="chat", messages=messages, max_tokens=max_tokens)


@dataclass
class Crowd:
    """Connections to all processes that count together."""

    shop: Shop
    servers: list[Server]
    clients: list[LoomClient]
    http: list[aiohttp.ClientSession]
    turns: count[int] = field(default_factory=count)

    @property
    def client(self) -> LoomClient:
        """The next connection, which may lead to another process."""
        return self.clients[next(self.turns) % len(self.clients)]

    async def stream(self, wish: str = "wait", max_tokens: int = 100) -> None:
        """Reads a stream to its end; a `stall` is left after what comes of it."""
        seen = ""
        async with self.client.stream(request(wish, max_tokens)) as events:
            async for event in events:
                seen += event.text_delta.content
                if wish == "stall" and seen == PIECE * PIECES:
                    return

    async def stream_http(self, wish: str, max_tokens: int = 100) -> int:
        """Reads a stream over HTTP, and returns the status."""
        body = {
            "model": "openai/chat",
            "messages": [{"role": "user", "content": wish}],
            "max_tokens": max_tokens,
            "stream": True,
        }
        session = self.http[next(self.turns) % len(self.http)]
        async with session.post("/v1/chat/completions", json=body) as response:
            await response.read()
            return response.status

    async def budget(self) -> Budget:
        """Tells how the one budget stands, as an operator sees it."""
        (found,) = await self.client.admin(ADMIN_KEY).list_budgets()
        return found

    async def settled(self) -> Budget:
        """Waits until nothing is reserved any more."""
        async with asyncio.timeout(10):
            while (budget := await self.budget()).reserved_nanos:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.05)
        return budget

    async def ledger_has(self, nanos: int) -> None:
        """Waits until the ledgers of all servers say that so much was spent."""
        found = -1
        async with asyncio.timeout(10):
            while found != nanos:
                await asyncio.sleep(0.1)  # nothing tells of it
                admins = [client.admin(ADMIN_KEY) for client in self.clients[: len(self.servers)]]
                found = sum([row.cost_nanos for admin in admins for row in await admin.query_usage()])


def configuration(shop: Shop, **more: Any) -> dict[str, Any]:
    prices = {"input": PROMPT_NANOS / 1000, "output": ANSWER_NANOS / 1000}
    return {
        "access": {"enabled": True},
        "admin": {"api_key": ADMIN_KEY},
        "audit": {"flush_s": 0.2},
        "log": {"level": "error"},
        "providers": {
            "openai": {"api_key": "sk-test", "base_url": shop.url, "retry": {"max_attempts": 1}},
        },
        "models": {"openai/chat": {"prices": prices, "max_output_tokens": 1000}},
        **more,
    }


@asynccontextmanager
async def shop() -> AsyncIterator[Shop]:
    found = Shop()
    async with stand_in(found.answer) as upstream:
        found.url = upstream.url
        yield found


async def make_key(state: Path) -> None:
    """Lets a user in, in the database that a server has in its folder."""
    folder = state / "loom-grpc"
    folder.mkdir(parents=True)
    directory = DatabaseDirectory(Database(f"sqlite:///{folder}/loom.db"))
    await directory.create(Organization(id="acme"))
    await directory.create(User(id="ann", organization="acme"))
    for number, (key, limits) in enumerate({KEY: Limits(), **LIMITED}.items()):
        row = ApiKey(id=f"key-{number}", prefix=shown_prefix(key), user="ann", organization="acme", limits=limits)
        await directory.create_key(HashedKey(key=row, sha256=digest(key)))
    await directory.close()


def write_config(folder: Path, config: Mapping[str, Any]) -> Path:
    file = folder / "loom.json"
    file.write_text(json.dumps(config))
    return file


@asynccontextmanager
async def serving(folder: Path, config: Mapping[str, Any], *, workers: int = 4) -> AsyncIterator[Server]:
    """Runs a server whose state is in a folder; one that is new has a key."""
    state = folder / "state"
    if not state.exists():
        await make_key(state)
    file = write_config(folder, config)
    flags = ("--grpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0", "--workers", str(workers))
    with served("serve", "--config", str(file), *flags, cwd=folder, env={"XDG_STATE_HOME": str(state)}) as server:
        yield server


@asynccontextmanager
async def connected(shop: Shop, *servers: Server, key: str = KEY) -> AsyncIterator[Crowd]:
    """Opens connections to servers, so many that each process has some."""
    async with AsyncExitStack() as stack:
        clients, http = [], []
        for _ in range(_CONNECTIONS):
            for server in servers:
                client = LoomClient(server.grpc_address, api_key=key, options=dict(OWN), timeout_s=20)
                clients.append(await stack.enter_async_context(client))
                headers = {"authorization": f"Bearer {key}"}
                http.append(await stack.enter_async_context(aiohttp.ClientSession(server.http_url, headers=headers)))
        yield Crowd(shop, list(servers), clients, http)


@asynccontextmanager
async def crowd(layout: str, folder: Path, redis_url: str | None = None, **more: Any) -> AsyncIterator[Crowd]:
    """Runs a server with 4 workers, or 2 `hosts` that share nothing but a Redis."""
    async with AsyncExitStack() as stack:
        found = await stack.enter_async_context(shop())
        limits = more.pop("limits", {}) | ({"redis_url": redis_url} if layout == "hosts" else {})
        config = configuration(found, limits=limits, **more)
        servers = []
        for number in range(2 if layout == "hosts" else 1):
            place = folder / str(number)
            place.mkdir()
            workers = 1 if layout == "hosts" else 4
            servers.append(await stack.enter_async_context(serving(place, config, workers=workers)))
        yield await stack.enter_async_context(connected(found, *servers))


async def _send(connection: Connection, body: Any, status: int = 200) -> None:
    await connection.head(status, "application/json")
    await connection.send(orjson.dumps(body))
    await connection.end()


def _choice(delta: Any, reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": reason}


def _event(**body: Any) -> str:
    return f"data: {orjson.dumps({'id': 'c', 'model': 'chat', **body}).decode()}\n\n"
