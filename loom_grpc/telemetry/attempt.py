"""Watching one attempt at a provider: when content comes, what the answer is, how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from time import perf_counter
from typing import Final
from urllib.parse import urlsplit

from loom_grpc.core.call import Call, Send
from loom_grpc.core.errors import LlmError
from loom_grpc.telemetry import names
from loom_grpc.telemetry.metrics import Cells, Metrics, Models, observe
from loom_grpc.v1.llm_service_pb2 import LlmEvent

Attributes = dict[str, str | bool | int | float | list[str]]

_PORTS: Final = {"http": 80, "https": 443}
_CHUNK_BOUNDS: Final = names.TIME_PER_CHUNK.bounds


class Attempt:
    """Measures one attempt; `send` or, for streams, `send_chunk` stands in for the call's own."""

    __slots__ = ("_began", "_call", "_gaps", "_last", "_metrics", "_models", "_pass_on", "_provider")

    def __init__(self, call: Call, pass_on: Send, metrics: Metrics, models: Models) -> None:
        self._call = call
        self._pass_on = pass_on
        self._metrics = metrics
        self._models = models
        self._provider = names.well_known(call.provider)
        self._gaps: Cells | None = None
        self._last = 0.0
        call.first_content_s = call.answer = None
        metrics.add(names.ACTIVE, (call.provider,))
        self._began = perf_counter()

    def send(self, event: LlmEvent) -> Awaitable[object]:
        """Passes an event of a whole answer on. Not a coroutine, so that an event costs no frame more."""
        if event.HasField("completed"):
            self._call.answer = event.completed.response
        return self._pass_on(event)

    def send_chunk(self, event: LlmEvent) -> Awaitable[object]:
        """Passes an event of a stream on, measuring when content comes."""
        kind = event.WhichOneof("event")
        if kind == "completed":
            self._call.answer = event.completed.response
        elif kind is not None and kind != "started":
            now = perf_counter()
            if self._gaps is None:
                self._first_content(now - self._began)
            else:
                observe(self._gaps, _CHUNK_BOUNDS, now - self._last)
            self._last = now
        return self._pass_on(event)

    def end(self, error: BaseException | None) -> float:
        """Records the end; returns how long the attempt took in seconds."""
        duration_s = perf_counter() - self._began
        call, metrics = self._call, self._metrics
        if isinstance(error, LlmError) and error.partial is not None:
            call.answer = error.partial
        metrics.add(names.ACTIVE, (call.provider,), -1)
        labels = self._labels(accepted=error is None or call.responded)
        metrics.observe(names.DURATION, (*labels, error_type(error)), duration_s)
        if call.answer is not None and call.answer.HasField("usage") and not call.answer.usage.estimated:
            metrics.observe(names.TOKENS, (*labels, "input"), call.answer.usage.input_tokens)
            if call.embed is None:
                metrics.observe(names.TOKENS, (*labels, "output"), call.answer.usage.output_tokens)
        return duration_s

    def _first_content(self, after_s: float) -> None:
        self._call.first_content_s = after_s
        labels = self._labels(accepted=True)
        self._metrics.observe(names.TIME_TO_FIRST_CHUNK, labels, after_s)
        self._gaps = self._metrics.cells(names.TIME_PER_CHUNK, labels)

    def _labels(self, *, accepted: bool) -> tuple[str, str, str]:
        model = self._models.label(self._call.provider, self._call.model, accepted=accepted)
        return operation(self._call), self._provider, model


def operation(call: Call) -> str:
    """Returns what a call asks for, in the conventions' word."""
    return names.CHAT if call.embed is None else names.EMBEDDINGS


def error_type(error: BaseException | None) -> str:
    """Returns what an attempt failed with: a reason, `cancelled`, or the class of an exception that nobody expected."""
    if error is None:
        return ""
    if isinstance(error, LlmError):
        return error.name
    return names.CANCELLED if isinstance(error, asyncio.CancelledError) else type(error).__qualname__


def server_of(base_url: str) -> Attributes:
    """Returns the attributes of a provider's address; none without one."""
    parts = urlsplit(base_url)
    if not parts.hostname:
        return {}
    return {names.SERVER_ADDRESS: parts.hostname, names.SERVER_PORT: parts.port or _PORTS.get(parts.scheme, 443)}
