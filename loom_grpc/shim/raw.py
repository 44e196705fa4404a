"""The provider's own API below `/{provider}/raw/`: requests and answers as they are, with our credentials."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import perf_counter
from typing import Final
from urllib.parse import unquote

import orjson
from starlette.types import Receive, Scope, Send

from loom_grpc.core.call import Call
from loom_grpc.core.errors import LlmError
from loom_grpc.core.notice import notices
from loom_grpc.core.raw import Raw, RawError
from loom_grpc.frontends.body import HttpError
from loom_grpc.frontends.loom import Writer
from loom_grpc.frontends.loom_error import error_body
from loom_grpc.frontends.rate_limit import draft
from loom_grpc.shim.edge import Edge, Site
from loom_grpc.shim.exchange import Exchange, Header, when_again
from loom_grpc.shim.watch import Watch
from loom_grpc.v1.audit_pb2 import OPERATION_RAW
from loom_grpc.v1.llm_service_pb2 import LlmRequest

PATH: Final = "/{provider}/raw/{path:path}"
METHODS: Final = ["GET", "POST", "PUT", "PATCH", "DELETE"]

_OURS: Final = frozenset(
    {
        "authorization",
        "x-api-key",
        "x-goog-api-key",
        "api-key",
        "cookie",
        "host",
        "content-length",
        "content-encoding",
        "accept-encoding",
        "expect",
        "forwarded",
        "via",
    }
)
"""Headers of a request that are between the caller and us: credentials, and what the way from us to the provider has of its own."""
_HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers of one connection (RFC 9110, 7.6.1)."""
_THEIRS: Final = frozenset(
    {
        "content-length",
        "set-cookie",
        "date",
        "server",
        "ratelimit",  # by this and the next we tell of our own limits
        "ratelimit-policy",
    }
)
"""Headers of an answer that are between the provider and us."""
_OUR_NAMES: Final = ("loom-", "x-forwarded-", "x-real-ip")


class RawEndpoint:
    """Passes requests on, as an ASGI application."""

    def __init__(self, site: Site) -> None:
        self._gateway = site.gateway
        self._edge = Edge(site, PATH)
        self._max_body_bytes = site.config.http.max_body_bytes
        self._writer = Writer(extended=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request: as the provider does, or in our own words where it is we who refuse."""
        exchange = Exchange(scope, receive, send)
        call = Call(LlmRequest(), stream=True, request_id=exchange.request_id, metadata=exchange.metadata())
        call.api, call.operation = PATH, OPERATION_RAW

        async def refuse(error: HttpError) -> None:
            await exchange.reply(error.status, _headers(exchange, call), error_body(error.status, error.message))

        async def fail(error: LlmError) -> None:
            await self._fail(exchange, call, error)

        async def work() -> None:
            await self._run(exchange, call, scope)

        await self._edge.attend(call, exchange, work, refuse=refuse, fail=fail)

    async def _run(self, exchange: Exchange, call: Call, scope: Scope) -> None:
        call.deadline = asyncio.get_running_loop().time() + exchange.timeout_s()
        provider = scope["path_params"]["provider"]
        call.request = LlmRequest(provider=provider)
        target = _target(scope, provider)
        body = await exchange.body(self._max_body_bytes)
        call.model = _model(body)
        call.raw = Raw(scope["method"], target, _passed_on(exchange.headers()), body, _Back(exchange, call))
        async with Watch(exchange):
            await self._gateway.pass_on(call)
        await exchange.close()

    async def _fail(self, exchange: Exchange, call: Call, error: LlmError) -> None:
        """Answers in our own words; an answer that has begun is left without its end, so that nobody takes it for whole."""
        if exchange.started:
            return
        if isinstance(error, RawError):
            await _relay_refusal(exchange, call, error)
            return
        status, body = self._writer.failure(error)
        await exchange.reply(status, [*_headers(exchange, call, error), *when_again(error)], body)


class _Back:
    """Sends the provider's answer to the caller."""

    def __init__(self, exchange: Exchange, call: Call) -> None:
        self._exchange = exchange
        self._call = call

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Sends the head."""
        await self._exchange.open(status, [*_answered(headers), *_headers(self._exchange, self._call)])

    async def write(self, chunk: bytes) -> None:
        """Sends the next bytes."""
        await self._exchange.write(chunk)


async def _relay_refusal(exchange: Exchange, call: Call, error: RawError) -> None:
    refused = error.refused
    await exchange.open(refused.status, [*_answered(refused.headers), *_headers(exchange, call)])
    await exchange.write(refused.body)
    await exchange.close()


def _target(scope: Scope, provider: str) -> str:
    """Returns the path below `raw`, as the caller escaped it, and the query; raises `HttpError` for one that climbs out."""
    path = scope.get("raw_path", scope["path"].encode()).decode("latin-1")
    front = f"/{provider}/raw"
    if not path.startswith(f"{front}/"):  # or the rest might not begin with a slash, and change the provider's host
        raise HttpError(400, "The provider and raw must not be escaped.")
    target: str = path[len(front) :]
    if {".", ".."} & set(unquote(target).split("/")):
        raise HttpError(400, "The path must not have . or .. as a piece.")
    query = scope["query_string"].decode("latin-1")
    pairs = [pair for pair in query.split("&") if pair and not pair.startswith("key=")]  # ?key= is a credential
    return f"{target}?{'&'.join(pairs)}" if pairs else target


def _passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    named = {word.strip().lower() for word in headers.get("connection", "").split(",")}
    return {
        name: value
        for name, value in headers.items()
        if name not in _OURS and name not in _HOP_BY_HOP and name not in named and not name.startswith(_OUR_NAMES)
    }


def _answered(headers: Mapping[str, str]) -> list[Header]:
    return [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in headers.items()
        if name not in _THEIRS and name not in _HOP_BY_HOP and name != "x-request-id"
    ]


def _headers(exchange: Exchange, call: Call, error: LlmError | None = None) -> list[Header]:
    headers = exchange.ids()
    refused = error.standing if error is not None else None
    if call.standings or refused is not None:
        told = draft(notices(call.standings, refused, perf_counter() - call.began))
        headers += [(name.encode(), value.encode()) for name, value in told.items()]
    if call.provider:
        headers += [(b"loom-provider", call.provider.encode()), (b"loom-attempts", b"%d" % call.attempt)]
    return headers


def _model(body: bytes) -> str:
    """Returns the model that a body names, for the log; empty where there is none."""
    try:
        value = orjson.loads(body) if body else None
    except ValueError:  # not JSON, which is the provider's affair
        return ""
    model = value.get("model") if isinstance(value, dict) else None
    return model[:512] if isinstance(model, str) else ""
