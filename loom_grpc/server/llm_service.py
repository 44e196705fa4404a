"""The gRPC edge of LlmService: bytes in, one call through the gateway, events or a status out."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable
from time import perf_counter, time
from typing import Any, Final

import grpc

from loom_grpc.app.page import numbered_page_of
from loom_grpc.core.call import Call
from loom_grpc.core.errors import LlmError
from loom_grpc.core.events import error_event
from loom_grpc.core.ports import Gateway, whole_answer
from loom_grpc.core.principal import Principal
from loom_grpc.core.trailing import limits_of, trailing_of
from loom_grpc.server.rpc import Context, Entrance, Trailing, opening_of, request_id_of
from loom_grpc.telemetry import Telemetry
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
    LlmResponse,
)

NAME: Final[str] = DESCRIPTOR.services_by_name["LlmService"].full_name


class LlmEdge:
    """Serves LlmService. Requests are parsed here and not by gRPC, so that what cannot be parsed gets a clear error."""

    def __init__(self, gateway: Gateway, telemetry: Telemetry, entrance: Entrance) -> None:
        self._gateway = gateway
        self._telemetry = telemetry
        self._entrance = entrance

    def handlers(self) -> grpc.GenericRpcHandler:
        """Returns the service as gRPC registers it."""
        unary, streaming = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Complete": unary(self.complete, response_serializer=LlmResponse.SerializeToString),
            "Stream": streaming(self.stream, response_serializer=LlmEvent.SerializeToString),
            "ListModels": unary(self.list_models, response_serializer=ListModelsResponse.SerializeToString),
            "CountTokens": unary(self.count_tokens, response_serializer=CountTokensResponse.SerializeToString),
            "Embed": unary(self.embed, response_serializer=EmbedResponse.SerializeToString),
        }
        return grpc.method_handlers_generic_handler(NAME, methods)

    async def complete(self, data: bytes, context: Context) -> LlmResponse:
        """Answers with the whole answer."""
        rpc = self._rpc("Complete", context, OPERATION_COMPLETE)

        async def work() -> LlmResponse:
            rpc.call.request = self._entrance.parse(LlmRequest(), data)
            return await whole_answer(self._gateway, rpc.call)

        return await self._entrance.run(context, rpc, work)

    async def stream(self, data: bytes, context: Context) -> None:
        """Answers event by event."""
        rpc = self._rpc("Stream", context, OPERATION_STREAM)

        async def work() -> None:
            rpc.call.request = self._entrance.parse(LlmRequest(), data)
            await self._gateway.answer(rpc.call, _Opening(context, rpc).send)

        await self._entrance.run(context, rpc, work)

    async def list_models(self, data: bytes, context: Context) -> ListModelsResponse:
        """Answers with a page of models."""
        rpc = self._rpc("ListModels", context)

        async def work() -> ListModelsResponse:
            request = self._entrance.parse(ListModelsRequest(), data)
            models = await self._gateway.list_models(rpc.call, request.provider)
            page, more = numbered_page_of(request, models)
            return ListModelsResponse(models=page, next_page_token=more)

        return await self._entrance.run(context, rpc, work)

    async def count_tokens(self, data: bytes, context: Context) -> CountTokensResponse:
        """Answers with the number of prompt tokens."""
        rpc = self._rpc("CountTokens", context, OPERATION_COUNT_TOKENS)

        async def work() -> CountTokensResponse:
            rpc.call.request = self._entrance.parse(LlmRequest(), data)
            return await self._gateway.count_tokens(rpc.call)

        return await self._entrance.run(context, rpc, work)

    async def embed(self, data: bytes, context: Context) -> EmbedResponse:
        """Answers with a vector for every input."""
        rpc = self._rpc("Embed", context, OPERATION_EMBED)

        async def work() -> EmbedResponse:
            rpc.call.begin_embed(self._entrance.parse(EmbedRequest(), data))
            return await self._gateway.embed(rpc.call)

        return await self._entrance.run(context, rpc, work)

    def _rpc(self, method: str, context: Context, operation: Operation.ValueType = OPERATION_UNSPECIFIED) -> _LlmRpc:
        return _LlmRpc(method, context, self._gateway, self._telemetry, operation)


class _LlmRpc:
    """A call of LlmService."""

    __slots__ = ("_began", "_gateway", "_telemetry", "call", "method", "request_id", "shown")

    def __init__(
        self,
        method: str,
        context: Context,
        gateway: Gateway,
        telemetry: Telemetry,
        operation: Operation.ValueType,
    ) -> None:
        self._began = perf_counter()
        self._gateway = gateway
        self._telemetry = telemetry
        self.method = f"/{NAME}/{method}"
        metadata, self.shown = opening_of(context)
        remaining: float | None = context.time_remaining()
        deadline = math.inf if remaining is None else asyncio.get_running_loop().time() + remaining
        self.request_id = request_id_of(metadata)
        is_stream = operation == OPERATION_STREAM
        self.call = Call(LlmRequest(), is_stream, self.request_id, deadline, metadata, api="grpc", operation=operation)

    def admitted(self, principal: Principal, address: str) -> None:
        """Takes who calls, and from where."""
        call = self.call
        call.principal, call.address, call.tenant = principal, address, principal.tenant
        call.began_s, call.began = time(), self._began

    def finished(self, error: LlmError | None = None, *, cancelled: bool = False) -> Trailing:
        """Records the end of the call and returns its trailing metadata."""
        call, duration = self.call, perf_counter() - self._began
        self._gateway.conclude(call, error, cancelled=cancelled)
        self._telemetry.finished(call, error, duration, "grpc", cancelled=cancelled)
        return trailing_of(call, duration, error)

    def limits(self) -> Trailing:
        """Returns the metadata that tells how the caller's limits stand."""
        return limits_of(self.call, perf_counter() - self._began)

    def crashed(self, error: BaseException) -> None:
        """Writes down an exception that nobody expected."""
        self._telemetry.crashed(self.call, error)

    def last_event(self, error: LlmError) -> LlmEvent | None:
        """Returns the event that a stream ends with."""
        return error_event(error) if self.call.stream else None


class _Opening:
    """Sends the events of a stream, and before the first of them how the caller's limits stand."""

    __slots__ = ("_context", "_is_open", "_rpc")

    def __init__(self, context: Context, rpc: _LlmRpc) -> None:
        self._context = context
        self._rpc = rpc
        self._is_open = False

    def send(self, event: LlmEvent) -> Awaitable[None]:
        """Sends an event; returns when the caller has room for more."""
        return self._context.write(event) if self._is_open else self._open(event)

    async def _open(self, event: LlmEvent) -> None:
        self._is_open = True
        if limits := self._rpc.limits():
            await self._context.send_initial_metadata(limits)
        await self._context.write(event)
