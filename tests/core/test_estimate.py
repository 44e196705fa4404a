"""A prompt's tokens are guessed where nobody counts them."""

from __future__ import annotations

import pytest

from loom_grpc.core.estimate import estimate_tokens
from loom_grpc.v1.llm_service_pb2 import LlmRequest
from loom_grpc.v1.message_pb2 import ROLE_ASSISTANT, ROLE_USER, Media, Message, Opaque, Part, ToolCall, ToolDefinition

PICTURE = Media(data=b"x" * 100_000, media_type="image/png")


@pytest.mark.parametrize(
    ("message", "tokens"),
    [
        pytest.param(Message(role=ROLE_USER), 4, id="nothing"),
        pytest.param(Message(role=ROLE_USER, content="12345678"), 4 + 2, id="text"),
        pytest.param(Message(role=ROLE_USER, content="123456789"), 4 + 3, id="text that ends within a token"),
        pytest.param(Message(role=ROLE_USER, content="日本"), 4 + 2, id="bytes, not characters"),
        pytest.param(
            Message(role=ROLE_USER, parts=[Part(text="1234"), Part(image=PICTURE)]), 4 + 1 + 1000, id="picture"
        ),
        pytest.param(
            Message(role=ROLE_USER, content="unseen", parts=[Part(text="1234")]), 4 + 1, id="parts for content"
        ),
        pytest.param(Message(role=ROLE_USER, parts=[Part(document=PICTURE), Part(audio=PICTURE)]), 2004, id="files"),
        pytest.param(Message(role=ROLE_ASSISTANT, parts=[Part(thinking="1234"), Part(refusal="No")]), 6, id="thoughts"),
        pytest.param(Message(role=ROLE_ASSISTANT, parts=[Part(opaque=Opaque(block_json='{"a":1}'))]), 6, id="opaque"),
        pytest.param(
            Message(role=ROLE_ASSISTANT, tool_calls=[ToolCall(tool_name="add", arguments_json='{"a":1}')]), 7, id="call"
        ),
    ],
)
def test_a_message_is_guessed_by_its_bytes(message: Message, tokens: int) -> None:
    assert estimate_tokens(LlmRequest(messages=[message])) == tokens


def test_tools_count_too() -> None:
    tool = ToolDefinition(name="add", description="Adds.", input_schema_json='{"type":"object"}')

    assert estimate_tokens(LlmRequest(tools=[tool, tool])) == 2 * 7
