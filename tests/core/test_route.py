"""A route asks its targets in order, leaves those that fail, and begins anew only for callers who can take it."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from decimal import Decimal
from time import perf_counter
from typing import Any

import pytest

from loom_grpc.core.breaker import Breaker
from loom_grpc.core.budget import RetryBudget
from loom_grpc.core.call import Call, Handler, Send
from loom_grpc.core.errors import (
    CONTENT_BLOCKED,
    CONTEXT_TOO_LONG,
    INVALID_REQUEST,
    MODEL_NOT_FOUND,
    PROVIDER_AUTH_FAILED,
    PROVIDER_BAD_RESPONSE,
    PROVIDER_QUOTA_EXCEEDED,
    PROVIDER_RATE_LIMITED,
    PROVIDER_TIMEOUT,
    PROVIDER_UNAVAILABLE,
    LlmError,
)
from loom_grpc.core.leg import Leg, Patience
from loom_grpc.core.model import Facts, Prices
from loom_grpc.core.route import Chain, Rules
from loom_grpc.v1.error_pb2 import ErrorReason
from loom_grpc.v1.llm_service_pb2 import (
    Completed,
    LlmEvent,
    LlmRequest,
    LlmResponse,
    Restarted,
    Started,
    TextDelta,
)
from loom_grpc.v1.message_pb2 import ROLE_USER, Message
from loom_grpc.v1.usage_pb2 import Usage

DOWN = LlmError(PROVIDER_UNAVAILABLE, "Down.")
RESTARTS = {"loom-events": "restarted"}


class Place:
    """Targets that answer or fail as told, and what became of a call."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.fails: dict[str, LlmError] = {}
        self.late: set[str] = set()
        """Targets that fail after their first content."""
        self.requests: list[LlmRequest] = []
        self.last: list[bool] = []
        self.rerouted: list[tuple[str, LlmError, str]] = []
        self.hedged: list[tuple[str, str]] = []
        self.skipped: list[tuple[str, str]] = []
        self.sent: list[LlmEvent] = []

    def leg(self, name: str, **options: Any) -> Leg:
        async def handler(call: Call, send: Send) -> None:
            self.asked.append(name)
            self.requests.append(call.request)
            self.last.append(call.is_last)
            call.attempt += 1
            error = self.fails.get(name)
            if error is not None and name not in self.late:
                raise error
            call.responded = True
            started = Started(id=name, provider=call.provider, model=call.model, attempt=call.attempt)
            await send(LlmEvent(started=started))
            await send(LlmEvent(text_delta=TextDelta(content=name)))
            if error is not None:
                raise error
            await send(LlmEvent(completed=Completed(response=LlmResponse(id=name))))

        breaker = options.pop("breaker", None)
        leg = Leg(name, handler, provider=f"p-{name}", model=f"m-{name}", **options)
        leg.breaker = breaker
        return leg

    def chain(self, *legs: Leg, **options: Any) -> Chain:
        options.setdefault("chance", random.Random(7).random)  # noqa: S311 - the same each time
        rules: dict[str, Any] = {name: options.pop(name) for name in Rules._fields if name in options}
        return Chain("route", legs, Rules(**rules), events=self, **options)

    def rerouting(self, _call: Call, leg: Leg, error: LlmError, following: Leg) -> None:
        self.rerouted.append((leg.name, error, following.name))

    def hedging(self, _call: Call, leg: Leg, beside: Leg) -> None:
        self.hedged.append((leg.name, beside.name))

    def skipping(self, _call: Call, leg: Leg, obstacle: str) -> None:
        self.skipped.append((leg.name, obstacle))

    async def send(self, event: LlmEvent) -> None:
        self.sent.append(event)

    async def fail(self, chain: Chain, call: Call) -> LlmError:
        with pytest.raises(LlmError) as caught:
            await chain(call, self.send)
        return caught.value

    @property
    def kinds(self) -> list[str | None]:
        return [event.WhichOneof("event") for event in self.sent]


def new_call(*, stream: bool = True, session: str = "", metadata: dict[str, str] | None = None) -> Call:
    return Call(LlmRequest(model="route", session_id=session), stream, "r", metadata=metadata or {})


def with_tools() -> Call:
    call = new_call()
    call.request.tools.add(name="t")
    return call


async def test_the_first_target_answers() -> None:
    at, call = Place(), new_call()

    await at.chain(at.leg("a"), at.leg("b"))(call, at.send)

    assert (at.asked, call.provider, call.model, at.rerouted) == (["a"], "p-a", "m-a", [])


@pytest.mark.parametrize(
    "reason",
    [
        PROVIDER_UNAVAILABLE,
        PROVIDER_TIMEOUT,
        PROVIDER_BAD_RESPONSE,
        PROVIDER_QUOTA_EXCEEDED,
        PROVIDER_RATE_LIMITED,
        PROVIDER_AUTH_FAILED,
        MODEL_NOT_FOUND,
    ],
)
async def test_the_next_target_answers_when_one_cannot(reason: ErrorReason.ValueType) -> None:
    at, call = Place(), new_call()
    at.fails["a"] = LlmError(reason, "No.")

    await at.chain(at.leg("a"), at.leg("b"))(call, at.send)

    assert (at.asked, at.last, call.provider, call.model) == (["a", "b"], [False, True], "p-b", "m-b")
    assert at.rerouted == [("a", at.fails["a"], "b")]
    assert at.kinds == ["started", "text_delta", "completed"]


@pytest.mark.parametrize("reason", [INVALID_REQUEST, CONTENT_BLOCKED, CONTEXT_TOO_LONG])
async def test_what_the_caller_did_wrong_is_not_asked_elsewhere(reason: ErrorReason.ValueType) -> None:
    at = Place()
    at.fails["a"] = LlmError(reason, "No.")

    assert await at.fail(at.chain(at.leg("a"), at.leg("b")), new_call()) is at.fails["a"]
    assert at.asked == ["a"]


async def test_the_last_failure_is_told_when_nobody_answers() -> None:
    at = Place()
    at.fails = {"a": DOWN, "b": LlmError(PROVIDER_TIMEOUT, "Late.")}

    assert await at.fail(at.chain(at.leg("a"), at.leg("b")), new_call()) is at.fails["b"]


async def test_an_answer_that_breaks_off_begins_anew_for_who_can_take_it() -> None:
    at, call = Place(), new_call(metadata=RESTARTS)
    usage = Usage(input_tokens=3, output_tokens=1)
    at.fails["a"] = LlmError(PROVIDER_UNAVAILABLE, "Cut.", partial=LlmResponse(usage=usage))
    at.late.add("a")

    await at.chain(at.leg("a"), at.leg("b"))(call, at.send)

    assert at.kinds == ["started", "text_delta", "restarted", "text_delta", "completed"]
    assert at.sent[2].restarted == Restarted(
        attempt=2, provider="p-b", model="m-b", reason=PROVIDER_UNAVAILABLE, usage=usage
    )
    assert at.sent[4].completed.response.id == "b"


async def test_what_came_stays_when_no_other_answer_begins() -> None:
    at, call = Place(), new_call(metadata=RESTARTS)
    at.fails = {"a": DOWN, "b": LlmError(PROVIDER_TIMEOUT, "Late.")}
    at.late.add("a")

    assert await at.fail(at.chain(at.leg("a"), at.leg("b")), call) is at.fails["b"]
    assert at.kinds == ["started", "text_delta"]


async def test_an_answer_may_begin_anew_more_than_once() -> None:
    at, call = Place(), new_call(metadata=RESTARTS)
    at.fails = {"a": DOWN, "b": LlmError(PROVIDER_TIMEOUT, "Late.")}
    at.late |= {"a", "b"}

    await at.chain(at.leg("a"), at.leg("b"), at.leg("c"))(call, at.send)

    assert at.kinds == ["started", *["text_delta", "restarted"] * 2, "text_delta", "completed"]
    assert [
        (event.restarted.provider, event.restarted.attempt) for event in at.sent if event.HasField("restarted")
    ] == [
        ("p-b", 2),
        ("p-c", 3),
    ]


async def test_an_answer_that_breaks_off_ends_in_an_error_for_everybody_else() -> None:
    at = Place()
    at.fails["a"] = DOWN
    at.late.add("a")

    assert await at.fail(at.chain(at.leg("a"), at.leg("b")), new_call()) is DOWN
    assert (at.asked, at.kinds) == (["a"], ["started", "text_delta"])


async def test_who_gets_the_whole_answer_at_once_never_sees_a_failed_beginning() -> None:
    at, call = Place(), new_call(stream=False)
    at.fails["a"] = DOWN
    at.late.add("a")

    await at.chain(at.leg("a"), at.leg("b"))(call, at.send)

    assert "restarted" not in at.kinds
    assert at.sent[-1].completed.response.id == "b"


async def test_each_target_gets_its_own_options_and_not_those_of_the_one_before() -> None:
    at, call = Place(), new_call()
    at.fails["a"] = DOWN

    await at.chain(at.leg("a", options={"x": 1}), at.leg("b"))(call, at.send)

    assert [request.provider_options_json for request in at.requests] == ['{"x":1}', ""]


async def test_limits_of_one_target_do_not_hold_for_the_next() -> None:
    at, call = Place(), new_call()
    at.fails["a"] = DOWN

    await at.chain(at.leg("a", patience=Patience(1.0, 2.0)), at.leg("b"))(call, at.send)

    assert (call.first_token_s, call.total_s) == (None, None)


async def test_no_target_is_asked_after_the_deadline() -> None:
    at, call = Place(), new_call()
    at.fails["a"] = DOWN
    call.deadline = asyncio.get_running_loop().time()

    assert await at.fail(at.chain(at.leg("a"), at.leg("b")), call) is DOWN
    assert at.asked == ["a"]


async def test_weights_are_a_distribution() -> None:
    at = Place()
    chain = at.chain(
        at.leg("a", weight=6), at.leg("b", weight=3), at.leg("c", weight=1), at.leg("d", weight=0), policy="weighted"
    )

    for _ in range(4000):
        await chain(new_call(), at.send)

    shares = {name: count / 4000 for name, count in Counter(at.asked).items()}
    assert shares == pytest.approx({"a": 0.6, "b": 0.3, "c": 0.1}, abs=0.03)


async def test_a_target_without_weight_is_the_last_resort() -> None:
    at = Place()
    at.fails["a"] = DOWN

    await at.chain(at.leg("b", weight=0), at.leg("a"), policy="weighted")(new_call(), at.send)

    assert at.asked == ["a", "b"]


async def test_a_sticky_split_keeps_a_session_where_it_is() -> None:
    at = Place()
    chain = at.chain(at.leg("a"), at.leg("b"), policy="weighted", sticky=True)

    for session in range(40):
        for _ in range(3):
            await chain(new_call(session=f"s{session}"), at.send)

    homes = [set(at.asked[start : start + 3]) for start in range(0, 120, 3)]
    assert all(len(home) == 1 for home in homes)
    assert {name for home in homes for name in home} == {"a", "b"}


async def test_the_quickest_target_is_asked_once_all_are_known() -> None:
    at = Place()
    legs = [at.leg(name) for name in "abc"]
    for leg, seconds in zip(legs, [3.0, 1.0, 2.0], strict=True):
        leg.measure(seconds)

    await at.chain(*legs, policy="latency")(new_call(), at.send)

    assert at.asked == ["b"]


async def test_the_least_busy_target_is_asked() -> None:
    at = Place()
    legs = [at.leg(name) for name in "ab"]
    legs[0].in_flight = 1

    await at.chain(*legs, policy="least_busy")(new_call(), at.send)

    assert (at.asked, legs[1].in_flight) == (["b"], 0)


async def test_a_target_behind_an_open_breaker_is_left_out_unless_all_are() -> None:
    at = Place()
    breakers = [Breaker(lambda: 0.0, consecutive_failures=2) for _ in range(2)]
    chain = at.chain(*(at.leg(name, breaker=breaker) for name, breaker in zip("ab", breakers, strict=True)))
    at.fails["a"] = DOWN
    for _ in range(4):
        await chain(new_call(), at.send)
    left_out = list(at.asked)
    at.fails["b"] = DOWN
    for _ in range(2):
        await at.fail(chain, new_call())
    at.asked.clear()
    at.fails.clear()
    await chain(new_call(), at.send)

    assert left_out == ["a", "b", "a", "b", "b", "b"]
    assert at.asked == ["a"]


def knows(facts: Facts) -> dict[str, Any]:
    return {"facts": lambda: facts}


async def test_a_target_that_is_known_not_to_be_able_to_serve_the_request_is_skipped() -> None:
    at = Place()

    await at.chain(at.leg("a", **knows(Facts(tools=False))), at.leg("b"))(with_tools(), at.send)

    assert (at.asked, at.skipped) == (["b"], [("a", "tools")])


async def test_where_no_target_is_known_to_be_able_all_are_asked() -> None:
    at = Place()
    at.fails["a"] = DOWN

    await at.chain(at.leg("a", **knows(Facts(tools=False))), at.leg("b", **knows(Facts(tools=False))))(
        with_tools(), at.send
    )

    assert at.asked == ["a", "b"]


async def test_a_prompt_that_is_too_long_goes_on_to_a_target_that_takes_more() -> None:
    at = Place()
    at.fails["a"] = LlmError(CONTEXT_TOO_LONG, "Too long.")
    sizes = {"a": 100, "b": 100, "c": None, "d": 200}

    await at.chain(*(at.leg(name, **knows(Facts(context_tokens=size))) for name, size in sizes.items()))(
        new_call(), at.send
    )

    assert (at.asked, at.rerouted) == (["a", "d"], [("a", at.fails["a"], "d")])


async def test_a_stand_in_that_refuses_the_request_does_not_hide_why_it_was_asked() -> None:
    at = Place()
    at.fails = {"a": DOWN, "b": LlmError(INVALID_REQUEST, "No prefill here.")}

    assert await at.fail(at.chain(at.leg("a"), at.leg("b")), new_call()) is DOWN
    assert at.asked == ["a", "b"]


async def test_the_cheapest_target_is_asked_and_one_without_a_price_last() -> None:
    at = Place()
    prices = {"a": None, "b": Prices(Decimal(3), Decimal(15)), "c": Prices(Decimal("3.1"), Decimal(14))}
    legs = [at.leg(name, **knows(Facts(prices=price))) for name, price in prices.items()]

    chain = at.chain(*legs, policy="cheapest")
    for cheapest in ("c", "b"):
        at.fails[cheapest] = DOWN
    await chain(new_call(), at.send)

    assert at.asked == ["c", "b", "a"]


async def test_a_route_can_do_what_is_known_of_all_its_targets() -> None:
    at = Place()
    small = Facts(context_tokens=10, tools=False, images=False, audio=True)
    large = Facts(context_tokens=20, tools=True, images=None, audio=True)

    chain = at.chain(at.leg("a", **knows(small)), at.leg("b", **knows(large)))

    assert chain.facts() == Facts(context_tokens=20, tools=True, audio=True)


async def test_a_route_may_be_a_target_of_another() -> None:
    at, call = Place(), new_call(metadata=RESTARTS)
    inner = at.chain(at.leg("b"), at.leg("c"))
    outer = at.chain(at.leg("a"), Leg("inner", inner))
    at.fails = {"a": DOWN, "b": DOWN}
    at.late.add("a")

    await outer(call, at.send)

    assert (at.asked, at.last, outer.first.name) == (["a", "b", "c"], [False, False, True], "a")
    assert at.sent[2].restarted.provider == "p-c"


async def test_what_follows_a_route_spends_from_the_budget_of_the_route_that_it_is_a_target_of() -> None:
    at = Place()
    inner, outer = RetryBudget(0.0, lambda: 0.0), RetryBudget(1.0, lambda: 0.0)
    spent: list[RetryBudget | None] = []

    def leg(name: str, handler: Handler) -> Leg:
        return Leg(name, handler, provider="p", model="m")

    async def fails(call: Call, _send: Send) -> None:
        spent.append(call.budget)
        raise DOWN

    chain = at.chain(leg("route", at.chain(leg("a", fails), budget=inner)), leg("b", fails), budget=outer)
    await at.fail(chain, new_call())
    await at.fail(at.chain(leg("route", chain), leg("c", fails)), new_call())

    assert spent == [inner, outer, inner, outer, None]


async def test_a_long_prompt_is_measured_once_for_all_targets() -> None:
    """Or a prompt of megabytes would hold everybody up, as long for each target as for one."""
    at = Place()
    request = LlmRequest(messages=[Message(role=ROLE_USER, content="word " * 20) for _ in range(2_000)])

    async def order_s(targets: int) -> float:
        chain = at.chain(*(at.leg(str(n), facts=lambda: Facts(context_tokens=100_000)) for n in range(targets)))
        began = perf_counter()
        await chain(Call(request, True, "r"), at.send)
        return perf_counter() - began

    assert min([await order_s(40) for _ in range(5)]) < 8 * min([await order_s(1) for _ in range(5)])


async def test_what_a_route_of_a_route_has_begun_begins_anew_though_its_last_target_said_nothing() -> None:
    at, call = Place(), new_call(metadata=RESTARTS)
    at.fails, at.late = {"a": DOWN, "b": DOWN}, {"a"}
    inner = at.chain(at.leg("a"), at.leg("b"))

    await at.chain(Leg("inner", inner), at.leg("c"))(call, at.send)

    assert at.asked == ["a", "b", "c"]
    assert at.kinds == ["started", "text_delta", "restarted", "text_delta", "completed"]


async def test_a_call_of_which_something_was_shown_says_so_though_its_last_target_said_nothing() -> None:
    at, call = Place(), new_call(metadata=RESTARTS)
    at.fails, at.late = {"a": DOWN, "b": DOWN}, {"a"}

    await at.fail(at.chain(at.leg("a"), at.leg("b")), call)

    assert (at.kinds, call.responded) == (["started", "text_delta"], True)
