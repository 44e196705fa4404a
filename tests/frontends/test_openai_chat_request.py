from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from loom_grpc.core.exact import dumps
from loom_grpc.core.request import check
from loom_grpc.frontends.body import HttpError, read_json
from loom_grpc.frontends.openai_chat_request import read_request
from loom_grpc.providers.openai_request import chat_body
from loom_grpc.v1.llm_service_pb2 import LlmRequest

FIXTURES = Path(__file__).parents[1] / "fixtures"
HI = {"role": "user", "content": "hi"}
PIXEL = "data:image/png;base64,aGk="


def read(**fields: Any) -> tuple[LlmRequest, tuple[str, ...]]:
    return read_request(read_json(json.dumps({"model": "m", "messages": [HI]} | fields).encode()))


def expected(text: str) -> LlmRequest:
    request: LlmRequest = text_format.Parse(text, LlmRequest())
    return request


def refused(**fields: Any) -> tuple[str, str]:
    with pytest.raises(HttpError) as raised:
        read(**fields)
    return raised.value.field, raised.value.message


def test_a_whole_conversation_is_read() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"<Ulm> & 001"}'}}
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        {
            "role": "user",
            "name": "ann",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "mp3"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk=", "filename": "a.pdf"}},
            ],
        },
        {"role": "assistant", "content": None, "reasoning_content": "Hm.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "21"},
        {"role": "assistant", "refusal": "No.", "content": None},
    ]
    tool = {"name": "weather", "description": "Looks.", "parameters": {"type": "object"}, "strict": True}

    request, untold = read(
        messages=messages,
        tools=[{"type": "function", "function": tool}],
        tool_choice={"type": "function", "function": {"name": "weather"}},
        parallel_tool_calls=False,
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
        max_completion_tokens=5,
        temperature=0.5,
        top_p=0.9,
        top_k=3,
        seed=2**40,
        stop="END",
        reasoning_effort="low",
        stream=True,
        stream_options={"include_usage": True},
        n=1,
        logprobs=False,
        user="u",
        metadata={"a": "b"},
    )

    assert untold == ()
    assert request == expected(
        """
        model: "m" max_tokens: 5 temperature: 0.5 top_p: 0.9 top_k: 3 seed: 1099511627776 stop: "END"
        messages { role: ROLE_SYSTEM parts { text: "Be brief." } }
        messages { role: ROLE_USER name: "ann" parts { text: "What is this?" }
            parts { image { data: "hi" media_type: "image/png" } }
            parts { image { url: "https://example.com/a.png" } }
            parts { audio { data: "hi" media_type: "audio/mpeg" } }
            parts { document { data: "hi" media_type: "application/pdf" name: "a.pdf" } } }
        messages { role: ROLE_ASSISTANT parts { thinking: "Hm." } tool_calls {
            id: "call_1" tool_name: "weather" arguments_json: "{\\"city\\":\\"<Ulm> & 001\\"}" } }
        messages { role: ROLE_TOOL tool_call_id: "call_1" content: "21" }
        messages { role: ROLE_ASSISTANT parts { refusal: "No." } }
        tools { name: "weather" description: "Looks." input_schema_json: "{\\"type\\":\\"object\\"}" strict: true }
        tool_choice { mode: MODE_TOOL tool_name: "weather" parallel: false }
        response_format { json_schema { name: "x" schema_json: "{\\"type\\":\\"object\\"}" strict: false } }
        reasoning { effort: "low" }
        """
    )
    check(request)


def recorded() -> list[Any]:
    """Returns the bodies that real clients sent and real hosts answered; Azure's name the model in the path."""
    exchanges = [json.loads(path.read_bytes()) for path in sorted(FIXTURES.glob("*/*/case.json"))]
    chats = [x for x in exchanges if x["api"] in ("chat_completions", "openai_chat") and x["response"]["status"] == 200]
    bodies = [x["request"].get("body") for x in chats if x.get("request")]
    return [{"model": "m"} | body for body in bodies if isinstance(body, dict)]


@pytest.mark.parametrize("body", recorded())
def test_what_real_clients_sent_is_read(body: Any) -> None:
    request, _ = read_request(read_json(json.dumps(body).encode()))

    check(request)
    assert len(request.messages) == len(body["messages"])


def test_the_old_form_of_functions_becomes_tools() -> None:
    messages = [
        HI,
        {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": ""}},
        {"role": "function", "name": "weather", "content": "21"},
    ]

    request, untold = read(messages=messages, functions=[{"name": "weather"}], function_call={"name": "weather"})

    assert untold == ()
    assert request == expected(
        """
        model: "m" messages { role: ROLE_USER content: "hi" }
        messages { role: ROLE_ASSISTANT tool_calls { id: "call_1" tool_name: "weather" arguments_json: "{}" } }
        messages { role: ROLE_TOOL tool_call_id: "call_1" name: "weather" content: "21" }
        tools { name: "weather" } tool_choice { mode: MODE_TOOL tool_name: "weather" parallel: false }
        """
    )


@pytest.mark.parametrize(
    ("fields", "reasoning"),
    [
        ({"reasoning_effort": "high"}, 'effort: "high"'),
        ({"reasoning": {"effort": "low"}}, 'effort: "low"'),
        ({"reasoning": {"max_tokens": 100}}, "budget_tokens: 100"),
        ({"reasoning": {"enabled": False}}, 'effort: "none"'),
        ({"thinking": {"type": "disabled"}}, 'effort: "none"'),
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, "budget_tokens: 2048"),
    ],
)
def test_how_much_to_think_is_read_in_every_way_that_hosts_have(fields: dict[str, Any], reasoning: str) -> None:
    request, untold = read(**fields)

    assert (text_format.MessageToString(request.reasoning).strip(), untold) == (reasoning, ())


@pytest.mark.parametrize(
    ("fields", "untold"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"presence_penalty": -1}, "presence_penalty"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "alloy", "format": "wav"}}, "audio"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"verbosity": "low"}, "verbosity"),
        ({"min_p": 0.1}, "min_p"),
        ({"thinking": {"type": "enabled"}}, "thinking"),
        ({"response_format": {"type": "grammar"}}, "response_format"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}], "tool_choice": "required"}, "tools[0]"),
        ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {}}}, "tool_choice"),
        ({"messages": [{"role": "assistant", "audio": {"id": "a"}}]}, "messages[0].audio"),
        ({"messages": [{"role": "user", "content": [{"type": "video_url"}]}]}, "messages[0].content[0].type"),
        (
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]},
            "messages[0].content[0].file.file_id",
        ),
    ],
)
def test_what_the_contract_has_no_place_for_is_named(fields: dict[str, Any], untold: str) -> None:
    request, named = read(**fields)

    check(request)
    assert named == (untold,)


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 1, "logprobs": False, "top_logprobs": 0, "logit_bias": {}, "modalities": ["text"]},
        {"frequency_penalty": 0, "presence_penalty": 0.0, "verbosity": "medium"},
        {"user": "u", "store": True, "metadata": {}, "service_tier": "flex", "prediction": {"type": "content"}},
        {"n": None, "stop": None, "tools": None, "temperature": None, "reasoning_effort": None},
        {"top_k": -1},
    ],
)
def test_what_asks_for_nothing_leaves_no_trace(fields: dict[str, Any]) -> None:
    assert read(**fields) == (expected('model: "m" messages { role: ROLE_USER content: "hi" }'), ())


@pytest.mark.parametrize("arguments", ["{", "[1]", "hello"])
def test_arguments_that_are_no_object_go_back_to_openai_alone(arguments: str) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}

    request, untold = read(messages=[HI, {"role": "assistant", "tool_calls": [call]}])

    check(request)
    assert untold == ("messages[1].tool_calls[0].function.arguments",)


def deep(levels: int) -> Any:
    return json.loads("[" * levels + "]" * levels)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"model": 1}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "robot", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"text": "hi"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x"}}]}]},
            "messages[0].content[0].image_url.url",
        ),
        ({"messages": [HI, {"role": "tool", "tool_call_id": "x", "content": ""}]}, "messages[1].tool_call_id"),
        ({"messages": [{"role": "function", "name": "f", "content": ""}]}, "messages[0].role"),
        ({"messages": [{"role": "assistant"}]}, "messages[0].content"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {"name": ""}}]}, "tools[0].function.name"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"a": deep(300)}}}]},
            "tools[0].function.parameters",
        ),
        ({"metadata": {"a": deep(300)}}, "metadata"),
        ({"messages": [{**HI, "extra": deep(300)}]}, "messages"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": []}, "stream_options"),
        ({"n": "2"}, "n"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"stop": [1]}, "stop[0]"),
        ({"response_format": {}}, "response_format.type"),
    ],
)
def test_wrong_fields_are_refused_by_path(fields: dict[str, Any], field: str) -> None:
    path, message = refused(**fields)

    assert path == field
    assert message.startswith(f"{field}: ")


def test_what_this_server_kept_must_come_back_unchanged() -> None:
    kept = [{"type": "reasoning.encrypted", "data": "loom.@@@"}]
    turn = {"role": "assistant", "content": "hi", "reasoning_details": kept}
    call = {"id": "1", "function": {"name": "f", "arguments": ""}, "extra_content": {"loom": "loom.@@@"}}

    assert refused(messages=[turn])[0] == "messages[0].reasoning_details"
    assert (
        refused(messages=[{"role": "assistant", "tool_calls": [call]}])[0]
        == "messages[0].tool_calls[0].extra_content.loom"
    )


def test_the_state_of_a_host_is_kept_for_hosts_of_this_api() -> None:
    details = [{"type": "reasoning.text", "text": "Hm.", "signature": "s"}]
    extra = {"google": {"thought_signature": "t"}}
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": extra}
    turn = {
        "role": "assistant",
        "content": "hi",
        "reasoning": "Hm.",
        "reasoning_details": details,
        "tool_calls": [call],
    }

    request, untold = read(messages=[turn])

    written = chat_body(request, "m", max_tokens_field="max_tokens", reasoning_field="", thinking_switch=False)
    assert untold == ()
    assert orjson.loads(dumps(written))["messages"] == [{key: turn[key] for key in turn if key != "reasoning"}]


TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
NAMES = st.from_regex(r"[a-z_]{1,12}", fullmatch=True)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=3)
CALLS = st.builds(
    lambda name, arguments: {"type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}},
    NAMES,
    OBJECTS,
)
TEXT_PARTS = st.builds(lambda text: {"type": "text", "text": text}, TEXTS)
MEDIA_PARTS = st.sampled_from(
    [
        {"type": "image_url", "image_url": {"url": PIXEL}},
        {"type": "image_url", "image_url": {"url": "https://example.com/ü.png"}},
        {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk=", "filename": "a.pdf"}},
    ]
)
CONTENTS = TEXTS | st.tuples(st.lists(TEXT_PARTS, max_size=2), MEDIA_PARTS, st.lists(TEXT_PARTS, max_size=2)).map(
    lambda pieces: [*pieces[0], pieces[1], *pieces[2]]
)


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = [{"role": "system", "content": draw(TEXTS)}]
    for number in range(draw(st.integers(1, 3))):
        messages.append({"role": "user", "content": draw(CONTENTS)})
        calls = [{"id": f"call_{number}_{i}", **call} for i, call in enumerate(draw(st.lists(CALLS, max_size=3)))]
        turn: dict[str, Any] = {"role": "assistant", "content": draw(st.none() | TEXTS) if calls else draw(TEXTS)}
        if calls:
            turn["tool_calls"] = calls
        if draw(st.booleans()):
            turn["reasoning_content"] = draw(TEXTS)
        messages.append(turn)
        messages += [{"role": "tool", "tool_call_id": call["id"], "content": draw(TEXTS)} for call in calls]
    return messages


TOOLS = st.lists(NAMES, unique=True, min_size=1, max_size=3).flatmap(
    lambda names: st.tuples(
        *(
            st.builds(
                lambda name, description, schema, strict: {
                    "type": "function",
                    "function": {"name": name, "description": description, "parameters": schema, "strict": strict},
                },
                st.just(name),
                TEXTS,
                OBJECTS,
                st.booleans(),
            )
            for name in names
        )
    ).map(list)
)
SCHEMAS = st.builds(
    lambda name, schema, strict: {
        "type": "json_schema",
        "json_schema": {"name": name, "schema": schema, "strict": strict},
    },
    NAMES,
    OBJECTS,
    st.booleans(),
)
BODIES = st.fixed_dictionaries(
    {"model": NAMES, "messages": conversations()},
    optional={
        "tools": TOOLS,
        "max_completion_tokens": st.integers(1, 10_000),
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0, 1),
        "seed": st.integers(-(2**63), 2**63 - 1),
        "stop": st.lists(TEXTS, min_size=1, max_size=4),
        "response_format": st.just({"type": "json_object"}) | SCHEMAS,
        "reasoning_effort": st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh"]),
    },
)


@given(BODIES)
def test_nothing_is_lost_on_the_way_to_the_contract_and_back(body: dict[str, Any]) -> None:
    request, untold = read_request(read_json(orjson.dumps(body)))

    check(request)
    written = chat_body(
        request,
        request.model,
        max_tokens_field="max_completion_tokens",
        reasoning_field="reasoning_content",
        thinking_switch=False,
    )
    assert untold == ()
    assert orjson.loads(dumps(written)) == orjson.loads(orjson.dumps(body))


@given(st.recursive(VALUES, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner), max_leaves=10))
def test_whatever_comes_is_read_or_refused(value: Any) -> None:
    for body in (value, {"model": "m", "messages": value}, {"model": "m", "messages": [HI], "tools": value}):
        with contextlib.suppress(HttpError):
            read_request(body)
