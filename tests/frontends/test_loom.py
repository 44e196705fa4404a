from __future__ import annotations

from typing import Any, Literal

import orjson
import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from loom_grpc.core import errors
from loom_grpc.core.errors import LlmError
from loom_grpc.frontends.loom import Writer
from loom_grpc.frontends.loom_request import read_request
from loom_grpc.v1.llm_service_pb2 import LlmEvent, LlmResponse

PLAIN = Writer(extended=False)
EXTENDED = Writer(extended=True)


def event(text: str) -> LlmEvent:
    found: LlmEvent = text_format.Parse(text, LlmEvent())
    return found


def response(text: str) -> LlmResponse:
    found: LlmResponse = text_format.Parse(text, LlmResponse())
    return found


def data(frame: bytes) -> Any:
    """Takes the JSON out of a frame, which must be exactly two lines and an empty one."""
    head, _, rest = frame.partition(b"event: llm\ndata: ")
    assert (head, rest[-2:], rest[:-2].splitlines()) == (b"", b"\n\n", [rest[:-2]])
    return orjson.loads(rest)


ANSWER = """
    message { role: ROLE_ASSISTANT content: "Checking." tool_calls {
        id: "toolu_1" tool_name: "weather" arguments_json: "{\\"city\\": \\"Oslo\\"}" } }
    tool_calls { id: "toolu_1" tool_name: "weather" arguments_json: "{\\"city\\": \\"Oslo\\"}" }
    usage { input_tokens: 61 output_tokens: 24 cache_read_tokens: 5 provider_usage_json: "{\\"x\\":\\n1}" }
    finish_reason: "tool_use" stop_reason: STOP_REASON_TOOL_CALLS id: "msg_1" provider: "anthropic" model: "m"
    cost { nanos: 1200 currency_code: "USD" }
"""
PLAIN_ANSWER = {
    "message": {"role": "assistant", "content": "Checking."},
    "tool_calls": [{"id": "toolu_1", "tool_name": "weather", "arguments_json": {"city": "Oslo"}}],
    "usage": {"input_tokens": 61, "output_tokens": 24},
    "finish_reason": "tool_use",
}
EXTENDED_ANSWER = {
    "message": {"role": "assistant", "content": "Checking.", "tool_calls": PLAIN_ANSWER["tool_calls"]},
    "tool_calls": PLAIN_ANSWER["tool_calls"],
    "usage": {
        "input_tokens": 61,
        "output_tokens": 24,
        "cache_read_tokens": 5,
        "cache_write_tokens": 0,
        "reasoning_tokens": 0,
        "estimated": False,
        "provider_usage_json": {"x": 1},
    },
    "finish_reason": "tool_use",
    "id": "msg_1",
    "provider": "anthropic",
    "model": "m",
    "stop_reason": "tool_calls",
    "cost": {"nanos": 1200, "currency_code": "USD"},
}


def test_events_are_looms_to_the_byte() -> None:
    assert PLAIN.event(event('text_delta { content: "Checking.\\n\\"é\\"" }')) == (
        'event: llm\ndata: {"type":"text_delta","content":"Checking.\\n\\"é\\""}\n\n'.encode()
    )
    assert PLAIN.event(
        event('tool_call_delta { call_id: "c" tool_name: "f" arguments_fragment: "{\\"a" index: 1 }')
    ) == (
        b'event: llm\ndata: {"type":"tool_call_delta","call_id":"c","tool_name":"f","arguments_fragment":"{\\"a"}\n\n'
    )
    assert PLAIN.event(event(f"completed {{ response {{ {ANSWER} }} }}")) == (
        b'event: llm\ndata: {"type":"completed","response":{"message":{"role":"assistant","content":"Checking."},'
        b'"tool_calls":[{"id":"toolu_1","tool_name":"weather","arguments_json":{"city": "Oslo"}}],'
        b'"usage":{"input_tokens":61,"output_tokens":24},"finish_reason":"tool_use"}}\n\n'
    )


def test_a_question_of_the_server_lies_flat_beside_its_type() -> None:
    question = event(
        """server_query { id: "Q-7" kind_json: "{\\"type\\":\\"read_file\\",\\n\\"path\\":\\"a\\"}" sent_at: "2026-11-21T09:00:00Z"
        timeout_secs: 30 }"""
    )

    assert data(PLAIN.event(question)) == {
        "type": "server_query",
        "id": "Q-7",
        "kind": {"type": "read_file", "path": "a"},
        "sent_at": "2026-11-21T09:00:00Z",
        "timeout_secs": 30,
        "metadata": {},
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (
            'started { id: "i" provider: "p" model: "m" attempt: 2 }',
            {"type": "started", "id": "i", "provider": "p", "model": "m", "attempt": 2},
        ),
        ('thinking_delta { content: "hm" }', {"type": "thinking_delta", "content": "hm"}),
        (
            'part { thinking: "hm" provider_state: "\\377" origin: "anthropic" }',
            {"type": "part", "part": {"thinking": "hm", "provider_state": "/w==", "origin": "anthropic"}},
        ),
        (
            'part { opaque { type: "t" block_json: "{\\"a\\":\\r\\n1.50}" } }',
            {"type": "part", "part": {"opaque": {"type": "t", "block_json": {"a": 1.5}}}},
        ),
        (
            'part { citation { url: "u" citation_json: "{\\"a\\":1}" } }',
            {"type": "part", "part": {"citation": {"url": "u", "citation_json": {"a": 1}}}},
        ),
        (
            'restarted { attempt: 2 provider: "p" model: "m" reason: ERROR_REASON_PROVIDER_TIMEOUT }',
            {"type": "restarted", "attempt": 2, "provider": "p", "model": "m", "reason": "PROVIDER_TIMEOUT"},
        ),
    ],
)
def test_what_loom_does_not_know_is_shown_to_those_alone_who_asked(text: str, value: Any) -> None:
    assert PLAIN.event(event(text)) == b""
    assert data(EXTENDED.event(event(text))) == value


def test_an_answer_that_begins_anew_tells_the_tokens_of_the_attempt_before() -> None:
    restarted = event(
        'restarted { attempt: 2 provider: "p" model: "m" reason: ERROR_REASON_PROVIDER_TIMEOUT'
        " usage { input_tokens: 7 output_tokens: 1 estimated: true } }"
    )

    assert data(EXTENDED.event(restarted))["usage"] == {
        "input_tokens": 7,
        "output_tokens": 1,
        "cache_read_tokens": 0,
        "cache_write_tokens": 0,
        "reasoning_tokens": 0,
        "estimated": True,
    }


def test_extended_events_have_all_their_fields() -> None:
    delta = event('tool_call_delta { call_id: "c" tool_name: "f" arguments_fragment: "{" index: 1 }')

    assert data(EXTENDED.event(delta)) == {
        "type": "tool_call_delta",
        "call_id": "c",
        "tool_name": "f",
        "arguments_fragment": "{",
        "index": 1,
    }
    assert data(EXTENDED.event(event(f"completed {{ response {{ {ANSWER} }} }}"))) == {
        "type": "completed",
        "response": EXTENDED_ANSWER,
    }


def test_an_event_that_says_nothing_is_not_sent() -> None:
    assert (PLAIN.event(LlmEvent()), EXTENDED.event(LlmEvent())) == (b"", b"")


def test_a_whole_answer_has_looms_fields_or_all_of_them() -> None:
    assert orjson.loads(PLAIN.whole(response(ANSWER))) == PLAIN_ANSWER
    assert orjson.loads(EXTENDED.whole(response(ANSWER))) == EXTENDED_ANSWER


def test_what_is_not_known_is_left_out() -> None:
    bare = response('message { role: ROLE_ASSISTANT content: "Hi." }')

    assert orjson.loads(PLAIN.whole(bare)) == {"message": {"role": "assistant", "content": "Hi."}, "tool_calls": []}
    assert orjson.loads(EXTENDED.whole(bare)) == {
        "message": {"role": "assistant", "content": "Hi."},
        "tool_calls": [],
        "id": "",
        "provider": "",
        "model": "",
    }


@pytest.mark.parametrize(
    ("text", "compat", "embedded"),
    [
        ("", "object", b"{}"),
        ("{ }", "object", b"{}"),
        ("{}", "null", b"null"),
        (" ", "null", b"null"),
        ('{"n":1.50,"id":12345678901234567890123}', "object", b'{"n":1.50,"id":12345678901234567890123}'),
        ('{\n  "a": "x\\ny"\r\n}', "object", b'{   "a": "x\\ny"  }'),
        ('{"cut', "object", b"null"),
        ("null", "object", b"null"),
        ("[]", "object", b"[]"),
        ("0", "object", b"0"),
    ],
)
def test_arguments_are_embedded_word_for_word(text: str, compat: Literal["object", "null"], embedded: bytes) -> None:
    answer = LlmResponse()
    answer.tool_calls.add(id="c", tool_name="f", arguments_json=text)

    written = Writer(extended=False, empty_arguments=compat).whole(answer)

    assert b'"arguments_json":%b}]' % embedded in written


def test_a_failed_stream_shows_what_there_is_of_the_answer_to_those_who_asked() -> None:
    error = LlmError(errors.PROVIDER_BAD_RESPONSE, "Cut.", partial=response('message { content: "Hel" } id: "i"'))

    assert data(PLAIN.failed(error)) == {"type": "error", "message": "Invalid response: Cut."}
    assert data(EXTENDED.failed(error)) == {
        "type": "error",
        "message": "Invalid response: Cut.",
        "reason": "PROVIDER_BAD_RESPONSE",
        "partial": {
            "message": {"role": "assistant", "content": "Hel"},
            "tool_calls": [],
            "id": "i",
            "provider": "",
            "model": "",
        },
    }


def test_an_extended_answer_goes_back_as_it_is() -> None:
    answer = response(
        """message { role: ROLE_ASSISTANT content: "Hi."
            parts { thinking: "hm" provider_state: "\\001\\377" origin: "anthropic" }
            parts { text: "Hi." }
            parts { image { data: "\\000" media_type: "image/png" } }
            parts { opaque { type: "t" block_json: "{\\"a\\":1}" } origin: "anthropic" }
            parts { citation { url: "u" citation_json: "{\\"b\\":2}" } }
            tool_calls { id: "c" tool_name: "f" arguments_json: "{\\"x\\":1}" provider_state: "s" origin: "gemini" part_index: 1 } }
        tool_calls { id: "c" tool_name: "f" arguments_json: "{\\"x\\":1}" provider_state: "s" origin: "gemini" part_index: 1 }"""
    )

    message = orjson.loads(EXTENDED.whole(answer))["message"]
    request = read_request(orjson.dumps({"model": "m", "messages": [message]}), "anthropic")

    assert request.messages[0] == answer.message


@given(st.text(max_size=30), st.text(max_size=30))
def test_every_event_is_one_line_of_json(content: str, arguments: str) -> None:
    delta, end = LlmEvent(), LlmEvent()
    delta.text_delta.content = content
    end.completed.response.message.content = content
    end.completed.response.tool_calls.add(arguments_json=arguments)

    assert data(PLAIN.event(delta)) == {"type": "text_delta", "content": content}
    assert data(PLAIN.event(end))["response"]["message"]["content"] == content
