"""What is served for callers: a path each, and who speaks there."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from loom_grpc.frontends import gemini, gemini_embedding
from loom_grpc.frontends.anthropic import Messages
from loom_grpc.frontends.loom import Loom
from loom_grpc.frontends.openai_chat import OpenAIChat
from loom_grpc.frontends.openai_embedding import OpenAIEmbedding
from loom_grpc.shim.edge import Site
from loom_grpc.shim.endpoint import CountingEndpoint, EmbeddingEndpoint, Endpoint
from loom_grpc.shim.exchange import words_of

_Make = Callable[[Site, str, Any], ASGIApp]
"""Makes what answers at a path, of who speaks there."""


def routes(site: Site) -> list[Route]:
    """Returns the routes of all front ends that answer a request and remember nothing."""
    anthropic = ("", "/anthropic")
    # A model's name may have slashes and colons: what follows the last colon is the method.
    google = [f"/{version}/{{model:path}}" for version in gemini.VERSIONS]
    rows: list[tuple[str, _Make, Any]] = [
        ("/proxy/{provider}/complete", _Loom, False),
        ("/proxy/{provider}/stream", _Loom, True),
        ("/v1/chat/completions", Endpoint, OpenAIChat(time.time)),
        ("/v1/embeddings", EmbeddingEndpoint, OpenAIEmbedding()),
        *((f"{prefix}/v1/messages", Endpoint, Messages(counts=False)) for prefix in anthropic),
        *((f"{prefix}/v1/messages/count_tokens", CountingEndpoint, Messages(counts=True)) for prefix in anthropic),
        *(
            (f"{model}:{method}", CountingEndpoint if method == "countTokens" else Endpoint, gemini.Gemini(method))
            for model in google
            for method in gemini.METHODS
        ),
        *(
            (f"{model}:{method}", EmbeddingEndpoint, gemini_embedding.GeminiEmbedding(method))
            for model in google
            for method in gemini_embedding.METHODS
        ),
    ]
    return [Route(path, make(site, path, speaks), methods=["POST"]) for path, make, speaks in rows]


class _Loom:
    """Answers Loom's callers, who say by a header whether they know more than Loom does."""

    def __init__(self, site: Site, method: str, stream: bool) -> None:
        compat = site.config.compat
        self._plain, self._extended = (
            Endpoint(
                site,
                method,
                Loom(
                    stream=stream,
                    extended=extended,
                    empty_arguments=compat.empty_arguments,
                    rate_limit_status=compat.loom_rate_limit_status,
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
