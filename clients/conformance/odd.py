"""Servers that do what no good one does: whatever the table of cases says, to the byte."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import grpc
import grpc.aio
from google.protobuf.json_format import ParseDict
from google.rpc import error_details_pb2, status_pb2

from clients.conformance.case import METHODS, Case, Method
from loom_grpc.v1.llm_service_pb2 import ListModelsRequest

CALL: Final = "conformance-call"
"""The metadata that names the call to which an odd server's steps belong."""
CUT: Final = b"<<cut>>"
RESET: Final = b"<<reset>>"
"""Where an answer holds these bytes, the connection ends before them: in good order, or not."""
_SERVICE: Final = "/loom_grpc.v1.LlmService/"
_METHODS: Final = {_SERVICE + method.rpc: method for method in METHODS.values()}
_OPTIONS: Final = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
_AGE: Final = (("grpc.max_connection_age_ms", 500),)
"""After which a connection takes no new calls, while those that it has go on (GOAWAY)."""

_Context = grpc.aio.ServicerContext[bytes, bytes]
Port = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


class Seen:
    """What the odd server saw of the calls of one case."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.metadata: dict[str, str] = {}
        self.deadline_ms: float | None = None
        self.cancelled = asyncio.Event()

    def facts(self) -> dict[str, Any]:
        """Returns what an expectation can speak of: metadata by name, and the words below, which are no metadata."""
        facts = {"calls": len(self.requests), "deadline_ms": self.deadline_ms, "cancelled": self.cancelled.is_set()}
        return {**self.metadata, **facts}


class OddServer(grpc.GenericRpcHandler):
    """Does for each call what its case says, and remembers what it saw."""

    def __init__(self, cases: list[Case]) -> None:
        self.seen: defaultdict[str, Seen] = defaultdict(Seen)
        """By the call's name."""
        self.port = 0
        self.aging_port = 0
        self._steps = {case.slug: [_prepared(step, METHODS[case.method]) for step in case.odd or []] for case in cases}

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        """Handles every method as a stream, which on the wire is also what a call with one answer is."""
        method = _METHODS.get(details.method)
        if method is None:
            return None

        async def run(request: bytes, context: _Context) -> None:
            await self._run(method, request, context)

        return grpc.unary_stream_rpc_method_handler(run)

    async def _run(self, method: Method, request: bytes, context: _Context) -> None:
        metadata = {name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)}
        call = metadata.pop(CALL, "")
        seen = self.seen[call]
        seen.requests.append(request)
        seen.metadata = metadata
        left: float | None = context.time_remaining()  # None where there is no deadline, which the stubs do not know
        seen.deadline_ms = None if left is None else left * 1000
        try:
            for step in self._steps.get(call.partition(".")[2], []):
                await _take(step, method, request, context)
        except asyncio.CancelledError:
            seen.cancelled.set()
            raise


def _prepared(step: Mapping[str, Any], method: Method) -> Mapping[str, Any]:
    """Makes the message of a step beforehand: one of megabytes takes longer than others, who run meanwhile, have for a whole call."""
    [(verb, what)] = step.items()
    return {"send_bytes": ParseDict(what, method.sent()).SerializeToString()} if verb == "send" else step


async def _take(step: Mapping[str, Any], method: Method, request: bytes, context: _Context) -> None:
    """Takes a step of a case's `odd`, once it is prepared."""
    [(verb, what)] = step.items()
    match verb:
        case "send_bytes":
            await context.write(what)
        case "send_hex":
            await context.write(bytes.fromhex(what))
        case "send_zeros":
            await context.write(bytes(what))
        case "page":
            token = ListModelsRequest.FromString(request).page_token
            await context.write(ParseDict(what[token], method.sent()).SerializeToString())
        case "pause_ms":
            await asyncio.sleep(what / 1000)
        case "wait":
            await asyncio.Event().wait()
        case "headers":
            await context.send_initial_metadata(tuple(what.items()))
        case "end":
            await _end(context, **what)
        case _:
            raise ValueError(f"the odd server knows no step {verb!r}")


async def _end(
    context: _Context,
    *,
    code: str = "OK",
    message: str = "",
    info: Mapping[str, Any] | None = None,
    retry_after_ms: int | None = None,
    details_hex: str | None = None,
    trailers: Mapping[str, str] | None = None,
) -> None:
    """Ends a call with a status and its details."""
    metadata: list[tuple[str, str | bytes]] = list((trailers or {}).items())
    status = grpc.StatusCode[code]
    if info is not None:
        details = status_pb2.Status(code=status.value[0], message=message)
        details.details.add().Pack(ParseDict({"domain": "loom-grpc", **info}, error_details_pb2.ErrorInfo()))
        if retry_after_ms is not None:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromMilliseconds(retry_after_ms)
            details.details.add().Pack(retry)
        metadata.append(("grpc-status-details-bin", details.SerializeToString()))
    if details_hex is not None:
        metadata.append(("grpc-status-details-bin", bytes.fromhex(details_hex)))
    if status is grpc.StatusCode.OK:
        context.set_trailing_metadata(tuple(metadata))
    else:
        await context.abort(status, message, tuple(metadata))


@asynccontextmanager
async def odd_server(cases: list[Case]) -> AsyncIterator[OddServer]:
    """Serves the odd cases, at one port with connections that last, at another with such as a load balancer's."""
    handler = OddServer(cases)
    servers = [grpc.aio.server(options=options) for options in (_OPTIONS, (*_OPTIONS, *_AGE))]
    for server in servers:
        server.add_generic_rpc_handlers((handler,))
    handler.port, handler.aging_port = [server.add_insecure_port("127.0.0.1:0") for server in servers]
    for server in servers:
        await server.start()
    try:
        yield handler
    finally:
        await asyncio.gather(*(server.stop(None) for server in servers))


@asynccontextmanager
async def listening(serve: Port, port: int = 0) -> AsyncIterator[str]:
    """Serves TCP connections and yields the address; those that are open at the end are cut."""
    connections: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            await serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the caller has gone, or all is over
        finally:
            connections.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(accept, "127.0.0.1", port)
    try:
        yield "{}:{}".format(*server.sockets[0].getsockname())
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections)


def cutting(port: int) -> Port:
    """Passes connections on to a port, until an answer holds `CUT` or `RESET`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, ahead = await asyncio.open_connection("127.0.0.1", port)
        asking = asyncio.create_task(_pass_on(reader, ahead))
        try:
            mark = await _pass_back(behind, writer)
        finally:
            asking.cancel()
            await asyncio.gather(
                asking, return_exceptions=True
            )  # it has nothing to tell: the caller, or the server, has gone
            ahead.transport.abort()
        if mark == CUT:
            # Closing while the caller's bytes are unread would reset the connection (RFC 2525, section 2.17).
            writer.write_eof()
            await silence(reader, writer)
        elif mark == RESET:  # as does closing a socket that does not linger (man 7 socket, SO_LINGER)
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    return serve


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(2**16):
        writer.write(data)
        await writer.drain()
    writer.transport.abort()


async def _pass_back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes | None:
    """Returns the mark that ends the connection, or None at the server's own end."""
    while data := await reader.read(2**16):
        mark = next((mark for mark in (CUT, RESET) if mark in data), None)
        writer.write(data if mark is None else data[: data.index(mark)])
        await writer.drain()
        if mark is not None:
            return mark
    return None


_PAGE: Final = b"<html><body><h1>502 Bad Gateway</h1></body></html>\n"


async def html_over_http1(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers as a proxy that knows nothing of HTTP/2."""
    await reader.read(2**16)
    head = (
        f"HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\ncontent-length: {len(_PAGE)}\r\nconnection: close\r\n"
    )
    writer.write(f"{head}\r\n".encode() + _PAGE)
    await writer.drain()
    writer.close()
    await writer.wait_closed()


_PREFACE_BYTES: Final = 24
_DATA, _HEADERS, _SETTINGS, _PING = 0x0, 0x1, 0x4, 0x6
_ACK, _END_STREAM, _END_HEADERS = 0x1, 0x1, 0x4
# `:status` and `content-type` by their indexes in the static table, the values as they are (RFC 7541, appendix A).
_HEAD: Final = b"\x08\x03%d" + b"\x0f\x10\x09text/html"


def html_over_http2(status: int) -> Port:
    """Answers every call with a page, as a proxy whose server is down (frames by RFC 9113, section 4)."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(_PREFACE_BYTES)
        writer.write(_frame(_SETTINGS, 0, 0))
        while True:
            head = await reader.readexactly(9)
            payload = await reader.readexactly(int.from_bytes(head[:3]))
            writer.write(_answer(head[3], head[4], int.from_bytes(head[5:]), payload, status))
            await writer.drain()

    return serve


def _answer(kind: int, flags: int, stream: int, payload: bytes, status: int) -> bytes:
    """Returns the frames that answer one."""
    if kind == _SETTINGS and not flags & _ACK:
        return _frame(_SETTINGS, _ACK, 0)
    if kind == _PING and not flags & _ACK:
        return _frame(_PING, _ACK, 0, payload)
    if kind == _HEADERS:
        return _frame(_HEADERS, _END_HEADERS, stream, _HEAD % status) + _frame(_DATA, _END_STREAM, stream, _PAGE)
    return b""


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Takes everything and says nothing."""
    while await reader.read(2**16):
        pass


@asynccontextmanager
async def nobody() -> AsyncIterator[str]:
    """Yields an address at which nobody listens, and keeps it from others."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield "{}:{}".format(*taken.getsockname())


class LatePort:
    """An address at which nobody listens before it is opened."""

    def __init__(self, stack: AsyncExitStack, serve: Port) -> None:
        self._taken = stack.enter_context(socket.socket())
        self._taken.bind(("127.0.0.1", 0))
        self.address = "{}:{}".format(*self._taken.getsockname())
        self._stack = stack
        self._serve = serve

    async def open(self) -> None:
        """Listens, from the first time on."""
        if self._taken.fileno() >= 0:
            port = self._taken.getsockname()[1]
            self._taken.close()
            await self._stack.enter_async_context(listening(self._serve, port))


@asynccontextmanager
async def late_port(serve: Port) -> AsyncIterator[LatePort]:
    """Yields an address at which nobody listens before it is opened, and keeps it from others."""
    async with AsyncExitStack() as stack:
        yield LatePort(stack, serve)


@asynccontextmanager
async def odd_ports() -> AsyncIterator[dict[str, str]]:
    """Opens the ports that are no gRPC server's, by the names that cases use."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        yield {
            "html": await enter(listening(html_over_http1)),
            "html2": await enter(listening(html_over_http2(502))),
            "html2_ok": await enter(listening(html_over_http2(200))),
            "silent": await enter(listening(silence)),
            "nobody": await enter(nobody()),
        }
