"""Loom's administration of accounts: JSON over HTTP, for whoever may administer."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

import orjson
from starlette.routing import Route

from loom_grpc.core.ports import Admin
from loom_grpc.frontends import loom_admin
from loom_grpc.frontends.body import Fields
from loom_grpc.shim.desk import Errand, Visit, routes_of
from loom_grpc.shim.edge import Site
from loom_grpc.telemetry import Act
from loom_grpc.v1.admin_service_pb2 import Account

PATH: Final = "/api/admin/"
_BELOW: Final = f"{PATH}{{provider}}/"


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


def routes(site: Site) -> list[Route]:
    """Returns what is served below `/api/admin/{provider}/`."""
    return routes_of(site, [_errand(action) for action in _ACTIONS])


def _errand(action: _Action) -> Errand:
    async def run(visit: Visit) -> None:
        admin = visit.gateway.admin(visit.shown)
        provider, id = visit.path["provider"], visit.path.get("id", "")
        visit.act.account = f"{provider}/{id}" if id else provider
        value = await action.fulfil(_Wish(admin, provider, id, visit.fields, visit.act))
        await visit.reply(orjson.dumps(value))

    return Errand(action.http, f"{_BELOW}{action.path}", action.method, run)
