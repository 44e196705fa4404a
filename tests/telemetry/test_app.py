"""Telemetry of the whole pipeline, from the router to the mock provider."""

from __future__ import annotations

from typing import Any

import pytest

from loom_grpc.app import App
from loom_grpc.config import Config
from loom_grpc.core.call import Call
from loom_grpc.core.errors import LlmError
from loom_grpc.telemetry import Telemetry
from loom_grpc.v1.llm_service_pb2 import EmbedInput, EmbedRequest, LlmRequest
from loom_grpc.v1.message_pb2 import ROLE_USER, Message
from tests.stand_in import json_answer, stand_in
from tests.telemetry.lines import Log, ignore
from tests.telemetry.receiver import attributes, receiving
from tests.telemetry.test_metrics import values

PRIVATE = "What nobody else may ever read."


def configured(url: str) -> Config:
    mock = {"retry": {"base_delay_s": 0, "max_delay_s": 0}}
    return Config.model_validate(
        {"providers": {"mock": mock}, "telemetry": {"otlp_endpoint": url}, "log": {"format": "json"}}
    )


def asked(model: str, prompt: str, *, stream: bool = True) -> Call:
    request = LlmRequest(provider="mock", model=model, messages=[Message(role=ROLE_USER, content=prompt)])
    return Call(request, stream, "request-1")


async def run(call: Call, log: Log) -> tuple[list[dict[str, Any]], Telemetry]:
    """Runs a call as an edge does; returns what its spans say."""
    async with receiving() as receiver:
        config = configured(receiver.url)
        telemetry = Telemetry(config, stream=log)
        await telemetry.start()
        failure: LlmError | None = None
        async with App(config, {}, telemetry) as app:
            try:
                await app.answer(call, ignore)
            except LlmError as error:
                failure = error
        telemetry.finished(call, failure, 0.5, "grpc")
        await telemetry.close()
        return [attributes(span.attributes) for span in receiver.spans()], telemetry


@pytest.mark.parametrize("stream", [True, False])
async def test_a_call_is_a_span_a_line_and_metrics(stream: bool) -> None:
    log = Log()

    (span,), telemetry = await run(asked("mock-echo", "echo", stream=stream), log)

    assert (span["gen_ai.provider.name"], span["gen_ai.request.model"]) == ("mock", "mock-echo")
    assert (span["server.address"], span["server.port"]) == ("mock.invalid", 80)
    assert span["gen_ai.response.finish_reasons"] == ["stop"]
    assert span["gen_ai.usage.output_tokens"] > 0
    assert ("gen_ai.response.time_to_first_chunk" in span) is stream
    (line,) = log.lines()
    assert (line["reason"], line["attempts"], line["finish_reason"]) == ("OK", 1, "stop")
    assert line["output_tokens"] == span["gen_ai.usage.output_tokens"]
    assert line["upstream_ms"] > 0
    durations = values(telemetry, "gen_ai_client_operation_duration_seconds_count")
    assert [(labels["gen_ai_request_model"], count) for labels, count in durations] == [("mock-echo", 1)]


async def test_every_attempt_of_a_call_is_a_span_and_every_retry_a_line() -> None:
    log = Log()

    spans, telemetry = await run(asked("mock-500", "hi"), log)

    assert [(span["loom.attempt"], span["error.type"]) for span in spans] == [
        (1, "PROVIDER_UNAVAILABLE"),
        (2, "PROVIDER_UNAVAILABLE"),
        (3, "PROVIDER_UNAVAILABLE"),
    ]
    assert [line["event"] for line in log.lines()] == ["retrying", "retrying", "call", "call_failed"]
    assert {line["request_id"] for line in log.lines()} == {"request-1"}
    assert [value for _, value in values(telemetry, "loom_retries_total")] == [2]


async def test_what_a_stream_said_before_it_broke_is_with_the_failure() -> None:
    log = Log()
    call = asked("mock-cut", "Tell me something that nobody else may read.")

    (span,), _ = await run(call, log)

    assert span["error.type"] == "PROVIDER_UNAVAILABLE"
    assert call.answer is not None
    assert call.answer.message.content
    assert b"nobody else" not in log.getvalue()
    assert call.answer.message.content.encode() not in log.getvalue()


async def test_a_model_that_does_not_exist_makes_no_series_of_its_own() -> None:
    _, telemetry = await run(asked("no-such-model", "hi"), Log())

    durations = values(telemetry, "gen_ai_client_operation_duration_seconds_count")
    assert [(labels["gen_ai_request_model"], labels["error_type"]) for labels, _ in durations] == [
        ("unknown", "MODEL_NOT_FOUND")
    ]


async def embedded(upstream_url: str, log: Log) -> tuple[Call, Telemetry]:
    """Runs a call for a vector as an edge does."""
    provider = {"api_key": "sk-test", "base_url": upstream_url, "retry": {"max_attempts": 1}}
    config = Config.model_validate({"providers": {"openai": provider}, "log": {"format": "json"}})
    telemetry = Telemetry(config, stream=log)
    call = Call(LlmRequest(), stream=False, request_id="request-1")
    call.begin_embed(EmbedRequest(model="openai/small", inputs=[EmbedInput(text=PRIVATE)]))
    failure: LlmError | None = None
    async with App(config, {}, telemetry) as app:
        try:
            await app.embed(call)
        except LlmError as error:
            failure = error
    telemetry.finished(call, failure, 0.5, "grpc")
    await telemetry.close()
    return call, telemetry


async def test_vectors_are_an_operation_of_their_own_whose_input_alone_is_counted() -> None:
    body = {"data": [{"index": 0, "embedding": [1]}], "model": "small-001", "usage": {"prompt_tokens": 7}}

    async with stand_in(json_answer(body)) as upstream:
        _, telemetry = await embedded(upstream.url, Log())

    tokens = values(telemetry, "gen_ai_client_token_usage_sum")
    assert [(labels["gen_ai_operation_name"], labels["gen_ai_token_type"], count) for labels, count in tokens] == [
        ("embeddings", "input", 7)
    ]


async def test_a_text_that_a_provider_repeats_as_it_refuses_a_vector_is_not_logged() -> None:
    log = Log()

    async with stand_in(json_answer({"error": {"message": f"Cannot embed: {PRIVATE}"}}, status=400)) as upstream:
        await embedded(upstream.url, log)

    assert log.lines()[-1]["event"] == "call_failed"
    assert PRIVATE.encode() not in log.getvalue()
