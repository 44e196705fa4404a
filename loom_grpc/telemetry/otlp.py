"""Sending spans and metrics by OTLP over gRPC, beside the calls: none of them waits for it.

The messages are opentelemetry.io/docs/specs/otlp, seen 2026-11-21.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import grpc
from google.protobuf.message import Message
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_CUMULATIVE,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from structlog.typing import FilteringBoundLogger

from loom_grpc import __version__
from loom_grpc.telemetry import names
from loom_grpc.telemetry.background import again_and_again
from loom_grpc.telemetry.metrics import Cells, Labels, State

_SPANS_EVERY_S: Final = 5.0
_METRICS_EVERY_S: Final = 30.0
_TIMEOUT_S: Final = 10.0
_FLUSH_S: Final = 3.0
"""How long the end of the server waits for the last spans and metrics to be taken."""
_MOST_SPANS: Final = 4096
"""What is kept while the endpoint does not take it; after that the oldest are lost."""
_BATCH: Final = 512
_BATCH_BYTES: Final = 3 * 2**20
"""Receivers refuse more than 4 MiB unless they are told otherwise."""
_PASSING: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
"""What may go well the next time. RESOURCE_EXHAUSTED is also said of a request that is too large, and will be again."""
_SCOPE: Final = InstrumentationScope(name=names.SCOPE, version=__version__)


class Otlp:
    """Exports to one endpoint; `headers` are secret, `target` says what is measured.

    Made on the event loop. TLS follows the endpoint's scheme, with the authorities that gRPC trusts
    (`GRPC_DEFAULT_SSL_ROOTS_FILE_PATH`). `OTEL_RESOURCE_ATTRIBUTES` adds attributes of the resource.
    """

    def __init__(
        self, endpoint: str, headers: Mapping[str, str], target: Mapping[str, str], log: FilteringBoundLogger
    ) -> None:
        self._log = log
        self._channel = _channel(endpoint)
        metadata = tuple((name.lower(), value) for name, value in headers.items())  # gRPC takes lower case alone
        log = log.bind(endpoint=endpoint)
        self._spans_service = _Service(
            self._channel, _TRACES, ExportTraceServiceRequest, ExportTraceServiceResponse, metadata, log
        )
        self._metrics_service = _Service(
            self._channel, _METRICS, ExportMetricsServiceRequest, ExportMetricsServiceResponse, metadata, log
        )
        self._resource = _resource(target, os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""))
        self._began = time.time_ns()
        self._spans: deque[Span] = deque(maxlen=_MOST_SPANS)
        self._many = asyncio.Event()
        self._measure: Callable[[], State] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def keep(self, span: Span) -> None:
        """Takes a span to send soon."""
        self._spans.append(span)
        if len(self._spans) >= _BATCH:
            self._many.set()

    def start(self, measure: Callable[[], State] | None) -> None:
        """Begins to send in the background: spans, and metrics where there is something to `measure` them by."""
        self._measure = measure
        self._tasks.append(again_and_again(self._send_spans, self._spans_are_due, self._log))
        if measure is not None:
            self._tasks.append(again_and_again(self._send_metrics, lambda: asyncio.sleep(_METRICS_EVERY_S), self._log))

    async def close(self) -> None:
        """Sends what is left, for a few seconds at most, and stops."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            async with asyncio.timeout(_FLUSH_S):
                await self._send_metrics()
                while self._spans and await self._send_spans():
                    pass
        except TimeoutError:
            self._log.warning("otlp_not_flushed", waited_s=_FLUSH_S, spans_lost=len(self._spans))
        await self._channel.close()

    async def _spans_are_due(self) -> None:
        """Waits for a full batch or for its time; only for its time while the endpoint takes nothing."""
        if not self._spans_service.well:
            await asyncio.sleep(_SPANS_EVERY_S)
            return
        if len(self._spans) < _BATCH:
            self._many.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(_SPANS_EVERY_S):
                await self._many.wait()

    async def _send_spans(self) -> bool:
        """Sends one batch and returns whether it was taken; spans that are not, for a passing reason, wait for the next time.

        What comes meanwhile waits for a batch of its own: sent at once, a busy server would export every few spans by themselves.
        """
        batch = self._batch()
        if not batch:
            return True
        taken = False
        try:
            taken = await self._spans_service.send(self._request_of(batch))
        finally:
            if not taken:
                self._put_back(batch)
        return taken

    async def _send_metrics(self) -> None:
        state = self._measure() if self._measure is not None else {}
        if state:
            request = ExportMetricsServiceRequest()
            row = request.resource_metrics.add(resource=self._resource)
            metrics = metrics_of(state, self._began, time.time_ns())
            row.scope_metrics.add(scope=_SCOPE, metrics=metrics, schema_url=names.SCHEMA_URL)
            await self._metrics_service.send(request)

    def _request_of(self, batch: list[Span]) -> ExportTraceServiceRequest:
        # Each message made for itself would be copied into the next one around it.
        request = ExportTraceServiceRequest()
        row = request.resource_spans.add(resource=self._resource)
        row.scope_spans.add(scope=_SCOPE, spans=batch, schema_url=names.SCHEMA_URL)
        return request

    def _batch(self) -> list[Span]:
        batch: list[Span] = []
        room = _BATCH_BYTES
        while self._spans and len(batch) < _BATCH:
            room -= self._spans[0].ByteSize()
            if room < 0 and batch:
                break
            batch.append(self._spans.popleft())
        return batch

    def _put_back(self, batch: list[Span]) -> None:
        room = _MOST_SPANS - len(self._spans)
        self._spans.extendleft(reversed(batch[-room:] if room else []))


_TRACES: Final = "opentelemetry.proto.collector.trace.v1.TraceService"
_METRICS: Final = "opentelemetry.proto.collector.metrics.v1.MetricsService"


class _Service:
    """One of the endpoint's services. Tells when exports begin to fail and when they work again, and nothing in between."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        name: str,
        request: type[Message],
        response: type[ExportTraceServiceResponse | ExportMetricsServiceResponse],
        metadata: tuple[tuple[str, str], ...],
        log: FilteringBoundLogger,
    ) -> None:
        self._export: grpc.aio.UnaryUnaryMultiCallable[Any, Any] = channel.unary_unary(
            f"/{name}/Export",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )
        self._metadata = metadata
        self._log = log.bind(service=name.rpartition(".")[2])
        self.well = True
        """Whether the last export was taken."""

    async def send(self, request: Message) -> bool:
        """Sends a request; returns False when it is worth sending again."""
        try:
            response = await self._export(request, timeout=_TIMEOUT_S, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            self._note(error.code().name)
            return error.code() not in _PASSING
        refused = response.ByteSize() > 0 and response.partial_success.error_message
        self._note(f"refused in part: {refused}" if refused else "")
        return True

    def _note(self, failure: str) -> None:
        if failure and self.well:
            self._log.warning("otlp_failed", failure=failure)
        elif not failure and not self.well:
            self._log.info("otlp_works_again")
        self.well = not failure


def _channel(endpoint: str) -> grpc.aio.Channel:
    parts = urlsplit(endpoint)
    secure = parts.scheme == "https"
    target = f"{parts.netloc}" if parts.port else f"{parts.netloc}:{443 if secure else 4317}"
    # Without this all channels of a process to one address share a connection and its troubles.
    options = [("grpc.use_local_subchannel_pool", 1)]
    if secure:
        return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(), options)
    return grpc.aio.insecure_channel(target, options)


def _resource(target: Mapping[str, str], more: str) -> Resource:
    """Joins the attributes; `more` is written `name=value,name=value`, percent-encoded, and gives way to what is configured."""
    pairs = (pair.partition("=") for pair in more.split(",") if "=" in pair)
    attributes = {name.strip(): unquote(value.strip()) for name, _, value in pairs}
    attributes = {"service.instance.id": str(uuid4()), **attributes, **target}
    return Resource(attributes=[_attribute(name, value) for name, value in attributes.items()])


def metrics_of(state: State, began: int, now: int) -> list[Metric]:
    """Writes the state as cumulative metrics; times are nanoseconds of the Unix clock."""
    return [_metric(metric, state[metric.name], began, now) for metric in names.METRICS if metric.name in state]


def _metric(metric: names.Metric, series: Mapping[Labels, Cells], began: int, now: int) -> Metric:
    message = Metric(name=metric.name, description=metric.description, unit=metric.unit)
    if metric.kind == "histogram":
        message.histogram.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
        points = (_histogram_point(metric, labels, cells, began, now) for labels, cells in series.items())
        message.histogram.data_points.extend(points)
        return message
    numbers = [_number_point(metric, labels, cells, began, now) for labels, cells in series.items()]
    if not metric.is_summed:
        message.gauge.data_points.extend(numbers)
        return message
    message.sum.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
    message.sum.is_monotonic = metric.kind == "counter"
    message.sum.data_points.extend(numbers)
    return message


def _number_point(metric: names.Metric, labels: Labels, cells: Cells, began: int, now: int) -> NumberDataPoint:
    point = NumberDataPoint(start_time_unix_nano=began, time_unix_nano=now, as_int=int(cells[0]))
    point.attributes.extend(_attributes(metric, labels))
    return point


def _histogram_point(metric: names.Metric, labels: Labels, cells: Cells, began: int, now: int) -> HistogramDataPoint:
    counts = [int(count) for count in cells[:-1]]
    return HistogramDataPoint(
        attributes=_attributes(metric, labels),
        start_time_unix_nano=began,
        time_unix_nano=now,
        count=sum(counts),
        sum=cells[-1],
        bucket_counts=counts,
        explicit_bounds=metric.bounds,
    )


def _attributes(metric: names.Metric, labels: Labels) -> list[KeyValue]:
    return [_attribute(name, label) for name, label in zip(metric.attributes, labels, strict=True) if label]


def _attribute(name: str, value: str) -> KeyValue:
    attribute = KeyValue(key=name)
    attribute.value.string_value = value
    return attribute
