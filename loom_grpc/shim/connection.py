"""An HTTP connection with limits that the parser does not have, and with errors in Loom's shape."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Final, cast

import httptools
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from loom_grpc.frontends.loom_error import error_body

MAX_HEAD_BYTES: Final = 64 * 1024
"""The most bytes that a request's head may have."""

_MALFORMED: Final = "The HTTP request is malformed; a header may have a control character, or the address is not valid."
_TOO_LARGE: Final = f"The head of the HTTP request is larger than {MAX_HEAD_BYTES} bytes."
_MAX_HELD_BYTES: Final = 64 * 1024


def client_certificates(scope: Scope) -> list[str]:
    """Returns the certificate of a caller who showed one, as PEM (asgi.readthedocs.io/en/latest/specs/tls.html, seen 2026-11-21)."""
    chain: list[str] = scope.get("extensions", {}).get("tls", {}).get("client_cert_chain", [])
    return chain


class Cork:
    """A transport that sends together what is written in one turn of the event loop: a head and its body, the events of one read.

    uvloop by itself makes a system call, and so a packet, of every write.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []
        self._held_bytes = 0
        self.get_extra_info = transport.get_extra_info
        self.is_closing = transport.is_closing
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading
        self.abort = transport.abort

    def write(self, data: bytes) -> None:
        """Holds the bytes until the event loop's next turn."""
        if not self._held:
            self._loop.call_soon(self.flush)
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > _MAX_HELD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Sends what is held."""
        held, self._held = self._held, []
        self._held_bytes = 0
        if held and not self.is_closing():
            self._transport.write(held[0] if len(held) == 1 else b"".join(held))

    def close(self) -> None:
        """Sends what is held and closes."""
        self.flush()
        self._transport.close()


class HttpConnection(HttpToolsProtocol):
    """Reads requests and writes answers on one connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._head_bytes = 0
        """How much has arrived since a head was whole or a piece of a body came."""
        self._extensions: dict[str, Any] = {}
        """What the scope of every request has beside what uvicorn puts there."""
        self.lost: asyncio.Future[None] = self.loop.create_future()
        """Done when the connection is closed."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins."""
        tls = transport.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True) if tls is not None else None
        if certificate is not None:
            self._extensions = {"tls": {"client_cert_chain": [ssl.DER_cert_to_PEM_cert(certificate)]}}
        super().connection_made(cast(asyncio.Transport, Cork(transport, self.loop)))

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends."""
        super().connection_lost(exc)
        self.lost.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Takes what has arrived; a head or trailers without an end would fill the memory."""
        self._unset_keepalive_if_required()
        self._head_bytes += len(data)
        try:
            self._feed(memoryview(data))
        except httptools.HttpParserError:
            self.send_400_response("")
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(431, _TOO_LARGE)

    def on_message_begin(self) -> None:
        """Begins a request."""
        super().on_message_begin()
        self._in_head = True
        if self._extensions:
            self.scope["extensions"] = self._extensions

    def on_header(self, name: bytes, value: bytes) -> None:
        """Takes a header. Trailers are none: a proxy that sees to headers may have let them pass."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begins to answer a request."""
        self._in_head = False
        self._head_bytes = 0
        if not self._is_offer():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Takes a piece of a body."""
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Ends a request."""
        if not self._is_offer():
            super().on_message_complete()

    def _feed(self, data: memoryview) -> None:
        """Has the parser read what has arrived. What follows the offer of another protocol it takes for that one, and stops."""
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as stop:
                if not self._is_offer():
                    return
                head, data = self._head_without_offer(), data[stop.args[0] :]
                self.parser = _parser(self)  # the other one may take the request for the last of the connection
                self.parser.feed_data(head)

    def _is_offer(self) -> bool:
        """Tells whether the request offers to go on by another protocol, as Java's client does with each; it is then read again without."""
        return self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"

    def _head_without_offer(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [b": ".join(header) for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version), *lines, b"", b""])

    def send_400_response(self, msg: str) -> None:
        """Refuses what is no HTTP."""
        self._refuse(400, _MALFORMED)

    def _refuse(self, status: int, message: str) -> None:
        body = error_body(status, message)
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()


def _parser(connection: HttpConnection) -> httptools.HttpRequestParser:
    """Makes a parser as uvicorn does: what follows a request that is the last of its connection is nothing."""
    parser = httptools.HttpRequestParser(connection)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser
