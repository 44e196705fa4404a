"""A passing failure is tried again, patiently, and only before the first event."""

from __future__ import annotations

import asyncio
import math

import pytest

from loom_grpc.core.call import Call, Send
from loom_grpc.core.errors import (
    INVALID_REQUEST,
    PROVIDER_BAD_RESPONSE,
    PROVIDER_QUOTA_EXCEEDED,
    PROVIDER_RATE_LIMITED,
    PROVIDER_TIMEOUT,
    PROVIDER_UNAVAILABLE,
    LlmError,
)
from loom_grpc.core.retry import Retry, RetryPolicy
from loom_grpc.v1.error_pb2 import ErrorReason
from loom_grpc.v1.llm_service_pb2 import Completed, LlmEvent, LlmRequest, TextDelta

DONE = LlmEvent(completed=Completed())
TEXT = LlmEvent(text_delta=TextDelta(content="Hel"))
DOWN = LlmError(PROVIDER_UNAVAILABLE, "Down.")

Step = LlmError | LlmEvent


class Provider:
    """Fails or answers as told, attempt by attempt, which it counts as a pool does; the last step goes on for all that follow."""

    def __init__(self, *attempts: list[Step]) -> None:
        self.attempts = list(attempts)
        self.asked: list[int] = []

    async def __call__(self, call: Call, send: Send) -> None:
        call.attempt += 1
        self.asked.append(call.attempt)
        for step in self.attempts.pop(0) if len(self.attempts) > 1 else self.attempts[0]:
            if isinstance(step, LlmError):
                raise step
            call.responded = True
            await send(step)


class Pauses(list[float]):
    """Sleeps in no time and remembers for how long it should have."""

    async def __call__(self, delay: float) -> None:
        self.append(delay)


async def ignore(event: LlmEvent) -> None: ...


def new_call(deadline: float = math.inf) -> Call:
    return Call(LlmRequest(), stream=True, request_id="r", deadline=deadline)


async def run(
    provider: Provider, call: Call | None = None, policy: RetryPolicy | None = None, chance: float = 0.5
) -> tuple[list[LlmEvent], Pauses]:
    sent: list[LlmEvent] = []
    pauses = Pauses()

    async def send(event: LlmEvent) -> None:
        sent.append(event)

    retry = Retry(
        provider,
        policy or RetryPolicy(),
        retryable=lambda error: error.row.retry,
        on_retry=lambda call, error, delay: None,
        sleep=pauses,
        chance=lambda: chance,
    )
    await retry(call or new_call(), send)
    return sent, pauses


async def failure(provider: Provider, call: Call | None = None, policy: RetryPolicy | None = None) -> LlmError:
    with pytest.raises(LlmError) as caught:
        await run(provider, call, policy)
    return caught.value


async def test_an_answer_is_passed_on_without_a_pause() -> None:
    provider = Provider([TEXT, DONE])

    assert await run(provider) == ([TEXT, DONE], [])
    assert provider.asked == [1]


async def test_a_passing_failure_is_tried_again() -> None:
    provider = Provider([DOWN], [LlmError(PROVIDER_TIMEOUT, "Late.")], [TEXT, DONE])

    assert await run(provider) == ([TEXT, DONE], [0.5, 1.0])
    assert provider.asked == [1, 2, 3]


async def test_the_last_attempt_s_failure_is_told() -> None:
    last = LlmError(PROVIDER_TIMEOUT, "Late.")
    provider = Provider([DOWN], [DOWN], [last])

    assert await failure(provider) is last
    assert provider.asked == [1, 2, 3]


@pytest.mark.parametrize("reason", [INVALID_REQUEST, PROVIDER_BAD_RESPONSE, PROVIDER_QUOTA_EXCEEDED])
async def test_a_lasting_failure_is_not_tried_again(reason: ErrorReason.ValueType) -> None:
    provider = Provider([LlmError(reason, "No.")])

    assert (await failure(provider)).reason == reason
    assert provider.asked == [1]


async def test_no_retry_after_the_first_event() -> None:
    provider = Provider([TEXT, DOWN], [TEXT, DONE])

    assert await failure(provider) is DOWN
    assert provider.asked == [1]


async def test_one_attempt_means_no_retry() -> None:
    provider = Provider([DOWN])

    assert await failure(provider, policy=RetryPolicy(max_attempts=1)) is DOWN
    assert provider.asked == [1]


async def test_the_provider_s_wait_is_honoured() -> None:
    provider = Provider([LlmError(PROVIDER_RATE_LIMITED, "Slow.", retry_after=7.0)], [DONE])

    assert await run(provider) == ([DONE], [7.0])


async def test_a_wait_shorter_than_ours_does_not_hurry_us() -> None:
    provider = Provider([LlmError(PROVIDER_RATE_LIMITED, "Slow.", retry_after=0.0)], [DONE])

    assert await run(provider) == ([DONE], [0.5])


LIMITED = LlmError(PROVIDER_RATE_LIMITED, "Slow.", retry_after=2.0)
BUSY = LlmError(PROVIDER_UNAVAILABLE, "Busy.", retry_after=2.0)


@pytest.mark.parametrize("error", [LIMITED, BUSY])
@pytest.mark.parametrize(("wait_s", "asked"), [(0.0, [1]), (1.9, [1]), (2.0, [1, 2])])
async def test_a_target_before_others_is_waited_for_as_long_as_the_route_grants(
    error: LlmError, wait_s: float, asked: list[int]
) -> None:
    provider, call = Provider([error], [error]), new_call()
    call.is_last, call.wait_s = False, wait_s

    assert await failure(provider, call, RetryPolicy(max_attempts=2)) is error
    assert provider.asked == asked


@pytest.mark.parametrize(
    ("error", "asked"),
    [(DOWN, [1, 2]), (LlmError(PROVIDER_RATE_LIMITED, "Slow."), [1]), (LlmError(PROVIDER_TIMEOUT, "Late."), [1])],
)
async def test_only_an_unavailable_target_before_others_is_asked_again_when_it_names_no_time(
    error: LlmError, asked: list[int]
) -> None:
    provider, call = Provider([error]), new_call()
    call.is_last = False

    assert await failure(provider, call, RetryPolicy(max_attempts=2)) is error
    assert provider.asked == asked


async def test_a_wait_longer_than_the_limit_ends_the_call_and_is_told() -> None:
    provider = Provider([LlmError(PROVIDER_RATE_LIMITED, "Slow.", retry_after=30.1)], [DONE])

    assert (await failure(provider)).retry_after == 30.1
    assert provider.asked == [1]


async def test_a_wait_beyond_the_caller_s_deadline_is_not_begun() -> None:
    provider = Provider([LlmError(PROVIDER_RATE_LIMITED, "Slow.", retry_after=5.0)], [DONE])
    deadline = asyncio.get_running_loop().time() + 4

    assert (await failure(provider, new_call(deadline))).reason == PROVIDER_RATE_LIMITED
    assert provider.asked == [1]


async def test_a_wait_beyond_the_limit_of_the_whole_call_is_not_begun() -> None:
    provider = Provider([LlmError(PROVIDER_RATE_LIMITED, "Slow.", retry_after=5.0)], [DONE])

    assert (await failure(provider, policy=RetryPolicy(total_s=4))).reason == PROVIDER_RATE_LIMITED
    assert provider.asked == [1]


@pytest.mark.parametrize(("deadline_in", "expires_in"), [(math.inf, 600), (1000, 600), (20, 20)])
async def test_the_call_expires_at_the_earlier_of_deadline_and_limit(deadline_in: float, expires_in: float) -> None:
    now = asyncio.get_running_loop().time()
    call = new_call(now + deadline_in)

    await run(Provider([DONE]), call)

    assert call.expires == pytest.approx(now + expires_in, abs=1)


async def test_each_pause_is_announced_with_its_cause() -> None:
    announced: list[tuple[int, LlmError, float]] = []

    async def send(event: LlmEvent) -> None: ...

    retry = Retry(
        Provider([DOWN], [DONE]),
        RetryPolicy(jitter=False),
        retryable=lambda error: True,
        on_retry=lambda call, error, delay: announced.append((call.attempt, error, delay)),
        sleep=Pauses(),
    )
    await retry(new_call(), send)

    assert announced == [(1, DOWN, 0.5)]


async def test_the_time_of_waiting_is_the_provider_s_not_ours() -> None:
    call = new_call()

    await run(Provider([DOWN], [DOWN], [DONE]), call)

    assert call.upstream_s == 1.5


@pytest.mark.parametrize(("refusals", "asked"), [(0, [1, 2, 3]), (1, [1, 2, 3, 4]), (4, [1, 2, 3, 4, 5, 6, 7])])
async def test_attempts_that_were_refused_do_not_count(refusals: int, asked: list[int]) -> None:
    provider, call = Provider([DOWN]), new_call()
    call.refusals = refusals

    assert await failure(provider, call) is DOWN
    assert provider.asked == asked


async def test_accounts_that_were_asked_within_one_attempt_count_and_lengthen_the_pause() -> None:
    attempts: list[int] = []

    async def pool(call: Call, send: Send) -> None:
        call.attempt += 2
        attempts.append(call.attempt)
        raise DOWN

    pauses = Pauses()
    retry = Retry(
        pool,
        RetryPolicy(max_attempts=5, jitter=False),
        retryable=lambda _: True,
        on_retry=lambda *_: None,
        sleep=pauses,
    )
    with pytest.raises(LlmError):
        await retry(new_call(), ignore)

    assert (attempts, pauses) == ([2, 4, 6], [1.0, 4.0])


@pytest.mark.parametrize(("retry_after", "pause"), [(2.0, 2.0), (0.1, 0.5)])
async def test_a_pool_that_asked_nobody_is_waited_for(retry_after: float, pause: float) -> None:
    paused = LlmError(PROVIDER_RATE_LIMITED, "Paused.", retry_after=retry_after)
    answers: list[LlmError | None] = [paused] * 5 + [None]

    async def pool(call: Call, send: Send) -> None:
        if (error := answers.pop(0)) is not None:
            raise error
        call.attempt += 1

    pauses = Pauses()
    policy = RetryPolicy(jitter=False)
    retry = Retry(pool, policy, retryable=lambda _: True, on_retry=lambda *_: None, sleep=pauses)
    call = new_call()
    await retry(call, ignore)

    assert (call.attempt, pauses) == (1, [pause] * 5)


async def test_a_pool_that_asked_nobody_is_not_waited_for_where_nothing_is_to_be_tried_again() -> None:
    paused = LlmError(PROVIDER_RATE_LIMITED, "Paused.", retry_after=2.0)

    async def pool(call: Call, send: Send) -> None:
        raise paused

    pauses = Pauses()
    policy = RetryPolicy(max_attempts=1)
    retry = Retry(pool, policy, retryable=lambda _: True, on_retry=lambda *_: None, sleep=pauses)
    with pytest.raises(LlmError) as caught:
        await retry(new_call(), ignore)

    assert (caught.value, pauses) == (paused, [])


async def test_a_cancelled_wait_ends_at_once_and_asks_nobody() -> None:
    provider = Provider([DOWN], [DONE])
    waiting = asyncio.Event()

    async def sleep(delay: float) -> None:
        waiting.set()
        await asyncio.Event().wait()

    async def send(event: LlmEvent) -> None: ...

    retry = Retry(provider, RetryPolicy(), retryable=lambda _: True, on_retry=lambda *_: None, sleep=sleep)
    task = asyncio.ensure_future(retry(new_call(), send))
    await waiting.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert provider.asked == [1]


async def test_a_cancellation_is_no_failure_to_try_again() -> None:
    attempts: list[int] = []

    async def provider(call: Call, send: Send) -> None:
        call.attempt += 1
        attempts.append(call.attempt)
        raise asyncio.CancelledError

    async def send(event: LlmEvent) -> None: ...

    retry = Retry(provider, RetryPolicy(), retryable=lambda _: True, on_retry=lambda *_: None, sleep=Pauses())
    with pytest.raises(asyncio.CancelledError):
        await retry(new_call(), send)

    assert attempts == [1]


@pytest.mark.parametrize(
    ("policy", "chance", "delays"),
    [
        pytest.param(RetryPolicy(max_attempts=9, jitter=False), 0.0,
                     [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, None], id="doubling up to the limit"),
        pytest.param(RetryPolicy(max_attempts=4), 0.0, [0.375, 0.75, 1.5, None], id="least chance"),
        pytest.param(RetryPolicy(max_attempts=4), 1.0, [0.625, 1.25, 2.5, None], id="most chance"),
        pytest.param(RetryPolicy(max_attempts=4, base_delay_s=1, backoff_factor=3, max_delay_s=5, jitter=False), 0.0,
                     [1, 3, 5, None], id="configured"),
        pytest.param(RetryPolicy(max_attempts=3, base_delay_s=0), 0.5, [0, 0, None], id="no pause"),
        pytest.param(RetryPolicy(max_attempts=1), 0.5, [None], id="one attempt"),
    ],
)  # fmt: skip
def test_pauses_grow_within_their_limits(policy: RetryPolicy, chance: float, delays: list[float | None]) -> None:
    assert [policy.delay(attempt, None, chance) for attempt in range(1, len(delays) + 1)] == delays


def test_chance_makes_no_pause_as_short_as_the_one_before() -> None:
    policy = RetryPolicy(max_attempts=4)
    longest = [policy.delay(attempt, None, 1.0) or 0 for attempt in range(1, 4)]
    shortest = [policy.delay(attempt, None, 0.0) or 0 for attempt in range(1, 4)]

    assert all(later > earlier for earlier, later in zip(longest, shortest[1:], strict=False))


def test_the_most_that_can_be_configured_is_no_trouble() -> None:
    policy = RetryPolicy(max_attempts=100, backoff_factor=100.0)

    assert policy.delay(99, None, 0.5) == 30.0


@pytest.mark.parametrize(
    ("retry_after", "delay"), [(None, 0.5), (0.0, 0.5), (0.4, 0.5), (3.0, 3.0), (30.0, 30.0), (30.001, None)]
)
def test_the_longer_of_both_waits_counts_and_too_long_a_one_ends_it(retry_after: float, delay: float | None) -> None:
    assert RetryPolicy(jitter=False).delay(1, retry_after, 0.5) == delay
