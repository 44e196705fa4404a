"""The models as OpenAI lists them, at `/v1/models`, and as Google does, at `/v1beta/models`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import parse_qsl

from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from loom_grpc.core.call import Call
from loom_grpc.core.errors import INVALID_REQUEST, LlmError
from loom_grpc.frontends import gemini_error, gemini_models, openai_error, openai_models
from loom_grpc.frontends.body import HttpError
from loom_grpc.shim.edge import Edge, Site
from loom_grpc.shim.exchange import Exchange, when_again
from loom_grpc.v1.llm_service_pb2 import LlmRequest, Model

PATH: Final = "/v1/models"
GEMINI_PATH: Final = "/v1beta/models"
_GOOGLES: Final = frozenset({b"x-goog-api-client", b"x-goog-api-key"})
"""Headers that only Google's clients send."""

_Write = Callable[[list[Model], str | None, Mapping[str, str]], bytes]
"""Writes the model of a name, or all of them by the query of the address."""
_Fail = Callable[[LlmError, str], tuple[int, bytes]]
"""Writes why a request failed; takes its id too."""


def routes(site: Site) -> list[Route]:
    """Returns what is served at `/v1/models`, `/v1beta/models` and below; a model's name may have slashes."""

    def gemini(path: str) -> ASGIApp:
        return _Models(site, path, _write_gemini, gemini_error.failure)

    def openai(path: str) -> ASGIApp:
        return _ByClient(_Models(site, path, _write_openai, _fail_openai), gemini(path))

    return [
        Route(path, make(path), methods=["GET"])
        for base, make in ((PATH, openai), (GEMINI_PATH, gemini))
        for path in (base, f"{base}/{{name:path}}")
    ]


class _ByClient:
    """Answers Google's clients, which ask at OpenAI's path too, in Google's words, and everyone else in OpenAI's."""

    def __init__(self, openai: ASGIApp, gemini: ASGIApp) -> None:
        self._openai = openai
        self._gemini = gemini

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on to who answers it."""
        is_googles = any(name in _GOOGLES for name, _ in scope["headers"])
        await (self._gemini if is_googles else self._openai)(scope, receive, send)


def _write_openai(models: list[Model], name: str | None, _query: Mapping[str, str]) -> bytes:
    return openai_models.write_list(models) if name is None else openai_models.write_model(models, name)


def _fail_openai(error: LlmError, _request_id: str) -> tuple[int, bytes]:
    return openai_error.failure(error)


def _write_gemini(models: list[Model], name: str | None, query: Mapping[str, str]) -> bytes:
    return gemini_models.write_list(models, query) if name is None else gemini_models.write_model(models, name)


class _Models:
    """Answers with one model or all, as an ASGI application."""

    def __init__(self, site: Site, method: str, write: _Write, fail: _Fail) -> None:
        self._gateway = site.gateway
        self._edge = Edge(site, method)
        self._write = write
        self._fail = fail

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; whatever goes wrong is told to the caller in the API's words."""
        exchange = Exchange(scope, receive, send)
        call = Call(LlmRequest(), stream=False, request_id=exchange.request_id, metadata=exchange.metadata())

        async def work() -> None:
            await exchange.reply(200, exchange.ids(), await self._body(scope, call))

        async def fail(error: LlmError) -> None:
            status, body = self._fail(error, exchange.request_id)
            await exchange.reply(status, [*exchange.ids(), *when_again(error)], body)

        async def refuse(error: HttpError) -> None:
            await fail(LlmError(INVALID_REQUEST, error.message))

        await self._edge.attend(call, exchange, work, refuse=refuse, fail=fail)

    async def _body(self, scope: Scope, call: Call) -> bytes:
        query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        return self._write(await self._gateway.list_models(call), scope["path_params"].get("name"), query)
