"""What an operator may do with keys."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from google.protobuf.duration_pb2 import Duration

from loom_grpc.access.key import digest, new_key, shown_prefix
from loom_grpc.app.check import check_fields, check_id, seconds_of, wrong
from loom_grpc.app.mask import SET_BY_SERVER, merged
from loom_grpc.app.page import page_of
from loom_grpc.core.directory import PERIOD_OF, Directory
from loom_grpc.core.moment import timestamp, us_of
from loom_grpc.core.quota import Cap
from loom_grpc.v1.access_pb2 import (
    ACCESS_ROLE_ADMIN,
    ACCESS_ROLE_USER,
    SCOPE_KIND_KEY,
    ApiKey,
    Budget,
    HashedKey,
    Team,
    User,
)
from loom_grpc.v1.admin_service_pb2 import (
    CreateKeyRequest,
    CreateKeyResponse,
    ListKeysRequest,
    ListKeysResponse,
    RevokeKeyRequest,
    RevokeKeyResponse,
    RotateKeyRequest,
    RotateKeyResponse,
    UpdateKeyRequest,
    UpdateKeyResponse,
)

_OVERLAP_S: Final = 86_400
_MOST_OVERLAP_S: Final = 366 * 86_400
_CHECKED: Final = ("display_name", "user", "team", "organization", "role", "allowed", "limits", "expire_time")


class Keys:
    """Makes, changes and ends keys in a directory. `caps` gives all budgets that count, `clock` seconds since 1970."""

    def __init__(self, directory: Directory, caps: Callable[[], Iterable[Cap]], clock: Callable[[], float]) -> None:
        self._directory = directory
        self._caps = caps
        self._clock = clock

    async def create(self, request: CreateKeyRequest) -> CreateKeyResponse:
        """Makes a key and tells its text."""
        now = self._clock()
        check_fields(request.key, _CHECKED, "key", now)
        await self._check_role(request.key)
        hashed, text = _made(request.key, now)
        await self._directory.create_key(hashed)
        return CreateKeyResponse(key=hashed.key, secret=text)

    async def list(self, request: ListKeysRequest) -> ListKeysResponse:
        """Lists keys, the newest first; those of a team are those whose calls count for it, whoever says so."""
        now = self._clock()
        keys = await self._directory.list(ApiKey)
        if not request.show_ended:
            keys = [key for key in keys if not _has_ended(key, now)]
        if request.user or request.team or request.organization:
            keys = await _counting_for(request, keys, self._directory)
        page, more = page_of(request, keys, _place)
        return ListKeysResponse(keys=page, next_page_token=more)

    async def update(self, request: UpdateKeyRequest) -> UpdateKeyResponse:
        """Changes a key."""
        check_id(request.key.id, "key.id")
        old = await self._directory.get(ApiKey, request.key.id)
        key, names = merged(old, request.key, request.update_mask, "key")
        check_fields(key, names, "key", self._clock())
        _to_the_microsecond(key)
        await self._directory.update(key, names)
        return UpdateKeyResponse(key=key)

    async def rotate(self, request: RotateKeyRequest) -> RotateKeyResponse:
        """Makes a key like another one, which ends after a while; the new one ends when the old one would have, and has budgets like it."""
        check_id(request.id)
        now, overlap_s = self._clock(), _overlap_s(request)
        old = await self._directory.get(ApiKey, request.id)
        if _has_ended(old, now):
            raise wrong("id", f"{old.id} has ended; make a new key")
        if old.replaced_by:
            raise wrong("id", f"{old.id} was replaced by {old.replaced_by}; rotate that one")
        new, text = _made(old, now)
        old.replaced_by = new.key.id
        if not old.HasField("expire_time") or seconds_of(old.expire_time) > now + overlap_s:
            old.expire_time.CopyFrom(timestamp(now + overlap_s))
        await self._directory.rotate_key(new, old, await self._budgets_like(old.id, new.key))
        return RotateKeyResponse(key=new.key, secret=text, replaced=old)

    async def revoke(self, request: RevokeKeyRequest) -> RevokeKeyResponse:
        """Ends a key; one that is revoked already stays as it is."""
        check_id(request.id)
        key = await self._directory.get(ApiKey, request.id)
        if not key.HasField("revoke_time"):
            key.revoke_time.CopyFrom(timestamp(self._clock()))
            await self._directory.update(key, ["revoke_time"])
        return RevokeKeyResponse(key=key)

    async def _check_role(self, key: ApiKey) -> None:
        """Raises `LlmError` for a key that would look like an admin's and be none, as it is never more than its user."""
        if key.role == ACCESS_ROLE_ADMIN and key.user:
            user = await self._directory.get(User, key.user)
            if user.role != ACCESS_ROLE_ADMIN:
                raise wrong("key.role", f"the user {user.id} is no admin, and a key is never more than its user")

    async def _budgets_like(self, id: str, new: ApiKey) -> Sequence[Budget]:
        """Makes budgets for a new key like those of the one before."""
        kept = [budget for budget in await self._directory.list(Budget) if budget.scope_id == id]
        nanos = {budget.period: budget.cap_nanos for budget in kept if budget.scope == SCOPE_KIND_KEY}
        for cap in self._caps():  # the configuration may have less
            if cap.scope == ("key", id):
                period = PERIOD_OF[cap.period]
                nanos[period] = min(cap.nanos, nanos.get(period, cap.nanos))
        return [
            Budget(
                id=new_id("budget"),
                scope=SCOPE_KIND_KEY,
                scope_id=new.id,
                period=period,
                cap_nanos=most,
                create_time=new.create_time,
            )
            for period, most in nanos.items()
        ]


def new_id(noun: str) -> str:
    """Returns an id that nothing has yet, such as `key-0123456789abcdef`."""
    return f"{noun}-{secrets.token_hex(8)}"


def _made(like: ApiKey, now: float) -> tuple[HashedKey, str]:
    """Makes a key like another one, and its text."""
    text = new_key("lt" if like.user else "lk")
    key = ApiKey()
    key.CopyFrom(like)
    key.DiscardUnknownFields()
    for name in SET_BY_SERVER:
        key.ClearField(name)
    key.id, key.prefix, key.role = new_id("key"), shown_prefix(text), key.role or ACCESS_ROLE_USER
    key.create_time.CopyFrom(timestamp(now))
    _to_the_microsecond(key)
    return HashedKey(key=key, sha256=digest(text)), text


def _to_the_microsecond(key: ApiKey) -> None:
    """Shortens a key's end to what the database keeps of it, so that everybody is told the same."""
    if key.HasField("expire_time"):
        key.expire_time.nanos -= key.expire_time.nanos % 1000


def _has_ended(key: ApiKey, now: float) -> bool:
    return key.HasField("revoke_time") or (key.HasField("expire_time") and seconds_of(key.expire_time) <= now)


async def _counting_for(request: ListKeysRequest, keys: list[ApiKey], directory: Directory) -> list[ApiKey]:
    """Returns the keys whose calls count for those whom a request names; where a key says nothing its user does, and then the team."""
    users = {user.id: user for user in await directory.list(User)}
    teams = {team.id: team for team in await directory.list(Team)}
    wanted = (request.user, request.team, request.organization)

    def counts(key: ApiKey) -> bool:
        user = users.get(key.user, User())
        team = key.team or user.team
        organization = key.organization or user.organization or teams.get(team, Team()).organization
        return all(not one or one == its for one, its in zip(wanted, (key.user, team, organization), strict=True))

    return [key for key in keys if counts(key)]


def _overlap_s(request: RotateKeyRequest) -> float:
    if not request.HasField("overlap"):
        return _OVERLAP_S
    overlap: Duration = request.overlap
    seconds = overlap.seconds + overlap.nanos / 1e9
    if not 0 <= seconds <= _MOST_OVERLAP_S or abs(overlap.nanos) >= 10**9:
        raise wrong("overlap", f"must be from 0 to {_MOST_OVERLAP_S} seconds")
    return seconds


def _place(key: ApiKey) -> str:
    """Returns where a key is in a list, the newest first."""
    return f"{10**18 - us_of(key.create_time):019d}/{key.id}"
