"""Keys, users, teams, organizations and budgets in a database, which several servers may share."""

from __future__ import annotations

import builtins
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import ColumnElement, Row, Select, and_, delete, false, func, or_, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from loom_grpc.core.account import StoreError
from loom_grpc.core.directory import PERIODS, SCOPES, ConflictError, NotFoundError, T, Thing
from loom_grpc.core.moment import us_of
from loom_grpc.core.period import DAY_S, Period, period_of
from loom_grpc.core.quota import Cap, Scope
from loom_grpc.storage.database import Database
from loom_grpc.storage.directory_row import KIND_OF, KINDS, Kind, hashed_key, key_values
from loom_grpc.storage.ledger_tables import SPEND
from loom_grpc.storage.tables import ACCESS_REVISION, API_KEY, BUDGET
from loom_grpc.v1.access_pb2 import AccessSnapshot, ApiKey, Budget, HashedKey, Organization, Team, User

_ENDED_S: Final = DAY_S
"""How long a snapshot still has keys that have ended."""
_COLUMNS: Final = {"user": "person", "expire_time": "expires_us", "revoke_time": "revoked_us"}
"""Where fields are kept whose columns have other names."""
_PIECE: Final = 200
"""How many rows are read between two turns of the event loop."""
Read = TypeVar("Read")


class DatabaseDirectory:
    """Keeps them in a database.

    All changes wait for each other, so that what is checked holds until the change is made. A key that was revoked stays so, whatever
    changes it at the same time. Revoked keys and budgets go with what they belong to; all else has to go before.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    async def revision(self) -> int:
        """Returns the number that rises with every change."""
        async with self.database.read() as connection:
            return await _revision(connection)

    async def snapshot(self, now: float) -> AccessSnapshot:
        """Returns everything as it is at one moment; other tasks have their turns while it is put together."""
        read_time = Timestamp()
        read_time.FromNanoseconds(int(now * 1e9))
        snapshot = AccessSnapshot(read_time=read_time)
        async with self._moment() as connection:
            spent = {row.id: int(row.nanos) for row in await connection.execute(_spent(now))}
            snapshot.revision = await _revision(connection)
            await _read(connection, _taken_keys(now), hashed_key, snapshot.keys.extend)
            await _read_all(connection, Organization, snapshot.organizations.extend)
            await _read_all(connection, Team, snapshot.teams.extend)
            await _read_all(connection, User, snapshot.users.extend)
            await _read_all(connection, Budget, snapshot.budgets.extend)
        for budget in snapshot.budgets:
            budget.spent_nanos = spent.get(budget.id, 0)
        return snapshot

    async def spent(self, caps: Sequence[Cap], now: float) -> builtins.list[int]:
        """Returns what the ledger says was spent of budgets, wherever they stand, in the periods of `now`: billionths of a dollar."""
        spent: dict[tuple[str, Scope], int] = {}
        async with self.database.read() as connection:
            for period, kind, ids in _asked(caps):
                for row in await connection.execute(_spent_by(period, kind, ids, now)):
                    spent[period, Scope(kind, row.scope_id)] = int(row.nanos)
        return [spent.get((cap.period, cap.scope), 0) for cap in caps]

    async def list(self, kind: type[T]) -> builtins.list[T]:
        """Returns all things of a kind, in the order of their ids; keys the newest first."""
        things: builtins.list[T] = []
        async with self.database.read() as connection:
            await _read_all(connection, kind, things.extend)
        # Databases have orders of text of their own.
        things.sort(key=lambda thing: thing.id)
        if kind is ApiKey:
            things.sort(key=lambda key: us_of(key.create_time), reverse=True)
        return things

    async def get(self, kind: type[T], id: str) -> T:
        """Returns one thing; raises `NotFoundError`."""
        things: builtins.list[T] = []
        async with self.database.read() as connection:
            await _read(connection, select(KINDS[kind].table).where(_is(kind, id)), KINDS[kind].thing, things.extend)
        if not things:
            raise _missing(kind, id)
        return things[0]

    async def create(self, thing: Organization | Team | User | Budget) -> None:
        """Keeps a new thing; raises `ConflictError`, and `NotFoundError` for what it refers to."""
        kind = KINDS[type(thing)]
        async with self._change() as connection:
            if await _exists(connection, type(thing), thing.id):
                raise ConflictError(f"the {kind.noun} {thing.id} exists already")
            await _insert(connection, thing)

    async def create_key(self, key: HashedKey) -> None:
        """Keeps a new key; raises `NotFoundError` for what it refers to."""
        async with self._change() as connection:
            await _add_key(connection, key)

    async def rotate_key(self, new: HashedKey, old: ApiKey, budgets: Sequence[Budget] = ()) -> None:
        """Keeps a new key with its budgets and the old one's end, all or nothing; raises `NotFoundError`, and `ConflictError` for a budget
        that there is already and for an old key that was revoked or replaced meanwhile."""
        async with self._change() as connection:
            await _require(connection, ApiKey, old.id)
            await _check_unchanged(connection, old)
            await _add_key(connection, new)
            await _put(connection, old, ("expire_time", "replaced_by"))
            for budget in budgets:
                await _insert(connection, budget)

    async def update(self, thing: Thing, names: Collection[str] | None = None) -> None:
        """Puts a thing, or only those of its fields, in the place of the one of its id.

        Raises `NotFoundError`, and `ConflictError` for a budget like another one.
        """
        async with self._change() as connection:
            await _require(connection, type(thing), thing.id)
            await _check(connection, thing)
            await _put(connection, thing, names)

    async def delete(self, kind: type[Organization | Team | User | Budget], id: str) -> None:
        """Removes a thing; raises `NotFoundError`, and `ConflictError` while something belongs to it."""
        async with self._change() as connection:
            await _require(connection, kind, id)
            await _check_alone(connection, kind, id)
            await _remove_with_it(connection, kind, id)
            await connection.execute(delete(KINDS[kind].table).where(_is(kind, id)))

    async def close(self) -> None:
        """Closes the database's connections."""
        await self.database.close()

    @asynccontextmanager
    async def _change(self) -> AsyncIterator[AsyncConnection]:
        """Gives a transaction that begins by raising the revision, for which all other changes wait."""
        async with self.database.write() as connection:
            await connection.execute(update(ACCESS_REVISION).values(number=ACCESS_REVISION.c.number + 1))
            yield connection

    @asynccontextmanager
    async def _moment(self) -> AsyncIterator[AsyncConnection]:
        """Gives a transaction that sees nothing of what changes meanwhile."""
        async with self.database.read() as connection:
            if self.database.dialect == "postgresql":  # SQLite has no other transactions
                await connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection


async def _revision(connection: AsyncConnection) -> int:
    return await connection.scalar(select(ACCESS_REVISION.c.number)) or 0


async def _read(
    connection: AsyncConnection,
    rows: Select[Any],
    thing: Callable[[Row[Any]], Read],
    extend: Callable[[Iterable[Read]], object],
) -> None:
    async with connection.stream(rows, execution_options={"yield_per": _PIECE}) as result:
        async for piece in result.partitions():
            with _legible():
                extend(map(thing, piece))


async def _read_all(connection: AsyncConnection, kind: type[Thing], extend: Callable[[Iterable[Any]], object]) -> None:
    await _read(connection, select(KINDS[kind].table), KINDS[kind].thing, extend)


@contextmanager
def _legible() -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, KeyError) as error:
        # Leaving out what is not understood could allow what somebody has forbidden.
        raise StoreError(
            f"the database holds about keys what this version of loom-grpc cannot read ({error}); upgrade this server"
        ) from None


async def _exists(connection: AsyncConnection, kind: type[Thing], id: str) -> bool:
    return await connection.scalar(select(KINDS[kind].table.c.id).where(_is(kind, id))) is not None


async def _require(connection: AsyncConnection, kind: type[Thing], id: str) -> None:
    if not await _exists(connection, kind, id):
        raise _missing(kind, id)


async def _check(connection: AsyncConnection, thing: Thing) -> None:
    """Raises for what a thing refers to, and for a budget that there is already."""
    kind = KINDS[type(thing)]
    values = kind.values(thing)
    for name, other in kind.references.items():
        if values[name] is not None:
            await _require(connection, other, str(values[name]))
    if isinstance(thing, Budget):
        await _check_budget(connection, thing)


async def _check_budget(connection: AsyncConnection, budget: Budget) -> None:
    scope, period = SCOPES[budget.scope], PERIODS[budget.period]
    await _require(connection, KIND_OF[scope], budget.scope_id)
    same = and_(
        _is_for(scope, BUDGET.c.scope_id == budget.scope_id), BUDGET.c.period == period, BUDGET.c.id != budget.id
    )
    other = await connection.scalar(select(BUDGET.c.id).where(same))
    if other is not None:
        raise ConflictError(f"the {scope} {budget.scope_id} has a budget of this period ({period}) already: {other}")


async def _insert(connection: AsyncConnection, thing: Thing) -> None:
    kind = KINDS[type(thing)]
    await _check(connection, thing)
    await connection.execute(kind.table.insert().values(kind.values(thing)))


async def _add_key(connection: AsyncConnection, key: HashedKey) -> None:
    await _check(connection, key.key)
    await connection.execute(API_KEY.insert().values(**key_values(key.key), sha256=key.sha256))


async def _put(connection: AsyncConnection, thing: Thing, names: Collection[str] | None) -> None:
    """Writes a thing, or only fields of it: whoever changes a thing has read it before, and somebody else may have changed others since."""
    kind = KINDS[type(thing)]
    values: dict[str, Any] = kind.values(thing)
    if isinstance(thing, ApiKey):  # nobody takes it back that a key was revoked
        values["revoked_us"] = func.coalesce(API_KEY.c.revoked_us, values["revoked_us"])
    if names is not None:
        values = {column: values[column] for column in (_COLUMNS.get(name, name) for name in names)}
    if values:
        await connection.execute(update(kind.table).where(_is(type(thing), thing.id)).values(values))


async def _check_unchanged(connection: AsyncConnection, old: ApiKey) -> None:
    """Raises `ConflictError` for a key that has no successor to be given: it was revoked, or has another one."""
    rows = select(API_KEY.c.revoked_us, API_KEY.c.replaced_by).where(_is(ApiKey, old.id))
    revoked_us, replaced_by = (await connection.execute(rows)).one()
    if revoked_us is not None:
        raise ConflictError(f"the key {old.id} was revoked meanwhile")
    if replaced_by:
        raise ConflictError(f"the key {old.id} was replaced by {replaced_by} meanwhile")


async def _check_alone(connection: AsyncConnection, kind: type[Thing], id: str) -> None:
    """Raises `ConflictError` when something belongs to a thing that does not go with it."""
    for other in KINDS.values():
        belongs = _belongs(other, kind, id)
        if belongs is None:
            continue
        if other.table is API_KEY:
            belongs = and_(belongs, API_KEY.c.revoked_us.is_(None))
        first = await connection.scalar(select(func.min(other.table.c.id)).where(belongs))
        if first is not None:
            raise ConflictError(_words(kind, id, other, first))


def _words(kind: type[Thing], id: str, other: Kind, first: str) -> str:
    what = "revoke" if other.table is API_KEY else "move or remove"
    return f"the {other.noun} {first} belongs to the {KINDS[kind].noun} {id}; {what} it first"


async def _remove_with_it(connection: AsyncConnection, kind: type[Thing], id: str) -> None:
    """Removes what goes with a thing: its budgets, its keys, and theirs."""
    keys = _belongs(KINDS[ApiKey], kind, id)
    if keys is not None:
        await connection.execute(
            delete(BUDGET).where(_is_for("key", BUDGET.c.scope_id.in_(select(API_KEY.c.id).where(keys))))
        )
        await connection.execute(delete(API_KEY).where(keys))
    await connection.execute(delete(BUDGET).where(_is_for(KINDS[kind].noun, BUDGET.c.scope_id == id)))


def _is(kind: type[Thing], id: str) -> ColumnElement[bool]:
    if "\0" in id:  # PostgreSQL would not let anybody ask
        return false()
    return KINDS[kind].table.c.id == id


def _missing(kind: type[Thing], id: str) -> NotFoundError:
    return NotFoundError(f"there is no {KINDS[kind].noun} {id}")


def _is_for(scope: str, ids: ColumnElement[bool]) -> ColumnElement[bool]:
    return and_(BUDGET.c.scope_kind == scope, ids)


def _belongs(other: Kind, kind: type[Thing], id: str) -> ColumnElement[bool] | None:
    """Returns what is true of rows that refer to a thing; None when rows of a table never do."""
    columns = [other.table.c[name] for name, referred in other.references.items() if referred is kind]
    return columns[0] == id if columns else None


def _taken_keys(now: float) -> Select[Any]:
    after = int((now - _ENDED_S) * 1_000_000)
    lasts = [or_(each.is_(None), each > after) for each in (API_KEY.c.expires_us, API_KEY.c.revoked_us)]
    return select(API_KEY).where(*lasts)


def _in_period(now: float) -> dict[str, ColumnElement[bool]]:
    """Returns what is true of the days of each kind of period."""
    return {kind: _days(period_of(kind, now)) for kind in PERIODS.values()}


def _days(period: Period) -> ColumnElement[bool]:
    if not period.ends_s:
        return true()
    return SPEND.c.day.between(int(period.begins_s // DAY_S), int(period.ends_s // DAY_S) - 1)


def _asked(caps: Iterable[Cap]) -> Iterator[tuple[str, str, builtins.list[str]]]:
    """Yields whose budgets are asked for, by period and kind, not too many at once."""
    ids = defaultdict(builtins.list)
    for cap in caps:
        ids[cap.period, cap.scope.kind].append(cap.scope.id)
    for (period, kind), all_ids in ids.items():
        for at in range(0, len(all_ids), _PIECE):
            yield period, kind, all_ids[at : at + _PIECE]


def _spent_by(period: str, kind: str, ids: Iterable[str], now: float) -> Select[Any]:
    of_scope = and_(SPEND.c.scope_kind == kind, SPEND.c.scope_id.in_([id for id in ids if "\0" not in id]))
    sums = select(SPEND.c.scope_id, func.sum(SPEND.c.nanos).label("nanos"))
    return sums.where(of_scope, _in_period(now)[period]).group_by(SPEND.c.scope_id)


def _spent(now: float) -> Select[Any]:
    """Selects what was spent of each budget in its period."""
    days = _in_period(now)
    in_period = or_(*(and_(BUDGET.c.period == period, days[period]) for period in days))
    of_scope = and_(SPEND.c.scope_kind == BUDGET.c.scope_kind, SPEND.c.scope_id == BUDGET.c.scope_id)
    return select(BUDGET.c.id, func.sum(SPEND.c.nanos).label("nanos")).where(of_scope, in_period).group_by(BUDGET.c.id)
