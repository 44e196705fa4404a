"""The only code that talks HTTP to a model: one request, one answer, byte chunks; no meaning."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from functools import cache
from typing import Final, NamedTuple, Protocol
from urllib.parse import urlsplit

from loom_grpc.core.errors import INTERNAL, PROVIDER_TIMEOUT, PROVIDER_UNAVAILABLE, LlmError
from loom_grpc.providers._connection import Connection

_KEPT_S: Final = 30.0
"""How long a free connection is kept: less than the servers' own limits, so that they rarely close it under a request."""
_MAX_KNOWN_URLS: Final = 1024


class Response(Protocol):
    """An answer whose body is still to come; header names are in lower case."""

    status: int
    headers: Mapping[str, str]

    async def read(self) -> bytes:
        """Returns the next bytes, none at the end; raises `LlmError` (PROVIDER_UNAVAILABLE) when the connection breaks."""

    def close(self, finished: bool) -> None:
        """Lets go of the answer; one that is not `finished` loses its connection at once."""


class Transport(Protocol):
    """Where requests go. Raises `LlmError` only."""

    async def open(self, method: str, url: str, headers: Mapping[str, str], body: bytes, connect_s: float) -> Response:
        """Sends a request and returns when the answer's head is there; cancelling closes the connection."""

    def retire(self) -> None:
        """Closes every connection as soon as it carries no request; calls in flight may still open some."""

    async def close(self) -> None:
        """Closes every connection."""


class Origin(NamedTuple):
    """Whom to connect to."""

    secure: bool
    host: str
    port: int


class Place(NamedTuple):
    """Whom to ask for what."""

    origin: Origin
    authority: str
    """The value of the header `Host`."""
    target: str
    """The path with its query."""

    @classmethod
    def of(cls, url: str) -> Place:
        """Reads an `http` or `https` address."""
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        origin = Origin(secure, parts.hostname or "", parts.port or (443 if secure else 80))
        return cls(origin, parts.netloc, url.removeprefix(f"{parts.scheme}://{parts.netloc}") or "/")


class HttpTransport:
    """HTTP/1.1 with pooled connections; docs/decisions/0002-http-transport.md says why it is our own."""

    def __init__(self, max_connections: int) -> None:
        self._room = asyncio.Semaphore(max_connections)
        self._free: dict[Origin, list[Connection]] = {}
        self._busy: dict[Connection, Origin] = {}
        self._places: dict[str, Place] = {}
        self._retired = False
        self._closed = False

    async def open(self, method: str, url: str, headers: Mapping[str, str], body: bytes, connect_s: float) -> Response:
        """Sends a request; redirects are answers like any other.

        A kept connection that closes before any byte of the answer is replaced at once: the provider had closed it before the request
        came (RFC 9112, 9.3.1).
        """
        place = self._place(url)
        head = _head(method, place, headers, len(body))
        while True:
            connection = await self._get(place.origin, connect_s)
            try:
                return await connection.request(head, body)
            except LlmError as error:
                stale = connection.kept and not connection.heard and error.reason == PROVIDER_UNAVAILABLE
                if not stale or self._closed:
                    raise

    def retire(self) -> None:
        """Closes the free connections now, and each of the others when its request is answered."""
        self._retired = True
        for connection in [free for kept in self._free.values() for free in kept]:
            connection.abort()
        self._free.clear()

    async def close(self) -> None:
        """Closes every connection."""
        self._closed = True
        for connection in [*self._busy, *(free for kept in self._free.values() for free in kept)]:
            connection.abort()

    def _place(self, url: str) -> Place:
        place = self._places.get(url)
        if place is None:
            place = Place.of(url)
            if len(self._places) < _MAX_KNOWN_URLS:
                self._places[url] = place
        return place

    async def _get(self, origin: Origin, connect_s: float) -> Connection:
        """Returns a free connection, the one used last, or a new one."""
        await self._room.acquire()
        try:
            connection = self._take_free(origin) or await self._connect(origin, connect_s)
        except BaseException:
            self._room.release()
            raise
        self._busy[connection] = origin
        return connection

    def _take_free(self, origin: Origin) -> Connection | None:
        kept = self._free.get(origin)
        too_old = asyncio.get_running_loop().time() - _KEPT_S
        while kept:
            connection = kept.pop()
            if not connection.lost and connection.free_since > too_old:
                return connection
            connection.abort()
        return None

    async def _connect(self, origin: Origin, connect_s: float) -> Connection:
        loop = asyncio.get_running_loop()
        tls = _tls() if origin.secure else None
        try:
            async with asyncio.timeout(connect_s):
                _, connection = await loop.create_connection(
                    lambda: Connection(self._on_free, self._on_lost), origin.host, origin.port, ssl=tls
                )
            if connection.lost:
                raise ConnectionResetError("closed by the provider as soon as it was opened")
        except (OSError, ssl.SSLError, ValueError) as error:  # TimeoutError is an OSError
            raise _refused(error, connect_s) from error
        return connection

    def _on_free(self, connection: Connection) -> None:
        origin = self._leave(connection)
        if self._retired:
            connection.abort()
        elif origin is not None:
            connection.free_since = asyncio.get_running_loop().time()
            self._free.setdefault(origin, []).append(connection)

    def _on_lost(self, connection: Connection) -> None:
        if self._leave(connection) is None:
            for kept in self._free.values():
                if connection in kept:
                    kept.remove(connection)

    def _leave(self, connection: Connection) -> Origin | None:
        """Ends a connection's exchange; None when it had none."""
        origin = self._busy.pop(connection, None)
        if origin is not None:
            self._room.release()
        return origin


def _head(method: str, place: Place, headers: Mapping[str, str], size: int) -> bytes:
    """Writes a request's head; raises `LlmError` (INTERNAL) for a header or path that would end it early or is not ASCII."""
    lines = [f"{method} {place.target} HTTP/1.1", f"host: {place.authority}", *_ALWAYS]
    if size or method == "POST":
        lines.append(f"content-length: {size}")
    lines += [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join(lines)
    if not head.isascii() or head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1:
        raise LlmError(INTERNAL, "A header or the address of the provider is unfit for HTTP; check its configuration.")
    return head.encode() + b"\r\n\r\n"


_ALWAYS: Final = ("user-agent: loom-grpc", "accept: */*", "accept-encoding: identity")


@cache
def _tls() -> ssl.SSLContext:
    """Makes the context of all connections, by the system's authorities or those of the variable SSL_CERT_FILE."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _refused(error: Exception, connect_s: float) -> LlmError:
    detail = repr(error)
    if isinstance(error, TimeoutError):
        message = f"The provider did not accept a connection within {connect_s:g} s."
        return LlmError(PROVIDER_TIMEOUT, message, detail=detail)
    if isinstance(error, ssl.SSLError):
        return LlmError(PROVIDER_UNAVAILABLE, "The provider cannot be trusted or does not speak TLS.", detail=detail)
    return LlmError(PROVIDER_UNAVAILABLE, "The provider cannot be reached.", detail=detail)
