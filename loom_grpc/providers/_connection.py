"""One HTTP/1.1 connection to a provider: a request out, an answer in, then the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import httptools

from loom_grpc.core.errors import PROVIDER_BAD_RESPONSE, PROVIDER_UNAVAILABLE, LlmError

_HIGH_WATER: Final = 256 * 1024
"""How many bytes of an answer are kept for a slow reader before the provider is made to wait."""
_MAX_HEAD_BYTES: Final = 256 * 1024
"""The most bytes that the head of an answer may have."""
_BODILESS: Final = frozenset({204, 304})


class Answer:
    """An answer whose body is still to come; header names are in lower case."""

    __slots__ = ("_chunks", "_connection", "_failure", "_kept_bytes", "_waiter", "complete", "headers", "status")

    def __init__(self, connection: Connection) -> None:
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.complete = False
        """Whether all of it has come."""
        self._connection = connection
        self._chunks: list[bytes] = []
        self._kept_bytes = 0
        self._failure: LlmError | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def read(self) -> bytes:
        """Returns what has arrived, at least one byte, none at the end; raises `LlmError` when the connection breaks."""
        while not self._chunks:
            if self.complete:
                return b""
            await self.wait()
        chunks, self._chunks = self._chunks, []
        if self._kept_bytes > _HIGH_WATER:
            self._connection.resume()
        self._kept_bytes = 0
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def close(self, finished: bool) -> None:
        """Lets go of the answer: a finished one may come to its end, any other loses its connection at once."""
        self._connection.let_go(self, finished)

    async def wait(self) -> None:
        """Waits until something has come; raises `LlmError` when nothing more will."""
        if self._failure is not None:
            raise self._failure
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def wake(self) -> None:
        """Lets whoever waits look again."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def add(self, data: bytes) -> bool:
        """Keeps bytes of the body; returns whether there are too many already."""
        self._chunks.append(data)
        self._kept_bytes += len(data)
        return self._kept_bytes > _HIGH_WATER

    def fail(self, error: LlmError) -> None:
        """Makes whoever waits, now or later, fail once the bytes that came before are read."""
        self._failure = error
        self.wake()


class Connection(asyncio.Protocol):
    """Carries one exchange at a time. httptools, which is Node's parser llhttp, reads the answers through the `on_` methods.

    `on_free` is told when the connection can take the next request, and `on_lost` when it is gone.
    """

    def __init__(self, on_free: Callable[[Connection], None], on_lost: Callable[[Connection], None]) -> None:
        self._on_free = on_free
        self._on_lost = on_lost
        self._parser = httptools.HttpResponseParser(self)
        self._answer: Answer | None = None
        self._fields: dict[str, str] = {}
        self._head_bytes = 0
        self._until_closed = False
        """Whether the body ends where the connection does."""
        self._reusable = True
        self._full = False
        self._last_moment: asyncio.TimerHandle | None = None
        self.lost = False
        self.kept = False
        """Whether it has been free since its last request."""
        self.heard = False
        """Whether anything has come since the last request."""
        self.free_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment] # a stream protocol gets a stream's

    async def request(self, head: bytes, body: bytes) -> Answer:
        """Sends a request and returns when the head of the answer is there; cancelling closes the connection."""
        answer = self._answer = Answer(self)
        self._fields, self._head_bytes, self._full = {}, 0, False
        self.heard = False
        self._transport.write(head + body)
        try:
            while not answer.status:
                await answer.wait()
        except BaseException:
            self._transport.abort()
            raise
        return answer

    def let_go(self, answer: Answer, finished: bool) -> None:
        """Closes the connection, unless the answer's end is there or, as it is `finished`, will be in a moment."""
        if self._answer is not answer:
            return  # it has come to its end, and the connection may already carry another
        if not finished:
            self._transport.abort()
        elif self._last_moment is None:
            self._last_moment = asyncio.get_running_loop().call_later(_LAST_MOMENT_S, self._transport.abort)
            self.resume()

    def resume(self) -> None:
        """Lets the provider send on."""
        if self._full and not self._transport.is_closing():
            self._full = False
            self._transport.resume_reading()

    def abort(self) -> None:
        """Closes the connection at once."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Takes bytes; any that nobody asked for end the connection."""
        answer = self._answer
        if answer is None:
            self._transport.abort()
            return
        self.heard = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            answer.fail(LlmError(PROVIDER_BAD_RESPONSE, "The provider did not answer in HTTP.", detail=repr(error)))
            self._transport.abort()
            return
        if not answer.status:
            self._weigh_head(answer, len(data))
        answer.wake()
        if answer.complete:
            self._settle()
        elif self._full and self._last_moment is None:
            self._transport.pause_reading()

    def _weigh_head(self, answer: Answer, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > _MAX_HEAD_BYTES:
            answer.fail(
                LlmError(
                    PROVIDER_BAD_RESPONSE, f"The provider's answer has a head of more than {_MAX_HEAD_BYTES} bytes."
                )
            )
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends a body that had no other end, or breaks the answer off."""
        self.lost = True
        self._cancel_last_moment()
        answer, self._answer = self._answer, None
        if answer is not None:
            if self._until_closed and exc is None:
                answer.complete = True
                answer.wake()
            else:
                detail = repr(exc) if exc else "closed by the provider"
                answer.fail(LlmError(PROVIDER_UNAVAILABLE, "The connection to the provider broke off.", detail=detail))
        self._on_lost(self)

    def on_message_begin(self) -> None:
        """Takes the beginning of an answer; one that nobody asked for spoils the connection."""
        if self._answer is None or self._answer.complete:
            self._reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Takes a header; several of one name become a list, as RFC 9110 (5.3) allows."""
        key, text = name.decode("latin-1").lower(), value.decode("latin-1").strip(" \t")
        self._fields[key] = f"{self._fields[key]}, {text}" if key in self._fields else text

    def on_headers_complete(self) -> None:
        """Takes the end of a head; interim answers (1xx) are passed over."""
        fields, self._fields = self._fields, {}
        status = self._parser.get_status_code()
        answer = self._answer
        if status < 200 or answer is None or answer.complete:
            return
        answer.status, answer.headers = status, fields
        chunked = "chunked" in fields.get("transfer-encoding", "").lower()
        sized = chunked or "content-length" in fields or status in _BODILESS
        self._until_closed = not sized
        self._reusable = self._reusable and self._parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        """Takes bytes of the body; those of a finished answer are not kept."""
        if self._answer is not None and not self._answer.complete and self._last_moment is None:
            self._full = self._answer.add(data)

    def on_message_complete(self) -> None:
        """Takes the end of the answer."""
        if self._answer is not None and self._answer.status:
            self._answer.complete = True

    def _settle(self) -> None:
        """Makes the connection free for the next request, where both sides keep it open."""
        self._answer = None
        self._cancel_last_moment()
        if self._reusable:
            self.kept = True
            self._on_free(self)
        else:
            self._transport.close()

    def _cancel_last_moment(self) -> None:
        if self._last_moment is not None:
            self._last_moment.cancel()
            self._last_moment = None


_LAST_MOMENT_S: Final = 1.0
"""How long the end of a finished answer is waited for, so that its connection can serve again."""
