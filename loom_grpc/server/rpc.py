"""What the methods of all services have in common: bytes become a message, a run ends in trailing metadata, a failure in a status."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import unquote

import grpc
from google.protobuf.message import Message

from loom_grpc.core.errors import INVALID_REQUEST, LlmError, server_draining, server_failed
from loom_grpc.core.fingerprint import CREDENTIALS
from loom_grpc.core.ports import Gatekeeper
from loom_grpc.core.principal import Principal, Shown
from loom_grpc.core.status import message_of
from loom_grpc.core.wire import read_message
from loom_grpc.server.status import code_of, details_of

_FORWARDED: Final = "x-forwarded-for"
_REQUEST_ID: Final = re.compile(r"[!-~]{1,128}")

Context = grpc.aio.ServicerContext[Any, Any]
Trailing = tuple[tuple[str, str], ...]
M = TypeVar("M", bound=Message)
R = TypeVar("R")


class Rpc(Protocol):
    """One call, for whoever runs it."""

    request_id: str
    method: str
    """Its full name, such as `/loom_grpc.v1.LlmService/Complete`."""
    shown: Shown

    def admitted(self, principal: Principal, address: str) -> None:
        """Takes who calls, and from where."""

    def finished(self, error: LlmError | None = None, *, cancelled: bool = False) -> Trailing:
        """Records the end of the call, once, and returns its trailing metadata."""

    def crashed(self, error: BaseException) -> None:
        """Writes down an exception that nobody expected."""

    def last_event(self, error: LlmError) -> Message | None:
        """Returns what a stream sends before the status of its failure."""


class Entrance:
    """Where the calls of all services come in; nobody gets in whom the gatekeeper does not admit, and nobody at all where it is closed."""

    def __init__(self, max_message_bytes: int, gatekeeper: Gatekeeper, *, closed: bool = False) -> None:
        self._max_message_bytes = max_message_bytes
        self._gatekeeper = gatekeeper
        self._closed = closed
        self._draining = self._over = False
        self._watches: set[asyncio.Timeout] = set()
        self._running: set[asyncio.Task[Any]] = set()

    def drain(self) -> None:
        """Ends watches from now on. Other calls go on, also those that were on their way when their connection was asked to go."""
        self._draining = True
        for watch in self._watches:
            watch.reschedule(asyncio.get_running_loop().time())

    def end(self) -> None:
        """Ends all calls with DRAINING, because the time to drain is over; gRPC itself would tell their callers no reason."""
        self._over = True
        for task in self._running:
            task.cancel()

    def parse(self, message: M, data: bytes) -> M:
        """Reads a request; gRPC itself would answer what cannot be parsed with nothing but INTERNAL. Raises `LlmError`."""
        if len(data) > self._max_message_bytes:
            text = f"The request has {len(data)} bytes; this server takes {self._max_message_bytes} (grpc.max_message_bytes)."
            raise LlmError(INVALID_REQUEST, text)
        return read_message(message, data)

    async def run(self, context: Context, rpc: Rpc, work: Callable[[], Awaitable[R]]) -> R:
        """Runs one call to its trailing metadata; a failure becomes a status."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 # gRPC runs each call in one
        self._running.add(task)
        try:
            if self._closed:
                raise server_draining()
            principal = await self._gatekeeper.admit(rpc.method, rpc.shown)
            rpc.admitted(principal, self._gatekeeper.address_of(rpc.shown))
            answer = await work()
        except asyncio.CancelledError:
            if not self._over or context.cancelled():
                rpc.finished(cancelled=True)
                raise
            task.uncancel()
            await _fail(context, rpc, server_draining())
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
        finally:
            self._running.discard(task)
        raise AssertionError("aborting a call does not return")

    @asynccontextmanager
    async def until_drained(self) -> AsyncIterator[None]:
        """Ends what runs in it when the server drains, with DRAINING; it would hold the server up for the whole grace time."""
        watch = asyncio.timeout(0 if self._draining else None)
        try:
            async with watch:
                self._watches.add(watch)
                yield
        except TimeoutError:
            raise server_draining() from None
        finally:
            self._watches.discard(watch)


def opening_of(context: Context) -> tuple[dict[str, str], Shown]:
    """Returns the texts of a call's metadata, and all that the caller shows of itself."""
    pairs = context.invocation_metadata() or ()  # which gRPC makes anew each time
    metadata = {key: value for key, value in pairs if isinstance(value, str)}
    # The mapping has one of each; there may be several.
    shows = not CREDENTIALS.isdisjoint(metadata)
    credentials = tuple((key, str(value)) for key, value in pairs if key in CREDENTIALS) if shows else ()
    passed_on = _FORWARDED in metadata
    forwarded = ",".join(str(value) for key, value in pairs if key == _FORWARDED) if passed_on else ""
    certificates = tuple(pem.decode() for pem in context.auth_context().get("x509_pem_cert", ()))
    return metadata, Shown(credentials, certificates, _host(context.peer()), forwarded)


@lru_cache(4096)
def _host(peer: str) -> str:
    """Returns the address of a peer as gRPC writes it, such as `ipv4:127.0.0.1:4711` or `ipv6:%5B::1%5D:4711`."""
    kind, _, rest = peer.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return ""
    return unquote(rest.rpartition(":")[0]).strip("[]")


def request_id_of(metadata: Mapping[str, str]) -> str:
    """Returns the caller's own request id if it is a decent one, or else a new one."""
    given = metadata.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)


async def _fail(context: Context, rpc: Rpc, error: LlmError) -> None:
    """Ends the call with the error's status."""
    trailing = rpc.finished(error)
    event = rpc.last_event(error)
    try:
        if event is not None:
            await context.write(event)
        await context.abort(code_of(error), message_of(error), (*trailing, details_of(error, rpc.request_id)))
    except grpc.aio.InternalError:  # the caller left at the same moment, such as both do when its deadline passes
        raise asyncio.CancelledError from None
