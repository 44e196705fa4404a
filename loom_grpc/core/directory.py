"""Keys, users, teams, organizations and budgets: where they are kept, and what of them decides about calls."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, Protocol, TypeVar

from loom_grpc.core.quota import Cap
from loom_grpc.v1.access_pb2 import (
    BUDGET_PERIOD_DAY,
    BUDGET_PERIOD_MONTH,
    BUDGET_PERIOD_TOTAL,
    SCOPE_KIND_KEY,
    SCOPE_KIND_ORGANIZATION,
    SCOPE_KIND_TEAM,
    SCOPE_KIND_USER,
    AccessSnapshot,
    ApiKey,
    Budget,
    BudgetPeriod,
    HashedKey,
    Organization,
    ScopeKind,
    Team,
    User,
)

SCOPES: Final[dict[ScopeKind.ValueType, str]] = {
    SCOPE_KIND_KEY: "key",
    SCOPE_KIND_USER: "user",
    SCOPE_KIND_TEAM: "team",
    SCOPE_KIND_ORGANIZATION: "organization",
}
"""What budgets can be for, and what that is called everywhere but in the contract."""
PERIODS: Final[dict[BudgetPeriod.ValueType, str]] = {
    BUDGET_PERIOD_DAY: "day",
    BUDGET_PERIOD_MONTH: "month",
    BUDGET_PERIOD_TOTAL: "total",
}
"""How long budgets can last."""
SCOPE_OF: Final = {word: scope for scope, word in SCOPES.items()}
PERIOD_OF: Final = {word: period for period, word in PERIODS.items()}

Thing = Organization | Team | User | ApiKey | Budget
T = TypeVar("T", Organization, Team, User, ApiKey, Budget)


class NotFoundError(Exception):
    """There is no such thing; the words say which."""


class ConflictError(Exception):
    """Something of this id exists already, or something else depends on what was to be removed; the words say what."""


class Directory(Protocol):
    """Where they are kept. Raises `core.account.StoreError` when the store cannot be used, and what is said below.

    Every change raises the revision, in the same transaction.
    """

    async def revision(self) -> int:
        """Returns the number that rises with every change."""

    async def snapshot(self, now: float) -> AccessSnapshot:
        """Returns everything that access is decided by, as it is at one moment: also keys that have ended less than a day ago, and
        budgets with what the ledger says was spent in the period of `now` (seconds since 1970)."""

    async def spent(self, caps: Sequence[Cap], now: float) -> Sequence[int]:
        """Returns what the ledger says was spent of budgets, wherever they stand, in the periods of `now`: billionths of a dollar."""

    async def list(self, kind: type[T]) -> list[T]:
        """Returns all things of a kind, in the order of their ids; keys the newest first."""

    async def get(self, kind: type[T], id: str) -> T:
        """Returns one thing; raises `NotFoundError`."""

    async def create(self, thing: Organization | Team | User | Budget) -> None:
        """Keeps a new thing; raises `ConflictError`, and `NotFoundError` for what it refers to."""

    async def create_key(self, key: HashedKey) -> None:
        """Keeps a new key; raises `NotFoundError` for what it refers to."""

    async def rotate_key(self, new: HashedKey, old: ApiKey, budgets: Sequence[Budget] = ()) -> None:
        """Keeps a new key with its budgets and the old one's end, all or nothing; raises `NotFoundError`, and `ConflictError` for a budget
        that there is already and for an old key that was revoked or replaced meanwhile."""

    async def update(self, thing: Thing, names: Collection[str] | None = None) -> None:
        """Puts a thing, or only those of its fields, in the place of the one of its id; raises `NotFoundError`."""

    async def delete(self, kind: type[Organization | Team | User | Budget], id: str) -> None:
        """Removes a thing; raises `NotFoundError`, and `ConflictError` while something belongs to it."""

    async def close(self) -> None:
        """Lets go of the store."""
