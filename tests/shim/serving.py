"""A real HTTP edge in this process, before the whole pipeline or before a gateway that does what a test says."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from loom_grpc.app import App
from loom_grpc.config import Config
from loom_grpc.core.call import Call, Send
from loom_grpc.core.errors import PERMISSION_DENIED, LlmError
from loom_grpc.core.fingerprint import tenant_of
from loom_grpc.core.ports import Admin, Gatekeeper, Gateway, Office, ProviderState
from loom_grpc.core.principal import Principal, Shown
from loom_grpc.shim.serve import HttpEdge
from loom_grpc.telemetry import Telemetry
from loom_grpc.v1.llm_service_pb2 import Completed, CountTokensResponse, EmbedResponse, LlmEvent, LlmResponse, Model
from loom_grpc.v1.message_pb2 import ROLE_ASSISTANT, Message
from tests.state import state_of_its_own

WAIT_S = 10

HI: dict[str, Any] = {"model": "mock-words", "messages": [{"role": "user", "content": "hi"}]}

GREETING = LlmResponse(message=Message(role=ROLE_ASSISTANT, content="Hello."), finish_reason="stop")
DONE = LlmEvent(completed=Completed(response=GREETING))


def text(content: str) -> LlmEvent:
    """Makes a piece of text."""
    event = LlmEvent()
    event.text_delta.content = content
    return event


class OpenDoor:
    """Lets everybody in, each as whom it shows itself to be."""

    async def admit(self, method: str, shown: Shown) -> Principal:
        return Principal(tenant=tenant_of([*shown.credentials, *(("certificate", pem) for pem in shown.certificates)]))

    def address_of(self, shown: Shown) -> str:
        return shown.peer


OPEN = OpenDoor()


@dataclass
class Script:
    """A gateway that does what a test says, for what no provider does on command."""

    play: Callable[[Call, Send], Awaitable[None]]
    states: list[ProviderState] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    concluded: list[tuple[Call, LlmError | None, bool]] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, call: Call, send: Send) -> None:
        self.calls.append(call)
        self.asked.set()
        try:
            await self.play(call, send)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    @property
    def gatekeeper(self) -> Gatekeeper:
        return OPEN

    def conclude(self, call: Call, error: LlmError | None = None, *, cancelled: bool = False) -> None:
        self.concluded.append((call, error, cancelled))

    async def list_models(self, call: Call, provider: str = "") -> list[Model]:
        return []

    async def count_tokens(self, call: Call) -> CountTokensResponse:
        return CountTokensResponse()

    async def embed(self, call: Call) -> EmbedResponse:
        return EmbedResponse()

    async def pass_on(self, call: Call) -> None:
        raise LlmError(PERMISSION_DENIED, "A script passes nothing on.")

    async def providers(self) -> list[ProviderState]:
        return self.states

    def admin(self, shown: Shown) -> Admin:
        raise LlmError(PERMISSION_DENIED, "Nobody administers a script.")

    def office(self, shown: Shown) -> Office:
        raise LlmError(PERMISSION_DENIED, "There is no office here.")


def plays(*events: LlmEvent) -> Script:
    """Scripts an answer of given events."""

    async def play(call: Call, send: Send) -> None:
        call.provider, call.model, call.attempt = "openai", "gpt-4o", 1
        for event in events:
            await send(event)

    return Script(play)


@dataclass
class Shim:
    """A running HTTP edge and a client of it."""

    edge: HttpEdge
    port: int
    client: aiohttp.ClientSession
    log: io.BytesIO

    async def post(self, path: str, body: Any = HI, **headers: str) -> Answer:
        """Posts JSON, or bytes as they are."""
        data = body if isinstance(body, bytes | io.BytesIO) else json.dumps(body).encode()
        named = {"content-type": "application/json"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        async with self.client.post(path, data=data, headers=named) as response:
            return await Answer.read(response)

    async def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """Gets a page."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.client.request(method, path, headers=named) as response:
            return await Answer.read(response)

    async def raw(self, request: bytes) -> bytes:
        """Sends bytes on a connection of their own and returns what comes back until it is closed."""
        reader, writer = await self.connect(request)
        answer = await asyncio.wait_for(reader.read(), WAIT_S)
        writer.close()
        return answer

    async def connect(self, request: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Sends bytes on a connection of their own."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        return reader, writer


@dataclass
class Answer:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    """By their names in lower case."""
    body: bytes

    @classmethod
    async def read(cls, response: aiohttp.ClientResponse) -> Answer:
        """Reads an answer to its end."""
        headers = {name.lower(): value for name, value in response.headers.items()}
        return cls(response.status, headers, await response.read())

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The data of the server-sent events."""
        return [orjson.loads(frame.partition(b"data: ")[2]) for frame in self.body.split(b"\n\n") if b"data: " in frame]


def request(path: str, body: Any = HI, *headers: str) -> bytes:
    """Writes a POST request as bytes; the connection is closed after it."""
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    lines = [f"POST {path} HTTP/1.1", "host: localhost", "content-type: application/json", "connection: close"]
    lines += [f"content-length: {len(data)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + data


def configuration(http: dict[str, Any] | None = None, **more: Any) -> Config:
    """Makes a configuration with the mock provider on a free port."""
    mock = {"retry": {"max_attempts": 1}, "timeouts": {"idle_s": 2, "first_token_s": 3}}
    return Config.model_validate(
        {"http": {"address": "127.0.0.1:0"} | (http or {}), "providers": {"mock": mock}, "log": {"level": "error"}}
        | more
    )


@asynccontextmanager
async def shim(
    config: Config | None = None, gateway: Gateway | None = None, environ: Mapping[str, str] | None = None
) -> AsyncIterator[Shim]:
    """Serves the whole pipeline, or a gateway, over HTTP."""
    config = config or configuration()
    log = io.BytesIO()
    telemetry = Telemetry(config, stream=log)
    with state_of_its_own(environ) as own:
        async with App(config, own, telemetry) as app:
            edge = HttpEdge(config, gateway or app, telemetry, kept=app.kept)
            port = await edge.start()
            try:
                async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
                    yield Shim(edge, port, client, log)
            finally:
                await edge.drain(0)
    await telemetry.close()
