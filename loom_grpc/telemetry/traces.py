"""Spans: one for each attempt at a provider, made in OTLP's own shape when the attempt is over.

Made and sent like this a span costs 22 us, with the SDK and its exporter 62 us (docs/decisions/0008-otlp.md).
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import orjson
from opentelemetry.proto.trace.v1.trace_pb2 import Span, SpanFlags, Status

from loom_grpc.core.call import Call
from loom_grpc.telemetry import content, names
from loom_grpc.telemetry.attempt import Attributes, operation
from loom_grpc.v1.llm_service_pb2 import LlmRequest, LlmResponse

_TRACEPARENT: Final = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
"""By www.w3.org/TR/trace-context, seen 2026-11-21."""
_SAMPLED: Final = 1
_REMOTE_PARENT: Final = SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK | SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
_LONGEST_CONTENT: Final = 256 * 1024
"""A longer prompt or answer is left out: receivers refuse requests of more than 4 MiB."""
_SETTINGS: Final = (
    ("max_tokens", names.MAX_TOKENS),
    ("temperature", names.TEMPERATURE),
    ("top_p", names.TOP_P),
    ("top_k", names.TOP_K),
    ("seed", names.SEED),
)
_PARTS_OF_USAGE: Final = (
    ("cache_read_tokens", names.CACHE_READ_TOKENS),
    ("cache_write_tokens", names.CACHE_WRITE_TOKENS),
    ("reasoning_tokens", names.REASONING_TOKENS),
)


class Caller(NamedTuple):
    """The span that a caller's `traceparent` names."""

    trace_id: bytes
    span_id: bytes
    flags: int
    state: str


class Traces:
    """Makes a span of each attempt and hands it to `keep`.

    A caller's trace is kept when the caller keeps it, one that begins here with the probability `ratio`. `chance` returns a
    number from 0 to 1.
    """

    def __init__(
        self,
        keep: Callable[[Span], None],
        *,
        ratio: float,
        capture_content: bool,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._keep = keep
        self._ratio = ratio
        self._capture_content = capture_content
        self._chance = chance

    def record(self, call: Call, duration_s: float, error_type: str, server: Attributes) -> None:
        """Records an attempt that has just ended; `error_type` is empty after success."""
        caller = _caller(call.metadata)
        if not (caller.flags & _SAMPLED if caller else self._chance() < self._ratio):
            return
        end = time.time_ns()
        span = Span(
            trace_id=caller.trace_id if caller else random.randbytes(16),  # noqa: S311 - ids are no secrets
            span_id=random.randbytes(8),  # noqa: S311
            name=f"{operation(call)} {call.model}",
            kind=Span.SPAN_KIND_CLIENT,
            start_time_unix_nano=end - round(duration_s * 1e9),
            end_time_unix_nano=end,
            flags=_SAMPLED,
        )
        if caller:
            span.parent_span_id, span.trace_state = caller.span_id, caller.state
            span.flags |= _REMOTE_PARENT
        if error_type:
            span.status.code = Status.STATUS_CODE_ERROR
        _add(span, server)
        _add(span, _asked(call))
        _add(span, self._came(call, error_type))
        self._keep(span)

    def _came(self, call: Call, error_type: str) -> Attributes:
        """Returns what came of the attempt."""
        attributes = _answered(call, call.answer) if call.answer is not None else {}
        if error_type:
            attributes[names.ERROR_TYPE] = error_type
        if call.first_content_s is not None:
            attributes[names.FIRST_CHUNK] = call.first_content_s
        if self._capture_content:
            attributes |= _content(call)
        return attributes


def _caller(metadata: Mapping[str, str]) -> Caller | None:
    text = metadata.get("traceparent")
    match = _TRACEPARENT.fullmatch(text.strip()) if text else None
    if match is None or (match[1] == "00" and match[5]):
        return None
    state = metadata.get("tracestate", "")
    return Caller(bytes.fromhex(match[2]), bytes.fromhex(match[3]), int(match[4], 16), state)


def _add(span: Span, attributes: Attributes) -> None:
    add = span.attributes.add
    for name, value in attributes.items():
        attribute = add()
        attribute.key = name
        if isinstance(value, str):
            attribute.value.string_value = value
        elif isinstance(value, bool):
            attribute.value.bool_value = value
        elif isinstance(value, int):
            attribute.value.int_value = value
        elif isinstance(value, float):
            attribute.value.double_value = value
        else:
            for item in value:
                attribute.value.array_value.values.add().string_value = item


def _asked(call: Call) -> Attributes:
    request = call.request
    attributes: Attributes = {
        names.OPERATION: operation(call),
        names.PROVIDER: names.well_known(call.provider),
        names.REQUEST_MODEL: call.model,
        names.REQUEST_ID: call.request_id,
        names.ATTEMPT: call.attempt,
        names.LOOM_PROVIDER: call.provider,
    }
    if call.account:
        attributes[names.ACCOUNT] = call.account
    if call.stream:
        attributes[names.STREAM] = True
    for field, name in _SETTINGS:
        if request.HasField(field):  # type: ignore[arg-type] # the stub lists the names one by one
            attributes[name] = getattr(request, field)
    if request.session_id:
        attributes[names.CONVERSATION] = request.session_id
    if request.HasField("response_format"):
        attributes[names.OUTPUT_TYPE] = _output_type(request)
    if call.embed is not None and call.embed.HasField("dimensions"):
        attributes[names.DIMENSIONS] = call.embed.dimensions
    return attributes


def _output_type(request: LlmRequest) -> str:
    return "json" if request.response_format.WhichOneof("format") in ("json_object", "json_schema") else "text"


def _answered(call: Call, answer: LlmResponse) -> Attributes:
    attributes: Attributes = {}
    if answer.id:
        attributes[names.RESPONSE_ID] = answer.id
    if answer.model:
        attributes[names.RESPONSE_MODEL] = answer.model
    if answer.finish_reason:
        attributes[names.FINISH_REASONS] = [answer.finish_reason]
    if answer.HasField("usage"):
        usage = answer.usage
        attributes[names.INPUT_TOKENS] = usage.input_tokens
        if call.embed is None:
            attributes[names.OUTPUT_TOKENS] = usage.output_tokens
        for field, name in _PARTS_OF_USAGE:
            if tokens := getattr(usage, field):
                attributes[name] = tokens
    return attributes


def _content(call: Call) -> Attributes:
    said = {names.INPUT_MESSAGES: orjson.dumps(content.input_messages(call.request))}
    if call.answer is not None:
        said[names.OUTPUT_MESSAGES] = orjson.dumps(content.output_messages(call.answer))
    return {name: text.decode() for name, text in said.items() if len(text) <= _LONGEST_CONTENT}
