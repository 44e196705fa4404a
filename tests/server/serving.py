"""A real server in this process: the whole pipeline behind a real gRPC port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2_grpc

from loom_grpc.app import App
from loom_grpc.config import Config
from loom_grpc.server.edge import GrpcEdge
from loom_grpc.telemetry import Telemetry
from loom_grpc.v1.llm_service_pb2 import LlmRequest
from loom_grpc.v1.llm_service_pb2_grpc import LlmServiceStub
from loom_grpc.v1.message_pb2 import ROLE_USER, Message
from tests.stand_in import Connection, Script
from tests.state import state_of_its_own

if TYPE_CHECKING:
    from loom_grpc.v1.llm_service_pb2_grpc import LlmServiceAsyncStub

HI = LlmRequest(provider="openai", model="gpt-4o", messages=[Message(role=ROLE_USER, content="hi")])

COMPLETION: dict[str, Any] = {
    "id": "chatcmpl-1",
    "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 10},
}


def chunk(content: str) -> str:
    """Makes a server-sent event with a piece of text."""
    return (
        f'data: {{"id":"chatcmpl-1","model":"gpt-4o","choices":[{{"index":0,"delta":{{"content":"{content}"}}}}]}}\n\n'
    )


LAST = 'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


def hello(go_on: asyncio.Event) -> Script:
    """Scripts a stream of "Hello." that pauses in the middle."""

    async def script(connection: Connection) -> None:
        await connection.head()
        await connection.send(chunk("Hel"))
        await go_on.wait()
        await connection.send(chunk("lo.") + LAST)
        await connection.end()

    return script


@dataclass
class Serving:
    """A running server."""

    edge: GrpcEdge
    app: App
    port: int
    channel: grpc.aio.Channel
    stub: LlmServiceAsyncStub


def configuration(
    upstream_url: str = "http://127.0.0.1:9", *, grpc: dict[str, Any] | None = None, **openai: Any
) -> Config:
    """Makes a configuration with OpenAI at the given address, retrying at once."""
    provider = {"api_key": "sk-test", "base_url": upstream_url, "retry": {"base_delay_s": 0}} | openai
    return Config.model_validate(
        {
            "grpc": {"address": "127.0.0.1:0"} | (grpc or {}),
            "providers": {"openai": provider, "mock": {}},
            "log": {"level": "error"},
        }
    )


def health_of(channel: grpc.aio.Channel) -> Any:
    """Returns the stub of grpc.health.v1, which the published types leave without methods."""
    return health_pb2_grpc.HealthStub(channel)


@asynccontextmanager
async def serving(
    config: Config,
    credentials: grpc.ChannelCredentials | None = None,
    environ: Mapping[str, str] | None = None,
) -> AsyncIterator[Serving]:
    """Runs the server and connects to it."""
    telemetry = Telemetry(config)
    with state_of_its_own(environ) as own:
        async with App(config, own, telemetry) as app:
            edge = GrpcEdge(config.grpc, app, telemetry, shared_port=False, providers=app.watch_providers)
            port = await edge.start()
            target, options = f"localhost:{port}", [("grpc.max_send_message_length", -1)]
            if credentials is None:
                channel = grpc.aio.insecure_channel(target, options=options)
            else:
                channel = grpc.aio.secure_channel(target, credentials, options=options)
            try:
                async with channel:
                    yield Serving(edge, app, port, channel, LlmServiceStub(channel))
            finally:
                await edge.drain(0)
    await telemetry.close()
