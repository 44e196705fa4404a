"""The judgement of clients/conformance: a right answer is green, and every wrong one red."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from google.protobuf.message import Message

from clients.conformance.case import Case
from clients.conformance.judge import judge
from clients.conformance.match import Matcher
from clients.conformance.odd import Seen
from loom_grpc.client import LlmEvent, LlmRequest, LlmResponse, ToolCall, assistant, user
from loom_grpc.v1.llm_service_pb2 import Completed, Started, TextDelta, ToolCallDelta

WORDS = {"target": "127.0.0.1:1", "language": "go"}
KEY = "lk_secret"

STARTED = LlmEvent(started=Started(attempt=1))
HELLO, YOU = (LlmEvent(text_delta=TextDelta(content=text)) for text in ("Hello ", "you"))
ANSWER = LlmResponse(message=assistant("Hello you"), id="a-1")
COMPLETED = LlmEvent(completed=Completed(response=ANSWER))

STREAM = Case(
    name="stream",
    row="stream",
    server="plain",
    method="stream",
    request={"messages": [{"role": "ROLE_USER", "content": "Hi"}]},
    expect={
        "events": ["started", "text_delta", "completed"],
        "count": 4,
        "text": "Hello you",
        "response": {
            "message": {"role": "ROLE_ASSISTANT", "content": "Hello you"},
            "id": Matcher("!match", r"a-\d"),
        },
        "trailers": {"loom-request-id": Matcher("!any")},
        "elapsed_ms": Matcher("!between", [0, 100]),
    },
)
ERROR = Case(
    name="error",
    row="error",
    server="plain",
    method="complete",
    expect={
        "error": {
            "reason": "PROVIDER_RATE_LIMITED",
            "message": Matcher("!any"),
            "retry_after_ms": 1500,
            "metadata": {"target": "$target"},
            "partial": {"message": {"role": "ROLE_ASSISTANT", "content": "Hello you"}, "id": "a-1"},
        }
    },
)
TOLD = {
    "reason": "PROVIDER_RATE_LIMITED",
    "message": "Wait.",
    "retry_after_ms": 1500,
    "metadata": {"target": "127.0.0.1:1"},
}


def text(message: Message) -> str:
    return base64.b64encode(message.SerializeToString()).decode()


def streamed(*events: LlmEvent, **other: Any) -> dict[str, Any]:
    right = {
        "name": "stream",
        "response": text(ANSWER),
        "events": [text(event) for event in events or (STARTED, HELLO, YOU, COMPLETED)],
        "error": None,
        "cancelled": False,
        "trailers": {"loom-request-id": "r", "date": "today"},
        "elapsed_ms": 12.5,
    }
    return right | other


def failed(**other: Any) -> dict[str, Any]:
    error = {**TOLD, "partial": text(ANSWER), **other}
    rest: dict[str, Any] = {"name": "error", "response": None, "cancelled": False, "trailers": {}, "elapsed_ms": 1}
    return {**rest, "error": error}


def judged(case: Case, answer: dict[str, Any], seen: Seen | None = None) -> list[str]:
    return judge(case, WORDS, json.dumps(answer), seen, KEY)


def test_right_answers_are_green() -> None:
    assert judged(STREAM, streamed()) == []
    assert judged(ERROR, failed()) == []


def test_events_of_unknown_cases_may_be_handed_on_or_passed_over() -> None:
    handed_on = LlmEvent.FromString(bytes.fromhex("9a06030a0178"))

    assert judged(STREAM, streamed(STARTED, HELLO, YOU, handed_on, COMPLETED) | {"events": None}) != []
    assert judged(STREAM, streamed(STARTED, handed_on, HELLO, COMPLETED)) != []
    without_count = Case(**{**vars(STREAM), "expect": {k: v for k, v in STREAM.expect.items() if k != "count"}})
    assert judged(without_count, streamed(STARTED, HELLO, handed_on, YOU, COMPLETED)) == []


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (streamed(response=text(LlmResponse(message=assistant("Hello")))), "the response is not that of `completed`"),
        (streamed(response=None), "the response is not that of `completed`"),
        (streamed(STARTED, HELLO, COMPLETED), "the deltas are not the text of the whole answer"),
        (
            streamed(STARTED, HELLO, YOU),
            "events: ['started', 'text_delta'] instead of ['started', 'text_delta', 'completed']",
        ),
        (
            streamed(HELLO, YOU, COMPLETED),
            "events: ['text_delta', 'completed'] instead of ['started', 'text_delta', 'completed']",
        ),
        (streamed(STARTED, HELLO, YOU, COMPLETED, COMPLETED), "count: 5 instead of 4"),
        (streamed(cancelled=True), "cancelled: True instead of False"),
        (streamed(elapsed_ms=100.5), "elapsed_ms: 100.5 instead of !between [0, 100]"),
        (streamed(elapsed_ms=-1), "elapsed_ms is negative"),
        (streamed(trailers={}), "trailers.loom-request-id: nothing instead of !any"),
        (
            streamed(trailers={"loom-request-id": "r", "loom-model": "m"}),
            "trailers.loom-model: 'm' instead of nothing",
        ),
        (streamed(error={**TOLD, "partial": None}), "instead of nothing"),
        (streamed(events=["?"]), "the answer cannot be read"),
        (streamed(response="CgM="), "the answer cannot be read"),
        (streamed(trailers={"loom-request-id": f"Bearer {KEY}"}), "the answer shows the API key"),
        ({"name": "stream", "failed": "no such method"}, "the runner could not carry the case out: no such method"),
        ({"name": "stream", "response": None}, "the answer lacks cancelled, elapsed_ms, error, events, trailers"),
        (streamed(name="another"), "the runner printed what is not its answer"),
    ],
)
def test_a_wrong_stream_is_red(answer: dict[str, Any], problem: str) -> None:
    assert problem in "\n".join(judged(STREAM, answer))


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (failed(reason="RATE_LIMITED"), "error.reason: 'RATE_LIMITED' instead of 'PROVIDER_RATE_LIMITED'"),
        (failed(message=""), "error.message: '' instead of !any"),
        (failed(retry_after_ms=None), "error.retry_after_ms: nothing instead of 1500"),
        (failed(retry_after_ms=1.5), "error.retry_after_ms: 1.5 instead of 1500"),
        (failed(metadata={}), "error.metadata.target: nothing instead of '127.0.0.1:1'"),
        (failed(metadata={"target": "127.0.0.1:1", "more": "x"}), "error.metadata.more: 'x' instead of nothing"),
        (failed(partial=None), "error.partial: nothing instead of {'message'"),
        (failed(partial=text(LlmResponse(id="a-1"))), "error.partial.message: nothing instead of {'role'"),
        (failed(stack="..."), "the error has ['message', 'metadata', 'partial', 'reason', 'retry_after_ms', 'stack']"),
        ({**failed(), "error": None}, "error: nothing instead of {"),
        ({**failed(), "response": text(ANSWER)}, "response: {"),
    ],
)
def test_a_wrong_error_is_red(answer: dict[str, Any], problem: str) -> None:
    assert problem in "\n".join(judged(ERROR, answer))


@pytest.mark.parametrize("line", ["", "Listening ...\n", "[]\n", '"stream"\n', '{"name": "stream"'])
def test_what_is_no_answer_is_red(line: str) -> None:
    assert judge(STREAM, WORDS, line) != []


def test_fragments_that_are_not_the_calls_of_the_whole_answer_are_red() -> None:
    call = ToolCall(id="c1", tool_name="f", arguments_json='{"a":1}')
    response = LlmResponse(tool_calls=[call])
    fragments = [
        LlmEvent(tool_call_delta=ToolCallDelta(call_id="c1", tool_name="f", arguments_fragment=part))
        for part in ('{"a"', ":1}")
    ]
    case = Case(
        name="stream",
        row="stream",
        server="plain",
        method="stream",
        expect={
            "events": ["tool_call_delta", "completed"],
            "response": {"tool_calls": [{"id": "c1", "tool_name": "f", "arguments_json": '{"a":1}'}]},
        },
    )
    completed = LlmEvent(completed=Completed(response=response))

    assert judged(case, streamed(*fragments, completed, response=text(response))) == []
    assert judged(case, streamed(fragments[0], completed, response=text(response))) == [
        "the fragments are not the tool calls of the whole answer"
    ]


def asked(*requests: LlmRequest, cancelled: bool = False) -> Seen:
    seen = Seen()
    seen.requests = [request.SerializeToString() for request in requests]
    seen.metadata = {"x": "y"}
    if cancelled:
        seen.cancelled.set()
    return seen


def test_what_the_server_saw_counts() -> None:
    request = LlmRequest(messages=[user("Hi")])
    wanted = {**STREAM.expect, "seen": {"cancelled": True, "x": "y"}}
    case = Case(**{**vars(STREAM), "expect": wanted})

    assert judged(case, streamed(), asked(request, cancelled=True)) == []
    assert judged(case, streamed(), asked(request)) == ["seen.cancelled: False instead of True"]
    assert judged(case, streamed(), asked(request, request, cancelled=True)) == ["the server was asked 2 times"]
    assert judged(case, streamed(), asked(LlmRequest(), cancelled=True)) == ["the request arrived as another one"]
    assert judged(case, streamed(), asked(cancelled=True)) == ["the server was asked 0 times"]
