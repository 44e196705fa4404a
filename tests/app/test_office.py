"""Keys, users, teams, organizations, budgets and records as operators have them: over gRPC, by the whole server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import update

from loom_grpc.access.key import new_key
from loom_grpc.app.budgets import Budgets
from loom_grpc.client import llm_error
from loom_grpc.config import Config
from loom_grpc.core.errors import LlmError
from loom_grpc.core.period import budget_slot
from loom_grpc.core.quota import Cap, Scope, Spent
from loom_grpc.quota.meter import TableMeter
from loom_grpc.storage.database import Database
from loom_grpc.storage.directory import DatabaseDirectory
from loom_grpc.storage.ledger import DatabaseLedger
from loom_grpc.storage.tables import ACCESS_REVISION
from loom_grpc.v1 import admin_service_pb2 as pb
from loom_grpc.v1.access_pb2 import (
    ACCESS_ROLE_ADMIN,
    ACCESS_ROLE_USER,
    BUDGET_PERIOD_DAY,
    BUDGET_PERIOD_MONTH,
    BUDGET_PERIOD_TOTAL,
    SCOPE_KIND_KEY,
    SCOPE_KIND_MODEL,
    SCOPE_KIND_ORGANIZATION,
    SCOPE_KIND_TEAM,
    SCOPE_KIND_USER,
    Allowed,
    ApiKey,
    Budget,
    Limits,
    Organization,
    Team,
    User,
)
from loom_grpc.v1.admin_service_pb2_grpc import AdminServiceStub
from loom_grpc.v1.audit_pb2 import CallRecord
from loom_grpc.v1.llm_service_pb2 import ListModelsRequest, LlmRequest
from loom_grpc.v1.llm_service_pb2_grpc import LlmServiceStub
from loom_grpc.v1.message_pb2 import ROLE_USER, Message
from tests.books import KEY, WAIT_S, ask, open_server, session

DOLLAR = 10**9
DEAR = {"mock/mock-echo": {"prices": {"input": 1_000_000, "output": 1_000_000}}}
"""A dollar for each token."""
HOSTILE = [
    "'; DROP TABLE api_key; --",
    '" OR 1=1 --',
    "x\\' UNION SELECT sha256 FROM api_key",
    "%s%n{0}${7*7}",
    "=cmd|'/c calc'!A1",
    "<script>alert(1)</script>",
    "日本語 🧵 e\u0301",
]
AWAY = "STORAGE_UNAVAILABLE"
TEARING = ["a\r\nset-cookie: x=1", "a\0b", "a\x1b[2J", "a\u2028b", "x" * 257]


class Operator:
    """Whoever shows a key, at a server."""

    def __init__(self, channel: grpc.aio.Channel, key: str) -> None:
        self._admin: Any = AdminServiceStub(channel)
        self._llm: Any = LlmServiceStub(channel)
        self._metadata = (("authorization", f"Bearer {key}"),) if key else ()
        self._channel = channel

    def showing(self, key: str) -> Operator:
        """Returns somebody else at the same server."""
        return Operator(self._channel, key)

    async def do(self, request: Any) -> Any:
        """Sends a request of AdminService; raises `LlmError`."""
        method = getattr(self._admin, request.DESCRIPTOR.name.removesuffix("Request"))
        try:
            return await method(request, metadata=self._metadata)
        except grpc.aio.AioRpcError as failure:
            raise llm_error(failure, "") from failure

    async def refused(self, request: Any) -> tuple[str, str]:
        """Sends a request that must fail, and returns why."""
        error = await self.failure(request)
        return error.name, error.message

    async def failure(self, request: Any) -> LlmError:
        """Sends a request that must fail, and returns the error."""
        with pytest.raises(LlmError) as failure:
            await self.do(request)
        return failure.value

    async def export(self, request: pb.ExportCallsRequest) -> list[pb.ExportCallsResponse]:
        """Returns all of an export."""
        return [response async for response in self._admin.ExportCalls(request, metadata=self._metadata)]

    async def may_call(self) -> str:
        """Returns why it may not call; empty when it may."""
        try:
            await self._llm.ListModels(ListModelsRequest(), metadata=self._metadata)
        except grpc.aio.AioRpcError as failure:
            return llm_error(failure, "").name
        return ""

    async def say(self, words: str) -> None:
        """Calls a model that answers at once."""
        messages = [Message(role=ROLE_USER, content=words)]
        request = LlmRequest(provider="mock", model="mock-echo", messages=messages, max_tokens=10)
        await self._llm.Complete(request, metadata=self._metadata)


@pytest.fixture
async def operator(tmp_path: Path) -> AsyncIterator[Operator]:
    async with (
        open_server(
            tmp_path, access={"enabled": True}, audit={"flush_s": 0.02}, providers={"mock": {}}, models=DEAR
        ) as desk,
        grpc.aio.insecure_channel(desk.target) as channel,
    ):
        yield Operator(channel, KEY)


def ledger_of(folder: Path) -> DatabaseLedger:
    """Opens the ledger that `open_server` has in a folder."""
    return DatabaseLedger(Database(f"sqlite:///{folder}/loom-grpc/loom.db"))


def in_s(seconds: float) -> Timestamp:
    return Timestamp(seconds=int(time.time() + seconds))


async def number_changes(database: Database, number: object) -> None:
    """Has the directory have had so many changes."""
    async with database.write() as connection:
        await connection.execute(update(ACCESS_REVISION).values(number=number))


async def people(operator: Operator) -> None:
    """Makes an organization, a team and two users, of whom one is an admin."""
    await operator.do(pb.CreateOrganizationRequest(organization=Organization(id="acme", display_name="Acme")))
    await operator.do(pb.CreateTeamRequest(team=Team(id="red", organization="acme")))
    await operator.do(pb.CreateUserRequest(user=User(id="anna@acme.example", team="red")))
    await operator.do(pb.CreateUserRequest(user=User(id="root", role=ACCESS_ROLE_ADMIN)))


async def test_a_key_is_made_used_and_revoked(operator: Operator) -> None:
    made = await operator.do(pb.CreateKeyRequest(key=ApiKey(display_name="Batch", id="ignored", prefix="ignored")))
    caller = operator.showing(made.secret)
    before = await caller.may_call()
    revoked = await operator.do(pb.RevokeKeyRequest(id=made.key.id))
    after = await caller.may_call()
    again = await operator.do(pb.RevokeKeyRequest(id=made.key.id))
    listed = await operator.do(pb.ListKeysRequest())
    with_ended = await operator.do(pb.ListKeysRequest(show_ended=True))

    assert made.secret.startswith("lk_")
    assert made.key.id.startswith("key-")
    assert (made.key.prefix, made.key.display_name, made.key.role) == (made.secret[:9], "Batch", ACCESS_ROLE_USER)
    assert abs(made.key.create_time.seconds - time.time()) < WAIT_S
    assert (before, after) == ("", "UNAUTHENTICATED")
    assert again == revoked
    assert list(listed.keys) == []
    assert list(with_ended.keys) == [revoked.key]


async def test_a_key_that_is_revoked_over_grpc_is_refused_over_http_at_once(tmp_path: Path) -> None:
    async with (
        open_server(tmp_path, access={"enabled": True}, providers={"mock": {}}) as desk,
        grpc.aio.insecure_channel(desk.target) as channel,
    ):
        operator = Operator(channel, KEY)
        made = await operator.do(pb.CreateKeyRequest())
        async with session(desk, **{"x-api-key": made.secret}) as caller:
            before = await ask(caller, "GET", "/v1/models")
            await operator.do(pb.RevokeKeyRequest(id=made.key.id))
            after = await ask(caller, "GET", "/v1/models")
        log = desk.log.getvalue()

    assert (before.status, after.status) == (200, 401)
    assert made.secret.encode() not in log
    assert [(line["method"], line["account"], line["who"]) for line in desk.lines("admin")] == [
        ("CreateKey", f"key/{made.key.id}", "admin_key"),
        ("RevokeKey", f"key/{made.key.id}", "admin_key"),
    ]


async def test_a_key_that_another_server_revokes_is_refused_even_if_nothing_can_be_kept(tmp_path: Path) -> None:
    """As when the disk is full: what is known for the next start cannot be written, and changes are taken over all the same."""
    (tmp_path / "loom-grpc" / "access.snapshot" / "in-the-way").mkdir(parents=True)
    access = {"enabled": True, "poll_s": 0.02}
    async with (
        open_server(tmp_path, access=access, providers={"mock": {}}) as desk,
        grpc.aio.insecure_channel(desk.target) as channel,
    ):
        operator = Operator(channel, KEY)
        made = await operator.do(pb.CreateKeyRequest())
        caller = operator.showing(made.secret)
        before = await caller.may_call()
        directory = DatabaseDirectory(Database(f"sqlite:///{tmp_path}/loom-grpc/loom.db"))
        made.key.revoke_time.GetCurrentTime()
        await directory.update(made.key)
        await directory.close()
        async with asyncio.timeout(WAIT_S):
            while not (after := await caller.may_call()):
                pass

    assert (before, after) == ("", "UNAUTHENTICATED")


async def test_a_key_that_another_server_revokes_is_refused_even_after_a_surprise_in_the_database(
    tmp_path: Path,
) -> None:
    async with (
        open_server(tmp_path, access={"enabled": True, "poll_s": 0.02}, providers={"mock": {}}) as desk,
        grpc.aio.insecure_channel(desk.target) as channel,
    ):
        operator = Operator(channel, KEY)
        made = await operator.do(pb.CreateKeyRequest())
        caller = operator.showing(made.secret)
        before = await caller.may_call()
        database = Database(f"sqlite:///{tmp_path}/loom-grpc/loom.db")
        await number_changes(database, "none")
        async with asyncio.timeout(WAIT_S):
            while await caller.may_call() or (meanwhile := await operator.showing(new_key("lk")).may_call()) != AWAY:
                pass
            await number_changes(database, 1000)
            made.key.revoke_time.GetCurrentTime()
            await DatabaseDirectory(database).update(made.key)
            while not (after := await caller.may_call()):
                pass
        await database.close()

    assert (before, meanwhile, after) == ("", AWAY, "UNAUTHENTICATED")


async def test_a_users_key_cannot_administer_and_an_admins_can(operator: Operator) -> None:
    await people(operator)
    anna = await operator.do(pb.CreateKeyRequest(key=ApiKey(user="anna@acme.example")))
    root = await operator.do(pb.CreateKeyRequest(key=ApiKey(user="root", role=ACCESS_ROLE_ADMIN)))
    plain = await operator.do(pb.CreateKeyRequest(key=ApiKey(user="root")))
    requests = [pb.ListKeysRequest(), pb.CreateKeyRequest(), pb.QueryUsageRequest(), pb.DeleteUserRequest(id="root")]

    assert anna.secret.startswith("lt_")
    refusals = [await operator.showing(anna.secret).refused(request) for request in requests]
    assert {name for name, _ in refusals} == {"PERMISSION_DENIED"}
    assert (await operator.showing(plain.secret).refused(requests[0]))[0] == "PERMISSION_DENIED"
    assert (await operator.showing("").refused(requests[0]))[0] == "UNAUTHENTICATED"
    assert len((await operator.showing(root.secret).do(requests[0])).keys) == 3
    assert (
        await operator.refused(pb.CreateKeyRequest(key=ApiKey(user="anna@acme.example", role=ACCESS_ROLE_ADMIN)))
    ) == (
        "INVALID_REQUEST",
        "key.role: the user anna@acme.example is no admin, and a key is never more than its user.",
    )


async def test_a_rotated_key_is_taken_for_as_long_as_is_said_and_its_budget_goes_along(operator: Operator) -> None:
    like = ApiKey(display_name="Batch", allowed=Allowed(models=["mock-*"]), expire_time=in_s(90_000_000))
    like.expire_time.nanos = 1_999
    made = await operator.do(pb.CreateKeyRequest(key=like))
    for period, nanos in ((BUDGET_PERIOD_DAY, 5), (BUDGET_PERIOD_TOTAL, 7)):
        budget = Budget(scope=SCOPE_KIND_KEY, scope_id=made.key.id, period=period, cap_nanos=nanos)
        await operator.do(pb.CreateBudgetRequest(budget=budget))
    rotated = await operator.do(pb.RotateKeyRequest(id=made.key.id))
    at_once = await operator.do(pb.RotateKeyRequest(id=rotated.key.id, overlap=Duration()))
    budgets = await operator.do(pb.ListBudgetsRequest(scope=SCOPE_KIND_KEY, scope_id=at_once.key.id))

    assert [await operator.showing(one.secret).may_call() for one in (made, rotated, at_once)] == [
        "",
        "UNAUTHENTICATED",
        "",
    ]
    assert len({made.secret, rotated.secret, at_once.secret, made.key.id, rotated.key.id, at_once.key.id}) == 6
    like.expire_time.nanos = 1_000  # the database keeps no more of it
    assert made.key.expire_time == like.expire_time
    assert (rotated.key.display_name, rotated.key.allowed, rotated.key.expire_time) == (
        "Batch",
        like.allowed,
        like.expire_time,
    )
    assert (rotated.replaced.id, rotated.replaced.replaced_by) == (made.key.id, rotated.key.id)
    assert abs(rotated.replaced.expire_time.seconds - time.time() - 86_400) < WAIT_S
    assert {(budget.period, budget.cap_nanos) for budget in budgets.budgets} == {
        (BUDGET_PERIOD_DAY, 5),
        (BUDGET_PERIOD_TOTAL, 7),
    }
    assert await operator.refused(pb.RotateKeyRequest(id=made.key.id)) == (
        "INVALID_REQUEST",
        f"id: {made.key.id} was replaced by {rotated.key.id}; rotate that one.",
    )
    assert await operator.refused(pb.RotateKeyRequest(id=rotated.key.id)) == (
        "INVALID_REQUEST",
        f"id: {rotated.key.id} has ended; make a new key.",
    )


async def test_an_update_changes_what_its_mask_names_and_nothing_else(operator: Operator) -> None:
    await people(operator)
    first = User(id="anna@acme.example", display_name="Anna", limits=Limits(requests_per_minute=5, tokens_per_minute=6))
    await operator.do(pb.UpdateUserRequest(user=first))
    emptied = await operator.do(
        pb.UpdateUserRequest(
            user=User(id=first.id, limits=Limits(requests_per_minute=0)),
            update_mask=FieldMask(paths=["team", "limits.requests_per_minute", "role"]),
        )
    )
    made = await operator.do(pb.CreateKeyRequest(key=ApiKey(user=first.id, expire_time=in_s(1000))))
    made.key.display_name = "New"
    renamed = await operator.do(pb.UpdateKeyRequest(key=made.key))
    forever = await operator.do(
        pb.UpdateKeyRequest(key=ApiKey(id=made.key.id), update_mask=FieldMask(paths=["expire_time"]))
    )
    refusals = [
        await operator.refused(pb.UpdateUserRequest(user=User(id=first.id), update_mask=FieldMask(paths=[path])))
        for path in ("id", "create_time", "password", "limits.bytes", "")
    ]
    elsewhere = await operator.refused(pb.UpdateKeyRequest(key=ApiKey(id=made.key.id, user="root")))

    user = emptied.user
    assert (user.display_name, user.team, user.role) == ("Anna", "", ACCESS_ROLE_USER)
    assert user.limits == Limits(requests_per_minute=0, tokens_per_minute=6)
    assert renamed.key == made.key
    assert not forever.key.HasField("expire_time")
    assert {name for name, _ in refusals} == {"INVALID_REQUEST"}
    assert [message.split(";")[0] for _, message in refusals] == [
        "update_mask: id cannot be changed",
        "update_mask: create_time cannot be changed",
        "update_mask: 'password' is no field of User.",
        "update_mask: 'limits.bytes' is no field of User.",
        "update_mask: '' is no field of User.",
    ]
    assert elsewhere == (
        "INVALID_REQUEST",
        "key.user: cannot be changed; what can be is display_name, expire_time, allowed, limits.",
    )


async def test_who_is_disabled_may_not_call_and_who_is_enabled_again_may(operator: Operator) -> None:
    await people(operator)
    made = await operator.do(pb.CreateKeyRequest(key=ApiKey(user="anna@acme.example")))
    caller = operator.showing(made.secret)
    told = []
    for disabled in (True, False):
        mask = FieldMask(paths=["disabled"])
        await operator.do(pb.UpdateTeamRequest(team=Team(id="red", disabled=disabled), update_mask=mask))
        told.append(await caller.may_call())

    assert told == ["PERMISSION_DENIED", ""]


async def test_nothing_is_removed_that_something_belongs_to(operator: Operator) -> None:
    await people(operator)
    made = await operator.do(pb.CreateKeyRequest(key=ApiKey(user="anna@acme.example")))
    held = [
        await operator.refused(pb.DeleteOrganizationRequest(id="acme")),
        await operator.refused(pb.DeleteTeamRequest(id="red")),
        await operator.refused(pb.DeleteUserRequest(id="anna@acme.example")),
    ]
    await operator.do(pb.RevokeKeyRequest(id=made.key.id))
    await operator.do(pb.DeleteUserRequest(id="anna@acme.example"))
    await operator.do(pb.DeleteTeamRequest(id="red"))
    await operator.do(pb.DeleteOrganizationRequest(id="acme"))

    assert held == [
        ("CONFLICT", "The team red belongs to the organization acme; move or remove it first."),
        ("CONFLICT", "The user anna@acme.example belongs to the team red; move or remove it first."),
        ("CONFLICT", f"The key {made.key.id} belongs to the user anna@acme.example; revoke it first."),
    ]
    assert [user.id for user in (await operator.do(pb.ListUsersRequest())).users] == ["root"]
    assert await operator.refused(pb.DeleteTeamRequest(id="red")) == ("NOT_FOUND", "There is no team red.")


async def test_changes_at_the_same_time_are_all_kept(operator: Operator) -> None:
    await operator.do(pb.CreateUserRequest(user=User(id="anna")))
    changes = {"display_name": "Anna", "disabled": True, "limits": Limits(concurrent_streams=2)}
    requests = [
        pb.UpdateUserRequest(user=User(id="anna", **{name: value}), update_mask=FieldMask(paths=[name]))  # type: ignore[arg-type]
        for name, value in changes.items()
    ]
    await asyncio.gather(*map(operator.do, requests))
    made = await operator.do(pb.CreateKeyRequest(key=ApiKey(user="anna")))
    rotations = [operator.do(pb.RotateKeyRequest(id=made.key.id)) for _ in range(3)]
    rotated = await asyncio.gather(*rotations, return_exceptions=True)
    anna = (await operator.do(pb.ListUsersRequest())).users[0]

    assert (anna.display_name, anna.disabled, anna.limits) == tuple(changes.values())
    assert sorted(isinstance(one, LlmError) for one in rotated) == [False, True, True]


async def test_the_text_of_a_key_that_is_given_for_its_id_is_repeated_nowhere(tmp_path: Path) -> None:
    async with (
        open_server(tmp_path, access={"enabled": True}, providers={"mock": {}}) as desk,
        grpc.aio.insecure_channel(desk.target) as channel,
        session(desk) as http,
    ):
        operator = Operator(channel, KEY)
        made = await operator.do(pb.CreateKeyRequest())
        refusals = [
            await operator.refused(pb.RevokeKeyRequest(id=made.secret)),
            await operator.refused(pb.CreateTeamRequest(team=Team(id=made.secret))),
            await operator.refused(pb.DeleteBudgetRequest(id=made.secret)),
            await operator.refused(pb.CreateKeyRequest(key=ApiKey(display_name=f"key {made.secret}"))),
        ]
        told = await ask(http, "POST", f"/api/admin/keys/{made.secret}/revoke")
        log = desk.log.getvalue()

    assert {name for name, _ in refusals} == {"INVALID_REQUEST"}
    assert told.status == 400
    assert made.secret not in f"{refusals} {told.body!r} {log!r}"


async def test_lists_come_in_pages_which_new_items_do_not_move(operator: Operator) -> None:
    for name in ("a", "b", "c", "d"):
        await operator.do(pb.CreateTeamRequest(team=Team(id=name)))
        await operator.do(pb.CreateKeyRequest(key=ApiKey(team=name)))
    teams = await operator.do(pb.ListTeamsRequest(page_size=2))
    keys = await operator.do(pb.ListKeysRequest(page_size=2))
    await operator.do(pb.CreateTeamRequest(team=Team(id="aa")))
    await operator.do(pb.CreateKeyRequest(key=ApiKey(team="aa")))
    more_teams = await operator.do(pb.ListTeamsRequest(page_size=1, page_token=teams.next_page_token))
    more_keys = await operator.do(pb.ListKeysRequest(page_token=keys.next_page_token))
    refusals = [
        await operator.refused(pb.ListTeamsRequest(page_token=keys.next_page_token)),
        await operator.refused(pb.ListTeamsRequest(page_token=teams.next_page_token, organization="acme")),
        await operator.refused(pb.ListTeamsRequest(page_token="1' OR '1'='1")),
        await operator.refused(pb.ListTeamsRequest(page_token="é" * 9)),
        await operator.refused(pb.ListTeamsRequest(page_size=1001)),
        await operator.refused(pb.ListTeamsRequest(page_size=-1)),
    ]

    assert [team.id for team in (*teams.teams, *more_teams.teams)] == ["a", "b", "c"]
    assert [key.team for key in (*keys.keys, *more_keys.keys)] == ["d", "c", "b", "a"]
    assert (bool(more_teams.next_page_token), more_keys.next_page_token) == (True, "")
    wrong = "page_token: is not a next_page_token of this list; ask for the first page again, without one."
    assert (
        refusals
        == [("INVALID_REQUEST", wrong)] * 4
        + [
            ("INVALID_REQUEST", "page_size: must be from 0 to 1000."),
        ]
        * 2
    )


async def test_keys_are_found_by_whom_their_calls_count_for(operator: Operator) -> None:
    await people(operator)
    of_anna = await operator.do(pb.CreateKeyRequest(key=ApiKey(user="anna@acme.example")))
    of_acme = await operator.do(pb.CreateKeyRequest(key=ApiKey(organization="acme")))
    await operator.do(pb.CreateKeyRequest())

    async def found(**wanted: Any) -> list[str]:
        return [key.id for key in (await operator.do(pb.ListKeysRequest(**wanted))).keys]

    assert await found(user="anna@acme.example") == [of_anna.key.id]
    assert await found(team="red") == [of_anna.key.id]
    assert await found(organization="acme") == [of_acme.key.id, of_anna.key.id]
    assert await found(organization="acme", user="root") == []


async def test_a_budget_says_what_was_spent_of_it(operator: Operator) -> None:
    made = await operator.do(pb.CreateKeyRequest())
    wanted = Budget(
        scope=SCOPE_KIND_KEY,
        scope_id=made.key.id,
        period=BUDGET_PERIOD_MONTH,
        cap_nanos=1000 * DOLLAR,
        spent_nanos=5,
    )
    budget = (await operator.do(pb.CreateBudgetRequest(budget=wanted))).budget
    await operator.showing(made.secret).say("one two three")
    spent = (await operator.do(pb.ListBudgetsRequest())).budgets[0]
    raised = (await operator.do(pb.UpdateBudgetRequest(id=budget.id, cap_nanos=2000 * DOLLAR))).budget
    same = await operator.refused(pb.CreateBudgetRequest(budget=wanted))
    await operator.do(pb.DeleteBudgetRequest(id=budget.id))

    now = time.gmtime()
    assert (budget.cap_nanos, budget.spent_nanos, budget.reserved_nanos) == (1000 * DOLLAR, 0, 0)
    assert budget.period_start_time.ToDatetime().timetuple()[:6] == (now.tm_year, now.tm_mon, 1, 0, 0, 0)
    assert 28 * 86_400 <= budget.period_end_time.seconds - budget.period_start_time.seconds <= 31 * 86_400
    assert (spent.spent_nanos > 0, spent.spent_nanos % DOLLAR, spent.reserved_nanos) == (True, 0, 0)
    assert (raised.cap_nanos, raised.spent_nanos) == (2000 * DOLLAR, spent.spent_nanos)
    assert same == (
        "CONFLICT",
        f"The key {made.key.id} has a budget of this period (month) already: {budget.id}.",
    )
    assert list((await operator.do(pb.ListBudgetsRequest())).budgets) == []


async def test_of_two_budgets_for_the_same_both_say_what_was_spent(tmp_path: Path) -> None:
    spending = {"budgets": [{"scope": "user", "id": "anna@acme.example", "period": "month", "usd": 500}]}
    async with (
        open_server(tmp_path, access={"enabled": True}, providers={"mock": {}}, models=DEAR, spending=spending) as desk,
        grpc.aio.insecure_channel(desk.target) as channel,
    ):
        operator = Operator(channel, KEY)
        await people(operator)
        made = await operator.do(pb.CreateKeyRequest(key=ApiKey(user="anna@acme.example")))
        budget = Budget(
            scope=SCOPE_KIND_USER, scope_id="anna@acme.example", period=BUDGET_PERIOD_MONTH, cap_nanos=900 * DOLLAR
        )
        await operator.do(pb.CreateBudgetRequest(budget=budget))
        await operator.showing(made.secret).say("one two three")
        budgets = (await operator.do(pb.ListBudgetsRequest())).budgets

    assert {budget.cap_nanos for budget in budgets} == {500 * DOLLAR, 900 * DOLLAR}
    assert budgets[0].spent_nanos == budgets[1].spent_nanos > 0


async def test_a_budget_beyond_what_redis_counts_exactly_is_refused(tmp_path: Path) -> None:
    directory = DatabaseDirectory(Database(f"sqlite:///{tmp_path}/loom.db"))
    meter = TableMeter(None, 0)
    config = Config.model_validate({"limits": {"redis_url": "redis://127.0.0.1:9/0"}})
    budgets = Budgets(directory, meter, lambda: config, tuple, time.time)
    await directory.create(User(id="anna"))
    wanted = Budget(scope=SCOPE_KIND_USER, scope_id="anna", period=BUDGET_PERIOD_DAY, cap_nanos=2**53)
    with pytest.raises(LlmError) as refusal:
        await budgets.create(pb.CreateBudgetRequest(budget=wanted))
    wanted.cap_nanos -= 1
    made = await budgets.create(pb.CreateBudgetRequest(budget=wanted))
    await directory.close()
    await meter.close()

    assert refusal.value.message == (
        "budget.cap_nanos: must not be more than 9007199254740991, to which Redis counts exactly (limits.redis_url)."
    )
    assert made.budget.cap_nanos == 2**53 - 1


async def test_more_spent_than_any_field_holds_leaves_the_budgets_legible(tmp_path: Path) -> None:
    directory = DatabaseDirectory(Database(f"sqlite:///{tmp_path}/loom.db"))
    meter = TableMeter(None, 0)
    budgets = Budgets(directory, meter, Config, tuple, time.time)
    await directory.create(User(id="anna"))
    wanted = Budget(scope=SCOPE_KIND_USER, scope_id="anna", period=BUDGET_PERIOD_TOTAL, cap_nanos=5)
    made = (await budgets.create(pb.CreateBudgetRequest(budget=wanted))).budget
    slot = budget_slot(Cap(made.id, Scope("user", "anna"), "total", 5), "")
    await meter.raise_spent([Spent(slot, 2**64, 0.0)])
    (told,) = (await budgets.list(pb.ListBudgetsRequest())).budgets
    await directory.close()
    await meter.close()

    assert (told.cap_nanos, told.spent_nanos, told.reserved_nanos) == (5, 2**63 - 1, 0)


async def test_budgets_of_the_configuration_are_listed_and_stay(tmp_path: Path) -> None:
    of_red: dict[str, Any] = {"scope": "team", "id": "red", "period": "total", "usd": "2.5"}
    spending = {"budgets": [of_red]}
    async with (
        open_server(tmp_path, access={"enabled": True}, providers={"mock": {}}, spending=spending) as desk,
        grpc.aio.insecure_channel(desk.target) as channel,
    ):
        operator = Operator(channel, KEY)
        await people(operator)
        budget = Budget(scope=SCOPE_KIND_USER, scope_id="root", period=BUDGET_PERIOD_DAY, cap_nanos=1)
        await operator.do(pb.CreateBudgetRequest(budget=budget))
        everything = (await operator.do(pb.ListBudgetsRequest())).budgets
        of_teams = (await operator.do(pb.ListBudgetsRequest(scope=SCOPE_KIND_TEAM))).budgets
        refusals = [
            await operator.refused(pb.UpdateBudgetRequest(id="team/red/total", cap_nanos=1)),
            await operator.refused(pb.DeleteBudgetRequest(id="team/red/total")),
        ]

    assert len(everything) == 2
    assert list(of_teams) == [
        Budget(
            id="team/red/total",
            scope=SCOPE_KIND_TEAM,
            scope_id="red",
            period=BUDGET_PERIOD_TOTAL,
            cap_nanos=5 * DOLLAR // 2,
        )
    ]
    stands = "id: team/red/total stands in the configuration (spending.budgets); change it there."
    assert refusals == [("INVALID_REQUEST", stands)] * 2


REFUSED: dict[str, Any] = {
    "organization.id: is missing.": pb.CreateOrganizationRequest(),
    "organization.id: must be letters, digits and . _ - @, beginning with a letter or a digit, at most 128.": (
        pb.CreateOrganizationRequest(organization=Organization(id="'; DROP TABLE organization; --"))
    ),
    "team.display_name: must not be longer than 256 characters.": pb.CreateTeamRequest(
        team=Team(id="x", display_name="x" * 257)
    ),
    "team.organization: must be letters, digits and . _ - @, beginning with a letter or a digit, at most 128.": (
        pb.CreateTeamRequest(team=Team(id="x", organization="a b"))
    ),
    "user.limits.tokens_per_minute: must be from 0 to 1000000000000000.": pb.CreateUserRequest(
        user=User(id="x", limits=Limits(requests_per_minute=0, tokens_per_minute=-1))
    ),
    "user.role: must be ACCESS_ROLE_USER or ACCESS_ROLE_ADMIN.": pb.CreateUserRequest(user=User(id="x", role=77)),  # type: ignore[arg-type]
    "key.expire_time: must be in the future; to end a key now, revoke it.": pb.CreateKeyRequest(
        key=ApiKey(expire_time=Timestamp(seconds=1))
    ),
    "key.expire_time: is no time: its seconds or nanos are out of range.": pb.CreateKeyRequest(
        key=ApiKey(expire_time=Timestamp(seconds=2**62))
    ),
    "key.allowed.source_networks[1]: must be a network such as 10.0.0.0/8 or 2001:db8::/32, with no bits set behind it.": (
        pb.CreateKeyRequest(key=ApiKey(allowed=Allowed(source_networks=["10.0.0.1", "10.0.0.1/8"])))
    ),
    "key.allowed.models[0]: must not be empty.": pb.CreateKeyRequest(key=ApiKey(allowed=Allowed(models=[""]))),
    "overlap: must be from 0 to 31622400 seconds.": pb.RotateKeyRequest(id="x", overlap=Duration(seconds=-1)),
    "id: is the text of a key; give its id, which `loom-grpc keys list` shows.": pb.RevokeKeyRequest(
        id="lk_0123456789012345678901234567890123456789"
    ),
    "budget.scope: must be one of SCOPE_KIND_KEY, SCOPE_KIND_USER, SCOPE_KIND_TEAM, SCOPE_KIND_ORGANIZATION.": (
        pb.CreateBudgetRequest(budget=Budget(scope=SCOPE_KIND_MODEL, scope_id="x", period=BUDGET_PERIOD_DAY))
    ),
    "budget.scope_id: is missing.": pb.CreateBudgetRequest(
        budget=Budget(scope=SCOPE_KIND_USER, period=BUDGET_PERIOD_DAY)
    ),
    "budget.period: must be one of BUDGET_PERIOD_DAY, BUDGET_PERIOD_MONTH, BUDGET_PERIOD_TOTAL.": (
        pb.CreateBudgetRequest(budget=Budget(scope=SCOPE_KIND_USER, scope_id="x"))
    ),
    "budget.cap_nanos: must not be negative.": pb.CreateBudgetRequest(
        budget=Budget(scope=SCOPE_KIND_USER, scope_id="x", period=BUDGET_PERIOD_DAY, cap_nanos=-1)
    ),
    "cap_nanos: must not be negative.": pb.UpdateBudgetRequest(id="x", cap_nanos=-1),
    "scope: must be one of SCOPE_KIND_KEY, SCOPE_KIND_USER, SCOPE_KIND_TEAM, SCOPE_KIND_ORGANIZATION.": (
        pb.ListBudgetsRequest(scope=SCOPE_KIND_MODEL)
    ),
    "group_by has no 'user; DROP TABLE'; it takes hour, day, month, key, user, team, organization, provider, model,"
    " and label: with a label's name.": pb.QueryUsageRequest(group_by=["user; DROP TABLE"]),
    "filter.end_time: is no time: its seconds or nanos are out of range.": pb.ListCallsRequest(
        filter=pb.CallFilter(end_time=Timestamp(seconds=1, nanos=-5))
    ),
    "filter.labels: must not be more than 10.": pb.QueryUsageRequest(
        filter=pb.CallFilter(labels={str(number): "x" for number in range(11)})
    ),
    "id: is missing.": pb.GetCallRequest(),
    "id: is no id of a call.": pb.GetCallRequest(id="a\0b"),
}


async def test_what_may_not_be_is_refused_by_the_name_of_its_field(operator: Operator) -> None:
    told = {message: await operator.refused(request) for message, request in REFUSED.items()}

    assert told == {message: ("INVALID_REQUEST", message) for message in REFUSED}
    assert list((await operator.do(pb.ListKeysRequest(show_ended=True))).keys) == []


async def test_what_is_not_there_is_not_found(operator: Operator) -> None:
    budget = Budget(scope=SCOPE_KIND_ORGANIZATION, scope_id="x", period=BUDGET_PERIOD_DAY, cap_nanos=1)
    requests = {
        "There is no organization x.": pb.CreateTeamRequest(team=Team(id="t", organization="x")),
        "There is no user x.": pb.CreateKeyRequest(key=ApiKey(user="x", role=ACCESS_ROLE_ADMIN)),
        "There is no team x.": pb.UpdateTeamRequest(team=Team(id="x", display_name="X")),
        "There is no key x.": pb.UpdateKeyRequest(key=ApiKey(id="x", display_name="X")),
        "There is no organization x": pb.CreateBudgetRequest(budget=budget),
        "There is no budget x.": pb.UpdateBudgetRequest(id="x", cap_nanos=1),
        "There is no call x; it may not be in the database yet.": pb.GetCallRequest(id="x"),
    }
    told = {message: await operator.refused(request) for message, request in requests.items()}

    assert told == {message: ("NOT_FOUND", f"{message.rstrip('.')}.") for message in requests}


async def test_hostile_texts_come_back_as_they_were(operator: Operator) -> None:
    for text in HOSTILE:
        mask = FieldMask(paths=["display_name"])
        named = Organization(id="acme", display_name=text)
        create, update = pb.CreateOrganizationRequest, pb.UpdateOrganizationRequest
        await operator.do(
            create(organization=named) if text is HOSTILE[0] else update(organization=named, update_mask=mask)
        )
        allowed = Allowed(providers=[text], models=[text], routes=[text])
        key = ApiKey(organization="acme", display_name=text, allowed=allowed)
        made = await operator.do(pb.CreateKeyRequest(key=key))
        organizations = (await operator.do(pb.ListOrganizationsRequest())).organizations
        filter = pb.CallFilter(user=text, model=text, error_reason=text, labels={text: text})
        usage = await operator.do(pb.QueryUsageRequest(filter=filter, group_by=[f"label:{text}"]))

        assert [one.display_name for one in organizations] == [text]
        assert (await operator.do(pb.ListKeysRequest())).keys[0] == made.key
        assert (made.key.display_name, made.key.allowed) == (text, allowed)
        assert list(usage.rows) == []
        assert (await operator.refused(pb.CreateUserRequest(user=User(id=text))))[0] == "INVALID_REQUEST"
        assert (await operator.refused(pb.DeleteTeamRequest(id=text)))[0] == "INVALID_REQUEST"


async def test_texts_that_would_tear_a_line_apart_are_refused(operator: Operator) -> None:
    for text in TEARING:
        key = ApiKey(display_name=text)
        routes = ApiKey(allowed=Allowed(routes=[text]))

        assert (await operator.refused(pb.CreateKeyRequest(key=key)))[1].startswith("key.display_name: must not ")
        assert (await operator.refused(pb.CreateKeyRequest(key=routes)))[1].startswith(
            "key.allowed.routes[0]: must not "
        )


def record(number: int, **more: Any) -> CallRecord:
    """Makes a record of a call that came some seconds after the beginning of 2026-11-01."""
    one = CallRecord(id=f"{number:032x}", start_time=Timestamp(seconds=1_793_491_200 + number), **more)
    one.caller.user = f"user-{number % 2}"
    one.usage.input_tokens, one.usage.output_tokens = 10, number
    one.cost.nanos, one.cost.currency_code = number, "USD"
    return one


async def test_records_are_listed_added_up_shown_and_exported(operator: Operator, tmp_path: Path) -> None:
    records = [record(number, labels={"job": "night"}) for number in range(1, 6)]
    records[2].prompt_json = '{"secret":1}'
    ledger = ledger_of(tmp_path)
    await ledger.add(records)
    await ledger.close()
    first = await operator.do(pb.ListCallsRequest(page_size=3))
    rest = await operator.do(pb.ListCallsRequest(page_token=first.next_page_token))
    one = await operator.do(pb.GetCallRequest(id=records[2].id))
    question = pb.QueryUsageRequest(filter=pb.CallFilter(labels={"job": "night"}), group_by=["user"], page_size=1)
    rows = await operator.do(question)
    question.page_token = rows.next_page_token
    more = await operator.do(question)
    exported = await operator.export(pb.ExportCallsRequest(filter=pb.CallFilter(user="user-1")))

    assert [call.id for call in (*first.calls, *rest.calls)] == [one.id for one in reversed(records)]
    assert (first.calls[2].prompt_json, one.call) == ("", records[2])
    assert [(list(row.group), row.calls, row.cost_nanos) for row in (*rows.rows, *more.rows)] == [
        (["user-0"], 2, 6),
        (["user-1"], 3, 9),
    ]
    assert more.next_page_token == ""
    assert exported[0] == pb.ExportCallsResponse(total=3)
    assert [call for response in exported for call in response.calls] == records[::2]


async def test_a_call_leaves_a_record_that_says_whose_key_it_was(operator: Operator) -> None:
    await people(operator)
    made = await operator.do(pb.CreateKeyRequest(key=ApiKey(user="anna@acme.example")))
    await operator.showing(made.secret).say("hello")
    calls: list[CallRecord] = []
    async with asyncio.timeout(WAIT_S):
        while not calls:  # it goes through the spool first
            calls = list((await operator.do(pb.ListCallsRequest())).calls)

    caller = calls[0].caller
    assert (caller.key_id, caller.user, caller.team, caller.organization) == (
        made.key.id,
        "anna@acme.example",
        "red",
        "acme",
    )


async def test_an_export_goes_out_in_pieces_however_long_the_prompts_are(operator: Operator, tmp_path: Path) -> None:
    records = [record(number, prompt_json="x" * 600_000) for number in range(1, 5)]
    ledger = ledger_of(tmp_path)
    await ledger.add(records)
    await ledger.close()
    exported = await operator.export(pb.ExportCallsRequest())

    assert [len(response.calls) for response in exported] == [0, 2, 2]


async def test_without_access_or_records_it_is_said_what_to_set(tmp_path: Path) -> None:
    async with (
        open_server(tmp_path, providers={"mock": {}}) as desk,
        grpc.aio.insecure_channel(desk.target) as channel,
    ):
        operator = Operator(channel, KEY)
        told = [await operator.refused(pb.CreateKeyRequest()), await operator.refused(pb.ListCallsRequest())]

    assert told == [
        (
            "INVALID_REQUEST",
            "This server lets everybody call, and so has no keys, users and budgets; set access.enabled: true.",
        ),
        ("INVALID_REQUEST", "This server keeps no records of calls; set audit.enabled: true."),
    ]


async def test_without_its_database_nothing_is_changed_and_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "loom-grpc").mkdir()
    (tmp_path / "loom-grpc" / "loom.db").mkdir()
    async with (
        open_server(tmp_path, access={"enabled": True}, providers={"mock": {}}) as desk,
        grpc.aio.insecure_channel(desk.target) as channel,
    ):
        operator = Operator(channel, KEY)
        told = [await operator.failure(request) for request in (pb.CreateKeyRequest(), pb.QueryUsageRequest())]

    assert [(error.name, error.retry_after) for error in told] == [("STORAGE_UNAVAILABLE", 5.0)] * 2
