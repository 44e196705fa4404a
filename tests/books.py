"""A gateway that answers no calls and keeps its accounts in memory, behind both edges on real sockets."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import grpc.aio
import orjson
from google.protobuf.timestamp_pb2 import Timestamp
from yarl import URL

from loom_grpc.access.authority import Authority
from loom_grpc.access.book import Book
from loom_grpc.access.latest import Latest
from loom_grpc.app import App
from loom_grpc.config import AccessConfig, Config, LimitsConfig
from loom_grpc.core.call import Call, Send
from loom_grpc.core.errors import (
    ACCOUNT_EXISTS,
    ACCOUNT_NOT_FOUND,
    INVALID_REQUEST,
    LOGIN_EXCHANGE_FAILED,
    LOGIN_STATE_INVALID,
    PERMISSION_DENIED,
    PROVIDER_NOT_CONFIGURED,
    LlmError,
)
from loom_grpc.core.ports import Admin, Gatekeeper, Gateway, Office, ProviderState
from loom_grpc.core.principal import Shown
from loom_grpc.quota.throttle import Throttle
from loom_grpc.server.edge import GrpcEdge
from loom_grpc.shim.serve import HttpEdge
from loom_grpc.telemetry import Telemetry
from loom_grpc.v1.access_pb2 import AccessSnapshot
from loom_grpc.v1.admin_service_pb2 import (
    ACCOUNT_KIND_API_KEY,
    ACCOUNT_KIND_OAUTH,
    ACCOUNT_STATUS_AVAILABLE,
    ACCOUNT_STATUS_DISABLED,
    Account,
    PoolHealth,
    StartLoginResponse,
    WatchHealthResponse,
)
from loom_grpc.v1.admin_service_pb2_grpc import AdminServiceStub
from loom_grpc.v1.llm_service_pb2 import CountTokensResponse, EmbedResponse, Model

KEY = "la_BXq7cVn2Lr9TzKp4Wm6Yd1"
PROVIDERS_KEY = "sk-of-the-provider-0123456789"
CODE = "code-of-the-login-0123456789"
STATE = "state-of-the-login-0123456789"
WAIT_S = 10


@dataclass
class Books:
    """Accounts of `openai` and `anthropic`, of which only the latter has an OAuth login."""

    key: str | None = KEY
    accounts: dict[tuple[str, str], Account] = field(default_factory=dict)
    keys: dict[tuple[str, str], str] = field(default_factory=dict)
    states: list[ProviderState] = field(default_factory=list)
    logins: dict[str, tuple[str, str]] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    watching: asyncio.Event = field(default_factory=asyncio.Event)
    unwatched: asyncio.Event = field(default_factory=asyncio.Event)
    trouble: Exception | None = None
    """What every act fails with."""
    waiting: asyncio.Event | None = None
    """What every act waits for."""

    def __post_init__(self) -> None:
        async def refresh() -> None:
            """Finds nothing new: no key is known here but the admin's."""

        self._authority = Authority(
            AccessConfig(),
            Book(AccessSnapshot(), LimitsConfig(), ()),
            admin_key=lambda: self.key or "",
            throttle=Throttle(None, 1000, 900.0, 30.0, 3600.0),
            clock=time.time,
            latest=Latest(refresh, lambda: False),
        )

    @property
    def gatekeeper(self) -> Gatekeeper:
        return self._authority

    def conclude(self, call: Call, error: LlmError | None = None, *, cancelled: bool = False) -> None:
        """Keeps no records."""

    def admin(self, shown: Shown) -> Admin:
        return self

    def office(self, shown: Shown) -> Office:
        raise LlmError(PERMISSION_DENIED, "There is no office here.")

    async def reload_config(self) -> list[str]:
        await self._begin("openai")
        return ["chains"]

    async def list_accounts(self, provider: str = "") -> list[Account]:
        await self._begin(provider or "openai")
        return [account for account in self.accounts.values() if provider in ("", account.provider)]

    async def add_account(self, provider: str, id: str, api_key: str) -> Account:
        await self._begin(provider)
        id = id or f"{provider}-1"
        if (provider, id) in self.accounts:
            raise LlmError(ACCOUNT_EXISTS, f"id: {provider} has an account {id} already.", field="id")
        self.keys[provider, id] = api_key
        return self._keep(Account(provider=provider, id=id, kind=ACCOUNT_KIND_API_KEY, status=ACCOUNT_STATUS_AVAILABLE))

    async def remove_account(self, provider: str, id: str) -> None:
        await self._begin(provider)
        account = self._find(provider, id)
        if account.configured:
            raise LlmError(INVALID_REQUEST, f"id: {id} stands in the configuration.", field="id")
        del self.accounts[provider, id]
        self._tell()

    async def enable_account(self, provider: str, id: str) -> Account:
        await self._begin(provider)
        account = self._find(provider, id)
        account.status, account.disabled_by_operator = ACCOUNT_STATUS_AVAILABLE, False
        return self._keep(account)

    async def disable_account(self, provider: str, id: str) -> Account:
        await self._begin(provider)
        account = self._find(provider, id)
        account.status, account.disabled_by_operator = ACCOUNT_STATUS_DISABLED, True
        return self._keep(account)

    async def start_login(self, provider: str, account_id: str = "") -> StartLoginResponse:
        await self._begin(provider)
        if provider != "anthropic":
            raise LlmError(INVALID_REQUEST, "No OAuth login.", field="provider", not_implemented="oauth")
        self.logins[STATE] = (provider, account_id or "anthropic-1")
        url = f"https://login.example/?state={STATE}"
        return StartLoginResponse(authorize_url=url, state=STATE, expire_time=Timestamp(seconds=1_800_000_000))

    async def finish_login(self, provider: str, code: str, state: str) -> Account:
        await self._begin(provider)
        login = self.logins.pop(state, None)
        if login is None or login[0] != provider:
            raise LlmError(LOGIN_STATE_INVALID, "There is no such login.", field="state")
        if code != CODE:
            raise LlmError(LOGIN_EXCHANGE_FAILED, "The provider did not take the code.")
        return self._keep(
            Account(provider=login[0], id=login[1], kind=ACCOUNT_KIND_OAUTH, status=ACCOUNT_STATUS_AVAILABLE)
        )

    async def watch_health(self, provider: str = "") -> AsyncGenerator[WatchHealthResponse, None]:
        self.watching.set()
        try:
            while True:
                changed = self.changed
                yield WatchHealthResponse(pools=[PoolHealth(provider=provider, accounts=self.accounts.values())])
                await changed.wait()
        finally:
            self.unwatched.set()

    async def answer(self, call: Call, send: Send) -> None:
        raise LlmError(PROVIDER_NOT_CONFIGURED, "Nothing answers here.")

    async def list_models(self, call: Call, provider: str = "") -> list[Model]:
        return []

    async def embed(self, call: Call) -> EmbedResponse:
        return EmbedResponse()

    async def pass_on(self, call: Call) -> None:
        raise LlmError(PERMISSION_DENIED, "Nothing is passed on.")

    async def count_tokens(self, call: Call) -> CountTokensResponse:
        return CountTokensResponse()

    async def providers(self) -> list[ProviderState]:
        return self.states

    def fill(self, count: int) -> list[Account]:
        """Adds accounts of `openai`, and returns them."""
        return [self._keep(Account(provider="openai", id=f"a-{number}")) for number in range(count)]

    async def _begin(self, provider: str) -> None:
        self.watching.set()
        if self.waiting is not None:
            await self.waiting.wait()
        if self.trouble is not None:
            raise self.trouble
        if provider not in ("openai", "anthropic"):
            raise LlmError(PROVIDER_NOT_CONFIGURED, f"{provider} is not configured.", provider=provider)

    def _find(self, provider: str, id: str) -> Account:
        if (provider, id) not in self.accounts:
            raise LlmError(ACCOUNT_NOT_FOUND, f"id: {provider} has no account {id!r}.", field="id")
        return self.accounts[provider, id]

    def _keep(self, account: Account) -> Account:
        self.accounts[account.provider, account.id] = account
        self._tell()
        return account

    def _tell(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


def configuration(**more: Any) -> Config:
    """Makes a configuration of free ports that logs everything."""
    http = {"address": "127.0.0.1:0"} | more.pop("http", {})
    grpc = {"address": "127.0.0.1:0"} | more.pop("grpc", {})
    return Config.model_validate({"grpc": grpc, "http": http, "log": {"level": "debug", "format": "json"}} | more)


@asynccontextmanager
async def open_server(folder: Path, **more: Any) -> AsyncIterator[Desk]:
    """Serves the whole pipeline over gRPC and over HTTP; everything is kept in the folder."""
    config = configuration(admin={"api_key": KEY}, credentials={"file": folder / "credentials.json"}, **more)
    environ = {"XDG_STATE_HOME": str(folder)}
    async with App(config, environ, Telemetry(config, stream=io.BytesIO())) as app, open_desk(app, config) as desk:
        yield desk


@dataclass
class Desk:
    """A running edge, or both, and what they log."""

    log: io.BytesIO
    target: str
    url: str
    grpc_edge: GrpcEdge
    http_edge: HttpEdge

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Returns the lines of one kind, without what differs from run to run."""
        rows = [orjson.loads(line) for line in self.log.getvalue().splitlines()]
        passing = ("time", "event", "duration_ms", "peer")
        return [
            {name: value for name, value in row.items() if name not in passing} for row in rows if row["event"] == event
        ]


@asynccontextmanager
async def open_desk(gateway: Gateway, config: Config | None = None) -> AsyncIterator[Desk]:
    """Serves a gateway over gRPC and over HTTP."""
    config = config or configuration()
    log = io.BytesIO()
    telemetry = Telemetry(config, stream=log)
    grpc_edge = GrpcEdge(config.grpc, gateway, telemetry, shared_port=False)
    http_edge = HttpEdge(config, gateway, telemetry)
    target, url = f"127.0.0.1:{await grpc_edge.start()}", f"http://127.0.0.1:{await http_edge.start()}"
    try:
        yield Desk(log, target, url, grpc_edge, http_edge)
    finally:
        await grpc_edge.drain(0)
        await http_edge.drain(0)
        await telemetry.close()


@asynccontextmanager
async def stub_of(desk: Desk) -> AsyncIterator[Any]:
    """Connects the generated stub, which checks nothing by itself."""
    options = [("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(desk.target, options=options) as channel:
        yield AdminServiceStub(channel)


def session(desk: Desk, **headers: str) -> aiohttp.ClientSession:
    """Connects to the HTTP side, with the admin key unless other headers are given."""
    return aiohttp.ClientSession(desk.url, headers=headers or {"authorization": f"Bearer {KEY}"})


@dataclass
class Told:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    """By their names in lower case."""
    body: bytes

    @classmethod
    async def read(cls, response: aiohttp.ClientResponse) -> Told:
        """Reads an answer to its end."""
        return cls(
            response.status,
            {name.lower(): value for name, value in response.headers.items()},
            await response.read(),
        )

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


async def ask(
    session: aiohttp.ClientSession,
    method: str,
    path: str,
    body: Any = None,
    *,
    headers: dict[str, str] | None = None,
) -> Told:
    """Asks over HTTP, with a JSON body, or bytes as they are, unless the body is None; the path goes out as it stands."""
    data = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
    named = {"content-type": "application/json"} if data is not None else {}
    async with session.request(
        method, URL(path, encoded=True), data=data, headers={**named, **(headers or {})}
    ) as response:
        return await Told.read(response)
