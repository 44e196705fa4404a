"""Answers as the Gemini API gives them: whole, as events, and as an array."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_grpc.core.call import Call
from loom_grpc.core.errors import INVALID_REQUEST, PROVIDER_RATE_LIMITED, RATE_LIMITED, TABLE, LlmError, server_draining
from loom_grpc.frontends.body import HttpError
from loom_grpc.frontends.gemini import Gemini, Writer
from loom_grpc.frontends.gemini_request import read_content
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
    Restarted,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
)
from loom_grpc.v1.message_pb2 import ROLE_ASSISTANT, Citation, Media, Message, Opaque, Part, ToolCall
from loom_grpc.v1.usage_pb2 import Usage

STARTED = LlmEvent(started=Started(id="r1", provider="p", model="m", attempt=1))
HEAD = {"modelVersion": "m", "responseId": "r1"}
USAGE = Usage(input_tokens=10, output_tokens=7, cache_read_tokens=4, reasoning_tokens=2)
TOKENS = {
    "promptTokenCount": 10,
    "candidatesTokenCount": 5,
    "totalTokenCount": 17,
    "cachedContentTokenCount": 4,
    "thoughtsTokenCount": 2,
}


def writer(*, sse: bool = True) -> Writer:
    return Writer("request", sse=sse)


def text(content: str) -> LlmEvent:
    return LlmEvent(text_delta=TextDelta(content=content))


def thinking(content: str) -> LlmEvent:
    return LlmEvent(thinking_delta=ThinkingDelta(content=content))


def piece(id: str, name: str, fragment: str, index: int = 0) -> LlmEvent:
    return LlmEvent(tool_call_delta=ToolCallDelta(call_id=id, tool_name=name, arguments_fragment=fragment, index=index))


def answer(**fields: Any) -> LlmResponse:
    defaults: dict[str, Any] = {"id": "r1", "model": "m", "finish_reason": "stop", "stop_reason": STOP_REASON_STOP}
    return LlmResponse(**(defaults | fields))


def completed(**fields: Any) -> LlmEvent:
    return LlmEvent(completed=Completed(response=answer(**fields)))


def chunks(*events: LlmEvent) -> list[Any]:
    """Returns the chunks of a stream, each read by what stands around it."""
    written = writer()
    frames = b"".join(written.event(event) for event in events).split(b"\r\n\r\n")
    assert frames.pop() == b""
    return [orjson.loads(frame.removeprefix(b"data: ")) for frame in frames]


def chunk(*parts: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": list(parts), "role": "model"}, "index": 0}], **HEAD}


def last(*parts: Any, finish: str = "STOP", **more: Any) -> dict[str, Any]:
    content = {"parts": list(parts or [{"text": ""}]), "role": "model"}
    return {"candidates": [{"content": content, "finishReason": finish, "index": 0}], **more, **HEAD}


def whole(response: LlmResponse) -> Any:
    return orjson.loads(writer().whole(response, b""))


def test_a_stream_of_events() -> None:
    written = writer()

    data = b"".join(written.event(event) for event in (STARTED, text('"Hi"\n'), completed(usage=USAGE)))

    assert data == (
        b'data: {"candidates":[{"content":{"parts":[{"text":"\\"Hi\\"\\n"}],"role":"model"},"index":0}],'
        b'"modelVersion":"m","responseId":"r1"}\r\n\r\n'
        b'data: {"candidates":[{"content":{"parts":[{"text":""}],"role":"model"},"finishReason":"STOP","index":0}],'
        b'"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":5,"totalTokenCount":17,'
        b'"cachedContentTokenCount":4,"thoughtsTokenCount":2},"modelVersion":"m","responseId":"r1"}\r\n\r\n'
    )
    assert written.media_type == "text/event-stream"


def test_a_stream_as_an_array() -> None:
    written = writer(sse=False)

    data = b"".join(written.event(event) for event in (STARTED, text("Hi"), completed()))

    assert orjson.loads(written.keep_alive() + data) == [chunk({"text": "Hi"}), last()]
    assert written.media_type == "application/json"


def test_an_array_that_breaks_off_ends_with_the_error() -> None:
    written = writer(sse=False)
    error = LlmError(PROVIDER_RATE_LIMITED, "Too much.", retry_after=1.5)

    data = written.event(STARTED) + written.event(text("Hi")) + written.failed(error)

    details = [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "PROVIDER_RATE_LIMITED",
            "domain": "loom-grpc",
            "metadata": {},
        },
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1.5s"},
        {"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": "request"},
    ]
    status = {"code": 429, "message": "Too much.", "status": "RESOURCE_EXHAUSTED", "details": details}
    assert orjson.loads(data) == [chunk({"text": "Hi"}), {"error": status}]


def test_a_failure_before_anything_was_written_is_an_array_too() -> None:
    written = writer(sse=False)

    data = written.keep_alive() + written.failed(server_draining())

    assert [list(entry) for entry in orjson.loads(data)] == [["error"]]


def test_what_gemini_wrote_is_passed_on_word_for_word() -> None:
    first, second = b'{"candidates":  [1]}', b'{"new":\n{}}'
    events = [
        LlmEvent(started=STARTED.started, native_json=first),
        text("a"),
        LlmEvent(native_json=second),
        completed(),
    ]

    stream, array = writer(), writer(sse=False)

    assert b"".join(map(stream.event, events)) == (
        b'data: {"candidates":  [1]}\r\n\r\ndata: {"new":\r\ndata: {}}\r\n\r\n'
    )
    assert b"".join(map(array.event, events)) == b"[" + first + b",\r\n" + second + b"]"
    assert writer().whole(answer(), first) == first


def test_a_call_is_sent_when_it_is_whole() -> None:
    arguments = '{"q": "<a> & \\"ü\\"", "n": [001]}'.replace("001", "1.00")
    events = [
        STARTED,
        piece("1", "f", arguments[:7]),
        piece("1", "f", arguments[7:]),
        piece("2", "g", "", 1),
        text("then"),
        piece("3", "h", "{}", 2),
        completed(
            stop_reason=STOP_REASON_TOOL_CALLS,
            tool_calls=[
                ToolCall(id="1", tool_name="f", arguments_json=arguments),
                ToolCall(id="2", tool_name="g", arguments_json=""),
                ToolCall(id="3", tool_name="h", arguments_json="{}"),
            ],
        ),
    ]
    written = writer()

    frames = [written.event(event) for event in events]

    assert frames[:3] == [b""] * 3
    assert b'"args":' + arguments.encode() + b"}" in frames[3]
    assert chunks(*events) == [
        chunk({"functionCall": {"id": "1", "name": "f", "args": {"q": '<a> & "ü"', "n": [1.0]}}}),
        chunk({"functionCall": {"id": "2", "name": "g", "args": {}}}),
        chunk({"text": "then"}),
        last({"functionCall": {"id": "3", "name": "h", "args": {}}}),
    ]


@pytest.mark.parametrize(
    ("stop_reason", "finish"),
    [(STOP_REASON_LENGTH, "MAX_TOKENS"), (STOP_REASON_TOOL_CALLS, "MALFORMED_FUNCTION_CALL")],
)
def test_a_call_with_broken_arguments_is_not_sent(stop_reason: Any, finish: str) -> None:
    broken = {"tool_calls": [ToolCall(id="1", tool_name="f", arguments_json='{"a": ')], "stop_reason": stop_reason}

    streamed = chunks(STARTED, piece("1", "f", '{"a": '), completed(**broken))[-1]

    for value in (streamed, whole(answer(**broken))):
        (candidate,) = value["candidates"]
        assert (candidate["content"]["parts"], candidate["finishReason"]) == ([{"text": ""}], finish)


def test_a_whole_answer_has_its_calls_and_sources_at_their_places() -> None:
    response = answer(
        message=Message(
            role=ROLE_ASSISTANT,
            parts=[
                Part(thinking="Hm.", provider_state=b"c2ln", origin="gemini"),
                Part(text="Look:"),
                Part(citation=Citation(url="https://x.test", title="X")),
                Part(citation=Citation(title="Doc", cited_text="words")),
                Part(image=Media(data=b"\0\0\0", media_type="image/png")),
            ],
        ),
        tool_calls=[
            ToolCall(id="1", tool_name="f", arguments_json="{}", part_index=1),
            ToolCall(id="2", tool_name="g", arguments_json='{"a":1}', provider_state=b"AAAA", origin="gemini"),
        ],
        usage=USAGE,
    )

    assert whole(response) == {
        "candidates": [
            {
                "content": {
                    "parts": [
                        {"text": "Hm.", "thought": True, "thoughtSignature": "c2ln"},
                        {"functionCall": {"id": "1", "name": "f", "args": {}}},
                        {"text": "Look:"},
                        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
                        {"functionCall": {"id": "2", "name": "g", "args": {"a": 1}}, "thoughtSignature": "AAAA"},
                    ],
                    "role": "model",
                },
                "finishReason": "STOP",
                "index": 0,
                "groundingMetadata": {
                    "groundingChunks": [
                        {"web": {"uri": "https://x.test", "title": "X"}},
                        {"retrievedContext": {"title": "Doc", "text": "words"}},
                    ]
                },
            }
        ],
        "usageMetadata": TOKENS,
        **HEAD,
    }


@pytest.mark.parametrize(
    ("stop_reason", "word", "finish"),
    [
        (STOP_REASON_STOP, "end_turn", {"finishReason": "STOP"}),
        (STOP_REASON_TOOL_CALLS, "tool_use", {"finishReason": "STOP"}),
        (STOP_REASON_LENGTH, "length", {"finishReason": "MAX_TOKENS"}),
        (STOP_REASON_CONTENT_FILTER, "content_filter", {"finishReason": "SAFETY", "finishMessage": "content_filter"}),
        (STOP_REASON_REFUSAL, "refusal", {"finishReason": "SAFETY", "finishMessage": "refusal"}),
        (STOP_REASON_PAUSED, "pause_turn", {"finishReason": "OTHER", "finishMessage": "pause_turn"}),
        (STOP_REASON_UNSPECIFIED, "new_word", {"finishReason": "OTHER", "finishMessage": "new_word"}),
        (STOP_REASON_UNSPECIFIED, "", {}),
        (STOP_REASON_CONTENT_FILTER, "RECITATION", {"finishReason": "RECITATION"}),
    ],
)
def test_why_the_model_stopped(stop_reason: Any, word: str, finish: dict[str, str]) -> None:
    response = answer(message=Message(content="Hi"), stop_reason=stop_reason, finish_reason=word)

    (candidate,) = whole(response)["candidates"]

    assert {key: value for key, value in candidate.items() if key.startswith("finish")} == finish


@pytest.mark.parametrize(
    ("word", "reason"), [("PROHIBITED_CONTENT", "PROHIBITED_CONTENT"), ("content_filter", "OTHER")]
)
def test_a_blocked_prompt_has_no_candidate(word: str, reason: str) -> None:
    blocked = {"stop_reason": STOP_REASON_CONTENT_FILTER, "finish_reason": word, "usage": Usage(input_tokens=3)}

    expected = {
        "promptFeedback": {"blockReason": reason},
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 0, "totalTokenCount": 3},
        **HEAD,
    }
    assert whole(answer(**blocked)) == expected
    assert chunks(STARTED, completed(**blocked)) == [expected]


def test_nothing_is_said_of_an_attempt_that_begins_anew() -> None:
    assert writer().event(LlmEvent(restarted=Restarted(attempt=2))) == b""


STATE = st.binary(min_size=1, max_size=12)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)


@given(st.lists(WORDS, min_size=1, max_size=3), STATE, STATE, st.lists(WORDS, max_size=3), st.booleans())
def test_what_another_dialect_wants_back_comes_back(
    thoughts: list[str], state: bytes, secret: bytes, said: list[str], is_late: bool
) -> None:
    parts = [
        Part(thinking="".join(thoughts), provider_state=state, origin="anthropic"),
        Part(redacted_thinking="r", provider_state=secret, origin="anthropic"),
        Part(opaque=Opaque(type="server_tool_use", block_json='{"a":1}'), origin="anthropic"),
    ]
    calls = [
        ToolCall(id="1", tool_name="f", arguments_json='{"a":1}', provider_state=state, origin="openai"),
        ToolCall(id="2", tool_name="g", arguments_json="{}", provider_state=secret, origin=""),
    ]
    pieces = [piece("1", "f", '{"a":1}'), piece("2", "g", "{}", 1)]
    tail = [Part(text="".join(said))] if said else []
    message = Message(role=ROLE_ASSISTANT, parts=[*parts, *tail], tool_calls=calls)
    events = [
        STARTED,
        *map(thinking, thoughts),
        *(LlmEvent(part=part) for part in parts),
        *map(text, said),
        *(pieces if is_late else []),
        LlmEvent(completed=Completed(response=answer(message=message, tool_calls=calls))),
    ]

    contents = [candidate["content"] for chunk in chunks(*events) for candidate in chunk["candidates"]]
    streamed, native = read_content(orjson.dumps({"contents": contents}), "m", {})
    (candidate,) = whole(answer(message=message, tool_calls=calls))["candidates"]
    collected, _ = read_content(orjson.dumps({"contents": [candidate["content"]]}), "m", {})

    assert list(streamed.messages) == [message]
    assert list(collected.messages) == [message]
    assert b"bG9vbS" not in orjson.dumps(native.body)


def test_a_request_tells_how_the_answer_is_framed() -> None:
    frontend = Gemini("streamGenerateContent")
    body = b'{"contents":[]}'

    asked = frontend.read(body, {"model": "models/recorded/a:b", "alt": "sse"}, {})

    assert (asked.request, asked.stream, asked.form) == (LlmRequest(model="recorded/a:b"), True, "sse")
    call = Call(asked.request, stream=True, request_id="r")
    assert frontend.writer(asked, call).media_type == "text/event-stream"
    numbers = frontend.read(body, {"model": "m", "$alt": "json;enum-encoding=int"}, {})
    assert frontend.writer(numbers, call).media_type == "application/json"
    with pytest.raises(HttpError) as refusal:
        frontend.read(body, {"model": "m", "alt": "proto"}, {})
    assert refusal.value.field == "alt"


def test_a_count() -> None:
    assert Gemini("countTokens").count(CountTokensResponse(input_tokens=5)) == b'{"totalTokens":5}'


def test_a_limit_that_is_reached_is_told_in_the_details() -> None:
    error = LlmError(RATE_LIMITED, "Why.", retry_after=1.5, scope="key", id='k"\r\nx: y', kind="requests", limit="9")

    status, body = Gemini("generateContent").failure(error, "r")

    types = "type.googleapis.com/google.rpc."
    violation = {"subject": 'key:k"\r\nx: y', "description": "Why.", "quotaMetric": "requests", "quotaValue": "9"}
    assert (status, orjson.loads(body)) == (
        429,
        {
            "error": {
                "code": 429,
                "message": "Why.",
                "status": "RESOURCE_EXHAUSTED",
                "details": [
                    {
                        "@type": f"{types}ErrorInfo",
                        "reason": "RATE_LIMITED",
                        "domain": "loom-grpc",
                        "metadata": {"scope": "key", "id": 'k"\r\nx: y', "kind": "requests", "limit": "9"},
                    },
                    {"@type": f"{types}RetryInfo", "retryDelay": "1.5s"},
                    {"@type": f"{types}QuotaFailure", "violations": [violation]},
                    {"@type": f"{types}RequestInfo", "requestId": "r"},
                ],
            }
        },
    )


def test_every_reason_has_a_status_of_googles() -> None:
    statuses = {Gemini("generateContent").failure(LlmError(reason, "x"), "r")[0] for reason in TABLE}

    assert statuses == {400, 401, 403, 404, 409, 429, 500, 503, 504}


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("messages[2].parts[0].image", "contents"),
        ("max_tokens", "generation_config.max_output_tokens"),
        ("tools[0].googleSearch", "tools[0].google_search"),
        ("generationConfig.candidateCount", "generation_config.candidate_count"),
        ("model", "model"),
    ],
)
def test_a_failure_names_the_field_as_google_does(field: str, name: str) -> None:
    error = LlmError(INVALID_REQUEST, f"{field}: is wrong.", field=field)

    status, body = Gemini("generateContent").failure(error, "r")

    told = orjson.loads(body)["error"]
    violations = [{"field": name, "description": "is wrong."}]
    assert (status, told["code"], told["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert told["message"] == f"Invalid value at '{name}': is wrong."
    assert {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations} in told["details"]


def test_a_refusal_is_the_apis_own_400() -> None:
    error = HttpError(422, "contents[0].role: is odd.", "contents[0].role")

    status, body = Gemini("generateContent").refusal(error, "r")

    assert status == 400
    assert orjson.loads(body) == {
        "error": {
            "code": 400,
            "message": "Invalid value at 'contents[0].role': is odd.",
            "status": "INVALID_ARGUMENT",
            "details": [
                {
                    "@type": "type.googleapis.com/google.rpc.BadRequest",
                    "fieldViolations": [{"field": "contents[0].role", "description": "is odd."}],
                },
                {"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": "r"},
            ],
        }
    }
