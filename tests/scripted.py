"""A gRPC server on a real socket whose answers the tests write, and the answers that they write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from loom_grpc.v1.llm_service_pb2 import Completed, LlmEvent, LlmResponse, Started, TextDelta
from loom_grpc.v1.llm_service_pb2_grpc import LlmServiceServicer, add_LlmServiceServicer_to_server
from loom_grpc.v1.message_pb2 import ROLE_ASSISTANT, Message

Context = grpc.aio.ServicerContext[Any, Any]
WAIT_S = 10

STARTED = LlmEvent(started=Started(provider="mock", model="m", attempt=1))
ANSWER = LlmResponse(message=Message(role=ROLE_ASSISTANT, content="hi"), provider="mock", model="m")
COMPLETED = LlmEvent(completed=Completed(response=ANSWER))


def text(content: str) -> LlmEvent:
    return LlmEvent(text_delta=TextDelta(content=content))


class Script(LlmServiceServicer):
    """Does in each method what a test says, and keeps what came in."""

    def __init__(self) -> None:
        self.target = ""
        self.health = ""
        """The word of `grpc.health.v1`; empty: the server does not tell."""
        self.play: Callable[[Any, Context], Awaitable[Any]] = self.nothing
        self.requests: list[Any] = []
        self.metadata: dict[str, str | bytes] = {}
        self.time_remaining: float | None = None
        self.cancelled = asyncio.Event()

    async def nothing(self, request: Any, context: Context) -> None:
        """Ends without a word."""

    async def run(self, request: Any, context: Context) -> Any:
        self.requests.append(type(request).FromString(request.SerializeToString()))
        self.metadata = dict(context.invocation_metadata() or ())
        self.time_remaining = context.time_remaining()
        try:
            return await self.play(request, context)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    def health_handler(self) -> grpc.GenericRpcHandler:
        """Returns the health service as gRPC registers it."""
        check = grpc.unary_unary_rpc_method_handler(
            self.check, HealthCheckRequest.FromString, HealthCheckResponse.SerializeToString
        )
        return grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": check})

    async def check(self, request: HealthCheckRequest, context: Context) -> HealthCheckResponse:
        """Tells how the server is."""
        if not self.health:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "nobody knows")
        return HealthCheckResponse(status=HealthCheckResponse.ServingStatus.Value(self.health))

    Complete = Stream = ListModels = CountTokens = Embed = run  # type: ignore[assignment]


@asynccontextmanager
async def serving(credentials: grpc.ServerCredentials | None = None) -> AsyncIterator[Script]:
    """Serves a script that does nothing yet, at `target`."""
    script = Script()
    server = grpc.aio.server()
    add_LlmServiceServicer_to_server(script, server)
    server.add_generic_rpc_handlers((script.health_handler(),))
    if credentials is None:
        script.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    else:
        script.target = f"localhost:{server.add_secure_port('localhost:0', credentials)}"
    await server.start()
    try:
        yield script
    finally:
        await server.stop(None)


def plays(*events: LlmEvent) -> Callable[[Any, Context], Awaitable[None]]:
    async def play(request: Any, context: Context) -> None:
        for event in events:
            await context.write(event)

    return play


def answers(response: Any) -> Callable[[Any, Context], Awaitable[Any]]:
    async def play(request: Any, context: Context) -> Any:
        return response

    return play


def aborts(
    code: grpc.StatusCode,
    message: str,
    *details: Any,
    events: tuple[LlmEvent, ...] = (),
    trailers: tuple[tuple[str, str], ...] = (),
) -> Callable[[Any, Context], Awaitable[None]]:
    async def play(request: Any, context: Context) -> None:
        for event in events:
            await context.write(event)
        status = status_pb2.Status(code=code.value[0], message=message)
        for detail in details:
            status.details.add().Pack(detail)
        await context.abort(code, message, (*trailers, ("grpc-status-details-bin", status.SerializeToString())))

    return play


def info(reason: str, domain: str = "loom-grpc", **metadata: str) -> error_details_pb2.ErrorInfo:
    return error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=metadata)


async def stays(request: Any, context: Context) -> None:
    await context.write(STARTED)
    await context.write(text("hello"))
    await asyncio.Event().wait()
