"""A telemetry object whose log can be read back."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace
from typing import Any

import orjson

from loom_grpc.config import Config
from loom_grpc.core.account import AccountRef
from loom_grpc.core.call import Call
from loom_grpc.core.health import Health
from loom_grpc.core.leg import Leg
from loom_grpc.core.pool import Account
from loom_grpc.telemetry import Telemetry
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
from loom_grpc.v1.usage_pb2 import Usage

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
