"""Administering a server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, TypeVar

import grpc.aio
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from loom_grpc.client.failure import llm_error
from loom_grpc.v1.access_pb2 import SCOPE_KIND_UNSPECIFIED, ApiKey, Budget, Organization, ScopeKind, Team, User
from loom_grpc.v1.admin_service_pb2 import (
    Account,
    AddAccountRequest,
    CallFilter,
    CreateBudgetRequest,
    CreateKeyRequest,
    CreateKeyResponse,
    CreateOrganizationRequest,
    CreateTeamRequest,
    CreateUserRequest,
    DeleteBudgetRequest,
    DeleteOrganizationRequest,
    DeleteTeamRequest,
    DeleteUserRequest,
    DisableAccountRequest,
    EnableAccountRequest,
    ExportCallsRequest,
    ExportCallsResponse,
    FinishLoginRequest,
    GetCallRequest,
    ListAccountsRequest,
    ListBudgetsRequest,
    ListCallsRequest,
    ListKeysRequest,
    ListOrganizationsRequest,
    ListTeamsRequest,
    ListUsersRequest,
    QueryUsageRequest,
    ReloadConfigRequest,
    RemoveAccountRequest,
    RevokeKeyRequest,
    RotateKeyRequest,
    RotateKeyResponse,
    StartLoginRequest,
    StartLoginResponse,
    UpdateBudgetRequest,
    UpdateKeyRequest,
    UpdateOrganizationRequest,
    UpdateTeamRequest,
    UpdateUserRequest,
    UsageRow,
    WatchHealthRequest,
    WatchHealthResponse,
)
from loom_grpc.v1.admin_service_pb2_grpc import AdminServiceStub
from loom_grpc.v1.audit_pb2 import CallRecord

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
        pages = self._pages(self._stub.ListAccounts, ListAccountsRequest(provider=provider, page_size=_PAGE))
        return [account async for page in pages for account in page.accounts]

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
        async with aclosing(self._answers(self._stub.WatchHealth, WatchHealthRequest(provider=provider))) as answers:
            async for health in answers:
                yield health

    async def create_organization(self, organization: Organization) -> Organization:
        """Makes an organization."""
        request = CreateOrganizationRequest(organization=organization)
        return (await self._ask(self._stub.CreateOrganization, request)).organization

    async def list_organizations(self) -> list[Organization]:
        """Returns all organizations by their ids."""
        pages = self._pages(self._stub.ListOrganizations, ListOrganizationsRequest(page_size=_PAGE))
        return [organization async for page in pages for organization in page.organizations]

    async def update_organization(self, organization: Organization, *fields: str) -> Organization:
        """Changes the named fields of an organization, or all that are set where none is named."""
        request = UpdateOrganizationRequest(organization=organization, update_mask=FieldMask(paths=fields))
        return (await self._ask(self._stub.UpdateOrganization, request)).organization

    async def delete_organization(self, id: str) -> None:
        """Removes an organization that nothing belongs to."""
        await self._ask(self._stub.DeleteOrganization, DeleteOrganizationRequest(id=id))

    async def create_team(self, team: Team) -> Team:
        """Makes a team."""
        return (await self._ask(self._stub.CreateTeam, CreateTeamRequest(team=team))).team

    async def list_teams(self, organization: str = "") -> list[Team]:
        """Returns the teams of one organization or of all, by their ids."""
        request = ListTeamsRequest(organization=organization, page_size=_PAGE)
        return [team async for page in self._pages(self._stub.ListTeams, request) for team in page.teams]

    async def update_team(self, team: Team, *fields: str) -> Team:
        """Changes the named fields of a team, or all that are set where none is named."""
        request = UpdateTeamRequest(team=team, update_mask=FieldMask(paths=fields))
        return (await self._ask(self._stub.UpdateTeam, request)).team

    async def delete_team(self, id: str) -> None:
        """Removes a team that nothing belongs to."""
        await self._ask(self._stub.DeleteTeam, DeleteTeamRequest(id=id))

    async def create_user(self, user: User) -> User:
        """Makes a user."""
        return (await self._ask(self._stub.CreateUser, CreateUserRequest(user=user))).user

    async def list_users(self, organization: str = "") -> list[User]:
        """Returns the users of one organization or of all, by their ids."""
        request = ListUsersRequest(organization=organization, page_size=_PAGE)
        return [user async for page in self._pages(self._stub.ListUsers, request) for user in page.users]

    async def update_user(self, user: User, *fields: str) -> User:
        """Changes the named fields of a user, or all that are set where none is named."""
        request = UpdateUserRequest(user=user, update_mask=FieldMask(paths=fields))
        return (await self._ask(self._stub.UpdateUser, request)).user

    async def delete_user(self, id: str) -> None:
        """Removes a user who has no keys."""
        await self._ask(self._stub.DeleteUser, DeleteUserRequest(id=id))

    async def create_key(self, key: ApiKey) -> CreateKeyResponse:
        """Makes a key; its text, `secret`, is told this once."""
        return await self._ask(self._stub.CreateKey, CreateKeyRequest(key=key))

    async def list_keys(
        self, *, user: str = "", team: str = "", organization: str = "", show_ended: bool = False
    ) -> list[ApiKey]:
        """Returns the keys of a user, a team or an organization, or all, the newest first; ended ones only where they are asked for."""
        request = ListKeysRequest(
            user=user, team=team, organization=organization, show_ended=show_ended, page_size=_PAGE
        )
        return [key async for page in self._pages(self._stub.ListKeys, request) for key in page.keys]

    async def update_key(self, key: ApiKey, *fields: str) -> ApiKey:
        """Changes the named fields of a key, or all that are set where none is named."""
        request = UpdateKeyRequest(key=key, update_mask=FieldMask(paths=fields))
        return (await self._ask(self._stub.UpdateKey, request)).key

    async def rotate_key(self, id: str, overlap_s: float | None = None) -> RotateKeyResponse:
        """Makes a key that takes another one's place, which is taken for `overlap_s` seconds more; None is a day."""
        request = RotateKeyRequest(id=id)
        if overlap_s is not None:
            request.overlap.CopyFrom(_duration(overlap_s))
        return await self._ask(self._stub.RotateKey, request)

    async def revoke_key(self, id: str) -> ApiKey:
        """Ends a key."""
        return (await self._ask(self._stub.RevokeKey, RevokeKeyRequest(id=id))).key

    async def create_budget(self, budget: Budget) -> Budget:
        """Makes a budget."""
        return (await self._ask(self._stub.CreateBudget, CreateBudgetRequest(budget=budget))).budget

    async def list_budgets(
        self, scope: ScopeKind.ValueType = SCOPE_KIND_UNSPECIFIED, scope_id: str = ""
    ) -> list[Budget]:
        """Returns the budgets of one kind of scope, of one scope, or all, with what was spent and is reserved."""
        request = ListBudgetsRequest(scope=scope, scope_id=scope_id, page_size=_PAGE)
        return [budget async for page in self._pages(self._stub.ListBudgets, request) for budget in page.budgets]

    async def update_budget(self, id: str, cap_nanos: int) -> Budget:
        """Changes how much may be spent, in billionths of a dollar."""
        request = UpdateBudgetRequest(id=id, cap_nanos=cap_nanos)
        return (await self._ask(self._stub.UpdateBudget, request)).budget

    async def delete_budget(self, id: str) -> None:
        """Removes a budget."""
        await self._ask(self._stub.DeleteBudget, DeleteBudgetRequest(id=id))

    async def query_usage(self, *group_by: str, filter: CallFilter | None = None) -> list[UsageRow]:
        """Adds up calls by groups such as `day`, `user`, `model` or `label:team`, in the order of the groups."""
        request = QueryUsageRequest(filter=filter, group_by=group_by, page_size=_PAGE)
        return [row async for page in self._pages(self._stub.QueryUsage, request) for row in page.rows]

    async def list_calls(
        self, filter: CallFilter | None = None, *, page_size: int = 100
    ) -> AsyncGenerator[CallRecord, None]:
        """Yields records of calls without prompts and answers, the newest first; asks for the next page when it comes to it."""
        pages = self._pages(self._stub.ListCalls, ListCallsRequest(filter=filter, page_size=page_size))
        async with aclosing(pages):
            async for page in pages:
                for record in page.calls:
                    yield record

    async def get_call(self, id: str) -> CallRecord:
        """Returns the record of one call, with prompt and answer where they are kept."""
        return (await self._ask(self._stub.GetCall, GetCallRequest(id=id))).call

    async def export_calls(
        self, filter: CallFilter | None = None, *, timeout_s: float | None = None
    ) -> AsyncGenerator[ExportCallsResponse, None]:
        """Yields the records of calls, the oldest first and some at a time; the first answer tells how many there are.

        Has no time limit but the one that is given here. The loop ends without an error only when all records have come; leaving it
        ends the call.
        """
        answers = self._answers(self._stub.ExportCalls, ExportCallsRequest(filter=filter), timeout_s)
        async with aclosing(answers):
            async for answer in answers:
                yield answer

    async def _ask(self, method: grpc.aio.UnaryUnaryMultiCallable[Any, _R], request: Any) -> _R:
        try:
            return await method(request, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as failure:
            raise llm_error(failure, self._target) from failure

    async def _pages(self, method: grpc.aio.UnaryUnaryMultiCallable[Any, _R], request: Any) -> AsyncGenerator[_R, None]:
        """Yields page after page of a list, each within the time limit."""
        while True:
            page: Any = await self._ask(method, request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def _answers(
        self, method: grpc.aio.UnaryStreamMultiCallable[Any, _R], request: Any, timeout_s: float | None = None
    ) -> AsyncGenerator[_R, None]:
        """Yields what a stream brings; cancels the call when it is left."""
        rpc = method(request, timeout=timeout_s, metadata=self._metadata)
        try:
            async for answer in rpc:
                yield answer
        except grpc.aio.AioRpcError as failure:
            raise llm_error(failure, self._target) from failure
        finally:
            rpc.cancel()


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromMicroseconds(round(seconds * 1e6))
    return duration
