"""Anthropic's Messages: requests as they go out, answers and failures as they are understood."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
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
from loom_grpc.providers.anthropic import Anthropic
from loom_grpc.v1.error_pb2 import ErrorReason
from loom_grpc.v1.llm_service_pb2 import (
    STOP_REASON_CONTENT_FILTER,
    STOP_REASON_LENGTH,
    STOP_REASON_PAUSED,
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
from loom_grpc.v1.usage_pb2 import Usage
from tests.wire.cases import Case, fixtures, read

HELLO = Message(role=ROLE_USER, content="Hello")
OLD, NEW = "claude-sonnet-4-5", "claude-opus-5"
PNG = b"\x89PNG\r\n"
SCHEMA = '{ "type": "object", "properties": { "n": {"type": "integer", "maximum": 12345678901234567890123} } }'


def call(request: LlmRequest, *, stream: bool = False, model: str = OLD) -> Call:
    check(request)
    return Call(request, stream, "r", provider="anthropic", model=model, attempt=1)


def body_of(request: LlmRequest, *, stream: bool = False, model: str = OLD) -> dict[str, Any]:
    http = Anthropic().encode(call(request, stream=stream, model=model))
    assert (http.method, http.path, http.headers) == ("POST", "/v1/messages", {"anthropic-version": "2023-06-01"})
    body: dict[str, Any] = orjson.loads(http.body)
    return body


def turns(*messages: Message) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = body_of(LlmRequest(messages=messages))["messages"]
    return turns


def blocks(*parts: Part) -> Any:
    """The blocks of an assistant's turn between two others."""
    said = turns(HELLO, Message(role=ROLE_ASSISTANT, parts=parts), HELLO)
    return said[1]["content"] if len(said) == 3 else []


def refused(request: LlmRequest, model: str = OLD) -> tuple[str, str]:
    with pytest.raises(LlmError) as caught:
        Anthropic().encode(call(request, model=model))
    assert caught.value.reason == INVALID_REQUEST
    return caught.value.metadata["field"], caught.value.message


def sse(*values: dict[str, Any]) -> bytes:
    return b"".join(b"event: " + v["type"].encode() + b"\ndata: " + json.dumps(v).encode() + b"\n\n" for v in values)


def streamed(*values: dict[str, Any]) -> tuple[list[LlmEvent], LlmError | None]:
    decoder = Anthropic().decoder(call(LlmRequest(messages=[HELLO]), stream=True), "text/event-stream")
    return [*decoder.feed(sse(*values)), *decoder.end()], decoder.failure


def whole(body: bytes | dict[str, Any]) -> LlmResponse:
    decoder = Anthropic().decoder(call(LlmRequest(messages=[HELLO])), "application/json")
    events = decoder.feed(body if isinstance(body, bytes) else orjson.dumps(body)) + decoder.end()
    assert decoder.failure is None, decoder.failure.detail
    return events[-1].completed.response


def message(*content: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "model": "claude-x",
        "content": list(content),
        "stop_reason": "end_turn",
    } | fields


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of one block."""
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


START = {"type": "message_start", "message": {"id": "msg_1", "model": "claude-x", "content": [], "stop_reason": None}}
STOP = {"type": "message_stop"}


def stopping(reason: str) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 5}}


# Requests


def test_a_plain_request_has_the_limit_that_the_api_requires() -> None:
    request = LlmRequest(messages=[HELLO])

    assert body_of(request) == {
        "model": "claude-sonnet-4-5",
        "messages": [{"role": "user", "content": "Hello"}],
        "stream": False,
        "max_tokens": 4096,
    }
    assert body_of(request, stream=True)["stream"] is True


def test_a_rich_conversation_is_written_whole() -> None:
    request = LlmRequest(
        messages=[
            Message(role=ROLE_SYSTEM, content="Be kind."),
            Message(
                role=ROLE_USER,
                parts=[
                    Part(text="What is in these?"),
                    Part(image=Media(data=PNG, media_type="image/png")),
                    Part(image=Media(url="https://a.example/b.jpg")),
                    Part(document=Media(data=b"%PDF", media_type="application/pdf", name="Plan")),
                    Part(document=Media(data="Grüße".encode(), media_type="text/markdown")),
                    Part(document=Media(url="file_123")),
                ],
            ),
            Message(
                role=ROLE_ASSISTANT,
                parts=[Part(thinking="Hm", provider_state=b"sig==", origin="anthropic"), Part(text="Let me look.")],
                tool_calls=[
                    ToolCall(id="toolu_1", tool_name="look", arguments_json='{"n": 1.0}'),
                    ToolCall(id="toolu_2", tool_name="now"),
                ],
            ),
            Message(role=ROLE_TOOL, tool_call_id="toolu_1", content="a cat"),
            Message(
                role=ROLE_TOOL,
                tool_call_id="toolu_2",
                is_error=True,
                parts=[Part(text="no clock"), Part(image=Media(data=PNG, media_type="image/png"))],
            ),
            Message(role=ROLE_SYSTEM, content="Be brief."),
            Message(role=ROLE_USER, content="Go on."),
        ],
        tools=[
            ToolDefinition(name="look", description="Looks.", input_schema_json=SCHEMA, strict=True),
            ToolDefinition(name="now"),
        ],
        tool_choice=ToolChoice(mode=ToolChoice.MODE_AUTO, parallel=False),
        max_tokens=500,
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        stop=["END", "\n\n"],
        provider_options_json='{"metadata":{"user_id":"u1"},"temperature":null,"tools":[{"type":"web_search_20250305"}]}',
    )

    assert body_of(request) == {
        "model": "claude-sonnet-4-5",
        "system": "Be kind.\n\nBe brief.",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is in these?"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": b64(PNG)}},
                    {"type": "image", "source": {"type": "url", "url": "https://a.example/b.jpg"}},
                    {
                        "type": "document",
                        "source": {"type": "base64", "media_type": "application/pdf", "data": b64(b"%PDF")},
                        "title": "Plan",
                    },
                    {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Grüße"}},
                    {"type": "document", "source": {"type": "file", "file_id": "file_123"}},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm", "signature": "sig=="},
                    {"type": "text", "text": "Let me look."},
                    {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"n": 1.0}},
                    {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "toolu_1", "content": "a cat"},
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_2",
                        "content": [
                            {"type": "text", "text": "no clock"},
                            {
                                "type": "image",
                                "source": {"type": "base64", "media_type": "image/png", "data": b64(PNG)},
                            },
                        ],
                        "is_error": True,
                    },
                    {"type": "text", "text": "Go on."},
                ],
            },
        ],
        "tools": [
            {"name": "look", "description": "Looks.", "input_schema": orjson.loads(SCHEMA), "strict": True},
            {"name": "now", "description": "", "input_schema": {"type": "object", "properties": {}}},
            {"type": "web_search_20250305"},
        ],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "stream": False,
        "max_tokens": 500,
        "top_p": 0.9,
        "top_k": 40,
        "stop_sequences": ["END", "\n\n"],
        "metadata": {"user_id": "u1"},
    }


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_schemas_and_arguments_go_out_byte_for_byte() -> None:
    arguments = '{ "n": 12345678901234567890123, "x": 1.0, "s": "<&\\u00e9\\"" }'
    request = LlmRequest(
        messages=[
            HELLO,
            Message(role=ROLE_ASSISTANT, tool_calls=[ToolCall(id="a", tool_name="t", arguments_json=arguments)]),
        ],
        tools=[ToolDefinition(name="t", input_schema_json=SCHEMA)],
    )

    body = Anthropic().encode(call(request)).body

    assert b'"input":' + arguments.encode() in body
    assert b'"input_schema":' + SCHEMA.encode() in body


@pytest.mark.parametrize("place", [None, 0, 1, 2, 3, 99])
def test_calls_stand_where_they_stood_and_in_their_order(place: int | None) -> None:
    calls = [ToolCall(id=name, tool_name=name) for name in ("a", "b", "c")]
    for tool_call in calls[:2]:
        if place is not None:
            tool_call.part_index = place
    parts = [Part(text="0"), Part(thinking="unsigned, so left out"), Part(text="2")]

    content = turns(HELLO, Message(role=ROLE_ASSISTANT, parts=parts, tool_calls=calls))[1]["content"]
    order = "".join(block.get("text") or block["name"] for block in content)

    assert order == {0: "ab02c", 1: "0ab2c", 2: "0ab2c"}.get(place if place is not None else -1, "02abc")


def test_plain_text_stands_before_its_calls() -> None:
    calls = [ToolCall(id=name, tool_name=name) for name in ("a", "b")]

    assert turns(HELLO, Message(role=ROLE_ASSISTANT, content="See:", tool_calls=calls))[1] == {
        "role": "assistant",
        "content": [
            {"type": "text", "text": "See:"},
            {"type": "tool_use", "id": "a", "name": "a", "input": {}},
            {"type": "tool_use", "id": "b", "name": "b", "input": {}},
        ],
    }


def test_results_of_one_turn_are_one_turn_of_the_user() -> None:
    asked = Message(role=ROLE_ASSISTANT, tool_calls=[ToolCall(id="a", tool_name="t"), ToolCall(id="b", tool_name="t")])
    results = [Message(role=ROLE_TOOL, tool_call_id=id, content=id) for id in ("a", "b")]
    written = [{"type": "tool_result", "tool_use_id": id, "content": id} for id in ("a", "b")]

    assert turns(HELLO, asked, *results)[2:] == [{"role": "user", "content": written}]
    assert turns(HELLO, asked, *results, Message(role=ROLE_ASSISTANT, content="Done."))[2:] == [
        {"role": "user", "content": written},
        {"role": "assistant", "content": "Done."},
    ]
    assert turns(HELLO, asked, *results, Message(role=ROLE_USER))[2:] == [{"role": "user", "content": written}]


def test_other_providers_ids_are_made_fit_on_both_sides() -> None:
    said = turns(
        HELLO,
        Message(role=ROLE_ASSISTANT, tool_calls=[ToolCall(id="functions.add:0", tool_name="add")]),
        Message(role=ROLE_TOOL, tool_call_id="functions.add:0", content="3"),
    )

    assert said[1]["content"][0]["id"] == said[2]["content"][0]["tool_use_id"] == "functions_add_0"


@pytest.mark.parametrize(
    ("part", "written"),
    [
        (Part(text=""), []),
        (Part(refusal="No."), [{"type": "text", "text": "No."}]),
        (Part(thinking="Hm"), []),
        (Part(thinking="Hm", provider_state=b"s", origin="gemini"), []),
        (Part(thinking="", provider_state=b"s", origin="anthropic"), [{"type": "thinking", "thinking": "", "signature": "s"}]),
        (Part(thinking="Hm", provider_state=b"s"), [{"type": "thinking", "thinking": "Hm", "signature": "s"}]),
        (Part(redacted_thinking="xyz", origin="anthropic"), [{"type": "redacted_thinking", "data": "xyz"}]),
        (Part(redacted_thinking="xyz", origin="openai"), []),
        (Part(opaque=Opaque(type="x", block_json='{"type":"x","n":1.0}'), origin="anthropic"), [{"type": "x", "n": 1.0}]),
        (Part(opaque=Opaque(type="x", block_json='{"type":"x"}'), origin="gemini"), []),
        (Part(citation=Citation(citation_json='{"a":1}')), []),
    ],
)  # fmt: skip
def test_what_another_wrote_or_nobody_signed_is_left_out(part: Part, written: list[Any]) -> None:
    assert blocks(part) == written


def test_citations_go_back_on_their_text() -> None:
    def source(origin: str, json: str = '{"type":"char_location"}') -> Part:
        return Part(citation=Citation(url="u", citation_json=json), origin=origin)

    assert blocks(
        Part(text="a"), source("anthropic"), source(""), source("openai"), source("", ""), Part(text="b")
    ) == [
        {"type": "text", "text": "a", "citations": [{"type": "char_location"}, {"type": "char_location"}]},
        {"type": "text", "text": "b"},
    ]


def test_what_the_api_cannot_take_is_named() -> None:
    sound = Part(audio=Media(data=b"x", media_type="audio/wav"))
    json_object = ResponseFormat(json_object=JsonObjectFormat())
    signed = Part(thinking="Hm", provider_state=b"\xff")
    called = ToolCall(id="a", tool_name="t", provider_state=b"[]")

    assert refused(LlmRequest(messages=[Message(role=ROLE_USER, parts=[Part(text="a"), sound])])) == (
        "messages[0].parts[1]",
        "messages[0].parts[1]: Anthropic takes no audio.",
    )
    assert refused(LlmRequest(messages=[HELLO], response_format=json_object))[0] == "response_format.json_object"
    assert refused(LlmRequest(messages=[Message(role=ROLE_ASSISTANT, parts=[signed])]))[0] == (
        "messages[0].parts[0].provider_state"
    )
    assert refused(LlmRequest(messages=[Message(role=ROLE_ASSISTANT, tool_calls=[called])]))[0] == (
        "messages[0].tool_calls[0].provider_state"
    )


TOOLS = [ToolDefinition(name="t")]


@pytest.mark.parametrize(
    ("choice", "written"),
    [
        (ToolChoice(), None),
        (ToolChoice(mode=ToolChoice.MODE_AUTO), {"type": "auto"}),
        (ToolChoice(mode=ToolChoice.MODE_NONE, parallel=True), {"type": "none"}),
        (ToolChoice(mode=ToolChoice.MODE_REQUIRED), {"type": "any"}),
        (ToolChoice(mode=ToolChoice.MODE_TOOL, tool_name="t"), {"type": "tool", "name": "t"}),
        (ToolChoice(parallel=True), {"type": "auto", "disable_parallel_tool_use": False}),
        (ToolChoice(mode=ToolChoice.MODE_REQUIRED, parallel=False), {"type": "any", "disable_parallel_tool_use": True}),
    ],
)
def test_the_choice_of_tools_is_said_in_the_api_s_words(choice: ToolChoice, written: dict[str, Any] | None) -> None:
    body = body_of(LlmRequest(messages=[HELLO], tools=TOOLS, tool_choice=choice))

    assert body.get("tool_choice") == written


def test_no_choice_is_said_where_there_are_no_tools() -> None:
    choice = ToolChoice(mode=ToolChoice.MODE_AUTO)

    assert "tool_choice" not in body_of(LlmRequest(messages=[HELLO], tool_choice=choice))
    assert body_of(LlmRequest(messages=[HELLO], tool_choice=choice, provider_options_json='{"tools":[{"type":"x"}]}'))[
        "tool_choice"
    ] == {"type": "auto"}


def enabled(budget: int, max_tokens: int) -> dict[str, Any]:
    return {"thinking": {"type": "enabled", "budget_tokens": budget}, "max_tokens": max_tokens}


def adaptive(effort: str, max_tokens: int, **display: str) -> dict[str, Any]:
    thinking = {"type": "adaptive", **display}
    return {"thinking": thinking, "output_config": {"effort": effort}, "max_tokens": max_tokens}


SHOWN = {"display": "summarized"}
OFF = {"thinking": {"type": "disabled"}, "max_tokens": 4096}


@pytest.mark.parametrize(
    ("model", "reasoning", "written"),
    [
        (OLD, Reasoning(), {"max_tokens": 4096}),
        (OLD, Reasoning(effort="none"), OFF),
        (OLD, Reasoning(budget_tokens=0), OFF),
        (OLD, Reasoning(effort="low"), enabled(2048, 4096 + 2048)),
        (OLD, Reasoning(effort="high"), enabled(24576, 4096 + 24576)),
        (OLD, Reasoning(budget_tokens=5000), enabled(5000, 4096 + 5000)),
        (OLD, Reasoning(budget_tokens=7), enabled(1024, 4096 + 1024)),
        ("claude-3-7-sonnet-20250219", Reasoning(effort="low"), enabled(2048, 4096 + 2048)),
        ("claude-sonnet-4-20250514", Reasoning(effort="low"), enabled(2048, 4096 + 2048)),
        ("claude-opus-4-5@20251101", Reasoning(effort="low"), enabled(2048, 4096 + 2048)),
        ("glm-4.7", Reasoning(effort="low"), enabled(2048, 4096 + 2048)),
        ("claude-opus-4-6", Reasoning(effort="low"), adaptive("low", 4096 + 2048)),
        ("claude-opus-4-6", Reasoning(budget_tokens=5000), enabled(5000, 4096 + 5000)),
        ("claude-opus-4-6", Reasoning(effort="none"), OFF),
        ("claude-opus-4-7", Reasoning(effort="none"), {"max_tokens": 4096}),
        ("claude-opus-4-7", Reasoning(effort="xhigh"), adaptive("xhigh", 4096 + 32768, **SHOWN)),
        (NEW, Reasoning(effort="minimal"), adaptive("low", 4096 + 2048, **SHOWN)),
        (NEW, Reasoning(effort="medium"), adaptive("medium", 4096 + 8192, **SHOWN)),
        (NEW, Reasoning(effort="brand-new"), adaptive("brand-new", 4096 + 24576, **SHOWN)),
        (NEW, Reasoning(budget_tokens=4096), adaptive("low", 4096 + 2048, **SHOWN)),
        (NEW, Reasoning(budget_tokens=10_000), adaptive("medium", 4096 + 8192, **SHOWN)),
        (NEW, Reasoning(budget_tokens=100_000), adaptive("high", 4096 + 24576, **SHOWN)),
        (NEW, Reasoning(effort="none"), OFF),
        ("claude-fable-5-1", Reasoning(effort="low"), adaptive("low", 4096 + 2048, **SHOWN)),
        ("claude-mythos-preview", Reasoning(effort="low"), adaptive("low", 4096 + 2048, **SHOWN)),
    ],
)
def test_thinking_is_asked_for_as_the_model_takes_it(model: str, reasoning: Reasoning, written: dict[str, Any]) -> None:
    plain = body_of(LlmRequest(messages=[HELLO]), model=model)
    body = body_of(LlmRequest(messages=[HELLO], reasoning=reasoning), model=model)

    assert body == plain | written


def test_the_caller_s_limit_on_tokens_is_left_alone() -> None:
    body = body_of(LlmRequest(messages=[HELLO], max_tokens=100, reasoning=Reasoning(effort="high")))

    assert body["max_tokens"] == 100


def test_an_effort_that_an_older_model_does_not_know_is_named() -> None:
    assert refused(LlmRequest(messages=[HELLO], reasoning=Reasoning(effort="brand-new"))) == (
        "reasoning.effort",
        "reasoning.effort: 'brand-new' is unknown here; use one of none, minimal, low, medium, high, xhigh, max.",
    )


def test_structured_output_stands_beside_the_effort() -> None:
    schema = ResponseFormat(json_schema=JsonSchemaFormat(name="x", schema_json=SCHEMA))
    written = {"type": "json_schema", "schema": orjson.loads(SCHEMA)}

    assert body_of(LlmRequest(messages=[HELLO], response_format=schema))["output_config"] == {"format": written}
    assert body_of(LlmRequest(messages=[HELLO], response_format=schema, reasoning=Reasoning(effort="low")), model=NEW)[
        "output_config"
    ] == {"effort": "low", "format": written}
    assert "output_config" not in body_of(
        LlmRequest(messages=[HELLO], response_format=ResponseFormat(text=TextFormat()))
    )


def test_counting_takes_the_prompt_alone() -> None:
    request = LlmRequest(
        messages=[Message(role=ROLE_SYSTEM, content="Be kind."), HELLO],
        tools=TOOLS,
        tool_choice=ToolChoice(mode=ToolChoice.MODE_AUTO),
        reasoning=Reasoning(budget_tokens=2000),
        max_tokens=9,
        temperature=0.5,
        stop=["x"],
        provider_options_json='{"metadata":{"user_id":"u"},"mcp_servers":[]}',
    )

    http = Anthropic().encode_count(call(request))

    assert http is not None
    assert (http.method, http.path) == ("POST", "/v1/messages/count_tokens")
    assert orjson.loads(http.body) == {
        "model": "claude-sonnet-4-5",
        "messages": [{"role": "user", "content": "Hello"}],
        "system": "Be kind.",
        "tools": [{"name": "t", "description": "", "input_schema": {"type": "object", "properties": {}}}],
        "tool_choice": {"type": "auto"},
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "mcp_servers": [],
    }


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"input_tokens":"7"}', b'{"input_tokens":-1}', b'{"input_tokens":1e30}', b"{}"]
)
def test_a_count_that_is_none_is_a_bad_response(body: bytes) -> None:
    assert Anthropic().decode_count(b'{"input_tokens":7}') == 7
    with pytest.raises(LlmError) as caught:
        Anthropic().decode_count(body)
    assert caught.value.reason == PROVIDER_BAD_RESPONSE


def test_models_are_listed_with_their_names() -> None:
    http = Anthropic().encode_models()
    body = b'{"data":[{"type":"model","id":"claude-a","display_name":"Claude A"},{"id":"b","display_name":null}]}'

    assert http is not None
    assert (http.method, http.path, http.body) == ("GET", "/v1/models?limit=1000", b"")
    assert Anthropic().decode_models(body) == [Model(id="claude-a", display_name="Claude A"), Model(id="b")]


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"data":{}}', b'{"data":[{}]}', b'{"data":[5]}', b'{"data":[{"id":5}]}']
)
def test_a_list_of_models_that_is_none_is_a_bad_response(body: bytes) -> None:
    with pytest.raises(LlmError) as caught:
        Anthropic().decode_models(body)
    assert caught.value.reason == PROVIDER_BAD_RESPONSE


# Answers


def test_a_stream_is_read_block_by_block() -> None:
    events, failure = streamed(
        START,
        *block(0, {"type": "thinking", "thinking": "", "signature": ""}, {"type": "thinking_delta", "thinking": "Hm"},
               {"type": "signature_delta", "signature": "sig=="}),
        {"type": "ping"},
        *block(1, {"type": "redacted_thinking", "data": "xyz"}),
        *block(2, {"type": "text", "text": ""}, {"type": "text_delta", "text": "See"},
               {"type": "citations_delta", "citation": {"type": "web", "url": "u", "title": "T", "cited_text": "c"}}),
        *block(3, {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {}},
               {"type": "input_json_delta", "partial_json": ""}, {"type": "input_json_delta", "partial_json": '{"n": 1'},
               {"type": "input_json_delta", "partial_json": ".0}"}),
        *block(4, {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}, "caller": {"type": "direct"}}),
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}},
        {"type": "brand_new", "x": 1},
        STOP,
    )  # fmt: skip
    response = events[-1].completed.response
    thought = Part(thinking="Hm", provider_state=b"sig==", origin="anthropic")
    source = Citation(
        url="u", title="T", cited_text="c", citation_json='{"type":"web","url":"u","title":"T","cited_text":"c"}'
    )
    calls = [
        ToolCall(id="toolu_1", tool_name="add", arguments_json='{"n": 1.0}'),
        ToolCall(id="toolu_2", tool_name="now", arguments_json="{}"),
    ]

    assert failure is None
    assert [event.WhichOneof("event") for event in events] == [
        "started", "thinking_delta", "part", "part", "text_delta", "part",
        "tool_call_delta", "tool_call_delta", "tool_call_delta", "tool_call_delta", "tool_call_delta", "completed",
    ]  # fmt: skip
    assert response == LlmResponse(
        message=Message(
            role=ROLE_ASSISTANT,
            content="See",
            parts=[
                thought,
                Part(redacted_thinking="xyz", origin="anthropic"),
                Part(text="See"),
                Part(citation=source, origin="anthropic"),
            ],
            tool_calls=calls,
        ),
        tool_calls=calls,
        usage=Usage(output_tokens=9, provider_usage_json='{"output_tokens":9}'),
        finish_reason="tool_use",
        stop_reason=STOP_REASON_TOOL_CALLS,
        id="msg_1",
        provider="anthropic",
        model="claude-x",
    )


def test_a_whole_message_is_read_as_its_stream_would_be() -> None:
    content: list[dict[str, Any]] = [
        {"type": "thinking", "thinking": "Hm", "signature": "sig=="},
        {"type": "text", "text": "See", "citations": [{"type": "web", "url": "u"}]},
        {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"n": 1.0}},
    ]
    events, _ = streamed(
        START,
        *block(0, content[0] | {"thinking": "", "signature": ""}, {"type": "thinking_delta", "thinking": "Hm"},
               {"type": "signature_delta", "signature": "sig=="}),
        *block(1, {"type": "text", "text": ""}, {"type": "text_delta", "text": "See"},
               {"type": "citations_delta", "citation": {"type": "web", "url": "u"}}),
        *block(2, content[2] | {"input": {}}, {"type": "input_json_delta", "partial_json": '{"n":1.0}'}),
        stopping("tool_use"),
        STOP,
    )  # fmt: skip

    assert whole(message(*content, stop_reason="tool_use", usage={"output_tokens": 5})) == events[-1].completed.response


def test_long_numbers_in_a_whole_message_keep_their_digits() -> None:
    body = orjson.dumps(message({"type": "tool_use", "id": "a", "name": "t", "input": {"n": 7}}))
    body = body.replace(b":7", b":12345678901234567890123")

    assert whole(body).tool_calls[0].arguments_json == '{"n":12345678901234567890123}'


def test_blocks_that_nobody_knows_are_kept_word_for_word() -> None:
    result = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [{"encrypted_content": "xyz=="}]}
    events, failure = streamed(
        START,
        *block(0, {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}},
               {"type": "input_json_delta", "partial_json": '{"query":'}, {"type": "input_json_delta", "partial_json": ' "x"}'}),
        *block(1, result),
        *block(2, {"type": "compaction", "content": None}, {"type": "compaction_delta", "content": "So"},
               {"type": "compaction_delta", "content": " far"}),
        *block(3, {"type": "brand_new", "text": "a"}, {"type": "text_delta", "text": "b"}),
        stopping("end_turn"),
        STOP,
    )  # fmt: skip
    parts = events[-1].completed.response.message.parts

    assert failure is None
    assert [(part.opaque.type, part.opaque.block_json, part.origin) for part in parts] == [
        (
            "server_tool_use",
            '{"type":"server_tool_use","id":"s1","name":"web_search","input":{"query": "x"}}',
            "anthropic",
        ),
        ("web_search_tool_result", orjson.dumps(result).decode(), "anthropic"),
        ("compaction", '{"type":"compaction","content":"So far"}', "anthropic"),
        ("brand_new", '{"type":"brand_new","text":"ab"}', "anthropic"),
    ]


def test_the_input_of_a_server_s_tool_that_was_cut_short_stays_json() -> None:
    events, _ = streamed(
        START,
        *block(0, {"type": "server_tool_use", "id": "s1"}, {"type": "input_json_delta", "partial_json": '{"q'}),
        stopping("max_tokens"),
        STOP,
    )

    assert orjson.loads(events[-1].completed.response.message.parts[0].opaque.block_json) == {
        "type": "server_tool_use",
        "id": "s1",
        "input": '{"q',
    }


def test_what_a_call_has_beside_the_usual_comes_back_with_it() -> None:
    caller = {"type": "code_execution_20260120", "tool_id": "srvtoolu_1"}
    block = {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"n": 1}, "caller": caller}
    response = whole(message(block, stop_reason="tool_use"))

    assert turns(HELLO, response.message)[1]["content"] == [block]
    assert (
        response.tool_calls[0].provider_state == b'{"caller":{"type":"code_execution_20260120","tool_id":"srvtoolu_1"}}'
    )


def test_usage_tells_what_is_kept_for_an_hour() -> None:
    usage = {
        "input_tokens": 17,
        "cache_creation_input_tokens": 2056,
        "cache_creation": {"ephemeral_5m_input_tokens": 56, "ephemeral_1h_input_tokens": 2000},
    }
    result = whole(message({"type": "text", "text": "Hi"}, usage=usage)).usage

    assert (result.input_tokens, result.cache_write_tokens, result.cache_write_1h_tokens) == (2073, 2056, 2000)


def test_usage_is_laid_over_key_by_key() -> None:
    usage = {"input_tokens": 3, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 100, "output_tokens": 1}
    start = {"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": usage}}
    delta = {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn"},
        "usage": {"output_tokens": 50, "input_tokens": None, "output_tokens_details": {"thinking_tokens": 40}},
    }
    events, _ = streamed(start, *block(0, {"type": "text", "text": "Hi"}), delta, STOP)
    result = events[-1].completed.response.usage

    assert (result.input_tokens, result.output_tokens) == (123, 50)
    assert (result.cache_read_tokens, result.cache_write_tokens, result.reasoning_tokens) == (20, 100, 40)
    assert orjson.loads(result.provider_usage_json) == usage | {
        "output_tokens": 50,
        "output_tokens_details": {"thinking_tokens": 40},
    }


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("end_turn", STOP_REASON_STOP),
        ("stop_sequence", STOP_REASON_STOP),
        ("max_tokens", STOP_REASON_LENGTH),
        ("model_context_window_exceeded", STOP_REASON_LENGTH),
        ("tool_use", STOP_REASON_TOOL_CALLS),
        ("refusal", STOP_REASON_REFUSAL),
        ("pause_turn", STOP_REASON_PAUSED),
        ("content_filter", STOP_REASON_CONTENT_FILTER),
        ("brand_new", STOP_REASON_UNSPECIFIED),
    ],
)
def test_the_reason_to_stop_is_kept_and_understood(word: str, reason: StopReason.ValueType) -> None:
    events, _ = streamed(START, *block(0, {"type": "text", "text": "Hi"}), stopping(word), STOP)
    response = events[-1].completed.response

    assert (response.finish_reason, response.stop_reason) == (word, reason)


@pytest.mark.parametrize(
    ("values", "judged"),
    [
        ([START, *block(0, {"type": "text", "text": "Hi"}), stopping("end_turn")], "ended before it was complete"),
        ([START, *block(0, {"type": "text", "text": "Hi"})], "ended before it was complete"),
        ([STOP], "ended before it was complete"),
        ([START, {"type": "content_block_delta", "index": 0, "delta": 5}], "is malformed"),
        ([START, {"type": "content_block_start", "index": 0}], "is malformed"),
        ([START, *block(0, {"type": "tool_use", "id": "a", "name": 5, "input": {}})], "is malformed"),
    ],
)
def test_a_stream_that_did_not_end_is_no_answer(values: list[dict[str, Any]], judged: str) -> None:
    events, failure = streamed(*values)

    assert failure is not None
    assert (failure.reason, failure.message) == (PROVIDER_BAD_RESPONSE, f"The provider's answer {judged}.")
    assert not any(event.HasField("completed") for event in events)


def test_an_answer_without_content_is_one() -> None:
    assert whole(message()) == LlmResponse(
        message=Message(role=ROLE_ASSISTANT),
        finish_reason="end_turn",
        stop_reason=STOP_REASON_STOP,
        id="msg_1",
        provider="anthropic",
        model="claude-x",
    )


@pytest.mark.parametrize("media_type", ["text/event-stream", "", "text/plain", "application/octet-stream"])
def test_a_stream_is_read_as_one_whatever_its_type_says(media_type: str) -> None:
    decoder = Anthropic().decoder(call(LlmRequest(messages=[HELLO]), stream=True), media_type)
    events = decoder.feed(sse(START, *block(0, {"type": "text", "text": "Hi"}), stopping("end_turn"), STOP))

    assert events[-1].completed.response.message.content == "Hi"


def test_a_host_that_does_not_stream_is_understood() -> None:
    decoder = Anthropic().decoder(call(LlmRequest(messages=[HELLO]), stream=True), "application/json")
    decoder.feed(orjson.dumps(message({"type": "text", "text": "Hi"})))

    assert decoder.end()[-1].completed.response.message.content == "Hi"


# What was recorded goes back as it came.


def _recorded() -> list[Case]:
    cases = [case for case in fixtures() if case.api in ("messages", "anthropic_raw_predict")]
    answered = [case for case in cases if case.expect and case.expect["outcome"] == "message"]
    return [case for case in answered if case.id not in _CUT_SHORT]


_CUT_SHORT = {"anthropic-msg-incomplete-partial-json-response-0-40d58d"}
"""The limit on tokens fell within a call's arguments, which are no JSON and so cannot go back."""


def _original_blocks(case: Case) -> list[dict[str, Any]]:
    """The blocks that the provider wrote, put together here from a stream's deltas."""
    if not case.stream:
        content: list[dict[str, Any]] = json.loads(case.body)["content"]
        return content
    written: dict[int, dict[str, Any]] = {}
    for line in case.body.decode().splitlines():
        value = json.loads(line[5:]) if line.startswith("data:") else {}
        if value.get("type") == "content_block_start":
            written[value["index"]] = value["content_block"]
        elif value.get("type") == "content_block_delta":
            _grow(written[value["index"]], value["delta"])
    for block in written.values():
        if fragments := block.pop("fragments", ""):
            block["input"] = json.loads(fragments)
    return [written[index] for index in sorted(written)]


def _grow(block: dict[str, Any], delta: dict[str, Any]) -> None:
    match delta:
        case {"partial_json": fragment}:
            block["fragments"] = block.get("fragments", "") + fragment
        case {"citation": citation}:
            block["citations"] = (block.get("citations") or []) + [citation]
        case _:
            for key in delta.keys() - {"type"}:
                block[key] = (block.get(key) or "") + delta[key]


def _usual(block: dict[str, Any]) -> dict[str, Any]:
    """Leaves out what says nothing: nulls, no citations, and the usual caller."""
    nothing: list[Any] = [None, [], {"type": "direct"}]
    return {key: value for key, value in block.items() if key in ("input", "content") or value not in nothing}


@pytest.mark.parametrize("case", _recorded(), ids=lambda case: case.id)
def test_a_recorded_answer_goes_back_block_for_block(case: Case) -> None:
    reading = read(case, [case.body])
    assert reading.response is not None
    said = turns(HELLO, reading.response.message)[1:]
    content = said[0]["content"] if said else []
    sent = [{"type": "text", "text": content}] if isinstance(content, str) else content

    expected = [_usual(block) for block in _original_blocks(case) if block.get("text") != ""]
    assert [_usual(block) for block in sent] == expected


# Failures


def error(status: int, kind: str = "", words: str = "", headers: dict[str, str] | None = None, **more: Any) -> LlmError:
    body = {"type": "error", "error": {"type": kind, "message": words, **more}}
    return Anthropic().error(status, headers or {}, orjson.dumps(body))


PLAN = {"anthropic-ratelimit-unified-status": "rejected"}


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (error(400, "invalid_request_error", "messages: bad"), INVALID_REQUEST),
        (error(400, "invalid_request_error", "prompt is too long: 5 tokens > 4 maximum"), CONTEXT_TOO_LONG),
        (error(400, "invalid_request_error", "Your credit balance is too low"), PROVIDER_QUOTA_EXCEEDED),
        (
            error(400, "invalid_request_error", "You have reached your specified API usage limits."),
            PROVIDER_QUOTA_EXCEEDED,
        ),
        (error(400, "invalid_request_error", "Input tag 'usage limit, credit balance' found"), INVALID_REQUEST),
        (error(400, "invalid_request_error", "bad", PLAN), INVALID_REQUEST),
        (error(400, "invalid_request_error", "Output blocked by content filtering policy"), CONTENT_BLOCKED),
        (error(401, "authentication_error", "invalid x-api-key"), PROVIDER_AUTH_FAILED),
        (error(402, "billing_error", "pay"), PROVIDER_QUOTA_EXCEEDED),
        (error(403, "permission_error", "no"), PROVIDER_AUTH_FAILED),
        (error(404, "not_found_error", "model: claude-9"), MODEL_NOT_FOUND),
        (error(413, "request_too_large", "big"), INVALID_REQUEST),
        (error(429, "rate_limit_error", "slow"), PROVIDER_RATE_LIMITED),
        (error(429, "rate_limit_error", "slow", PLAN), PROVIDER_QUOTA_EXCEEDED),
        (error(429, "rate_limit_error", "Your 5-hour usage limit is reached"), PROVIDER_QUOTA_EXCEEDED),
        (error(429, "rate_limit_error", "no balance", code="1113"), PROVIDER_QUOTA_EXCEEDED),
        (error(429, "rate_limit_error", "used up", code="1321"), PROVIDER_QUOTA_EXCEEDED),
        (
            error(429, "rate_limit_error", "slow", {"anthropic-ratelimit-unified-status": "allowed"}),
            PROVIDER_RATE_LIMITED,
        ),
        (error(500, "api_error", "oops"), PROVIDER_UNAVAILABLE),
        (error(504, "timeout_error", "late"), PROVIDER_TIMEOUT),
        (error(529, "overloaded_error", "Overloaded"), PROVIDER_UNAVAILABLE),
        (error(503, "brand_new"), PROVIDER_UNAVAILABLE),
        (error(418), INVALID_REQUEST),
        (error(307), PROVIDER_BAD_RESPONSE),
        (Anthropic().error(502, {}, b"<html>Bad Gateway</html>"), PROVIDER_UNAVAILABLE),
        (Anthropic().error(429, {}, b""), PROVIDER_RATE_LIMITED),
        (Anthropic().error(400, {}, b'{"error":"text"}'), INVALID_REQUEST),
        (Anthropic().error(400, {}, b"\xff\xfe"), INVALID_REQUEST),
    ],
)
def test_a_failure_is_understood_by_type_status_and_words(failure: LlmError, reason: ErrorReason.ValueType) -> None:
    assert failure.reason == reason


def test_a_failure_tells_status_and_type_and_how_long_to_wait() -> None:
    failure = error(429, "rate_limit_error", "Number of requests has exceeded", {"retry-after": "7"})

    assert failure.message == "The provider's rate limit is reached; try again later."
    assert failure.metadata == {"provider_status": "429", "provider_code": "rate_limit_error"}
    assert (failure.retry_after, failure.detail) == (7, "Number of requests has exceeded")


def test_a_used_up_plan_waits_for_its_window_and_a_burst_for_its_limit() -> None:
    later = datetime.now(UTC) + timedelta(hours=2)
    plan = PLAN | {"anthropic-ratelimit-unified-reset": str(int(later.timestamp()))}
    burst = {"anthropic-ratelimit-tokens-remaining": "0", "anthropic-ratelimit-tokens-reset": later.isoformat()}

    assert error(429, "rate_limit_error", "slow", plan).retry_after == pytest.approx(7200, abs=10)
    assert error(429, "rate_limit_error", "slow", burst).retry_after == pytest.approx(7200, abs=10)
    assert error(429, "rate_limit_error", "5-hour limit", burst).retry_after is None


def test_an_account_is_refused_by_status_or_type_and_not_by_words() -> None:
    assert not error(401, "authentication_error", "invalid x-api-key").by_words
    assert not error(403, "permission_error", "no").by_words
    assert error(400, "invalid_request_error", "401 unauthorized, invalid token").reason == INVALID_REQUEST


def test_a_wait_is_read_only_where_waiting_helps() -> None:
    assert error(529, "overloaded_error", headers={"retry-after": "3"}).retry_after == 3
    assert error(401, "authentication_error", headers={"retry-after": "3"}).retry_after is None


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("overloaded_error", PROVIDER_UNAVAILABLE),
        ("rate_limit_error", PROVIDER_RATE_LIMITED),
        ("invalid_request_error", INVALID_REQUEST),
        ("not_found_error", MODEL_NOT_FOUND),
        ("brand_new", PROVIDER_UNAVAILABLE),
        ("", PROVIDER_UNAVAILABLE),
    ],
)
def test_an_error_within_a_stream_ends_it_and_keeps_what_came(kind: str, reason: ErrorReason.ValueType) -> None:
    text = block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Hel"})[:2]
    events, failure = streamed(START, *text, {"type": "error", "error": {"type": kind, "message": "No."}}, STOP)

    assert failure is not None
    assert failure.reason == reason
    assert failure.partial is not None
    assert failure.partial.message.content == "Hel"
    assert [event.WhichOneof("event") for event in events] == ["started", "text_delta"]


def test_an_error_that_came_with_status_200_is_one() -> None:
    decoder = Anthropic().decoder(call(LlmRequest(messages=[HELLO])), "application/json")
    decoder.feed(b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}')

    assert decoder.end() == []
    assert decoder.failure is not None
    assert decoder.failure.reason == PROVIDER_UNAVAILABLE
