"""The events of an answer and the whole answer tell the same."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_grpc.core.call import Call
from loom_grpc.core.errors import PROVIDER_BAD_RESPONSE, PROVIDER_RATE_LIMITED, LlmError
from loom_grpc.core.events import Answer, error_event
from loom_grpc.v1.llm_service_pb2 import (
    STOP_REASON_LENGTH,
    STOP_REASON_REFUSAL,
    STOP_REASON_STOP,
    STOP_REASON_TOOL_CALLS,
    STOP_REASON_UNSPECIFIED,
    Completed,
    Error,
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

STARTED = LlmEvent(started=Started(id="m1", provider="here", model="said", attempt=2))
SOURCE = Citation(url="https://a.example", citation_json='{"url":"https://a.example"}')


def new_answer() -> Answer:
    call = Call(LlmRequest(), stream=True, request_id="r", provider="here", model="asked", attempt=2)
    answer = Answer(call, "dialect", lambda usage: Usage(output_tokens=usage["out"]))
    answer.id, answer.model = "m1", "said"
    return answer


def text(content: str) -> LlmEvent:
    return LlmEvent(text_delta=TextDelta(content=content))


def thinking(content: str) -> LlmEvent:
    return LlmEvent(thinking_delta=ThinkingDelta(content=content))


def tool(id: str, name: str, fragment: str, index: int = 0) -> LlmEvent:
    delta = ToolCallDelta(call_id=id, tool_name=name, arguments_fragment=fragment, index=index)
    return LlmEvent(tool_call_delta=delta)


def completed(message: Message, finish: str = "stop", stop: StopReason.ValueType = STOP_REASON_STOP) -> LlmEvent:
    message.role = ROLE_ASSISTANT
    response = LlmResponse(
        message=message,
        tool_calls=message.tool_calls,
        finish_reason=finish,
        stop_reason=stop,
        id="m1",
        provider="here",
        model="said",
    )
    return LlmEvent(completed=Completed(response=response))


def end(answer: Answer, finish: str = "stop", stop: StopReason.ValueType = STOP_REASON_STOP) -> LlmResponse:
    answer.complete(finish, stop)
    return answer.take()[-1].completed.response


def test_nothing_leaves_before_the_first_content() -> None:
    answer = new_answer()
    answer.text("")
    answer.thinking("")
    answer.tool(0)
    answer.usage = {"out": 1}

    assert answer.take() == []
    assert answer.empty


def test_started_leaves_once_together_with_the_first_content() -> None:
    answer = new_answer()
    answer.text("a")
    first = answer.take()
    answer.text("b")

    assert first == [STARTED, text("a")]
    assert answer.take() == [text("b")]


def test_started_tells_what_is_known_by_then() -> None:
    answer = new_answer()
    answer.id, answer.model = "", "asked"
    answer.text("a")
    events = answer.take()
    answer.id, answer.model = "late", "later"
    response = end(answer)

    assert events[0] == LlmEvent(started=Started(provider="here", model="asked", attempt=2))
    assert (response.id, response.model) == ("late", "later")


def test_neighbouring_texts_of_one_read_are_one_event() -> None:
    answer = new_answer()
    for word in ("One", " two", " three"):
        answer.text(word)
    answer.thinking("Hm")
    answer.thinking("m")
    answer.text("!")

    assert answer.take() == [STARTED, text("One two three"), thinking("Hmm"), text("!")]


def test_texts_of_different_reads_are_different_events() -> None:
    answer = new_answer()
    answer.text("One")
    answer.take()
    answer.text(" two")

    assert answer.take() == [text(" two")]
    answer.complete("stop", STOP_REASON_STOP)
    assert answer.take() == [completed(Message(content="One two"))]


def test_an_answer_without_content_is_started_and_completed() -> None:
    answer = new_answer()
    answer.complete("stop", STOP_REASON_STOP)

    assert answer.take() == [STARTED, completed(Message())]


def test_a_tool_call_has_its_id_and_name_on_every_piece() -> None:
    answer = new_answer()
    answer.tool(0, id="c1", name="add")
    answer.tool(0, fragment='{"a":')
    answer.tool(0, fragment="1}")
    answer.complete("tool_calls", STOP_REASON_TOOL_CALLS)

    assert answer.take() == [
        STARTED,
        tool("c1", "add", ""),
        tool("c1", "add", '{"a":'),
        tool("c1", "add", "1}"),
        completed(
            Message(tool_calls=[ToolCall(id="c1", tool_name="add", arguments_json='{"a":1}')]),
            "tool_calls",
            STOP_REASON_TOOL_CALLS,
        ),
    ]


def test_a_name_that_comes_late_holds_the_pieces_back() -> None:
    answer = new_answer()
    answer.tool(0, id="c1", fragment='{"a"')
    answer.tool(0, fragment=":1")
    before = answer.take()
    answer.tool(0, name="add", fragment="}")

    assert before == []
    assert answer.take() == [STARTED, tool("c1", "add", '{"a":1}')]


def test_an_id_that_never_comes_is_made_and_stays() -> None:
    answer = new_answer()
    answer.tool(0, name="add", fragment="{")
    answer.tool(0, fragment="}", id="too late")
    deltas = [event.tool_call_delta for event in answer.take()[1:]]
    call = end(answer).tool_calls[0]

    assert re.fullmatch("call_[0-9a-f]{24}", call.id)
    assert {delta.call_id for delta in deltas} == {call.id}


def test_made_up_ids_differ() -> None:
    answer = new_answer()
    for key in range(3):
        answer.tool(key, name="add")

    assert len({call.id for call in end(answer).tool_calls}) == 3


@pytest.mark.parametrize("fragment", ["", " ", "\n"])
def test_a_call_without_arguments_has_an_empty_object(fragment: str) -> None:
    answer = new_answer()
    answer.tool(0, id="c1", name="now")
    answer.tool(0, fragment=fragment)
    answer.end_tool(0)
    pieces = "".join(event.tool_call_delta.arguments_fragment for event in answer.take())

    assert end(answer).tool_calls[0].arguments_json == pieces == fragment + "{}"


def test_parallel_calls_may_be_spelled_out_in_turns() -> None:
    answer = new_answer()
    answer.tool("x", id="c1", name="add", fragment="{")
    answer.tool("y", id="c2", name="sub", fragment="[")
    answer.tool("x", fragment="}")
    answer.tool("y", fragment="]")

    assert answer.take() == [
        STARTED,
        tool("c1", "add", "{", 0),
        tool("c2", "sub", "[", 1),
        tool("c1", "add", "}", 0),
        tool("c2", "sub", "]", 1),
    ]
    assert [call.arguments_json for call in end(answer).tool_calls] == ["{}", "[]"]


def test_a_name_or_an_id_that_comes_again_changes_nothing() -> None:
    answer = new_answer()
    answer.tool(0, id="c1", name="add", fragment="{")
    answer.tool(0, id="c1", name="add")
    answer.tool(0, id="c9", name="other", fragment="}")

    assert answer.take()[1:] == [tool("c1", "add", "{"), tool("c1", "add", "}")]


def test_a_call_without_a_name_makes_the_answer_bad() -> None:
    answer = new_answer()
    answer.text("a")
    answer.tool(0, id="c1", fragment="{}")

    with pytest.raises(LlmError) as caught:
        answer.complete("stop", STOP_REASON_STOP)
    assert caught.value.reason == PROVIDER_BAD_RESPONSE
    assert answer.partial() == LlmResponse(
        message=Message(role=ROLE_ASSISTANT, content="a"), id="m1", provider="here", model="said"
    )


def test_text_in_front_of_calls_is_plain() -> None:
    answer = new_answer()
    answer.text("Let me see.")
    answer.tool(0, id="c1", name="add")
    answer.tool(1, id="c2", name="sub")

    assert end(answer).message == Message(
        role=ROLE_ASSISTANT,
        content="Let me see.",
        tool_calls=[
            ToolCall(id="c1", tool_name="add", arguments_json="{}"),
            ToolCall(id="c2", tool_name="sub", arguments_json="{}"),
        ],
    )


def test_text_behind_a_call_stays_behind_it() -> None:
    answer = new_answer()
    answer.tool(0, id="c1", name="add")
    answer.text("One")
    answer.tool(1, id="c2", name="sub")
    answer.text("two")
    answer.tool(2, id="c3", name="mul")

    assert end(answer).message == Message(
        role=ROLE_ASSISTANT,
        content="Onetwo",
        parts=[Part(text="One"), Part(text="two")],
        tool_calls=[
            ToolCall(id="c1", tool_name="add", arguments_json="{}", part_index=0),
            ToolCall(id="c2", tool_name="sub", arguments_json="{}", part_index=1),
            ToolCall(id="c3", tool_name="mul", arguments_json="{}"),
        ],
    )


def test_places_of_calls_count_every_part() -> None:
    answer = new_answer()
    answer.thinking("Hm")
    answer.state("thinking", b"sig")
    answer.text("See")
    answer.cite(SOURCE)
    answer.tool(0, id="c1", name="add")
    answer.part(Part(opaque=Opaque(type="x", block_json="{}")))

    message = end(answer).message

    assert [part.WhichOneof("kind") for part in message.parts] == ["thinking", "text", "citation", "opaque"]
    assert [call.part_index for call in message.tool_calls] == [3]


def test_signed_thinking_leaves_whole_when_it_ends() -> None:
    answer = new_answer()
    answer.thinking("Hm")
    answer.thinking("m")
    answer.state("thinking", b"si")
    answer.state("thinking", b"gn")
    answer.text("Yes")
    signed = Part(thinking="Hmm", provider_state=b"sign", origin="dialect")
    answer.complete("stop", STOP_REASON_STOP)

    assert answer.take() == [
        STARTED,
        thinking("Hmm"),
        LlmEvent(part=signed),
        text("Yes"),
        completed(Message(content="Yes", parts=[signed, Part(text="Yes")])),
    ]


def test_a_signature_without_any_thinking_is_kept() -> None:
    answer = new_answer()
    answer.state("thinking", b"sig")
    answer.close()
    signed = Part(thinking="", provider_state=b"sig", origin="dialect")

    assert answer.take() == [STARTED, LlmEvent(part=signed)]
    assert end(answer).message.parts == [signed]


def test_thinking_without_a_signature_needs_no_part_event() -> None:
    answer = new_answer()
    answer.thinking("Hm")
    answer.text("Yes")

    assert answer.take() == [STARTED, thinking("Hm"), text("Yes")]
    assert end(answer).message.parts == [Part(thinking="Hm"), Part(text="Yes")]


def test_signed_text_is_a_part() -> None:
    answer = new_answer()
    answer.text("Yes")
    answer.state("text", b"sig")

    assert end(answer).message == Message(
        role=ROLE_ASSISTANT, content="Yes", parts=[Part(text="Yes", provider_state=b"sig", origin="dialect")]
    )


def test_reasoning_that_is_signed_at_the_end_is_signed_where_it_began() -> None:
    answer = new_answer()
    answer.thinking("Hm")
    answer.text("Yes")
    answer.take()
    answer.sign_thinking(b"[1]")
    signed = Part(thinking="Hm", provider_state=b"[1]", origin="dialect")

    assert answer.take() == [LlmEvent(part=signed)]
    assert end(answer).message.parts == [signed, Part(text="Yes")]


def test_reasoning_that_was_never_shown_is_signed_in_front() -> None:
    answer = new_answer()
    answer.text("Yes")
    answer.sign_thinking(b"[1]")

    assert end(answer).message.parts == [
        Part(thinking="", provider_state=b"[1]", origin="dialect"),
        Part(text="Yes"),
    ]


def test_sources_stand_behind_the_text_that_they_support() -> None:
    answer = new_answer()
    answer.text("Sun")
    answer.cite(SOURCE)
    answer.text("shine")
    answer.close()
    answer.text("Rain")
    source = Part(citation=SOURCE, origin="dialect")

    assert answer.take() == [STARTED, text("Sun"), LlmEvent(part=source), text("shineRain")]
    assert end(answer).message == Message(
        role=ROLE_ASSISTANT, content="SunshineRain", parts=[Part(text="Sunshine"), source, Part(text="Rain")]
    )


def test_a_source_that_nobody_can_play_back_has_no_origin() -> None:
    answer = new_answer()
    answer.cite(Citation(url="https://a.example"))

    assert answer.take()[1:] == [LlmEvent(part=Part(citation=Citation(url="https://a.example")))]


@pytest.mark.parametrize(
    ("part", "origin"),
    [
        (Part(opaque=Opaque(type="x", block_json="{}")), "dialect"),
        (Part(redacted_thinking="abc"), "dialect"),
        (Part(image=Media(url="u"), provider_state=b"s"), "dialect"),
        (Part(image=Media(url="u")), ""),
        (Part(refusal="No."), ""),
    ],
)
def test_a_whole_part_is_an_event_and_a_part_of_the_answer(part: Part, origin: str) -> None:
    answer = new_answer()
    answer.part(part)
    expected = Part()
    expected.CopyFrom(part)
    expected.origin = origin

    assert answer.take() == [STARTED, LlmEvent(part=expected)]
    assert end(answer).message == Message(role=ROLE_ASSISTANT, parts=[expected])


@pytest.mark.parametrize(
    ("said", "tools", "refusal", "meant"),
    [
        (STOP_REASON_STOP, False, False, STOP_REASON_STOP),
        (STOP_REASON_STOP, True, False, STOP_REASON_TOOL_CALLS),
        (STOP_REASON_STOP, False, True, STOP_REASON_REFUSAL),
        (STOP_REASON_STOP, True, True, STOP_REASON_TOOL_CALLS),
        (STOP_REASON_LENGTH, True, True, STOP_REASON_LENGTH),
        (STOP_REASON_UNSPECIFIED, True, False, STOP_REASON_UNSPECIFIED),
    ],
)
def test_a_stop_that_was_a_call_or_a_refusal_is_put_right(
    said: StopReason.ValueType, tools: bool, refusal: bool, meant: StopReason.ValueType
) -> None:
    answer = new_answer()
    if tools:
        answer.tool(0, name="add")
        answer.end_tool(0)
    if refusal:
        answer.part(Part(refusal="No."))

    response = end(answer, "theirs", said)

    assert (response.stop_reason, response.finish_reason) == (meant, "theirs")


def test_usage_is_there_only_when_the_provider_said_it() -> None:
    without, with_usage = new_answer(), new_answer()
    with_usage.usage = {"out": 7}

    assert not end(without).HasField("usage")
    assert end(with_usage).usage == Usage(output_tokens=7)


def test_what_arrived_before_a_failure_is_no_complete_answer() -> None:
    answer = new_answer()
    assert answer.partial() is None
    answer.usage = {"out": 7}
    assert answer.partial() == LlmResponse(
        message=Message(role=ROLE_ASSISTANT), usage=Usage(output_tokens=7), id="m1", provider="here", model="said"
    )
    answer.text("Hel")
    answer.tool(0, id="c1", name="add", fragment='{"a')

    assert answer.partial() == LlmResponse(
        message=Message(
            role=ROLE_ASSISTANT,
            content="Hel",
            tool_calls=[ToolCall(id="c1", tool_name="add", arguments_json='{"a')],
        ),
        tool_calls=[ToolCall(id="c1", tool_name="add", arguments_json='{"a')],
        usage=Usage(output_tokens=7),
        id="m1",
        provider="here",
        model="said",
    )


@pytest.mark.parametrize("content", [5, ["a"], {"a": 1}, True])
def test_what_is_no_text_is_refused(content: Any) -> None:
    with pytest.raises(TypeError):
        new_answer().text(content)


def test_the_last_event_of_a_failure_tells_all_but_the_detail() -> None:
    partial = LlmResponse(id="m1")
    error = LlmError(PROVIDER_RATE_LIMITED, "Slow down.", retry_after=1.2345, partial=partial, detail="hidden")
    expected = Error(reason=PROVIDER_RATE_LIMITED, message="Slow down.", partial=partial)
    expected.retry_after.FromMilliseconds(1234)

    assert error_event(error) == LlmEvent(error=expected)
    assert error_event(LlmError(PROVIDER_BAD_RESPONSE, "Odd.")) == LlmEvent(
        error=Error(reason=PROVIDER_BAD_RESPONSE, message="Odd.")
    )


WORDS = st.text(min_size=1, max_size=3)
STEPS = st.one_of(
    st.tuples(st.just("text"), WORDS),
    st.tuples(st.just("thinking"), WORDS),
    st.tuples(st.just("tool"), st.integers(0, 2), st.sampled_from(["", "a"]), st.sampled_from(["", "{", "}"])),
    st.tuples(st.just("cite")),
    st.tuples(st.just("close")),
    st.tuples(st.just("state")),
    st.tuples(st.just("part")),
    st.tuples(st.just("take")),
)


def _do(answer: Answer, step: tuple[Any, ...]) -> list[LlmEvent]:
    match step:
        case ("text", content):
            answer.text(content)
        case ("thinking", content):
            answer.thinking(content)
        case ("tool", key, id, fragment):
            answer.tool(key, id=id and f"c{key}", name=f"t{key}", fragment=fragment)
        case ("cite",):
            answer.cite(SOURCE)
        case ("close",):
            answer.close()
        case ("state",):
            answer.state("thinking", b"s")
        case ("part",):
            answer.part(Part(opaque=Opaque(type="x", block_json="{}")))
        case ("take",):
            return answer.take()
    return []


@given(st.lists(STEPS, max_size=30))
def test_whatever_is_read_the_events_add_up_to_the_answer(steps: list[tuple[Any, ...]]) -> None:
    answer = new_answer()
    events = [event for step in steps for event in _do(answer, step)]
    answer.complete("stop", STOP_REASON_STOP)
    events += answer.take()
    message = events[-1].completed.response.message
    fragments: dict[int, str] = {}
    for event in events:
        if event.HasField("tool_call_delta"):
            delta = event.tool_call_delta
            fragments[delta.index] = fragments.get(delta.index, "") + delta.arguments_fragment

    assert [event.HasField("started") for event in events] == [True] + [False] * (len(events) - 1)
    assert [event.HasField("completed") for event in events] == [False] * (len(events) - 1) + [True]
    assert "".join(event.text_delta.content for event in events) == message.content
    assert "".join(e.thinking_delta.content for e in events) == "".join(part.thinking for part in message.parts)
    assert [fragments[index] for index in sorted(fragments)] == [call.arguments_json for call in message.tool_calls]
    # A whole part of the answer has been an event, but for text and for thoughts without a signature.
    whole = [part for part in message.parts if part.origin]
    assert [event.part for event in events if event.HasField("part")] == whole
    assert all(0 <= call.part_index <= len(message.parts) for call in message.tool_calls)
