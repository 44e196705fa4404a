from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import select, text, update

from loom_grpc.core.account import StoreError
from loom_grpc.core.ledger import Ledger
from loom_grpc.storage.database import Database
from loom_grpc.storage.ledger import DatabaseLedger
from loom_grpc.storage.ledger_tables import CALL_CONTENT, CALL_LABEL, CALL_RECORD, SPEND
from loom_grpc.v1.access_pb2 import Caller, Charge
from loom_grpc.v1.admin_service_pb2 import CallFilter, UsageRow
from loom_grpc.v1.audit_pb2 import OPERATION_STREAM, CallRecord
from loom_grpc.v1.usage_pb2 import Cost, Usage
from tests.postgres import Databases

NOON = int(datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp())
DAY = 86_400
TODAY = NOON // DAY
NASTY = """x'); DROP TABLE call_record; --%s :a ? %(b)s "\\é😀"""


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    database = Database(url)
    yield database
    await database.close()


@pytest.fixture
def ledger(database: Database) -> DatabaseLedger:
    return DatabaseLedger(database)


def usd(nanos: int) -> Cost:
    return Cost(nanos=nanos, currency_code="USD")


def record(
    id: str,
    at: float = NOON,
    *,
    user: str = "ann",
    tokens: int = 10,
    cost: int | None = 7,
    error: str = "",
    labels: dict[str, str] | None = None,
    model: str = "gpt-4o",
) -> CallRecord:
    """A call as the pipeline records it."""
    seconds, rest = divmod(round(at * 1_000_000), 1_000_000)
    return CallRecord(
        id=id,
        request_id=f"request-{id}",
        start_time=Timestamp(seconds=seconds, nanos=rest * 1000),
        operation=OPERATION_STREAM,
        api="grpc",
        caller=Caller(method="key", key_id=f"key-{user}", user=user, team="team", organization="org"),
        labels=labels,
        session_id=f"session-{user}",
        provider="openai",
        model=model,
        attempts=1,
        usage=Usage(input_tokens=tokens, output_tokens=2 * tokens, cache_read_tokens=3, provider_usage_json="{}"),
        cost=None if cost is None else usd(cost),
        duration=Duration(seconds=1, nanos=500_000_000),
        error_reason=error,
    )


def span(start: float | None = None, end: float | None = None) -> CallFilter:
    return CallFilter(
        start_time=None if start is None else Timestamp(seconds=int(start)),
        end_time=None if end is None else Timestamp(seconds=int(end)),
    )


async def spent(database: Database) -> dict[tuple[str, str, int], int]:
    """Returns what was spent, by scopes and days."""
    async with database.read() as connection:
        rows = await connection.execute(select(SPEND))
        return {(row.scope_kind, row.scope_id, row.day): row.nanos for row in rows}


def of_day(nanos: int, user: str = "ann", day: int = TODAY) -> dict[tuple[str, str, int], int]:
    scopes = [("key", f"key-{user}"), ("user", user), ("team", "team"), ("organization", "org")]
    return {(*scope, day): nanos for scope in scopes}


async def ids(ledger: Ledger, filter: CallFilter) -> list[str]:
    return [each.id for each in await ledger.calls(filter, "", 1000)]


def groups(rows: Sequence[UsageRow]) -> list[tuple[tuple[str, ...], int]]:
    return [(tuple(row.group), row.calls) for row in rows]


async def test_a_record_comes_back_whole(ledger: DatabaseLedger) -> None:
    whole = record("01", labels={"team": "search", "": "empty name"}, error="PROVIDER_TIMEOUT")
    whole.prompt_json, whole.answer_json = '{"text":"prompt\\u0000 é"}', '{"text":"answer"}'
    whole.charges.append(Charge(provider="openai", usage=Usage(input_tokens=1), cost=usd(7)))

    assert await ledger.add([whole]) == 1

    assert await ledger.call("01") == whole
    assert await ledger.call("02") is None
    short = CallRecord()
    short.CopyFrom(whole)
    short.ClearField("prompt_json")
    short.ClearField("answer_json")
    assert await ledger.calls(CallFilter(), "", 10) == [short]


async def test_what_a_provider_cannot_mean_keeps_nobody_from_asking_and_spending(
    ledger: DatabaseLedger, database: Database
) -> None:
    absurd = 2**63 - 1
    records = [record("01", NOON - DAY, cost=absurd), record("02", cost=absurd), record("03", cost=absurd)]
    for each in records:
        each.usage.input_tokens = each.usage.output_tokens = each.usage.cache_read_tokens = absurd
        each.reported_cost.nanos = absurd

    assert [await ledger.add([each]) for each in records] == [1, 1, 1]
    assert await ledger.add([record("04", cost=7)]) == 1
    assert await ledger.add([record("05", tokens=-5, cost=None)]) == 1

    most = 2**54
    assert await spent(database) == of_day(most) | of_day(most, day=TODAY - 1)
    (row,) = await ledger.usage(CallFilter(), [], 0, 10)
    assert (row.input_tokens, row.cost_nanos, row.reported_cost_nanos) == (3 * most + 10, 3 * most + 7, 3 * most)
    assert await ledger.call("01") == records[0]


@pytest.mark.parametrize("damaged", [b"", b"\x0a\x7fcut", CallRecord(id="99", api="grpc").SerializeToString()])
async def test_a_record_that_is_damaged_is_told_as_such_and_keeps_nobody_from_the_others(
    ledger: DatabaseLedger, database: Database, damaged: bytes
) -> None:
    whole = record("02", error="PROVIDER_TIMEOUT", labels={"team": "search"})
    whole.prompt_json, whole.reported_cost.nanos, whole.reported_cost.currency_code = "{}", 5, "USD"
    others = [record("01"), record("03")]
    await ledger.add([*others, whole])
    async with database.write() as connection:
        await connection.execute(update(CALL_RECORD).where(CALL_RECORD.c.id == "02").values(record=damaged))

    left = CallRecord()
    left.CopyFrom(whole)
    for name in ("api", "labels", "attempts"):
        left.ClearField(name)
    left.caller.ClearField("method")
    left.usage.ClearField("provider_usage_json")
    left.error_message = "The record is damaged; this is what the other columns of its row say."
    short = CallRecord()
    short.CopyFrom(left)
    short.ClearField("prompt_json")
    assert await ledger.call("02") == left
    assert [batch async for batch in ledger.export(CallFilter())] == [[others[0], left, others[1]]]
    assert await ledger.calls(CallFilter(), "", 10) == [others[1], short, others[0]]


async def test_prompts_are_kept_beside_the_records(ledger: DatabaseLedger, database: Database) -> None:
    said = record("01")
    said.prompt_json = '"said in confidence"'
    await ledger.add([said, record("02")])

    async with database.read() as connection:
        kept = list(await connection.scalars(select(CALL_RECORD.c.record)))
        contents = (await connection.execute(select(CALL_CONTENT))).all()

    assert not [each for each in kept if b"confidence" in each]
    assert [tuple(row) for row in contents] == [("01", NOON * 1_000_000, '"said in confidence"', "")]


async def test_what_is_added_again_changes_nothing(ledger: DatabaseLedger, database: Database) -> None:
    first, second, third = record("01", labels={"a": "b"}), record("02", cost=5), record("03", cost=0)

    assert await ledger.add([]) == 0
    assert await ledger.add([second, first, second]) == 2
    assert await ledger.add([first, second, third, record("01", cost=1000)]) == 1
    assert await ledger.add([first, second, third]) == 0

    assert await ids(ledger, CallFilter()) == ["03", "02", "01"]
    assert await spent(database) == of_day(12)


async def test_batches_larger_than_a_statement_are_kept_whole(ledger: DatabaseLedger, database: Database) -> None:
    records = [record(f"{n:05}", labels={"n": str(n), "even": str(n % 2 == 0)}) for n in range(1203)]

    assert await ledger.add(records) == 1203

    assert await ledger.count(CallFilter()) == 1203
    assert await ledger.count(CallFilter(labels={"even": "True"})) == 602
    assert await spent(database) == of_day(7 * 1203)


async def test_money_counts_on_the_day_on_which_the_call_came(ledger: DatabaseLedger, database: Database) -> None:
    midnight = (TODAY + 1) * DAY
    anonymous = record("04", cost=100)
    anonymous.ClearField("caller")

    await ledger.add([record("01", midnight - 0.000001, cost=1), record("02", midnight, cost=2), anonymous])
    await ledger.add([record("03", midnight + 5, cost=4)])

    assert await spent(database) == {**of_day(1), **of_day(6, day=TODAY + 1)}


async def test_what_is_known_of_a_cost_is_spent(ledger: DatabaseLedger, database: Database) -> None:
    half = record("01", cost=None)
    half.charges.extend([Charge(cost=usd(3)), Charge(usage=Usage(input_tokens=1))])

    await ledger.add([half])

    assert await spent(database) == of_day(3)
    assert [(row.cost_nanos, row.unpriced_calls) for row in await ledger.usage(CallFilter(), [], 0, 1)] == [(0, 1)]


async def test_many_who_add_the_same_at_once_count_it_once(url: str, database: Database) -> None:
    others = [Database(url) for _ in range(4)]
    ledgers = [DatabaseLedger(each) for each in others]
    records = [record(f"{n:03}", user=f"user{n % 7}") for n in range(200)]
    batches = [records[n : n + 40] for n in range(0, 200, 20)]

    added = await asyncio.gather(
        *(
            ledger.add(batch[::step])
            for n, ledger in enumerate(ledgers)
            for batch in batches
            for step in [1 - n % 2 * 2]
        )
    )

    assert sum(added) == 200
    rows = await DatabaseLedger(database).usage(CallFilter(), ["user"], 0, 10)
    assert {row.group[0]: row.cost_nanos for row in rows} == {
        id: nanos for (kind, id, _), nanos in (await spent(database)).items() if kind == "user"
    }
    assert (await spent(database))["organization", "org", TODAY] == 1400
    for each in others:
        await each.close()


async def test_nothing_is_kept_of_a_batch_that_fails(ledger: DatabaseLedger, database: Database) -> None:
    await ledger.add([record("01")])
    async with database.write() as connection:
        await connection.execute(text("ALTER TABLE spend RENAME TO elsewhere"))

    with pytest.raises(StoreError, match="cannot be used"):
        await ledger.add([record("02", labels={"a": "b"})])

    async with database.write() as connection:
        await connection.execute(text("ALTER TABLE elsewhere RENAME TO spend"))
        assert (await connection.execute(select(CALL_LABEL))).all() == []
    assert await ledger.add([record("02")]) == 1
    assert await spent(database) == of_day(14)


async def test_all_is_added_up(ledger: DatabaseLedger) -> None:
    large = 2**53 + 1  # which no float can hold
    failed, cancelled = record("02", tokens=1, cost=None, error="PROVIDER_TIMEOUT"), record("03", cost=large)
    cancelled.cancelled = True
    cancelled.reported_cost.CopyFrom(usd(large - 2))
    refused = record("04", tokens=0, cost=None, error="BUDGET_EXCEEDED")  # used nothing, so it cost nothing

    await ledger.add([record("01"), failed, cancelled, refused])

    assert await ledger.usage(CallFilter(), [], 0, 10) == [
        UsageRow(
            calls=4,
            failed_calls=2,
            cancelled_calls=1,
            input_tokens=21,
            output_tokens=42,
            cache_read_tokens=12,
            cost_nanos=large + 7,
            unpriced_calls=1,
            reported_cost_nanos=large - 2,
        )
    ]


async def test_without_calls_everything_is_nothing(ledger: DatabaseLedger) -> None:
    assert await ledger.usage(CallFilter(), [], 0, 10) == [UsageRow()]
    assert await ledger.usage(CallFilter(), ["day"], 0, 10) == []
    assert await ledger.count(CallFilter()) == 0
    assert [chunk async for chunk in ledger.export(CallFilter())] == []


@pytest.mark.parametrize(
    ("group_by", "wanted"),
    [
        (
            ["hour"],
            [(("2026-10-31T23:00:00Z",), 1), (("2026-11-21T11:00:00Z",), 1), (("2026-11-21T12:00:00Z",), 2)],
        ),
        (["day"], [(("2026-10-31T00:00:00Z",), 1), (("2026-11-21T00:00:00Z",), 3)]),
        (["month"], [(("2026-10-01T00:00:00Z",), 1), (("2026-11-01T00:00:00Z",), 3)]),
        (["key"], [(("key-Zoe",), 1), (("key-ann",), 2), (("key-bob",), 1)]),
        (["user"], [(("Zoe",), 1), (("ann",), 2), (("bob",), 1)]),
        (["team"], [(("team",), 4)]),
        (["organization"], [(("org",), 4)]),
        (["provider"], [(("openai",), 4)]),
        (["model"], [(("gpt-4o",), 3), (("o9",), 1)]),
        (["label:app"], [(("",), 2), (("chat",), 1), (("édit",), 1)]),
        (["label:missing"], [(("",), 4)]),
        (
            ["label:app", "user", "label:env", "user"],
            [
                (("", "Zoe", "", "Zoe"), 1),
                (("", "ann", "", "ann"), 1),
                (("chat", "ann", "prod", "ann"), 1),
                (("édit", "bob", "", "bob"), 1),
            ],
        ),
    ],
)
async def test_calls_are_grouped(
    ledger: DatabaseLedger, group_by: list[str], wanted: list[tuple[tuple[str, ...], int]]
) -> None:
    november = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
    await ledger.add(
        [
            record("01", november - 0.000001, user="Zoe"),
            record("02", NOON - 1, labels={"app": "chat", "env": "prod"}),
            record("03", NOON, model="o9"),
            record("04", NOON + 1, user="bob", labels={"app": "édit"}),
        ]
    )

    rows = await ledger.usage(CallFilter(), group_by, 0, 100)

    assert groups(rows) == wanted
    pages = [await ledger.usage(CallFilter(), group_by, offset, 1) for offset in range(len(rows) + 1)]
    assert [row for page in pages for row in page] == rows


@pytest.mark.parametrize("group_by", ["", "label:", "minute", "started_us", "key; DROP TABLE spend", "Day"])
async def test_groups_that_there_are_not_are_refused(ledger: DatabaseLedger, group_by: str) -> None:
    with pytest.raises(ValueError, match=r"group_by has no .*; it takes hour, day, month, key, user"):
        await ledger.usage(CallFilter(), ["day", group_by], 0, 10)


async def test_more_groups_than_a_database_joins_are_refused(ledger: DatabaseLedger) -> None:
    assert await ledger.usage(CallFilter(), [f"label:{n}" for n in range(10)], 0, 10) == []
    with pytest.raises(ValueError, match="group_by has 11 names; 10 is the most"):
        await ledger.usage(CallFilter(), ["day"] * 11, 0, 10)


@pytest.mark.parametrize(
    ("filter", "wanted"),
    [
        (CallFilter(), ["03", "02", "01"]),
        (CallFilter(key_id="key-ann"), ["02", "01"]),
        (CallFilter(user="bob"), ["03"]),
        (CallFilter(team="team"), ["03", "02", "01"]),
        (CallFilter(team="other"), []),
        (CallFilter(organization="org", user="ann"), ["02", "01"]),
        (CallFilter(provider="openai", model="o9"), ["03"]),
        (CallFilter(error_reason="ANY"), ["02", "01"]),
        (CallFilter(error_reason="RATE_LIMITED"), ["01"]),
        (CallFilter(labels={"app": "chat"}), ["02", "01"]),
        (CallFilter(labels={"app": "chat", "env": "prod"}), ["02"]),
        (CallFilter(labels={"env": "prod", "app": ""}), []),
        (CallFilter(request_id="request-02"), ["02"]),
        (CallFilter(session_id="session-bob"), ["03"]),
        (span(NOON), ["03", "02", "01"]),
        (span(NOON + 1, NOON + 2), ["02"]),
        (span(end=NOON + 1), ["01"]),
        (CallFilter(start_time=Timestamp(seconds=-(2**62)), end_time=Timestamp(seconds=2**62)), ["03", "02", "01"]),
        (CallFilter(user="ann%"), []),
        (CallFilter(user="ann' OR '1'='1"), []),
    ],
)
async def test_calls_are_filtered(ledger: DatabaseLedger, filter: CallFilter, wanted: list[str]) -> None:
    await ledger.add(
        [
            record("01", NOON, error="RATE_LIMITED", labels={"app": "chat"}),
            record("02", NOON + 1, error="PROVIDER_TIMEOUT", labels={"app": "chat", "env": "prod"}),
            record("03", NOON + 2, user="bob", model="o9"),
        ]
    )

    assert await ids(ledger, filter) == wanted
    assert await ledger.count(filter) == len(wanted)
    assert [each.id for chunk in [c async for c in ledger.export(filter)] for each in chunk] == wanted[::-1]
    assert sum(row.calls for row in await ledger.usage(filter, ["user", "label:app"], 0, 10)) == len(wanted)


async def test_what_looks_like_sql_is_text(ledger: DatabaseLedger, database: Database) -> None:
    nasty = record(NASTY, user=NASTY, labels={NASTY: NASTY}, model=NASTY, error=NASTY)
    nasty.request_id = nasty.session_id = nasty.provider = nasty.prompt_json = NASTY
    await ledger.add([nasty, record("01")])
    filter = CallFilter(user=NASTY, model=NASTY, error_reason=NASTY, request_id=NASTY, labels={NASTY: NASTY})

    rows = await ledger.usage(filter, [f"label:{NASTY}", "user", "model", "provider"], 0, 10)

    assert groups(rows) == [((NASTY,) * 4, 1)]
    assert await ledger.call(NASTY) == nasty
    assert await ids(ledger, filter) == [NASTY]
    assert await ledger.calls(filter, NASTY, 10) == []
    assert await ledger.add([nasty]) == 0
    assert (await spent(database))["user", NASTY, TODAY] == 7


async def test_texts_that_no_database_can_index_keep_nothing_out(ledger: DatabaseLedger) -> None:
    long, nul = "é" * 5000, "a\0b"
    labels = {long: long, long + "2": "x", nul: nul}
    strange = record("01", user=long, model=nul, labels=labels)
    strange.start_time.CopyFrom(Timestamp(seconds=2**62))
    strange.duration.CopyFrom(Duration(seconds=-(2**62)))

    await ledger.add([strange, record("02", user=long)])

    assert await ledger.call("01") == strange
    assert await ids(ledger, CallFilter(user=long, model=nul, labels={nul: nul})) == ["01"]
    assert groups(await ledger.usage(CallFilter(), ["day", "user", "model"], 0, 10)) == [
        (("2026-11-21T00:00:00Z", "é" * 256, "gpt-4o"), 1),
        (("9999-12-31T00:00:00Z", "é" * 256, "ab"), 1),
    ]


async def test_pages_meet_without_gaps(ledger: DatabaseLedger) -> None:
    await ledger.add([record(f"{n:02}", NOON - n, user="bob" if n % 2 else "ann") for n in range(9)])

    pages, before = [], ""
    while page := await ledger.calls(CallFilter(user="ann"), before, 2):
        pages.append([each.id for each in page])
        before = pages[-1][-1]

    assert pages == [["08", "06"], ["04", "02"], ["00"]]
    assert [each.id for each in await ledger.calls(CallFilter(), "03x", 2)] == ["03", "02"]


async def test_ids_sort_by_their_bytes_in_every_database(ledger: DatabaseLedger) -> None:
    await ledger.add([record(id) for id in ("a-1", "a_1", "A-1", "a1", "B", "é", "~")])

    assert await ids(ledger, CallFilter()) == ["é", "~", "a_1", "a1", "a-1", "B", "A-1"]


@pytest.mark.parametrize("count", [199, 200, 201, 401])
async def test_an_export_has_everything_once_and_what_comes_meanwhile_is_not_in_it(
    ledger: DatabaseLedger, count: int
) -> None:
    records = [record(f"{n:04}") for n in range(count)]
    records[0].prompt_json = '"prompt"'
    await ledger.add(records)

    chunks = []
    async for chunk in ledger.export(CallFilter(user="ann")):
        chunks.append(chunk)
        await ledger.add([record(f"9{len(chunks)}")])

    assert [each for chunk in chunks for each in chunk] == records
    assert max(map(len, chunks)) <= 200


async def test_an_export_goes_on_when_what_came_next_is_pruned(ledger: DatabaseLedger) -> None:
    await ledger.add([record(f"{n:04}", NOON + n) for n in range(500)])

    export = ledger.export(CallFilter())
    first = await anext(export)
    await ledger.prune(content_before=0, before=NOON + 300)
    rest = [chunk async for chunk in export]

    assert [each.id for each in first] == [f"{n:04}" for n in range(200)]
    assert [each.id for chunk in rest for each in chunk] == [f"{n:04}" for n in range(300, 500)]


_STATES = "SELECT state FROM pg_stat_activity WHERE datname = current_database() AND state IS NOT NULL AND pid <> pg_backend_pid()"


async def test_no_transaction_is_open_while_an_export_is_read(postgres: Databases) -> None:
    url = postgres.new_database()
    database = Database(url)
    ledger = DatabaseLedger(database)
    await ledger.add([record(f"{n:04}") for n in range(300)])

    states = []
    async for _ in ledger.export(CallFilter()):
        states += postgres.execute(_STATES, url)
    await database.close()

    assert states == [("idle",)] * 2


async def test_what_is_old_is_forgotten_and_what_was_spent_is_not(ledger: DatabaseLedger, database: Database) -> None:
    records = [record(f"{n}", NOON + n, labels={"n": str(n)}) for n in range(5)]
    for each in records:
        each.prompt_json = '"prompt"'
    await ledger.add(records)

    assert await ledger.prune(content_before=NOON + 3, before=NOON + 2) == {"contents": 3, "records": 2}
    assert await ledger.prune(content_before=NOON + 3, before=NOON + 2) == {"contents": 0, "records": 0}

    records[2].ClearField("prompt_json")
    assert [each for chunk in [c async for c in ledger.export(CallFilter())] for each in chunk] == records[2:]
    assert await spent(database) == of_day(35)
    async with database.read() as connection:
        assert sorted(await connection.scalars(select(CALL_LABEL.c.call_id))) == ["2", "3", "4"]
    assert await ledger.prune(content_before=0, before=NOON + 4.5) == {"contents": 2, "records": 3}


async def test_much_is_forgotten_in_several_steps_beside_those_who_add(url: str, ledger: DatabaseLedger) -> None:
    other = DatabaseLedger(Database(url))
    await ledger.add([record(f"{n:04}", labels={"a": "b"}) for n in range(2001)])

    both = asyncio.gather(*(each.prune(content_before=0, before=NOON + 1) for each in (ledger, other)))
    await asyncio.gather(*(other.add([record(f"9{n}", NOON + DAY)]) for n in range(10)))
    pruned = await both
    await other.close()

    assert sum(each["records"] for each in pruned) == 2001
    assert await ledger.count(CallFilter()) == 10
    assert await ledger.count(CallFilter(labels={"a": "b"})) == 0


@pytest.mark.parametrize(
    ("sql", "plan"),
    [
        ("SELECT id FROM call_record WHERE id = 'a'", "sqlite_autoindex_call_record_1 (id=?)"),
        ("SELECT record FROM call_record WHERE id < 'a' ORDER BY id DESC", "sqlite_autoindex_call_record_1 (id<?)"),
        (
            "SELECT record FROM call_record WHERE id BETWEEN 'a' AND 'b' AND started_us >= 1 AND started_us < 2 ORDER BY id",
            "sqlite_autoindex_call_record_1 (id>? AND id<?)",
        ),
        ("SELECT count(*) FROM call_record WHERE started_us >= 1 AND started_us < 2", "started_us (started_us>? AND"),
        *(
            (
                f"SELECT record FROM call_record WHERE {name} = 'a' AND id < 'b' ORDER BY id DESC",  # noqa: S608 - names of ours
                f"ix_call_record_{name}_id ({name}=? AND id<?)",
            )
            for name in ("key_id", "person", "session_id")
        ),
        ("SELECT record FROM call_record WHERE request_id = 'a'", "ix_call_record_request_id (request_id=?)"),
        (
            "SELECT id FROM call_record WHERE id IN (SELECT call_id FROM call_label WHERE name = 'a' AND value = 'b')",
            "ix_call_label_name_value_call_id (name=? AND value=?)",
        ),
        ("DELETE FROM call_content WHERE started_us < 3", "ix_call_content_started_us (started_us<?)"),
    ],
)
async def test_queries_use_indexes_and_need_no_sorting(tmp_path: Path, sql: str, plan: str) -> None:
    database = Database(f"sqlite:///{tmp_path}/loom.db")
    async with database.read() as connection:
        steps = [row.detail for row in await connection.execute(text(f"EXPLAIN QUERY PLAN {sql}"))]
    await database.close()

    assert [step for step in steps if plan in step]
    assert not [step for step in steps if "TEMP B-TREE" in step]
