"""The gRPC edge of LlmService: bytes in, one call through the gateway, events or a status out."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from time import perf_counter
from typing import Any, Final

import grpc

from loom_grpc.core.cache import HEADER as CACHE_HEADER
from loom_grpc.core.call import Call
from loom_grpc.core.errors import LlmError
from loom_grpc.core.events import error_event
from loom_grpc.core.fingerprint import CREDENTIALS, tenant_of
from loom_grpc.core.ports import Gateway
from loom_grpc.server.rpc import Context, Entrance, Trailing, metadata_of, page_of, request_id_of
from loom_grpc.telemetry import Telemetry
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
        rpc = _LlmRpc(context, self._telemetry)

        async def work() -> LlmResponse:
            rpc.call.request = self._entrance.parse(LlmRequest(), data)
            answer: list[LlmResponse] = []

            async def keep(event: LlmEvent) -> None:
                if event.HasField("completed"):
                    answer.append(event.completed.response)

            await self._gateway.answer(rpc.call, keep)
            return answer[0]

        return await self._entrance.run(context, rpc, work)

    async def stream(self, data: bytes, context: Context) -> None:
        """Answers event by event."""
        rpc = _LlmRpc(context, self._telemetry, stream=True)

        async def work() -> None:
            rpc.call.request = self._entrance.parse(LlmRequest(), data)
            await self._gateway.answer(rpc.call, context.write)

        await self._entrance.run(context, rpc, work)

    async def list_models(self, data: bytes, context: Context) -> ListModelsResponse:
        """Answers with a page of models."""

        async def work() -> ListModelsResponse:
            request = self._entrance.parse(ListModelsRequest(), data)
            models, more = page_of(request, await self._gateway.list_models(request.provider))
            return ListModelsResponse(models=models, next_page_token=more)

        return await self._entrance.run(context, _LlmRpc(context, self._telemetry), work)

    async def count_tokens(self, data: bytes, context: Context) -> CountTokensResponse:
        """Answers with the number of prompt tokens."""
        rpc = _LlmRpc(context, self._telemetry)

        async def work() -> CountTokensResponse:
            rpc.call.request = self._entrance.parse(LlmRequest(), data)
            return await self._gateway.count_tokens(rpc.call)

        return await self._entrance.run(context, rpc, work)

    async def embed(self, data: bytes, context: Context) -> EmbedResponse:
        """Answers with a vector for every input."""
        rpc = _LlmRpc(context, self._telemetry)

        async def work() -> EmbedResponse:
            rpc.call.begin_embed(self._entrance.parse(EmbedRequest(), data))
            return await self._gateway.embed(rpc.call)

        return await self._entrance.run(context, rpc, work)


class _LlmRpc:
    """A call of LlmService."""

    __slots__ = ("_began", "_telemetry", "call", "request_id")

    def __init__(self, context: Context, telemetry: Telemetry, *, stream: bool = False) -> None:
        self._began = perf_counter()
        self._telemetry = telemetry
        metadata = metadata_of(context)
        remaining: float | None = context.time_remaining()
        deadline = math.inf if remaining is None else asyncio.get_running_loop().time() + remaining
        self.request_id = request_id_of(metadata)
        self.call = Call(LlmRequest(), stream, self.request_id, deadline, metadata, tenant=_tenant(context, metadata))

    def finished(self, error: LlmError | None = None, *, cancelled: bool = False) -> Trailing:
        """Records the end of the call and returns its trailing metadata."""
        call, duration = self.call, perf_counter() - self._began
        self._telemetry.finished(call, error, duration, "grpc", cancelled=cancelled)
        trailing = (
            ("loom-request-id", call.request_id),
            ("loom-provider", call.provider),
            ("loom-model", _ascii(call.model)),
            ("loom-attempts", str(call.attempt)),
            ("loom-overhead-ms", f"{(duration - call.upstream_s) * 1000:.3f}"),
        )
        return (*trailing, (CACHE_HEADER, call.cache)) if call.cache else trailing

    def crashed(self, error: BaseException) -> None:
        """Writes down an exception that nobody expected."""
        self._telemetry.crashed(self.call, error)

    def last_event(self, error: LlmError) -> LlmEvent | None:
        """Returns the event that a stream ends with."""
        return error_event(error) if self.call.stream else None


def _tenant(context: Context, metadata: Mapping[str, str]) -> str:
    """Returns whom the caller is, by all that it shows: its credentials and its certificate."""
    shown: list[tuple[str, str]] = []
    if not CREDENTIALS.isdisjoint(metadata):  # which has one of each; there may be several
        shown += [(key, str(value)) for key, value in context.invocation_metadata() or () if key in CREDENTIALS]
    shown += [("certificate", pem.decode()) for pem in context.auth_context().get("x509_pem_cert", ())]
    return tenant_of(shown)


def _ascii(text: str) -> str:
    """Makes a name fit for metadata, which takes printable ASCII alone."""
    return text if text.isascii() and text.isprintable() else text.encode("ascii", "backslashreplace").decode()
