"""Other people's services behind our gatekeeper: reflection and channelz."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import grpc

from loom_grpc.core.errors import LlmError
from loom_grpc.core.ports import Gatekeeper
from loom_grpc.core.status import message_of
from loom_grpc.server.rpc import Context, Entrance, opening_of, request_id_of
from loom_grpc.server.status import code_of, details_of

_Handler = Any


class Guard:
    """A server to register services at; each of their calls has to be admitted, and their streams end when the server drains."""

    def __init__(self, server: grpc.aio.Server, gatekeeper: Gatekeeper, entrance: Entrance) -> None:
        self._server = server
        self._gatekeeper = gatekeeper
        self._entrance = entrance

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Registers services."""
        self._server.add_generic_rpc_handlers(
            [_Guarded(handler, self._gatekeeper, self._entrance) for handler in handlers]
        )

    def add_registered_method_handlers(self, name: str, handlers: Mapping[str, _Handler]) -> None:
        """Takes the same services a second time, in a form that the server of grpc.aio has no use for."""


class _Guarded(grpc.GenericRpcHandler):
    def __init__(self, inner: grpc.GenericRpcHandler, gatekeeper: Gatekeeper, entrance: Entrance) -> None:
        self._inner = inner
        self._gatekeeper = gatekeeper
        self._entrance = entrance

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> _Handler | None:
        """Returns who answers a call, if it is one of the services'."""
        handler: Any = self._inner.service(handler_call_details)
        if handler is None:
            return None
        codecs = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        method = handler_call_details.method
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(self._streaming(method, handler.stream_stream), **codecs)
        return grpc.unary_unary_rpc_method_handler(self._unary(method, handler.unary_unary), **codecs)

    def _streaming(self, method: str, answer: Callable[..., AsyncIterator[Any]]) -> Any:
        async def guarded(requests: AsyncIterator[Any], context: Context) -> None:
            await self._admit(method, context)
            try:
                # Tools such as grpcui keep one open for as long as they run.
                async with self._entrance.until_drained():
                    async for response in answer(requests, context):
                        await context.write(response)
            except LlmError as error:
                await _abort(context, error)

        return guarded

    def _unary(self, method: str, answer: Callable[..., Any]) -> Any:
        async def guarded(request: Any, context: Context) -> Any:
            await self._admit(method, context)
            return await answer(request, context)

        return guarded

    async def _admit(self, method: str, context: Context) -> None:
        try:
            await self._gatekeeper.admit(method, opening_of(context)[1])
        except LlmError as error:
            await _abort(context, error)


async def _abort(context: Context, error: LlmError) -> None:
    metadata, _ = opening_of(context)
    await context.abort(code_of(error), message_of(error), (details_of(error, request_id_of(metadata)),))
