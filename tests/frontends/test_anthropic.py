"""Answers are written as Anthropic writes them: whole, event by event, or in the provider's own words."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from loom_grpc.core.call import Call
from loom_grpc.frontends.anthropic import Messages, Writer
from loom_grpc.frontends.anthropic_request import read_request
from loom_grpc.frontends.anthropic_state import part_token
from loom_grpc.frontends.frontend import Asked
from loom_grpc.v1.llm_service_pb2 import (
    STOP_REASON_CONTENT_FILTER,
    STOP_REASON_LENGTH,
    STOP_REASON_PAUSED,
    STOP_REASON_REFUSAL,
    STOP_REASON_STOP,
    STOP_REASON_TOOL_CALLS,
    STOP_REASON_UNSPECIFIED,
    Completed,
    CountTokensResponse,
    LlmEvent,
    LlmRequest,
    LlmResponse,
    Started,
    StopReason,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
)
from loom_grpc.v1.message_pb2 import Citation, Media, Message, Opaque, Part, ToolCall
from loom_grpc.v1.usage_pb2 import Usage
from tests.frontends.anthropic_reading import collected, events_of, read_back

STARTED = LlmEvent(started=Started(id="chatcmpl-1", provider="openai", model="gpt", attempt=1))
DONE = LlmEvent(completed=Completed(response=LlmResponse(finish_reason="stop", stop_reason=STOP_REASON_STOP)))


def text(content: str) -> LlmEvent:
    return LlmEvent(text_delta=TextDelta(content=content))


def thought(content: str) -> LlmEvent:
    return LlmEvent(thinking_delta=ThinkingDelta(content=content))


def spelled(index: int, fragment: str) -> LlmEvent:
    return LlmEvent(
        tool_call_delta=ToolCallDelta(
            call_id=f"call_{index}", tool_name="look", arguments_fragment=fragment, index=index
        )
    )


def streamed(*events: LlmEvent) -> bytes:
    writer = Writer("r")
    return b"".join(writer.event(event) for event in events)


def whole(**fields: Any) -> Any:
    return orjson.loads(Writer("r").whole(LlmResponse(**fields), b""))


def test_a_stream_of_another_dialect_has_the_events_of_the_api_in_their_order() -> None:
    response = LlmResponse(
        finish_reason="tool_calls",
        stop_reason=STOP_REASON_TOOL_CALLS,
        usage=Usage(input_tokens=90, output_tokens=9, cache_read_tokens=20, cache_write_tokens=10, reasoning_tokens=4),
    )
    signed = LlmEvent(part=Part(thinking="Hm.", provider_state=b"c2ln", origin="anthropic"))

    assert events_of(
        streamed(
            STARTED,
            thought("Hm."),
            signed,
            text("S"),
            text("o."),
            spelled(0, '{"a":'),
            spelled(0, "1}"),
            LlmEvent(completed=Completed(response=response)),
        )
    ) == [
        {
            "type": "message_start",
            "message": {
                "id": "chatcmpl-1",
                "type": "message",
                "role": "assistant",
                "model": "gpt",
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": {"input_tokens": 0, "output_tokens": 0},
            },
        },
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "thinking", "thinking": "", "signature": ""},
        },
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm."}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "c2ln"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "S"}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "o."}},
        {"type": "content_block_stop", "index": 1},
        {
            "type": "content_block_start",
            "index": 2,
            "content_block": {"type": "tool_use", "id": "call_0", "name": "look", "input": {}},
        },
        {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": '{"a":'}},
        {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": "1}"}},
        {"type": "content_block_stop", "index": 2},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use", "stop_sequence": None},
            "usage": {
                "input_tokens": 60,
                "cache_creation_input_tokens": 10,
                "cache_read_input_tokens": 20,
                "output_tokens": 9,
                "output_tokens_details": {"thinking_tokens": 4},
            },
        },
        {"type": "message_stop"},
    ]


def test_calls_that_are_spelled_out_in_turns_stay_open_until_their_arguments_are_whole() -> None:
    message = collected(
        streamed(
            STARTED,
            spelled(0, '{"a"'),
            spelled(1, ""),
            spelled(0, ":1}"),
            spelled(1, '{"b":2}'),
            spelled(2, "{}"),
            spelled(2, " "),
            DONE,
        )
    )

    assert [block["input"] for block in message["content"]] == [{"a": 1}, {"b": 2}, {}]


def test_a_call_is_ended_when_the_next_begins() -> None:
    writer = Writer("r")
    for event in (STARTED, spelled(0, '{"a":1}')):
        writer.event(event)

    assert [event["type"] for event in events_of(writer.event(spelled(1, "")))] == [
        "content_block_stop",
        "content_block_start",
    ]


def test_what_the_provider_wrote_is_passed_on_and_nothing_is_added() -> None:
    lines = [
        b'{"type":"message_start","message":{"id":"msg_1"}  }',
        b'{"type": "ping"}',
        b'{"index":0,"type":"content_block_start","content_block":{"type":"new"}}',
        b'{"type":"content_block_delta",\n"index":0}',
    ]
    events = [STARTED, *(LlmEvent(native_json=line) for line in lines), text("a")]
    stopped = LlmEvent(completed=DONE.completed, native_json=b'{"type":"message_stop"}')

    assert streamed(*events, stopped) == (
        b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1"}  }\n\n'
        b'event: ping\ndata: {"type": "ping"}\n\n'
        b'event: content_block_start\ndata: {"index":0,"type":"content_block_start","content_block":{"type":"new"}}\n\n'
        b'event: content_block_delta\ndata: {"type":"content_block_delta", "index":0}\n\n'
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    )


def test_a_whole_message_in_place_of_a_stream_becomes_one() -> None:
    started = LlmEvent(started=STARTED.started, native_json=b'{"id":"msg_1","type":"message","content":[]}')

    assert collected(streamed(started, text("Hi."), DONE))["content"] == [{"type": "text", "text": "Hi."}]


def test_a_whole_answer_of_the_same_dialect_is_passed_on_as_it_is() -> None:
    native = b'{"model":"m","type":"message","content":[] ,"new":1}'

    assert Writer("r").whole(LlmResponse(), native) == native


def test_a_stream_in_place_of_a_whole_message_is_put_together() -> None:
    response = LlmResponse(id="msg_1", model="m", message=Message(content="Hi."), stop_reason=STOP_REASON_STOP)

    value = orjson.loads(Writer("r").whole(response, b'{"type":"message_stop"}'))

    assert value == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "Hi."}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 0,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 0,
        },
    }


PARTS = [
    Part(redacted_thinking="ZGF0YQ", origin="anthropic"),
    Part(text="So:"),
    Part(citation=Citation(citation_json='{"type":"char_location","n":1.50}'), origin="anthropic"),
    Part(citation=Citation(url="https://a", cited_text="c"), origin="gemini"),
    Part(opaque=Opaque(type="server_tool_use", block_json='{"type":"server_tool_use","id":"s"}'), origin="anthropic"),
    Part(opaque=Opaque(type="executableCode", block_json='{"executableCode":{}}'), origin="gemini"),
    Part(image=Media(data=b"abc", media_type="image/png")),
    Part(refusal="I will not."),
]
BLOCKS: list[Any] = [
    {"type": "redacted_thinking", "data": "ZGF0YQ"},
    {
        "type": "text",
        "text": "So:",
        "citations": [
            {"type": "char_location", "n": 1.5},
            {
                "type": "web_search_result_location",
                "url": "https://a",
                "title": None,
                "cited_text": "c",
                "encrypted_index": part_token(PARTS[3]),
            },
        ],
    },
    {"type": "server_tool_use", "id": "s"},
    {"type": "redacted_thinking", "data": part_token(PARTS[5])},
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "YWJj"}},
    {"type": "text", "text": "I will not."},
]


def test_every_kind_of_part_is_a_block() -> None:
    assert whole(message=Message(parts=PARTS))["content"] == BLOCKS


def test_every_kind_of_part_is_a_block_of_a_stream() -> None:
    events = [text("So:") if part.HasField("text") else LlmEvent(part=part) for part in PARTS]

    assert collected(streamed(STARTED, *events, DONE))["content"] == BLOCKS


def test_state_that_comes_after_the_thoughts_are_over_comes_back_with_them() -> None:
    late = Part(thinking="Hm.", provider_state=b"[1]", origin="openai")
    message = Message(parts=[late, Part(text="So.")])
    done = LlmEvent(completed=Completed(response=LlmResponse(message=message)))

    content = collected(streamed(STARTED, thought("Hm."), text("So."), LlmEvent(part=late), done))["content"]

    assert [block["type"] for block in content] == ["thinking", "text", "redacted_thinking"]
    assert list(read_back(content).parts) == [late, Part(text="So.")]


def test_state_of_thoughts_that_were_not_shown_is_a_block_of_its_own() -> None:
    hidden = Part(thinking="", provider_state=b"[1]", origin="openai")
    done = LlmEvent(completed=Completed(response=LlmResponse(message=Message(parts=[hidden, Part(text="So.")]))))

    content = collected(streamed(STARTED, text("So."), LlmEvent(part=hidden), done))["content"]

    assert [block["type"] for block in content] == ["text", "thinking"]
    assert list(read_back(content).parts) == [Part(text="So."), hidden]


def test_arguments_that_were_cut_short_stay_the_text_that_they_are() -> None:
    call = ToolCall(id="a", tool_name="b", arguments_json='{"c":')

    assert whole(message=Message(tool_calls=[call]))["content"] == [
        {"type": "tool_use", "id": "a", "name": "b", "input": '{"c":'}
    ]


def test_what_anthropic_wants_back_with_a_call_is_in_its_block() -> None:
    call = ToolCall(id="a", tool_name="b", provider_state=b'{"caller":{"type":"x"}}', origin="anthropic")

    assert whole(message=Message(tool_calls=[call]))["content"][0] == {
        "caller": {"type": "x"},
        "type": "tool_use",
        "id": "a",
        "name": "b",
        "input": {},
    }


@pytest.mark.parametrize(
    ("finish", "stop", "word"),
    [
        ("stop", STOP_REASON_STOP, "end_turn"),
        ("stop_sequence", STOP_REASON_STOP, "stop_sequence"),
        ("MAX_TOKENS", STOP_REASON_LENGTH, "max_tokens"),
        ("tool_calls", STOP_REASON_TOOL_CALLS, "tool_use"),
        ("SAFETY", STOP_REASON_CONTENT_FILTER, "refusal"),
        ("stop", STOP_REASON_REFUSAL, "refusal"),
        ("pause_turn", STOP_REASON_PAUSED, "pause_turn"),
        ("OTHER", STOP_REASON_UNSPECIFIED, None),
    ],
)
def test_the_reason_to_stop_is_a_word_of_the_api_or_none(
    finish: str, stop: StopReason.ValueType, word: str | None
) -> None:
    assert whole(finish_reason=finish, stop_reason=stop)["stop_reason"] == word


def test_an_answer_without_an_id_is_named_after_the_request() -> None:
    asked = Asked(LlmRequest(), stream=False)
    writer = Messages().writer(asked, Call(asked.request, stream=False, request_id="r1"))

    assert orjson.loads(writer.whole(LlmResponse(), b""))["id"] == "msg_r1"


def test_a_silent_stream_is_kept_alive_by_pings() -> None:
    assert Writer("r").keep_alive() == b'event: ping\ndata: {"type": "ping"}\n\n'


def test_a_count_of_tokens_is_a_number() -> None:
    assert Messages().count(CountTokensResponse(input_tokens=7, estimated=True)) == b'{"input_tokens":7}'


def test_state_of_a_call_that_is_not_sent_back_is_left_alone() -> None:
    call = ToolCall(id="a", tool_name="b", arguments_json="{}", provider_state=b"s", origin="gemini")
    token = whole(message=Message(tool_calls=[call]))["content"][1]
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "assistant", "content": [token]}]}

    assert list(read_request(orjson.dumps(body), {}, counts=False).request.messages[0].tool_calls) == []
