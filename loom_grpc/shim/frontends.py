"""What is served for callers: a path each, and who speaks there."""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from loom_grpc.config import Config
from loom_grpc.core.ports import Gateway
from loom_grpc.frontends import gemini, gemini_embedding
from loom_grpc.frontends.anthropic import Messages
from loom_grpc.frontends.loom import Loom
from loom_grpc.frontends.openai_chat import OpenAIChat
from loom_grpc.frontends.openai_embedding import OpenAIEmbedding
from loom_grpc.shim.endpoint import CountingEndpoint, EmbeddingEndpoint, Endpoint, Entrance
from loom_grpc.shim.exchange import words_of
from loom_grpc.telemetry import Telemetry


def routes(config: Config, gateway: Gateway, telemetry: Telemetry, draining: Callable[[], bool]) -> list[Route]:
    """Returns the routes of all front ends that answer a request and remember nothing."""
    place = (config, gateway, telemetry, draining)
    anthropic = ("", "/anthropic")
    # A model's name may have slashes and colons: what follows the last colon is the method.
    google = [f"/{version}/{{model:path}}" for version in gemini.VERSIONS]
    rows: list[tuple[str, Entrance | _Loom]] = [
        ("/proxy/{provider}/complete", _Loom(*place, stream=False)),
        ("/proxy/{provider}/stream", _Loom(*place, stream=True)),
        ("/v1/chat/completions", Endpoint(*place, OpenAIChat(time.time))),
        ("/v1/embeddings", EmbeddingEndpoint(*place, OpenAIEmbedding())),
        *((f"{prefix}/v1/messages", Endpoint(*place, Messages(counts=False))) for prefix in anthropic),
        *(
            (f"{prefix}/v1/messages/count_tokens", CountingEndpoint(*place, Messages(counts=True)))
            for prefix in anthropic
        ),
        *(
            (
                f"{model}:{method}",
                (CountingEndpoint if method == "countTokens" else Endpoint)(*place, gemini.Gemini(method)),
            )
            for model in google
            for method in gemini.METHODS
        ),
        *(
            (f"{model}:{method}", EmbeddingEndpoint(*place, gemini_embedding.GeminiEmbedding(method)))
            for model in google
            for method in gemini_embedding.METHODS
        ),
    ]
    return [Route(path, entrance, methods=["POST"]) for path, entrance in rows]


class _Loom:
    """Answers Loom's callers, who say by a header whether they know more than Loom does."""

    def __init__(
        self, config: Config, gateway: Gateway, telemetry: Telemetry, draining: Callable[[], bool], *, stream: bool
    ) -> None:
        self._plain, self._extended = (
            Endpoint(
                config,
                gateway,
                telemetry,
                draining,
                Loom(
                    stream=stream,
                    extended=extended,
                    empty_arguments=config.compat.empty_arguments,
                    rate_limit_status=config.compat.loom_rate_limit_status,
                ),
            )
            for extended in (False, True)
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        endpoint = self._plain
        for name, value in scope["headers"]:
            if name == b"loom-events" and "extended" in words_of(value.decode("latin-1")):
                endpoint = self._extended
        await endpoint(scope, receive, send)
