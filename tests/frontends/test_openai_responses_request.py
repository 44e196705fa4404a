from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from loom_grpc.core.call import Call
from loom_grpc.core.exact import dumps
from loom_grpc.core.request import check
from loom_grpc.frontends.body import HttpError, read_json
from loom_grpc.frontends.openai_chat_state import details_of
from loom_grpc.frontends.openai_responses import OpenAIResponses
from loom_grpc.frontends.openai_responses_request import read_request
from loom_grpc.providers.openai import Host, OpenAI
from loom_grpc.providers.openai_request import chat_body
from loom_grpc.v1.llm_service_pb2 import LlmRequest
from loom_grpc.v1.message_pb2 import ROLE_ASSISTANT, Message, Part, ToolCall

FIXTURES = Path(__file__).parents[1] / "fixtures"
PIXEL = "data:image/png;base64,aGk="
CALL = {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city":"<Ulm> & 001"}'}
RESULT = {"type": "function_call_output", "call_id": "call_1", "output": "21"}
TOOL = {
    "type": "function",
    "name": "weather",
    "description": "Tells.",
    "parameters": {"type": "object"},
    "strict": True,
}


def read(**fields: Any) -> tuple[LlmRequest, tuple[str, ...]]:
    return read_request(read_json(json.dumps({"model": "m", "input": "hi"} | fields).encode()))


def expected(text: str) -> LlmRequest:
    request: LlmRequest = text_format.Parse(text, LlmRequest())
    return request


def refused(**fields: Any) -> tuple[str, str]:
    with pytest.raises(HttpError) as raised:
        read(**fields)
    return raised.value.field, raised.value.message


def test_a_whole_conversation_is_read() -> None:
    items = [
        {"role": "developer", "content": "Be brief."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Which city?"}]},
        CALL,
        RESULT,
        {"role": "assistant", "content": [{"type": "output_text", "text": "21 degrees.", "annotations": []}]},
        {"role": "user", "content": "Thanks"},
    ]

    request, untold = read(
        instructions="You know the weather.",
        input=items,
        tools=[TOOL],
        tool_choice={"type": "function", "name": "weather"},
        parallel_tool_calls=False,
        max_output_tokens=9,
        temperature=0.5,
        top_p=0.9,
        reasoning={"effort": "low", "summary": "auto"},
        text={"format": {"type": "json_schema", "name": "city", "schema": {"type": "object"}, "strict": True}},
    )

    assert untold == ()
    assert request == expected(
        """
        model: "m"
        messages { role: ROLE_SYSTEM content: "You know the weather." }
        messages { role: ROLE_SYSTEM content: "Be brief." }
        messages { role: ROLE_USER content: "Weather?" }
        messages {
          role: ROLE_ASSISTANT
          parts { thinking: "Which city?" }
          tool_calls { id: "call_1" tool_name: "weather" arguments_json: '{"city":"<Ulm> & 001"}' }
        }
        messages { role: ROLE_TOOL tool_call_id: "call_1" name: "weather" content: "21" }
        messages { role: ROLE_ASSISTANT content: "21 degrees." }
        messages { role: ROLE_USER content: "Thanks" }
        tools { name: "weather" description: "Tells." input_schema_json: '{"type":"object"}' strict: true }
        max_tokens: 9
        temperature: 0.5
        top_p: 0.9
        tool_choice { mode: MODE_TOOL tool_name: "weather" parallel: false }
        response_format { json_schema { name: "city" schema_json: '{"type":"object"}' strict: true } }
        reasoning { effort: "low" }
        """
    )


def test_content_of_every_kind_is_read() -> None:
    content = [
        {"type": "input_text", "text": "Look."},
        {"type": "input_image", "image_url": PIXEL, "detail": "low"},
        {"type": "input_image", "image_url": "https://example.com/a.png"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="},
        {"type": "input_file", "file_url": "https://example.com/a.pdf"},
    ]

    request, untold = read(input=[{"role": "user", "content": content}])

    assert untold == ()
    assert list(request.messages) == [
        text_format.Parse(
            """
            role: ROLE_USER
            parts { text: "Look." }
            parts { image { data: "hi" media_type: "image/png" } }
            parts { image { url: "https://example.com/a.png" } }
            parts { document { data: "hi" media_type: "application/pdf" name: "a.pdf" } }
            parts { document { url: "https://example.com/a.pdf" } }
            """,
            Message(),
        )
    ]


def test_what_a_tool_shows_may_be_a_picture() -> None:
    output = [{"type": "input_text", "text": "A map:"}, {"type": "input_image", "image_url": PIXEL}]

    request, _ = read(input=[CALL, {**RESULT, "output": output}])

    assert [part.WhichOneof("kind") for part in request.messages[1].parts] == ["text", "image"]


def test_text_that_comes_after_a_call_stays_behind_it() -> None:
    words = {"role": "assistant", "content": "A moment."}

    request, _ = read(input=[{"role": "assistant", "content": "First."}, CALL, words, RESULT])

    turn = request.messages[0]
    assert [part.text for part in turn.parts] == ["First.", "A moment."]
    assert turn.tool_calls[0].part_index == 1


def test_state_of_openai_is_kept_as_its_own() -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "c2VjcmV0"}

    request, _ = read(input=[item, {"role": "user", "content": "hi"}])

    assert list(request.messages[0].parts) == [Part(thinking="", provider_state=b"c2VjcmV0", origin="responses")]


def carrier(turn: Message) -> dict[str, Any]:
    return {"type": "reasoning", "summary": [], "encrypted_content": details_of(turn)[0]["data"]}


TURN = Message(
    role=ROLE_ASSISTANT,
    content="Look.",
    parts=[
        Part(thinking="Which city?", provider_state=b"\x00sig", origin="anthropic"),
        Part(redacted_thinking="x", origin="anthropic"),
        Part(text="Look."),
    ],
    tool_calls=[
        ToolCall(id="call_1", tool_name="weather", arguments_json="{}", provider_state=b"\xff", origin="gemini")
    ],
)


def test_a_turn_with_another_providers_state_is_put_back_as_it_was() -> None:
    said = [{"role": "assistant", "content": "Look."}, {**CALL, "arguments": "{}"}]

    request, _ = read(input=[*said, carrier(TURN), RESULT])

    assert request.messages[0] == TURN
    assert request.messages[1].tool_call_id == "call_1"


def test_a_turn_that_the_client_has_changed_is_what_the_client_says() -> None:
    said = [{"role": "assistant", "content": "Something else."}, {**CALL, "arguments": "{}"}]

    request, _ = read(input=[*said, carrier(TURN), RESULT])

    assert request.messages[0].content == "Something else."
    assert not request.messages[0].tool_calls[0].provider_state


def test_state_that_was_changed_is_refused() -> None:
    item = {"type": "reasoning", "summary": [], "encrypted_content": "loom.%%%"}

    assert refused(input=[item])[0] == "input[0].encrypted_content"


@pytest.mark.parametrize(
    ("fields", "untold"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"tools": [TOOL, {"type": "custom", "name": "x"}]}, "tools[1]"),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format"),
        ({"input": [{"type": "computer_call"}]}, "input[0]"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
            "input[0].content[0].file_id",
        ),
        ({"input": [{"role": "user", "content": [{"type": "input_smell"}]}]}, "input[0].content[0].type"),
        ({"input": [{**CALL, "arguments": "[1]"}]}, "input[0].arguments"),
        ({"novelty": 1}, "novelty"),
    ],
)
def test_what_only_this_api_can_say_is_named(fields: dict[str, Any], untold: str) -> None:
    assert read(**fields)[1] == (untold,)


def test_hints_and_what_asks_for_nothing_are_not_named() -> None:
    hints = {
        "user": "u",
        "safety_identifier": "s",
        "metadata": {"a": "b"},
        "prompt_cache_key": "k",
        "service_tier": "flex",
        "store": False,
        "truncation": "auto",
        "background": False,
        "top_logprobs": 0,
        "include": ["reasoning.encrypted_content"],
        "text": {"format": {"type": "text"}, "verbosity": "low"},
        "stream_options": {"include_obfuscation": False},
    }

    assert read(**hints)[1] == ()


def test_only_the_allowed_tools_are_told() -> None:
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "weather"}]}

    request, untold = read(tools=[TOOL, {**TOOL, "name": "other"}], tool_choice=allowed)

    assert untold == ()
    assert [tool.name for tool in request.tools] == ["weather"]
    assert request.tool_choice == expected("tool_choice { mode: MODE_REQUIRED }").tool_choice


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"model": ""}, "model"),
        ({"input": [7]}, "input[0]"),
        ({"input": [{"role": "judge", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{**CALL, "call_id": ""}]}, "input[0].call_id"),
        ({"input": [RESULT]}, "input"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:x"}]}]},
            "input[0].content[0].image_url",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_data": "aGk="}]}]},
            "input[0].content[0].file_data",
        ),
        ({"tool_choice": "perhaps"}, "tool_choice"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"store": "no"}, "store"),
        ({"previous_response_id": 1}, "previous_response_id"),
        ({"tools": [{"type": "function", "name": "x", "parameters": 1}]}, "tools[0].parameters"),
    ],
)
def test_a_field_that_is_wrong_is_refused_by_its_path(fields: dict[str, Any], field: str) -> None:
    assert refused(**fields)[0] == field


def test_what_is_nested_too_deeply_is_refused() -> None:
    schema: Any = {}
    for _ in range(300):
        schema = {"a": schema}

    assert refused(tools=[{**TOOL, "parameters": schema}]) == ("tools", "tools: is nested too deeply.")


def test_without_any_input_the_request_is_refused_in_openais_words() -> None:
    assert refused(input=None) == ("input", "Missing required parameter: 'input'.")


RECORDED = [
    json.loads(path.read_text(encoding="utf-8"))
    for path in sorted(FIXTURES.glob("*/*/case.json"))
    if '"api": "responses"' in (text := path.read_text(encoding="utf-8")) or '"api": "openai_responses"' in text
]


@pytest.mark.parametrize(
    "case",
    [case for case in RECORDED if case["response"]["status"] == 200 and (case["request"]["body"] or {}).get("model")],
    ids=lambda case: case["id"],
)
def test_what_real_clients_send_is_read_and_handed_on_whole(case: dict[str, Any]) -> None:
    body = {**case["request"]["body"], "background": False}
    asked = OpenAIResponses(lambda: 0.0).read(json.dumps(body).encode(), {}, {})
    call = Call(asked.request, asked.stream, "r", model=body["model"], native=asked.native)
    assert asked.native is not None
    request = OpenAI(Host(responses=True)).encode_native(call, asked.native)

    check(asked.request)
    assert request is not None
    assert request.path == "/responses"
    body.pop("previous_response_id", None)
    assert json.loads(request.body) == body


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@given(
    texts=st.lists(TEXT, min_size=1, max_size=4),
    arguments=st.lists(st.dictionaries(TEXT, JSON, max_size=3), max_size=3),
    results=TEXT,
)
def test_a_conversation_says_the_same_to_a_provider_of_another_api(
    texts: list[str], arguments: list[dict[str, Any]], results: str
) -> None:
    written = [json.dumps(value, ensure_ascii=False) for value in arguments]
    ids = [f"call_{number}" for number in range(len(written))]
    items: list[Any] = [{"role": "user", "content": text} for text in texts]
    for id, text in zip(ids, written, strict=True):
        items.append({"type": "function_call", "call_id": id, "name": "tool", "arguments": text})
    items += [{"type": "function_call_output", "call_id": id, "output": results} for id in ids]

    request, untold = read_request(read_json(dumps({"model": "m", "input": items}).encode()))
    body = json.loads(
        dumps(chat_body(request, "m", max_tokens_field="max_tokens", reasoning_field="", thinking_switch=False))
    )

    assert untold == ()
    calls = [
        {"id": id, "type": "function", "function": {"name": "tool", "arguments": text}}
        for id, text in zip(ids, written, strict=True)
    ]
    turn = [{"role": "assistant", "content": None, "tool_calls": calls}] if calls else []
    assert body["messages"] == [
        *({"role": "user", "content": text} for text in texts),
        *turn,
        *({"role": "tool", "content": results, "tool_call_id": id, "name": "tool"} for id in ids),
    ]
