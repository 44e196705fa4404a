"""Administering a server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import grpc.aio

from loom_grpc.client.failure import llm_error
from loom_grpc.v1.admin_service_pb2 import (
    Account,
    AddAccountRequest,
    DisableAccountRequest,
    EnableAccountRequest,
    FinishLoginRequest,
    ListAccountsRequest,
    ReloadConfigRequest,
    RemoveAccountRequest,
    StartLoginRequest,
    StartLoginResponse,
    WatchHealthRequest,
    WatchHealthResponse,
)
from loom_grpc.v1.admin_service_pb2_grpc import AdminServiceStub

if TYPE_CHECKING:
    from loom_grpc.v1.admin_service_pb2_grpc import AdminServiceAsyncStub

_R = TypeVar("_R")
_PAGE: Final = 1000


class AdminClient:
    """Does what an operator may do; made by `LoomClient.admin`, whose connection and time limit it has.

    Every method raises `LlmError` when the call fails. Cancelling a task that waits here cancels the call.
    """

    def __init__(
        self, channel: grpc.aio.Channel, target: str, metadata: Sequence[tuple[str, str]], timeout_s: float | None
    ) -> None:
        self._stub: AdminServiceAsyncStub = AdminServiceStub(channel)
        self._target = target
        self._metadata = metadata
        self._timeout_s = timeout_s

    async def list_accounts(self, provider: str = "") -> list[Account]:
        """Returns the accounts of one provider or of all, in the order of the server's configuration, then in that of their ids."""
        accounts: list[Account] = []
        request = ListAccountsRequest(provider=provider, page_size=_PAGE)
        while True:
            page = await self._ask(self._stub.ListAccounts, request)
            accounts += page.accounts
            if not page.next_page_token:
                return accounts
            request.page_token = page.next_page_token

    async def add_account(self, provider: str, id: str, api_key: str) -> Account:
        """Adds an account with a key of the provider; an empty id lets the server make one."""
        request = AddAccountRequest(provider=provider, id=id, api_key=api_key)
        return (await self._ask(self._stub.AddAccount, request)).account

    async def remove_account(self, provider: str, id: str) -> None:
        """Removes an account and forgets what it shows its provider."""
        await self._ask(self._stub.RemoveAccount, RemoveAccountRequest(provider=provider, id=id))

    async def enable_account(self, provider: str, id: str) -> Account:
        """Lets an account be asked again."""
        request = EnableAccountRequest(provider=provider, id=id)
        return (await self._ask(self._stub.EnableAccount, request)).account

    async def disable_account(self, provider: str, id: str) -> Account:
        """Keeps an account from being asked until it is enabled."""
        request = DisableAccountRequest(provider=provider, id=id)
        return (await self._ask(self._stub.DisableAccount, request)).account

    async def start_login(self, provider: str, account_id: str = "") -> StartLoginResponse:
        """Begins an OAuth login; an empty id lets the server make one."""
        return await self._ask(self._stub.StartLogin, StartLoginRequest(provider=provider, account_id=account_id))

    async def finish_login(self, provider: str, code: str, state: str) -> Account:
        """Finishes an OAuth login with the code that the provider showed and the state that the login began with."""
        request = FinishLoginRequest(provider=provider, code=code, state=state)
        return (await self._ask(self._stub.FinishLogin, request)).account

    async def reload_config(self) -> list[str]:
        """Has the server read its configuration again and serve by it; returns the keys that it changes, by dotted path.

        INVALID_REQUEST with every problem of a configuration that cannot be served; the one before then stays.
        """
        return list((await self._ask(self._stub.ReloadConfig, ReloadConfigRequest())).changed_keys)

    async def watch_health(self, provider: str = "") -> AsyncGenerator[WatchHealthResponse, None]:
        """Yields how all accounts fare, at once and after every change, without a time limit; leaving the loop ends the call.

        A server that shuts down ends it with DRAINING.
        """
        rpc = self._stub.WatchHealth(WatchHealthRequest(provider=provider), metadata=self._metadata)
        try:
            async for health in rpc:
                yield health
        except grpc.aio.AioRpcError as failure:
            raise llm_error(failure, self._target) from failure
        finally:
            rpc.cancel()

    async def _ask(self, method: grpc.aio.UnaryUnaryMultiCallable[Any, _R], request: Any) -> _R:
        try:
            return await method(request, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as failure:
            raise llm_error(failure, self._target) from failure
