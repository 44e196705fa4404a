"""Chat Completions: requests as they go out, answers and failures of many hosts as they are understood."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from loom_grpc.core.call import Call
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
from loom_grpc.core.request import check
from loom_grpc.providers.openai import Host, OpenAI
from loom_grpc.v1.error_pb2 import ErrorReason
from loom_grpc.v1.llm_service_pb2 import (
    STOP_REASON_CONTENT_FILTER,
    STOP_REASON_LENGTH,
    STOP_REASON_REFUSAL,
    STOP_REASON_STOP,
    STOP_REASON_TOOL_CALLS,
    STOP_REASON_UNSPECIFIED,
    LlmEvent,
    LlmRequest,
    LlmResponse,
    Model,
    StopReason,
)
from loom_grpc.v1.message_pb2 import (
    ROLE_ASSISTANT,
    ROLE_SYSTEM,
    ROLE_TOOL,
    ROLE_USER,
    Citation,
    JsonObjectFormat,
    JsonSchemaFormat,
    Media,
    Message,
    Opaque,
    Part,
    Reasoning,
    ResponseFormat,
    TextFormat,
    ToolCall,
    ToolChoice,
    ToolDefinition,
)
from loom_grpc.v1.usage_pb2 import Cost, Usage
from tests.wire.cases import Case, fixtures, read

HELLO = Message(role=ROLE_USER, content="Hello")
PNG = b"\x89PNG\r\n"
SCHEMA = '{ "type": "object", "properties": { "n": {"maximum": 12345678901234567890123} } }'
PLAIN = Host()
ZAI = Host(reasoning_field="reasoning_content", thinking_switch=True)
DEEPSEEK = Host(reasoning_field="reasoning_content")


def call(request: LlmRequest, stream: bool = False) -> Call:
    check(request)
    return Call(request, stream, "r", provider="openai", model="gpt-x", attempt=1)


def body_of(request: LlmRequest, host: Host = PLAIN, *, stream: bool = False) -> dict[str, Any]:
    http = OpenAI(host).encode(call(request, stream))
    assert (http.method, http.path, http.headers) == ("POST", "/chat/completions", {})
    body: dict[str, Any] = orjson.loads(http.body)
    return body


def turn(message: Message, host: Host = PLAIN) -> dict[str, Any]:
    turn: dict[str, Any] = body_of(LlmRequest(messages=[HELLO, message]), host)["messages"][1]
    return turn


def refused(message: Message, host: Host = PLAIN) -> tuple[str, str]:
    with pytest.raises(LlmError) as caught:
        OpenAI(host).encode(call(LlmRequest(messages=[message])))
    assert caught.value.reason == INVALID_REQUEST
    return caught.value.metadata["field"], caught.value.message


def sse(*values: dict[str, Any] | str) -> bytes:
    texts = (value if isinstance(value, str) else json.dumps(value) for value in values)
    return b"".join(b"data: " + text.encode() + b"\n\n" for text in texts)


def chunk(finish: str | None = None, /, **delta: Any) -> dict[str, Any]:
    return {"id": "chat_1", "model": "gpt-y", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def calling(**call: Any) -> dict[str, Any]:
    """A chunk with a piece of a tool call."""
    function = {key: call.pop(key) for key in ("name", "arguments") if key in call}
    return chunk(tool_calls=[{**call, "function": function}])


def streamed(*values: dict[str, Any] | str) -> tuple[list[LlmEvent], LlmError | None]:
    decoder = OpenAI().decoder(call(LlmRequest(messages=[HELLO]), stream=True), "text/event-stream")
    return [*decoder.feed(sse(*values)), *decoder.end()], decoder.failure


def answered(*values: dict[str, Any] | str) -> LlmResponse:
    events, failure = streamed(*values)
    assert failure is None, failure.detail
    return events[-1].completed.response


def failed(*values: dict[str, Any] | str) -> LlmError:
    events, failure = streamed(*values)
    assert failure is not None
    assert not any(event.HasField("completed") for event in events)
    return failure


def whole(body: bytes | dict[str, Any]) -> LlmResponse:
    decoder = OpenAI().decoder(call(LlmRequest(messages=[HELLO])), "application/json")
    events = decoder.feed(body if isinstance(body, bytes) else orjson.dumps(body)) + decoder.end()
    assert decoder.failure is None, decoder.failure.detail
    return events[-1].completed.response


def completion(finish: str | None = "stop", /, **message: Any) -> dict[str, Any]:
    return {"id": "chat_1", "model": "gpt-y", "choices": [{"index": 0, "message": message, "finish_reason": finish}]}


def calls(response: LlmResponse) -> list[tuple[str, str, str]]:
    return [(call.id, call.tool_name, call.arguments_json) for call in response.tool_calls]


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


# Requests


def test_a_plain_request_says_little() -> None:
    request = LlmRequest(messages=[HELLO])
    body = {"model": "gpt-x", "messages": [{"role": "user", "content": "Hello"}]}

    assert body_of(request) == body
    assert body_of(request, stream=True) == body | {"stream": True, "stream_options": {"include_usage": True}}


def test_a_rich_conversation_is_written_whole() -> None:
    request = LlmRequest(
        messages=[
            Message(role=ROLE_SYSTEM, content="Be kind."),
            Message(
                role=ROLE_USER,
                name="ann",
                parts=[
                    Part(text="What is in these?"),
                    Part(image=Media(data=PNG, media_type="image/png")),
                    Part(image=Media(url="https://a.example/b.jpg")),
                    Part(audio=Media(data=b"RIFF", media_type="audio/x-wav")),
                    Part(audio=Media(data=b"ID3", media_type="audio/mpeg")),
                    Part(document=Media(data=b"%PDF", media_type="application/pdf", name="plan.pdf")),
                    Part(document=Media(data=b"%PDF", media_type="application/pdf")),
                    Part(document=Media(url="file-123")),
                ],
            ),
            Message(
                role=ROLE_ASSISTANT,
                content="Let me look.",
                tool_calls=[
                    ToolCall(id="c1", tool_name="look", arguments_json=' {"n": 1.0}'),
                    ToolCall(id="c2", tool_name="now", arguments_json=" "),
                ],
            ),
            Message(role=ROLE_TOOL, tool_call_id="c1", content="a cat"),
            Message(role=ROLE_TOOL, tool_call_id="c2", parts=[Part(text="no"), Part(text=" clock")], is_error=True),
            Message(role=ROLE_SYSTEM, content="Be brief."),
        ],
        tools=[
            ToolDefinition(name="look", description="Looks.", input_schema_json=SCHEMA, strict=True),
            ToolDefinition(name="now"),
        ],
        tool_choice=ToolChoice(mode=ToolChoice.MODE_REQUIRED, parallel=False),
        response_format=ResponseFormat(
            json_schema=JsonSchemaFormat(name="out", schema_json=SCHEMA, description="It.", strict=False)
        ),
        reasoning=Reasoning(effort="low"),
        max_tokens=500,
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        seed=7,
        stop=["END"],
        provider_options_json='{"user":"u1","seed":null,"stream_options":{"include_usage":false}}',
    )

    assert body_of(request) == {
        "model": "gpt-x",
        "messages": [
            {"role": "system", "content": "Be kind."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is in these?"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{b64(PNG)}"}},
                    {"type": "image_url", "image_url": {"url": "https://a.example/b.jpg"}},
                    {"type": "input_audio", "input_audio": {"data": b64(b"RIFF"), "format": "wav"}},
                    {"type": "input_audio", "input_audio": {"data": b64(b"ID3"), "format": "mp3"}},
                    {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{b64(b'%PDF')}", "filename": "plan.pdf"}},
                    {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{b64(b'%PDF')}", "filename": "document"}},
                    {"type": "file", "file": {"file_id": "file-123"}},
                ],
                "name": "ann",
            },
            {
                "role": "assistant",
                "content": "Let me look.",
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "look", "arguments": ' {"n": 1.0}'}},
                    {"id": "c2", "type": "function", "function": {"name": "now", "arguments": "{}"}},
                ],
            },
            {"role": "tool", "content": "a cat", "tool_call_id": "c1"},
            {"role": "tool", "content": "no clock", "tool_call_id": "c2"},
            {"role": "system", "content": "Be brief."},
        ],
        "max_tokens": 500,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "stop": ["END"],
        "tools": [
            {
                "type": "function",
                "function": {"name": "look", "description": "Looks.", "parameters": orjson.loads(SCHEMA), "strict": True},
            },
            {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
        ],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "out", "schema": orjson.loads(SCHEMA), "strict": False, "description": "It."},
        },
        "reasoning_effort": "low",
        "user": "u1",
        "stream_options": {"include_usage": False},
    }  # fmt: skip


def test_files_of_tool_results_follow_the_results_as_the_users() -> None:
    picture = Part(image=Media(data=b"cat", media_type="image/png"))
    results = [
        Message(role=ROLE_TOOL, tool_call_id="c1", parts=[Part(text="a cat"), picture]),
        Message(role=ROLE_TOOL, tool_call_id="c2", content="12:00"),
    ]
    asks = Message(role=ROLE_ASSISTANT, tool_calls=[ToolCall(id=id_, tool_name="look") for id_ in ("c1", "c2")])
    messages = body_of(LlmRequest(messages=[HELLO, asks, *results, HELLO]))["messages"]

    assert messages[2:] == [
        {"role": "tool", "tool_call_id": "c1", "content": "a cat"},
        {"role": "tool", "tool_call_id": "c2", "content": "12:00"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Files of the result of call c1:"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{b64(b'cat')}"}},
            ],
        },
        messages[0],
    ]


def test_schemas_go_out_byte_for_byte() -> None:
    body = OpenAI().encode(
        call(LlmRequest(messages=[HELLO], tools=[ToolDefinition(name="t", input_schema_json=SCHEMA)]))
    )

    assert b'"parameters":' + SCHEMA.encode() in body.body


@pytest.mark.parametrize(
    ("choice", "written"),
    [
        (ToolChoice(), {}),
        (ToolChoice(mode=ToolChoice.MODE_AUTO), {"tool_choice": "auto"}),
        (ToolChoice(mode=ToolChoice.MODE_NONE), {"tool_choice": "none"}),
        (ToolChoice(parallel=True), {"parallel_tool_calls": True}),
        (
            ToolChoice(mode=ToolChoice.MODE_TOOL, tool_name="t"),
            {"tool_choice": {"type": "function", "function": {"name": "t"}}},
        ),
    ],
)
def test_the_choice_of_tools_is_said_in_the_api_s_words(choice: ToolChoice, written: dict[str, Any]) -> None:
    plain = body_of(LlmRequest(messages=[HELLO], tools=[ToolDefinition(name="t")]))

    assert (
        body_of(LlmRequest(messages=[HELLO], tools=[ToolDefinition(name="t")], tool_choice=choice)) == plain | written
    )


def test_no_choice_is_said_where_there_are_no_tools() -> None:
    choice = ToolChoice(mode=ToolChoice.MODE_AUTO, parallel=True)

    assert body_of(LlmRequest(messages=[HELLO], tool_choice=choice)) == body_of(LlmRequest(messages=[HELLO]))


@pytest.mark.parametrize(
    ("shape", "written"),
    [
        (ResponseFormat(), {}),
        (ResponseFormat(text=TextFormat()), {}),
        (ResponseFormat(json_object=JsonObjectFormat()), {"response_format": {"type": "json_object"}}),
        (
            ResponseFormat(json_schema=JsonSchemaFormat()),
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "response", "schema": {}, "strict": True},
                }
            },
        ),
    ],
)
def test_the_shape_of_the_answer_is_asked_for(shape: ResponseFormat, written: dict[str, Any]) -> None:
    plain = body_of(LlmRequest(messages=[HELLO]))

    assert body_of(LlmRequest(messages=[HELLO], response_format=shape)) == plain | written


@pytest.mark.parametrize(
    ("host", "reasoning", "written"),
    [
        (PLAIN, Reasoning(), {}),
        (PLAIN, Reasoning(effort="brand-new"), {"reasoning_effort": "brand-new"}),
        (PLAIN, Reasoning(effort="none"), {"reasoning_effort": "none"}),
        (PLAIN, Reasoning(budget_tokens=0), {"reasoning_effort": "none"}),
        (PLAIN, Reasoning(budget_tokens=1000), {"reasoning_effort": "minimal"}),
        (PLAIN, Reasoning(budget_tokens=4096), {"reasoning_effort": "low"}),
        (PLAIN, Reasoning(budget_tokens=16_384), {"reasoning_effort": "medium"}),
        (PLAIN, Reasoning(budget_tokens=16_385), {"reasoning_effort": "high"}),
        (ZAI, Reasoning(), {}),
        (ZAI, Reasoning(effort="high"), {"thinking": {"type": "enabled"}}),
        (ZAI, Reasoning(effort="none"), {"thinking": {"type": "disabled"}}),
        (ZAI, Reasoning(budget_tokens=0), {"thinking": {"type": "disabled"}}),
        (ZAI, Reasoning(budget_tokens=1), {"thinking": {"type": "enabled"}}),
    ],
)
def test_reasoning_is_asked_for_as_the_host_takes_it(host: Host, reasoning: Reasoning, written: dict[str, Any]) -> None:
    plain = body_of(LlmRequest(messages=[HELLO]), host)

    assert body_of(LlmRequest(messages=[HELLO], reasoning=reasoning), host) == plain | written


def test_the_limit_on_tokens_has_the_host_s_name_and_its_headers_go_along() -> None:
    dialect = OpenAI(Host(max_tokens_field="max_completion_tokens", path="/x"), {"openai-organization": "o"})
    http = dialect.encode(call(LlmRequest(messages=[HELLO], max_tokens=9)))
    models = dialect.encode_models()

    assert orjson.loads(http.body)["max_completion_tokens"] == 9
    assert (http.path, http.headers) == ("/x", {"openai-organization": "o"})
    assert models is not None
    assert (models.method, models.path, models.body, models.headers) == (
        "GET",
        "/models",
        b"",
        {"openai-organization": "o"},
    )


DETAILS = '[{"type":"reasoning.encrypted","data":"xyz=="}]'


@pytest.mark.parametrize(
    ("host", "parts", "written"),
    [
        (PLAIN, [Part(text="a"), Part(text="b")], {"content": "ab"}),
        (PLAIN, [Part(refusal="No"), Part(refusal=".")], {"content": "", "refusal": "No."}),
        (PLAIN, [Part(thinking="Hm"), Part(text="a")], {"content": "a"}),
        (DEEPSEEK, [Part(thinking="H"), Part(text="a"), Part(thinking="m")], {"content": "a", "reasoning_content": "Hm"}),
        (DEEPSEEK, [Part(thinking="Hm", provider_state=b"s", origin="anthropic")], {"content": ""}),
        (PLAIN, [Part(thinking="Hm", provider_state=DETAILS.encode(), origin="openai")],
         {"content": "", "reasoning_details": json.loads(DETAILS)}),
        (PLAIN, [Part(redacted_thinking="x", origin="anthropic"), Part(text="a"), Part(citation=Citation(url="u"))],
         {"content": "a"}),
        (PLAIN, [Part(opaque=Opaque(type="x", block_json='{"type":"x"}'), origin="anthropic"), Part(text="a")], {"content": "a"}),
        (PLAIN, [Part(opaque=Opaque(type="x", block_json='{"type":"x"}'), origin="openai"), Part(text="a")],
         {"content": [{"type": "x"}, {"type": "text", "text": "a"}]}),
        (PLAIN, [Part(audio=Media(data=b"x", media_type="audio/wav"), provider_state=b"audio_1", origin="openai")],
         {"content": "", "audio": {"id": "audio_1"}}),
    ],
)  # fmt: skip
def test_the_model_s_own_turn_goes_back_as_the_host_wants_it(
    host: Host, parts: list[Part], written: dict[str, Any]
) -> None:
    assert turn(Message(role=ROLE_ASSISTANT, parts=parts), host) == {"role": "assistant"} | written


def test_a_turn_of_calls_alone_has_no_content() -> None:
    assert turn(Message(role=ROLE_ASSISTANT, tool_calls=[ToolCall(id="c1", tool_name="now")])) == {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "now", "arguments": "{}"}}],
    }


def test_what_the_api_cannot_take_is_named() -> None:
    def said(part: Part) -> tuple[str, str]:
        return refused(Message(role=ROLE_ASSISTANT, parts=[part]))

    call = ToolCall(id="a", tool_name="t", provider_state=b"[]")

    assert said(Part(audio=Media(url="u"))) == (
        "messages[0].parts[0].audio",
        "messages[0].parts[0].audio: give data; this API takes no url for sound.",
    )
    assert said(Part(thinking="a", provider_state=b'[],"x":['))[0] == "messages[0].parts[0].provider_state"
    assert said(Part(thinking="a", provider_state=b"{}"))[0] == "messages[0].parts[0].provider_state"
    assert said(Part(audio=Media(url="u"), provider_state=b"\xff"))[0] == "messages[0].parts[0].provider_state"
    assert refused(Message(role=ROLE_ASSISTANT, tool_calls=[call]))[0] == "messages[0].tool_calls[0].provider_state"


def test_tokens_are_not_counted() -> None:
    assert OpenAI().encode_count(call(LlmRequest(messages=[HELLO]))) is None


@pytest.mark.parametrize(
    "body",
    [
        b'{"object":"list","data":[{"id":"a"},{"id":"b","name":"B"}]}',
        b'[{"id":"a"},{"id":"b","name":"B"}]',
    ],
)
def test_models_are_listed_also_where_the_list_is_bare(body: bytes) -> None:
    assert OpenAI().decode_models(body) == [Model(id="a"), Model(id="b", display_name="B")]


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"{}", b'{"data":{}}', b'{"data":[{}]}', b'{"data":[5]}', b'{"data":[{"id":5}]}', b"[[]]", b"5"],
)
def test_a_list_of_models_that_is_none_is_a_bad_response(body: bytes) -> None:
    with pytest.raises(LlmError) as caught:
        OpenAI().decode_models(body)
    assert caught.value.reason == PROVIDER_BAD_RESPONSE


# Answers


def test_a_stream_is_read_to_its_end() -> None:
    events, failure = streamed(
        {"id": "", "model": "", "choices": [], "prompt_filter_results": []},
        chunk(role="assistant", content=""),
        chunk(reasoning_content="Hm"),
        chunk(content="Hel", refusal=None),
        chunk(content="lo"),
        chunk("stop"),
        {"id": "chat_1", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}},
        "[DONE]",
    )

    assert failure is None
    assert [event.WhichOneof("event") for event in events] == ["started", "thinking_delta", "text_delta", "completed"]
    assert events[-1].completed.response == LlmResponse(
        message=Message(role=ROLE_ASSISTANT, content="Hello", parts=[Part(thinking="Hm"), Part(text="Hello")]),
        usage=Usage(
            input_tokens=3,
            output_tokens=5,
            provider_usage_json='{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}',
        ),
        finish_reason="stop",
        stop_reason=STOP_REASON_STOP,
        id="chat_1",
        provider="openai",
        model="gpt-y",
    )


def test_a_whole_completion_is_read_as_its_stream_would_be() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 5}
    tool = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"n": 1.0}'}}
    stream = answered(
        chunk(content="See"),
        calling(index=0, id="c1", name="add", arguments='{"n": 1.0}'),
        chunk("tool_calls") | {"usage": usage},
        "[DONE]",
    )

    assert whole(completion("tool_calls", content="See", tool_calls=[tool]) | {"usage": usage}) == stream
    assert calls(stream) == [("c1", "add", '{"n": 1.0}')]


ARGUMENTS = '{"s": "<&\\"\\u00e9é🎉", "z": "001", "i": 12345678901234567890123, "f": 1.0, "n": {"a": [{}]}, "e": {}}'


def test_arguments_come_through_byte_for_byte_however_they_are_cut() -> None:
    for step in (1, 2, 7, 1000):
        pieces = [ARGUMENTS[i : i + step] for i in range(0, len(ARGUMENTS), step)]
        response = answered(
            calling(index=0, id="c1", name="t", arguments=""),
            *(calling(index=0, arguments=piece) for piece in pieces),
            chunk("tool_calls"),
            "[DONE]",
        )

        assert calls(response) == [("c1", "t", ARGUMENTS)]
        assert turn(response.message)["tool_calls"][0]["function"]["arguments"] == ARGUMENTS


def test_arguments_that_are_no_text_keep_their_digits_in_a_whole_completion() -> None:
    tool = {"id": "c1", "function": {"name": "t", "arguments": {"i": 7, "f": 1.0}}}
    body = orjson.dumps(completion("tool_calls", tool_calls=[tool])).replace(b":7,", b":12345678901234567890123,")

    assert calls(whole(body)) == [("c1", "t", '{"i":12345678901234567890123,"f":1.0}')]


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        pytest.param(
            [calling(index=0, id="c1", name="a", arguments="{"), calling(index=1, id="c2", name="b", arguments="["),
             calling(index=0, arguments="}"), calling(index=1, arguments="]")],
            [("c1", "a", "{}"), ("c2", "b", "[]")], id="by index, in turns",
        ),
        pytest.param(
            [calling(index=0, id="c1", name="a", arguments="{}"), calling(index=0, id="c2", name="b", arguments="{}")],
            [("c1", "a", "{}"), ("c2", "b", "{}")], id="one index, other ids",
        ),
        pytest.param(
            [calling(index=0, name="a", arguments="{}"), calling(index=0, name="b", arguments="{}")],
            [("", "a", "{}"), ("", "b", "{}")], id="one index, no ids, other names",
        ),
        pytest.param(
            [calling(index=0, name="a", arguments="{"), calling(index=0, name="a", arguments="}")],
            [("", "a", "{}")], id="one index, no ids, the name again",
        ),
        pytest.param(
            [calling(index=0, id="c1", name="a", arguments="{"), calling(index=0, id="c1", name="", arguments="}")],
            [("c1", "a", "{}")], id="an empty name later",
        ),
        pytest.param(
            [calling(id="c1", name="a", arguments="{"), calling(id="c2", name="b", arguments="["),
             calling(id="c1", arguments="}"), calling(id="c2", arguments="]")],
            [("c1", "a", "{}"), ("c2", "b", "[]")], id="by id, in turns",
        ),
        pytest.param(
            [calling(id="c1", name="a", arguments="{"), calling(arguments="}")],
            [("c1", "a", "{}")], id="no index, the id once",
        ),
        pytest.param(
            [calling(id="c1", name="a", arguments="{"), calling(name="a", arguments="}")],
            [("c1", "a", "{}")], id="no index, the id once, the name again",
        ),
        pytest.param(
            [calling(name="a", arguments="{}"), calling(name="a", arguments="{}"), calling(name="b"), calling(arguments="{}")],
            [("", "a", "{}"), ("", "a", "{}"), ("", "b", "{}")], id="neither index nor id",
        ),
        pytest.param(
            [calling(index=1, id="c1", name="a"), calling(index=3, id="c2", name="b")],
            [("c1", "a", "{}"), ("c2", "b", "{}")], id="gaps and no arguments",
        ),
        pytest.param(
            [calling(index=0, id="c1", arguments='{"a"'), calling(index=0, arguments=":1"), calling(index=0, name="a", arguments="}")],
            [("c1", "a", '{"a":1}')], id="the name last",
        ),
        pytest.param(
            [chunk(tool_calls=[{"id": "c1", "function": {"name": "a", "arguments": "{}"}},
                               {"id": "c2", "function": {"name": "b", "arguments": "{}"}}])],
            [("c1", "a", "{}"), ("c2", "b", "{}")], id="two in one chunk",
        ),
        pytest.param(
            [chunk(function_call={"name": "a", "arguments": "{"}), chunk(function_call={"arguments": "}"})],
            [("", "a", "{}")], id="as it was in 2023",
        ),
        pytest.param([calling(index=0, id="c1", name="a", arguments=None)], [("c1", "a", "{}")], id="null arguments"),
        pytest.param([calling(index=0, id="c1", name="a", arguments={})], [("c1", "a", "{}")], id="an empty object"),
    ],
)  # fmt: skip
def test_calls_are_told_apart(pieces: list[dict[str, Any]], expected: list[tuple[str, str, str]]) -> None:
    found = calls(answered(*pieces, chunk("tool_calls"), "[DONE]"))

    assert [(id if wanted[0] else "", *rest) for (id, *rest), wanted in zip(found, expected, strict=True)] == expected
    assert all(id for id, _, _ in found)
    assert len({id for id, _, _ in found}) == len(found)


@pytest.mark.parametrize("id", ["", "same"])
def test_calls_of_a_whole_completion_are_never_mixed_up(id: str) -> None:
    tools = [{"id": id, "function": {"name": "a", "arguments": text}} for text in ('{"n":1}', '{"n":2}')]

    found = calls(whole(completion("tool_calls", tool_calls=tools)))

    assert [(name, arguments) for _, name, arguments in found] == [("a", '{"n":1}'), ("a", '{"n":2}')]


def test_a_signature_beside_a_call_comes_back_with_it() -> None:
    signed = {"google": {"thought_signature": "xyz=="}}
    response = answered(calling(index=0, id="c1", name="a", extra_content=signed), chunk("stop"), "[DONE]")

    assert turn(response.message)["tool_calls"] == [
        {"extra_content": signed, "id": "c1", "type": "function", "function": {"name": "a", "arguments": "{}"}}
    ]
    assert response.stop_reason == STOP_REASON_TOOL_CALLS


def test_refusals_are_gathered() -> None:
    response = answered(chunk(refusal="I can"), chunk(refusal="not."), chunk("stop"), "[DONE]")

    assert response.message == Message(role=ROLE_ASSISTANT, parts=[Part(refusal="I cannot.")])
    assert response.stop_reason == STOP_REASON_REFUSAL


def test_reasoning_details_are_put_together_and_go_back() -> None:
    def details(**detail: Any) -> dict[str, Any]:
        return chunk(reasoning=detail.get("text"), reasoning_details=[{"type": "reasoning.text", "index": 0, **detail}])

    encrypted = {"type": "reasoning.encrypted", "index": 1, "data": "xyz=="}
    response = answered(
        details(text="H"),
        details(text="m", signature=None),
        details(text="", signature="sig"),
        chunk(reasoning_details=[encrypted]),
        chunk(content="Yes"),
        chunk("stop"),
        "[DONE]",
    )
    gathered = [{"type": "reasoning.text", "index": 0, "text": "Hm", "signature": "sig"}, encrypted]

    assert [part.WhichOneof("kind") for part in response.message.parts] == ["thinking", "text"]
    assert response.message.parts[0].thinking == "Hm"
    assert turn(response.message)["reasoning_details"] == gathered


def test_details_alone_are_shown_as_reasoning() -> None:
    response = answered(
        chunk(reasoning_details=[{"type": "reasoning.summary", "summary": "Hm"}]),
        chunk("stop", content="Yes"),
        "[DONE]",
    )

    assert [part.thinking for part in response.message.parts] == ["Hm", ""]


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}, {"type": "text", "text": "Yes"}],
        [{"type": "thinking", "thinking": "Hm"}, "Yes"],
    ],
)
def test_a_list_of_content_is_read(content: list[Any]) -> None:
    response = answered(chunk(content=content), chunk("stop"), "[DONE]")

    assert response.message == Message(
        role=ROLE_ASSISTANT, content="Yes", parts=[Part(thinking="Hm"), Part(text="Yes")]
    )


def test_rarer_things_are_read_wherever_they_stand() -> None:
    citation = {"type": "url_citation", "url_citation": {"url": "https://a.example", "title": "A"}}
    response = answered(
        chunk(content="See"),
        chunk(annotations=[citation]),
        chunk(images=[{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{b64(PNG)}"}}]),
        chunk(content=[{"type": "reference", "reference_ids": [1]}]),
        chunk("stop") | {"citations": ["https://b.example"]},
        "[DONE]",
    )

    assert list(response.message.parts) == [
        Part(text="See"),
        Part(citation=Citation(url="https://a.example", title="A", citation_json=json.dumps(citation, separators=(",", ":"))),
             origin="openai"),
        Part(image=Media(data=PNG, media_type="image/png")),
        Part(opaque=Opaque(type="reference", block_json='{"type":"reference","reference_ids":[1]}'), origin="openai"),
        Part(text=""),
        Part(citation=Citation(url="https://b.example", citation_json='"https://b.example"'), origin="openai"),
    ]  # fmt: skip


def test_speech_is_read_with_its_words() -> None:
    audio = {"id": "audio_1", "data": b64(b"RIFF"), "transcript": "Hello"}
    response = whole(completion(content=None, audio=audio))

    assert list(response.message.parts) == [
        Part(text="Hello"),
        Part(audio=Media(data=b"RIFF", media_type="audio/wav"), provider_state=b"audio_1", origin="openai"),
    ]
    assert turn(response.message) == {"role": "assistant", "content": "Hello", "audio": {"id": "audio_1"}}


def test_only_the_first_choice_is_read() -> None:
    def other(**choice: Any) -> dict[str, Any]:
        return {"choices": [{"index": 1, **choice}]}

    response = answered(
        other(delta={"content": "No"}),
        chunk(content="Yes"),
        other(delta={}, finish_reason="length"),
        chunk("stop"),
        "[DONE]",
    )

    assert (response.message.content, response.finish_reason) == ("Yes", "stop")


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30,
             "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 7}},
            (10, 20, 4, 0, 7),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 37, "completion_tokens_details": {"reasoning_tokens": 7}},
            (10, 27, 0, 0, 7),
        ),
        ({"prompt_tokens": 10, "completion_tokens": 20, "prompt_cache_hit_tokens": 6}, (10, 20, 6, 0, 0)),
        ({"prompt_tokens": 10, "completion_tokens": None, "prompt_tokens_details": None}, (10, 0, 0, 0, 0)),
        ({"prompt_tokens": 10, "prompt_tokens_details": {"cache_write_tokens": 3}}, (10, 0, 0, 3, 0)),
    ],
)  # fmt: skip
def test_usage_has_one_meaning_for_every_host(usage: dict[str, Any], expected: tuple[int, ...]) -> None:
    read = answered(chunk(content="Hi"), chunk("stop"), {"choices": [], "usage": usage}, "[DONE]").usage

    assert expected == (
        read.input_tokens,
        read.output_tokens,
        read.cache_read_tokens,
        read.cache_write_tokens,
        read.reasoning_tokens,
    )
    assert orjson.loads(read.provider_usage_json) == usage


def test_usage_tells_of_audio_and_images() -> None:
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "prompt_tokens_details": {"audio_tokens": 30, "image_tokens": 20},
        "completion_tokens_details": {"audio_tokens": 40, "image_tokens": 5},
    }
    read = answered(chunk(content="Hi"), chunk("stop"), {"choices": [], "usage": usage}, "[DONE]").usage

    assert read == Usage(
        input_tokens=100,
        output_tokens=50,
        input_audio_tokens=30,
        input_image_tokens=20,
        output_audio_tokens=40,
        output_image_tokens=5,
        provider_usage_json=orjson.dumps(usage).decode(),
    )


def test_what_the_provider_says_that_the_call_cost_stands_beside_the_usage() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "cost": 0.0001346}
    with_cost = answered(chunk(content="Hi"), chunk("stop"), {"choices": [], "usage": usage}, "[DONE]")
    without = answered(chunk(content="Hi"), chunk("stop"), {"choices": [], "usage": {"prompt_tokens": 1}}, "[DONE]")

    assert with_cost.reported_cost == Cost(nanos=134_600, currency_code="USD")
    assert not without.HasField("reported_cost")


def test_usage_is_not_made_up() -> None:
    assert not answered(chunk(content="Hi"), chunk("stop") | {"usage": None}, "[DONE]").HasField("usage")


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", STOP_REASON_STOP),
        ("eos", STOP_REASON_STOP),
        ("length", STOP_REASON_LENGTH),
        ("tool_calls", STOP_REASON_TOOL_CALLS),
        ("content_filter", STOP_REASON_CONTENT_FILTER),
        ("sensitive", STOP_REASON_CONTENT_FILTER),
        ("brand_new", STOP_REASON_UNSPECIFIED),
    ],
)
def test_the_reason_to_stop_is_kept_and_understood(word: str, reason: StopReason.ValueType) -> None:
    response = answered(chunk(content="Hi"), chunk(word), "[DONE]")

    assert (response.finish_reason, response.stop_reason) == (word, reason)


def test_a_reason_is_not_made_up_where_the_host_gives_none() -> None:
    response = answered(chunk(content="Hi"), "[DONE]")

    assert (response.finish_reason, response.stop_reason) == ("", STOP_REASON_UNSPECIFIED)


def test_a_reason_ends_an_answer_without_the_marker() -> None:
    assert answered(chunk(content="Hi"), chunk("stop")).message.content == "Hi"


def test_a_whole_completion_without_a_reason_is_one() -> None:
    body = {"choices": [{"message": {"content": "Hi"}, "finish_details": {"type": "stop"}}]}

    assert whole(body).message.content == "Hi"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([], "The provider's answer is empty."),
        (["[DONE]"], "The provider's answer ended before it was complete."),
        ([{"choices": []}, "[DONE]"], "The provider's answer ended before it was complete."),
        ([chunk(content="Hi")], "The provider's answer ended before it was complete."),
        ([chunk(content={"a": 1}), "[DONE]"], "The provider's answer is malformed."),
        ([{"choices": 5}, "[DONE]"], "The provider's answer is malformed."),
        ([chunk(tool_calls=[{"index": 0, "function": {"name": 5}}]), "[DONE]"], "The provider's answer is malformed."),
        ([calling(index=0, id="c1", arguments="{}"), chunk("stop")], "The provider sent a tool call without a name."),
        ([chunk(images=[{}]), "[DONE]"], "The provider's answer is malformed."),
    ],
)
def test_what_is_no_answer_is_a_bad_response(values: list[Any], words: str) -> None:
    failure = failed(*values)

    assert (failure.reason, failure.message) == (PROVIDER_BAD_RESPONSE, words)


def test_a_completion_in_a_stream_of_events_is_no_empty_answer() -> None:
    decoder = OpenAI().decoder(call(LlmRequest(messages=[HELLO]), stream=True), "text/event-stream")
    events = decoder.feed(orjson.dumps(completion(content="Hi"))) + decoder.end()

    assert events == []
    assert decoder.failure is not None
    assert decoder.failure.reason == PROVIDER_BAD_RESPONSE


@pytest.mark.parametrize("media_type", ["text/event-stream", "", "text/plain"])
def test_a_stream_is_read_as_one_whatever_its_type_says(media_type: str) -> None:
    decoder = OpenAI().decoder(call(LlmRequest(messages=[HELLO]), stream=True), media_type)
    events = decoder.feed(sse(chunk(content="Hi"), chunk("stop"), "[DONE]"))

    assert events[-1].completed.response.message.content == "Hi"


def test_a_host_that_does_not_stream_is_understood() -> None:
    decoder = OpenAI().decoder(call(LlmRequest(messages=[HELLO]), stream=True), "application/json")
    decoder.feed(orjson.dumps(completion(content="Hi")))

    assert decoder.end()[-1].completed.response.message.content == "Hi"


# What was recorded goes back as it came.


def _recorded() -> Iterator[Case]:
    for case in fixtures():
        whole = not case.stream and case.expect and case.expect["outcome"] == "message"
        if whole and case.api in ("chat_completions", "openai_chat"):
            yield case


@pytest.mark.parametrize("case", list(_recorded()), ids=lambda case: case.id)
def test_a_recorded_answer_goes_back_as_it_came(case: Case) -> None:
    reading = read(case, [case.body])
    assert reading.response is not None
    original = json.loads(case.body)["choices"][0].get("message", {})
    sent = turn(reading.response.message, DEEPSEEK)

    if isinstance(original.get("content"), str):
        assert (sent["content"] or "") == original["content"]
    if called := original.get("tool_calls"):
        assert [call["function"] for call in sent["tool_calls"]] == [call["function"] for call in called]
        assert all(
            again["id"] == call["id"] or not call["id"] for again, call in zip(sent["tool_calls"], called, strict=True)
        )
    if original.get("reasoning_details"):
        assert sent["reasoning_details"] == original["reasoning_details"]
    elif isinstance(original.get("reasoning_content"), str):
        assert sent.get("reasoning_content", "") == original["reasoning_content"]


# Failures


def error(status: int, body: Any, headers: dict[str, str] | None = None) -> LlmError:
    return OpenAI().error(status, headers or {}, body if isinstance(body, bytes) else orjson.dumps(body))


def coded(status: int, code: object = None, kind: str = "", words: str = "") -> LlmError:
    return error(status, {"error": {"message": words, "type": kind, "code": code}})


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (coded(400, "context_length_exceeded"), CONTEXT_TOO_LONG),
        (
            coded(400, None, "invalid_request_error", "This model's maximum context length is 8192 tokens"),
            CONTEXT_TOO_LONG,
        ),
        (coded(400, None, "invalid_request_error", "bad"), INVALID_REQUEST),
        (coded(400, "content_filter"), CONTENT_BLOCKED),
        (coded(400, "tool_use_failed"), INVALID_REQUEST),
        (coded(401, "invalid_api_key"), PROVIDER_AUTH_FAILED),
        (coded(400, None, "", "Incorrect API key provided"), PROVIDER_AUTH_FAILED),
        (coded(403), PROVIDER_AUTH_FAILED),
        (coded(404, "model_not_found"), MODEL_NOT_FOUND),
        (coded(404, "DeploymentNotFound"), MODEL_NOT_FOUND),
        (coded(408), PROVIDER_TIMEOUT),
        (coded(413, None, "", "too big"), INVALID_REQUEST),
        (coded(429, "insufficient_quota"), PROVIDER_QUOTA_EXCEEDED),
        (coded(429, None, "insufficient_quota"), PROVIDER_QUOTA_EXCEEDED),
        (coded(429, "rate_limit_exceeded", "tokens"), PROVIDER_RATE_LIMITED),
        (coded(429, "1113"), PROVIDER_QUOTA_EXCEEDED),
        (coded(429, "1302"), PROVIDER_RATE_LIMITED),
        (coded(429, "1308"), PROVIDER_QUOTA_EXCEEDED),
        (coded(429, 1305), PROVIDER_RATE_LIMITED),
        (coded(429, "1316"), PROVIDER_QUOTA_EXCEEDED),
        (coded(429, None, "", "Usage limit reached for 5 hour."), PROVIDER_QUOTA_EXCEEDED),
        (coded(429, 429, "", "Rate limit exceeded: free-models-per-day."), PROVIDER_QUOTA_EXCEEDED),
        (coded(429, 429, "", "Rate limit exceeded: free-models-per-min."), PROVIDER_RATE_LIMITED),
        (coded(429, "rate_limit_exceeded", "", "Your usage limit is near"), PROVIDER_RATE_LIMITED),
        (coded(400, None, "", "Unknown field 'insufficient credits'"), INVALID_REQUEST),
        (coded(400, None, "", "Unknown field 'invalid api key'"), INVALID_REQUEST),
        (error(403, {"code": "permission-denied", "error": "Content violates usage guidelines. "}), CONTENT_BLOCKED),
        (error(403, {"code": "permission-denied", "error": "Access is denied"}), PROVIDER_AUTH_FAILED),
        (error(403, {"error": {"code": 403, "message": "Flagged", "metadata": {"reasons": ["x"]}}}), CONTENT_BLOCKED),
        (coded(500, None, "server_error"), PROVIDER_UNAVAILABLE),
        (coded(529), PROVIDER_UNAVAILABLE),
        (coded(504), PROVIDER_TIMEOUT),
        (coded(302), PROVIDER_BAD_RESPONSE),
        (error(402, {"error": {"message": "Insufficient credits", "code": 402}}), PROVIDER_QUOTA_EXCEEDED),
        (error(422, {"detail": [{"msg": "field required"}]}), INVALID_REQUEST),
        (error(400, {"code": "bad", "error": "Incorrect API key provided: xai-abc"}), PROVIDER_AUTH_FAILED),
        (error(404, {"error": "model not found"}), MODEL_NOT_FOUND),
        (error(400, [{"error": {"code": 400, "message": "API key not valid"}}]), INVALID_REQUEST),
        (error(400, {"error": None, "message": "bad"}), INVALID_REQUEST),
        (error(502, b"<html>Bad Gateway</html>"), PROVIDER_UNAVAILABLE),
        (error(500, b""), PROVIDER_UNAVAILABLE),
        (error(401, b"\xff\xfe"), PROVIDER_AUTH_FAILED),
        (error(400, {"error": {"message": ["odd"], "code": {"a": 1}, "type": [1]}}), INVALID_REQUEST),
    ],
)
def test_a_failure_is_understood_by_code_status_and_words(failure: LlmError, reason: ErrorReason.ValueType) -> None:
    assert failure.reason == reason


@pytest.mark.parametrize(
    ("failure", "by_words"),
    [
        (coded(401), False),
        (coded(401, None, "", "Incorrect API key provided"), False),
        (coded(403, None, "", "Invalid API key"), False),
        (coded(400, "invalid_api_key", "", "Incorrect API key provided"), False),
        (coded(400, "1001", "", "Invalid API key"), False),
        (coded(400, None, "", "Incorrect API key provided"), True),
        (error(500, {"code": "bad", "error": "Incorrect API key provided: xai-abc"}), False),
        (error(404, {"error": "Missing authentication"}), True),
    ],
)
def test_a_refusal_that_only_words_tell_is_marked(failure: LlmError, by_words: bool) -> None:
    assert failure.by_words is by_words


def test_a_limit_waits_until_its_reset_and_a_quota_does_not() -> None:
    spent = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}

    assert error(429, {"error": {"code": "rate_limit_exceeded"}}, spent).retry_after == 360
    assert error(429, {"error": {"code": "insufficient_quota"}}, spent).retry_after is None
    assert error(429, {"error": {"code": "insufficient_quota"}}, {"retry-after": "9"}).retry_after == 9
    assert error(503, {}, spent).retry_after is None


def test_a_reset_within_the_body_counts_for_the_limit_that_it_tells_of() -> None:
    reset = int(time.time()) + 3600
    inner = {"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": f"{reset}000"}
    words = "Rate limit exceeded: free-models-per-day."
    failure = error(429, {"error": {"message": words, "code": 429, "metadata": {"headers": inner}}})

    assert failure.reason == PROVIDER_QUOTA_EXCEEDED
    assert failure.retry_after == pytest.approx(3600, abs=10)
    assert error(403, {"error": {"code": 403, "metadata": {"headers": inner}}}).retry_after is None
    assert error(429, {"error": {"code": 429, "metadata": {"headers": "odd"}}}).retry_after is None
    assert error(429, {"error": {"code": 429, "metadata": "odd"}}).retry_after is None


def test_a_failure_tells_status_code_and_how_long_to_wait_but_no_key() -> None:
    limited = error(429, {"error": {"code": "rate_limit_exceeded", "message": "Limit of org-1"}}, {"retry-after": "2"})
    wrong = coded(400, "bad_value", "", "Unknown parameter 'x' for key sk-abcdef123456")

    assert (limited.retry_after, limited.message) == (2, "The provider's rate limit is reached; try again later.")
    assert limited.metadata == {"provider_status": "429", "provider_code": "rate_limit_exceeded"}
    assert wrong.message == "The provider refused the request: Unknown parameter 'x' for key [REDACTED]"
    assert wrong.retry_after is None


@pytest.mark.parametrize(
    ("value", "reason", "status"),
    [
        ({"error": {"code": 502, "message": "Provider returned error"}}, PROVIDER_UNAVAILABLE, "502"),
        ({"error": {"code": 429, "message": "Slow"}}, PROVIDER_RATE_LIMITED, "429"),
        ({"error": {"code": 1302, "message": "Slow"}}, PROVIDER_RATE_LIMITED, None),
        ({"error": {"code": 7, "message": "?"}}, PROVIDER_UNAVAILABLE, None),
        ({"error": "text"}, PROVIDER_UNAVAILABLE, None),
        (chunk("length", content="x") | {"error": {"code": 502, "message": "Cut"}}, PROVIDER_UNAVAILABLE, "502"),
        (chunk("error"), PROVIDER_UNAVAILABLE, None),
        (chunk("network_error"), PROVIDER_UNAVAILABLE, None),
        (chunk("insufficient_system_resource"), PROVIDER_UNAVAILABLE, None),
    ],
)
def test_an_error_within_a_stream_ends_it_and_keeps_what_came(
    value: dict[str, Any], reason: ErrorReason.ValueType, status: str | None
) -> None:
    failure = failed(chunk(content="Hel"), value, "[DONE]")

    assert (failure.reason, failure.metadata.get("provider_status")) == (reason, status)
    assert failure.partial is not None
    assert failure.partial.message.content == "Hel"


def test_an_event_named_error_is_one() -> None:
    decoder = OpenAI().decoder(call(LlmRequest(messages=[HELLO]), stream=True), "text/event-stream")
    decoder.feed(b'event: error\ndata: {"message":"failed","code":"tool_use_failed"}\n\n')

    assert decoder.failure is not None
    assert decoder.failure.reason == INVALID_REQUEST


def test_an_error_that_is_nothing_is_none() -> None:
    assert answered(chunk(content="Hi") | {"error": None}, chunk("stop") | {"error": {}}).message.content == "Hi"
