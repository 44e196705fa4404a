"""The HTTP application: what is served under which path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from loom_grpc.config import Config, CorsConfig
from loom_grpc.core.kept import ResponseStore
from loom_grpc.core.ports import Gateway
from loom_grpc.frontends.loom_error import error_body
from loom_grpc.shim import admin, connect, frontends, models, office, raw, responses
from loom_grpc.shim.edge import Site
from loom_grpc.shim.health import Health
from loom_grpc.shim.metrics import MetricsPage
from loom_grpc.telemetry import Telemetry

_MESSAGES: Final = {
    404: "There is nothing at this address; calls go to /proxy/{provider}/complete or /proxy/{provider}/stream.",
    405: "This address takes another method; see the header Allow.",
}
_TRAILING: Final = (
    "loom-attempts",
    "loom-cache",
    "loom-model",
    "loom-overhead-ms",
    "loom-provider",
    "loom-ratelimit",
    "loom-request-id",
)
_EXPOSED: Final = (
    *_TRAILING,
    *(f"trailer-{name}" for name in _TRAILING),  # as Connect has them
    "loom-dropped",
    "request-id",
    "retry-after",
    "x-request-id",
)
"""The headers that scripts of other origins may read."""


def make_app(
    config: Config,
    gateway: Gateway,
    telemetry: Telemetry,
    draining: Callable[[], bool],
    kept: ResponseStore | None = None,
) -> Starlette:
    """Makes the application; `draining` tells whether the server is about to stop, and `kept` keeps responses."""

    site = Site(config, gateway, telemetry, draining)

    async def readyz(_request: Request) -> Response:
        return PlainTextResponse("draining", 503) if draining() else PlainTextResponse("ok")

    app = Starlette(
        routes=[
            *frontends.routes(site),  # the first are found first
            *models.routes(site),
            *responses.routes(site, kept),
            *connect.routes(site),
            Route(raw.PATH, raw.RawEndpoint(site), methods=raw.METHODS),
            *admin.routes(site),
            *office.routes(site),
            Route("/health", Health(gateway, telemetry).answer),
            Route("/livez", _livez),
            Route("/readyz", readyz),
            Route("/metrics", MetricsPage(site), methods=["GET"]),
        ],
        middleware=_cors(config.http.cors),
        exception_handlers={HTTPException: _refuse},
    )
    app.router.redirect_slashes = False  # with a slash at its end a path is another one, as in Loom
    return app


async def _livez(_request: Request) -> Response:
    return PlainTextResponse("ok")


async def _refuse(_request: Request, error: Any) -> Response:
    body = error_body(error.status_code, _MESSAGES.get(error.status_code, error.detail))
    return Response(body, error.status_code, error.headers, media_type="application/json")


class _Cors(CORSMiddleware):
    """Opens everything to scripts of other origins but administration: a page that may ask a model may not administer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, with CORS where that is wanted."""
        if scope["type"] == "http" and scope["path"].startswith(admin.PATH):
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def _cors(config: CorsConfig) -> list[Middleware]:
    if not config.allow_origins:
        return []
    return [
        Middleware(
            _Cors,
            allow_origins=config.allow_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=config.allow_headers,
            allow_credentials=config.allow_credentials,
            expose_headers=_EXPOSED,
            max_age=config.max_age_s,
        )
    ]
