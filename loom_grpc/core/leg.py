"""One target of a route: how it is asked, how it fares, and how long it is waited for."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from loom_grpc.core.admission import Admission
from loom_grpc.core.breaker import Breaker
from loom_grpc.core.call import Call, Handler, Send
from loom_grpc.core.errors import MODEL_NOT_FOUND, RATE_LIMITED, LlmError
from loom_grpc.core.model import UNKNOWN, Facts
from loom_grpc.core.request import with_defaults
from loom_grpc.v1.llm_service_pb2 import LlmRequest

_NEWEST: Final = 0.2
"""How much of the moving average of a target's latency is the latest call."""


class Patience(NamedTuple):
    """How long a route waits for a target, in seconds; None is as long as the provider's own limit."""

    first_token_s: float | None = None
    total_s: float | None = None
    wait_s: float = 0.0
    """How long it waits where the target says when to ask again and another one follows."""


_USUAL: Final = Patience()


class Leg:
    """One target of a route: a model of a provider, or another route.

    `facts` says what is known of the model now.
    """

    def __init__(
        self,
        name: str,
        handler: Handler,
        *,
        provider: str = "",
        model: str = "",
        facts: Callable[[], Facts] = lambda: UNKNOWN,
        weight: float = 1.0,
        patience: Patience = _USUAL,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.handler = handler
        self.provider = provider
        self.model = model
        self.facts = facts
        self.weight = weight
        self.patience = patience
        self.options = dict(options or {})
        self.breaker: Breaker | None = None
        """Keeps calls away from the target while it fails; None lets all through."""
        self.admission: Admission | None = None
        """Bounds how many calls ask the target at once; None admits all."""
        self.in_flight = 0
        self.latency_s = 0.0
        """The moving average of the time to the first content, for whole answers to their end; 0 before the first one."""

    def __repr__(self) -> str:
        return f"Leg({self.name})"

    def measure(self, seconds: float) -> None:
        """Takes the latency of an answer into the average."""
        self.latency_s = seconds if not self.latency_s else self.latency_s + _NEWEST * (seconds - self.latency_s)

    async def ask(self, call: Call, request: LlmRequest, send: Send, *, is_last: bool) -> None:
        """Asks the target, when it is the call's turn; raises `LlmError`."""
        call.request = with_defaults(request, self.options) if self.options else request
        call.is_last = is_last
        if self.admission is None:
            await self._ask_now(call, send)
            return
        left_s = call.deadline - asyncio.get_running_loop().time()
        async with self.admission.enter(None if left_s == math.inf else max(0.0, left_s)):
            await self._ask_now(call, send)

    async def _ask_now(self, call: Call, send: Send) -> None:
        if self.provider:
            call.provider, call.model = self.provider, self.model
        call.first_token_s, call.total_s, call.wait_s = self.patience
        call.refusals = call.attempt  # what former targets took is not of this one's budget
        now = asyncio.get_running_loop().time
        began = now()
        self.in_flight += 1
        try:
            with _watched(call, self.breaker):
                await self.handler(call, send)
        finally:
            self.in_flight -= 1
        self.measure(call.first_content_s or now() - began)


def is_of_the_target(call: Call, error: LlmError) -> bool:
    """Tells whether a failure is one that another target need not meet."""
    if asyncio.get_running_loop().time() >= call.deadline:
        return False
    is_full = error.reason == RATE_LIMITED and "target" in error.metadata
    return error.row.next or is_full or error.reason == MODEL_NOT_FOUND


@contextmanager
def _watched(call: Call, breaker: Breaker | None) -> Iterator[None]:
    """Lets a breaker know how a call ends; what the caller did says nothing of the target."""
    if breaker is None:
        yield
        return
    ticket = breaker.began()
    try:
        yield
    except LlmError as error:
        (breaker.failed if is_of_the_target(call, error) else breaker.let_go)(ticket)
        raise
    except BaseException:
        breaker.let_go(ticket)
        raise
    breaker.succeeded(ticket)
