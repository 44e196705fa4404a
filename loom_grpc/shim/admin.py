"""Loom's administration: JSON over HTTP, for whoever shows the admin key."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

import orjson
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from loom_grpc.config import Config
from loom_grpc.core.errors import INVALID_REQUEST, LlmError, server_draining, server_failed
from loom_grpc.core.ports import Admin, Gateway
from loom_grpc.frontends import loom_admin
from loom_grpc.frontends.admin_key import shown_key
from loom_grpc.frontends.body import Fields, HttpError, read_json
from loom_grpc.frontends.loom_error import error_body
from loom_grpc.shim.exchange import Exchange, Gone, Header
from loom_grpc.telemetry import Act, Telemetry
from loom_grpc.v1.admin_service_pb2 import Account

PATH: Final = "/api/admin/"


class _Wish(NamedTuple):
    """What an operator wants."""

    admin: Admin
    provider: str
    id: str
    body: Callable[[], Awaitable[Fields]]
    act: Act

    def named(self, id: str) -> None:
        """Takes note of the account that it is about."""
        self.act.account = f"{self.provider}/{id}"


async def _list(wish: _Wish) -> dict[str, Any]:
    return loom_admin.accounts(await wish.admin.list_accounts(wish.provider), time.time())


async def _add(wish: _Wish) -> dict[str, Any]:
    fields = await wish.body()
    id, api_key = fields.text("id"), fields.need_text("api_key")
    if id:
        wish.named(id)
    return _came_of(wish, await wish.admin.add_account(wish.provider, id, api_key))


async def _remove(wish: _Wish) -> dict[str, Any]:
    await wish.admin.remove_account(wish.provider, wish.id)
    return {"removed": wish.id}


async def _enable(wish: _Wish) -> dict[str, Any]:
    return _came_of(wish, await wish.admin.enable_account(wish.provider, wish.id))


async def _disable(wish: _Wish) -> dict[str, Any]:
    return _came_of(wish, await wish.admin.disable_account(wish.provider, wish.id))


async def _initiate(wish: _Wish) -> dict[str, Any]:
    fields = await wish.body()
    fields.text("redirect_after")  # where Loom's page goes on; nothing of ours depends on it
    id = fields.text("account_id")
    if id:
        wish.named(id)
    login = await wish.admin.start_login(wish.provider, id)
    return {
        "redirect_url": login.authorize_url,
        "state": login.state,
        "expires_at": login.expire_time.ToJsonString(),
    }


async def _complete(wish: _Wish) -> dict[str, Any]:
    fields = await wish.body()
    code, state = fields.need_text("code"), fields.need_text("state")
    return _came_of(wish, await wish.admin.finish_login(wish.provider, code, state))


def _came_of(wish: _Wish, account: Account) -> dict[str, Any]:
    wish.named(account.id)
    return {"account_id": account.id, "account": loom_admin.account(account, time.time())}


class _Action(NamedTuple):
    http: str
    path: str
    method: str
    """The method of AdminService that does the same."""
    fulfil: Callable[[_Wish], Awaitable[dict[str, Any]]]


_ACTIONS: Final = (
    _Action("GET", "accounts", "ListAccounts", _list),
    _Action("POST", "accounts", "AddAccount", _add),
    _Action("DELETE", "accounts/{id}", "RemoveAccount", _remove),
    _Action("POST", "accounts/{id}/enable", "EnableAccount", _enable),
    _Action("POST", "accounts/{id}/disable", "DisableAccount", _disable),
    _Action("POST", "oauth/initiate", "StartLogin", _initiate),
    _Action("POST", "oauth/complete", "FinishLogin", _complete),
)


def routes(config: Config, gateway: Gateway, telemetry: Telemetry, draining: Callable[[], bool]) -> list[Route]:
    """Returns what is served below `/api/admin/{provider}/`."""
    return [
        Route(
            f"{PATH}{{provider}}/{action.path}",
            _Desk(action, gateway, telemetry, draining, config.http.max_body_bytes),
            methods=[action.http],
        )
        for action in _ACTIONS
    ]


class _Desk:
    """Does one action for whoever shows the admin key, as an ASGI application.

    What has begun is done even if the caller goes away meanwhile.
    """

    def __init__(
        self,
        action: _Action,
        gateway: Gateway,
        telemetry: Telemetry,
        draining: Callable[[], bool],
        max_body_bytes: int,
    ) -> None:
        self._action = action
        self._gateway = gateway
        self._telemetry = telemetry
        self._draining = draining
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; whatever goes wrong is told to the caller in Loom's words."""
        exchange = Exchange(scope, receive, send)
        act = Act(self._telemetry.log, self._action.method, exchange.request_id, "http", _peer(scope))
        error: LlmError | None = None
        gone = False
        try:
            value = await self._fulfil(exchange, act, scope["path_params"])
            await _reply(exchange, 200, orjson.dumps(value))
        except Gone:
            gone = True
        except HttpError as refusal:
            error = LlmError(INVALID_REQUEST, refusal.message)
            await _reply(exchange, refusal.status, error_body(refusal.status, refusal.message))
        except LlmError as failure:
            error = failure
            await _fail(exchange, error)
        except Exception as failure:  # noqa: BLE001 - this is the edge: what is not foreseen is logged and told
            self._telemetry.crashed(None, failure)
            error = server_failed()
            await _fail(exchange, error)
        except asyncio.CancelledError:
            # The time to drain is over. The caller is told, and then nothing is left to be cancelled.
            error = server_draining()
            await _fail(exchange, error)
        act.end(error, cancelled=gone)

    async def _fulfil(self, exchange: Exchange, act: Act, path: dict[str, str]) -> dict[str, Any]:
        if self._draining():
            raise server_draining()
        admin = self._gateway.admin(shown_key(exchange.header(b"authorization"), exchange.header(b"x-api-key")))

        async def body() -> Fields:
            return Fields(read_json(await exchange.json_body(self._max_body_bytes)))

        wish = _Wish(admin, path["provider"], path.get("id", ""), body, act)
        act.account = f"{wish.provider}/{wish.id}" if wish.id else wish.provider
        return await self._action.fulfil(wish)


async def _fail(exchange: Exchange, error: LlmError) -> None:
    status, body = loom_admin.failure(error)
    if error.retry_after is None:
        await _reply(exchange, status, body)
    else:
        await _reply(exchange, status, body, (b"retry-after", b"%d" % math.ceil(error.retry_after)))


async def _reply(exchange: Exchange, status: int, body: bytes, *more: Header) -> None:
    request_id = exchange.request_id.encode()
    headers = [(b"loom-request-id", request_id), (b"x-request-id", request_id), (b"cache-control", b"no-store")]
    await exchange.reply(status, [*headers, *more], body)


def _peer(scope: Scope) -> str:
    client = scope.get("client")
    return f"{client[0]}:{client[1]}" if client else "unix"
