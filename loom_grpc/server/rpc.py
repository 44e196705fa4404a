"""What the methods of all services have in common: bytes become a message, a run ends in trailing metadata, a failure in a status."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from loom_grpc.core.errors import INVALID_REQUEST, LlmError, server_draining, server_failed
from loom_grpc.server.status import code_of, details_of, message_of
from loom_grpc.server.wire import misfit

_REQUEST_ID: Final = re.compile(r"[!-~]{1,128}")
_MAX_PAGE: Final = 1000

Context = grpc.aio.ServicerContext[Any, Any]
Trailing = tuple[tuple[str, str], ...]
M = TypeVar("M", bound=Message)
R = TypeVar("R")


class Rpc(Protocol):
    """One call, for whoever runs it."""

    request_id: str

    def finished(self, error: LlmError | None = None, *, cancelled: bool = False) -> Trailing:
        """Records the end of the call, once, and returns its trailing metadata."""

    def crashed(self, error: BaseException) -> None:
        """Writes down an exception that nobody expected."""

    def last_event(self, error: LlmError) -> Message | None:
        """Returns what a stream sends before the status of its failure."""


class Paged(Protocol):
    """A request for a page of a list (AIP-158)."""

    page_size: int
    page_token: str


class Entrance:
    """Where the calls of all services come in; nobody gets in once the server drains."""

    def __init__(self, max_message_bytes: int) -> None:
        self._max_message_bytes = max_message_bytes
        self._draining = False
        self._watches: set[asyncio.Timeout] = set()

    def drain(self) -> None:
        """Refuses new calls and ends watches from now on; other calls that are in flight go on."""
        self._draining = True
        for watch in self._watches:
            watch.reschedule(asyncio.get_running_loop().time())

    def parse(self, message: M, data: bytes) -> M:
        """Reads a request; gRPC itself would answer what cannot be parsed with nothing but INTERNAL. Raises `LlmError`."""
        if len(data) > self._max_message_bytes:
            text = f"The request has {len(data)} bytes; this server takes {self._max_message_bytes} (grpc.max_message_bytes)."
            raise LlmError(INVALID_REQUEST, text)
        try:
            message.ParseFromString(data)
        except DecodeError:
            raise LlmError(INVALID_REQUEST, misfit(message.DESCRIPTOR, data)) from None
        return message

    async def run(self, context: Context, rpc: Rpc, work: Callable[[], Awaitable[R]]) -> R:
        """Runs one call to its trailing metadata; a failure becomes a status."""
        try:
            if self._draining:
                raise server_draining()
            answer = await work()
        except asyncio.CancelledError:
            rpc.finished(cancelled=True)
            raise
        except grpc.aio.InternalError:
            # An event waited for room, and the caller is gone: cancelling would have followed in a moment.
            rpc.finished(cancelled=True)
            raise asyncio.CancelledError from None
        except LlmError as error:
            await _fail(context, rpc, error)
        except Exception as error:  # noqa: BLE001 - the edge: whatever goes wrong, the caller gets a status and the log the cause
            rpc.crashed(error)
            await _fail(context, rpc, server_failed())
        else:
            context.set_trailing_metadata(rpc.finished())
            return answer
        raise AssertionError("aborting a call does not return")

    @asynccontextmanager
    async def until_drained(self) -> AsyncIterator[None]:
        """Ends what runs in it when the server drains, with DRAINING; it would hold the server up for the whole grace time."""
        watch = asyncio.timeout(None)
        try:
            async with watch:
                self._watches.add(watch)
                yield
        except TimeoutError:
            raise server_draining() from None
        finally:
            self._watches.discard(watch)


def metadata_of(context: Context) -> dict[str, str]:
    """Returns the texts of a call's metadata."""
    return {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}


def request_id_of(metadata: Mapping[str, str]) -> str:
    """Returns the caller's own request id if it is a decent one, or else a new one."""
    given = metadata.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)


def page_of(request: Paged, items: list[R]) -> tuple[list[R], str]:
    """Returns the page that is asked for, and the token of the next one; raises `LlmError`."""
    start, size = _page(request)
    end = start + size
    return items[start:end], str(end) if end < len(items) else ""


def _page(request: Paged) -> tuple[int, int]:
    """Returns where the page starts and how long it may be."""
    if not 0 <= request.page_size <= _MAX_PAGE:
        raise LlmError(INVALID_REQUEST, f"page_size: must be from 0 to {_MAX_PAGE}.", field="page_size")
    token = request.page_token
    if token and not (token.isascii() and token.isdigit() and len(token) < 10):
        raise LlmError(INVALID_REQUEST, "page_token: is not a next_page_token of this server.", field="page_token")
    return int(token or 0), request.page_size or _MAX_PAGE


async def _fail(context: Context, rpc: Rpc, error: LlmError) -> None:
    """Ends the call with the error's status."""
    trailing = rpc.finished(error)
    event = rpc.last_event(error)
    if event is not None:
        await context.write(event)
    await context.abort(code_of(error), message_of(error), (*trailing, details_of(error, rpc.request_id)))
