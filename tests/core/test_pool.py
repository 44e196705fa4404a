"""Which account is asked, which one next, and what is told when none is left."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

import pytest

from loom_grpc.core.account import AccountRef
from loom_grpc.core.call import Call, Send
from loom_grpc.core.errors import (
    CONTENT_BLOCKED,
    CONTEXT_TOO_LONG,
    INTERNAL,
    INVALID_REQUEST,
    MODEL_NOT_FOUND,
    PROVIDER_AUTH_FAILED,
    PROVIDER_BAD_RESPONSE,
    PROVIDER_QUOTA_EXCEEDED,
    PROVIDER_RATE_LIMITED,
    PROVIDER_TIMEOUT,
    PROVIDER_UNAVAILABLE,
    TABLE,
    LlmError,
    reason_name,
)
from loom_grpc.core.health import Condition, Counts, Event, Health, Standing
from loom_grpc.core.pool import STRATEGIES, Account, Pool
from loom_grpc.core.retry import Retry, RetryPolicy
from loom_grpc.v1.admin_service_pb2 import ACCOUNT_KIND_API_KEY
from loom_grpc.v1.error_pb2 import ErrorReason
from loom_grpc.v1.llm_service_pb2 import Completed, LlmEvent, LlmRequest, LlmResponse, Model, TextDelta
from loom_grpc.v1.usage_pb2 import Usage

TEXT = LlmEvent(text_delta=TextDelta(content="Hel"))
DONE = LlmEvent(completed=Completed())

DOWN = LlmError(PROVIDER_UNAVAILABLE, "Overloaded.", provider_status="529")
LATE = LlmError(PROVIDER_TIMEOUT, "Late.")
GIBBERISH = LlmError(PROVIDER_BAD_RESPONSE, "What?")
SPENT = LlmError(PROVIDER_QUOTA_EXCEEDED, "Used up.")
DENIED = LlmError(PROVIDER_AUTH_FAILED, "No.")
CROWDED = LlmError(PROVIDER_RATE_LIMITED, "Too often.")


def burst(retry_after: float) -> LlmError:
    return LlmError(PROVIDER_RATE_LIMITED, "Too often.", retry_after=retry_after)


def spent(retry_after: float) -> LlmError:
    return LlmError(PROVIDER_QUOTA_EXCEEDED, "Used up.", retry_after=retry_after)


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Provider:
    """What the accounts ask: it does for each what it was told, one thing after the other, the last one again and again."""

    def __init__(self) -> None:
        self.scripts: dict[str, list[LlmError | Usage]] = {}
        self.asked: list[str] = []
        self.calls: list[tuple[str, int]] = []
        """The account and the number of each attempt, as the call had them."""

    async def __call__(self, id: str, call: Call, send: Send) -> None:
        self.asked.append(id)
        self.calls.append((call.account, call.attempt))
        script = self.scripts.get(id, [Usage()])
        step = script.pop(0) if len(script) > 1 else script[0]
        await asyncio.sleep(0)
        if isinstance(step, LlmError):
            raise step
        call.answer = LlmResponse(usage=step)
        call.responded = True
        await send(DONE)

    async def count_tokens(self, call: Call) -> int | None:
        return 7

    async def models(self, call: Call) -> list[Model] | None:
        return None


class Accounts:
    """A pool of accounts, its clock, and the provider behind them."""

    def __init__(self, *ids: str, strategy: str = "round_robin", max_attempts: int = 3, implicit: bool = False) -> None:
        self.clock = Clock()
        self.provider = Provider()
        self.failovers: list[tuple[str, LlmError]] = []
        self.implicit = implicit
        self.pool = Pool(
            "p",
            strategy=strategy,
            max_attempts=max_attempts,
            on_failover=lambda call, account, error: self.failovers.append((account.ref.id, error)),
        )
        self.pool.accounts = [self.make(id) for id in ids]

    def make(self, id: str) -> Account:
        async def handler(call: Call, send: Send) -> None:
            await self.provider(id, call, send)

        health = Health(self.clock)
        ref = AccountRef("p", id)
        return Account(
            ref, ACCOUNT_KIND_API_KEY, handler, self.provider, health, configured=True, implicit=self.implicit
        )

    def script(self, **scripts: LlmError | Usage | list[LlmError | Usage]) -> None:
        """Sets what happens to whoever asks with an account."""
        for id, script in scripts.items():
            self.provider.scripts[id] = script if isinstance(script, list) else [script]

    def health(self, id: str) -> Health:
        return next(account.health for account in self.pool.accounts if account.ref.id == id)

    async def ask(self, call: Call | None = None) -> list[str]:
        """Makes a call and returns the accounts that were asked for it."""
        before = len(self.provider.asked)
        await self.pool(call or new_call(), ignore)
        return self.provider.asked[before:]

    async def fail(self, call: Call | None = None) -> LlmError:
        """Makes a call that fails."""
        with pytest.raises(LlmError) as caught:
            await self.pool(call or new_call(), ignore)
        return caught.value

    def conditions(self) -> Mapping[str, Condition]:
        return {account.ref.id: account.health.condition for account in self.pool.accounts}

    def counts(self) -> Mapping[str, tuple[int, int]]:
        """Returns each account's requests and errors."""
        return {account.ref.id: account.health.counts()[:2] for account in self.pool.accounts}


async def ignore(event: LlmEvent) -> None: ...


def new_call(session: str = "", *, expires_in: float = math.inf) -> Call:
    call = Call(LlmRequest(session_id=session), stream=True, request_id="r", provider="p")
    call.expires = asyncio.get_running_loop().time() + expires_in
    return call


# Round robin


async def test_round_robin_asks_one_after_the_other() -> None:
    accounts = Accounts("a", "b", "c")

    assert [await accounts.ask() for _ in range(7)] == [["a"], ["b"], ["c"], ["a"], ["b"], ["c"], ["a"]]


async def test_round_robin_goes_on_when_accounts_come_and_go() -> None:
    accounts = Accounts("a", "b", "c")
    a, b, c = accounts.pool.accounts
    await accounts.ask()

    accounts.pool.accounts = [a, c]
    assert [await accounts.ask() for _ in range(2)] == [["c"], ["a"]]
    accounts.pool.accounts = [accounts.make("new"), a, b, c]
    assert [await accounts.ask() for _ in range(5)] == [["new"], ["b"], ["c"], ["a"], ["new"]]


async def test_round_robin_passes_over_those_that_may_not_be_asked() -> None:
    accounts = Accounts("a", "b", "c", "d")
    accounts.health("a").record(Event.REFUSED, DENIED)
    accounts.health("b").record(Event.THROTTLED, burst(2.0))
    accounts.health("c").record(Event.SWITCHED_OFF)

    assert [await accounts.ask() for _ in range(2)] == [["d"], ["d"]]
    accounts.clock.now += 2.0
    assert [await accounts.ask() for _ in range(3)] == [["b"], ["d"], ["b"]]


# Least used


async def test_least_used_asks_the_account_with_the_fewest_recent_tokens() -> None:
    accounts = Accounts("a", "b", "c", strategy="least_used")
    accounts.script(a=Usage(input_tokens=50, output_tokens=50), b=Usage(input_tokens=30), c=Usage(output_tokens=45))

    assert [await accounts.ask() for _ in range(7)] == [["a"], ["b"], ["c"], ["b"], ["c"], ["b"], ["c"]]


async def test_least_used_forgets_what_was_used_before_the_window() -> None:
    accounts = Accounts("a", "b", strategy="least_used")
    accounts.script(a=Usage(input_tokens=100), b=Usage(input_tokens=10))
    await accounts.ask()

    assert [await accounts.ask() for _ in range(3)] == [["b"]] * 3
    accounts.clock.now += 1800.0
    assert await accounts.ask() == ["b"]
    accounts.clock.now += 1800.0
    assert await accounts.ask() == ["a"]


async def test_least_used_looks_at_calls_in_flight_where_tokens_are_equal() -> None:
    accounts = Accounts("a", "b", "c", strategy="least_used")

    await asyncio.gather(*(accounts.pool(new_call(), ignore) for _ in range(6)))

    assert Counter(accounts.provider.asked) == {"a": 2, "b": 2, "c": 2}


async def test_least_used_spares_an_account_that_is_busy() -> None:
    accounts = Accounts("a", "b", strategy="least_used")
    held, answer = asyncio.Event(), accounts.pool.accounts[0].handler

    async def holds(call: Call, send: Send) -> None:
        held.set()
        await asyncio.Event().wait()

    accounts.pool.accounts[0].handler = holds
    task = asyncio.ensure_future(accounts.pool(new_call(), ignore))
    await held.wait()
    async with asyncio.timeout(5):
        assert [await accounts.ask() for _ in range(2)] == [["b"], ["b"]]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    accounts.pool.accounts[0].handler = answer
    assert await accounts.ask() == ["a"]


async def test_least_used_takes_turns_where_everything_is_equal() -> None:
    accounts = Accounts("a", "b", strategy="least_used")

    assert [await accounts.ask() for _ in range(4)] == [["a"], ["b"], ["a"], ["b"]]


# First available


async def test_first_available_asks_the_first_and_a_backup_only_while_it_pauses() -> None:
    accounts = Accounts("primary", "backup", strategy="first_available")
    accounts.script(primary=[Usage(), spent(60.0), Usage()])

    assert [await accounts.ask() for _ in range(3)] == [["primary"], ["primary", "backup"], ["backup"]]
    accounts.clock.now += 59.9
    assert await accounts.ask() == ["backup"]
    accounts.clock.now += 0.1
    assert [await accounts.ask() for _ in range(2)] == [["primary"], ["primary"]]


async def test_first_available_keeps_to_the_order_of_the_configuration() -> None:
    accounts = Accounts("a", "b", "c", strategy="first_available")
    accounts.script(a=DOWN, b=DOWN)

    assert await accounts.ask() == ["a", "b", "c"]


# Session


async def owners(accounts: Accounts, sessions: list[str]) -> dict[str, str]:
    """Returns the account that answered each session."""
    return {session: (await accounts.ask(new_call(session)))[-1] for session in sessions}


SESSIONS = [f"session-{number}" for number in range(400)]


async def test_a_session_stays_with_its_account() -> None:
    accounts = Accounts("a", "b", "c", strategy="session")

    assert await owners(accounts, SESSIONS) == await owners(accounts, SESSIONS[::-1])


async def test_a_session_has_the_same_account_in_every_process() -> None:
    here, there = Accounts("a", "b", "c", strategy="session"), Accounts("c", "a", "b", strategy="session")

    assert await owners(here, SESSIONS) == await owners(there, SESSIONS)


async def test_an_update_of_the_server_moves_no_session() -> None:
    accounts = Accounts("a", "b", "c", strategy="session")

    assert "".join((await owners(accounts, SESSIONS[:20])).values()) == "bbccccabcacabccabbcb"


async def test_many_sessions_spread_evenly() -> None:
    accounts = Accounts("a", "b", "c", "d", strategy="session")

    spread = Counter((await owners(accounts, SESSIONS)).values())

    assert set(spread) == {"a", "b", "c", "d"}
    assert all(70 <= count <= 130 for count in spread.values())


async def test_a_session_moves_only_while_its_account_is_out() -> None:
    accounts = Accounts("a", "b", "c", strategy="session")
    before = await owners(accounts, SESSIONS)

    accounts.health("b").record(Event.EXHAUSTED, spent(60.0))
    meanwhile = await owners(accounts, SESSIONS)
    accounts.clock.now += 60.0
    afterwards = await owners(accounts, SESSIONS)

    moved = {session for session in SESSIONS if meanwhile[session] != before[session]}
    assert moved == {session for session, owner in before.items() if owner == "b"}
    assert {meanwhile[session] for session in moved} == {"a", "c"}
    assert afterwards == before


async def test_a_session_fails_over_to_one_account_and_stays_there() -> None:
    accounts = Accounts("a", "b", "c", strategy="session")
    owner = (await accounts.ask(new_call("s")))[0]
    accounts.script(**{owner: DENIED})

    asked = [await accounts.ask(new_call("s")) for _ in range(3)]

    other = asked[0][1]
    assert asked == [[owner, other], [other], [other]]


async def test_a_new_account_takes_sessions_over_and_moves_no_others() -> None:
    accounts = Accounts("a", "b", "c", strategy="session")
    before = await owners(accounts, SESSIONS)
    accounts.pool.accounts = [*accounts.pool.accounts, accounts.make("d")]

    after = await owners(accounts, SESSIONS)

    assert {after[session] for session in SESSIONS if after[session] != before[session]} == {"d"}


async def test_calls_without_a_session_take_turns() -> None:
    accounts = Accounts("a", "b", strategy="session")

    assert [await accounts.ask() for _ in range(3)] == [["a"], ["b"], ["a"]]


# Failing over


@pytest.mark.parametrize(
    ("error", "left"),
    [
        (SPENT, Condition.COOLING),
        (spent(5.0), Condition.COOLING),
        (DENIED, Condition.REFUSED),
        (LlmError(PROVIDER_AUTH_FAILED, "No.", by_words=True), Condition.AVAILABLE),
        (burst(5.0), Condition.COOLING),
        (CROWDED, Condition.AVAILABLE),
        (DOWN, Condition.AVAILABLE),
        (LATE, Condition.AVAILABLE),
        (GIBBERISH, Condition.AVAILABLE),
    ],
)
@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_the_next_account_answers_when_one_fails(strategy: str, error: LlmError, left: Condition) -> None:
    accounts = Accounts("a", "b", strategy=strategy)
    accounts.script(a=error)
    call = new_call()

    assert await accounts.ask(call) == ["a", "b"]
    assert accounts.conditions() == {"a": left, "b": Condition.AVAILABLE}
    assert accounts.counts() == {"a": (1, 1), "b": (1, 0)}
    assert (accounts.failovers, accounts.provider.calls) == ([("a", error)], [("a", 1), ("b", 2)])
    assert (call.account, call.attempt) == ("b", 2)


CALLERS_FAULTS = [reason for reason, row in TABLE.items() if not row.next]


@pytest.mark.parametrize("reason", CALLERS_FAULTS, ids=reason_name)
async def test_a_failure_that_is_not_the_account_s_asks_nobody_else(reason: ErrorReason.ValueType) -> None:
    accounts = Accounts("a", "b")
    error = LlmError(reason, "No.")
    accounts.script(a=error)

    assert await accounts.fail() is error
    assert accounts.counts() == {"a": (1, 0), "b": (0, 0)}
    assert accounts.failovers == []


def test_the_caller_s_faults_are_among_those_that_ask_nobody_else() -> None:
    faults = {INVALID_REQUEST, CONTEXT_TOO_LONG, MODEL_NOT_FOUND, CONTENT_BLOCKED, INTERNAL}

    assert faults <= set(CALLERS_FAULTS)


@pytest.mark.parametrize("error", [DOWN, SPENT, DENIED, burst(1.0), LATE])
async def test_nobody_else_is_asked_after_the_first_event(error: LlmError) -> None:
    accounts = Accounts("a", "b")
    sent: list[LlmEvent] = []

    async def breaks_off(call: Call, send: Send) -> None:
        call.responded = True
        await send(TEXT)
        raise error

    async def keep(event: LlmEvent) -> None:
        sent.append(event)

    accounts.pool.accounts[0].handler = breaks_off
    with pytest.raises(LlmError) as caught:
        await accounts.pool(new_call(), keep)

    assert (caught.value, sent, accounts.provider.asked) == (error, [TEXT], [])
    assert accounts.counts() == {"a": (1, 1), "b": (0, 0)}
    assert accounts.failovers == []


async def test_each_account_is_asked_once_at_most() -> None:
    accounts = Accounts("a", "b", "c", max_attempts=100)
    accounts.script(a=DOWN, b=LATE, c=CROWDED)
    call = new_call()

    await accounts.fail(call)

    assert accounts.provider.asked == ["a", "b", "c"]
    assert (call.attempt, call.refusals) == (3, 0)
    assert accounts.failovers == [("a", DOWN), ("b", LATE)]


@pytest.mark.parametrize(("max_attempts", "asked"), [(1, "a"), (2, "ab"), (4, "abcd"), (9, "abcde")])
@pytest.mark.parametrize("error", [DOWN, LATE, CROWDED, GIBBERISH])
async def test_passing_failures_are_tried_within_the_budget(max_attempts: int, asked: str, error: LlmError) -> None:
    accounts = Accounts(*"abcde", max_attempts=max_attempts)
    accounts.script(**dict.fromkeys("abcde", error))

    await accounts.fail()

    assert accounts.provider.asked == list(asked)


async def test_accounts_that_pause_for_a_burst_do_not_end_the_search() -> None:
    accounts = Accounts(*"abcde", max_attempts=1)
    accounts.script(**dict.fromkeys("abcd", burst(1.0)))
    call = new_call()

    assert await accounts.ask(call) == list("abcde")
    assert (call.attempt, call.refusals) == (5, 0)


async def test_a_quota_without_a_time_is_told_with_the_end_of_the_first_pause() -> None:
    accounts = Accounts("a", "b")
    accounts.script(a=SPENT, b=SPENT)

    error = await accounts.fail()

    assert (error.reason, error.retry_after) == (PROVIDER_QUOTA_EXCEEDED, 7200.0)


async def test_a_callers_deadline_is_no_fault_of_the_account() -> None:
    accounts = Accounts("a")
    accounts.script(a=LATE)
    call = new_call()
    call.deadline = 0.0

    await accounts.fail(call)

    assert accounts.health("a").counts() == Counts(requests=1)


@pytest.mark.parametrize("error", [SPENT, spent(3.0), DENIED])
async def test_refusals_are_not_counted_against_the_budget(error: LlmError) -> None:
    accounts = Accounts(*"abcde", max_attempts=1)
    accounts.script(**dict.fromkeys("abcd", error))
    call = new_call()

    assert await accounts.ask(call) == list("abcde")
    assert (call.attempt, call.refusals) == (5, 4)


async def test_refusals_between_passing_failures_leave_the_budget_as_it_is() -> None:
    accounts = Accounts(*"abcdef", max_attempts=2)
    accounts.script(a=SPENT, b=DOWN, c=DENIED, d=DOWN)
    call = new_call()

    assert await accounts.fail(call) is DOWN
    assert accounts.provider.asked == list("abcd")
    assert (call.attempt, call.refusals) == (4, 2)


async def test_a_call_that_has_expired_goes_no_further() -> None:
    accounts = Accounts("a", "b")
    accounts.script(a=LATE)

    assert await accounts.fail(new_call(expires_in=0.0)) is LATE
    assert accounts.provider.asked == ["a"]


async def test_every_change_of_account_is_told_while_the_call_is_at_the_one_that_failed() -> None:
    told: list[tuple[str, str, int, LlmError]] = []
    accounts = Accounts("a", "b", "c")
    accounts.script(a=DENIED, b=DOWN)
    accounts.pool = Pool(
        "p", on_failover=lambda call, account, error: told.append((account.ref.id, call.account, call.attempt, error))
    )
    accounts.pool.accounts = [accounts.make(id) for id in "abc"]

    await accounts.ask()

    assert told == [("a", "a", 1, DENIED), ("b", "b", 2, DOWN)]


async def test_what_one_account_said_before_it_failed_is_not_the_next_one_s() -> None:
    accounts = Accounts("a", "b")

    async def fails_late(call: Call, send: Send) -> None:
        call.answer = LlmResponse(usage=Usage(input_tokens=9, output_tokens=1))
        raise DOWN

    async def fails_soon(call: Call, send: Send) -> None:
        raise DOWN

    accounts.pool.accounts[0].handler, accounts.pool.accounts[1].handler = fails_late, fails_soon
    call = new_call()
    await accounts.fail(call)

    assert call.answer is None
    assert accounts.health("a").counts() == Counts(requests=1, errors=1, input_tokens=9, output_tokens=1)
    assert accounts.health("b").counts() == Counts(requests=1, errors=1)


# What is told in the end


@pytest.mark.parametrize(
    ("errors", "told"),
    [
        pytest.param([DOWN, SPENT, DENIED], 0, id="one that passes, first"),
        pytest.param([SPENT, DOWN, DENIED], 1, id="one that passes, in the middle"),
        pytest.param([SPENT, DENIED, DOWN], 2, id="one that passes, last"),
        pytest.param([SPENT, DENIED, GIBBERISH], 2, id="else the last: unreadable"),
        pytest.param([GIBBERISH, SPENT, DENIED], 2, id="else the last: refused"),
        pytest.param([DENIED, GIBBERISH, spent(60.0)], 2, id="else the last: used up"),
        pytest.param([burst(60.0), DOWN, DENIED], 1, id="the one that may be asked again soonest"),
        pytest.param([DOWN, burst(60.0), DENIED], 0, id="the same, first"),
        pytest.param([burst(60.0), burst(2.0), burst(5.0)], 1, id="the shortest of the waits"),
    ],
)
async def test_the_failure_that_ends_soonest_is_told(errors: list[LlmError], told: int) -> None:
    accounts = Accounts("a", "b", "c", max_attempts=9)
    accounts.script(**dict(zip("abc", errors, strict=True)))

    assert await accounts.fail() is errors[told]
    assert accounts.provider.asked == ["a", "b", "c"]


async def test_the_provider_s_own_words_are_told_however_long_the_others_took() -> None:
    accounts = Accounts("a", "b")
    first = burst(5.0)
    accounts.script(a=first)

    async def slow(call: Call, send: Send) -> None:
        accounts.clock.now += 1.0
        raise GIBBERISH

    accounts.pool.accounts[1].handler = slow

    assert await accounts.fail() is first


async def test_an_account_that_pauses_for_a_burst_is_told_of_where_no_other_is_of_use() -> None:
    accounts = Accounts("a", "b", "c")
    accounts.script(a=SPENT, b=DENIED)
    accounts.health("c").record(Event.THROTTLED, burst(2.0))

    error = await accounts.fail()

    assert (error.reason, error.retry_after) == (PROVIDER_RATE_LIMITED, 2.0)
    assert accounts.provider.asked == ["a", "b"]


async def test_when_all_quotas_are_used_up_the_first_to_come_back_is_waited_for() -> None:
    accounts = Accounts("a", "b", "c")
    accounts.script(a=spent(300.0), b=spent(60.0), c=SPENT)
    await accounts.fail()
    accounts.clock.now += 10.0

    error = await accounts.fail()

    assert (error.reason, error.retry_after) == (PROVIDER_QUOTA_EXCEEDED, 50.0)
    assert error.message == "The quota of every account of p is used up."
    assert accounts.counts() == {"a": (1, 1), "b": (1, 1), "c": (1, 1)}


async def test_when_all_pause_for_a_burst_that_is_told() -> None:
    accounts = Accounts("a", "b")
    accounts.script(a=burst(5.0), b=burst(3.0))
    await accounts.fail()

    error = await accounts.fail()

    assert (error.reason, error.retry_after) == (PROVIDER_RATE_LIMITED, 3.0)
    assert error.message == "The accounts of p are asked too often."


@pytest.mark.parametrize(
    ("burst_s", "quota_s", "reason", "retry_after"),
    [(2.0, 60.0, PROVIDER_RATE_LIMITED, 2.0), (90.0, 60.0, PROVIDER_QUOTA_EXCEEDED, 60.0)],
)
async def test_of_a_burst_and_a_quota_the_one_that_ends_first_is_told(
    burst_s: float, quota_s: float, reason: ErrorReason.ValueType, retry_after: float
) -> None:
    accounts = Accounts("a", "b", "c")
    accounts.health("a").record(Event.THROTTLED, burst(burst_s))
    accounts.health("b").record(Event.EXHAUSTED, spent(quota_s))
    accounts.health("c").record(Event.REFUSED, DENIED)

    error = await accounts.fail()

    assert (error.reason, error.retry_after) == (reason, retry_after)


@pytest.mark.parametrize("event", [Event.REFUSED, Event.SWITCHED_OFF])
async def test_when_none_can_be_used_the_operator_has_to_act(event: Event) -> None:
    accounts = Accounts("a", "b")
    for id in "ab":
        accounts.health(id).record(event)
    call = new_call()

    error = await accounts.fail(call)

    assert (error.reason, error.retry_after) == (PROVIDER_AUTH_FAILED, None)
    assert error.message == "No account of p can be used; the operator must log in again or enable one."
    assert (accounts.provider.asked, call.attempt, accounts.failovers) == ([], 0, [])


async def test_a_pool_without_accounts_asks_nobody() -> None:
    assert (await Accounts().fail()).reason == PROVIDER_AUTH_FAILED


async def test_an_account_that_was_refused_or_switched_off_is_asked_again_when_that_is_over() -> None:
    accounts = Accounts("a", "b")
    accounts.health("a").record(Event.REFUSED, DENIED)
    accounts.health("b").record(Event.SWITCHED_OFF)
    await accounts.fail()

    accounts.health("a").record(Event.RENEWED)
    accounts.health("b").record(Event.SWITCHED_ON)

    assert [await accounts.ask() for _ in range(2)] == [["a"], ["b"]]


# An account of no pool


@pytest.mark.parametrize("error", [DOWN, SPENT, spent(9.0), DENIED, burst(60.0), CROWDED])
async def test_a_lone_account_is_asked_whatever_happened(error: LlmError) -> None:
    accounts = Accounts("default", implicit=True)
    accounts.script(default=[error, error, Usage()])

    assert await accounts.fail() is error
    assert await accounts.fail() is error
    assert await accounts.ask() == ["default"]
    assert accounts.conditions() == {"default": Condition.AVAILABLE}
    assert (accounts.counts(), accounts.failovers) == ({"default": (3, 2)}, [])


@pytest.mark.parametrize("condition", [Condition.COOLING, Condition.REFUSED])
async def test_a_lone_account_is_asked_whatever_is_remembered_of_it(condition: Condition) -> None:
    accounts = Accounts("default", implicit=True)
    accounts.health("default").adopt(Standing(condition, 900.0, 9000.0))

    assert await accounts.ask() == ["default"]


async def test_an_account_that_is_left_alone_is_asked_although_it_was_refused_among_others() -> None:
    accounts = Accounts("default", "b", implicit=True)
    accounts.script(default=[DENIED, Usage()])
    await accounts.ask()

    accounts.pool.accounts = accounts.pool.accounts[:1]

    assert await accounts.ask() == ["default"]


async def test_a_lone_account_that_is_switched_off_is_not_asked() -> None:
    accounts = Accounts("default", implicit=True)
    accounts.health("default").record(Event.SWITCHED_OFF)

    assert (await accounts.fail()).reason == PROVIDER_AUTH_FAILED
    assert accounts.provider.asked == []


@pytest.mark.parametrize(("error", "left"), [(SPENT, Condition.COOLING), (DENIED, Condition.REFUSED)])
async def test_a_pool_of_one_pauses_and_is_refused_as_any_pool(error: LlmError, left: Condition) -> None:
    accounts = Accounts("a")
    accounts.script(a=error)

    await accounts.fail()
    await accounts.fail()

    assert (accounts.conditions(), accounts.counts()) == ({"a": left}, {"a": (1, 1)})


async def test_an_account_that_was_taken_out_of_the_pool_is_not_alone() -> None:
    accounts = Accounts("default", "b", implicit=True)
    default, b = accounts.pool.accounts

    async def is_taken_out(call: Call, send: Send) -> None:
        accounts.pool.accounts = [b]
        raise DENIED

    default.handler = is_taken_out

    assert await accounts.ask() == ["b"]
    assert default.health.condition is Condition.REFUSED


async def test_the_plain_key_among_others_is_like_any_of_them() -> None:
    accounts = Accounts("default", "b", implicit=True)
    accounts.script(default=DENIED)

    assert [await accounts.ask() for _ in range(2)] == [["default", "b"], ["b"]]


async def test_the_plain_key_has_no_name_in_a_call() -> None:
    accounts = Accounts("default", implicit=True)
    call = new_call()

    await accounts.ask(call)

    assert (call.account, call.attempt) == ("", 1)


# Other questions than for an answer


async def test_other_questions_are_asked_of_the_pool_too() -> None:
    accounts = Accounts("a", "b")
    accounts.health("a").record(Event.SWITCHED_OFF)

    assert await accounts.pool.ask(new_call(), lambda account: account.inquiry.count_tokens(new_call())) == 7
    assert accounts.counts() == {"a": (0, 0), "b": (1, 0)}


@pytest.mark.parametrize("error", [DENIED, SPENT, burst(3.0)])
async def test_a_lenient_question_fails_over_and_leaves_every_condition(error: LlmError) -> None:
    accounts = Accounts("a", "b")

    async def question(account: Account) -> str:
        if account.ref.id == "a":
            raise error
        return account.ref.id

    assert await accounts.pool.ask(new_call(), question, lenient=True) == "b"
    assert accounts.conditions() == {"a": Condition.AVAILABLE, "b": Condition.AVAILABLE}
    assert accounts.counts() == {"a": (1, 1), "b": (1, 0)}


# Cancelling and counting


async def test_a_cancelled_call_is_a_request_and_no_error() -> None:
    accounts = Accounts("a", "b")
    began = asyncio.Event()

    async def stalls(call: Call, send: Send) -> None:
        call.answer = LlmResponse(usage=Usage(input_tokens=4))
        began.set()
        await asyncio.Event().wait()

    accounts.pool.accounts[0].handler = stalls
    task = asyncio.ensure_future(accounts.pool(new_call(), ignore))
    await began.wait()
    assert accounts.health("a").in_flight == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert accounts.health("a").counts() == Counts(requests=1, input_tokens=4)
    assert accounts.health("a").standing() == Standing(Condition.AVAILABLE, 0.0)
    assert [account.health.in_flight for account in accounts.pool.accounts] == [0, 0]
    assert accounts.provider.asked == []


async def test_a_caller_that_hangs_up_is_no_error_of_the_account() -> None:
    accounts = Accounts("a", "b")

    async def hang_up(event: LlmEvent) -> None:
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await accounts.pool(new_call(), hang_up)

    assert accounts.counts() == {"a": (1, 0), "b": (0, 0)}
    assert accounts.health("a").in_flight == 0


async def test_two_hundred_calls_at_once_are_counted_exactly() -> None:
    accounts = Accounts("good", "spent", "revoked", "overloaded")
    accounts.script(good=Usage(input_tokens=2, output_tokens=3), spent=SPENT, revoked=DENIED, overloaded=DOWN)

    await asyncio.gather(*(accounts.pool(new_call(), ignore) for _ in range(200)))

    asked = Counter(accounts.provider.asked)
    assert accounts.health("good").counts() == Counts(200, 0, 400, 600)
    for id in ("spent", "revoked", "overloaded"):
        assert accounts.health(id).counts() == Counts(asked[id], asked[id])
    assert [account.health.in_flight for account in accounts.pool.accounts] == [0, 0, 0, 0]
    assert len(accounts.failovers) == sum(asked.values()) - 200


async def test_calls_that_come_after_a_failure_do_not_repeat_it() -> None:
    accounts = Accounts("good", "spent", "revoked")
    accounts.script(spent=SPENT, revoked=DENIED)
    for _ in range(50):
        await accounts.ask()

    assert accounts.counts() == {"good": (50, 0), "spent": (1, 1), "revoked": (1, 1)}


# With the retry loop in front


class Patience:
    """Waits in no time: it moves the accounts' clock on, and remembers how far."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.waits: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.waits.append(seconds)
        self._clock.now += seconds


def retrying(accounts: Accounts, policy: RetryPolicy) -> tuple[Callable[[Call, Send], Awaitable[None]], list[float]]:
    patience = Patience(accounts.clock)
    retry = Retry(
        accounts.pool,
        policy,
        retryable=lambda error: error.row.retry,
        on_retry=lambda call, error, delay: None,
        sleep=patience,
    )
    return retry, patience.waits


@pytest.mark.parametrize(
    ("max_attempts", "asked", "waits"),
    [(1, "a", []), (2, "ab", []), (3, "aba", [1.0]), (4, "abab", [1.0]), (5, "ababa", [1.0, 4.0])],
)
async def test_an_overload_everywhere_is_asked_as_often_as_allowed_and_waited_for_before_anyone_is_asked_again(
    max_attempts: int, asked: str, waits: list[float]
) -> None:
    accounts = Accounts("a", "b", max_attempts=max_attempts)
    accounts.script(a=DOWN, b=DOWN)
    retry, waited = retrying(accounts, RetryPolicy(max_attempts=max_attempts, jitter=False))
    call = new_call()

    with pytest.raises(LlmError) as caught:
        await retry(call, ignore)

    assert caught.value is DOWN
    assert (accounts.provider.asked, waited, call.attempt) == (list(asked), waits, max_attempts)


async def test_the_only_account_of_a_pool_is_waited_for_when_it_pauses_for_a_burst() -> None:
    accounts = Accounts("a")
    accounts.script(a=[burst(2.0), Usage()])
    retry, waited = retrying(accounts, RetryPolicy(jitter=False))
    call = new_call()

    await retry(call, ignore)

    assert (waited, accounts.provider.asked, call.attempt) == ([2.0], ["a", "a"], 2)


async def test_a_call_that_comes_while_all_pause_for_a_burst_waits_and_asks_once() -> None:
    accounts = Accounts("a", "b")
    accounts.health("a").record(Event.THROTTLED, burst(3.0))
    accounts.health("b").record(Event.THROTTLED, burst(2.0))
    retry, waited = retrying(accounts, RetryPolicy(max_attempts=2, jitter=False))
    call = new_call()

    await retry(call, ignore)

    assert (waited, accounts.provider.asked, call.attempt) == ([2.0], ["b"], 1)


async def test_a_pause_for_a_burst_that_is_too_long_is_not_waited_for() -> None:
    accounts = Accounts("a")
    accounts.script(a=burst(31.0))
    retry, waited = retrying(accounts, RetryPolicy(jitter=False))

    with pytest.raises(LlmError) as caught:
        await retry(new_call(), ignore)

    assert (caught.value.retry_after, waited, accounts.provider.asked) == (31.0, [], ["a"])


async def test_a_used_up_quota_is_not_waited_for() -> None:
    accounts = Accounts("a", "b")
    accounts.script(a=spent(1.0), b=SPENT)
    retry, waited = retrying(accounts, RetryPolicy(jitter=False))

    with pytest.raises(LlmError) as caught:
        await retry(new_call(), ignore)

    assert (caught.value.reason, waited, accounts.provider.asked) == (PROVIDER_QUOTA_EXCEEDED, [], ["a", "b"])


async def test_one_overloaded_account_beside_a_spent_and_a_revoked_one_is_asked_again() -> None:
    accounts = Accounts("spent", "overloaded", "revoked")
    accounts.script(spent=SPENT, overloaded=[DOWN, DOWN, Usage()], revoked=DENIED)
    retry, waited = retrying(accounts, RetryPolicy(jitter=False))
    call = new_call()

    await retry(call, ignore)

    assert accounts.provider.asked == ["spent", "overloaded", "revoked", "overloaded", "overloaded"]
    assert (waited, call.attempt, call.refusals) == ([0.5, 1.0], 5, 2)


async def test_no_caller_sees_an_error_while_one_account_is_healthy() -> None:
    accounts = Accounts("spent", "revoked", "overloaded", "healthy")
    accounts.script(spent=[Usage()] * 20 + [SPENT], revoked=[Usage()] * 10 + [DENIED], overloaded=DOWN)
    retry, _ = retrying(accounts, RetryPolicy(jitter=False))
    calls = [new_call() for _ in range(200)]

    await asyncio.gather(*(retry(call, ignore) for call in calls))

    assert sum(requests for requests, _ in accounts.counts().values()) == len(accounts.provider.asked)
    assert sum(call.attempt for call in calls) == len(accounts.provider.asked)
    assert all(call.attempt <= 4 for call in calls)
