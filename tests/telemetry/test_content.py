"""Prompts and answers in the conventions' JSON."""

from __future__ import annotations

import pytest

from loom_grpc.telemetry.content import input_messages, output_messages
from loom_grpc.v1.llm_service_pb2 import (
    STOP_REASON_CONTENT_FILTER,
    STOP_REASON_LENGTH,
    STOP_REASON_REFUSAL,
    STOP_REASON_STOP,
    STOP_REASON_TOOL_CALLS,
    STOP_REASON_UNSPECIFIED,
    LlmRequest,
    LlmResponse,
    StopReason,
)
from loom_grpc.v1.message_pb2 import (
    ROLE_ASSISTANT,
    ROLE_TOOL,
    ROLE_USER,
    Citation,
    Media,
    Message,
    Opaque,
    Part,
    ToolCall,
)


def test_a_tool_call_and_its_result_are_parts() -> None:
    asks = Message(
        role=ROLE_ASSISTANT, tool_calls=[ToolCall(id="c1", tool_name="weather", arguments_json='{"city":"Oslo"}')]
    )
    result = Message(role=ROLE_TOOL, tool_call_id="c1", content="rain")

    assert input_messages(LlmRequest(messages=[asks, result])) == [
        {
            "role": "assistant",
            "parts": [{"type": "tool_call", "id": "c1", "name": "weather", "arguments": {"city": "Oslo"}}],
        },
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "rain"}]},
    ]


def test_arguments_that_are_no_json_stay_text() -> None:
    message = Message(
        role=ROLE_ASSISTANT, tool_calls=[ToolCall(id="c1", tool_name="weather", arguments_json='{"city":')]
    )

    (row,) = input_messages(LlmRequest(messages=[message]))

    assert row["parts"][0]["arguments"] == '{"city":'


def test_every_kind_of_part_is_told_and_files_only_by_size_or_address() -> None:
    parts = [
        Part(text="look"),
        Part(image=Media(data=b"12345", media_type="image/png")),
        Part(document=Media(url="https://files.example/a.pdf", media_type="application/pdf")),
        Part(image=Media(url="data:image/png;base64,AAAA")),
        Part(thinking="hm"),
        Part(redacted_thinking="xxx"),
        Part(refusal="no"),
        Part(opaque=Opaque(type="web_search_tool_result", block_json='{"a":1}')),
        Part(citation=Citation(url="https://source.example", title="A source")),
    ]

    (row,) = input_messages(LlmRequest(messages=[Message(role=ROLE_USER, parts=parts)]))

    assert row["parts"] == [
        {"type": "text", "content": "look"},
        {"type": "image", "mime_type": "image/png", "bytes": 5},
        {"type": "uri", "modality": "document", "mime_type": "application/pdf", "uri": "https://files.example/a.pdf"},
        {"type": "uri", "modality": "image", "mime_type": None, "uri": "data:"},
        {"type": "reasoning", "content": "hm"},
        {"type": "redacted_thinking"},
        {"type": "refusal", "content": "no"},
        {"type": "web_search_tool_result", "content": {"a": 1}},
        {"type": "citation", "url": "https://source.example", "title": "A source"},
    ]


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason", "word"),
    [
        (STOP_REASON_STOP, "end_turn", "stop"),
        (STOP_REASON_LENGTH, "max_tokens", "length"),
        (STOP_REASON_TOOL_CALLS, "tool_use", "tool_call"),
        (STOP_REASON_CONTENT_FILTER, "SAFETY", "content_filter"),
        (STOP_REASON_REFUSAL, "refusal", "refusal"),
        (STOP_REASON_UNSPECIFIED, "", "error"),
    ],
)
def test_the_end_of_an_answer_has_the_conventions_word(
    stop_reason: StopReason.ValueType, finish_reason: str, word: str
) -> None:
    response = LlmResponse(message=Message(content="Hello."), stop_reason=stop_reason, finish_reason=finish_reason)

    assert output_messages(response) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "Hello."}], "finish_reason": word}
    ]
