"""Who is known, and what each of them may do: an index made of a snapshot."""

from __future__ import annotations

import asyncio
import ipaddress
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Final, Literal, NamedTuple

from loom_grpc.config.access import BudgetConfig, LimitConfig, LimitsConfig
from loom_grpc.core.directory import PERIODS, SCOPES
from loom_grpc.core.errors import PERMISSION_DENIED, LlmError
from loom_grpc.core.fingerprint import tenant_of
from loom_grpc.core.principal import EVERYTHING, Allowed, Need, Principal
from loom_grpc.core.quota import Cap, Rate, Scope
from loom_grpc.v1 import access_pb2 as pb

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Thing = pb.User | pb.Team | pb.Organization

_MAX_PEOPLE: Final = 10_000
"""How many callers without keys are remembered: tokens may name any number of users."""
_NOBODY: Final = pb.User()


class Known(NamedTuple):
    """A key that is known, whatever has become of it."""

    principal: Principal
    expire_s: float
    """When it ends, in seconds since 1970."""
    is_revoked: bool
    networks: tuple[Network, ...] | None
    """Where calls may come from; None is anywhere."""
    refusal: str
    """Why its holder may not call at present; empty when it may."""


class _Place(NamedTuple):
    """Whom a caller's calls count for; the names are those of scopes."""

    user: str
    team: str
    organization: str

    @property
    def scopes(self) -> list[Scope]:
        return [Scope(kind, id) for kind, id in zip(self._fields, self, strict=True) if id]


class Book:
    """Finds callers in a snapshot. Making it takes some 10 ms for 50,000 keys; what a key stands for is worked out when it is first used.

    Limits and budgets of the configuration are added to those of the snapshot; of two budgets for the same the lesser counts.
    """

    def __init__(self, snapshot: pb.AccessSnapshot, limits: LimitsConfig, budgets: Sequence[BudgetConfig]) -> None:
        self.snapshot = snapshot
        self._limits = limits
        self._rows = {row.sha256: number for number, row in enumerate(snapshot.keys)}
        self._things: Mapping[str, Mapping[str, Thing]] = {
            "user": {user.id: user for user in snapshot.users},
            "team": {team.id: team for team in snapshot.teams},
            "organization": {organization.id: organization for organization in snapshot.organizations},
        }
        self._caps = _caps([*_kept(snapshot.budgets), *_configured(budgets)])
        self._keys: dict[bytes, Known] = {}
        self._people: dict[tuple[str, str, str, Need, str], tuple[Principal, str]] = {}

    def caps(self) -> Iterator[Cap]:
        """Yields all budgets that count."""
        for caps in self._caps.values():
            yield from caps

    @cached_property
    def knows_admins(self) -> bool:
        """Whether any key lets its holder administer."""
        return any(row.key.role == pb.ACCESS_ROLE_ADMIN for row in self.snapshot.keys)

    def find(self, sha256: bytes) -> Known | None:
        """Returns the key of a digest."""
        known = self._keys.get(sha256)
        if known is None and (number := self._rows.get(sha256)) is not None:
            known = self._keys[sha256] = self._known(self.snapshot.keys[number].key)
        return known

    def person(
        self, user: str, team: str, organization: str, role: Need, method: Literal["jwt", "certificate"]
    ) -> Principal:
        """Returns a caller who was identified without a key; raises `LlmError` (PERMISSION_DENIED) where it is disabled.

        Nobody needs to be known. Of a user who is, the directory's team and organization count, and no more than its role.
        """
        asked = (user, team, organization, role, method)
        found = self._people.get(asked)
        if found is None:
            if len(self._people) >= _MAX_PEOPLE:
                self._people.clear()
            found = self._people[asked] = self._person(*asked)
        principal, refusal = found
        if refusal:
            raise LlmError(PERMISSION_DENIED, refusal)
        return principal

    def _known(self, key: pb.ApiKey) -> Known:
        user = self._user(key.user) or _NOBODY
        place = self._place(key.user, key.team or user.team, key.organization or user.organization)
        belongs = [*place.scopes, Scope("team", user.team), Scope("organization", user.organization)]
        own = Scope("key", key.id)
        need = min(_need(key.role), _need(user.role)) if key.user else _need(key.role)
        principal = Principal(
            method="key",
            need=need,
            key_id=key.id,
            user=place.user,
            team=place.team,
            organization=place.organization,
            tenant=_tenant(place) or tenant_of([own]),
            allowed=_allowed(key.allowed),
            rates=_limiting([_rate(own, key.limits, self._limits.key), *self._rates(place)]),
            caps=self._capped([own, *place.scopes]),
        )
        return Known(
            principal,
            _seconds(key),
            key.HasField("revoke_time"),
            _networks(key.allowed.source_networks),
            self._refusal(belongs, must_exist=True),
        )

    def _person(self, id: str, team: str, organization: str, role: Need, method: str) -> tuple[Principal, str]:
        user = self._user(id)
        known = user or _NOBODY
        place = self._place(id, known.team or team, known.organization or organization)
        principal = Principal(
            method=method,
            need=role if user is None else min(role, _need(user.role)),
            user=place.user,
            team=place.team,
            organization=place.organization,
            tenant=_tenant(place),
            rates=_limiting(self._rates(place)),
            caps=self._capped(place.scopes),
        )
        belongs = [*place.scopes, Scope("team", team), Scope("organization", organization)]
        return principal, self._refusal(belongs, must_exist=False)

    def _user(self, id: str) -> pb.User | None:
        user = self._things["user"].get(id)
        return user if isinstance(user, pb.User) else None

    def _place(self, user: str, team: str, organization: str) -> _Place:
        """Returns where a caller belongs; a team may say which organization it is of."""
        of_team = self._things["team"].get(team)
        if not organization and isinstance(of_team, pb.Team):
            organization = of_team.organization
        return _Place(user, team, organization)

    def _rates(self, place: _Place) -> Iterator[Rate]:
        for scope in place.scopes:
            own = self._things[scope.kind].get(scope.id, _NOBODY).limits
            yield _rate(scope, own, getattr(self._limits, scope.kind))

    def _capped(self, scopes: Iterable[Scope]) -> tuple[Cap, ...]:
        return tuple(cap for scope in scopes for cap in self._caps.get(scope, ()))

    def _refusal(self, belongs: Iterable[Scope], *, must_exist: bool) -> str:
        for kind, id in belongs:
            thing = self._things[kind].get(id)
            if thing is not None and thing.disabled:
                return f"The {kind} of this caller is disabled; an administrator of this server can enable it."
            if thing is None and id and must_exist:
                return f"The {kind} of this key is not known any more."
        return ""


async def make_book(snapshot: pb.AccessSnapshot, limits: LimitsConfig, budgets: Sequence[BudgetConfig]) -> Book:
    """Makes a book beside the event loop."""
    return await asyncio.to_thread(Book, snapshot, limits, budgets)


def _need(role: pb.AccessRole.ValueType) -> Need:
    return Need.ADMIN if role == pb.ACCESS_ROLE_ADMIN else Need.USER


def _tenant(place: _Place) -> str:
    """Returns on whose behalf a caller calls: a user, whatever it shows, or else the team's or the organization's programs."""
    return tenant_of([Scope("user", place.user)] if place.user else place.scopes)


def _allowed(allowed: pb.Allowed) -> Allowed:
    if not (allowed.providers or allowed.models or allowed.routes):
        return EVERYTHING
    return Allowed(frozenset(allowed.providers), tuple(allowed.models), frozenset(allowed.routes))


def _networks(texts: Iterable[str]) -> tuple[Network, ...] | None:
    wanted = list(texts)
    return tuple(_parsed(wanted)) if wanted else None


def _parsed(texts: list[str]) -> Iterator[Network]:
    for text in texts:
        try:
            yield ipaddress.ip_network(text, strict=False)
        except ValueError:  # what is no network has no address in it
            continue


def _seconds(key: pb.ApiKey) -> float:
    return key.expire_time.seconds + key.expire_time.nanos / 1e9 if key.HasField("expire_time") else math.inf


def _rate(scope: Scope, own: pb.Limits, usual: LimitConfig) -> Rate:
    return Rate(
        scope,
        own.requests_per_minute if own.HasField("requests_per_minute") else usual.requests_per_minute,
        own.tokens_per_minute if own.HasField("tokens_per_minute") else usual.tokens_per_minute,
        own.concurrent_streams if own.HasField("concurrent_streams") else usual.concurrent_streams,
    )


def _limiting(rates: Iterable[Rate]) -> tuple[Rate, ...]:
    return tuple(rate for rate in rates if rate[1:] != (None, None, None))


def _kept(budgets: Iterable[pb.Budget]) -> Iterator[Cap]:
    for budget in budgets:
        scope, period = SCOPES.get(budget.scope), PERIODS.get(budget.period)
        if scope is not None and period is not None:
            yield Cap(budget.id, Scope(scope, budget.scope_id), period, budget.cap_nanos)


def _configured(budgets: Iterable[BudgetConfig]) -> Iterator[Cap]:
    for budget in budgets:
        yield Cap(budget.name, Scope(budget.scope, budget.id), budget.period, budget.nanos)


def _caps(caps: Iterable[Cap]) -> dict[Scope, tuple[Cap, ...]]:
    least: dict[Scope, dict[str, Cap]] = {}
    for cap in caps:
        of_scope = least.setdefault(cap.scope, {})
        if cap.period not in of_scope or cap.nanos < of_scope[cap.period].nanos:
            of_scope[cap.period] = cap
    return {scope: tuple(of_scope.values()) for scope, of_scope in least.items()}
