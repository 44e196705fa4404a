"""Where operators come to over HTTP: they are let in, what they want is done, and a line in the log says who wanted what."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import NamedTuple

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from loom_grpc.core.errors import INVALID_REQUEST, LlmError, server_draining, server_failed
from loom_grpc.core.ports import Gateway
from loom_grpc.core.principal import Shown, who
from loom_grpc.frontends import loom_admin
from loom_grpc.frontends.body import Fields, HttpError, read_json
from loom_grpc.frontends.loom_error import error_body
from loom_grpc.shim.edge import Site
from loom_grpc.shim.exchange import Exchange, Gone, Header, when_again
from loom_grpc.telemetry import Act


class Visit(NamedTuple):
    """An operator who was let in."""

    exchange: Exchange
    gateway: Gateway
    shown: Shown
    path: Mapping[str, str]
    """The pieces of the address."""
    query: str
    act: Act
    max_body_bytes: int

    async def fields(self) -> Fields:
        """Returns the body; raises `HttpError`."""
        return Fields(read_json(await self.exchange.json_body(self.max_body_bytes)))

    async def reply(self, body: bytes) -> None:
        """Answers with JSON."""
        await self.exchange.reply(200, headers_of(self.exchange), body)


class Errand(NamedTuple):
    """What is done at an address."""

    http: str
    path: str
    method: str
    """The method of AdminService that does the same."""
    run: Callable[[Visit], Awaitable[None]]


def headers_of(exchange: Exchange) -> list[Header]:
    """Returns the headers of every answer, which may hold what nobody else should see."""
    return [*exchange.ids(), (b"cache-control", b"no-store")]


def routes_of(site: Site, errands: Iterable[Errand]) -> list[Route]:
    """Returns a route for each address, in their order."""
    by_path: dict[str, dict[str, Errand]] = {}
    for errand in errands:
        by_path.setdefault(errand.path, {})[errand.http] = errand
    return [Route(path, _Desk(site, path, some), methods=list(some)) for path, some in by_path.items()]


class _Desk:
    """Runs the errands of one address for whoever may administer, as an ASGI application.

    What has begun is done even if the caller goes away meanwhile.
    """

    def __init__(self, site: Site, path: str, errands: Mapping[str, Errand]) -> None:
        self._site = site
        self._path = path
        self._errands = errands

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; whatever goes wrong is told to the caller in Loom's words."""
        telemetry = self._site.telemetry
        exchange = Exchange(scope, receive, send)
        errand = self._errands.get(scope["method"]) or self._errands["GET"]  # HEAD
        act = Act(telemetry.log, errand.method, exchange.request_id, "http", _peer(scope))
        error: LlmError | None = None
        gone = False
        try:
            await errand.run(await self._let_in(exchange, act, scope))
        except Gone:
            gone = True
        except HttpError as refusal:
            error = LlmError(INVALID_REQUEST, refusal.message)
            body = error_body(refusal.status, refusal.message)
            await exchange.reply(refusal.status, headers_of(exchange), body)
        except LlmError as failure:
            error = failure
            await _fail(exchange, error)
        except Exception as failure:  # noqa: BLE001 - this is the edge: what is not foreseen is logged and told
            telemetry.crashed(None, failure)
            error = server_failed()
            await _fail(exchange, error)
        except asyncio.CancelledError:
            # The time to drain is over. The caller is told, and then nothing is left to be cancelled.
            error = server_draining()
            await _fail(exchange, error)
        act.end(error, cancelled=gone)

    async def _let_in(self, exchange: Exchange, act: Act, scope: Scope) -> Visit:
        site = self._site
        if site.draining():
            raise server_draining()
        shown = exchange.shown()
        act.who = who(await site.gateway.gatekeeper.admit(self._path, shown))
        query = scope["query_string"].decode("latin-1")
        max_bytes = site.config.http.max_body_bytes
        return Visit(exchange, site.gateway, shown, scope["path_params"], query, act, max_bytes)


async def _fail(exchange: Exchange, error: LlmError) -> None:
    """Says what went wrong; an answer that has begun is left without its end, so that nobody takes it for whole."""
    if exchange.started:
        return
    status, body = loom_admin.failure(error)
    await exchange.reply(status, [*headers_of(exchange), *when_again(error)], body)


def _peer(scope: Scope) -> str:
    client = scope.get("client")
    return f"{client[0]}:{client[1]}" if client else "unix"
