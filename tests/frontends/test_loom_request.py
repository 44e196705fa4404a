from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from loom_grpc.core.request import check
from loom_grpc.frontends.body import HttpError
from loom_grpc.frontends.loom_request import read_request
from loom_grpc.v1.llm_service_pb2 import LlmRequest


def read(**fields: Any) -> LlmRequest:
    body = {"model": "default", "messages": [{"role": "user", "content": "hi"}]} | fields
    return read_request(orjson.dumps(body), "mock")


def expected(text: str) -> LlmRequest:
    request: LlmRequest = text_format.Parse(text, LlmRequest())
    return request


PLAIN = 'provider: "mock" model: "default" messages { role: ROLE_USER content: "hi" }'


def test_a_whole_conversation_is_read() -> None:
    body = b"""{"model": "gpt-4o", "unknown": 1, "max_tokens": 512, "temperature": 0.2,
    "messages": [
      {"role": "system", "content": "Be brief."},
      {"role": "user", "content": "Weather in Oslo?", "name": null},
      {"role": "assistant", "content": "", "tool_calls": [
        {"id": "toolu_1", "tool_name": "weather", "arguments_json": {"city": "Oslo", "id": 12345678901234567890123}}]},
      {"role": "tool", "content": "{\\"temp_c\\":3}", "tool_call_id": "toolu_1", "name": "weather"}],
    "tools": [{"name": "weather", "description": "Look up weather",
      "input_schema": {"type": "object", "required": ["city"]}}]}"""

    assert read_request(body, "openai") == expected(
        """
        provider: "openai" model: "gpt-4o" max_tokens: 512 temperature: 0.2
        messages { role: ROLE_SYSTEM content: "Be brief." }
        messages { role: ROLE_USER content: "Weather in Oslo?" }
        messages { role: ROLE_ASSISTANT tool_calls { id: "toolu_1" tool_name: "weather"
            arguments_json: "{\\"city\\":\\"Oslo\\",\\"id\\":12345678901234567890123}" } }
        messages { role: ROLE_TOOL content: "{\\"temp_c\\":3}" tool_call_id: "toolu_1" name: "weather" }
        tools { name: "weather" description: "Look up weather"
            input_schema_json: "{\\"type\\":\\"object\\",\\"required\\":[\\"city\\"]}" }
        """
    )


def test_missing_tools_and_null_options_are_nothing() -> None:
    request = read(tools=None, max_tokens=None, temperature=None)

    assert request == expected(PLAIN)
    assert not request.HasField("max_tokens")


def test_a_system_text_becomes_the_first_message() -> None:
    assert (
        read(system="Be brief.").messages[0]
        == expected('messages { role: ROLE_SYSTEM content: "Be brief." }').messages[0]
    )


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"top_p": 1, "top_k": 4, "seed": -(2**63)}, "top_p: 1 top_k: 4 seed: -9223372036854775808"),
        ({"stop": ["a", "b"]}, 'stop: "a" stop: "b"'),
        ({"session_id": "s", "labels": {"team": "x"}}, 'session_id: "s" labels { key: "team" value: "x" }'),
        ({"provider_options": {"n": 1}}, 'provider_options_json: "{\\"n\\":1}"'),
        ({"tool_choice": {"mode": "auto"}}, "tool_choice { mode: MODE_AUTO }"),
        ({"tool_choice": {"mode": "none"}}, "tool_choice { mode: MODE_NONE }"),
        (
            {"tool_choice": {"mode": "required", "parallel": False}},
            "tool_choice { mode: MODE_REQUIRED parallel: false }",
        ),
        ({"tool_choice": {"mode": "tool", "tool_name": "f"}}, 'tool_choice { mode: MODE_TOOL tool_name: "f" }'),
        ({"response_format": {"text": {}}}, "response_format { text {} }"),
        ({"response_format": {"json_object": {}}}, "response_format { json_object {} }"),
        (
            {"response_format": {"json_schema": {"name": "n", "schema_json": {"type": "object"}, "strict": True}}},
            'response_format { json_schema { name: "n" schema_json: "{\\"type\\":\\"object\\"}" strict: true } }',
        ),
        ({"reasoning": {"effort": "low"}}, 'reasoning { effort: "low" }'),
        ({"reasoning": {"budget_tokens": 0}}, "reasoning { budget_tokens: 0 }"),
    ],
)
def test_what_loom_does_not_know_is_read(fields: dict[str, Any], text: str) -> None:
    assert read(**fields) == expected(f"{PLAIN} {text}")


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ({"text": ""}, 'text: ""'),
        (
            {"thinking": "hm", "provider_state": "/w==", "origin": "anthropic"},
            'thinking: "hm" provider_state: "\\377" origin: "anthropic"',
        ),
        ({"redacted_thinking": "x"}, 'redacted_thinking: "x"'),
        ({"refusal": "no"}, 'refusal: "no"'),
        (
            {"image": {"data": "AAE=", "media_type": "image/png"}},
            'image { data: "\\000\\001" media_type: "image/png" }',
        ),
        ({"document": {"url": "https://a/b.pdf", "name": "b"}}, 'document { url: "https://a/b.pdf" name: "b" }'),
        ({"audio": {"url": "u"}}, 'audio { url: "u" }'),
        ({"opaque": {"type": "t", "block_json": {"a": 1}}}, 'opaque { type: "t" block_json: "{\\"a\\":1}" }'),
        (
            {"citation": {"url": "u", "title": "t", "cited_text": "c", "citation_json": {"a": 1}}},
            'citation { url: "u" title: "t" cited_text: "c" citation_json: "{\\"a\\":1}" }',
        ),
    ],
)
def test_parts_are_read(part: dict[str, Any], text: str) -> None:
    request = read(messages=[{"role": "user", "parts": [part]}])

    assert request.messages[0] == expected(f"messages {{ role: ROLE_USER parts {{ {text} }} }}").messages[0]


def test_a_tool_result_may_be_an_error_and_a_call_may_carry_state() -> None:
    call = {
        "id": "c",
        "tool_name": "f",
        "arguments_json": None,
        "provider_state": "/w==",
        "origin": "gemini",
        "part_index": 1,
    }
    messages = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "x", "tool_call_id": "c", "is_error": True},
    ]

    assert (
        read(messages=messages).messages
        == expected(
            """
        messages { role: ROLE_ASSISTANT tool_calls {
            id: "c" tool_name: "f" provider_state: "\\377" origin: "gemini" part_index: 1 } }
        messages { role: ROLE_TOOL content: "x" tool_call_id: "c" is_error: true }
        """
        ).messages
    )


def test_arguments_that_are_a_string_are_taken_as_json_text() -> None:
    call = {"id": "c", "tool_name": "f", "arguments_json": '{"a": 1}'}

    request = read(messages=[{"role": "assistant", "tool_calls": [call]}])

    assert request.messages[0].tool_calls[0].arguments_json == '{"a": 1}'


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": None}, "model: is missing."),
        ({"model": 4}, "model: must be a string."),
        ({"messages": None}, "messages: is missing."),
        ({"messages": {}}, "messages: must be an array."),
        ({"messages": ["hi"]}, "messages[0]: must be an object."),
        ({"messages": [{"content": "hi"}]}, "messages[0].role: is missing."),
        (
            {"messages": [{"role": "USER", "content": "hi"}]},
            "messages[0].role: must be system, user, assistant or tool.",
        ),
        ({"messages": [{"role": "user"}]}, "messages[0].content: is missing."),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content: must be a string."),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "c", "tool_name": "f", "arguments_json": [1]}]}]},
            "messages[0].tool_calls[0].arguments_json: must be an object.",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "c"}]}]},
            "messages[0].tool_calls[0].tool_name: is missing.",
        ),
        (
            {"messages": [{"role": "user", "parts": [{"text": "a"}, {"image": {"data": "!"}}]}]},
            "messages[0].parts[1].image.data: must be base64 with padding.",
        ),
        ({"tools": [{"description": "d"}]}, "tools[0].name: is missing."),
        ({"tools": [{"name": "f", "input_schema": True}]}, "tools[0].input_schema: must be an object."),
        ({"max_tokens": 1.5}, "max_tokens: must be an integer of 32 bits."),
        ({"max_tokens": 2**31}, "max_tokens: must be an integer of 32 bits."),
        ({"temperature": "hot"}, "temperature: must be a number."),
        ({"system": ["a"]}, "system: must be a string."),
        ({"stop": "a"}, "stop: must be an array."),
        ({"tool_choice": "auto"}, "tool_choice: must be an object."),
        ({"tool_choice": {"mode": "any"}}, "tool_choice.mode: must be one of auto, none, required, tool."),
        ({"response_format": {}}, "response_format.json_schema: is missing."),
        ({"response_format": {"json_schema": {}}}, "response_format.json_schema.schema_json: is missing."),
        ({"reasoning": {}}, "reasoning.effort: is missing."),
        ({"provider_options": []}, "provider_options: must be an object."),
    ],
)
def test_a_wrong_shape_is_refused_with_the_name_of_the_field(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(HttpError) as caught:
        read(**fields)

    assert (caught.value.status, caught.value.message) == (422, message)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
ROLES = st.sampled_from(["system", "user", "assistant", "tool"])
PARTS = st.dictionaries(
    st.sampled_from(["text", "thinking", "image", "document", "opaque", "citation", "provider_state", "origin"]),
    JSON | st.fixed_dictionaries({}, optional={"url": JSON, "data": JSON, "media_type": JSON, "block_json": JSON}),
    max_size=3,
)
CALLS = st.fixed_dictionaries({}, optional={"id": JSON, "tool_name": JSON, "arguments_json": JSON, "part_index": JSON})
MESSAGES = st.fixed_dictionaries(
    {"role": ROLES | JSON},
    optional={
        "content": JSON,
        "parts": st.lists(PARTS | JSON, max_size=2),
        "tool_calls": st.lists(CALLS | JSON, max_size=2),
    },
)
OPTIONS = (
    *("tools", "max_tokens", "temperature", "top_p", "top_k", "seed", "stop", "tool_choice", "response_format"),
    *("reasoning", "session_id", "labels", "provider_options", "system"),
)
BODIES = st.fixed_dictionaries(
    {"model": st.just("mock-echo") | JSON, "messages": st.lists(MESSAGES | JSON, max_size=3) | JSON},
    optional=dict.fromkeys(OPTIONS, JSON),
)


def outcome(body: Any) -> LlmRequest | int:
    try:
        return read_request(json.dumps(body).encode(), "mock")
    except HttpError as error:
        return error.status


@given(BODIES)
def test_a_body_of_any_shape_is_a_request_or_refused(body: Any) -> None:
    found = outcome(body)

    assert found in (400, 422) or (isinstance(found, LlmRequest) and found.IsInitialized())


def documented() -> list[Any]:
    """Returns the requests that docs/http.md shows."""
    page = (Path(__file__).parents[2] / "docs" / "http.md").read_text()
    values = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]
    return [value for value in values if "messages" in value]


def test_the_documented_requests_are_right() -> None:
    requests = [read_request(json.dumps(value).encode(), "mock") for value in documented()]

    assert len(requests) == 2
    for request in requests:
        check(request)
