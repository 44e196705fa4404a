from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Executable, delete, insert, text, update

from loom_grpc.core.account import StoreError
from loom_grpc.core.directory import ConflictError, NotFoundError, T
from loom_grpc.core.quota import Cap, Scope
from loom_grpc.storage.database import Database
from loom_grpc.storage.directory import DatabaseDirectory
from loom_grpc.storage.directory_row import key_values
from loom_grpc.storage.ledger_tables import SPEND
from loom_grpc.storage.tables import API_KEY, PERSON, TEAM
from loom_grpc.v1.access_pb2 import (
    ACCESS_ROLE_ADMIN,
    ACCESS_ROLE_USER,
    BUDGET_PERIOD_DAY,
    BUDGET_PERIOD_MONTH,
    BUDGET_PERIOD_TOTAL,
    SCOPE_KIND_KEY,
    SCOPE_KIND_ORGANIZATION,
    SCOPE_KIND_TEAM,
    SCOPE_KIND_USER,
    AccessSnapshot,
    Allowed,
    ApiKey,
    Budget,
    HashedKey,
    Limits,
    Organization,
    Team,
    User,
)
from tests.postgres import Postgres, postgres_server
from tests.program import ROOT, run

NOON = 1_772_280_000  # 2026-02-28, 12:00 UTC, the last day of a month
DAY_S = 86_400
MOST = 2**63 - 1
WORDS = "'; DROP TABLE api_key; -- \" %s :id \\ \u2713 \r\nx-admin: yes"

ACME = Organization(
    id="acme",
    display_name="Acme",
    limits=Limits(requests_per_minute=MOST, tokens_per_minute=2**53 + 1, concurrent_streams=0),
    disabled=True,
    create_time=Timestamp(seconds=NOON, nanos=123_456_000),
)
CORE = Team(id="core", organization="acme", display_name="Core", limits=Limits(), create_time=Timestamp(seconds=NOON))
ANN = User(id="ann", organization="acme", team="core", role=ACCESS_ROLE_ADMIN, limits=Limits(requests_per_minute=1))
KEY = ApiKey(
    id="key_1",
    prefix="lt_aB3d",
    display_name="laptop",
    user="ann",
    team="core",
    organization="acme",
    role=ACCESS_ROLE_USER,
    allowed=Allowed(
        providers=["openai"], models=["gpt-*", "a/b"], routes=["fast"], source_networks=["10.0.0.0/8", "2001:db8::/32"]
    ),
    limits=Limits(tokens_per_minute=5),
    create_time=Timestamp(seconds=NOON, nanos=1_000),
    expire_time=Timestamp(seconds=253_402_300_799, nanos=999_999_000),
)
BARE = ApiKey(id="key_2")
MONTHLY = Budget(id="budget_1", scope=SCOPE_KIND_USER, scope_id="ann", period=BUDGET_PERIOD_MONTH, cap_nanos=MOST)

COUNT_TWENTY_TIMES = """
import asyncio, os
from loom_grpc.storage.database import Database
from loom_grpc.storage.directory import DatabaseDirectory
from loom_grpc.v1.access_pb2 import User

async def main():
    directory = DatabaseDirectory(Database(os.environ["URL"]))
    for n in range(20):
        await directory.create(User(id=f"{os.getpid()}-{n}"))
    await directory.close()

asyncio.run(main())
"""


def hashed(key: ApiKey) -> HashedKey:
    return HashedKey(key=key, sha256=hashlib.sha256(key.id.encode()).digest())


def at(seconds: int) -> Timestamp:
    return Timestamp(seconds=seconds)


def changed(thing: T, **fields: object) -> T:
    """Returns a copy with other values; None takes one away."""
    values = {field.name: value for field, value in thing.ListFields()} | fields
    return type(thing)(**values)


Open = Callable[[], DatabaseDirectory]
Ask = Callable[[], Awaitable[object]]


@pytest.fixture
async def open_directory(url: str) -> AsyncIterator[Open]:
    opened: list[DatabaseDirectory] = []

    def open_directory() -> DatabaseDirectory:
        opened.append(DatabaseDirectory(Database(url)))
        return opened[-1]

    yield open_directory
    for directory in opened:
        await directory.close()


@pytest.fixture
def crashing() -> Iterator[Postgres]:
    """A server that the test may stop."""
    with postgres_server() as server:
        yield server


@pytest.fixture
async def directory(open_directory: Open) -> DatabaseDirectory:
    """A directory with an organization, a team, a user and no key."""
    directory = open_directory()
    for thing in (ACME, CORE, ANN):
        await directory.create(thing)
    return directory


async def execute(
    directory: DatabaseDirectory, statement: Executable, values: Sequence[Mapping[str, object]] = ()
) -> None:
    async with directory.database.write() as connection:
        await connection.execute(statement, values or None)


async def spend(directory: DatabaseDirectory, *rows: tuple[str, str, int, int]) -> None:
    """Has the ledger know of what was spent; the day is counted from that of `NOON`."""
    names = ("scope_kind", "scope_id", "day", "nanos")
    values = [dict(zip(names, (kind, id, NOON // DAY_S + day, nanos), strict=True)) for kind, id, day, nanos in rows]
    await execute(directory, insert(SPEND), values)


async def test_everything_comes_back_as_it_was_given(directory: DatabaseDirectory) -> None:
    await directory.create_key(hashed(KEY))
    await directory.create_key(hashed(BARE))
    await directory.create(MONTHLY)
    await spend(directory, ("user", "ann", 0, 7))

    snapshot = await directory.snapshot(NOON + 0.5)
    snapshot.keys.sort(key=lambda entry: entry.key.id)
    assert snapshot == AccessSnapshot(
        revision=6,
        read_time=Timestamp(seconds=NOON, nanos=500_000_000),
        keys=[hashed(KEY), hashed(BARE)],
        organizations=[ACME],
        teams=[CORE],
        users=[ANN],
        budgets=[changed(MONTHLY, spent_nanos=7)],
    )
    assert await directory.get(Organization, "acme") == ACME
    assert await directory.get(Team, "core") == CORE
    assert await directory.get(User, "ann") == ANN
    assert await directory.get(ApiKey, "key_1") == KEY
    assert await directory.get(Budget, "budget_1") == MONTHLY


async def test_an_empty_directory_is_an_empty_snapshot(open_directory: Open) -> None:
    assert await open_directory().snapshot(NOON) == AccessSnapshot(read_time=at(NOON))


async def test_any_words_are_kept_as_they_are(directory: DatabaseDirectory) -> None:
    organization = Organization(id=WORDS, display_name=WORDS)
    key = ApiKey(id=WORDS, display_name=WORDS, organization=WORDS, allowed=Allowed(models=[WORDS, "\0"]))

    await directory.create(organization)
    await directory.create_key(hashed(key))

    assert await directory.get(Organization, WORDS) == organization
    assert await directory.list(ApiKey) == [key]
    with pytest.raises(NotFoundError):
        await directory.get(User, "' OR '1'='1")


async def test_words_that_postgresql_cannot_keep_are_left_out_and_found_nowhere(directory: DatabaseDirectory) -> None:
    await directory.create(Team(id="nul", display_name="a\0b"))

    assert await directory.get(Team, "nul") == Team(id="nul", display_name="ab")
    with pytest.raises(NotFoundError):
        await directory.get(Team, "nul\0")


async def test_lists_are_in_the_order_of_ids_and_keys_the_newest_first(directory: DatabaseDirectory) -> None:
    for id in ("b", "a", "_", "B"):
        await directory.create(User(id=id))
    for id, made in (("k1", 1), ("k2", 3), ("k0", 3), ("k3", 2)):
        await directory.create_key(hashed(ApiKey(id=id, create_time=at(made))))

    assert [user.id for user in await directory.list(User)] == ["B", "_", "a", "ann", "b"]
    assert [key.id for key in await directory.list(ApiKey)] == ["k0", "k2", "k3", "k1"]


async def test_every_change_raises_the_revision_and_nothing_else_does(directory: DatabaseDirectory) -> None:
    revisions = [await directory.revision()]
    changes: list[Ask] = [
        lambda: directory.create_key(hashed(KEY)),
        lambda: directory.rotate_key(hashed(BARE), changed(KEY, replaced_by="key_2")),
        lambda: directory.update(changed(ANN, disabled=True)),
        lambda: directory.create(MONTHLY),
        lambda: directory.delete(Budget, "budget_1"),
    ]
    for change in changes:
        await change()
        revisions.append(await directory.revision())
    await directory.snapshot(NOON)
    await directory.list(User)

    assert revisions == [3, 4, 5, 6, 7, 8]
    assert await directory.revision() == 8


@pytest.mark.parametrize(
    ("thing", "words"),
    [
        (Team(id="t", organization="nowhere"), "there is no organization nowhere"),
        (User(id="u", organization="nowhere"), "there is no organization nowhere"),
        (User(id="u", team="nobody"), "there is no team nobody"),
        (User(id="u", team="core\0"), "there is no team core\0"),
        (Budget(id="b", scope=SCOPE_KIND_KEY, scope_id="key_9", period=BUDGET_PERIOD_DAY), "there is no key key_9"),
        (Budget(id="b", scope=SCOPE_KIND_TEAM, scope_id="ann", period=BUDGET_PERIOD_DAY), "there is no team ann"),
    ],
)
async def test_what_refers_to_nothing_is_refused(
    directory: DatabaseDirectory, thing: Organization | Team | User | Budget, words: str
) -> None:
    before = await directory.snapshot(NOON)

    with pytest.raises(NotFoundError) as caught:
        await directory.create(thing)

    assert str(caught.value) == words
    assert await directory.snapshot(NOON) == before


@pytest.mark.parametrize("reference", ["user", "team", "organization"])
async def test_a_key_of_nothing_is_refused(directory: DatabaseDirectory, reference: str) -> None:
    await directory.create_key(hashed(KEY))
    astray = changed(ApiKey(id="key_3"), **{reference: "nobody"})
    before = await directory.snapshot(NOON)

    changes: list[Ask] = [
        lambda: directory.create_key(hashed(astray)),
        lambda: directory.rotate_key(hashed(astray), changed(KEY, replaced_by="key_3")),
        lambda: directory.update(changed(KEY, **{reference: "nobody"})),
    ]
    for change in changes:
        with pytest.raises(NotFoundError, match=f"^there is no {reference} nobody$"):
            await change()

    assert await directory.snapshot(NOON) == before


@pytest.mark.parametrize(
    ("thing", "words"),
    [
        (changed(ACME, display_name="x"), "the organization acme exists already"),
        (Team(id="core"), "the team core exists already"),
        (User(id="ann"), "the user ann exists already"),
        (changed(MONTHLY, period=BUDGET_PERIOD_DAY), "the budget budget_1 exists already"),
        (changed(MONTHLY, id="budget_2"), "the user ann has a budget of this period (month) already: budget_1"),
    ],
)
async def test_what_is_there_already_is_refused(
    directory: DatabaseDirectory, thing: Organization | Team | User | Budget, words: str
) -> None:
    await directory.create(MONTHLY)
    before = await directory.snapshot(NOON)

    with pytest.raises(ConflictError) as caught:
        await directory.create(thing)

    assert str(caught.value) == words
    assert await directory.snapshot(NOON) == before


async def test_an_update_puts_the_whole_thing_in_its_place(directory: DatabaseDirectory) -> None:
    await directory.create_key(hashed(KEY))
    await directory.create(MONTHLY)
    things: list[Any] = [
        Organization(id="acme", display_name="new"),
        Team(id="core", disabled=True),
        User(id="ann", team="core", role=ACCESS_ROLE_USER),
        ApiKey(id="key_1", prefix="lt_aB3d", user="ann", revoke_time=at(NOON)),
        changed(MONTHLY, cap_nanos=0),
    ]

    for thing in things:
        await directory.update(thing)

    assert [await directory.get(type(thing), thing.id) for thing in things] == things
    assert (await directory.snapshot(NOON)).keys[0].sha256 == hashed(KEY).sha256


@pytest.mark.parametrize("thing", [ACME, CORE, ANN, KEY, MONTHLY])
async def test_what_is_not_there_is_neither_found_nor_changed(open_directory: Open, thing: Any) -> None:
    directory = open_directory()
    noun = {"ApiKey": "key"}.get(type(thing).__name__, type(thing).__name__.lower())
    words = f"^there is no {noun} {thing.id}$"

    with pytest.raises(NotFoundError, match=words):
        await directory.get(type(thing), thing.id)
    with pytest.raises(NotFoundError, match=words):
        await directory.update(thing)
    if not isinstance(thing, ApiKey):
        with pytest.raises(NotFoundError, match=words):
            await directory.delete(type(thing), thing.id)
    else:
        with pytest.raises(NotFoundError, match=words):
            await directory.rotate_key(hashed(BARE), thing)

    assert await directory.snapshot(NOON) == AccessSnapshot(read_time=at(NOON))


async def test_a_budget_does_not_become_one_that_there_is(directory: DatabaseDirectory) -> None:
    daily = changed(MONTHLY, id="budget_2", period=BUDGET_PERIOD_DAY)
    await directory.create(MONTHLY)
    await directory.create(daily)

    with pytest.raises(ConflictError, match="already: budget_1"):
        await directory.update(changed(daily, period=BUDGET_PERIOD_MONTH))
    assert await directory.get(Budget, "budget_2") == daily


async def test_a_rotation_keeps_the_new_key_and_the_end_of_the_old_one(directory: DatabaseDirectory) -> None:
    await directory.create_key(hashed(KEY))
    new, old = changed(KEY, id="key_3"), changed(KEY, replaced_by="key_3", expire_time=at(NOON + DAY_S))

    await directory.rotate_key(hashed(new), old)

    kept = {entry.key.id: entry for entry in (await directory.snapshot(NOON)).keys}
    assert kept == {"key_1": HashedKey(key=old, sha256=hashed(KEY).sha256), "key_3": hashed(new)}


async def test_a_rotation_that_fails_leaves_the_old_key_alone(directory: DatabaseDirectory) -> None:
    await directory.create_key(hashed(KEY))
    before = await directory.snapshot(NOON)

    with pytest.raises(StoreError, match="cannot be used"):
        await directory.rotate_key(hashed(KEY), changed(KEY, expire_time=at(1)))

    assert await directory.snapshot(NOON) == before


async def test_a_rotation_keeps_the_budgets_of_the_new_key_too_or_nothing(directory: DatabaseDirectory) -> None:
    await directory.create_key(hashed(KEY))
    before = await directory.snapshot(NOON)
    new, old = changed(KEY, id="key_3"), changed(KEY, replaced_by="key_3")
    budgets = [
        Budget(id=f"budget_{n}", scope=SCOPE_KIND_KEY, scope_id="key_3", period=BUDGET_PERIOD_DAY, cap_nanos=n)
        for n in (1, 2)
    ]

    with pytest.raises(ConflictError, match="the key key_3 has a budget of this period"):
        await directory.rotate_key(hashed(new), old, budgets)
    left = await directory.snapshot(NOON)
    await directory.rotate_key(hashed(new), old, budgets[:1])

    assert left == before
    assert await directory.list(Budget) == budgets[:1]


async def test_a_key_that_was_revoked_meanwhile_stays_so(directory: DatabaseDirectory) -> None:
    await directory.create_key(hashed(KEY))
    await directory.update(changed(KEY, revoke_time=at(NOON)))

    await directory.update(changed(KEY, display_name="renamed"))

    assert await directory.get(ApiKey, "key_1") == changed(KEY, display_name="renamed", revoke_time=at(NOON))


async def test_a_key_that_was_revoked_or_replaced_meanwhile_gets_no_successor(directory: DatabaseDirectory) -> None:
    await directory.create_key(hashed(KEY))
    await directory.rotate_key(hashed(BARE), changed(KEY, replaced_by="key_2"))
    await directory.update(changed(BARE, revoke_time=at(NOON)))
    before = await directory.snapshot(NOON)

    with pytest.raises(ConflictError, match=r"^the key key_1 was replaced by key_2 meanwhile$"):
        await directory.rotate_key(hashed(changed(KEY, id="key_3")), changed(KEY, replaced_by="key_3"))
    with pytest.raises(ConflictError, match=r"^the key key_2 was revoked meanwhile$"):
        await directory.rotate_key(hashed(changed(KEY, id="key_3")), changed(BARE, replaced_by="key_3"))

    assert await directory.snapshot(NOON) == before


async def test_whoever_changes_a_field_takes_back_nothing_that_others_have_changed_since(
    directory: DatabaseDirectory,
) -> None:
    await directory.create_key(hashed(KEY))
    ended = changed(KEY, expire_time=at(NOON + DAY_S), replaced_by="key_2")
    await directory.update(changed(ANN, disabled=True))
    await directory.rotate_key(hashed(BARE), ended)

    await directory.update(changed(ANN, display_name="Anna"), ["display_name"])
    await directory.update(changed(KEY, display_name="desk"), ["display_name"])
    await directory.update(changed(KEY, revoke_time=at(NOON)), ["revoke_time"])
    await directory.update(changed(ANN, display_name="Nobody"), [])

    assert await directory.get(User, "ann") == changed(ANN, disabled=True, display_name="Anna")
    assert await directory.get(ApiKey, "key_1") == changed(ended, display_name="desk", revoke_time=at(NOON))


@pytest.mark.parametrize(
    ("kind", "id", "words"),
    [
        (Organization, "acme", "the team core belongs to the organization acme; move or remove it first"),
        (Team, "core", "the user ann belongs to the team core; move or remove it first"),
        (User, "ann", "the key key_1 belongs to the user ann; revoke it first"),
    ],
)
async def test_what_others_belong_to_stays(
    directory: DatabaseDirectory, kind: type[Organization | Team | User], id: str, words: str
) -> None:
    await directory.create_key(hashed(KEY))
    before = await directory.snapshot(NOON)

    with pytest.raises(ConflictError) as caught:
        await directory.delete(kind, id)

    assert str(caught.value) == words
    assert await directory.snapshot(NOON) == before


async def test_revoked_keys_and_budgets_go_with_what_they_belong_to(directory: DatabaseDirectory) -> None:
    await directory.create_key(hashed(changed(KEY, revoke_time=at(NOON))))
    await directory.create_key(hashed(BARE))
    scopes = ((SCOPE_KIND_KEY, "key_1"), (SCOPE_KIND_USER, "ann"), (SCOPE_KIND_KEY, "key_2"), (SCOPE_KIND_TEAM, "core"))
    for scope, id in scopes:
        await directory.create(Budget(id=f"of-{id}", scope=scope, scope_id=id, period=BUDGET_PERIOD_TOTAL))

    await directory.delete(User, "ann")

    snapshot = await directory.snapshot(NOON)
    assert (list(snapshot.keys), list(snapshot.users)) == ([hashed(BARE)], [])
    assert sorted(budget.id for budget in snapshot.budgets) == ["of-core", "of-key_2"]
    for kind, id in ((Budget, "of-core"), (Team, "core"), (Organization, "acme")):
        await directory.delete(kind, id)
    assert await directory.snapshot(NOON) == AccessSnapshot(
        revision=13,
        read_time=at(NOON),
        keys=[hashed(BARE)],
        budgets=[Budget(id="of-key_2", scope=SCOPE_KIND_KEY, scope_id="key_2", period=BUDGET_PERIOD_TOTAL)],
    )


async def test_a_snapshot_has_keys_for_a_day_after_their_end(directory: DatabaseDirectory) -> None:
    ends = (None, NOON + 1, NOON - DAY_S + 1, NOON - DAY_S)
    for n, (expires, revoked) in enumerate((expires, revoked) for expires in ends for revoked in ends):
        key = ApiKey(
            id=f"{n:02}",
            expire_time=at(expires) if expires else None,
            revoke_time=at(revoked) if revoked else None,
            create_time=at(n),
        )
        await directory.create_key(hashed(key))

    taken = [entry.key.id for entry in (await directory.snapshot(NOON)).keys]

    assert sorted(taken) == [f"{n:02}" for n in (0, 1, 2, 4, 5, 6, 8, 9, 10)]
    assert len(await directory.list(ApiKey)) == 16


async def test_a_budget_tells_what_was_spent_in_its_own_period(directory: DatabaseDirectory) -> None:
    await directory.create_key(hashed(KEY))
    scopes = ((SCOPE_KIND_KEY, "key_1"), (SCOPE_KIND_USER, "ann"), (SCOPE_KIND_ORGANIZATION, "acme"))
    periods = {"day": BUDGET_PERIOD_DAY, "month": BUDGET_PERIOD_MONTH, "total": BUDGET_PERIOD_TOTAL}
    for scope, id in scopes:
        for word, period in periods.items():
            await directory.create(Budget(id=f"{id}-{word}", scope=scope, scope_id=id, period=period))
    days = ((0, 1), (-1, 20), (1, 300), (-27, 4_000), (-28, 50_000), (-400, 600_000))
    await spend(
        directory, *(("user", "ann", day, nanos) for day, nanos in days), ("team", "acme", 0, 9), ("key", "ann", 0, 9)
    )
    await spend(directory, ("organization", "acme", 0, 2**62), ("organization", "acme", -27, 2**62 - 1))

    spent = {budget.id: budget.spent_nanos for budget in (await directory.snapshot(NOON)).budgets}

    assert spent == {
        **{f"key_1-{word}": 0 for word in periods},
        "ann-day": 1,
        "ann-month": 4_021,
        "ann-total": 654_321,
        "acme-day": 2**62,
        "acme-month": 2**63 - 1,
        "acme-total": 2**63 - 1,
    }


async def test_what_was_spent_is_told_of_budgets_that_stand_elsewhere(directory: DatabaseDirectory) -> None:
    periods = ("day", "month", "total")
    days = ((0, 1), (-1, 20), (1, 300), (-27, 4_000), (-28, 50_000))
    await spend(directory, *(("user", "ann", day, nanos) for day, nanos in days), ("team", "ann", 0, 9))
    await spend(directory, *(("key", f"{n}", 0, n) for n in range(1, 500)))
    anns = [Cap("", Scope("user", "ann"), period, 0) for period in periods]
    keys = [Cap("", Scope("key", f"{n}"), "day", 0) for n in range(500)]
    nobody = Cap("", Scope("organization", "no\0body"), "total", 0)

    assert await directory.spent([*anns, *keys, nobody], NOON) == [1, 4_021, 54_321, *range(500), 0]
    assert await directory.spent([], NOON) == []


@pytest.mark.parametrize(
    ("now", "day", "month"),
    [(NOON - 43_200, 1, 111), (NOON - 43_200.001, 10, 111), (NOON + 43_199.999, 1, 111), (NOON + 43_200, 1_000, 1_000)],
)
async def test_days_and_months_are_those_of_utc(directory: DatabaseDirectory, now: float, day: int, month: int) -> None:
    await directory.create(MONTHLY)
    await directory.create(changed(MONTHLY, id="daily", period=BUDGET_PERIOD_DAY))
    await spend(directory, *(("user", "ann", n, nanos) for n, nanos in ((0, 1), (-1, 10), (-2, 100), (1, 1_000))))

    spent = {budget.id: budget.spent_nanos for budget in (await directory.snapshot(now)).budgets}

    assert spent == {"daily": day, "budget_1": month}


async def test_a_snapshot_is_of_one_moment(directory: DatabaseDirectory, open_directory: Open) -> None:
    """Of a team and a user that are only ever made and removed together, in one transaction, no snapshot has one alone."""
    changes, stop = 0, asyncio.Event()

    async def change() -> None:
        nonlocal changes
        other = open_directory().database
        while not stop.is_set():
            statements = (insert(TEAM), insert(PERSON)) if changes % 2 == 0 else (delete(PERSON), delete(TEAM))
            async with other.write() as connection:
                for statement in statements:
                    await connection.execute(*_with(statement))
            changes += 1

    writer = asyncio.create_task(change())
    seen = set()
    for looks in count():
        if looks >= 40 and changes > 1:
            break
        snapshot = await directory.snapshot(NOON)
        seen.add((sum(team.id == "pair" for team in snapshot.teams), sum(user.id == "pair" for user in snapshot.users)))
    stop.set()
    await writer

    assert seen <= {(0, 0), (1, 1)}


def _with(statement: Any) -> Any:
    """Returns a statement about the row `pair` as what to execute."""
    table = statement.table
    if statement.is_delete:
        return (statement.where(table.c.id == "pair"),)
    return (statement.values(id="pair", display_name="", disabled=False, **({"role": 1} if "role" in table.c else {})),)


async def test_other_tasks_have_their_turns_while_many_keys_are_read(directory: DatabaseDirectory) -> None:
    keys = [hashed(changed(KEY, id=f"key_{n}")) for n in range(5_000)]
    await execute(directory, insert(API_KEY), [{**key_values(key.key), "sha256": key.sha256} for key in keys])
    snapshot = asyncio.create_task(directory.snapshot(NOON))
    turns = 0

    while not snapshot.done():
        await asyncio.sleep(0)
        turns += 1

    assert sorted(entry.key.id for entry in snapshot.result().keys) == sorted(key.key.id for key in keys)
    assert turns > 25


async def test_of_two_who_make_the_same_at_once_one_is_told(open_directory: Open) -> None:
    one, other = open_directory(), open_directory()
    await asyncio.gather(one.database.ready(), other.database.ready())

    for n in range(20):
        results = await asyncio.gather(*(each.create(User(id=str(n))) for each in (one, other)), return_exceptions=True)

        assert [type(result) for result in results if result is not None] == [ConflictError]
    assert await one.revision() == 20


async def test_nothing_is_left_without_what_it_belongs_to(open_directory: Open) -> None:
    """One removes a team while another puts a user or a key into it: only one of them can be done."""
    one, other = open_directory(), open_directory()
    makers: list[Callable[[str], Awaitable[None]]] = [
        lambda n: other.create(User(id=n, team=n)),
        lambda n: other.create_key(hashed(ApiKey(id=n, team=n))),
        lambda n: other.create(Budget(id=n, scope=SCOPE_KIND_TEAM, scope_id=n, period=BUDGET_PERIOD_DAY)),
    ]
    for n in range(30):
        await one.create(Team(id=str(n)))
        changes = [one.delete(Team, str(n)), makers[n % 3](str(n))]
        changes = changes if n % 2 else changes[::-1]

        results = await asyncio.gather(*changes, return_exceptions=True)

        assert all(result is None or isinstance(result, NotFoundError | ConflictError) for result in results), results

    snapshot = await one.snapshot(NOON)
    teams = {team.id for team in snapshot.teams}
    assert {user.team for user in snapshot.users} | {entry.key.team for entry in snapshot.keys} <= teams
    assert {budget.scope_id for budget in snapshot.budgets} <= teams


async def test_the_database_itself_keeps_references_whole(directory: DatabaseDirectory) -> None:
    await directory.create_key(hashed(KEY))

    for statement in ("DELETE FROM person", "UPDATE api_key SET team = 'nobody'", "DELETE FROM organization"):
        with pytest.raises(StoreError, match=r"(?i)foreign key"):
            await execute(directory, text(statement))
    with pytest.raises(StoreError, match=r"(?i)cap_nanos"):
        await directory.create(changed(MONTHLY, cap_nanos=-1))


async def test_processes_that_change_at_once_take_turns(directory: DatabaseDirectory, url: str) -> None:
    command = (sys.executable, "-c", COUNT_TWENTY_TIMES)

    results = await asyncio.gather(*(run(env={"URL": url}, cwd=ROOT, command=command) for _ in range(2)))

    assert [(result.code, result.err) for result in results] == [(0, "")] * 2
    assert (await directory.revision(), len(await directory.list(User))) == (43, 41)


@pytest.mark.parametrize("kept", ['{"requests_per_hour":1}', '{"requests_per_minute":"many"}', "[1]", "{"])
async def test_what_this_version_cannot_read_is_an_error_and_left_out_of_nothing(
    directory: DatabaseDirectory, kept: str
) -> None:
    await directory.create_key(hashed(KEY))
    await execute(directory, update(API_KEY).values(limits=kept))

    for ask in (
        lambda: directory.snapshot(NOON),
        lambda: directory.list(ApiKey),
        lambda: directory.get(ApiKey, "key_1"),
    ):
        with pytest.raises(StoreError, match=r"what this version of loom-grpc cannot read .*; upgrade this server"):
            await ask()


async def test_a_hash_is_kept_once(directory: DatabaseDirectory) -> None:
    await directory.create_key(hashed(KEY))
    same = HashedKey(key=BARE, sha256=hashed(KEY).sha256)

    with pytest.raises(StoreError) as caught:
        await directory.create_key(same)

    assert "sha256" in str(caught.value)
    assert hashed(KEY).sha256.hex() not in f"{caught.value}"
    assert await directory.list(ApiKey) == [KEY]


async def test_a_database_that_goes_away_is_a_store_error_and_then_it_goes_on(crashing: Postgres) -> None:
    directory = DatabaseDirectory(Database(crashing.new_database()))
    await directory.create(ACME)
    crashing.stop()

    for ask in (directory.revision, lambda: directory.snapshot(NOON), lambda: directory.create(CORE)):
        with pytest.raises(StoreError, match="cannot be used"):
            await ask()
    crashing.start()

    await directory.create(CORE)
    assert [team.id for team in (await directory.snapshot(NOON)).teams] == ["core"]
    await directory.close()
