"""What is known of a model decides which requests it is spared; what is not known lets them through."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from loom_grpc.core.model import UNKNOWN, Facts, Prices, Size, obstacle
from loom_grpc.v1.llm_service_pb2 import LlmRequest
from loom_grpc.v1.message_pb2 import ROLE_ASSISTANT, ROLE_USER, Media, Message, Part, Role, ToolDefinition


def asking(*parts: Part, role: Role.ValueType = ROLE_USER, text: str = "", **fields: Any) -> LlmRequest:
    return LlmRequest(messages=[Message(role=role, content=text, parts=parts)], **fields)


PICTURE = asking(Part(image=Media(url="https://example.org/a.png")))
PAPER = asking(Part(text="Read."), Part(document=Media(url="https://example.org/a.pdf")))
SOUND = asking(Part(audio=Media(data=b"RIFF", media_type="audio/wav")))
TOOLS = asking(text="Hi", tools=[ToolDefinition(name="t")])
PREFILL = asking(text="{", role=ROLE_ASSISTANT)
SCHEMA = asking(text="Hi", response_format={"json_schema": {"schema_json": "{}"}})
PLAIN = asking(text="Hi")

NOTHING = Facts(tools=False, images=False, documents=False, audio=False, json_schema=False, prefill=False)
EVERYTHING = Facts(tools=True, images=True, documents=True, audio=True, json_schema=True, prefill=True)


@pytest.mark.parametrize(
    ("request_", "word"),
    [
        (PICTURE, "images"),
        (PAPER, "documents"),
        (SOUND, "audio"),
        (TOOLS, "tools"),
        (PREFILL, "prefill"),
        (SCHEMA, "json_schema"),
        (PLAIN, ""),
    ],
)
def test_a_model_is_spared_what_it_cannot_do(request_: LlmRequest, word: str) -> None:
    size = Size(request_)

    assert obstacle(request_, NOTHING, size) == word
    assert obstacle(request_, EVERYTHING, size) == ""
    assert obstacle(request_, UNKNOWN, size) == ""


@pytest.mark.parametrize(
    ("characters", "max_tokens", "word"),
    [(4_000, None, ""), (6_600, None, ""), (6_700, None, "context"), (100, 1_000, "context"), (100, 900, "")],
)
def test_a_prompt_is_too_long_when_it_surely_does_not_fit(characters: int, max_tokens: int | None, word: str) -> None:
    request = asking(text="x" * characters, max_tokens=max_tokens)

    assert obstacle(request, Facts(context_tokens=1_000), Size(request)) == word


def test_prices_are_compared_with_three_tokens_read_for_each_written() -> None:
    assert Prices(Decimal("0.1"), Decimal("0.5")).blended == Decimal("0.2")
