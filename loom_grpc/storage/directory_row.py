"""Keys, users, teams, organizations and budgets as rows of their tables, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import orjson
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Row, Table

from loom_grpc.core.directory import PERIOD_OF, PERIODS, SCOPE_OF, SCOPES, Thing
from loom_grpc.core.moment import timestamp_of, us_of
from loom_grpc.storage.tables import API_KEY, BUDGET, ORGANIZATION, PERSON, TEAM
from loom_grpc.v1.access_pb2 import Allowed, ApiKey, Budget, HashedKey, Limits, Organization, Team, User

Values = dict[str, object]


class Kind(NamedTuple):
    """How things of a kind are kept."""

    noun: str
    table: Table
    values: Callable[[Any], Values]
    """Gives the columns of a thing."""
    thing: Callable[[Row[Any]], Any]
    """Makes the thing of a row of the table; raises `ValueError` or `TypeError` for what this version cannot read."""
    references: Mapping[str, type[Thing]] = {}
    """The columns that hold the id of another thing, or NULL."""


def hashed_key(row: Row[Any]) -> HashedKey:
    """Makes the key of a row, with its hash."""
    return HashedKey(key=_key(row), sha256=row.sha256)


def key_values(key: ApiKey) -> Values:
    """Gives the columns of a key; its hash is not among them."""
    return {
        "id": key.id,
        "prefix": _plain(key.prefix),
        "display_name": _plain(key.display_name),
        "person": key.user or None,
        "team": key.team or None,
        "organization": key.organization or None,
        "role": key.role,
        "allowed": _json(key.allowed) if key.HasField("allowed") else None,
        "limits": _json(key.limits) if key.HasField("limits") else None,
        "created_us": us_of(key.create_time) if key.HasField("create_time") else None,
        "expires_us": us_of(key.expire_time) if key.HasField("expire_time") else None,
        "revoked_us": us_of(key.revoke_time) if key.HasField("revoke_time") else None,
        "replaced_by": key.replaced_by,
    }


def _named_values(thing: Organization | Team | User) -> Values:
    return {
        "id": thing.id,
        "display_name": _plain(thing.display_name),
        "limits": _json(thing.limits) if thing.HasField("limits") else None,
        "disabled": thing.disabled,
        "created_us": us_of(thing.create_time) if thing.HasField("create_time") else None,
    }


def _team_values(team: Team) -> Values:
    return {**_named_values(team), "organization": team.organization or None}


def _user_values(user: User) -> Values:
    references = {"organization": user.organization or None, "team": user.team or None}
    return {**_named_values(user), **references, "role": user.role}


def _budget_values(budget: Budget) -> Values:
    return {
        "id": budget.id,
        "scope_kind": SCOPES[budget.scope],
        "scope_id": budget.scope_id,
        "period": PERIODS[budget.period],
        "cap_nanos": budget.cap_nanos,
        "created_us": us_of(budget.create_time) if budget.HasField("create_time") else None,
    }


def _organization(row: Row[Any]) -> Organization:
    return Organization(
        id=row.id,
        display_name=row.display_name,
        limits=_limits(row.limits),
        disabled=row.disabled,
        create_time=_time(row.created_us),
    )


def _team(row: Row[Any]) -> Team:
    return Team(
        id=row.id,
        organization=row.organization,
        display_name=row.display_name,
        limits=_limits(row.limits),
        disabled=row.disabled,
        create_time=_time(row.created_us),
    )


def _user(row: Row[Any]) -> User:
    return User(
        id=row.id,
        organization=row.organization,
        team=row.team,
        display_name=row.display_name,
        role=row.role,
        limits=_limits(row.limits),
        disabled=row.disabled,
        create_time=_time(row.created_us),
    )


def _key(row: Row[Any]) -> ApiKey:
    return ApiKey(
        id=row.id,
        prefix=row.prefix,
        display_name=row.display_name,
        user=row.person,
        team=row.team,
        organization=row.organization,
        role=row.role,
        allowed=_allowed(row.allowed),
        limits=_limits(row.limits),
        create_time=_time(row.created_us),
        expire_time=_time(row.expires_us),
        revoke_time=_time(row.revoked_us),
        replaced_by=row.replaced_by,
    )


def _budget(row: Row[Any]) -> Budget:
    return Budget(
        id=row.id,
        scope=SCOPE_OF[row.scope_kind],
        scope_id=row.scope_id,
        period=PERIOD_OF[row.period],
        cap_nanos=row.cap_nanos,
        create_time=_time(row.created_us),
    )


def _plain(text: str) -> str:
    return text.replace("\0", "")  # PostgreSQL keeps none


def _json(message: Limits | Allowed) -> str:
    fields = {field.name: list(value) if field.is_repeated else value for field, value in message.ListFields()}
    return orjson.dumps(fields).decode()


def _limits(text: str | None) -> Limits | None:
    return None if text is None else Limits(**orjson.loads(text))


def _allowed(text: str | None) -> Allowed | None:
    return None if text is None else Allowed(**orjson.loads(text))


def _time(us: int | None) -> Timestamp | None:
    return None if us is None else timestamp_of(us)


KINDS: Final[Mapping[type[Thing], Kind]] = {
    Organization: Kind("organization", ORGANIZATION, _named_values, _organization),
    Team: Kind("team", TEAM, _team_values, _team, {"organization": Organization}),
    User: Kind("user", PERSON, _user_values, _user, {"organization": Organization, "team": Team}),
    ApiKey: Kind("key", API_KEY, key_values, _key, {"person": User, "team": Team, "organization": Organization}),
    Budget: Kind("budget", BUDGET, _budget_values, _budget),
}
KIND_OF: Final = {kind.noun: each for each, kind in KINDS.items()}
"""The kinds by what a budget's scope calls them."""
