from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_grpc.core.call import Call
from loom_grpc.core.errors import INVALID_REQUEST, PROVIDER_UNAVAILABLE, LlmError
from loom_grpc.core.replay import replay
from loom_grpc.frontends.body import HttpError
from loom_grpc.frontends.openai_chat import ChatWriter, OpenAIChat
from loom_grpc.frontends.openai_chat_request import read_request
from loom_grpc.providers.openai import OpenAI
from loom_grpc.v1.llm_service_pb2 import (
    STOP_REASON_CONTENT_FILTER,
    STOP_REASON_PAUSED,
    STOP_REASON_REFUSAL,
    STOP_REASON_STOP,
    STOP_REASON_TOOL_CALLS,
    STOP_REASON_UNSPECIFIED,
    Completed,
    LlmEvent,
    LlmRequest,
    LlmResponse,
    Started,
    StopReason,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
)
from loom_grpc.v1.message_pb2 import ROLE_ASSISTANT, Citation, Media, Message, Opaque, Part, ToolCall
from loom_grpc.v1.usage_pb2 import Usage

ASK: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
STARTED = LlmEvent(started=Started(id="msg_1", provider="anthropic", model="claude", attempt=1))
HEAD = {"id": "chatcmpl-msg_1", "created": 1700000000, "model": "claude"}
USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 7,
    "total_tokens": 17,
    "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 1},
    "completion_tokens_details": {"reasoning_tokens": 5},
}
TOKENS = Usage(input_tokens=10, output_tokens=7, cache_read_tokens=4, cache_write_tokens=1, reasoning_tokens=5)


def writer(**fields: Any) -> ChatWriter:
    front = OpenAIChat(lambda: 1700000000.9)
    asked = front.read(json.dumps(ASK | fields).encode(), {}, {})
    return front.writer(asked, Call(asked.request, stream=asked.stream, request_id="r1"))


def completed(message: Message, stop: StopReason.ValueType = STOP_REASON_STOP, finish: str = "end_turn") -> LlmEvent:
    return LlmEvent(completed=Completed(response=response(message, stop, finish)))


def response(message: Message, stop: StopReason.ValueType = STOP_REASON_STOP, finish: str = "end_turn") -> LlmResponse:
    return LlmResponse(
        id="msg_1",
        model="claude",
        message=message,
        tool_calls=message.tool_calls,
        usage=TOKENS,
        stop_reason=stop,
        finish_reason=finish,
    )


def written(write: ChatWriter, *events: LlmEvent) -> list[Any]:
    """Returns the data of a stream's events, the JSON ones parsed."""
    frames = b"".join(write.event(event) for event in events).decode().split("\n\n")
    assert frames.pop() == ""
    data = [frame.removeprefix("data: ") for frame in frames]
    return [text if text == "[DONE]" else orjson.loads(text) for text in data]


def deltas(write: ChatWriter, *events: LlmEvent) -> list[Any]:
    """Returns the deltas of a stream but for the first, which says who speaks."""
    chunks = written(write, STARTED, *events)
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    return [chunk["choices"][0]["delta"] for chunk in chunks[1:] if chunk != "[DONE]"]


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return {**HEAD, "object": "chat.completion.chunk", "choices": [choice]}


def message(**fields: Any) -> Message:
    return Message(role=ROLE_ASSISTANT, **fields)


def test_a_translated_stream_has_every_chunk_that_openai_would_send() -> None:
    chunks = written(
        writer(stream=True, stream_options={"include_usage": True}),
        STARTED,
        LlmEvent(thinking_delta=ThinkingDelta(content="Hm.")),
        LlmEvent(text_delta=TextDelta(content='Say "ü".')),
        completed(message(content='Say "ü".')),
    )

    assert chunks == [
        chunk({"role": "assistant", "content": "", "refusal": None}) | {"usage": None},
        chunk({"reasoning_content": "Hm."}) | {"usage": None},
        chunk({"content": 'Say "ü".'}) | {"usage": None},
        chunk({}, "stop") | {"usage": None},
        {**HEAD, "object": "chat.completion.chunk", "choices": [], "usage": USAGE},
        "[DONE]",
    ]


def test_without_include_usage_no_chunk_speaks_of_usage() -> None:
    chunks = written(writer(stream=True), STARTED, completed(message(content="")))

    assert chunks == [chunk({"role": "assistant", "content": "", "refusal": None}), chunk({}, "stop"), "[DONE]"]


def test_a_tool_call_has_its_id_and_name_once() -> None:
    def piece(index: int, fragment: str) -> LlmEvent:
        delta = ToolCallDelta(call_id=f"c{index}", tool_name="f", arguments_fragment=fragment, index=index)
        return LlmEvent(tool_call_delta=delta)

    assert deltas(writer(stream=True), piece(0, ""), piece(0, '{"a"'), piece(1, "{}"), piece(0, ":1}")) == [
        {"tool_calls": [{"index": 0, "id": "c0", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]},
        {"tool_calls": [{"index": 1, "id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]},
    ]


def test_callers_of_the_old_form_get_a_function_call() -> None:
    call = ToolCall(id="c", tool_name="f", arguments_json="{}")
    delta = ToolCallDelta(call_id="c", tool_name="f", arguments_fragment="{}")
    end = completed(message(tool_calls=[call]), STOP_REASON_TOOL_CALLS)
    old = {"functions": [{"name": "f"}]}

    streamed = written(writer(stream=True, **old), STARTED, LlmEvent(tool_call_delta=delta), end)
    whole = orjson.loads(writer(**old).whole(end.completed.response, b""))

    function = {"name": "f", "arguments": "{}"}
    assert streamed[1:] == [chunk({"function_call": function}), chunk({}, "function_call"), "[DONE]"]
    assert whole["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": None, "refusal": None, "function_call": function},
            "logprobs": None,
            "finish_reason": "function_call",
        }
    ]


def test_refusals_images_and_sound_are_shown_as_they_come() -> None:
    parts = [
        Part(refusal="No."),
        Part(image=Media(data=b"hi", media_type="image/png")),
        Part(audio=Media(data=b"hi", media_type="audio/wav")),
        Part(opaque=Opaque(type="x", block_json="{}")),
    ]

    assert deltas(writer(stream=True), *(LlmEvent(part=part) for part in parts)) == [
        {"refusal": "No."},
        {"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]},
        {"audio": {"id": "", "data": "aGk=", "expires_at": 0, "transcript": ""}},
    ]


def test_a_whole_answer_has_everything() -> None:
    call = ToolCall(id="c", tool_name="f", arguments_json='{"a":1.0}')
    parts = [Part(thinking="Hm."), Part(text="Yes."), Part(citation=Citation(url="https://a.example", title="A"))]

    whole = writer().whole(
        response(message(content="Yes.", parts=parts, tool_calls=[call]), STOP_REASON_TOOL_CALLS), b""
    )

    source = {"url": "https://a.example", "title": "A", "start_index": 0, "end_index": 4}
    shown = {
        "role": "assistant",
        "content": "Yes.",
        "refusal": None,
        "reasoning_content": "Hm.",
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1.0}'}}],
        "annotations": [{"type": "url_citation", "url_citation": source}],
    }
    choice = {"index": 0, "message": shown, "logprobs": None, "finish_reason": "tool_calls"}
    assert orjson.loads(whole) == {**HEAD, "object": "chat.completion", "choices": [choice], "usage": USAGE}


@pytest.mark.parametrize(
    ("stop", "word", "finish"),
    [
        (STOP_REASON_CONTENT_FILTER, "SAFETY", "content_filter"),
        (STOP_REASON_REFUSAL, "refusal", "content_filter"),
        (STOP_REASON_PAUSED, "pause_turn", "length"),
        (STOP_REASON_UNSPECIFIED, "UNEXPECTED_TOOL_CALL", "UNEXPECTED_TOOL_CALL"),
        (STOP_REASON_UNSPECIFIED, "", None),
    ],
)
def test_no_finish_reason_is_made_up(stop: StopReason.ValueType, word: str, finish: str | None) -> None:
    whole = orjson.loads(writer().whole(response(message(content=""), stop, word), b""))

    assert whole["choices"][0]["finish_reason"] == finish


def test_words_of_refusal_are_a_normal_end_as_at_openai() -> None:
    refused = message(parts=[Part(refusal="No.")])

    choice = orjson.loads(writer().whole(response(refused, STOP_REASON_REFUSAL, "stop"), b""))["choices"][0]

    assert choice["message"] == {"role": "assistant", "content": None, "refusal": "No."}
    assert choice["finish_reason"] == "stop"


KEPT = message(
    content="One. Two.",
    parts=[
        Part(thinking="Hm.", provider_state=b"\x00\xff", origin="anthropic"),
        Part(redacted_thinking="secret", origin="anthropic"),
        Part(text="One. "),
        Part(opaque=Opaque(type="server_tool_use", block_json='{"id": 1}'), origin="anthropic"),
        Part(text="Two."),
    ],
    tool_calls=[
        ToolCall(id="c", tool_name="f", arguments_json="{}", provider_state=b"\x01", origin="gemini", part_index=3)
    ],
)


def brought_back(change: dict[str, Any]) -> tuple[Message, dict[str, Any]]:
    """Returns what is read of an answer that comes back with some changes, and what is left of it in the caller's own words."""
    shown = orjson.loads(writer().whole(response(KEPT, STOP_REASON_TOOL_CALLS), b""))["choices"][0]["message"] | change
    body = {"model": "m", "messages": [shown]}
    request, untold = read_request(body)
    assert untold == ()
    return request.messages[0], body["messages"][0]


def test_state_of_another_dialect_comes_back_byte_for_byte_and_goes_no_further() -> None:
    back, rest = brought_back({})

    assert back == KEPT
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert rest == {
        "role": "assistant",
        "content": "One. Two.",
        "refusal": None,
        "reasoning_content": "Hm.",
        "tool_calls": [call],
    }


def test_a_changed_answer_keeps_its_reasoning_and_the_state_of_its_calls() -> None:
    back, _ = brought_back({"content": "Other."})

    call = ToolCall(id="c", tool_name="f", arguments_json="{}", provider_state=b"\x01", origin="gemini")
    assert back == message(parts=[*KEPT.parts[:2], Part(text="Other.")], tool_calls=[call])


def test_a_stream_brings_the_state_at_its_end() -> None:
    rest, end = deltas(writer(stream=True), completed(KEPT, STOP_REASON_TOOL_CALLS))

    shown = orjson.loads(writer().whole(response(KEPT), b""))["choices"][0]["message"]
    [call] = shown["tool_calls"]
    piece = {"index": 0, "function": {"arguments": ""}, "extra_content": call["extra_content"]}
    assert rest == {"tool_calls": [piece], "reasoning_details": shown["reasoning_details"]}
    assert end == {}


def native(data: str, event: LlmEvent | None = None) -> LlmEvent:
    event = event or LlmEvent()
    event.native_json = data.encode()
    return event


WORD = '{"choices":[{"index":0,"delta":{"content":"hi"}}],"unheard_of":1.0}'
COUNT = '{"choices":[],"usage":{"prompt_tokens":1}}'
FILTERED = '{"choices":[],"prompt_filter_results":[]}'


def relayed(write: ChatWriter, *data: str) -> list[str]:
    events = [STARTED, *map(native, data), LlmEvent(text_delta=TextDelta(content="x")), completed(message(content="x"))]
    frames = b"".join(map(write.event, events)).decode().split("\n\n")
    assert frames.pop() == ""
    return frames


def test_the_providers_own_words_are_relayed_as_they_are() -> None:
    write = writer(stream=True, stream_options={"include_usage": True})

    assert relayed(write, WORD, COUNT) == [f"data: {WORD}", f"data: {COUNT}", "data: [DONE]"]


def test_usage_that_was_not_asked_for_is_not_relayed() -> None:
    assert relayed(writer(stream=True), FILTERED, WORD, COUNT) == [f"data: {FILTERED}", f"data: {WORD}", "data: [DONE]"]


def test_an_event_over_several_lines_is_relayed_as_one() -> None:
    assert relayed(writer(stream=True), '{"choices":\n[{"delta":{}}]}')[0] == 'data: {"choices": [{"delta":{}}]}'


def test_a_whole_answer_of_the_same_dialect_is_relayed_as_it_is() -> None:
    body = b'{"choices": [{"message": {"content": "hi"}}], "unheard_of": 1.0}'

    assert writer().whole(response(message(content="hi")), body) == body


def test_a_chunk_is_no_whole_answer() -> None:
    whole = orjson.loads(writer().whole(response(message(content="hi")), WORD.encode()))

    assert whole["choices"][0]["message"] == {"role": "assistant", "content": "hi", "refusal": None}


def test_a_failed_stream_ends_with_an_error() -> None:
    frame = writer(stream=True).failed(LlmError(PROVIDER_UNAVAILABLE, "Gone."))

    words = {"message": "Gone.", "type": "server_error", "param": None, "code": "provider_unavailable"}
    assert orjson.loads(frame.removeprefix(b"data: ")) == {"error": words}


def test_a_silent_stream_gets_a_comment() -> None:
    assert writer(stream=True).keep_alive() == b": keep-alive\n\n"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("messages[1].parts[2].image", "messages[1].content[2]"),
        ("messages[1].tool_calls[0].tool_name", "messages[1].tool_calls[0].function.name"),
        ("messages[1].tool_calls[0].arguments_json", "messages[1].tool_calls[0].function.arguments"),
        ("tools[0].input_schema_json", "tools[0].function.parameters"),
        ("tool_choice.tool_name", "tool_choice.function.name"),
        ("tool_choice.mode", "tool_choice"),
        ("response_format.json_schema.schema_json", "response_format.json_schema.schema"),
        ("reasoning.effort", "reasoning_effort"),
        ("temperature", "temperature"),
    ],
)
def test_errors_name_the_callers_own_field(ours: str, theirs: str) -> None:
    status, body = OpenAIChat(lambda: 0).failure(LlmError(INVALID_REQUEST, f"{ours}: is wrong.", field=ours), "r1")

    words = {"message": f"{theirs}: is wrong.", "type": "invalid_request_error", "param": theirs, "code": None}
    assert (status, orjson.loads(body)) == (400, {"error": words})


def test_a_body_that_is_no_json_is_refused() -> None:
    with pytest.raises(HttpError) as raised:
        OpenAIChat(lambda: 0).read(b"{", {}, {})

    assert raised.value.status == 400


def test_the_native_request_keeps_what_came() -> None:
    headers = {"openai-beta": "x", "authorization": "Bearer secret"}

    asked = OpenAIChat(lambda: 0).read(json.dumps(ASK | {"stream": True, "n": 2, "x": 1}).encode(), {}, headers)

    assert asked.stream
    assert asked.native is not None
    assert asked.native.dialect == "openai"
    assert asked.native.body == ASK | {"stream": True, "n": 2, "x": 1}
    assert asked.native.headers == {"openai-beta": "x"}
    assert asked.native.untold == ("n", "x")


TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
CALLS = st.lists(
    st.builds(ToolCall, id=TEXTS, tool_name=TEXTS, arguments_json=st.dictionaries(TEXTS, TEXTS).map(json.dumps)),
    max_size=3,
)


@st.composite
def answers(draw: st.DrawFn) -> LlmResponse:
    """Makes an answer of text, reasoning and calls, as a provider gives it."""
    thinking, said, calls = draw(st.just("") | TEXTS), draw(st.just("") | TEXTS), draw(CALLS)
    shown = message(content=said, tool_calls=calls)
    if thinking:
        shown.parts.extend([Part(thinking=thinking), *([Part(text=said)] if said else [])])
    answered = response(shown, STOP_REASON_TOOL_CALLS if calls else STOP_REASON_STOP)
    answered.provider = "anthropic"
    return answered


def reread(data: bytes, media_type: str) -> LlmResponse:
    """Reads an answer of ours as a provider's."""
    call = Call(LlmRequest(), media_type == "text/event-stream", "r1", provider="anthropic", model="claude")
    decoder = OpenAI().decoder(call, media_type)
    events = decoder.feed(data) + decoder.end()
    assert decoder.failure is None
    return events[-1].completed.response


@given(answers())
def test_our_own_reader_finds_in_an_answer_what_was_written(answered: LlmResponse) -> None:
    write = writer(stream=True, stream_options={"include_usage": True})
    events = replay(answered)

    whole = reread(writer().whole(answered, b""), "application/json")
    streamed = reread(b"".join(map(write.event, events)), "text/event-stream")

    for found in (whole, streamed):
        found.usage.provider_usage_json = ""
        found.id = found.id.removeprefix("chatcmpl-")
        found.finish_reason = answered.finish_reason
        assert found == answered
