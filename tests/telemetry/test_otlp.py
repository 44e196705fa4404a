"""Spans and metrics as an OTLP endpoint gets them."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import pytest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from loom_grpc import __version__
from loom_grpc.core.call import Call, Send
from loom_grpc.core.errors import PROVIDER_RATE_LIMITED, LlmError
from loom_grpc.telemetry import Telemetry
from loom_grpc.telemetry.names import METRICS, SPAN_ATTRIBUTES
from loom_grpc.v1.llm_service_pb2 import Completed, EmbedRequest, LlmEvent, LlmRequest, LlmResponse
from loom_grpc.v1.message_pb2 import (
    ROLE_SYSTEM,
    JsonObjectFormat,
    Message,
    ResponseFormat,
)
from loom_grpc.v1.usage_pb2 import Usage
from tests.telemetry.lines import (
    REQUEST_ID,
    STARTED,
    TEXT,
    Log,
    answer,
    call,
    configuration,
    ignore,
    measure_everything,
)
from tests.telemetry.receiver import WAIT_S, Receiver, attributes, receiving

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
Exporting = Callable[..., Any]


@asynccontextmanager
async def exporting(receiver: Receiver, log: Log | None = None, **options: Any) -> Any:
    """Runs telemetry that exports to the receiver; what is left is sent at the end."""
    config = configuration(telemetry={"otlp_endpoint": receiver.url} | options)
    telemetry = Telemetry(config, otlp_headers={"Authorization": "Bearer otlp-secret"}, stream=log or Log())
    await telemetry.start()
    try:
        yield telemetry
    finally:
        await telemetry.close()


async def one_span(
    one: Call, handler: Any = answer, *, base_url: str = "", **options: Any
) -> tuple[Span, dict[str, Any]]:
    """Runs an attempt and returns its span and the span's attributes."""
    async with receiving() as receiver:
        async with exporting(receiver, **options) as telemetry:
            with suppress(LlmError, asyncio.CancelledError):
                await telemetry.attempt(handler, base_url)(one, ignore)
        (span,) = receiver.spans()
        return span, attributes(span.attributes)


async def test_an_attempt_is_a_client_span_named_after_operation_and_model() -> None:
    before = time.time_ns()
    span, found = await one_span(call(), base_url="https://api.openai.com/v1")

    assert (span.name, span.kind, span.parent_span_id) == ("chat gpt-4o", Span.SPAN_KIND_CLIENT, b"")
    assert before - 1e9 < span.start_time_unix_nano <= span.end_time_unix_nano < time.time_ns()
    assert (len(span.trace_id), len(span.span_id)) == (16, 8)
    assert span.status == Status()
    assert found == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.model": "gpt-4o-2024-08-06",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 11,
        "gen_ai.usage.output_tokens": 4,
        "loom.attempt": 1,
        "loom.provider": "openai",
        "loom.request.id": REQUEST_ID,
        "server.address": "api.openai.com",
        "server.port": 443,
    }


async def test_settings_of_the_request_and_parts_of_the_usage_are_attributes() -> None:
    one = call(stream=True)
    one.request.MergeFrom(
        LlmRequest(max_tokens=100, temperature=0.5, top_p=0.9, top_k=40, seed=7, session_id="conversation-1")
    )
    one.request.response_format.CopyFrom(ResponseFormat(json_object=JsonObjectFormat()))
    usage = Usage(input_tokens=100, output_tokens=50, cache_read_tokens=60, cache_write_tokens=20, reasoning_tokens=30)
    last = LlmEvent(completed=Completed(response=LlmResponse(usage=usage)))

    async def handler(call: Call, send: Send) -> None:
        for event in (STARTED, TEXT, last):
            await send(event)

    _, found = await one_span(one, handler)

    assert found.pop("gen_ai.response.time_to_first_chunk") == one.first_content_s
    assert {name: value for name, value in found.items() if name.startswith("gen_ai.")} == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.request.stream": True,
        "gen_ai.request.max_tokens": 100,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 0.9,
        "gen_ai.request.top_k": 40,
        "gen_ai.request.seed": 7,
        "gen_ai.output.type": "json",
        "gen_ai.conversation.id": "conversation-1",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 50,
        "gen_ai.usage.cache_read.input_tokens": 60,
        "gen_ai.usage.cache_creation.input_tokens": 20,
        "gen_ai.usage.reasoning.output_tokens": 30,
    }
    assert set(found) < set(SPAN_ATTRIBUTES)


async def test_a_failed_attempt_has_status_error_and_the_reason() -> None:
    async def handler(call: Call, send: Send) -> None:
        raise LlmError(PROVIDER_RATE_LIMITED, "The prompt was: hi")

    span, found = await one_span(call(), handler)

    assert span.status == Status(code=Status.STATUS_CODE_ERROR)
    assert found["error.type"] == "PROVIDER_RATE_LIMITED"


async def test_a_cancelled_attempt_has_error_type_cancelled() -> None:
    async def handler(call: Call, send: Send) -> None:
        raise asyncio.CancelledError

    span, found = await one_span(call(), handler)

    assert (span.status.code, found["error.type"]) == (Status.STATUS_CODE_ERROR, "cancelled")


async def test_a_span_hangs_under_the_callers() -> None:
    metadata = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=x"}

    span, _ = await one_span(call(metadata=metadata))

    assert (span.trace_id.hex(), span.parent_span_id.hex(), span.trace_state) == (TRACE, PARENT, "vendor=x")
    assert span.flags == 0x301


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "nonsense",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}",
    ],
)
async def test_a_wrong_traceparent_begins_a_new_trace(traceparent: str) -> None:
    span, _ = await one_span(call(metadata={"traceparent": traceparent}))

    assert span.trace_id.hex() != TRACE
    assert span.parent_span_id == b""


async def test_a_traceparent_of_a_later_version_is_read() -> None:
    span, _ = await one_span(call(metadata={"traceparent": f"01-{TRACE}-{PARENT}-01-more"}))

    assert span.trace_id.hex() == TRACE


async def test_a_trace_that_the_caller_does_not_keep_is_not_kept() -> None:
    async with receiving() as receiver:
        async with exporting(receiver) as telemetry:
            await telemetry.attempt(answer)(call(metadata={"traceparent": f"00-{TRACE}-{PARENT}-00"}), ignore)

        assert receiver.spans() == []


async def test_the_ratio_decides_on_traces_that_begin_here_alone() -> None:
    async with receiving() as receiver:
        async with exporting(receiver, trace_ratio=0) as telemetry:
            await telemetry.attempt(answer)(call(), ignore)
            await telemetry.attempt(answer)(call(metadata={"traceparent": f"00-{TRACE}-{PARENT}-01"}), ignore)

        assert [span.trace_id.hex() for span in receiver.spans()] == [TRACE]


async def test_content_is_in_spans_only_when_switched_on() -> None:
    one = call(prompt="What is the meaning of life?")
    one.request.messages.insert(0, Message(role=ROLE_SYSTEM, content="Be brief."))

    _, without = await one_span(one)
    _, found = await one_span(one, capture_content=True)

    assert not {name for name in without if name.endswith(".messages")}
    assert "meaning" not in str(without)
    assert json.loads(found["gen_ai.input.messages"]) == [
        {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
        {"role": "user", "parts": [{"type": "text", "content": "What is the meaning of life?"}]},
    ]
    assert json.loads(found["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "Hello to you."}], "finish_reason": "stop"}
    ]


async def test_content_too_long_for_a_receiver_is_left_out() -> None:
    _, found = await one_span(call(prompt="x" * 300_000), capture_content=True)

    assert "gen_ai.input.messages" not in found
    assert "gen_ai.output.messages" in found


async def test_exports_say_who_sends_them_and_carry_the_headers() -> None:
    async with receiving() as receiver:
        async with exporting(receiver) as telemetry:
            await telemetry.attempt(answer)(call(), ignore)

        (row,) = receiver.traces[0].resource_spans
        found = attributes(row.resource.attributes)
        assert len(found.pop("service.instance.id")) == 36
        assert found == {"service.name": "loom-grpc", "service.version": __version__}
        assert (row.scope_spans[0].scope.name, row.scope_spans[0].scope.version) == ("loom_grpc", __version__)
        assert row.scope_spans[0].schema_url == "https://opentelemetry.io/schemas/1.41.1"
        assert receiver.metadata["authorization"] == "Bearer otlp-secret"


async def test_the_environment_adds_attributes_of_the_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test%2C1, service.name=not-mine,nonsense"
    )
    async with receiving() as receiver:
        async with exporting(receiver) as telemetry:
            await telemetry.attempt(answer)(call(), ignore)

        found = attributes(receiver.traces[0].resource_spans[0].resource.attributes)
        assert (found["deployment.environment.name"], found["service.name"]) == ("test,1", "loom-grpc")


async def test_metrics_are_cumulative_with_units_and_bounds() -> None:
    async with receiving() as receiver:
        async with exporting(receiver) as telemetry:
            await measure_everything(telemetry)

        metrics = receiver.latest_metrics()
        assert {name: metric.unit for name, metric in metrics.items()} == {
            metric.name: metric.unit for metric in METRICS
        }
        tokens = metrics["gen_ai.client.token.usage"].histogram
        assert tokens.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
        point = tokens.data_points[1]
        assert attributes(point.attributes) == {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-4o",
            "gen_ai.token.type": "output",
        }
        assert (point.count, point.sum, list(point.bucket_counts)) == (1, 4.0, [0, 1, *[0] * 13])
        assert list(point.explicit_bounds) == [4.0**power for power in range(14)]
        assert 0 < point.start_time_unix_nano < point.time_unix_nano
        calls, active = metrics["loom.calls"].sum, metrics["loom.attempts.active"].sum
        assert (calls.is_monotonic, calls.data_points[0].as_int) == (True, 1)
        assert (active.is_monotonic, active.data_points[0].as_int) == (False, 0)
        assert "error.type" not in attributes(
            metrics["gen_ai.client.operation.duration"].histogram.data_points[0].attributes
        )


async def test_what_is_switched_off_is_not_sent() -> None:
    async with receiving() as receiver:
        async with exporting(receiver, traces=False) as telemetry:
            await telemetry.attempt(answer)(call(), ignore)
        assert (len(receiver.traces), len(receiver.metrics)) == (0, 1)

        async with exporting(receiver, metrics=False) as telemetry:
            await telemetry.attempt(answer)(call(), ignore)
        assert (len(receiver.traces), len(receiver.metrics)) == (1, 1)


async def test_a_full_batch_leaves_without_waiting() -> None:
    async with receiving() as receiver, exporting(receiver, metrics=False) as telemetry:
        attempt = telemetry.attempt(answer)
        for _ in range(512):
            await attempt(call(), ignore)

        async with asyncio.timeout(WAIT_S):
            await receiver.arrived.wait()


async def test_large_spans_leave_in_several_exports() -> None:
    async with receiving() as receiver:
        async with exporting(receiver, capture_content=True, metrics=False) as telemetry:
            for _ in range(40):
                await telemetry.attempt(answer)(call(prompt="x" * 200_000), ignore)

        assert len(receiver.spans()) == 40
        assert all(request.ByteSize() < 4 * 2**20 for request in receiver.traces)


async def test_spans_that_were_refused_for_a_moment_come_later_and_the_log_says_so_once() -> None:
    log = Log()
    async with receiving() as receiver:
        receiver.refusal = grpc.StatusCode.UNAVAILABLE
        async with exporting(receiver, log, metrics=False) as telemetry:
            for number in range(512):
                await telemetry.attempt(answer)(call(request_id=f"{number}"), ignore)
            async with asyncio.timeout(WAIT_S):
                await log.written.wait()
            receiver.refusal = None

        order = [attributes(span.attributes)["loom.request.id"] for span in receiver.spans()]
        assert order == [f"{number}" for number in range(512)]
        assert log.lines() == [
            {
                "level": "warning",
                "event": "otlp_failed",
                "endpoint": receiver.url,
                "service": "TraceService",
                "failure": "UNAVAILABLE",
            },
            {"level": "info", "event": "otlp_works_again", "endpoint": receiver.url, "service": "TraceService"},
        ]


async def test_spans_that_are_refused_for_good_are_not_sent_again() -> None:
    async with receiving() as receiver:
        receiver.refusal = grpc.StatusCode.INVALID_ARGUMENT
        async with exporting(receiver, metrics=False) as telemetry:
            await telemetry.attempt(answer)(call(), ignore)

        assert receiver.exports == 1


async def test_an_endpoint_that_is_down_is_told_once_without_its_headers() -> None:
    log = Log()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        receiver = Receiver()
        receiver.url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with exporting(receiver, log) as telemetry:
            for _ in range(5000):
                await telemetry.attempt(answer)(call(), ignore)

    assert [row["service"] for row in log.lines("otlp_failed")] == ["MetricsService", "TraceService"]
    assert len(log.lines()) == 2
    assert b"otlp-secret" not in log.getvalue()


async def test_an_endpoint_that_does_not_answer_holds_up_the_end_for_a_bounded_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("loom_grpc.telemetry.otlp._FLUSH_S", 0.05)
    log = Log()
    async with receiving() as receiver:
        receiver.open.clear()
        async with asyncio.timeout(WAIT_S):
            async with exporting(receiver, log, metrics=False) as telemetry:
                await telemetry.attempt(answer)(call(), ignore)

    assert log.lines("otlp_not_flushed") == [
        {"level": "warning", "event": "otlp_not_flushed", "waited_s": 0.05, "spans_lost": 1}
    ]


async def test_without_an_endpoint_nothing_of_opentelemetry_is_loaded() -> None:
    program = (
        "import asyncio, sys; from loom_grpc.telemetry import Telemetry; from loom_grpc.config import Config;"
        "asyncio.run(Telemetry(Config()).start()); sys.exit(any('opentelemetry' in name for name in sys.modules))"
    )
    import sys

    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program)

    assert await process.wait() == 0


async def test_a_call_for_vectors_is_called_embeddings_and_has_no_output() -> None:
    one = call()
    one.begin_embed(EmbedRequest(provider="openai", model="small", dimensions=256))
    one.model = "small"

    async def handler(call: Call, send: Send) -> None:
        call.answer = LlmResponse(model="small-001", usage=Usage(input_tokens=7))

    span, found = await one_span(one, handler)

    assert span.name == "embeddings small"
    assert {name: value for name, value in found.items() if name.startswith("gen_ai.")} == {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "small",
        "gen_ai.embeddings.dimension.count": 256,
        "gen_ai.response.model": "small-001",
        "gen_ai.usage.input_tokens": 7,
    }
