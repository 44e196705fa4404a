"""What is counted and measured, read back from the text that Prometheus gets."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from loom_grpc.core.call import Call, Handler, Send
from loom_grpc.core.errors import INVALID_REQUEST, PROVIDER_BAD_RESPONSE, PROVIDER_RATE_LIMITED, LlmError
from loom_grpc.telemetry import Telemetry
from loom_grpc.telemetry.metrics import MOST_MODELS
from loom_grpc.telemetry.names import METRICS, prometheus_label, prometheus_name
from loom_grpc.v1.llm_service_pb2 import LlmEvent, LlmResponse
from loom_grpc.v1.usage_pb2 import Usage
from tests.telemetry.lines import (
    ANSWER,
    STARTED,
    TEXT,
    answer,
    call,
    configuration,
    ignore,
    measure_everything,
    telemetry,
)

LABELS = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "openai", "gen_ai_request_model": "gpt-4o"}


def samples(telemetry: Telemetry, name: str) -> list[Sample]:
    return [sample for sample in _samples(telemetry.prometheus().decode()) if sample.name == name]


def _samples(text: str) -> Iterator[Sample]:
    for family in text_string_to_metric_families(text):
        yield from family.samples


def values(telemetry: Telemetry, name: str) -> list[tuple[dict[str, str], float]]:
    return [(sample.labels, sample.value) for sample in samples(telemetry, name)]


def fails(error: BaseException, *events: LlmEvent) -> Handler:
    async def handler(call: Call, send: Send) -> None:
        for event in events:
            call.responded = True
            await send(event)
        raise error

    return handler


async def attempt(telemetry: Telemetry, handler: Handler, one: Call) -> None:
    await telemetry.attempt(handler)(one, ignore)


async def test_an_attempt_is_measured_with_its_tokens() -> None:
    measured = telemetry()

    await attempt(measured, answer, call())

    assert values(measured, "gen_ai_client_operation_duration_seconds_count") == [(LABELS, 1)]
    assert values(measured, "gen_ai_client_token_usage_sum") == [
        ({**LABELS, "gen_ai_token_type": "input"}, 11),
        ({**LABELS, "gen_ai_token_type": "output"}, 4),
    ]


async def test_times_of_chunks_are_measured_for_streams_alone() -> None:
    measured = telemetry()

    await attempt(measured, answer, call())
    assert samples(measured, "gen_ai_client_operation_time_to_first_chunk_seconds_count") == []

    await attempt(measured, answer, call(stream=True))
    assert values(measured, "gen_ai_client_operation_time_to_first_chunk_seconds_count") == [(LABELS, 1)]
    assert values(measured, "gen_ai_client_operation_time_per_output_chunk_seconds_count") == [(LABELS, 1)]


async def test_the_first_content_of_a_stream_and_its_answer_are_kept_with_the_call() -> None:
    one = call(stream=True)

    await attempt(telemetry(), answer, one)

    assert one.answer == ANSWER
    assert one.first_content_s is not None
    assert one.first_content_s >= 0


async def test_what_came_before_a_failure_is_counted() -> None:
    measured = telemetry()
    partial = LlmResponse(usage=Usage(input_tokens=7, output_tokens=1))
    error = LlmError(PROVIDER_BAD_RESPONSE, "It ended.", partial=partial)

    with pytest.raises(LlmError):
        await attempt(measured, fails(error, STARTED, TEXT), call(stream=True))

    assert values(measured, "gen_ai_client_operation_duration_seconds_count") == [
        ({**LABELS, "error_type": "PROVIDER_BAD_RESPONSE"}, 1)
    ]
    assert [value for _, value in values(measured, "gen_ai_client_token_usage_sum")] == [7, 1]


async def test_estimated_tokens_are_not_counted_as_used() -> None:
    measured = telemetry()
    error = LlmError(
        PROVIDER_BAD_RESPONSE, "It ended.", partial=LlmResponse(usage=Usage(input_tokens=7, estimated=True))
    )

    with pytest.raises(LlmError):
        await attempt(measured, fails(error), call())

    assert samples(measured, "gen_ai_client_token_usage_sum") == []


async def test_a_cancelled_attempt_is_recorded_as_cancelled_and_not_active_any_more() -> None:
    measured = telemetry()
    begun, forever = asyncio.Event(), asyncio.Event()

    async def handler(call: Call, send: Send) -> None:
        await send(STARTED)
        call.responded = True
        begun.set()
        await forever.wait()

    task = asyncio.ensure_future(attempt(measured, handler, call()))
    await begun.wait()
    assert values(measured, "loom_attempts_active") == [({"loom_provider": "openai"}, 1)]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert values(measured, "loom_attempts_active") == [({"loom_provider": "openai"}, 0)]
    assert values(measured, "gen_ai_client_operation_duration_seconds_count") == [
        ({**LABELS, "error_type": "cancelled"}, 1)
    ]


async def test_an_unexpected_exception_is_recorded_by_its_class() -> None:
    measured = telemetry()

    with pytest.raises(KeyError):
        await attempt(measured, fails(KeyError("x"), STARTED), call())

    assert samples(measured, "gen_ai_client_operation_duration_seconds_count")[0].labels["error_type"] == "KeyError"


async def test_models_that_no_provider_accepts_make_no_series() -> None:
    measured = telemetry()

    for number in range(50):
        with pytest.raises(LlmError):
            await attempt(measured, fails(LlmError(INVALID_REQUEST, "No.")), call(model=f"made-up-{number}"))

    assert values(measured, "gen_ai_client_operation_duration_seconds_count") == [
        ({**LABELS, "gen_ai_request_model": "unknown", "error_type": "INVALID_REQUEST"}, 50)
    ]


async def test_a_provider_that_accepts_every_model_fills_a_bounded_number_of_series() -> None:
    measured = telemetry()

    for number in range(MOST_MODELS + 50):
        await attempt(measured, answer, call(model=f"model-{number}"))
    await attempt(measured, answer, call(model="long" * 1000))

    counts = {
        labels["gen_ai_request_model"]: count
        for labels, count in values(measured, "gen_ai_client_operation_duration_seconds_count")
    }
    assert counts == {f"model-{number}": 1 for number in range(MOST_MODELS)} | {"other": 51}


async def test_configured_models_have_their_series_even_before_they_work() -> None:
    measured = telemetry(providers={"openai": {"models": ["gpt-4o"]}})

    with pytest.raises(LlmError):
        await attempt(measured, fails(LlmError(PROVIDER_RATE_LIMITED, "Wait.")), call())

    assert values(measured, "gen_ai_client_operation_duration_seconds_count") == [
        ({**LABELS, "error_type": "PROVIDER_RATE_LIMITED"}, 1)
    ]


@given(model=st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=100))
async def test_any_model_name_can_be_read_back(model: str) -> None:
    measured = telemetry()

    await attempt(measured, answer, call(model=model))

    (row,) = samples(measured, "gen_ai_client_operation_duration_seconds_count")
    assert row.labels["gen_ai_request_model"] == model


async def test_providers_have_the_names_of_the_conventions() -> None:
    measured = telemetry()

    for provider in ("vertex", "gemini", "mistral", "xai", "anthropic", "my-own"):
        await attempt(measured, answer, call(provider=provider))

    rows = samples(measured, "gen_ai_client_operation_duration_seconds_count")
    expected = ["gcp.vertex_ai", "gcp.gemini", "mistral_ai", "x_ai", "anthropic", "my-own"]
    assert [row.labels["gen_ai_provider_name"] for row in rows] == expected


def test_calls_are_counted_by_edge_provider_and_reason() -> None:
    measured = telemetry()

    measured.finished(call(), None, 0.1, "grpc")
    measured.finished(call(), LlmError(PROVIDER_RATE_LIMITED, "Wait."), 0.1, "http")
    measured.finished(call(provider="", model=""), LlmError(INVALID_REQUEST, "No."), 0.1, "grpc")
    measured.finished(call(), None, 0.1, "grpc", cancelled=True)

    assert values(measured, "loom_calls_total") == [
        ({"loom_edge": "grpc", "loom_provider": "openai", "loom_reason": "OK"}, 1),
        ({"loom_edge": "http", "loom_provider": "openai", "loom_reason": "PROVIDER_RATE_LIMITED"}, 1),
        ({"loom_edge": "grpc", "loom_provider": "none", "loom_reason": "INVALID_REQUEST"}, 1),
        ({"loom_edge": "grpc", "loom_provider": "openai", "loom_reason": "CANCELLED"}, 1),
    ]


def test_the_providers_of_a_server_behind_this_one_are_bounded_too() -> None:
    measured = telemetry()

    for number in range(300):
        measured.finished(call(provider=f"p{number}"), None, 0.1, "http")

    counts = {labels["loom_provider"]: count for labels, count in values(measured, "loom_calls_total")}
    assert len(counts) <= 100
    assert sum(counts.values()) == 300
    assert counts["other"] > 200


def test_overhead_is_what_providers_did_not_take() -> None:
    measured = telemetry()

    measured.finished(call(upstream_s=1.0), None, 1.0003, "grpc")

    buckets = {sample.labels["le"]: sample.value for sample in samples(measured, "loom_overhead_seconds_bucket")}
    assert (buckets["0.00025"], buckets["0.0005"]) == (0, 1)


def test_retries_are_counted_by_reason() -> None:
    measured = telemetry()

    measured.retrying(call(), LlmError(PROVIDER_RATE_LIMITED, "Wait."), 0.5)

    assert values(measured, "loom_retries_total") == [
        ({"loom_provider": "openai", "loom_reason": "PROVIDER_RATE_LIMITED"}, 1)
    ]


async def test_a_value_on_a_bound_is_in_the_bucket_below() -> None:
    measured = telemetry()
    one = call()

    await attempt(measured, answer, one)

    buckets = samples(measured, "gen_ai_client_token_usage_bucket")
    output = {row.labels["le"]: row.value for row in buckets if row.labels["gen_ai_token_type"] == "output"}
    assert (output["1.0"], output["4.0"], output["+Inf"]) == (0, 1, 1)


async def test_the_text_tells_of_the_service_and_the_process() -> None:
    measured = Telemetry(configuration(telemetry={"service_name": "my gateway"}))
    text = measured.prometheus().decode()

    assert samples(measured, "target_info")[0].labels["service_name"] == "my gateway"
    assert "process_resident_memory_bytes" in text


async def test_switched_off_metrics_are_not_shown() -> None:
    measured = telemetry(telemetry={"metrics": False})

    await attempt(measured, answer, call())

    assert samples(measured, "gen_ai_client_operation_duration_seconds_count") == []


async def test_every_metric_of_the_table_can_be_seen_with_its_labels() -> None:
    measured = telemetry()

    await measure_everything(measured)

    families = {family.name: family for family in text_string_to_metric_families(measured.prometheus().decode())}
    for metric in METRICS:
        family = families[prometheus_name(metric).removesuffix("_total")]
        labels = {name for sample in family.samples for name in sample.labels if name != "le"}
        assert labels == {prometheus_label(name) for name in metric.attributes}
        assert (family.type, family.documentation) == (metric.kind, metric.description)
