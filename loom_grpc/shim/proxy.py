"""Loom's endpoints: a JSON request in, a JSON answer or server-sent events out."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from time import perf_counter
from typing import Final

from starlette.types import Receive, Scope, Send

from loom_grpc.config import Config
from loom_grpc.core.cache import HEADER as CACHE_HEADER
from loom_grpc.core.call import Call
from loom_grpc.core.errors import INVALID_REQUEST, PROVIDER_BAD_RESPONSE, LlmError, server_draining, server_failed
from loom_grpc.core.ports import Gateway
from loom_grpc.frontends.body import HttpError
from loom_grpc.frontends.loom import Writer
from loom_grpc.frontends.loom_error import error_body
from loom_grpc.frontends.loom_request import read_request
from loom_grpc.shim.exchange import Exchange, Gone, Header
from loom_grpc.shim.watch import Watch
from loom_grpc.telemetry import Telemetry
from loom_grpc.v1.llm_service_pb2 import LlmEvent, LlmRequest, LlmResponse

_EVENT_STREAM: Final[tuple[Header, ...]] = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # or nginx would hold events back
)


class Proxy:
    """Answers `POST /proxy/{provider}/complete`, or `/stream`, as an ASGI application."""

    def __init__(
        self, config: Config, gateway: Gateway, telemetry: Telemetry, draining: Callable[[], bool], *, stream: bool
    ) -> None:
        self._gateway = gateway
        self._telemetry = telemetry
        self._draining = draining
        self._stream = stream
        self._max_body_bytes = config.http.max_body_bytes
        self._comment_s = config.http.keepalive_comment_s
        self._writers = [
            Writer(
                extended=extended,
                empty_arguments=config.compat.empty_arguments,
                rate_limit_status=config.compat.loom_rate_limit_status,
            )
            for extended in (False, True)
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; whatever goes wrong is told to the caller in Loom's words."""
        answer = self._answer(Exchange(scope, receive, send))
        failure: LlmError | None = None
        gone = False
        try:
            await self._run(answer, scope["path_params"]["provider"])
        except Gone:
            gone = True
        except HttpError as error:
            failure = LlmError(INVALID_REQUEST, error.message)
            await answer.refuse(error)
        except LlmError as error:
            failure = error
            await answer.fail(failure)
        except Exception as error:  # noqa: BLE001 # this is the edge: what is not foreseen is logged and told
            self._telemetry.crashed(answer.call, error)
            failure = server_failed()
            await answer.fail(failure)
        except asyncio.CancelledError:
            # The time to drain is over. The caller is told, and then nothing is left to be cancelled.
            failure = server_draining()
            await answer.fail(failure)
        self._telemetry.finished(answer.call, failure, answer.lasted_s(), "http", cancelled=gone)

    def _answer(self, exchange: Exchange) -> Whole:
        extended = "extended" in exchange.words(b"loom-events")
        metadata = exchange.metadata()
        if extended:
            metadata["loom-events"] = "restarted"
        call = Call(LlmRequest(), self._stream, exchange.request_id, metadata=metadata, tenant=exchange.tenant())
        if self._stream:
            return Streamed(exchange, call, self._writers[extended], self._comment_s)
        return Whole(exchange, call, self._writers[extended])

    async def _run(self, answer: Whole, provider: str) -> None:
        if self._draining():
            raise server_draining()
        call, exchange = answer.call, answer.exchange
        call.deadline = answer.began_at + exchange.timeout_s()
        call.request = read_request(await exchange.json_body(self._max_body_bytes), provider)
        async with answer.watch():
            await self._gateway.answer(call, answer.send)
        await answer.finish()


class Whole:
    """A call that is answered with one JSON body."""

    def __init__(self, exchange: Exchange, call: Call, writer: Writer) -> None:
        self.exchange = exchange
        self.call = call
        self.began_at = asyncio.get_running_loop().time()
        self._began = perf_counter()  # the loop's clock goes in steps of a millisecond
        self._writer = writer
        self._response: LlmResponse | None = None

    def lasted_s(self) -> float:
        """Returns how long the call has taken."""
        return perf_counter() - self._began

    def watch(self) -> Watch:
        """Returns what looks after the caller while the gateway answers."""
        return Watch(self.exchange)

    async def send(self, event: LlmEvent) -> None:
        """Takes the next event."""
        if event.HasField("completed"):
            self._response = event.completed.response

    async def finish(self) -> None:
        """Answers; raises `LlmError` when no event told of the end."""
        if self._response is None:
            raise _unfinished()
        overhead_ms = (self.lasted_s() - self.call.upstream_s) * 1000
        headers = [*self._headers(), (b"loom-overhead-ms", b"%.3f" % overhead_ms)]
        await self.exchange.reply(200, headers, self._writer.response(self._response))

    async def refuse(self, error: HttpError) -> None:
        """Answers a request that is no call."""
        await self.exchange.reply(error.status, self._headers(), error_body(error.status, error.message))

    async def fail(self, error: LlmError) -> None:
        """Answers a call that failed."""
        status, body = self._writer.failure(error)
        headers = self._headers()
        if error.retry_after is not None:
            headers.append((b"retry-after", b"%d" % math.ceil(error.retry_after)))
        await self.exchange.reply(status, headers, body)

    def _headers(self) -> list[Header]:
        call = self.call
        request_id = call.request_id.encode()
        headers = [(b"loom-request-id", request_id), (b"x-request-id", request_id)]
        if call.provider:
            headers.append((b"loom-provider", _ascii(call.provider)))
            headers.append((b"loom-model", _ascii(call.model)))
            headers.append((b"loom-attempts", b"%d" % call.attempt))
        if call.cache:
            headers.append((CACHE_HEADER.encode(), call.cache.encode()))
        return headers


class Streamed(Whole):
    """A call that is answered with server-sent events.

    The head leaves with the first event, so that a call that fails before gets a status of its own; but a caller that has
    heard nothing for long gets the head and a comment.
    """

    def __init__(self, exchange: Exchange, call: Call, writer: Writer, comment_s: float) -> None:
        super().__init__(exchange, call, writer)
        self._comment_s = comment_s
        self._wrote_at = self.began_at
        self._writing = asyncio.Lock()
        self._now = asyncio.get_running_loop().time

    def watch(self) -> Watch:
        """Returns what looks after the caller while the gateway answers."""
        return Watch(self.exchange, self._break_silence)

    async def send(self, event: LlmEvent) -> None:
        """Sends the next event; returns when the caller has room for more."""
        if data := self._writer.event(event):
            await self._write(data)
        if event.HasField("completed"):
            self._response = event.completed.response

    async def finish(self) -> None:
        """Ends the stream; raises `LlmError` when no event told of the end."""
        if self._response is None:
            raise _unfinished()
        await self.exchange.close()

    async def fail(self, error: LlmError) -> None:
        """Answers a call that failed, or ends its stream with an `error` event; nothing follows `completed`."""
        if not self.exchange.started:
            await super().fail(error)
            return
        if self._response is None:
            await self._write(self._writer.failed(error))
        await self.exchange.close()

    async def _write(self, data: bytes) -> None:
        # The lock keeps a comment from coming between the head and the first event.
        async with self._writing:
            if not self.exchange.started:
                await self.exchange.open(200, [*_EVENT_STREAM, *self._headers()])
            await self.exchange.write(data)
            self._wrote_at = self._now()

    async def _break_silence(self) -> float:
        """Sends a comment when nothing was sent for long; returns after how many seconds to look again."""
        left_s = self._wrote_at + self._comment_s - self._now()
        if left_s > 0:
            return left_s
        await self._write(b": keep-alive\n\n")
        return self._comment_s


def _ascii(text: str) -> bytes:
    """Makes a name fit for a header."""
    return text.encode("ascii", "backslashreplace")


def _unfinished() -> LlmError:
    return LlmError(PROVIDER_BAD_RESPONSE, "The answer ended before it was complete.")
