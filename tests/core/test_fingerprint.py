"""Requests that mean the same have one fingerprint, and all others have their own."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_grpc.core.fingerprint import canonical_json, fingerprint, tenant_of
from loom_grpc.v1.llm_service_pb2 import LlmRequest
from loom_grpc.v1.message_pb2 import (
    ROLE_ASSISTANT,
    ROLE_USER,
    JsonObjectFormat,
    JsonSchemaFormat,
    Message,
    Part,
    Reasoning,
    ResponseFormat,
    ToolCall,
    ToolChoice,
    ToolDefinition,
)

SPACE = b"space"
HI = Message(role=ROLE_USER, content="hi")


def request(**fields: Any) -> LlmRequest:
    return LlmRequest(**({"provider": "openai", "model": "gpt-4o", "messages": [HI]} | fields))


def of(**fields: Any) -> bytes:
    return fingerprint(SPACE, "tenant", request(**fields))


def called(arguments: str) -> list[Message]:
    return [HI, Message(role=ROLE_ASSISTANT, tool_calls=[ToolCall(id="1", tool_name="t", arguments_json=arguments)])]


def shape(schema: str) -> ResponseFormat:
    return ResponseFormat(json_schema=JsonSchemaFormat(schema_json=schema))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"session_id": "s", "labels": {"team": "a"}}),
        ({"provider_options_json": '{"a":1,"b":[2]}'}, {"provider_options_json": ' {"b": [2], "a": 1}\n'}),
        ({"provider_options_json": '{"a":"\\u0041"}'}, {"provider_options_json": '{"a":"A"}'}),
        ({"provider_options_json": ""}, {"provider_options_json": "  "}),
        ({"messages": called('{"a":1,"b":2}')}, {"messages": called('{"b": 2, "a": 1}')}),
        (
            {"tools": [ToolDefinition(name="t", input_schema_json='{"type":"object"}')]},
            {"tools": [ToolDefinition(name="t", input_schema_json='{ "type": "object" }')]},
        ),
        ({"response_format": shape('{"type":"object"}')}, {"response_format": shape('{"type": "object"}')}),
        (
            {"messages": [Message(role=ROLE_USER, parts=[Part(text="a")])]},
            {"messages": [Message(role=ROLE_USER, parts=[Part(text="a")], content="ignored")]},
        ),
    ],
)
def test_what_means_the_same_has_one_fingerprint(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert of(**one) == of(**other)


DIFFERENT: list[dict[str, Any]] = [
    {},
    {"provider": "groq"},
    {"model": "gpt-5"},
    {"model": ""},
    {"messages": [Message(role=ROLE_USER, content="ho")]},
    {"messages": [HI, HI]},
    {"messages": [Message(role=ROLE_USER, parts=[Part(text="hi", provider_state=b"s")])]},
    {"messages": called('{"a":1}')},
    {"messages": called('{"a":1.0}')},
    {"messages": called('{"a":"1"}')},
    {"temperature": 0},
    {"temperature": 0.1},
    {"top_p": 1},
    {"top_k": 1},
    {"seed": 0},
    {"seed": 1},
    {"max_tokens": 1},
    {"stop": ["a"]},
    {"stop": ["a", "b"]},
    {"tools": [ToolDefinition(name="t")]},
    {"tools": [ToolDefinition(name="t", input_schema_json='{"properties":{"a":{},"b":{}}}')]},
    {"tools": [ToolDefinition(name="t", input_schema_json='{"properties":{"b":{},"a":{}}}')]},
    {"tool_choice": ToolChoice(mode=ToolChoice.MODE_AUTO)},
    {"response_format": shape('{"type":"object"}')},
    {"response_format": ResponseFormat(json_object=JsonObjectFormat())},
    {"reasoning": Reasoning(effort="low")},
    {"reasoning": Reasoning(budget_tokens=0)},
    {"provider_options_json": '{"a":1}'},
    {"provider_options_json": '{"a":12345678901234567890123}'},
    {"provider_options_json": '{"a":12345678901234567890124}'},
    {"provider_options_json": '{"a":1e400}'},
    {"provider_options_json": '{"a":1e401}'},
    {"provider_options_json": '{"a":1,"a":2}'},
    {"provider_options_json": '{"a":2}'},
]


def test_whatever_changes_the_answer_changes_the_fingerprint() -> None:
    assert len({of(**fields) for fields in DIFFERENT}) == len(DIFFERENT)


def test_tenants_and_configurations_share_nothing() -> None:
    ask = request()

    prints = {fingerprint(space, tenant, ask) for space in (b"", b"a", b"b") for tenant in ("", "a", "b")}
    assert len(prints) == 9


def test_a_field_that_only_a_newer_contract_has_counts() -> None:
    newer = LlmRequest.FromString(request().SerializeToString() + b"\xfa\x3e\x01x")

    assert fingerprint(SPACE, "", newer) != fingerprint(SPACE, "", request())


@pytest.mark.parametrize(
    "text", ['{"a":1,"a":1}', "[" * 2000, "[" * 300 + "]" * 300, '{"a":NaN}', '"\\ud800"', "nonsense", "{"]
)
def test_json_that_cannot_be_written_back_stays_as_it_is(text: str) -> None:
    assert canonical_json(text) == text


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_canonical_json_means_the_same_and_is_canonical(value: Any) -> None:
    text = canonical_json(json.dumps(value, indent=2))

    assert json.loads(text) == value
    assert canonical_json(text) == text


def test_tenants_are_told_apart_by_all_that_they_show() -> None:
    shown: list[list[tuple[str, str]]] = [
        [("authorization", "a")],
        [("authorization", "b")],
        [("x-api-key", "a")],
        [("authorization", "a"), ("x-api-key", "a")],
        [("authorization", "a"), ("authorization", "b")],
        [("authorization", "")],
        [],
    ]

    assert len({tenant_of(each) for each in shown}) == len(shown)
    assert tenant_of([]) == ""
    assert tenant_of(shown[3]) == tenant_of(reversed(shown[3]))
