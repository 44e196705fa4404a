"""What an operator may do with organizations, teams and users."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from google.protobuf.message import Message

from loom_grpc.app.check import check_fields, check_id
from loom_grpc.app.mask import merged
from loom_grpc.app.page import page_of
from loom_grpc.core.directory import Directory
from loom_grpc.core.moment import timestamp
from loom_grpc.v1.access_pb2 import ACCESS_ROLE_USER, Organization, Team, User
from loom_grpc.v1.admin_service_pb2 import (
    CreateOrganizationRequest,
    CreateOrganizationResponse,
    CreateTeamRequest,
    CreateTeamResponse,
    CreateUserRequest,
    CreateUserResponse,
    DeleteOrganizationRequest,
    DeleteOrganizationResponse,
    DeleteTeamRequest,
    DeleteTeamResponse,
    DeleteUserRequest,
    DeleteUserResponse,
    ListOrganizationsRequest,
    ListOrganizationsResponse,
    ListTeamsRequest,
    ListTeamsResponse,
    ListUsersRequest,
    ListUsersResponse,
    UpdateOrganizationRequest,
    UpdateOrganizationResponse,
    UpdateTeamRequest,
    UpdateTeamResponse,
    UpdateUserRequest,
    UpdateUserResponse,
)


class _Row(NamedTuple):
    """What one kind of thing is called in a request and in its response."""

    kind: type[Any]
    field: str
    response: type[Message]


ROWS: Final[dict[type[Message], _Row]] = {
    CreateOrganizationRequest: _Row(Organization, "organization", CreateOrganizationResponse),
    ListOrganizationsRequest: _Row(Organization, "organizations", ListOrganizationsResponse),
    UpdateOrganizationRequest: _Row(Organization, "organization", UpdateOrganizationResponse),
    DeleteOrganizationRequest: _Row(Organization, "", DeleteOrganizationResponse),
    CreateTeamRequest: _Row(Team, "team", CreateTeamResponse),
    ListTeamsRequest: _Row(Team, "teams", ListTeamsResponse),
    UpdateTeamRequest: _Row(Team, "team", UpdateTeamResponse),
    DeleteTeamRequest: _Row(Team, "", DeleteTeamResponse),
    CreateUserRequest: _Row(User, "user", CreateUserResponse),
    ListUsersRequest: _Row(User, "users", ListUsersResponse),
    UpdateUserRequest: _Row(User, "user", UpdateUserResponse),
    DeleteUserRequest: _Row(User, "", DeleteUserResponse),
}
_CHECKED: Final = ("organization", "team", "display_name", "role", "limits")


class People:
    """Makes, changes and removes organizations, teams and users in a directory. `clock` gives seconds since 1970."""

    def __init__(self, directory: Directory, clock: Callable[[], float]) -> None:
        self._directory = directory
        self._clock = clock

    async def create(self, request: Any) -> Message:
        """Makes a thing."""
        row, now = ROWS[type(request)], self._clock()
        thing = row.kind()
        thing.CopyFrom(getattr(request, row.field))
        thing.DiscardUnknownFields()
        check_id(thing.id, f"{row.field}.id")
        check_fields(thing, _of(thing), row.field, now)
        thing.create_time.CopyFrom(timestamp(now))
        _settle_role(thing)
        await self._directory.create(thing)
        return row.response(**{row.field: thing})

    async def list(self, request: Any) -> Message:
        """Lists things by their ids."""
        row = ROWS[type(request)]
        things = await self._directory.list(row.kind)
        if wanted := getattr(request, "organization", ""):
            things = [thing for thing in things if thing.organization == wanted]
        page, more = page_of(request, things, lambda thing: str(thing.id))
        return row.response(**{row.field: page}, next_page_token=more)

    async def update(self, request: Any) -> Message:
        """Changes a thing."""
        row = ROWS[type(request)]
        wanted = getattr(request, row.field)
        check_id(wanted.id, f"{row.field}.id")
        old = await self._directory.get(row.kind, wanted.id)
        thing, names = merged(old, wanted, request.update_mask, row.field)
        check_fields(thing, names, row.field, self._clock())
        _settle_role(thing)
        await self._directory.update(thing, names)
        return row.response(**{row.field: thing})

    async def delete(self, request: Any) -> Message:
        """Removes a thing to which nothing belongs."""
        row = ROWS[type(request)]
        check_id(request.id)
        await self._directory.delete(row.kind, request.id)
        return row.response()


def _of(thing: Any) -> list[str]:
    return [name for name in _CHECKED if name in thing.DESCRIPTOR.fields_by_name]


def _settle_role(thing: Any) -> None:
    if isinstance(thing, User):
        thing.role = thing.role or ACCESS_ROLE_USER
