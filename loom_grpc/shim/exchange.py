"""One HTTP request and its answer."""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import parse_qsl

from starlette.types import Message, Receive, Scope, Send

from loom_grpc.core.errors import BUDGET_EXCEEDED, RATE_LIMITED, LlmError
from loom_grpc.core.fingerprint import CREDENTIALS
from loom_grpc.core.principal import Shown
from loom_grpc.frontends.body import HttpError
from loom_grpc.shim.connection import client_certificates

Header = tuple[bytes, bytes]

_JSON: Final = re.compile(r"application/([\w.+-]+\+)?json *(;.*)?", re.IGNORECASE)
_REQUEST_ID: Final = re.compile(r"[!-~]{1,128}")
_METADATA: Final = (
    *(b"authorization", b"x-api-key", b"x-goog-api-key"),
    *(b"loom-cache", b"traceparent", b"tracestate", b"baggage"),
)
_CREDENTIALS: Final = frozenset(name.encode() for name in CREDENTIALS)
_OURS: Final = frozenset({RATE_LIMITED, BUDGET_EXCEEDED})
"""What our own limits and budgets refuse with."""
_LONG_S: Final = 120.0
"""How long OpenAI's client waits at most before it asks again; Anthropic's waits for as long as it is told."""
_LINGER_S: Final = 5.0
"""How long a body that is too large is read to nowhere: closing before that could take the answer from the caller."""


class Gone(Exception):  # noqa: N818 # nobody did anything wrong
    """The caller has closed the connection."""


class Exchange:
    """Reads a request and answers it, in whole or in pieces."""

    __slots__ = ("_headers", "_overflows", "_receive", "_scope", "_send", "request_id", "started")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._headers = dict(scope["headers"])
        self._receive = receive
        self._send = send
        self.started = False
        """Whether the head of the answer has been sent."""
        self._overflows = False
        """Whether the body is too large, so that the connection ends with the answer."""
        given = self.header(b"x-request-id")
        self.request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)

    def header(self, name: bytes) -> str:
        """Returns a header of the request; a missing one is empty."""
        value: bytes = self._headers.get(name, b"")
        return value.decode("latin-1")

    def headers(self) -> Mapping[str, str]:
        """Returns all headers of the request."""
        return _Texts(self._headers)

    def ids(self) -> list[Header]:
        """Returns the headers of an answer that name the request."""
        request_id = self.request_id.encode()
        return [(b"loom-request-id", request_id), (b"x-request-id", request_id)]

    def words(self, name: bytes) -> set[str]:
        """Returns the words of a header that is a list, in lower case."""
        return words_of(self.header(name))

    def metadata(self) -> dict[str, str]:
        """Returns the headers that a call takes along, as far as gRPC could carry them."""
        found = {name.decode(): self.header(name) for name in _METADATA if name in self._headers}
        if key := self._query_key():
            found["x-goog-api-key"] = key
        return {name: value for name, value in found.items() if value.isascii() and value.isprintable()}

    def shown(self) -> Shown:
        """Returns all that the caller shows of itself: its credentials, in headers or as `?key=`, its certificate, and where it is."""
        scope = self._scope
        shown = [(key.decode(), value.decode("latin-1")) for key, value in scope["headers"] if key in _CREDENTIALS]
        if key := self._query_key():
            shown.append(("key", key))
        client = scope.get("client")
        # Each proxy may have written a header of its own.
        forwarded = ",".join(value.decode("latin-1") for key, value in scope["headers"] if key == b"x-forwarded-for")
        return Shown(tuple(shown), tuple(client_certificates(scope)), client[0] if client else "", forwarded)

    def _query_key(self) -> str:
        """Returns the credential in the query of the address; several are one that nobody has."""
        query = self._scope["query_string"]
        if b"key=" not in query:
            return ""
        return ",".join(value for key, value in parse_qsl(query.decode("latin-1")) if key == "key")

    def timeout_s(self) -> float:
        """Returns how long the caller waits, by its header `Loom-Timeout`; raises `HttpError`."""
        text = self.header(b"loom-timeout")
        if not text:
            return math.inf
        try:
            seconds = float(text)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds < math.inf:
            raise HttpError(400, "loom-timeout: must be a number of seconds greater than 0.")
        return seconds

    async def json_body(self, max_bytes: int) -> bytes:
        """Reads a JSON body whole; raises `HttpError` and `Gone`."""
        if not _JSON.fullmatch(self.header(b"content-type")):
            raise HttpError(415, "content-type: must be application/json.")
        return await self.body(max_bytes)

    async def body(self, max_bytes: int, *, is_decoded: bool = False) -> bytes:
        """Reads a body whole; one that is compressed is refused unless it is decoded later. Raises `HttpError` and `Gone`."""
        if not is_decoded and self.words(b"content-encoding") - {"identity"}:
            raise HttpError(415, "content-encoding: the body must not be compressed.")
        if int(self.header(b"content-length") or 0) > max_bytes:
            raise self._too_large(max_bytes)
        chunks: list[bytes] = []
        size = 0
        more = True
        while more:
            chunk, more = await self._read()
            size += len(chunk)
            if size > max_bytes:
                raise self._too_large(max_bytes)
            chunks.append(chunk)
        return b"".join(chunks)

    async def gone(self) -> None:
        """Waits until the caller has closed the connection."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def reply(
        self, status: int, headers: Iterable[Header], body: bytes, media_type: bytes = b"application/json"
    ) -> None:
        """Sends a whole answer."""
        fixed = [(b"content-type", media_type), (b"content-length", b"%d" % len(body))]
        await self.open(status, [*fixed, *headers])
        if self._overflows:
            await self.write(body)
            await self._swallow()
            body = b""
        await self._send(_piece(body, more=False))

    async def open(self, status: int, headers: list[Header]) -> None:
        """Sends the head of an answer."""
        self.started = True
        if self._overflows:
            headers.append((b"connection", b"close"))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, body: bytes) -> None:
        """Sends a piece of an answer; returns when the caller has room for more."""
        await self._send(_piece(body, more=True))

    async def close(self) -> None:
        """Ends an answer that was sent in pieces."""
        await self._send(_piece(b"", more=False))

    def _too_large(self, max_bytes: int) -> HttpError:
        self._overflows = True
        return HttpError(
            413, f"The body is larger than the {max_bytes} bytes that this server takes (http.max_body_bytes)."
        )

    async def _read(self) -> tuple[bytes, bool]:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise Gone
        return message.get("body", b""), message.get("more_body", False)

    async def _swallow(self) -> None:
        """Reads what is left of the body to nowhere; being cancelled ends it, as nothing but the end of the answer follows."""
        with contextlib.suppress(TimeoutError, Gone, asyncio.CancelledError):
            async with asyncio.timeout(_LINGER_S):
                while (await self._read())[1]:
                    pass


class _Texts(Mapping[str, str]):
    """Headers as texts, decoded when somebody looks, which most do not."""

    __slots__ = ("_headers",)

    def __init__(self, headers: Mapping[bytes, bytes]) -> None:
        self._headers = headers

    def __getitem__(self, name: str) -> str:
        return self._headers[name.encode("latin-1", "replace")].decode("latin-1")

    def __iter__(self) -> Iterator[str]:
        return (name.decode("latin-1") for name in self._headers)

    def __len__(self) -> int:
        return len(self._headers)


def when_again(error: LlmError) -> list[Header]:
    """Returns the headers that say when to ask again, or that the API's clients had better not do so by themselves.

    Of these one would wait for hours, and the others try in vain; both obey `x-should-retry` (_base_client.py in openai 3.52.0 and
    anthropic 2.11.0 on PyPI, seen 2026-11-21).
    """
    after_s = error.retry_after
    headers = [] if after_s is None else [(b"retry-after", b"%d" % math.ceil(after_s))]
    is_vain = error.reason == BUDGET_EXCEEDED if after_s is None else error.reason in _OURS and after_s > _LONG_S
    return [*headers, (b"x-should-retry", b"false")] if is_vain else headers


def words_of(text: str) -> set[str]:
    """Returns the words of a header's list, in lower case."""
    return {word.strip() for word in text.lower().split(",")} if text else set()


def _piece(body: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}
