"""The gRPC edge of AdminService: every call shows what lets its caller administer, and leaves a line in the log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final, NamedTuple

import grpc
from google.protobuf.message import Message

from loom_grpc.app.page import numbered_page_of
from loom_grpc.config import account_id
from loom_grpc.core.errors import INVALID_REQUEST, LlmError
from loom_grpc.core.ports import Admin, Gateway
from loom_grpc.core.principal import Principal, who
from loom_grpc.core.subject import subject
from loom_grpc.core.to_its_end import to_its_end
from loom_grpc.server.office import CHANGES, REQUESTS
from loom_grpc.server.rpc import Context, Entrance, Trailing, opening_of, request_id_of
from loom_grpc.telemetry import Act, Telemetry
from loom_grpc.v1.admin_service_pb2 import (
    DESCRIPTOR,
    AddAccountRequest,
    AddAccountResponse,
    DisableAccountRequest,
    DisableAccountResponse,
    EnableAccountRequest,
    EnableAccountResponse,
    ExportCallsRequest,
    ExportCallsResponse,
    FinishLoginRequest,
    FinishLoginResponse,
    ListAccountsRequest,
    ListAccountsResponse,
    ReloadConfigRequest,
    ReloadConfigResponse,
    RemoveAccountRequest,
    RemoveAccountResponse,
    StartLoginRequest,
    StartLoginResponse,
    WatchHealthRequest,
    WatchHealthResponse,
)

NAME: Final[str] = DESCRIPTOR.services_by_name["AdminService"].full_name


async def _list_accounts(admin: Admin, request: ListAccountsRequest) -> ListAccountsResponse:
    accounts, more = numbered_page_of(request, await admin.list_accounts(request.provider))
    return ListAccountsResponse(accounts=accounts, next_page_token=more)


async def _add_account(admin: Admin, request: AddAccountRequest) -> AddAccountResponse:
    return AddAccountResponse(account=await admin.add_account(request.provider, request.id, request.api_key))


async def _remove_account(admin: Admin, request: RemoveAccountRequest) -> RemoveAccountResponse:
    await admin.remove_account(request.provider, _id(request.id))
    return RemoveAccountResponse()


async def _enable_account(admin: Admin, request: EnableAccountRequest) -> EnableAccountResponse:
    return EnableAccountResponse(account=await admin.enable_account(request.provider, _id(request.id)))


async def _disable_account(admin: Admin, request: DisableAccountRequest) -> DisableAccountResponse:
    return DisableAccountResponse(account=await admin.disable_account(request.provider, _id(request.id)))


async def _start_login(admin: Admin, request: StartLoginRequest) -> StartLoginResponse:
    return await admin.start_login(request.provider, request.account_id)


async def _finish_login(admin: Admin, request: FinishLoginRequest) -> FinishLoginResponse:
    return FinishLoginResponse(account=await admin.finish_login(request.provider, request.code, request.state))


async def _reload_config(admin: Admin, _request: ReloadConfigRequest) -> ReloadConfigResponse:
    return ReloadConfigResponse(changed_keys=await admin.reload_config())


class _Method(NamedTuple):
    request: type[Any]
    perform: Callable[[Admin, Any], Awaitable[Message]]
    all_providers: bool = False
    """Whether an empty provider stands for all."""


_METHODS: Final[dict[str, _Method]] = {
    "ListAccounts": _Method(ListAccountsRequest, _list_accounts, all_providers=True),
    "AddAccount": _Method(AddAccountRequest, _add_account),
    "RemoveAccount": _Method(RemoveAccountRequest, _remove_account),
    "EnableAccount": _Method(EnableAccountRequest, _enable_account),
    "DisableAccount": _Method(DisableAccountRequest, _disable_account),
    "StartLogin": _Method(StartLoginRequest, _start_login),
    "FinishLogin": _Method(FinishLoginRequest, _finish_login),
    "ReloadConfig": _Method(ReloadConfigRequest, _reload_config, all_providers=True),
}
"""The methods with one answer."""


class AdminEdge:
    """Serves AdminService, to whoever shows the admin key."""

    def __init__(self, gateway: Gateway, telemetry: Telemetry, entrance: Entrance) -> None:
        self._gateway = gateway
        self._telemetry = telemetry
        self._entrance = entrance

    def handlers(self) -> grpc.GenericRpcHandler:
        """Returns the service as gRPC registers it."""
        unary, streaming = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            name: unary(self._answering(name, method), response_serializer=_serialize)
            for name, method in _METHODS.items()
        }
        for name, request in REQUESTS.items():
            methods[name] = unary(self._performing(name, request), response_serializer=_serialize)
        methods["WatchHealth"] = streaming(self.watch_health, response_serializer=WatchHealthResponse.SerializeToString)
        methods["ExportCalls"] = streaming(self.export_calls, response_serializer=ExportCallsResponse.SerializeToString)
        return grpc.method_handlers_generic_handler(NAME, methods)

    async def watch_health(self, data: bytes, context: Context) -> None:
        """Answers with how all accounts fare, again and again, until the caller cancels or the server drains."""
        rpc = _AdminRpc("WatchHealth", context, self._telemetry)

        async def work() -> None:
            admin = self._gateway.admin(rpc.shown)
            request = self._entrance.parse(WatchHealthRequest(), data)
            rpc.act.account = request.provider
            async with self._entrance.until_drained(), aclosing(admin.watch_health(request.provider)) as states:
                async for state in states:
                    await context.write(state)

        await self._entrance.run(context, rpc, work)

    async def export_calls(self, data: bytes, context: Context) -> None:
        """Sends records as fast as the caller takes them."""
        rpc = _AdminRpc("ExportCalls", context, self._telemetry)

        async def work() -> None:
            office = self._gateway.office(rpc.shown)
            request = self._entrance.parse(ExportCallsRequest(), data)
            async with aclosing(office.export_calls(request)) as responses:
                async for response in responses:
                    await context.write(response)

        await self._entrance.run(context, rpc, work)

    def _performing(self, name: str, kind: type[Any]) -> Callable[[bytes, Context], Awaitable[Message]]:
        async def answer(data: bytes, context: Context) -> Message:
            rpc = _AdminRpc(name, context, self._telemetry)

            async def work() -> Message:
                office = self._gateway.office(rpc.shown)
                request = self._entrance.parse(kind(), data)
                rpc.act.account = subject(request)
                performing = office.perform(request)
                response = await (to_its_end(performing) if name in CHANGES else performing)
                rpc.act.account = subject(response) or rpc.act.account
                return response

            return await self._entrance.run(context, rpc, work)

        return answer

    def _answering(self, name: str, method: _Method) -> Callable[[bytes, Context], Awaitable[Message]]:
        async def answer(data: bytes, context: Context) -> Message:
            rpc = _AdminRpc(name, context, self._telemetry)

            async def work() -> Message:
                admin = self._gateway.admin(rpc.shown)
                request = self._entrance.parse(method.request(), data)
                rpc.act.account = _subject(request)
                if not (method.all_providers or request.provider):
                    raise LlmError(INVALID_REQUEST, "provider: is missing.", field="provider")
                response = await to_its_end(method.perform(admin, request))  # the code of a login is good only once
                rpc.act.account = _outcome(response) or rpc.act.account
                return response

            return await self._entrance.run(context, rpc, work)

        return answer


class _AdminRpc:
    """A call of AdminService."""

    __slots__ = ("_telemetry", "act", "method", "request_id", "shown")

    def __init__(self, method: str, context: Context, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        metadata, self.shown = opening_of(context)
        self.request_id = request_id_of(metadata)
        self.method = f"/{NAME}/{method}"
        self.act = Act(telemetry.log, method, self.request_id, "grpc", context.peer())

    def admitted(self, principal: Principal, address: str) -> None:
        """Takes who calls, for the log."""
        self.act.who = who(principal)

    def finished(self, error: LlmError | None = None, *, cancelled: bool = False) -> Trailing:
        """Records the end of the call and returns its trailing metadata."""
        self.act.end(error, cancelled=cancelled)
        return (("loom-request-id", self.request_id),)

    def crashed(self, error: BaseException) -> None:
        """Writes down an exception that nobody expected."""
        self._telemetry.crashed(None, error)

    def last_event(self, error: LlmError) -> None:
        """Says that a stream ends with its status alone."""


def _id(id: str) -> str:
    try:
        return account_id(id)
    except ValueError as error:
        raise LlmError(INVALID_REQUEST, f"id: {error}.", field="id") from None


def _subject(request: Any) -> str:
    """Returns which account or provider a request is about."""
    id = getattr(request, "id", "") or getattr(request, "account_id", "")
    provider = getattr(request, "provider", "")
    return f"{provider}/{id}" if id else provider


def _outcome(response: Any) -> str:
    """Returns which account came of a request."""
    account = getattr(response, "account", None)
    return f"{account.provider}/{account.id}" if account is not None else ""


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()
