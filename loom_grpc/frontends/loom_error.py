"""Says in Loom's words why a call failed: an HTTP status with a JSON body, or the last event of a stream."""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import orjson

from loom_grpc.core.errors import (
    INVALID_REQUEST,
    PROVIDER_AUTH_FAILED,
    PROVIDER_BAD_RESPONSE,
    PROVIDER_QUOTA_EXCEEDED,
    PROVIDER_RATE_LIMITED,
    PROVIDER_TIMEOUT,
    PROVIDER_UNAVAILABLE,
    RATE_LIMITED,
    UNAUTHENTICATED,
    LlmError,
)
from loom_grpc.v1.error_pb2 import ErrorReason

_CODES: Final = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "payload_too_large",
    415: "unsupported_media_type",
    422: "unprocessable_entity",
    429: "rate_limited",
    431: "header_too_large",
    500: "internal_error",
    501: "not_implemented",
    502: "upstream_error",
    503: "service_unavailable",
    504: "upstream_timeout",
}
"""The word for each HTTP status; Loom has none for 405, 413, 415, 422, 429 and 431."""


class _Words(NamedTuple):
    """What is said of a failure, in a body and in an event; `{}` is the error's own message."""

    body: str
    event: str


_OWN_WORDS: Final = _Words("{}", "API error: {}")
_WORDS: Final[dict[ErrorReason.ValueType, _Words]] = {
    UNAUTHENTICATED: _Words("Authentication required", "API error: Authentication required"),
    PROVIDER_UNAVAILABLE: _Words("LLM HTTP error: {}", "HTTP error: {}"),
    PROVIDER_AUTH_FAILED: _Words("LLM API error: {}", "API error: {}"),
    PROVIDER_TIMEOUT: _Words("LLM request timed out", "Request timed out"),
    PROVIDER_BAD_RESPONSE: _Words("Invalid LLM response: {}", "Invalid response: {}"),
}
_RATE_LIMITS: Final = frozenset({RATE_LIMITED, PROVIDER_RATE_LIMITED, PROVIDER_QUOTA_EXCEEDED})


def http_status(error: LlmError) -> int:
    """Returns the HTTP status of a call that failed before its first event."""
    if error.reason == PROVIDER_UNAVAILABLE:
        return 502  # what Loom answers when a provider cannot be reached or fails
    if error.reason == INVALID_REQUEST and error.metadata.get("field") == "provider":
        return 404  # here the provider is a piece of the path
    return error.row.http


def error_body(status: int, message: str, more: dict[str, Any] | None = None) -> bytes:
    """Writes the body that goes with an HTTP status."""
    return orjson.dumps({"error": _CODES[status], "message": message, **(more or {})})


def body_words(error: LlmError) -> str:
    """Returns the message of a failure's body."""
    return _words(error).body.format(error.message)


def event_words(error: LlmError) -> str:
    """Returns the message of a stream's last event."""
    return _words(error).event.format(error.message)


def particulars(error: LlmError) -> dict[str, Any]:
    """Returns what Loom does not tell of a failure."""
    if error.retry_after is None:
        return {"reason": error.name}
    return {"reason": error.name, "retry_after": error.retry_after}


def _words(error: LlmError) -> _Words:
    if error.reason not in _RATE_LIMITS:
        return _WORDS.get(error.reason, _OWN_WORDS)
    when = "try again later" if error.retry_after is None else f"retry after {math.ceil(error.retry_after)} seconds"
    return _Words(f"LLM rate limited; {when}", f"Rate limited: {when}")
