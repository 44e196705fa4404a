"""A telemetry object whose log can be read back."""

from __future__ import annotations

import asyncio
import io
from contextlib import suppress
from dataclasses import replace
from typing import Any

import orjson

from loom_grpc.config import Config
from loom_grpc.core.account import AccountRef
from loom_grpc.core.call import Call
from loom_grpc.core.errors import BUDGET_EXCEEDED, PROVIDER_RATE_LIMITED, RATE_LIMITED, LlmError
from loom_grpc.core.health import Condition, Health
from loom_grpc.core.ledger import SpoolState
from loom_grpc.core.leg import Leg
from loom_grpc.core.pool import Account
from loom_grpc.telemetry import Telemetry
from loom_grpc.v1.access_pb2 import Charge
from loom_grpc.v1.admin_service_pb2 import ACCOUNT_KIND_API_KEY
from loom_grpc.v1.llm_service_pb2 import (
    STOP_REASON_STOP,
    Completed,
    LlmEvent,
    LlmRequest,
    LlmResponse,
    Model,
    Started,
    TextDelta,
)
from loom_grpc.v1.message_pb2 import ROLE_ASSISTANT, ROLE_USER, Message
from loom_grpc.v1.usage_pb2 import Cost, Usage

REQUEST_ID = "0123456789abcdef0123456789abcdef"
ANSWER = LlmResponse(
    message=Message(role=ROLE_ASSISTANT, content="Hello to you."),
    usage=Usage(input_tokens=11, output_tokens=4),
    finish_reason="stop",
    stop_reason=STOP_REASON_STOP,
    id="chatcmpl-1",
    provider="openai",
    model="gpt-4o-2024-08-06",
)
STARTED = LlmEvent(started=Started(id="chatcmpl-1"))
TEXT = LlmEvent(text_delta=TextDelta(content="Hello"))
COMPLETED = LlmEvent(completed=Completed(response=ANSWER))


class Log(io.BytesIO):
    """What has been logged."""

    def __init__(self) -> None:
        super().__init__()
        self.written = asyncio.Event()

    def flush(self) -> None:
        super().flush()
        self.written.set()

    def lines(self, event: str = "") -> list[dict[str, Any]]:
        """Returns the lines with that event, or all, without their times."""
        rows = [orjson.loads(line) for line in self.getvalue().splitlines()]
        return [row for row in rows if row.pop("time") and event in ("", row["event"])]


def configuration(**sections: Any) -> Config:
    return Config.model_validate(
        {"log": {"format": "json"}, "providers": {"openai": {"api_key": "sk-test-1234"}, "mock": {}}} | sections
    )


def telemetry(log: Log | None = None, /, **sections: Any) -> Telemetry:
    return Telemetry(configuration(**sections), stream=log or Log())


def call(*, stream: bool = False, prompt: str = "hi", **fields: Any) -> Call:
    request = LlmRequest(messages=[Message(role=ROLE_USER, content=prompt)])
    one = Call(request, stream, REQUEST_ID, provider="openai", model="gpt-4o", attempt=1)
    return replace(one, **fields)


async def measure_everything(told: Telemetry) -> None:
    """Has every metric of the table be there."""
    error = LlmError(PROVIDER_RATE_LIMITED, "Wait.")
    await told.attempt(answer)(call(stream=True), ignore)

    async def fail(call: Call, send: Any) -> None:
        raise error

    with suppress(LlmError):
        await told.attempt(fail)(call(), ignore)
    told.retrying(call(), error, 0.5)
    told.failing_over(call(), account(), error)
    told.account_changed(account(), Condition.OFF)
    told.rerouting(call(), leg("a"), error, leg("b"))
    told.hedging(call(), leg("a"), leg("b"))
    told.finished(call(cache="shared"), None, 0.1, "grpc")
    told.finished(call(), LlmError(RATE_LIMITED, "Wait.", scope="key"), 0.1, "grpc")
    told.finished(call(), LlmError(BUDGET_EXCEEDED, "Wait.", scope="team"), 0.1, "grpc")
    told.records_audited(1, 0)
    told.records_sent(2)
    told.record_unreadable("1", "No.")
    told.charged([Charge(provider="openai", model="gpt-4o", cost=Cost(nanos=7)), Charge(provider="openai", model="o")])
    told.address_blocked("192.0.2.1", 30.0)
    told.watch_access(lambda: 0.0, lambda: False)
    told.troubles.watch_spool(lambda: SpoolState(0, 0, 0.0, ""), lambda: 0.0, 100)


async def ignore(event: LlmEvent) -> None:
    """Takes an event and forgets it."""


async def answer(call: Call, send: Any) -> None:
    """Answers as a provider would that has two pieces of text to say."""
    call.responded = True
    for event in (STARTED, TEXT, TEXT, COMPLETED):
        await send(event)


def account(id: str = "team-a") -> Account:
    """Makes an account of OpenAI whose clock stands still."""
    health = Health(lambda: 1_000.0)
    return Account(AccountRef("openai", id), ACCOUNT_KIND_API_KEY, answer, NoInquiry(), health, configured=True)


class NoInquiry:
    """Can be asked nothing."""

    async def count_tokens(self, call: Call) -> int | None:
        return None

    async def models(self, call: Call) -> list[Model] | None:
        return None


def leg(name: str) -> Leg:
    """Makes a target of a route."""
    return Leg(name, answer)
