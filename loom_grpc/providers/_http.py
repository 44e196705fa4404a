"""The only code that talks HTTP to a model: one request, one answer, byte chunks; no meaning."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final, Protocol

import aiohttp
from yarl import URL

from loom_grpc.core.errors import PROVIDER_BAD_RESPONSE, PROVIDER_TIMEOUT, PROVIDER_UNAVAILABLE, LlmError

_DRAIN_S: Final = 1.0
"""How long the end of a finished answer is waited for, so that its connection can serve again."""
_KEEPALIVE_S: Final = 30.0
"""How long an idle connection is kept: less than the servers' own limits, so that they rarely close it under a request."""


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

    async def close(self) -> None:
        """Closes every connection."""


class HttpTransport:
    """HTTP/1.1 with pooled connections, by aiohttp (docs/decisions/0002-http-transport.md says why)."""

    def __init__(self, max_connections: int) -> None:
        # aiohttp sets TCP_NODELAY on every connection by itself.
        connector = aiohttp.TCPConnector(limit=max_connections, keepalive_timeout=_KEEPALIVE_S, ttl_dns_cache=60)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept", "Content-Type"),
            headers={"User-Agent": "loom-grpc", "Accept-Encoding": "identity"},
        )
        self._urls: dict[str, URL] = {}
        self._draining: set[asyncio.Task[None]] = set()

    async def open(self, method: str, url: str, headers: Mapping[str, str], body: bytes, connect_s: float) -> Response:
        """Sends a request; redirects are answers like any other."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_s)
        try:
            answer = await self._session.request(
                method, self._url(url), headers=headers, data=body or None, timeout=timeout, allow_redirects=False
            )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _transport_error(error, connect_s) from error
        return HttpResponse(answer, self._draining)

    async def close(self) -> None:
        """Closes every connection."""
        for task in self._draining:
            task.cancel()
        await self._session.close()

    def _url(self, url: str) -> URL:
        parsed = self._urls.get(url)
        if parsed is None:
            parsed = URL(url, encoded=True)
            if len(self._urls) < _MAX_KNOWN_URLS:
                self._urls[url] = parsed
        return parsed


_MAX_KNOWN_URLS: Final = 1024


class HttpResponse:
    """An answer over aiohttp."""

    def __init__(self, answer: aiohttp.ClientResponse, draining: set[asyncio.Task[None]]) -> None:
        self.status = answer.status
        self.headers: Mapping[str, str] = answer.headers
        self._answer = answer
        self._draining = draining

    async def read(self) -> bytes:
        """Returns what has arrived, at least one byte, none at the end."""
        try:
            return await self._answer.content.readany()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise LlmError(
                PROVIDER_UNAVAILABLE, "The connection to the provider broke off.", detail=repr(error)
            ) from error

    def close(self, finished: bool) -> None:
        """Gives the connection back when the whole body has been read, or will be shortly; closes it otherwise."""
        if self._answer.content.at_eof():
            self._answer.release()
        elif finished:
            task = asyncio.get_running_loop().create_task(self._drain())
            self._draining.add(task)
            task.add_done_callback(self._draining.discard)
        else:
            self._answer.close()

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(_DRAIN_S):
                await self._answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError):
            self._answer.close()


def _transport_error(error: Exception, connect_s: float) -> LlmError:
    detail = repr(error)
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        message = f"The provider did not accept a connection within {connect_s:g} s."
        return LlmError(PROVIDER_TIMEOUT, message, detail=detail)
    if isinstance(error, aiohttp.ClientSSLError):
        return LlmError(PROVIDER_UNAVAILABLE, "The provider's TLS certificate cannot be trusted.", detail=detail)
    if isinstance(error, aiohttp.ClientResponseError):
        return LlmError(PROVIDER_BAD_RESPONSE, "The provider did not answer in HTTP.", detail=detail)
    return LlmError(PROVIDER_UNAVAILABLE, "The provider cannot be reached.", detail=detail)
