from __future__ import annotations

import json
import re
from typing import Any

import orjson
import pytest

from loom_grpc.core.call import Call
from loom_grpc.core.errors import CONTEXT_TOO_LONG, INVALID_REQUEST, PROVIDER_UNAVAILABLE, LlmError
from loom_grpc.core.replay import replay
from loom_grpc.frontends.body import HttpError
from loom_grpc.frontends.openai_responses import OpenAIResponses, ResponsesWriter
from loom_grpc.v1.llm_service_pb2 import (
    STOP_REASON_CONTENT_FILTER,
    STOP_REASON_LENGTH,
    STOP_REASON_STOP,
    STOP_REASON_TOOL_CALLS,
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
from loom_grpc.v1.message_pb2 import ROLE_ASSISTANT, Citation, Media, Message, Part, ToolCall
from loom_grpc.v1.usage_pb2 import Usage

ASK: dict[str, Any] = {"model": "m", "input": "hi"}
STARTED = LlmEvent(started=Started(id="msg_1", provider="anthropic", model="claude", attempt=1))


def writer(**fields: Any) -> ResponsesWriter:
    frontend = OpenAIResponses(lambda: 1000.0)
    asked = frontend.read(json.dumps(ASK | fields).encode(), {}, {})
    return frontend.writer(asked, Call(asked.request, asked.stream, "r"))


def text(content: str) -> LlmEvent:
    return LlmEvent(text_delta=TextDelta(content=content))


def done(message: Message, stop: StopReason.ValueType = STOP_REASON_STOP, **fields: Any) -> LlmEvent:
    message.role = ROLE_ASSISTANT
    response = LlmResponse(message=message, stop_reason=stop, model="claude", **fields)
    return LlmEvent(completed=Completed(response=response))


def parsed(data: bytes) -> list[dict[str, Any]]:
    """Reads a stream; ids become `msg`, `rs` and so on, each `event:` line is compared with its type, and numbers must have no gap."""
    frames = [frame.split(b"\n", 1) for frame in data.split(b"\n\n") if frame]
    events = []
    for name, line in frames:
        value = orjson.loads(
            re.sub(rb'"(resp|msg|rs|fc|ig)_loom[0-9a-f]{40}\d*"', rb'"\1"', line.removeprefix(b"data: "))
        )
        assert name == b"event: " + value["type"].encode()
        events.append(value)
    assert [event.pop("sequence_number") for event in events] == list(range(len(events)))
    return events


def written(*events: LlmEvent, **fields: Any) -> list[dict[str, Any]]:
    """Returns the stream that is made of events."""
    one = writer(stream=True, **fields)
    return parsed(b"".join(map(one.event, events)))


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


MESSAGE = {"id": "msg", "type": "message", "status": "completed", "role": "assistant"}
WORDS = {"type": "output_text", "annotations": [], "logprobs": [], "text": "Hello."}


def test_text_is_told_event_by_event() -> None:
    usage = Usage(input_tokens=5, output_tokens=2, cache_read_tokens=1)

    events = written(STARTED, text("Hel"), text("lo"), text("."), done(Message(content="Hello."), usage=usage))

    response = events[0]["response"]
    place = {"item_id": "msg", "output_index": 0, "content_index": 0}
    whole = {**MESSAGE, "content": [WORDS]}
    assert events == [
        {"type": "response.created", "response": response},
        {"type": "response.in_progress", "response": response},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {**MESSAGE, "status": "in_progress", "content": []},
        },
        {"type": "response.content_part.added", **place, "part": {**WORDS, "text": ""}},
        {"type": "response.output_text.delta", **place, "delta": "Hel", "logprobs": []},
        {"type": "response.output_text.delta", **place, "delta": "lo", "logprobs": []},
        {"type": "response.output_text.delta", **place, "delta": ".", "logprobs": []},
        {"type": "response.output_text.done", **place, "text": "Hello.", "logprobs": []},
        {"type": "response.content_part.done", **place, "part": WORDS},
        {"type": "response.output_item.done", "output_index": 0, "item": whole},
        {
            "type": "response.completed",
            "response": {
                **response,
                "status": "completed",
                "completed_at": 1000,
                "output": [whole],
                "usage": {
                    "input_tokens": 5,
                    "input_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 0},
                    "output_tokens": 2,
                    "output_tokens_details": {"reasoning_tokens": 0},
                    "total_tokens": 7,
                },
            },
        },
    ]
    assert (response["id"], response["model"], response["status"], response["output"]) == (
        "resp",
        "claude",
        "in_progress",
        [],
    )


def tool(fragment: str, index: int = 0) -> LlmEvent:
    delta = ToolCallDelta(call_id=f"call_{index}", tool_name="weather", arguments_fragment=fragment, index=index)
    return LlmEvent(tool_call_delta=delta)


def called(*arguments: str) -> list[ToolCall]:
    return [
        ToolCall(id=f"call_{index}", tool_name="weather", arguments_json=text) for index, text in enumerate(arguments)
    ]


def test_reasoning_text_and_calls_each_have_their_item() -> None:
    message = Message(
        content="Look.", parts=[Part(thinking="Hm."), Part(text="Look.")], tool_calls=called('{"a":1}', "{}")
    )
    thought = LlmEvent(thinking_delta=ThinkingDelta(content="Hm."))

    events = written(
        STARTED,
        *(thought, text("Look."), tool('{"a"'), tool(":1}"), tool("{}", 1)),
        done(message, STOP_REASON_TOOL_CALLS),
    )

    assert kinds(events) == [
        *("created", "in_progress"),
        *("output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta"),
        *("reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done"),
        *("output_item.added", "content_part.added", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done"),
        *("output_item.added", "function_call_arguments.delta", "function_call_arguments.delta"),
        *("output_item.added", "function_call_arguments.delta"),
        *("function_call_arguments.done", "output_item.done", "function_call_arguments.done", "output_item.done"),
        "completed",
    ]
    call = {"id": "fc", "type": "function_call", "status": "completed", "name": "weather"}
    assert events[-1]["response"]["output"] == [
        {"id": "rs", "type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
        {**MESSAGE, "content": [{**WORDS, "text": "Look."}]},
        {**call, "call_id": "call_0", "arguments": '{"a":1}'},
        {**call, "call_id": "call_1", "arguments": "{}"},
    ]


def test_a_refusal_is_a_piece_of_the_message() -> None:
    part = Part(refusal="No.")

    events = written(STARTED, LlmEvent(part=part), done(Message(parts=[part])))

    assert kinds(events)[2:] == [
        *("output_item.added", "content_part.added", "refusal.delta", "refusal.done", "content_part.done"),
        *("output_item.done", "completed"),
    ]
    assert events[-1]["response"]["output"][0]["content"] == [{"type": "refusal", "refusal": "No."}]


def test_sources_are_told_with_the_text_that_they_support() -> None:
    source = Part(citation=Citation(url="https://example.com", title="Example"))
    message = Message(content="Yes. No.", parts=[Part(text="Yes. No."), source])

    events = written(STARTED, text("Yes. "), LlmEvent(part=source), text("No."), LlmEvent(part=source), done(message))

    spans = [
        (event["annotation"]["start_index"], event["annotation"]["end_index"])
        for event in events
        if event["type"] == "response.output_text.annotation.added"
    ]
    assert spans == [(0, 5), (5, 8)]
    assert len(events[-1]["response"]["output"][0]["content"][0]["annotations"]) == 2


def test_a_picture_is_an_item() -> None:
    part = Part(image=Media(data=b"hi", media_type="image/png"))

    events = written(STARTED, LlmEvent(part=part), done(Message(parts=[part])))

    assert events[-1]["response"]["output"] == [
        {"id": "ig", "type": "image_generation_call", "status": "completed", "result": "aGk="}
    ]


@pytest.mark.parametrize(
    ("stop", "reason"), [(STOP_REASON_LENGTH, "max_output_tokens"), (STOP_REASON_CONTENT_FILTER, "content_filter")]
)
def test_an_answer_that_was_cut_short_is_incomplete(stop: StopReason.ValueType, reason: str) -> None:
    events = written(STARTED, text("Hel"), done(Message(content="Hel"), stop))

    last = events[-1]
    assert (last["type"], last["response"]["status"]) == ("response.incomplete", "incomplete")
    assert last["response"]["incomplete_details"] == {"reason": reason}
    assert last["response"]["output"][0]["status"] == "incomplete"


def test_what_the_caller_said_comes_back() -> None:
    said = {
        "instructions": "Be brief.",
        "metadata": {"a": "b"},
        "max_output_tokens": 9,
        "temperature": 0.5,
        "tools": [{"type": "function", "name": "weather", "parameters": {"minimum": 123456789012345678901234567890}}],
        "previous_response_id": "resp_0",
        "text": {"verbosity": "low"},
        "reasoning": {"effort": "low"},
    }

    body = writer(**said).whole(done(Message(content="Hello.")).completed.response, b"")

    assert b"123456789012345678901234567890" in body
    response = orjson.loads(body)
    for key in ("instructions", "metadata", "max_output_tokens", "temperature", "previous_response_id"):
        assert response[key] == said[key]
    assert response["text"] == {"format": {"type": "text"}, "verbosity": "low"}
    assert response["reasoning"] == {"effort": "low", "summary": None}
    assert response["output"][0]["content"][0]["text"] == "Hello."


SIGNED = Message(
    role=ROLE_ASSISTANT,
    content="Hello.",
    parts=[Part(thinking="Hm.", provider_state=b"\x00", origin="anthropic"), Part(text="Hello.")],
)


@pytest.mark.parametrize("stream", [False, True])
def test_state_is_kept_always_and_shown_to_whoever_asks(stream: bool) -> None:
    end = done(Message.FromString(SIGNED.SerializeToString()))
    for include, shown in (([], 2), (["reasoning.encrypted_content"], 3)):
        one = writer(include=include)
        if stream:
            events = [event for response in [end.completed.response] for event in replay(response)]
            last = parsed(b"".join(map(one.event, events)))[-1]["response"]
        else:
            last = orjson.loads(one.whole(end.completed.response, b""))

        assert [item["type"] for item in last["output"]] == ["reasoning", "message", "reasoning"][:shown]
        assert len(one.final["output"]) == 3


def without_ids(output: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in item.items() if key != "id"} for item in output]


def test_a_whole_answer_and_a_stream_say_the_same() -> None:
    message = Message(
        role=ROLE_ASSISTANT,
        content="One.Two.",
        parts=[Part(thinking="Hm."), Part(text="One."), Part(text="Two.")],
        tool_calls=[ToolCall(id="call_0", tool_name="weather", arguments_json="{}", part_index=2)],
    )
    response = LlmResponse(message=message, stop_reason=STOP_REASON_TOOL_CALLS)
    whole, streamed = writer(), writer(stream=True)
    whole.whole(response, b"")
    for event in replay(response):
        streamed.event(event)

    assert [item["type"] for item in whole.final["output"]] == [
        *("reasoning", "message", "function_call", "message", "reasoning")
    ]
    assert without_ids(whole.final["output"]) == without_ids(streamed.final["output"])


def test_a_stream_that_fails_says_so_and_has_no_completed_response() -> None:
    one = writer(stream=True)
    data = one.event(STARTED) + one.event(text("Hel")) + one.failed(LlmError(PROVIDER_UNAVAILABLE, "It broke off."))

    events = parsed(data)

    words = {"message": "It broke off.", "type": "server_error", "param": None, "code": "provider_unavailable"}
    assert events[-5]["type"] == "error"
    assert events[-5]["error"] == words
    last = events[-1]
    assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
    assert last["response"]["error"] == {"code": "provider_unavailable", "message": "It broke off."}
    assert last["response"]["output"][0]["content"][0]["text"] == "Hel"
    assert one.final == {}


NATIVE = [
    b'{"type":"response.created","response":{"id":"resp_1","previous_response_id":null,"output":[]},"sequence_number":0}',
    b'{"response":{"id":"resp_1"},"type":"response.in_progress"}',
    b'{"type":"response.completed","response":{"id":"resp_1","previous_response_id": null,"status":"completed","output":[]}}',
]


def test_the_providers_own_events_are_handed_on_word_for_word() -> None:
    one = writer(stream=True)
    end = done(Message(content="Hello."))
    end.native_json = NATIVE[2]

    data = [one.event(event) for event in (STARTED, *(LlmEvent(native_json=line) for line in NATIVE[:2]), end)]

    assert data == [
        b"",
        b"event: response.created\ndata: " + NATIVE[0] + b"\n\n",
        b"event: response.in_progress\ndata: " + NATIVE[1] + b"\n\n",
        b"event: response.completed\ndata: " + NATIVE[2] + b"\n\n",
    ]


def test_the_response_before_is_named_although_the_provider_was_not_told_it() -> None:
    one = writer(stream=True, previous_response_id="resp_0")
    end = done(Message(content="Hello."))
    end.native_json = NATIVE[2]
    one.event(STARTED)
    first = one.event(LlmEvent(native_json=NATIVE[0]))
    one.foresee(end)

    assert b'"previous_response_id":"resp_0"' in first
    assert b'"previous_response_id":"resp_0"' in one.event(end)
    assert one.final == {"id": "resp_1", "previous_response_id": "resp_0", "status": "completed", "output": []}


def test_a_whole_response_of_the_provider_is_handed_on_word_for_word() -> None:
    native = b'{ "id": "resp_1", "object":"response", "output": [], "number": 12345678901234567890123 }'

    assert writer().whole(done(Message(content="Hello.")).completed.response, native) == native


def test_a_whole_response_in_answer_to_a_request_for_a_stream_becomes_one() -> None:
    one = writer(stream=True)
    first = text("Hello.")
    first.native_json = b'{"id":"resp_1","object":"response","output":[]}'

    events = parsed(one.event(STARTED) + one.event(first) + one.event(done(Message(content="Hello."))))

    assert kinds(events)[-1] == "completed"


def test_errors_are_in_openais_words() -> None:
    frontend = OpenAIResponses(lambda: 0.0)

    told = frontend.failure(
        LlmError(INVALID_REQUEST, "messages[1].parts[0]: is wrong.", field="messages[1].parts[0]"), ""
    )
    too_long = frontend.failure(LlmError(CONTEXT_TOO_LONG, "Too long."), "")
    refused = frontend.refusal(HttpError(422, "input[0]: must be an object.", "input[0]"), "")

    assert (told[0], orjson.loads(told[1])["error"]["param"]) == (400, "input")
    assert (too_long[0], orjson.loads(too_long[1])["error"]["param"]) == (400, "input")
    assert (refused[0], orjson.loads(refused[1])["error"]["param"]) == (400, "input[0]")


def test_background_responses_are_refused() -> None:
    with pytest.raises(HttpError) as raised:
        OpenAIResponses(lambda: 0.0).read(orjson.dumps({**ASK, "background": True}), {}, {})

    assert raised.value.field == "background"


def test_what_only_this_server_knows_is_not_sent_to_a_provider_of_the_same_api() -> None:
    items: list[dict[str, Any]] = [
        {"id": "msg_loom00", "type": "message", "role": "user", "content": "hi"},
        {"id": "rs_loom01", "type": "reasoning", "summary": []},
        {"type": "reasoning", "summary": [], "encrypted_content": "loom.AAAA"},
        {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "c2VjcmV0"},
    ]

    frontend = OpenAIResponses(lambda: 0.0)
    with pytest.raises(HttpError):
        frontend.read(orjson.dumps({**ASK, "input": items}), {}, {})
    del items[2]["encrypted_content"]
    items[2]["id"] = "rs_loom02"
    asked = frontend.read(orjson.dumps({**ASK, "input": items}), {}, {})

    assert asked.native is not None
    assert asked.native.body["input"] == [{"type": "message", "role": "user", "content": "hi"}, items[3]]
    assert asked.request == LlmRequest(model="m", messages=asked.request.messages)
