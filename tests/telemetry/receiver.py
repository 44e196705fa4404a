"""An OTLP endpoint on a real socket that keeps what it is sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

Context = grpc.aio.ServicerContext[Any, Any]
WAIT_S: Final = 10


class Receiver:
    """Takes exports, or refuses them with `refusal`, or holds them up while `open` is clear."""

    def __init__(self) -> None:
        self.url = ""
        self.refusal: grpc.StatusCode | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.arrived = asyncio.Event()
        """Set when an export has come, taken or not."""
        self.exports = 0
        self.metadata: dict[str, str | bytes] = {}
        self.traces: list[ExportTraceServiceRequest] = []
        self.metrics: list[ExportMetricsServiceRequest] = []

    async def take_traces(self, request: ExportTraceServiceRequest, context: Context) -> ExportTraceServiceResponse:
        await self._admit(context)
        self.traces.append(request)
        return ExportTraceServiceResponse()

    async def take_metrics(
        self, request: ExportMetricsServiceRequest, context: Context
    ) -> ExportMetricsServiceResponse:
        await self._admit(context)
        self.metrics.append(request)
        return ExportMetricsServiceResponse()

    async def _admit(self, context: Context) -> None:
        self.exports += 1
        self.metadata = dict(context.invocation_metadata() or ())
        self.arrived.set()
        await self.open.wait()
        if self.refusal is not None:
            await context.abort(self.refusal, "not now")

    def spans(self) -> list[Span]:
        """Returns all spans that were taken."""
        return [
            span
            for request in self.traces
            for row in request.resource_spans
            for scope in row.scope_spans
            for span in scope.spans
        ]

    def latest_metrics(self) -> dict[str, Metric]:
        """Returns the metrics of the last export."""
        rows = self.metrics[-1].resource_metrics
        return {metric.name: metric for row in rows for scope in row.scope_metrics for metric in scope.metrics}


def attributes(pairs: Any) -> dict[str, Any]:
    """Reads attributes into a dictionary."""
    return {pair.key: _value(pair) for pair in pairs}


def _value(pair: KeyValue) -> Any:
    if pair.value.WhichOneof("value") == "array_value":
        return [item.string_value for item in pair.value.array_value.values]
    return getattr(pair.value, pair.value.WhichOneof("value") or "")


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Serves an endpoint at `url`."""
    receiver = Receiver()
    server = grpc.aio.server()
    services: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "opentelemetry.proto.collector.trace.v1.TraceService": grpc.unary_unary_rpc_method_handler(
            receiver.take_traces, ExportTraceServiceRequest.FromString, ExportTraceServiceResponse.SerializeToString
        ),
        "opentelemetry.proto.collector.metrics.v1.MetricsService": grpc.unary_unary_rpc_method_handler(
            receiver.take_metrics,
            ExportMetricsServiceRequest.FromString,
            ExportMetricsServiceResponse.SerializeToString,
        ),
    }
    handlers = [grpc.method_handlers_generic_handler(name, {"Export": method}) for name, method in services.items()]
    server.add_generic_rpc_handlers(tuple(handlers))
    receiver.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield receiver
    finally:
        receiver.open.set()
        await server.stop(None)
