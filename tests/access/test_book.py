"""A book says of each caller what the snapshot and the configuration say together."""

from __future__ import annotations

import gc
import ipaddress
import math
from decimal import Decimal
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from loom_grpc.access.book import Book, Known, make_book
from loom_grpc.config import BudgetConfig, LimitConfig, LimitsConfig
from loom_grpc.core.errors import PERMISSION_DENIED, LlmError
from loom_grpc.core.principal import Allowed, Need, Principal
from loom_grpc.core.quota import Cap, Rate, Scope
from loom_grpc.v1 import access_pb2 as pb

SHA = b"k" * 32
ADMIN, USER, UNSET = pb.ACCESS_ROLE_ADMIN, pb.ACCESS_ROLE_USER, pb.ACCESS_ROLE_UNSPECIFIED
ACME = pb.Organization(id="acme")
CORE = pb.Team(id="core", organization="acme")
ALICE = pb.User(id="alice", team="core", organization="acme")


def snapshot(*things: Any, **key: Any) -> pb.AccessSnapshot:
    """Makes a snapshot with a key and things."""
    made = pb.AccessSnapshot()
    if key:
        made.keys.add(sha256=SHA, key=pb.ApiKey(**({"id": "k1"} | key)))
    lists: dict[type, Any] = {
        pb.User: made.users,
        pb.Team: made.teams,
        pb.Organization: made.organizations,
        pb.Budget: made.budgets,
    }
    for thing in things:
        lists[type(thing)].append(thing)
    return made


def book(*things: Any, limits: LimitsConfig | None = None, budgets: Any = (), **key: Any) -> Book:
    return Book(snapshot(*things, **key), limits or LimitsConfig(), budgets)


def found(*things: Any, **key: Any) -> Known:
    known = book(*things, **key).find(SHA)
    assert known is not None
    return known


def of(principal: Principal) -> tuple[str, str, str, str]:
    return principal.method, principal.user, principal.team, principal.organization


def test_a_key_that_nobody_made_is_not_found() -> None:
    assert book(user="alice").find(b"x" * 32) is None


def test_a_key_of_a_user_counts_for_all_that_the_user_belongs_to() -> None:
    known = found(ALICE, CORE, ACME, user="alice")

    tenant = known.principal.tenant
    assert known == Known(
        Principal("key", Need.USER, "k1", "alice", "core", "acme", tenant), math.inf, False, None, refusal=""
    )
    assert len(tenant) == 32


@pytest.mark.parametrize(
    ("key", "things", "team", "organization"),
    [
        ({"user": "bob"}, [pb.User(id="bob")], "", ""),
        ({"user": "bob"}, [pb.User(id="bob", team="core"), CORE, ACME], "core", "acme"),
        ({"user": "alice", "team": "ops"}, [ALICE, CORE, ACME, pb.Team(id="ops")], "ops", "acme"),
        ({"user": "alice", "organization": "x"}, [ALICE, CORE, ACME, pb.Organization(id="x")], "core", "x"),
        ({"team": "core"}, [CORE, ACME], "core", "acme"),
        ({"organization": "acme"}, [ACME], "", "acme"),
    ],
)
def test_what_a_key_says_goes_before_what_its_user_and_its_team_say(
    key: dict[str, str], things: list[Any], team: str, organization: str
) -> None:
    known = found(*things, **key)

    assert of(known.principal) == ("key", key.get("user", ""), team, organization)
    assert known.refusal == ""


@pytest.mark.parametrize("of_key", [ADMIN, USER, UNSET])
@pytest.mark.parametrize("of_user", [ADMIN, USER, UNSET])
def test_a_key_may_never_do_more_than_its_user(
    of_key: pb.AccessRole.ValueType, of_user: pb.AccessRole.ValueType
) -> None:
    known = found(pb.User(id="bob", role=of_user), user="bob", role=of_key)

    assert known.principal.need == (Need.ADMIN if of_key == of_user == ADMIN else Need.USER)


def test_a_key_of_an_organization_may_do_what_it_says() -> None:
    assert found(ACME, organization="acme", role=ADMIN).principal.need == Need.ADMIN
    assert found(ACME, organization="acme").principal.need == Need.USER


@pytest.mark.parametrize("role", [ADMIN, USER])
def test_a_book_tells_whether_any_key_administers(role: pb.AccessRole.ValueType) -> None:
    assert book(ACME, organization="acme", role=role).knows_admins == (role == ADMIN)


def test_all_keys_of_a_user_share_one_tenant_and_nobody_else_has_it() -> None:
    users = [pb.User(id="alice", team="core"), pb.User(id="core", team="core"), pb.User(id="acme")]
    keys = [{"user": "alice"}, {"user": "core"}, {"user": "acme"}, {"team": "core"}, {"organization": "acme"}, {}]
    tenants = [found(*users, CORE, ACME, id="k1", **key).principal.tenant for key in keys]
    others = [found(*users, CORE, ACME, id="k2", **key).principal.tenant for key in keys]

    assert len(set(tenants)) == len(keys)
    assert others[:-1] == tenants[:-1]
    assert others[-1] != tenants[-1]  # a key that belongs to nobody is on its own
    assert book().person("alice", "", "", Need.USER, "jwt").tenant == tenants[0]


@pytest.mark.parametrize(
    ("things", "key", "refusal"),
    [
        ([pb.User(id="bob", disabled=True)], {"user": "bob"}, "user of this caller is disabled"),
        ([pb.Team(id="t", disabled=True)], {"team": "t"}, "team of this caller is disabled"),
        ([pb.Organization(id="o", disabled=True)], {"organization": "o"}, "organization of this caller is disabled"),
        (
            [pb.User(id="bob", team="t"), pb.Team(id="t", disabled=True), CORE, ACME],
            {"user": "bob", "team": "core"},
            "team of this caller is disabled",
        ),
        (
            [pb.User(id="bob", organization="o"), pb.Organization(id="o", disabled=True), ACME],
            {"user": "bob", "organization": "acme"},
            "organization of this caller is disabled",
        ),
        (
            [pb.Team(id="t", organization="o"), pb.Organization(id="o", disabled=True)],
            {"team": "t"},
            "organization of this caller is disabled",
        ),
        ([], {"user": "bob"}, "user of this key is not known any more"),
        ([], {"team": "t"}, "team of this key is not known any more"),
        ([], {"organization": "o"}, "organization of this key is not known any more"),
    ],
)
def test_a_key_is_refused_where_anything_that_it_belongs_to_is_disabled_or_gone(
    things: list[Any], key: dict[str, str], refusal: str
) -> None:
    assert refusal in found(*things, **key).refusal


def test_when_a_key_ends_and_from_where_it_comes_is_known() -> None:
    networks = ["10.0.0.0/8", "2001:db8::/32", "nonsense", "192.0.2.7"]
    known = found(
        ACME,
        organization="acme",
        expire_time=Timestamp(seconds=100, nanos=500_000_000),
        revoke_time=Timestamp(seconds=1),
        allowed=pb.Allowed(source_networks=networks),
    )

    parsed = tuple(ipaddress.ip_network(text) for text in networks if text != "nonsense")
    assert known[1:] == (100.5, True, parsed, "")


def test_a_key_whose_networks_are_nonsense_may_come_from_nowhere() -> None:
    known = found(ACME, organization="acme", allowed=pb.Allowed(source_networks=["nonsense"]))

    assert known.networks == ()


def test_what_a_key_allows_is_taken_over() -> None:
    allowed = pb.Allowed(providers=["openai"], models=["gpt-*"], routes=["fast"])
    known = found(ACME, organization="acme", allowed=allowed)

    assert known.principal.allowed == Allowed(frozenset({"openai"}), ("gpt-*",), frozenset({"fast"}))


def test_limits_are_a_scopes_own_or_else_those_of_the_configuration() -> None:
    usual = LimitsConfig(
        key=LimitConfig(requests_per_minute=1, tokens_per_minute=2, concurrent_streams=3),
        team=LimitConfig(requests_per_minute=4),
        address=LimitConfig(requests_per_minute=5),
    )
    alice = pb.User(id="alice", team="core", organization="acme", limits=pb.Limits(tokens_per_minute=0))
    source = snapshot(alice, CORE, ACME, user="alice", limits=pb.Limits(requests_per_minute=10, concurrent_streams=0))

    known = Book(source, usual, []).find(SHA)

    assert known is not None
    assert known.principal.rates == (
        Rate(Scope("key", "k1"), 10, 2, 0),
        Rate(Scope("user", "alice"), None, 0, None),
        Rate(Scope("team", "core"), 4, None, None),
    )


def budget(
    scope: pb.ScopeKind.ValueType, id: str, period: pb.BudgetPeriod.ValueType, nanos: int, name: str = "b"
) -> pb.Budget:
    return pb.Budget(id=name, scope=scope, scope_id=id, period=period, cap_nanos=nanos)


def test_of_two_budgets_for_the_same_the_lesser_counts() -> None:
    kept = [
        budget(pb.SCOPE_KIND_USER, "alice", pb.BUDGET_PERIOD_DAY, 5_000_000_000, "b1"),
        budget(pb.SCOPE_KIND_KEY, "k1", pb.BUDGET_PERIOD_TOTAL, 7, "b2"),
        budget(pb.SCOPE_KIND_TEAM, "other", pb.BUDGET_PERIOD_TOTAL, 7, "b3"),
        budget(pb.SCOPE_KIND_UNSPECIFIED, "alice", pb.BUDGET_PERIOD_DAY, 1, "b4"),
    ]
    configured = [
        BudgetConfig(scope="user", id="alice", period="day", usd=Decimal("4.000000001")),
        BudgetConfig(scope="key", id="k1", period="total", usd=Decimal(1)),
        BudgetConfig(scope="organization", id="acme", usd=Decimal("0.1")),
    ]
    known = book(ALICE, CORE, ACME, *kept, budgets=configured, user="alice").find(SHA)

    assert known is not None
    assert known.principal.caps == (
        Cap("b2", Scope("key", "k1"), "total", 7),
        Cap("user/alice/day", Scope("user", "alice"), "day", 4_000_000_001),
        Cap("organization/acme/month", Scope("organization", "acme"), "month", 100_000_000),
    )


def test_a_person_whom_nobody_knows_is_taken_at_the_issuers_word() -> None:
    limits = LimitsConfig(user=LimitConfig(requests_per_minute=9))
    principal = book(limits=limits).person("zoe", "guests", "elsewhere", Need.ADMIN, "jwt")

    assert of(principal) == ("jwt", "zoe", "guests", "elsewhere")
    assert (principal.need, principal.rates) == (Need.ADMIN, (Rate(Scope("user", "zoe"), 9),))


def test_of_a_person_who_is_known_the_directorys_word_counts() -> None:
    principal = book(ALICE, CORE, ACME).person("alice", "guests", "elsewhere", Need.ADMIN, "certificate")

    assert of(principal) == ("certificate", "alice", "core", "acme")
    assert principal.need == Need.USER


@pytest.mark.parametrize(
    "disabled",
    [
        pb.User(id="zoe", disabled=True),
        pb.Team(id="guests", disabled=True),
        pb.Organization(id="elsewhere", disabled=True),
    ],
)
def test_a_person_is_refused_where_anything_that_it_belongs_to_is_disabled(disabled: Any) -> None:
    made = book(disabled)

    for _ in range(2):
        with pytest.raises(LlmError) as caught:
            made.person("zoe", "guests", "elsewhere", Need.USER, "jwt")
        assert caught.value.reason == PERMISSION_DENIED


def test_no_number_of_users_fills_the_memory() -> None:
    made = book()
    for number in range(25_000):
        made.person(f"crowd-{number}", "", "", Need.USER, "jwt")

    kept = [thing for thing in gc.get_objects() if type(thing) is Principal and thing.user.startswith("crowd-")]
    assert 0 < len(kept) <= 10_000


async def test_a_book_of_many_keys_is_made_beside_the_event_loop() -> None:
    source = pb.AccessSnapshot()
    for number in range(50_000):
        source.keys.add(sha256=number.to_bytes(32), key=pb.ApiKey(id=f"k{number}", organization="acme"))
    source.organizations.append(ACME)

    made = await make_book(source, LimitsConfig(), [])

    known = made.find((49_999).to_bytes(32))
    assert known is not None
    assert known.principal.key_id == "k49999"


ROLES = st.sampled_from([ADMIN, USER, UNSET])
IDS = st.sampled_from(["", "a", "b"])


@given(ROLES, ROLES, st.booleans(), IDS, IDS, IDS, IDS)
def test_nothing_makes_a_caller_more_than_its_user_is(
    of_user: pb.AccessRole.ValueType,
    of_key: pb.AccessRole.ValueType,
    disabled: bool,
    team: str,
    organization: str,
    of_key_team: str,
    of_key_organization: str,
) -> None:
    user = pb.User(id="u", role=of_user, team=team, organization=organization, disabled=disabled)
    things = [pb.Team(id="a", organization="b"), pb.Team(id="b"), pb.Organization(id="a"), pb.Organization(id="b")]
    made = book(user, *things, user="u", role=of_key, team=of_key_team, organization=of_key_organization)
    most = Need.ADMIN if of_user == ADMIN else Need.USER
    known = made.find(SHA)

    assert known is not None
    assert known.principal.need <= most
    assert bool(known.refusal) == disabled
    if not disabled:
        assert made.person("u", "a", "b", Need.ADMIN, "jwt").need <= most
