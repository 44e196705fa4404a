"""Whatever happens, in whatever order: nobody is asked who may not be, nobody twice, and every call is counted."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from loom_grpc.core.account import AccountRef
from loom_grpc.core.call import Call, Send
from loom_grpc.core.errors import (
    PROVIDER_AUTH_FAILED,
    PROVIDER_QUOTA_EXCEEDED,
    PROVIDER_RATE_LIMITED,
    PROVIDER_UNAVAILABLE,
    TABLE,
    LlmError,
)
from loom_grpc.core.health import Condition, Counts, Event, Health
from loom_grpc.core.pool import STRATEGIES, Account, Pool
from loom_grpc.v1.admin_service_pb2 import ACCOUNT_KIND_API_KEY
from loom_grpc.v1.llm_service_pb2 import LlmEvent, LlmRequest, LlmResponse, Model
from loom_grpc.v1.usage_pb2 import Usage

COOLDOWN_S = 7200.0
PLAIN = "default"
IDS = (PLAIN, "a", "b", "c", "d")


@dataclass(eq=False)
class Known:
    """What the test knows of an account, worked out anew from what happened to it."""

    account: Account
    off: bool = False
    refused: bool = False
    until: float = 0.0
    asked_at: int = 0
    """Its place in the order in which accounts were asked."""
    answers: int = 0
    errors: int = 0
    faults: int = 0
    """Calls that failed by their callers' fault."""
    cancelled: int = 0
    in_flight: int = 0
    tokens: int = 0
    condition: Condition = Condition.AVAILABLE
    """As the account told it."""

    def pauses(self, now: float) -> bool:
        return not (self.off or self.refused) and now < self.until

    def free(self, now: float) -> bool:
        return not (self.off or self.refused or now < self.until)

    def fail(self, error: LlmError, now: float, *, alone: bool) -> None:
        if not error.row.next:
            self.faults += 1
            return
        self.errors += 1
        if alone or self.off or self.refused:
            return
        if error.reason == PROVIDER_AUTH_FAILED and not error.by_words:
            self.refused, self.until = True, 0.0
        elif error.reason == PROVIDER_QUOTA_EXCEEDED:
            self.until = max(self.until, now + (COOLDOWN_S if error.retry_after is None else error.retry_after))
        elif error.reason == PROVIDER_RATE_LIMITED and error.retry_after is not None:
            self.until = max(self.until, now + error.retry_after)


@dataclass
class Outcome:
    """How an account's answer ends."""

    error: LlmError | None
    responded: bool
    usage: Usage | None


@dataclass(eq=False)
class Asking:
    """A call under way."""

    call: Call
    asked: list[Known] = field(default_factory=list)
    failovers: int = 0
    passing: int = 0
    """How many of those that were asked failed in a way that another account may meet too."""
    gate: asyncio.Future[Outcome] | None = None
    """How the account that is being asked will answer."""
    task: asyncio.Task[None] | None = None


class Nothing:
    """What nobody asks here."""

    async def count_tokens(self, call: Call) -> int | None:
        return None

    async def models(self, call: Call) -> list[Model] | None:
        return None


errors = st.builds(
    lambda reason, retry_after, by_words: LlmError(reason, "No.", retry_after=retry_after, by_words=by_words),
    st.sampled_from(
        [*[PROVIDER_UNAVAILABLE, PROVIDER_QUOTA_EXCEEDED, PROVIDER_AUTH_FAILED, PROVIDER_RATE_LIMITED] * 10, *TABLE]
    ),
    st.sampled_from([None, 0.0, 1.0, 2.5, 60.0, 9000.0]),
    st.booleans(),
)
usages = st.builds(Usage, input_tokens=st.integers(0, 1000), output_tokens=st.integers(0, 1000))
failures = st.builds(Outcome, errors, st.sampled_from([False, False, False, True]), st.none() | usages)
outcomes = failures | st.builds(Outcome, st.none(), st.just(True), usages)
indices = st.integers(0, 1000)

MEDDLING = [Event.SWITCHED_OFF, Event.REFUSED, *[Event.RENEWED, Event.SWITCHED_ON] * 3]
"""What happens to accounts beside calls; mostly what lets them be asked."""


class Pooled(RuleBasedStateMachine):
    """A pool whose accounts come and go, and fail in every way, while calls are under way."""

    strategy: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.now = 1000.0
        self.known: dict[str, Known] = {}
        """The accounts in the pool, by their ids, in the order of the pool."""
        self.ever: list[Known] = []
        self.under_way: list[Asking] = []
        self.askings = 0

    @initialize(
        max_attempts=st.integers(1, 4), ids=st.lists(st.sampled_from(IDS), min_size=1, unique=True) | st.just([PLAIN])
    )
    def begin(self, max_attempts: int, ids: list[str]) -> None:
        self.max_attempts = max_attempts
        self.pool = Pool("p", strategy=self.strategy, max_attempts=max_attempts, on_failover=self.failed_over)
        for id in ids:
            self.add(id)

    def teardown(self) -> None:
        with self.runner:
            for asking in list(self.under_way):
                self.finish(asking, Outcome(None, True, None))
                self.all_is_as_known()
            for known in self.ever:
                health = known.account.health
                assert health.in_flight == 0
                assert health.requests == known.answers + known.errors + known.faults + known.cancelled

    # What happens

    @precondition(lambda self: len(self.known) < len(IDS))
    @rule(at=indices)
    def an_account_is_added(self, at: int) -> None:
        absent = [id for id in IDS if id not in self.known]
        self.add(absent[at % len(absent)])

    @precondition(lambda self: self.known)
    @rule(at=indices, rarely=st.integers(0, 2))
    def an_account_is_removed_or_the_server_is_started_anew(self, at: int, rarely: int) -> None:
        if rarely == 1:
            del self.known[self.one(at).account.ref.id]
            self.arrange()
        elif rarely == 2 and not self.under_way:
            self.start_anew()

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.0, 60.0, 3600.0, 7200.0, 10000.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.known)
    @rule(at=indices, event=st.sampled_from(MEDDLING), error=errors)
    def somebody_meddles(self, at: int, event: Event, error: LlmError) -> None:
        """An operator switches, a credential is renewed, or a refresh in the background is refused."""
        known = self.one(at)
        known.account.health.record(event, error if event is Event.REFUSED else None)
        if event in (Event.SWITCHED_ON, Event.SWITCHED_OFF):
            known.off, known.refused, known.until = event is Event.SWITCHED_OFF, False, 0.0
        elif event is Event.RENEWED:
            known.refused = False
        else:
            known.refused, known.until = not known.off, 0.0

    @precondition(lambda self: len(self.under_way) < 6)
    @rule(sessions=st.lists(st.sampled_from(["", "s1", "s2"]), min_size=1, max_size=4))
    def calls_come(self, sessions: list[str]) -> None:
        for session in sessions:
            self.askings += 1
            call = Call(LlmRequest(session_id=session), stream=True, request_id=str(self.askings), provider="p")
            asking = Asking(call)
            self.under_way.append(asking)
            self.runner.run(self.start(asking))
            self.look(asking)

    @precondition(lambda self: self.under_way)
    @rule(answers=st.lists(st.tuples(indices, outcomes), min_size=1, max_size=6))
    def accounts_answer(self, answers: list[tuple[int, Outcome]]) -> None:
        for at, outcome in answers:
            if self.under_way:
                self.finish(self.under_way[at % len(self.under_way)], outcome)

    @precondition(lambda self: self.under_way)
    @rule(at=indices, usage=st.none() | usages)
    def a_caller_hangs_up(self, at: int, usage: Usage | None) -> None:
        asking = self.under_way[at % len(self.under_way)]
        asked = asking.asked[-1]
        asked.cancelled += 1
        self.account_for(asking, usage)
        assert asking.task is not None
        asking.task.cancel()
        self.runner.run(settle())
        self.under_way.remove(asking)
        assert asking.task.cancelled()

    # What has to hold

    @invariant()
    def all_is_as_known(self) -> None:
        for known in self.ever:
            health = known.account.health
            counts = Counts(health.requests, known.errors, *health.counts()[2:])
            assert health.counts() == counts
            assert sum(counts[2:]) == known.tokens
            assert health.in_flight == known.in_flight
            ended = known.answers + known.errors + known.faults + known.cancelled
            assert health.requests == ended + known.in_flight
            assert health.condition is known.condition, "a change was not told"
            assert (health.condition is Condition.OFF) is known.off
            assert (health.condition is Condition.REFUSED) is known.refused
            if known.pauses(self.now):
                assert (health.condition, health.until) == (Condition.COOLING, known.until)

    def may_be_asked(self, known: Known) -> bool:
        return known.free(self.now) or (self.alone(known) and not known.off)

    def alone(self, known: Known) -> bool:
        return known.account.implicit and self.pool.accounts == [known.account]

    def asked(self, known: Known, asking: Asking) -> None:
        """Runs when the pool has chosen."""
        assert known.account in self.pool.accounts
        assert known not in asking.asked
        assert not asking.call.responded
        assert asking.passing < self.max_attempts
        assert self.may_be_asked(known)
        choice = [other for other in self.known.values() if self.may_be_asked(other) and other not in asking.asked]
        if self.strategy == "first_available":
            assert known is choice[0]
        if self.strategy == "round_robin" or (self.strategy == "session" and not asking.call.request.session_id):
            assert known is min(choice, key=lambda other: other.asked_at)
        asking.asked.append(known)
        known.in_flight += 1
        known.asked_at = 1 + max(other.asked_at for other in self.ever)

    def look(self, asking: Asking) -> None:
        """Looks at a call after a step: it is at one more account, or over."""
        assert asking.task is not None
        if not asking.task.done():
            return
        self.under_way.remove(asking)
        assert asking.call.attempt == len(asking.asked)
        assert asking.failovers == max(0, len(asking.asked) - 1)
        error = asking.task.exception()
        if error is None:
            return
        assert isinstance(error, LlmError)
        if not asking.asked:
            self.nobody_could_be_asked(error)
        if asking.call.responded or not error.row.next:
            return
        if asking.passing < self.max_attempts:
            left = [known for known in self.known.values() if self.may_be_asked(known) and known not in asking.asked]
            assert left == [], "the call failed while an account was healthy"

    def nobody_could_be_asked(self, error: LlmError) -> None:
        assert not any(self.may_be_asked(known) for known in self.known.values())
        pauses = [known.until for known in self.known.values() if known.pauses(self.now)]
        if pauses:
            assert error.reason in (PROVIDER_QUOTA_EXCEEDED, PROVIDER_RATE_LIMITED)
            assert error.retry_after == min(pauses) - self.now
        else:
            assert (error.reason, error.retry_after) == (PROVIDER_AUTH_FAILED, None)

    # How it is done

    def start_anew(self) -> None:
        """Does what a restart does: new accounts take over how the old ones stood."""
        before, self.known = self.known, {}
        for id, old in before.items():
            self.add(id)
            new = self.known[id]
            new.off, new.refused, new.until = old.off, old.refused, old.until
            new.account.health.adopt(old.account.health.standing())

    def add(self, id: str) -> None:
        async def handler(call: Call, send: Send) -> None:
            asking = next(asking for asking in self.under_way if asking.call is call)
            self.asked(known, asking)
            asking.gate = asyncio.get_running_loop().create_future()
            outcome = await asking.gate
            if outcome.error is not None:
                raise outcome.error

        health = Health(lambda: self.now, cooldown_s=COOLDOWN_S)
        account = Account(
            AccountRef("p", id), ACCOUNT_KIND_API_KEY, handler, Nothing(), health, configured=True, implicit=id == PLAIN
        )
        known = Known(account)

        def changed(before: Condition) -> None:
            assert before is known.condition
            assert before is not health.condition
            known.condition = health.condition

        health.on_change = changed
        self.known[id] = known
        self.ever.append(known)
        self.arrange()

    def arrange(self) -> None:
        self.known = {id: self.known[id] for id in IDS if id in self.known}
        self.pool.accounts = [known.account for known in self.known.values()]

    def one(self, at: int) -> Known:
        return list(self.known.values())[at % len(self.known)]

    def failed_over(self, call: Call, account: Account, error: LlmError) -> None:
        asking = next(asking for asking in self.under_way if asking.call is call)
        assert account is asking.asked[-1].account
        assert error.row.next
        asking.failovers += 1

    async def start(self, asking: Asking) -> None:
        asking.task = asyncio.ensure_future(self.pool(asking.call, ignore))
        await settle()

    def finish(self, asking: Asking, outcome: Outcome) -> None:
        asked = asking.asked[-1]
        if outcome.error is None:
            asked.answers += 1
        else:
            asked.fail(outcome.error, self.now, alone=self.alone(asked))
            asking.passing += not is_of_the_account(outcome.error)
        self.account_for(asking, outcome.usage)
        asking.call.responded = outcome.responded
        assert asking.gate is not None
        asking.gate.set_result(outcome)
        self.runner.run(settle())
        self.look(asking)

    def account_for(self, asking: Asking, usage: Usage | None) -> None:
        asked = asking.asked[-1]
        asked.in_flight -= 1
        asking.call.answer = LlmResponse(usage=usage) if usage is not None else None
        asked.tokens += usage.input_tokens + usage.output_tokens if usage is not None else 0


def is_of_the_account(error: LlmError) -> bool:
    pauses = error.reason == PROVIDER_RATE_LIMITED and error.retry_after is not None
    return pauses or error.reason in (PROVIDER_QUOTA_EXCEEDED, PROVIDER_AUTH_FAILED)


async def ignore(event: LlmEvent) -> None: ...


async def settle() -> None:
    """Lets every task go as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_pool_holds_its_promises_whatever_happens(strategy: str) -> None:
    machine = type("Pooled", (Pooled,), {"strategy": strategy})

    run_state_machine_as_test(machine, settings=settings(max_examples=100, stateful_step_count=40, deadline=None))
