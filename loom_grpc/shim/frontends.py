"""What is served for callers of other APIs: a path each, and who speaks there."""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.routing import Route

from loom_grpc.config import Config
from loom_grpc.core.ports import Gateway
from loom_grpc.frontends import anthropic, gemini_embedding
from loom_grpc.frontends.gemini import METHODS, VERSIONS, Gemini
from loom_grpc.frontends.openai_chat import OpenAIChat
from loom_grpc.frontends.openai_embedding import OpenAIEmbedding
from loom_grpc.shim.endpoint import EmbeddingEndpoint, Endpoint
from loom_grpc.telemetry import Telemetry


def routes(config: Config, gateway: Gateway, telemetry: Telemetry, draining: Callable[[], bool]) -> list[Route]:
    """Returns the routes of all front ends but Loom's own."""
    openai_chat = OpenAIChat(time.time)
    return [
        Route("/v1/chat/completions", Endpoint(config, gateway, telemetry, draining, openai_chat), methods=["POST"]),
        Route(
            "/v1/embeddings",
            EmbeddingEndpoint(config, gateway, telemetry, draining, OpenAIEmbedding()),
            methods=["POST"],
        ),
        *(
            # A model's name may have slashes and colons: what follows the last colon is the method.
            Route(
                f"/{version}/{{model:path}}:{method}",
                Endpoint(config, gateway, telemetry, draining, Gemini(method), counts=method == "countTokens"),
                methods=["POST"],
            )
            for version in VERSIONS
            for method in METHODS
        ),
        *(
            Route(
                f"/{version}/{{model:path}}:{method}",
                EmbeddingEndpoint(config, gateway, telemetry, draining, gemini_embedding.GeminiEmbedding(method)),
                methods=["POST"],
            )
            for version in VERSIONS
            for method in gemini_embedding.METHODS
        ),
        *(
            Route(
                f"{prefix}/v1/messages{count}",
                Endpoint(
                    config, gateway, telemetry, draining, anthropic.Messages(counts=bool(count)), counts=bool(count)
                ),
                methods=["POST"],
            )
            for prefix in ("", "/anthropic")
            for count in ("", "/count_tokens")
        ),
    ]
