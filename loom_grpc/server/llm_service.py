"""The gRPC edge of LlmService: bytes in, one call through the gateway, events or a status out."""

from __future__ import annotations

import asyncio
import math
import re
import secrets
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from loom_grpc.core.call import Call
from loom_grpc.core.errors import DRAINING, INTERNAL, INVALID_REQUEST, LlmError
from loom_grpc.core.events import error_event
from loom_grpc.core.ports import Gateway
from loom_grpc.server.status import code_of, details_of, message_of
from loom_grpc.server.wire import misfit
from loom_grpc.telemetry import Telemetry
from loom_grpc.v1.llm_service_pb2 import (
    DESCRIPTOR,
    CountTokensResponse,
    ListModelsRequest,
    ListModelsResponse,
    LlmEvent,
    LlmRequest,
    LlmResponse,
)

NAME: Final[str] = DESCRIPTOR.services_by_name["LlmService"].full_name
_REQUEST_ID: Final = re.compile(r"[!-~]{1,128}")
_MAX_PAGE: Final = 1000

Context = grpc.aio.ServicerContext[Any, Any]
M = TypeVar("M", bound=Message)
R = TypeVar("R")


class LlmEdge:
    """Serves LlmService. Requests are parsed here and not by gRPC, so that what cannot be parsed gets a clear error."""

    def __init__(self, gateway: Gateway, telemetry: Telemetry, max_message_bytes: int) -> None:
        self._gateway = gateway
        self._telemetry = telemetry
        self._max_message_bytes = max_message_bytes
        self._draining = False

    def drain(self) -> None:
        """Refuses new calls from now on; those in flight go on."""
        self._draining = True

    def handlers(self) -> grpc.GenericRpcHandler:
        """Returns the service as gRPC registers it."""
        unary, streaming = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Complete": unary(self.complete, response_serializer=LlmResponse.SerializeToString),
            "Stream": streaming(self.stream, response_serializer=LlmEvent.SerializeToString),
            "ListModels": unary(self.list_models, response_serializer=ListModelsResponse.SerializeToString),
            "CountTokens": unary(self.count_tokens, response_serializer=CountTokensResponse.SerializeToString),
        }
        return grpc.method_handlers_generic_handler(NAME, methods)

    async def complete(self, data: bytes, context: Context) -> LlmResponse:
        """Answers with the whole answer."""

        async def work(call: Call) -> LlmResponse:
            call.request = self._parse(LlmRequest(), data)
            answer: list[LlmResponse] = []

            async def keep(event: LlmEvent) -> None:
                if event.HasField("completed"):
                    answer.append(event.completed.response)

            await self._gateway.answer(call, keep)
            return answer[0]

        return await self._run(context, work)

    async def stream(self, data: bytes, context: Context) -> None:
        """Answers event by event."""

        async def work(call: Call) -> None:
            call.request = self._parse(LlmRequest(), data)
            await self._gateway.answer(call, context.write)

        await self._run(context, work, stream=True)

    async def list_models(self, data: bytes, context: Context) -> ListModelsResponse:
        """Answers with a page of models."""

        async def work(_call: Call) -> ListModelsResponse:
            request = self._parse(ListModelsRequest(), data)
            start, size = _page(request)
            models = await self._gateway.list_models(request.provider)
            more = str(start + size) if start + size < len(models) else ""
            return ListModelsResponse(models=models[start : start + size], next_page_token=more)

        return await self._run(context, work)

    async def count_tokens(self, data: bytes, context: Context) -> CountTokensResponse:
        """Answers with the number of prompt tokens."""

        async def work(call: Call) -> CountTokensResponse:
            call.request = self._parse(LlmRequest(), data)
            return await self._gateway.count_tokens(call)

        return await self._run(context, work)

    async def _run(self, context: Context, work: Callable[[Call], Awaitable[R]], *, stream: bool = False) -> R:
        """Runs one call from its metadata to its trailing metadata; a failure becomes a status."""
        began = perf_counter()
        call = _call(context, stream)
        try:
            if self._draining:
                raise _draining()
            answer = await work(call)
        except asyncio.CancelledError:
            self._finish(call, began, cancelled=True)
            raise
        except LlmError as error:
            await self._fail(context, call, began, error)
        except Exception as error:  # noqa: BLE001 - the edge: whatever goes wrong, the caller gets a status and the log the cause
            self._telemetry.crashed(call, error)
            await self._fail(context, call, began, _crashed())
        else:
            context.set_trailing_metadata(self._finish(call, began))
            return answer
        raise AssertionError("aborting a call does not return")

    async def _fail(self, context: Context, call: Call, began: float, error: LlmError) -> None:
        """Ends the call with the error's status; a stream gets the error as its last event before that."""
        trailing = self._finish(call, began, error)
        if call.stream:
            await context.write(error_event(error))
        details = details_of(error, call.request_id)
        await context.abort(code_of(error), message_of(error), (*trailing, details))

    def _finish(
        self, call: Call, began: float, error: LlmError | None = None, *, cancelled: bool = False
    ) -> tuple[tuple[str, str], ...]:
        """Records the end of a call and returns its trailing metadata."""
        duration = perf_counter() - began
        self._telemetry.finished(call, error, duration, "grpc", cancelled=cancelled)
        return (
            ("loom-request-id", call.request_id),
            ("loom-provider", call.provider),
            ("loom-model", _ascii(call.model)),
            ("loom-attempts", str(call.attempt)),
            ("loom-overhead-ms", f"{(duration - call.upstream_s) * 1000:.3f}"),
        )

    def _parse(self, message: M, data: bytes) -> M:
        if len(data) > self._max_message_bytes:
            text = f"The request has {len(data)} bytes; this server takes {self._max_message_bytes} (grpc.max_message_bytes)."
            raise LlmError(INVALID_REQUEST, text)
        try:
            message.ParseFromString(data)
        except DecodeError:
            raise LlmError(INVALID_REQUEST, misfit(message.DESCRIPTOR, data)) from None
        return message


def _call(context: Context, stream: bool) -> Call:
    metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
    remaining: float | None = context.time_remaining()
    given = metadata.get("x-request-id", "")
    return Call(
        LlmRequest(),
        stream,
        given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16),
        math.inf if remaining is None else asyncio.get_running_loop().time() + remaining,
        metadata,
    )


def _page(request: ListModelsRequest) -> tuple[int, int]:
    """Returns where the page starts and how long it may be."""
    if not 0 <= request.page_size <= _MAX_PAGE:
        raise LlmError(INVALID_REQUEST, f"page_size: must be from 0 to {_MAX_PAGE}.", field="page_size")
    token = request.page_token
    if token and not (token.isascii() and token.isdigit() and len(token) < 10):
        raise LlmError(INVALID_REQUEST, "page_token: is not a next_page_token of this server.", field="page_token")
    return int(token or 0), request.page_size or _MAX_PAGE


def _ascii(text: str) -> str:
    """Makes a name fit for metadata, which takes printable ASCII alone."""
    return text if text.isascii() and text.isprintable() else text.encode("ascii", "backslashreplace").decode()


def _draining() -> LlmError:
    return LlmError(DRAINING, "The server is shutting down; call again, another one will answer.", retry_after=1)


def _crashed() -> LlmError:
    return LlmError(INTERNAL, "The server failed; its log has the details under the request id.")
