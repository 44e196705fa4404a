"""LlmService for browsers: Connect and gRPC-Web, under the same paths and with the same meaning as over gRPC."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any, Final, NamedTuple

from google.protobuf.message import Message
from google.rpc import code_pb2
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from loom_grpc.app.page import numbered_page_of
from loom_grpc.core.call import Call
from loom_grpc.core.errors import INVALID_REQUEST, PROVIDER_TIMEOUT, LlmError
from loom_grpc.core.events import error_event
from loom_grpc.core.ports import Gateway, whole_answer
from loom_grpc.core.status import status_of
from loom_grpc.core.trailing import limits_of, trailing_of
from loom_grpc.frontends.body import HttpError
from loom_grpc.shim.edge import Edge, Site
from loom_grpc.shim.envelope import PLAIN, STREAMS, UNARY, End, Framed, Wire
from loom_grpc.shim.exchange import Exchange, Header, when_again
from loom_grpc.shim.watch import Watch
from loom_grpc.v1.audit_pb2 import (
    OPERATION_COMPLETE,
    OPERATION_COUNT_TOKENS,
    OPERATION_EMBED,
    OPERATION_STREAM,
    OPERATION_UNSPECIFIED,
    Operation,
)
from loom_grpc.v1.llm_service_pb2 import (
    DESCRIPTOR,
    CountTokensResponse,
    EmbedRequest,
    EmbedResponse,
    ListModelsRequest,
    ListModelsResponse,
    LlmEvent,
    LlmRequest,
)

_SERVICE: Final[str] = DESCRIPTOR.services_by_name["LlmService"].full_name
_EVENTS: Final = b"loom-events"
_LIVE: Final[tuple[Header, ...]] = (
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # or nginx would hold events back
)


class Answer:
    """The answer to one call, in its caller's protocol."""

    def __init__(self, exchange: Exchange, call: Call, wire: Wire) -> None:
        self._exchange = exchange
        self._wire = wire
        self._began = perf_counter()
        self._is_complete = False
        self.call = call

    async def send(self, event: LlmEvent) -> None:
        """Sends the next event of a stream; returns when the caller has room for more."""
        assert isinstance(self._wire, Framed)  # noqa: S101 # the table of streams has no other
        if not self._exchange.started:
            limits = [(name.encode(), text.encode()) for name, text in limits_of(self.call, self._lasted_s())]
            head = [(b"content-type", self._wire.media_type.encode()), *_LIVE, *self._exchange.ids(), *limits]
            await self._exchange.open(200, head)
        await self._exchange.write(self._wire.frame(event))
        self._is_complete = event.HasField("completed")

    async def close(self) -> None:
        """Ends a stream that went well."""
        await self._end(End(self._trailing()))

    async def reply(self, message: Message) -> None:
        """Sends the one answer of a call that is no stream."""
        await self._whole(End(self._trailing()), message)

    async def refuse(self, error: HttpError) -> None:
        """Answers a request that is no call. What is compressed or of another type may be right elsewhere, so the code is another."""
        failure = LlmError(INVALID_REQUEST, error.message)
        status = status_of(failure, self.call.request_id)
        if error.status == 415:
            status.code = code_pb2.UNIMPLEMENTED
        await self._fail(failure, End(self._trailing(failure), status, error.status))

    async def fail(self, error: LlmError) -> None:
        """Tells why the call failed; nothing but the end follows `completed`."""
        if self._is_complete:
            await self.close()
        else:
            await self._fail(error, End(self._trailing(error), status_of(error, self.call.request_id)))

    async def _fail(self, error: LlmError, end: End) -> None:
        event = error_event(error) if self.call.stream else None
        if not self._exchange.started:
            await self._whole(end, event, when_again(error))
        elif event is not None:
            await self.send(event)
            await self._end(end)

    async def _whole(self, end: End, message: Message | None, headers: Sequence[Header] = ()) -> None:
        status, media_type, more, body = self._wire.whole(end, message)
        await self._exchange.reply(status, [*self._exchange.ids(), *headers, *more], body, media_type.encode())

    async def _end(self, end: End) -> None:
        assert isinstance(self._wire, Framed)  # noqa: S101 # as in `send`
        await self._exchange.write(self._wire.end(end))
        await self._exchange.close()

    def _trailing(self, error: LlmError | None = None) -> tuple[tuple[str, str], ...]:
        return trailing_of(self.call, self._lasted_s(), error)

    def _lasted_s(self) -> float:
        return perf_counter() - self._began


@asynccontextmanager
async def _in_time(call: Call, message: str) -> AsyncIterator[None]:
    """Ends what runs in it at the caller's deadline, with this error message."""
    try:
        async with asyncio.timeout_at(call.deadline if call.deadline < math.inf else None):
            yield
    except TimeoutError:
        raise LlmError(PROVIDER_TIMEOUT, message) from None


class _Method(NamedTuple):
    """What is called."""

    name: str
    request: Callable[[], Any]
    answer: Callable[[Gateway, Answer, Any], Awaitable[None]]
    """Has a request answered."""
    operation: Operation.ValueType = OPERATION_UNSPECIFIED
    wires: Mapping[str, Wire] = UNARY


async def _complete(gateway: Gateway, answer: Answer, request: LlmRequest) -> None:
    answer.call.request = request
    await answer.reply(await whole_answer(gateway, answer.call))


async def _stream(gateway: Gateway, answer: Answer, request: LlmRequest) -> None:
    answer.call.request = request
    await gateway.answer(answer.call, answer.send)
    await answer.close()


async def _list_models(gateway: Gateway, answer: Answer, request: ListModelsRequest) -> None:
    async with _in_time(answer.call, "The models were not listed before the caller's deadline."):
        models = await gateway.list_models(answer.call, request.provider)
    page, more = numbered_page_of(request, models)
    await answer.reply(ListModelsResponse(models=page, next_page_token=more))


async def _count_tokens(gateway: Gateway, answer: Answer, request: LlmRequest) -> None:
    answer.call.request = request
    counted: CountTokensResponse = await gateway.count_tokens(answer.call)
    await answer.reply(counted)


async def _embed(gateway: Gateway, answer: Answer, request: EmbedRequest) -> None:
    answer.call.begin_embed(request)
    embedded: EmbedResponse = await gateway.embed(answer.call)
    await answer.reply(embedded)


_METHODS: Final = (
    _Method("Complete", LlmRequest, _complete, OPERATION_COMPLETE),
    _Method("Stream", LlmRequest, _stream, OPERATION_STREAM, STREAMS),
    _Method("ListModels", ListModelsRequest, _list_models),
    _Method("CountTokens", LlmRequest, _count_tokens, OPERATION_COUNT_TOKENS),
    _Method("Embed", EmbedRequest, _embed, OPERATION_EMBED),
)


def routes(site: Site) -> list[Route]:
    """Returns a route for each method of LlmService."""
    return [
        Route(endpoint.path, endpoint, methods=["POST"]) for endpoint in (_Endpoint(site, each) for each in _METHODS)
    ]


class _Endpoint:
    """Answers the calls of one method, as an ASGI application."""

    def __init__(self, site: Site, method: _Method) -> None:
        self.path = f"/{_SERVICE}/{method.name}"
        self._gateway = site.gateway
        self._edge = Edge(site, self.path)
        self._max_body_bytes = site.config.http.max_body_bytes
        self._method = method

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        exchange = Exchange(scope, receive, send)
        media_type = exchange.header(b"content-type").partition(";")[0].strip().lower()
        wire = self._method.wires.get(media_type)
        answer = Answer(exchange, self._call(exchange), wire or PLAIN)

        async def work() -> None:
            if wire is None:
                raise HttpError(415, f"content-type: must be one of {', '.join(self._method.wires)}.")
            await self._answer(exchange, answer, wire)

        await self._edge.attend(answer.call, exchange, work, refuse=answer.refuse, fail=answer.fail)

    async def _answer(self, exchange: Exchange, answer: Answer, wire: Wire) -> None:
        if given := exchange.header(wire.timeout_header.encode()):
            answer.call.deadline = asyncio.get_running_loop().time() + wire.timeout_s(given)
        async with _in_time(answer.call, "The request had not arrived whole by the caller's deadline."):
            body = await exchange.body(self._max_body_bytes, is_decoded=wire.encoding_header == "content-encoding")
        encoding = exchange.header(wire.encoding_header.encode()).lower()
        request = wire.read(self._method.request(), body, encoding, self._max_body_bytes)
        async with Watch(exchange):
            await self._method.answer(self._gateway, answer, request)

    def _call(self, exchange: Exchange) -> Call:
        metadata = exchange.metadata()
        if events := exchange.header(_EVENTS):
            metadata["loom-events"] = events
        is_stream = self._method.operation == OPERATION_STREAM
        return Call(
            LlmRequest(),
            is_stream,
            exchange.request_id,
            metadata=metadata,
            api=self.path,
            operation=self._method.operation,
        )
