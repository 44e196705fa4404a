"""An answer that is kept tells the same again, and nothing else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_grpc.core.replay import Kept, again, pack, replay, unpack
from loom_grpc.v1.llm_service_pb2 import (
    Completed,
    LlmEvent,
    LlmResponse,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
)
from loom_grpc.v1.message_pb2 import ROLE_ASSISTANT, Citation, Message, Part, ToolCall
from tests.wire.cases import Reading, fixtures, read

KEY = bytes(range(32))
READINGS = {case.id: reading for case in fixtures() if (reading := read(case, [case.body])).response is not None}


def collected(events: list[LlmEvent]) -> tuple[str, str, list[bytes], dict[int, tuple[str, str, str]]]:
    """Returns all text, all reasoning, the parts, and the tool calls, whose pieces come in any order between them.

    What a live stream tells late, such as a source within a text or a signature of all reasoning, the whole answer has at its place.
    """
    calls: dict[int, tuple[str, str, str]] = {}
    for event in events:
        if event.HasField("tool_call_delta"):
            delta = event.tool_call_delta
            id, name, text = calls.get(delta.index, (delta.call_id, delta.tool_name, ""))
            calls[delta.index] = (id, name, text + delta.arguments_fragment)
    return (
        "".join(event.text_delta.content for event in events),
        "".join(event.thinking_delta.content for event in events),
        sorted(event.part.SerializeToString(deterministic=True) for event in events if event.HasField("part")),
        calls,
    )


@pytest.mark.parametrize("reading", READINGS.values(), ids=READINGS)
def test_a_recorded_answer_replays_as_it_came(reading: Reading) -> None:
    assert reading.response is not None
    events = list(replay(reading.response))

    assert events[0].started == Started(
        id=reading.response.id, provider=reading.response.provider, model=reading.response.model
    )
    assert collected(events) == collected(reading.events)
    assert events[-1] == LlmEvent(completed=Completed(response=reading.response))


@pytest.mark.parametrize("reading", READINGS.values(), ids=READINGS)
def test_a_recorded_answer_is_read_as_it_was_packed(reading: Reading) -> None:
    assert reading.response is not None
    whole = Kept("asked", [LlmEvent(completed=Completed(response=reading.response))])
    logged = Kept("asked", reading.events)

    assert [unpack(KEY, pack(KEY, kept)) for kept in (whole, logged)] == [whole, logged]
    assert collected(list(again(whole))) == collected(reading.events)


def test_an_answer_with_all_its_events_is_told_again_word_for_word_as_attempt_0() -> None:
    started = LlmEvent(started=Started(id="1", attempt=3))
    rest = [LlmEvent(native_json=b'{"a":1}'), LlmEvent(completed=Completed(response=LlmResponse(id="1")))]

    assert list(again(Kept("m", [started, *rest]))) == [LlmEvent(started=Started(id="1")), *rest]


def test_recorded_answers_have_what_is_hard_to_replay() -> None:
    answers = [reading.response.message for reading in READINGS.values() if reading.response is not None]
    parts = [part for answer in answers for part in answer.parts]

    assert sum(part.HasField("thinking") and part.provider_state != b"" for part in parts) > 3
    assert sum(part.HasField("citation") for part in parts) > 3
    assert sum(part.HasField("opaque") for part in parts) > 3
    assert sum(bool(answer.tool_calls) for answer in answers) > 20


def test_parts_and_calls_replay_in_the_order_of_the_answer() -> None:
    signed = Part(thinking="Hm.", provider_state=b"s", origin="anthropic")
    source = Part(citation=Citation(url="https://a.example"))
    calls = [
        ToolCall(id="1", tool_name="early", arguments_json="{}", part_index=2),
        ToolCall(id="2", tool_name="late", arguments_json='{"a":1}'),
    ]
    message = Message(
        role=ROLE_ASSISTANT,
        content="before after",
        parts=[signed, Part(text="before"), Part(text=" after"), source],
        tool_calls=calls,
    )
    events = list(replay(LlmResponse(message=message, tool_calls=calls)))

    assert events[1:-1] == [
        LlmEvent(thinking_delta=ThinkingDelta(content="Hm.")),
        LlmEvent(part=signed),
        LlmEvent(text_delta=TextDelta(content="before")),
        LlmEvent(tool_call_delta=ToolCallDelta(call_id="1", tool_name="early", arguments_fragment="{}")),
        LlmEvent(text_delta=TextDelta(content=" after")),
        LlmEvent(part=source),
        LlmEvent(tool_call_delta=ToolCallDelta(call_id="2", tool_name="late", arguments_fragment='{"a":1}', index=1)),
    ]


ANSWER = LlmEvent(completed=Completed(response=LlmResponse(id="a", message=Message(content="kept"))))
VALUE = pack(KEY, Kept("m", [ANSWER]))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"1",
        VALUE[:-1],
        VALUE + b"\0",
        b"0" + VALUE[1:],
        b"1" + VALUE[1:],
        VALUE[:20],
        LlmResponse(id="a").SerializeToString(),
    ],
)
def test_bytes_of_another_version_or_not_whole_are_no_answer(data: bytes) -> None:
    assert unpack(KEY, data) is None


def test_an_answer_under_another_key_is_none() -> None:
    assert unpack(KEY[::-1], VALUE) is None


@given(st.binary(max_size=200))
def test_no_bytes_are_taken_for_an_answer(data: bytes) -> None:
    assert unpack(KEY, data) is None
    assert unpack(KEY, b"2" + data) is None
