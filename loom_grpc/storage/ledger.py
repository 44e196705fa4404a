"""The ledger in a database, which several servers and auditors may share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Select, Table, and_, delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from loom_grpc.core.account import AccountRef
from loom_grpc.storage.bulk import ROWS, insert_many, texts
from loom_grpc.storage.database import Database
from loom_grpc.storage.lease import LEASE_S, Lease
from loom_grpc.storage.ledger_row import MOST, content_of, labels_of, opened, parsed, row_of, spends_of, us_of, word
from loom_grpc.storage.ledger_tables import CALL_CONTENT, CALL_LABEL, CALL_RECORD, SPEND
from loom_grpc.v1.admin_service_pb2 import CallFilter, UsageRow
from loom_grpc.v1.audit_pb2 import CallRecord

_RECORD: Final = CALL_RECORD.c
_LOCK: Final = 0x6C6F6F6D6C656467
"""The number that those lock who write to the ledger in PostgreSQL: "loomledg" in ASCII. SQLite has one writer anyway."""
_EXPORTED: Final = 200
_PRUNED: Final = 1000
_PRUNING: Final = AccountRef("", "ledger")
"""What is held by whoever deletes old records; no provider is called so."""
_MOST_GROUPS: Final = 10
_SUM: Final = "spend.nanos + excluded.nanos"
_ADDED: Final = (
    "ON CONFLICT (scope_kind, scope_id, day) DO UPDATE "
    f"SET nanos = CASE WHEN {_SUM} > {MOST} THEN {MOST} ELSE {_SUM} END"
)
_LABEL: Final = "label:"

_FILTERS: Final[dict[str, Column[Any]]] = {
    "key_id": _RECORD.key_id,
    "user": _RECORD.person,
    "team": _RECORD.team,
    "organization": _RECORD.organization,
    "provider": _RECORD.provider,
    "model": _RECORD.model,
    "request_id": _RECORD.request_id,
    "session_id": _RECORD.session_id,
}
"""The fields of a filter that are compared as they are."""
_GROUPS: Final[dict[str, Column[Any]]] = {
    "key": _RECORD.key_id,
    "user": _RECORD.person,
    "team": _RECORD.team,
    "organization": _RECORD.organization,
    "provider": _RECORD.provider,
    "model": _RECORD.model,
}
_TIMES: Final[dict[str, dict[str, str]]] = {
    "sqlite": {
        "hour": "%Y-%m-%dT%H:00:00Z",
        "day": "%Y-%m-%dT00:00:00Z",
        "month": "%Y-%m-01T00:00:00Z",
    },
    "postgresql": {
        "hour": 'YYYY-MM-DD"T"HH24":00:00Z"',
        "day": 'YYYY-MM-DD"T00:00:00Z"',
        "month": 'YYYY-MM"-01T00:00:00Z"',
    },
}
"""How each database writes the beginning of a span of time by RFC 3339."""
_SUMS: Final[dict[str, ColumnElement[Any]]] = {
    "calls": func.count(),
    "failed_calls": func.count().filter(_RECORD.error_reason != ""),
    "cancelled_calls": func.count().filter(_RECORD.cancelled),
    "unpriced_calls": func.count().filter(_RECORD.cost_nanos.is_(None)),
    **{
        name: func.coalesce(func.sum(_RECORD[name]), 0)
        for name in ("input_tokens", "output_tokens", "cache_read_tokens", "cost_nanos", "reported_cost_nanos")
    },
}
"""The fields of a row of usage."""


class DatabaseLedger:
    """Keeps the records of calls, what was said in them, and what each key, user, team and organization spent on each day.

    What is filtered and grouped by counts without NULs and by its first 256 characters; the records keep all of it. Of a record that
    was damaged in the database there is what the other columns of its row say, and its `error_message` says so.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, records: Sequence[CallRecord]) -> int:
        """Keeps the records that are not kept yet, by their ids, and adds what they cost to what was spent, in one transaction.

        Returns how many were new. A call of several attempts, of which one has no price, adds what the others cost.
        """
        if not records:
            return 0
        by_id = {record.id: record for record in reversed(records)}  # of two in the batch the first counts
        async with self._write() as connection:
            # In the order of the ids the indexes grow at their ends.
            return sum([await _add(connection, some) for some in _slices(sorted(by_id.items()), ROWS)])

    async def usage(self, filter: CallFilter, group_by: Sequence[str], offset: int, limit: int) -> list[UsageRow]:
        """Adds up calls by groups, as `QueryUsageRequest` names them, in the order of the groups; without groups there is one row.

        Raises `ValueError` for other names, and for more than 10.
        """
        statement = _usage(filter, group_by, self._database.dialect).offset(offset).limit(limit)
        async with self._database.read() as connection:
            rows = (await connection.execute(statement)).all()
        names = list(_SUMS)
        return [
            UsageRow(group=row[len(names) :], **{name: int(value) for name, value in zip(names, row, strict=False)})
            for row in rows
        ]

    async def calls(self, filter: CallFilter, before: str, limit: int) -> list[CallRecord]:
        """Returns records without prompts and answers, the newest first, whose ids sort before one; an empty id is none."""
        statement = select(CALL_RECORD).where(*_conditions(filter)).order_by(_RECORD.id.desc()).limit(limit)
        if before:
            statement = statement.where(_RECORD.id < before)
        async with self._database.read() as connection:
            return [parsed(row) for row in await connection.execute(statement)]

    async def call(self, id: str) -> CallRecord | None:
        """Returns one record whole."""
        async with self._database.read() as connection:
            row = (await connection.execute(_whole().where(_RECORD.id == id))).first()
        return None if row is None else opened(row)

    async def count(self, filter: CallFilter) -> int:
        """Returns how many there are."""
        statement = select(func.count()).select_from(CALL_RECORD).where(*_conditions(filter))
        async with self._database.read() as connection:
            return await connection.scalar(statement) or 0

    async def export(self, filter: CallFilter) -> AsyncIterator[list[CallRecord]]:
        """Yields records whole, some at a time, the oldest first, up to the newest that there is at the beginning.

        Holds no transaction open between.
        """
        ends = select(func.min(_RECORD.id), func.max(_RECORD.id)).where(*_conditions(filter))
        async with self._database.read() as connection:
            first, last = (await connection.execute(ends)).one()
        while first is not None:
            some = _exported(filter, first, last)
            async with self._database.read() as connection:
                rows = (await connection.execute(some)).all()
            first = rows.pop().id if len(rows) > _EXPORTED else None
            if rows:  # which others may have pruned meanwhile
                yield [opened(row) for row in rows]

    async def prune(self, *, content_before: float, before: float) -> Mapping[str, int]:
        """Takes prompts and answers away from records that are older than one time, and forgets those that are older than another (seconds
        since 1970). What was spent stays known. Returns how many of `contents` and of `records` there were; none while another process is
        at it."""
        async with Lease(self._database, _PRUNING, LEASE_S).held_if_free() as is_free:
            if not is_free:
                return {"contents": 0, "records": 0}
            return await self._prune_all(content_before, before)

    async def _prune_all(self, content_before: float, before: float) -> Mapping[str, int]:
        contents = await self._prune(CALL_CONTENT, CALL_CONTENT.c.call_id, max(content_before, before))
        records = await self._prune(CALL_RECORD, _RECORD.id, before)
        return {"contents": contents, "records": records}

    async def close(self) -> None:
        """Closes the database's connections."""
        await self._database.close()

    async def _prune(self, table: Table, id: Column[Any], before: float) -> int:
        """Deletes the rows from before a time, some at a time, so that nobody waits for long."""
        old = select(id).where(table.c.started_us < int(before * 1e6)).limit(_PRUNED)
        pruned = 0
        while True:
            async with self._write() as connection:
                ids = (await connection.scalars(delete(table).where(id.in_(old)).returning(id))).all()
                if table is CALL_RECORD and ids:
                    await connection.execute(delete(CALL_LABEL).where(CALL_LABEL.c.call_id.in_(ids)))
            pruned += len(ids)
            if len(ids) < _PRUNED:
                return pruned

    @asynccontextmanager
    async def _write(self) -> AsyncIterator[AsyncConnection]:
        """Gives a transaction beside which nobody else writes to the ledger.

        All who add wait for each other anyway, where they raise what one organization spent today.
        """
        async with self._database.write() as connection:
            if self._database.dialect == "postgresql":
                await connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
            yield connection


async def _add(connection: AsyncConnection, records: Sequence[tuple[str, CallRecord]]) -> int:
    ids = texts(connection, [id for id, _ in records])
    kept = set(await connection.scalars(select(_RECORD.id).where(_RECORD.id.in_(ids))))
    new = [record for id, record in records if id not in kept]
    await insert_many(connection, CALL_RECORD, [row_of(record) for record in new])
    contents = [content_of(record) for record in new if record.prompt_json or record.answer_json]
    await insert_many(connection, CALL_CONTENT, contents)
    for labels in _slices(labels_of(new), ROWS):
        await insert_many(connection, CALL_LABEL, labels)
    for spends in _slices(spends_of(new), ROWS):
        await insert_many(connection, SPEND, spends, _ADDED)
    return len(new)


def _conditions(filter: CallFilter, *, each: bool = False) -> list[ColumnElement[bool]]:
    """Returns what calls have to be; labels are looked up for `each` call, or once for all, which SQLite takes literally."""
    conditions: list[ColumnElement[bool]] = []
    for name, column in _FILTERS.items():
        wanted = getattr(filter, name)
        if wanted:
            conditions.append(column == word(wanted))
    if filter.HasField("start_time"):
        conditions.append(_RECORD.started_us >= us_of(filter.start_time))
    if filter.HasField("end_time"):
        conditions.append(_RECORD.started_us < us_of(filter.end_time))
    if filter.error_reason == "ANY":
        conditions.append(_RECORD.error_reason != "")
    elif filter.error_reason:
        conditions.append(_RECORD.error_reason == word(filter.error_reason))
    return [*conditions, *(_labelled(each, *label) for label in sorted(filter.labels.items()))]


def _labelled(each: bool, name: str, value: str) -> ColumnElement[bool]:
    label = CALL_LABEL.c
    calls = select(label.call_id).where(label.name == word(name), label.value == word(value))
    return calls.where(label.call_id == _RECORD.id).exists() if each else _RECORD.id.in_(calls)


def _usage(filter: CallFilter, group_by: Sequence[str], dialect: str) -> Select[Any]:
    if len(group_by) > _MOST_GROUPS:
        raise ValueError(f"group_by has {len(group_by)} names; {_MOST_GROUPS} is the most")
    source: Any = CALL_RECORD
    groups: list[ColumnElement[Any]] = []
    for n, name in enumerate(group_by):
        if name.startswith(_LABEL) and name != _LABEL:
            label = CALL_LABEL.alias(f"label{n}")
            named = label.c.name == word(name.removeprefix(_LABEL))
            source = source.outerjoin(label, and_(label.c.call_id == _RECORD.id, named))
            groups.append(func.coalesce(label.c.value, "").label(f"group{n}"))
        else:
            groups.append(_group(name, dialect).label(f"group{n}"))
    # By their names: PostgreSQL takes two equal expressions for different ones when they hold parameters.
    names = [group.name for group in groups]
    return (
        select(*_SUMS.values(), *groups)
        .select_from(source)
        .where(*_conditions(filter))
        .group_by(*names)
        .order_by(*names)
    )


def _group(name: str, dialect: str) -> ColumnElement[Any]:
    if name in _GROUPS:
        return _GROUPS[name]
    times = _TIMES[dialect]
    if name not in times:
        known = ", ".join((*times, *_GROUPS))
        raise ValueError(f"group_by has no {name!r}; it takes {known}, and {_LABEL} with a label's name")
    seconds = _RECORD.started_us // 1_000_000
    if dialect == "sqlite":
        return func.strftime(times[name], seconds, "unixepoch")
    return func.to_char(func.timezone("UTC", func.to_timestamp(seconds)), times[name])


def _exported(filter: CallFilter, first: str, last: str) -> Select[Any]:
    """Selects the next records of an export and the one that comes then."""
    between = and_(_RECORD.id >= first, _RECORD.id <= last)  # BETWEEN takes no collation
    conditions = _conditions(filter, each=True)
    return _whole().where(between, *conditions).order_by(_RECORD.id).limit(_EXPORTED + 1)


def _whole() -> Select[Any]:
    content = CALL_CONTENT.c
    joined = CALL_RECORD.outerjoin(CALL_CONTENT, content.call_id == _RECORD.id)
    return select(CALL_RECORD, content.prompt_json, content.answer_json).select_from(joined)


def _slices(items: Iterable[Any], size: int) -> Iterable[list[Any]]:
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some
