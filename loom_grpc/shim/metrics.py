"""The metrics at `/metrics`, for those who may read them."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from loom_grpc.core.errors import LlmError
from loom_grpc.frontends.loom_error import error_body
from loom_grpc.shim.edge import Site
from loom_grpc.shim.exchange import Exchange, when_again

_TEXT = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")


class MetricsPage:
    """Answers with Prometheus' text, as an ASGI application."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; a server that is draining still tells."""
        exchange = Exchange(scope, receive, send)
        try:
            await self._site.gateway.gatekeeper.admit("/metrics", exchange.shown())
        except LlmError as error:
            await exchange.reply(error.row.http, when_again(error), error_body(error.row.http, error.message))
            return
        body = self._site.telemetry.prometheus()
        await exchange.open(200, [_TEXT, (b"content-length", b"%d" % len(body))])
        await exchange.write(body)
        await exchange.close()
