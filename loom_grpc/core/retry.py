"""Asks a provider again while its failures are passing ones."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from loom_grpc.core.call import Call, Handler, Send
from loom_grpc.core.errors import PROVIDER_TIMEOUT, PROVIDER_UNAVAILABLE, LlmError


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently to ask again; times in seconds.

    `max_delay_s` bounds every wait, the provider's `Retry-After` included: a provider that asks for a longer one is not asked again.
    `total_s` bounds the whole call with all its attempts and waits.
    """

    max_attempts: int = 3
    base_delay_s: float = 0.5
    max_delay_s: float = 30.0
    backoff_factor: float = 2.0
    jitter: bool = True
    total_s: float = 600.0

    def delay(self, attempt: int, retry_after: float | None, chance: float) -> float | None:
        """Returns how long to wait after failed attempt number `attempt`, or None for giving up; `chance` is between 0 and 1."""
        if attempt >= self.max_attempts:
            return None
        wait = self.base_delay_s * self.backoff_factor ** (attempt - 1)
        if self.jitter:
            wait *= 0.75 + chance / 2  # whatever chance says, twice the wait is longer than the one before
        wait = min(wait, self.max_delay_s)
        if retry_after is None:
            return wait
        return max(wait, retry_after) if retry_after <= self.max_delay_s else None


class Retry:
    """A handler that asks the handler behind it again, until there were `max_attempts` attempts; never after the first event."""

    def __init__(
        self,
        handler: Handler,
        policy: RetryPolicy,
        *,
        retryable: Callable[[LlmError], bool],
        on_retry: Callable[[Call, LlmError, float], None],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._handler = handler
        self._policy = policy
        self._retryable = retryable
        self._on_retry = on_retry
        self._sleep = sleep
        self._chance = chance

    async def __call__(self, call: Call, send: Send) -> None:
        """Answers the call; raises the last attempt's `LlmError`."""
        now = asyncio.get_running_loop().time
        total_s = self._policy.total_s if call.total_s is None else min(self._policy.total_s, call.total_s)
        call.expires = min(call.deadline, now() + total_s)
        while True:
            try:
                return await self._handler(call, send)
            except LlmError as error:
                delay = self._delay(call, error)
                if delay is None or now() + delay >= call.expires:
                    raise
                self._on_retry(call, error, delay)
            await self._sleep(delay)
            call.upstream_s += delay

    def _delay(self, call: Call, error: LlmError) -> float | None:
        if call.responded or not self._retryable(error):
            return None
        if not call.is_last and not _is_worth_staying(error, call.wait_s):
            return None  # another target follows, and need not be slow or limited
        if call.first_token_s is not None and error.reason == PROVIDER_TIMEOUT:
            return None  # the route leaves who is silent
        # The pool may have asked several accounts, or none, because all of them have to pause.
        attempts = max(1, call.attempt - call.refusals)
        delay = self._policy.delay(attempts, error.retry_after, self._chance())
        return delay if delay is None or call.budget is None or call.budget.spend() else None


def _is_worth_staying(error: LlmError, wait_s: float) -> bool:
    """Tells whether a failure is waited out although another target follows: a short one, or one of as long as the route grants."""
    if error.retry_after is not None:
        return error.retry_after <= wait_s
    return error.reason == PROVIDER_UNAVAILABLE
