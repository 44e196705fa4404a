"""Endpoints that speak a front end's dialect: a JSON request in, a JSON answer or a stream out."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from time import perf_counter, time
from typing import Final
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope, Send

from loom_grpc.core.call import Call
from loom_grpc.core.errors import PROVIDER_BAD_RESPONSE, LlmError
from loom_grpc.core.native import Native
from loom_grpc.core.notice import notices
from loom_grpc.core.quota import Standing
from loom_grpc.frontends.body import HttpError
from loom_grpc.frontends.frontend import Api, Asked, CountingFrontend, EmbeddingFrontend, Frontend, Writer
from loom_grpc.shim.edge import Edge, Site
from loom_grpc.shim.exchange import Exchange, Header, when_again
from loom_grpc.shim.watch import Watch
from loom_grpc.v1.audit_pb2 import (
    OPERATION_COMPLETE,
    OPERATION_COUNT_TOKENS,
    OPERATION_EMBED,
    OPERATION_STREAM,
    Operation,
)
from loom_grpc.v1.llm_service_pb2 import LlmEvent, LlmRequest, LlmResponse

_NO_PROXIES: Final[tuple[Header, ...]] = (
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # or nginx would hold events back
)
_FEW_VECTORS: Final = 16
"""So many are written at once; more take their time, in which other calls go on."""
_LONG_NAME: Final = 80
_MANY_NAMES: Final = 20


class Entrance(ABC):
    """Takes requests of an API, as an ASGI application, and tells callers in the API's words whatever goes wrong."""

    operation: Operation.ValueType
    """What its calls ask for."""

    def __init__(self, site: Site, method: str, api: Api) -> None:
        self._gateway = site.gateway
        self._edge = Edge(site, method)
        self._method = method
        self._api = api
        self._max_body_bytes = site.config.http.max_body_bytes
        self._comment_s = site.config.http.keepalive_comment_s

    @abstractmethod
    async def answer(self, answer: Answering, body: bytes, path: dict[str, str]) -> None:
        """Answers a request; `path` has the pieces of the address, its query included."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        exchange = Exchange(scope, receive, send)
        answer = Answering(exchange, self._api, self._comment_s)
        answer.call.api, answer.call.operation = self._method, self.operation
        path = scope["path_params"]
        if query := scope["query_string"]:
            path = {**dict(parse_qsl(query.decode("latin-1"))), **path}

        async def work() -> None:
            answer.call.deadline = answer.began_at + exchange.timeout_s()
            await self.answer(answer, await exchange.json_body(self._max_body_bytes), path)

        await self._edge.attend(answer.call, exchange, work, refuse=answer.refuse, fail=answer.fail)


class Endpoint(Entrance):
    """Answers conversations in one front end's dialect."""

    operation = OPERATION_COMPLETE

    def __init__(
        self,
        site: Site,
        method: str,
        frontend: Frontend,
    ) -> None:
        super().__init__(site, method, frontend)
        self._frontend = frontend
        self._drops = site.config.compat.untold == "drop"

    async def answer(self, answer: Answering, body: bytes, path: dict[str, str]) -> None:
        """Answers a request whole or as a stream."""
        self.begin(answer, body, path)
        async with answer.watch():
            await self._gateway.answer(answer.call, answer.send)
        await answer.finish()

    def begin(self, answer: Answering, body: bytes, path: dict[str, str]) -> None:
        """Reads what is asked for."""
        asked = self._frontend.read(body, path, answer.exchange.headers())
        answer.begin(asked, self._frontend, drops=self._drops)


class CountingEndpoint(Endpoint):
    """Tells how many prompt tokens a conversation has, in one front end's dialect."""

    operation = OPERATION_COUNT_TOKENS

    def __init__(
        self,
        site: Site,
        method: str,
        frontend: CountingFrontend,
    ) -> None:
        super().__init__(site, method, frontend)
        self._counting = frontend

    async def answer(self, answer: Answering, body: bytes, path: dict[str, str]) -> None:
        """Answers a request with the number."""
        self.begin(answer, body, path)
        async with answer.watch():
            await answer.reply(self._counting.count(await self._gateway.count_tokens(answer.call)))


class EmbeddingEndpoint(Entrance):
    """Turns texts into vectors in one front end's dialect."""

    operation = OPERATION_EMBED

    def __init__(
        self,
        site: Site,
        method: str,
        frontend: EmbeddingFrontend,
    ) -> None:
        super().__init__(site, method, frontend)
        self._frontend = frontend

    async def answer(self, answer: Answering, body: bytes, path: dict[str, str]) -> None:
        """Answers a request with its vectors."""
        asked = self._frontend.read(body, path, answer.exchange.headers())
        answer.call.begin_embed(asked.request)
        async with answer.watch():
            response = await self._gateway.embed(answer.call)
            if len(response.embeddings) <= _FEW_VECTORS:
                body = self._frontend.write(asked, response)
            else:
                body = await asyncio.to_thread(self._frontend.write, asked, response)
            await answer.reply(body)


class Answering:
    """One call and its answer, whole or as a stream.

    The head of a stream leaves with the first event, so that a call that fails before gets a status of its own; but a caller that has
    heard nothing for long gets the head and something without meaning.
    """

    def __init__(self, exchange: Exchange, api: Api, comment_s: float) -> None:
        self.exchange = exchange
        self.call = Call(LlmRequest(), False, exchange.request_id, metadata=exchange.metadata())
        self.began_at = asyncio.get_running_loop().time()
        self._began = perf_counter()  # the loop's clock goes in steps of a millisecond
        self._api = api
        self._writer: Writer | None = None
        self._response: LlmResponse | None = None
        self._native_json = b""
        self._comment_s = comment_s
        self._wrote_at = self.began_at
        self._writing = asyncio.Lock()
        self._now = asyncio.get_running_loop().time

    @property
    def writer(self) -> Writer | None:
        """What writes the answer; None until the request is read."""
        return self._writer

    def lasted_s(self) -> float:
        """Returns how long the call has taken."""
        return perf_counter() - self._began

    def begin(self, asked: Asked, frontend: Frontend, *, drops: bool) -> None:
        """Takes what the caller asks for."""
        call = self.call
        call.request, call.stream, call.native = asked.request, asked.stream, asked.native
        if asked.stream:
            call.operation = OPERATION_STREAM
        if asked.restarts:
            call.metadata = {**call.metadata, "loom-events": "restarted"}
        if drops and asked.native is not None:
            native = asked.native
            call.native = Native(native.dialect, native.body, native.headers, native.untold, drops=True)
        self._writer = frontend.writer(asked, call)

    def watch(self) -> Watch:
        """Returns what looks after the caller while the gateway answers."""
        return Watch(self.exchange, self._break_silence) if self.call.stream else Watch(self.exchange)

    async def send(self, event: LlmEvent) -> None:
        """Takes the next event; of a stream it is sent, and this returns when the caller has room for more."""
        if event.native_json:
            self._native_json = event.native_json
        if self.call.stream and self._writer is not None and (data := self._writer.event(event)):
            await self._write(data)
        if event.HasField("completed"):
            self._response = event.completed.response

    async def finish(self) -> None:
        """Ends the answer; raises `LlmError` when no event told of the end."""
        if self._response is None or self._writer is None:
            raise LlmError(PROVIDER_BAD_RESPONSE, "The answer ended before it was complete.")
        if self.call.stream:
            await self.exchange.close()
        else:
            await self.reply(self._writer.whole(self._response, self._native_json))

    async def reply(self, body: bytes) -> None:
        """Answers with a whole body."""
        overhead_ms = (self.lasted_s() - self.call.upstream_s) * 1000
        await self.exchange.reply(200, [*self._headers(), (b"loom-overhead-ms", b"%.3f" % overhead_ms)], body)

    async def refuse(self, error: HttpError) -> None:
        """Answers a request that is no call."""
        status, body = self._api.refusal(error, self.call.request_id)
        await self.exchange.reply(status, self._headers(), body)

    async def fail(self, error: LlmError) -> None:
        """Answers a call that failed, or ends its stream; nothing follows `completed`."""
        if self.exchange.started and self._writer is not None:
            if self._response is None:
                await self._write(self._writer.failed(error))
            await self.exchange.close()
            return
        status, body = self._api.failure(error, self.call.request_id)
        await self.exchange.reply(status, [*self._headers(error), *when_again(error)], body)

    async def _write(self, data: bytes) -> None:
        # The lock keeps a sign of life from coming between the head and the first event.
        async with self._writing:
            if not self.exchange.started:
                media_type = self._writer.media_type if self._writer is not None else "text/event-stream"
                head = [(b"content-type", media_type.encode()), *_NO_PROXIES, *self._headers()]
                await self.exchange.open(200, head)
            await self.exchange.write(data)
            self._wrote_at = self._now()

    async def _break_silence(self) -> float:
        """Sends something without meaning when nothing was sent for long; returns after how many seconds to look again."""
        left_s = self._wrote_at + self._comment_s - self._now()
        if left_s > 0 or self._writer is None:
            return max(left_s, 0.001)
        await self._write(self._writer.keep_alive())
        return self._comment_s

    def _headers(self, error: LlmError | None = None) -> list[Header]:
        call = self.call
        refused = error.standing if error is not None else None
        told = {**call.told, **self._limits(refused)} if call.standings or refused is not None else call.told
        headers = self.exchange.ids()
        headers += [(name.encode(), _ascii(value)) for name, value in self._api.headers(call.request_id).items()]
        headers += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in told.items()]
        if call.provider:
            headers.append((b"loom-provider", _ascii(call.provider)))
            headers.append((b"loom-model", _ascii(call.model)))
            headers.append((b"loom-attempts", b"%d" % call.attempt))
        if call.cache:
            headers.append((b"loom-cache", call.cache.encode()))
        if call.dropped:
            headers.append((b"loom-dropped", _listed(call.dropped)))
        return headers

    def _limits(self, refused: Standing | None) -> Mapping[str, str]:
        """Returns the headers that tell how the caller's limits stand with us, which go before those of the provider."""
        call = self.call
        return self._api.limits(notices(call.standings, refused, perf_counter() - call.began), time())


def _listed(fields: Sequence[str]) -> bytes:
    """Makes a header of fields that callers name as they like: of so many and so long ones that clients take it."""
    text = ", ".join(field[:_LONG_NAME] for field in fields[:_MANY_NAMES])
    return _ascii("".join(letter if letter.isprintable() else "?" for letter in text))


def _ascii(text: str) -> bytes:
    """Makes a name fit for a header."""
    return text.encode("ascii", "backslashreplace")
