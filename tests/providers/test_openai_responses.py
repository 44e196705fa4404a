from __future__ import annotations

from typing import Any

import orjson
import pytest

from loom_grpc.config import ProviderConfig
from loom_grpc.core.call import Call
from loom_grpc.core.decoder import Decoder
from loom_grpc.core.errors import PROVIDER_BAD_RESPONSE, PROVIDER_RATE_LIMITED, PROVIDER_UNAVAILABLE
from loom_grpc.core.native import Native
from loom_grpc.providers.openai import Host, OpenAI
from loom_grpc.providers.registry import make_dialect
from loom_grpc.v1.llm_service_pb2 import (
    STOP_REASON_CONTENT_FILTER,
    STOP_REASON_LENGTH,
    STOP_REASON_REFUSAL,
    STOP_REASON_STOP,
    STOP_REASON_TOOL_CALLS,
    LlmEvent,
    LlmRequest,
    StopReason,
)
from loom_grpc.v1.message_pb2 import Media, Part
from loom_grpc.v1.usage_pb2 import Cost, Usage

HEAD: dict[str, Any] = {"id": "resp_1", "model": "gpt-5", "status": "in_progress", "output": []}
CREATED = {"type": "response.created", "response": HEAD}


def call(stream: bool, **fields: Any) -> Call:
    native = Native("responses", {"model": "asked", "input": "hi", **fields}, {"openai-beta": "x"})
    return Call(LlmRequest(), stream, "r", provider="openai", model="gpt-5", native=native)


def reader(*, stream: bool = True) -> Decoder:
    media_type = "text/event-stream" if stream else "application/json"
    return OpenAI(Host(responses=True)).decoder(call(stream), media_type)


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events)


def last(status: str = "completed", **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{status}", "response": {**HEAD, "status": status, **fields}}


def decoded(*events: dict[str, Any]) -> tuple[Decoder, list[LlmEvent]]:
    decoder = reader()
    found = decoder.feed(sse(*events))
    return decoder, found + decoder.end()


def item(place: int, value: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "response.output_item.added", "output_index": place, "item": value},
        {"type": "response.output_item.done", "output_index": place, "item": value},
    ]


def delta(kind: str, text: str, place: int = 0) -> dict[str, Any]:
    return {"type": f"response.{kind}.delta", "output_index": place, "delta": text}


def test_a_request_is_sent_in_its_own_words() -> None:
    made = call(
        True, previous_response_id="resp_0", novelty=[1], model="asked", input=[{"role": "user", "content": "<"}]
    )
    dialect = OpenAI(Host(responses=True), {"openai-project": "p"})
    assert made.native is not None

    request = dialect.encode_native(made, made.native)

    assert request is not None
    assert (request.method, request.path) == ("POST", "/responses")
    assert request.headers == {"openai-project": "p", "openai-beta": "x"}
    assert orjson.loads(request.body) == {
        "model": "gpt-5",
        "input": [{"role": "user", "content": "<"}],
        "novelty": [1],
    }


def test_a_host_without_the_api_is_not_sent_it() -> None:
    made = call(True)
    assert made.native is not None

    assert OpenAI().encode_native(made, made.native) is None


@pytest.mark.parametrize(
    ("name", "config", "speaks"),
    [
        ("openai", {}, True),
        ("openai", {"responses": False}, False),
        ("openai", {"base_url": "https://proxy.example.com/v1"}, False),
        ("openai", {"base_url": "https://proxy.example.com/v1", "responses": True}, True),
        ("mistral", {}, False),
        ("own", {"dialect": "openai"}, False),
        ("own", {"dialect": "openai", "responses": True}, True),
        ("mock", {}, False),
    ],
)
def test_the_table_and_the_configuration_tell_which_hosts_have_it(
    name: str, config: dict[str, Any], speaks: bool
) -> None:
    made = call(True)
    assert made.native is not None

    dialect = make_dialect(name, ProviderConfig.model_validate(config))

    assert (dialect.encode_native(made, made.native) is not None) == speaks


def test_an_item_that_came_without_deltas_is_read_when_it_is_done() -> None:
    annotation = {"type": "url_citation", "url": "https://example.com", "title": "Example"}
    content = [{"type": "output_text", "text": "Hello.", "annotations": [annotation]}]
    message = {"type": "message", "content": content}
    function = {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"a":1}'}

    decoder, events = decoded(CREATED, *item(0, message), *item(1, function), last())

    assert decoder.failure is None
    response = events[-1].completed.response
    assert (response.message.content, response.stop_reason) == ("Hello.", STOP_REASON_TOOL_CALLS)
    assert [(each.id, each.tool_name, each.arguments_json) for each in response.tool_calls] == [
        ("call_1", "weather", '{"a":1}')
    ]
    assert response.message.parts[1].citation.url == "https://example.com"


def test_what_only_the_last_event_has_is_read_there() -> None:
    message = {"type": "message", "content": [{"type": "output_text", "text": "Hello."}]}

    _, events = decoded(CREATED, last(output=[message]))

    assert events[-1].completed.response.message.content == "Hello."


def test_usage_tells_of_every_kind_of_tokens_and_of_the_cost() -> None:
    usage = {
        "input_tokens": 100,
        "output_tokens": 50,
        "input_tokens_details": {
            "cached_tokens": 40,
            "cache_write_tokens": 10,
            "image_tokens": 20,
            "audio_tokens": 5,
        },
        "output_tokens_details": {"reasoning_tokens": 7, "image_tokens": 9, "audio_tokens": 3},
        "cost_in_usd_ticks": 4_890_000,
    }
    message = {"type": "message", "content": [{"type": "output_text", "text": "Hello."}]}
    _, events = decoded(CREATED, last(output=[message], usage=usage))
    response = events[-1].completed.response

    assert response.usage == Usage(
        input_tokens=100,
        output_tokens=50,
        cache_read_tokens=40,
        cache_write_tokens=10,
        reasoning_tokens=7,
        input_image_tokens=20,
        input_audio_tokens=5,
        output_image_tokens=9,
        output_audio_tokens=3,
        provider_usage_json=orjson.dumps(usage).decode(),
    )
    assert response.reported_cost == Cost(nanos=489_000, currency_code="USD")


def test_encrypted_reasoning_is_kept_for_the_next_turn() -> None:
    reasoning = {"type": "reasoning", "summary": [{"text": "Hm."}], "encrypted_content": "c2VjcmV0"}

    _, events = decoded(CREATED, delta("reasoning_summary_text", "Hm."), *item(0, reasoning), last())

    state = Part(thinking="Hm.", provider_state=b"c2VjcmV0", origin="responses")
    assert list(events[-1].completed.response.message.parts) == [state]


def test_a_refusal_is_a_part() -> None:
    told = {"type": "response.refusal.done", "output_index": 0, "refusal": "No."}
    message = {"type": "message", "content": [{"type": "refusal", "refusal": "No."}]}

    _, events = decoded(CREATED, delta("refusal", "No."), told, *item(0, message), last())

    response = events[-1].completed.response
    assert list(response.message.parts) == [Part(refusal="No.")]
    assert response.stop_reason == STOP_REASON_REFUSAL


def test_an_item_that_we_have_no_word_for_is_kept_as_it_is() -> None:
    searched = {"type": "web_search_call", "id": "ws_1", "status": "completed"}

    _, events = decoded(CREATED, *item(0, searched), last())

    (part,) = events[-1].completed.response.message.parts
    assert (part.opaque.type, orjson.loads(part.opaque.block_json), part.origin) == (
        "web_search_call",
        searched,
        "responses",
    )


def test_a_picture_that_the_host_has_made_is_a_part() -> None:
    made = {"type": "image_generation_call", "id": "ig_1", "result": "aGk=", "output_format": "jpeg"}
    broken = {"type": "image_generation_call", "id": "ig_2", "result": "aGk"}

    _, events = decoded(CREATED, *item(0, made), *item(1, broken), last())

    parts = events[-1].completed.response.message.parts
    assert parts[0] == Part(image=Media(data=b"hi", media_type="image/jpeg"))
    assert parts[1].opaque.type == "image_generation_call"


@pytest.mark.parametrize(
    ("event", "finish", "stop"),
    [
        (last(), "completed", STOP_REASON_STOP),
        (
            last("incomplete", incomplete_details={"reason": "max_output_tokens"}),
            "max_output_tokens",
            STOP_REASON_LENGTH,
        ),
        (
            last("incomplete", incomplete_details={"reason": "content_filter"}),
            "content_filter",
            STOP_REASON_CONTENT_FILTER,
        ),
    ],
)
def test_the_end_tells_why(event: dict[str, Any], finish: str, stop: StopReason.ValueType) -> None:
    _, events = decoded(CREATED, delta("output_text", "Hel"), event)

    response = events[-1].completed.response
    assert (response.message.content, response.finish_reason, response.stop_reason) == ("Hel", finish, stop)


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ({"type": "error", "error": {"code": "rate_limit_exceeded", "message": "Slow down."}}, PROVIDER_RATE_LIMITED),
        ({"type": "error", "code": "server_error", "message": "Oh."}, PROVIDER_UNAVAILABLE),
        (last("failed", error={"code": "server_error", "message": "Oh."}), PROVIDER_UNAVAILABLE),
        (last("failed", error=None), PROVIDER_BAD_RESPONSE),
        (last("cancelled"), PROVIDER_BAD_RESPONSE),
        ({"type": "response.output_text.delta", "output_index": 0}, PROVIDER_BAD_RESPONSE),
    ],
)
def test_a_failure_is_never_a_complete_answer(event: dict[str, Any], reason: int) -> None:
    decoder, events = decoded(CREATED, delta("output_text", "Hel"), event, last())

    assert decoder.failure is not None
    assert (decoder.failure.reason, decoder.ended) == (reason, False)
    assert [each.WhichOneof("event") for each in events] == ["started", "text_delta"]
    assert decoder.failure.partial is not None
    assert decoder.failure.partial.message.content == "Hel"


def test_a_stream_without_its_last_event_is_not_complete() -> None:
    decoder, _ = decoded(CREATED, delta("output_text", "Hello."), {"type": "response.output_text.done"})

    assert decoder.failure is not None
    assert decoder.failure.reason == PROVIDER_BAD_RESPONSE


def test_every_event_is_kept_as_it_was_written_from_the_first_on() -> None:
    written: list[dict[str, Any]] = [
        CREATED,
        {"type": "response.novelty", "x": 1},
        delta("output_text", "Hello."),
        last(),
    ]
    decoder = reader()
    decoder.keeps_native = True

    events = decoder.feed(sse(*written))

    assert events[0].HasField("started")
    assert [orjson.loads(each.native_json) for each in events[1:]] == written


def test_a_whole_response_that_failed_is_a_failure() -> None:
    decoder = reader(stream=False)
    decoder.feed(orjson.dumps({**HEAD, "status": "failed", "error": {"code": "server_error", "message": "Oh."}}))
    decoder.end()

    assert decoder.failure is not None
    assert decoder.failure.reason == PROVIDER_UNAVAILABLE
