"""What a Messages request means to everybody, and what is only for Anthropic."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from loom_grpc.core.native import Native
from loom_grpc.frontends.anthropic import Messages
from loom_grpc.frontends.anthropic_request import read_request
from loom_grpc.frontends.anthropic_state import turn_token
from loom_grpc.frontends.body import HttpError
from loom_grpc.v1.llm_service_pb2 import LlmRequest
from loom_grpc.v1.message_pb2 import (
    ROLE_ASSISTANT,
    ROLE_SYSTEM,
    ROLE_TOOL,
    ROLE_USER,
    Citation,
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
from tests.frontends.anthropic_reading import BASE, HI, read, untold

USE = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "001"}}
CALLED = {"role": "assistant", "content": [USE]}
CALL = ToolCall(id="toolu_1", tool_name="look", arguments_json='{"at":"001"}')


def asked(**more: Any) -> dict[str, Any]:
    return BASE | {"messages": [HI]} | more


def said(*blocks: dict[str, Any], role: str = "user") -> dict[str, Any]:
    return asked(messages=[{"role": role, "content": list(blocks)}])


def test_every_setting_has_its_place() -> None:
    body = asked(
        system=[
            {"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": "Be brief."},
        ],
        temperature=0.5,
        top_p=0.25,
        top_k=7,
        stop_sequences=["END"],
        thinking={"type": "enabled", "budget_tokens": 2000},
        tools=[
            {
                "type": "custom",
                "name": "look",
                "description": "Looks.",
                "input_schema": {"type": "object"},
                "strict": True,
            }
        ],
        tool_choice={"type": "tool", "name": "look", "disable_parallel_tool_use": True},
        output_config={"format": {"type": "json_schema", "schema": {"type": "object"}}},
        metadata={"user_id": "u"},
        service_tier="auto",
        context_management={"edits": []},
    )

    assert read(body) == LlmRequest(
        model="claude-sonnet-4-5",
        messages=[Message(role=ROLE_SYSTEM, content="Be kind.\n\nBe brief."), Message(role=ROLE_USER, content="hi")],
        tools=[ToolDefinition(name="look", description="Looks.", input_schema_json='{"type":"object"}', strict=True)],
        max_tokens=100,
        temperature=0.5,
        top_p=0.25,
        top_k=7,
        stop=["END"],
        tool_choice=ToolChoice(mode=ToolChoice.MODE_TOOL, tool_name="look", parallel=False),
        response_format=ResponseFormat(json_schema=JsonSchemaFormat(schema_json='{"type":"object"}', strict=True)),
        reasoning=Reasoning(budget_tokens=2000),
    )
    assert untold(body) == ()


@pytest.mark.parametrize(
    ("fields", "reasoning"),
    [
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}}, Reasoning(budget_tokens=0)),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}, Reasoning(effort="low")),
        ({"output_config": {"effort": "high"}}, Reasoning(effort="high")),
        ({"thinking": {"type": "adaptive", "display": "summarized"}}, Reasoning()),
    ],
)
def test_thinking_is_a_budget_or_an_effort(fields: dict[str, Any], reasoning: Reasoning) -> None:
    assert read(asked(**fields)).reasoning == reasoning
    assert untold(asked(**fields)) == ()


def test_results_come_before_what_the_user_says_beside_them() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    content = [
        {"type": "text", "text": "See?"},
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "a"}, image]},
        {"type": "tool_result", "tool_use_id": "toolu_2", "content": "broken", "is_error": True},
        {"type": "tool_result", "tool_use_id": "toolu_3"},
    ]
    calls = [USE, USE | {"id": "toolu_2"}, USE | {"id": "toolu_3"}]
    body = asked(messages=[HI, {"role": "assistant", "content": calls}, {"role": "user", "content": content}])

    assert list(read(body).messages)[2:] == [
        Message(
            role=ROLE_TOOL,
            tool_call_id="toolu_1",
            parts=[Part(text="a"), Part(image=Media(data=bytes(3), media_type="image/png"))],
        ),
        Message(role=ROLE_TOOL, tool_call_id="toolu_2", content="broken", is_error=True),
        Message(role=ROLE_TOOL, tool_call_id="toolu_3"),
        Message(role=ROLE_USER, content="See?"),
    ]


def test_a_turn_of_the_model_keeps_its_blocks_in_order() -> None:
    location = {"type": "char_location", "cited_text": "c", "document_title": "t", "document_index": 0}
    content = [
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "ZGF0YQ"},
        {"type": "text", "text": "So:", "citations": [location]},
        {**USE, "caller": {"type": "code_execution_20250825", "tool_id": "srvtoolu_1"}},
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}},
        {"type": "compaction", "content": "Long ago."},
    ]
    search = '{"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{"query":"q"}}'
    cited = Citation(title="t", cited_text="c", citation_json=orjson.dumps(location).decode())
    state = b'{"caller":{"type":"code_execution_20250825","tool_id":"srvtoolu_1"}}'

    assert read(asked(messages=[HI, {"role": "assistant", "content": content}])).messages[1] == Message(
        role=ROLE_ASSISTANT,
        parts=[
            Part(thinking="Hm.", provider_state=b"c2ln", origin="anthropic"),
            Part(redacted_thinking="ZGF0YQ", origin="anthropic"),
            Part(text="So:"),
            Part(citation=cited, origin="anthropic"),
            Part(opaque=Opaque(type="server_tool_use", block_json=search), origin="anthropic"),
            Part(text="Long ago."),
        ],
        tool_calls=[
            ToolCall(
                id="toolu_1",
                tool_name="look",
                arguments_json='{"at":"001"}',
                provider_state=state,
                origin="anthropic",
                part_index=4,
            )
        ],
    )


@pytest.mark.parametrize(
    ("source", "media"),
    [
        (
            {"type": "base64", "media_type": "application/pdf", "data": "AAAA"},
            Media(data=bytes(3), media_type="application/pdf"),
        ),
        ({"type": "text", "media_type": "text/plain", "data": "é"}, Media(data="é".encode(), media_type="text/plain")),
        ({"type": "url", "url": "https://a/b.pdf"}, Media(url="https://a/b.pdf", media_type="application/pdf")),
    ],
)
def test_a_document_comes_from_anywhere(source: dict[str, Any], media: Media) -> None:
    block = {"type": "document", "source": source, "title": "T", "context": "C", "citations": {"enabled": False}}
    media.name = "T"

    assert list(read(said(block)).messages[0].parts) == [Part(text="C"), Part(document=media)]
    assert untold(said(block)) == ()


def test_what_a_document_or_a_search_result_is_made_of_is_text_to_others() -> None:
    inner = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    document = {"type": "document", "source": {"type": "content", "content": inner}, "title": "T"}
    result = {"type": "search_result", "source": "https://a", "title": "S", "content": inner}

    assert [part.text for part in read(said(document, result)).messages[0].parts] == [
        "T",
        "a",
        "b",
        "S\nhttps://a",
        "a",
        "b",
    ]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (
            asked(container="c", mcp_servers=[], inference_geo="eu"),
            ("container", "mcp_servers", "inference_geo"),
        ),
        (asked(tools=[{"type": "web_search_20250305", "name": "web_search"}]), ("tools[0]",)),
        (
            asked(tools=[{"type": "bash_20250124", "name": "bash"}], tool_choice={"type": "tool", "name": "bash"}),
            ("tools[0]", "tool_choice"),
        ),
        (
            asked(tools=[{"type": "bash_20250124", "name": "bash"}], tool_choice={"type": "any"}),
            ("tools[0]", "tool_choice"),
        ),
        (
            asked(tools=[{"name": "a", "input_schema": {}, "allowed_callers": ["code_execution_20250825"]}]),
            ("tools[0].allowed_callers",),
        ),
        (
            asked(
                tools=[
                    {
                        "name": "a",
                        "input_schema": {},
                        "defer_loading": True,
                        "input_examples": [{}],
                        "allowed_callers": ["direct"],
                    }
                ]
            ),
            (),
        ),
        (asked(output_config={"task_budget": {"type": "tokens"}}), ("output_config.task_budget",)),
        (asked(thinking={"type": "between_tools"}), ("thinking",)),
        (said({"type": "image", "source": {"type": "file", "file_id": "file_1"}}), ("messages[0].content[0].source",)),
        (said({"type": "container_upload", "file_id": "file_1"}), ("messages[0].content[0]",)),
        (
            said({"type": "document", "source": {"type": "text", "data": "a"}, "citations": {"enabled": True}}),
            ("messages[0].content[0].citations",),
        ),
    ],
)
def test_what_only_anthropic_understands_is_named(body: dict[str, Any], fields: tuple[str, ...]) -> None:
    assert untold(body) == fields


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"max_tokens": 1, "messages": [HI]}, "model"),
        (BASE, "messages"),
        ({"model": "m", "messages": [HI]}, "max_tokens"),
        (asked(max_tokens="1"), "max_tokens"),
        (asked(stream="yes"), "stream"),
        (asked(messages=[{"role": "tool", "content": "a"}]), "messages[0].role"),
        (asked(messages=[{"role": "user"}]), "messages[0].content"),
        (asked(messages=[{"role": "user", "content": 1}]), "messages[0].content"),
        (asked(messages=["hi"]), "messages[0]"),
        (said({"text": "no type"}), "messages[0].content[0].type"),
        (said({"type": "image"}), "messages[0].content[0].source"),
        (
            said({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "%"}}),
            "messages[0].content[0].source.data",
        ),
        (said({"type": "tool_result", "tool_use_id": "toolu_1"}), "messages[0].content[0].tool_use_id"),
        (
            said({"type": "tool_use", "id": "a", "name": "b", "input": 7}, role="assistant"),
            "messages[0].content[0].input",
        ),
        (said({"type": "tool_use", "id": "", "name": "b", "input": {}}, role="assistant"), "messages[0].content[0].id"),
        (
            said({"type": "thinking", "thinking": "", "signature": "loom.part.%"}, role="assistant"),
            "messages[0].content[0].signature",
        ),
        (
            said({"type": "thinking", "thinking": "", "signature": "loom.turn."}, role="assistant"),
            "messages[0].content[0].signature",
        ),
        (said({"type": "redacted_thinking", "data": "loom.else.AA"}, role="assistant"), "messages[0].content[0].data"),
        (asked(tools=[{"name": "a"}]), "tools[0].input_schema"),
        (asked(tool_choice={"type": "some"}), "tool_choice.type"),
        (asked(thinking={"type": "enabled"}), "thinking.budget_tokens"),
        (asked(thread={"type": "continue", "previous_message_id": "msg_1"}), "thread"),
    ],
)
def test_a_wrong_shape_is_named_by_its_path(body: dict[str, Any], field: str) -> None:
    with pytest.raises(HttpError) as caught:
        read(body)

    assert caught.value.field == field


@pytest.mark.parametrize(
    ("field", "message"),
    [("metadata", "The body is nested too deeply."), ("tools", "tools[0].input_schema: is nested too deeply.")],
)
def test_what_is_nested_too_deeply_is_refused(field: str, message: str) -> None:
    deep: Any = {}
    for _ in range(300):
        deep = {"a": deep}
    value = [{"name": "a", "input_schema": deep}] if field == "tools" else deep
    body = b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"a"}],"%b":%b}'

    with pytest.raises(HttpError) as caught:
        read_request(body % (field.encode(), str(value).replace("'", '"').encode()), {}, counts=False)

    assert caught.value.message == message


def test_the_request_goes_on_in_its_own_words_with_the_headers_that_belong_to_it() -> None:
    body = asked(stream=True, container="c")
    headers = {"anthropic-beta": "a,b", "anthropic-version": "2023-06-01", "x-api-key": "sk", "user-agent": "me"}

    read_as = Messages().read(orjson.dumps(body), {}, headers)

    assert read_as.stream
    assert read_as.native == Native(
        "anthropic", body, {"anthropic-version": "2023-06-01", "anthropic-beta": "a,b"}, ("container",)
    )


def test_tokens_are_counted_without_a_limit_on_them() -> None:
    body = orjson.dumps({"model": "m", "messages": [HI], "stream": True})

    read_as = Messages(counts=True).read(body, {}, {})

    assert (read_as.request, read_as.stream) == (
        LlmRequest(model="m", messages=[Message(role=ROLE_USER, content="hi")]),
        False,
    )


def test_tokens_of_ours_and_ids_of_others_do_not_reach_anthropic() -> None:
    cited = {"type": "web_search_result_location", "encrypted_index": "loom.part.SgA"}
    turns = [
        {"role": "assistant", "content": [{"type": "redacted_thinking", "data": "loom.part.MgFh"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "loom.part."},
                {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
                {"type": "text", "text": "a", "citations": [cited], "cache_control": {"type": "ephemeral"}},
                USE | {"id": "functions.look:0"},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "functions.look:0", "content": "b"}]},
    ]

    native = Messages().read(orjson.dumps(asked(messages=[HI, *turns])), {}, {}).native

    assert native is not None
    assert native.body["messages"] == [
        HI,
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
                {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
                USE | {"id": "functions_look_0"},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "functions_look_0", "content": "b"}]},
    ]


def test_long_numbers_keep_their_digits() -> None:
    use = b'{"type":"tool_use","id":"a","name":"b","input":{"n":12345678901234567890123}}'
    body = b'{"model":"m","max_tokens":1,"messages":[{"role":"assistant","content":[%b]}]}' % use

    call = read_request(body, {}, counts=False).request.messages[0].tool_calls[0]

    assert call.arguments_json == '{"n":12345678901234567890123}'


def test_more_states_than_turns_a_client_would_join_are_refused() -> None:
    state = Message(parts=[Part(text="", provider_state=b"x", origin="gemini")])
    blocks = [{"type": "text", "text": "a"}] + [{"type": "redacted_thinking", "data": turn_token(state, ())}] * 33
    with pytest.raises(HttpError) as caught:
        read_request(
            orjson.dumps(BASE | {"messages": [HI, {"role": "assistant", "content": blocks}]}), {}, counts=False
        )

    assert caught.value.field == "messages[1].content[33].data"
