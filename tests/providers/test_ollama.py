"""Ollama's chat API: requests as they go out, answers and failures as they are understood."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

import orjson
import pytest

from loom_grpc.core.call import Call
from loom_grpc.core.errors import (
    CONTEXT_TOO_LONG,
    INVALID_REQUEST,
    MODEL_NOT_FOUND,
    PROVIDER_AUTH_FAILED,
    PROVIDER_BAD_RESPONSE,
    PROVIDER_QUOTA_EXCEEDED,
    PROVIDER_RATE_LIMITED,
    PROVIDER_UNAVAILABLE,
    LlmError,
)
from loom_grpc.providers.ollama import Ollama
from loom_grpc.v1.error_pb2 import ErrorReason
from loom_grpc.v1.llm_service_pb2 import (
    STOP_REASON_STOP,
    STOP_REASON_TOOL_CALLS,
    STOP_REASON_UNSPECIFIED,
    LlmEvent,
    LlmRequest,
    LlmResponse,
    Model,
)
from loom_grpc.v1.message_pb2 import (
    ROLE_ASSISTANT,
    ROLE_SYSTEM,
    ROLE_TOOL,
    ROLE_USER,
    JsonObjectFormat,
    JsonSchemaFormat,
    Media,
    Message,
    Opaque,
    Part,
    Reasoning,
    ResponseFormat,
    ToolCall,
    ToolChoice,
    ToolDefinition,
)
from loom_grpc.v1.usage_pb2 import Usage

HELLO = Message(role=ROLE_USER, content="Hello")
PNG = b"\x89PNG\r\n"


def call(request: LlmRequest, stream: bool = False) -> Call:
    return Call(request, stream, "r", provider="ollama", model="qwen3", attempt=1)


def encoded(request: LlmRequest, stream: bool = False) -> dict[str, Any]:
    http = Ollama().encode(call(request, stream))
    assert (http.method, http.path) == ("POST", "/api/chat")
    body: dict[str, Any] = orjson.loads(http.body)
    return body


def refused(request: LlmRequest) -> LlmError:
    with pytest.raises(LlmError) as caught:
        Ollama().encode(call(request))
    assert caught.value.reason == INVALID_REQUEST
    return caught.value


def decoded(*lines: dict[str, Any]) -> tuple[list[LlmEvent], LlmError | None]:
    decoder = Ollama().decoder(call(LlmRequest(), stream=True), "application/x-ndjson")
    events = [event for line in lines for event in decoder.feed(orjson.dumps(line) + b"\n")]
    return [*events, *decoder.end()], decoder.failure


def response(*lines: dict[str, Any]) -> LlmResponse:
    events, failure = decoded(*lines)
    assert failure is None
    return events[-1].completed.response


def kinds(events: Iterable[LlmEvent]) -> list[str | None]:
    return [event.WhichOneof("event") for event in events]


def test_a_plain_request_says_whether_to_stream() -> None:
    assert encoded(LlmRequest(messages=[HELLO])) == {
        "model": "qwen3",
        "messages": [{"role": "user", "content": "Hello"}],
        "stream": False,
    }
    assert encoded(LlmRequest(messages=[HELLO]), stream=True)["stream"] is True


def test_settings_go_into_options() -> None:
    request = LlmRequest(
        messages=[HELLO], max_tokens=64, temperature=0.5, top_p=0.9, top_k=40, seed=7, stop=["END", "\n\n"]
    )

    assert encoded(request)["options"] == {
        "num_predict": 64,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "seed": 7,
        "stop": ["END", "\n\n"],
    }


def test_a_conversation_with_tools_keeps_its_order_ids_and_names() -> None:
    weather = ToolDefinition(
        name="weather",
        description="Tells the weather.",
        input_schema_json='{"type":"object","properties":{"city":{"type":"string"}}}',
    )
    request = LlmRequest(
        messages=[
            Message(role=ROLE_SYSTEM, content="Be brief."),
            Message(role=ROLE_USER, content="Weather in Paris?"),
            Message(
                role=ROLE_ASSISTANT,
                parts=[Part(thinking="A tool knows."), Part(text="One moment.")],
                tool_calls=[ToolCall(id="c1", tool_name="weather", arguments_json='{"city": "Paris", "days": 1.0}')],
            ),
            Message(role=ROLE_TOOL, tool_call_id="c1", content="22 °C"),
            Message(role=ROLE_SYSTEM, content="Use Celsius."),
        ],
        tools=[weather, ToolDefinition(name="now")],
    )

    assert encoded(request) == {
        "model": "qwen3",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Weather in Paris?"},
            {
                "role": "assistant",
                "content": "One moment.",
                "thinking": "A tool knows.",
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": {"city": "Paris", "days": 1.0}},
                    }
                ],
            },
            {"role": "tool", "content": "22 °C", "tool_name": "weather", "tool_call_id": "c1"},
            {"role": "system", "content": "Use Celsius."},
        ],
        "stream": False,
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "weather",
                    "description": "Tells the weather.",
                    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
                },
            },
            {
                "type": "function",
                "function": {"name": "now", "description": "", "parameters": {"type": "object", "properties": {}}},
            },
        ],
    }


def test_images_go_beside_the_text_and_text_documents_into_it() -> None:
    parts = [
        Part(text="Compare "),
        Part(image=Media(data=PNG, media_type="image/png")),
        Part(document=Media(data=b"a,b\n1,2", media_type="text/csv", name="table.csv")),
        Part(text="these."),
    ]

    assert encoded(LlmRequest(messages=[Message(role=ROLE_USER, parts=parts)]))["messages"] == [
        {"role": "user", "content": "table.csv\na,b\n1,2\n\nCompare these.", "images": [base64.b64encode(PNG).decode()]}
    ]


@pytest.mark.parametrize(
    ("part", "field"),
    [
        (Part(image=Media(url="https://example.com/a.png")), "messages[0].parts[0].image.url"),
        (Part(document=Media(data=b"%PDF", media_type="application/pdf")), "messages[0].parts[0].document"),
        (Part(document=Media(url="https://example.com/a.txt")), "messages[0].parts[0].document"),
        (Part(audio=Media(data=b"RIFF", media_type="audio/wav")), "messages[0].parts[0]"),
        (Part(opaque=Opaque(type="x", block_json="{}")), "messages[0].parts[0]"),
    ],
)
def test_what_ollama_cannot_take_is_refused_by_its_field(part: Part, field: str) -> None:
    error = refused(LlmRequest(messages=[Message(role=ROLE_USER, parts=[part])]))

    assert error.metadata == {"field": field}


def test_what_another_provider_keeps_for_itself_is_left_out() -> None:
    parts = [
        Part(thinking="signed", provider_state=b"s", origin="anthropic"),
        Part(opaque=Opaque(type="x", block_json="{}"), origin="anthropic"),
        Part(text="Hi."),
    ]

    assert encoded(LlmRequest(messages=[Message(role=ROLE_ASSISTANT, parts=parts)]))["messages"] == [
        {"role": "assistant", "content": "Hi."}
    ]


def test_a_choice_that_ollama_cannot_make_is_refused() -> None:
    tools = [ToolDefinition(name="now")]
    for choice in (ToolChoice(mode=ToolChoice.MODE_REQUIRED), ToolChoice(mode=ToolChoice.MODE_TOOL, tool_name="now")):
        error = refused(LlmRequest(messages=[HELLO], tools=tools, tool_choice=choice))
        assert error.metadata == {"field": "tool_choice.mode"}


def test_no_tools_are_sent_when_none_may_be_called() -> None:
    none = ToolChoice(mode=ToolChoice.MODE_NONE)

    assert "tools" not in encoded(LlmRequest(messages=[HELLO], tools=[ToolDefinition(name="now")], tool_choice=none))


@pytest.mark.parametrize(
    ("reasoning", "think"),
    [
        (Reasoning(effort="none"), False),
        (Reasoning(effort="minimal"), "low"),
        (Reasoning(effort="high"), "high"),
        (Reasoning(effort="max"), "max"),
        (Reasoning(budget_tokens=0), False),
        (Reasoning(budget_tokens=2048), True),
        (Reasoning(), True),
    ],
)
def test_reasoning_becomes_think(reasoning: Reasoning, think: bool | str) -> None:
    assert encoded(LlmRequest(messages=[HELLO], reasoning=reasoning))["think"] == think


def test_formats_are_a_word_or_the_schema() -> None:
    schema = JsonSchemaFormat(name="n", schema_json='{"type":"object"}')

    word = encoded(LlmRequest(messages=[HELLO], response_format=ResponseFormat(json_object=JsonObjectFormat())))
    shape = encoded(LlmRequest(messages=[HELLO], response_format=ResponseFormat(json_schema=schema)))
    assert (word["format"], shape["format"]) == ("json", {"type": "object"})


def test_provider_options_are_merged_last() -> None:
    request = LlmRequest(
        messages=[HELLO], temperature=1.0, provider_options_json='{"keep_alive": "5m", "options": {"num_ctx": 8192}}'
    )

    body = encoded(request)
    assert (body["keep_alive"], body["options"]) == ("5m", {"temperature": 1.0, "num_ctx": 8192})


def test_thinking_text_and_calls_come_in_order() -> None:
    events, failure = decoded(
        {"model": "qwen3:8b", "message": {"role": "assistant", "content": "", "thinking": "Hm."}, "done": False},
        {"model": "qwen3:8b", "message": {"role": "assistant", "content": "Wait."}, "done": False},
        {"message": {"content": "", "tool_calls": [{"function": {"name": "a", "arguments": {"x": 1.50}}}]}},
        {"message": {"content": "", "tool_calls": [{"id": "c2", "function": {"index": 0, "name": "b"}}]}},
        {"model": "qwen3:8b", "message": {"content": ""}, "done": True, "done_reason": "stop", "eval_count": 9},
    )

    assert failure is None
    assert kinds(events) == [
        "started",
        "thinking_delta",
        "text_delta",
        "tool_call_delta",
        "tool_call_delta",
        "completed",
    ]
    answer = events[-1].completed.response
    made_id = answer.tool_calls[0].id
    assert made_id.startswith("call_")
    assert answer == LlmResponse(
        message=Message(
            role=ROLE_ASSISTANT,
            content="Wait.",
            parts=[Part(thinking="Hm."), Part(text="Wait.")],
            tool_calls=answer.tool_calls,
        ),
        tool_calls=[
            ToolCall(id=made_id, tool_name="a", arguments_json='{"x":1.5}'),
            ToolCall(id="c2", tool_name="b", arguments_json="{}"),
        ],
        usage=Usage(output_tokens=9, provider_usage_json='{"eval_count":9}'),
        finish_reason="stop",
        stop_reason=STOP_REASON_TOOL_CALLS,
        provider="ollama",
        model="qwen3:8b",
    )


def test_nothing_is_invented_where_ollama_says_nothing() -> None:
    answer = response({"message": {"content": "Hi."}, "done": True, "total_duration": 5})

    assert (answer.finish_reason, answer.stop_reason) == ("", STOP_REASON_UNSPECIFIED)
    assert not answer.HasField("usage")


def test_a_call_tells_why_the_model_stopped_when_ollama_does_not() -> None:
    answer = response({"message": {"tool_calls": [{"function": {"name": "now", "arguments": {}}}]}, "done": True})

    assert (answer.finish_reason, answer.stop_reason) == ("", STOP_REASON_TOOL_CALLS)


def test_a_drawn_picture_is_a_part() -> None:
    answer = response(
        {"message": {"content": "", "images": [base64.b64encode(PNG).decode()]}, "done": True, "done_reason": "stop"}
    )

    assert list(answer.message.parts) == [Part(image=Media(data=PNG, media_type="image/png"))]
    assert answer.stop_reason == STOP_REASON_STOP


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"error": "an error was encountered while running the model: unexpected EOF"}, PROVIDER_UNAVAILABLE),
        ({"error": "the input length exceeds the context length"}, CONTEXT_TOO_LONG),
        ({"message": {"content": ""}, "done": True, "done_reason": "load"}, PROVIDER_BAD_RESPONSE),
        ({"message": {"content": 5}}, PROVIDER_BAD_RESPONSE),
        ({"message": {"tool_calls": [{"function": {}}]}}, PROVIDER_BAD_RESPONSE),
        ({}, PROVIDER_BAD_RESPONSE),
    ],
)
def test_a_bad_line_fails_the_answer_and_keeps_what_came_before(
    line: dict[str, Any], reason: ErrorReason.ValueType
) -> None:
    events, failure = decoded({"message": {"content": "Hello"}}, line)

    assert kinds(events) == ["started", "text_delta"]
    assert failure is not None
    assert failure.reason == reason
    if failure.partial is not None:
        assert failure.partial.message == Message(role=ROLE_ASSISTANT, content="Hello")


@pytest.mark.parametrize(
    ("status", "words", "reason"),
    [
        (400, "registry.ollama.ai/library/gemma3:1b does not support tools", INVALID_REQUEST),
        (400, "the input length exceeds the context length", CONTEXT_TOO_LONG),
        (401, "unauthorized", PROVIDER_AUTH_FAILED),
        (404, "model 'x' not found", MODEL_NOT_FOUND),
        (429, "too many concurrent requests", PROVIDER_RATE_LIMITED),
        (429, "you (someone) have reached your weekly usage limit, upgrade for higher limits", PROVIDER_QUOTA_EXCEEDED),
        (500, "model runner has unexpectedly stopped", PROVIDER_UNAVAILABLE),
        (502, "upstream error", PROVIDER_UNAVAILABLE),
        (503, "server busy, please try again. maximum pending requests exceeded", PROVIDER_UNAVAILABLE),
    ],
)
def test_errors_are_classified(status: int, words: str, reason: ErrorReason.ValueType) -> None:
    error = Ollama().error(status, {"retry-after": "3"}, orjson.dumps({"error": words}))

    assert error.reason == reason
    assert error.retry_after == (3.0 if status >= 429 else None)


def test_an_error_that_is_no_json_is_classified_by_its_status() -> None:
    assert Ollama().error(404, {}, b"404 page not found").reason == MODEL_NOT_FOUND


def test_pulled_models_are_listed() -> None:
    request = Ollama().encode_models()
    assert request is not None
    assert (request.method, request.path) == ("GET", "/api/tags")

    body = orjson.dumps({"models": [{"name": "qwen3:8b", "model": "qwen3:8b", "size": 5}, {"name": "llama3"}]})
    assert Ollama().decode_models(body) == [Model(id="qwen3:8b"), Model(id="llama3")]


@pytest.mark.parametrize("body", [b"", b"[]", b'{"models": 5}', b'{"models": [5]}', b'{"models": [{"name": 5}]}'])
def test_a_list_of_models_that_is_none_is_a_bad_response(body: bytes) -> None:
    with pytest.raises(LlmError) as caught:
        Ollama().decode_models(body)
    assert caught.value.reason == PROVIDER_BAD_RESPONSE
