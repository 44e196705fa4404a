"""A provider's stand-in: real sockets, scripted bytes, and a memory of what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import orjson

from tests.loop import settle


@dataclass
class Asked:
    """A request that the stand-in received."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass
class Connection:
    """One request being answered."""

    asked: Asked
    transport: asyncio.Transport
    writable: asyncio.Event
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the connection is gone."""

    async def head(self, status: int = 200, content_type: str = "text/event-stream", **headers: str) -> None:
        """Sends the head of a chunked answer."""
        lines = [f"HTTP/1.1 {status} Scripted", f"content-type: {content_type}", "transfer-encoding: chunked"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await self._write(("\r\n".join(lines) + "\r\n\r\n").encode())

    async def send(self, data: bytes | str) -> None:
        """Sends a chunk of the body."""
        data = data.encode() if isinstance(data, str) else data
        if data:
            await self._write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def end(self) -> None:
        """Ends the body as HTTP wants it."""
        await self._write(b"0\r\n\r\n")

    def cut(self) -> None:
        """Breaks the connection off."""
        self.transport.abort()

    async def _write(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)
            await self.writable.wait()


Script = Callable[[Connection], Awaitable[None]]


def answer(body: bytes | str, *, status: int = 200, content_type: str = "application/json", **headers: str) -> Script:
    """Scripts a whole answer."""

    async def script(connection: Connection) -> None:
        await connection.head(status, content_type, **headers)
        await connection.send(body)
        await connection.end()

    return script


def json_answer(value: Any, *, status: int = 200, **headers: str) -> Script:
    """Scripts a whole JSON answer."""
    return answer(orjson.dumps(value), status=status, **headers)


def stream_answer(*chunks: bytes | str) -> Script:
    """Scripts a stream of server-sent events that ends cleanly."""

    async def script(connection: Connection) -> None:
        await connection.head()
        for chunk in chunks:
            await connection.send(chunk)
        await connection.end()

    return script


class StandIn:
    """Answers the requests that come in with the scripts in order; the last one goes on for all that follow."""

    def __init__(self) -> None:
        self.scripts: list[Script] = []
        self.asked: list[Asked] = []
        self.connections: list[Connection] = []
        self.connected = 0
        """How many connections were opened."""
        self.open: set[asyncio.Transport] = set()
        """Those that are open, also where nothing was asked."""
        self.arrived = asyncio.Event()
        """Set when a request has come; a test may clear it."""
        self.url = ""

    def play(self, *scripts: Script) -> None:
        """Sets what to answer from now on."""
        self.scripts = list(scripts)

    def take(self, connection: Connection) -> Script:
        """Notes a request and returns how to answer it."""
        self.asked.append(connection.asked)
        self.connections.append(connection)
        self.arrived.set()
        return self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]


class _Peer(asyncio.Protocol):
    """One connection, kept alive over several requests."""

    def __init__(self, upstream: StandIn) -> None:
        self._upstream = upstream
        self._received = b""
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        self._upstream.connected += 1
        self._upstream.open.add(self._transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        asked = self._whole_request()
        if asked is not None:
            self._connection = Connection(asked, self._transport, self._writable)
            script = self._upstream.take(self._connection)
            self._task = asyncio.ensure_future(script(self._connection))

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._upstream.open.discard(self._transport)
        self._writable.set()
        if self._connection is not None:
            self._connection.closed.set()

    def _whole_request(self) -> Asked | None:
        """Takes a request out of what was received, once it is whole."""
        head, blank, rest = self._received.partition(b"\r\n\r\n")
        if not blank:
            return None
        line, *entries = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (entry.partition(":") for entry in entries)}
        size = int(headers.get("content-length", "0"))
        if len(rest) < size:
            return None
        self._received = rest[size:]
        method, path, _ = line.split(" ")
        return Asked(method, path, headers, rest[:size])


@asynccontextmanager
async def stand_in(*scripts: Script) -> AsyncIterator[StandIn]:
    """Runs a stand-in on a free port of the loopback address."""
    upstream = StandIn()
    upstream.play(*scripts)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Peer(upstream), "127.0.0.1", 0)
    upstream.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield upstream
    finally:
        # Python's own loop never closes a connection that comes as `close` is called: https://github.com/python/cpython/issues/109564
        for listener in server.sockets:
            loop.remove_reader(listener.fileno())
        await settle()
        server.close()
        await server.wait_closed()
        await settle()  # a connection that came just now is one of the open ones
        for transport in upstream.open:
            transport.abort()
        while upstream.open:  # noqa: ASYNC110 - a turn of the event loop is all that it takes
            await asyncio.sleep(0)
