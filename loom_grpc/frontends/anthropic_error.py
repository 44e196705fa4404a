"""Says in the words of Anthropic's API why a call failed (platform.claude.com/docs/en/api/errors, seen 2026-11-21)."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import orjson

from loom_grpc.core.errors import (
    ACCOUNT_EXISTS,
    ACCOUNT_NOT_FOUND,
    BUDGET_EXCEEDED,
    CONFLICT,
    CONTENT_BLOCKED,
    CONTEXT_TOO_LONG,
    DRAINING,
    INTERNAL,
    INVALID_REQUEST,
    LOGIN_EXCHANGE_FAILED,
    LOGIN_STATE_INVALID,
    LOOP_DETECTED,
    MODEL_NOT_FOUND,
    NOT_FOUND,
    PERMISSION_DENIED,
    PROVIDER_AUTH_FAILED,
    PROVIDER_BAD_RESPONSE,
    PROVIDER_NOT_CONFIGURED,
    PROVIDER_QUOTA_EXCEEDED,
    PROVIDER_RATE_LIMITED,
    PROVIDER_TIMEOUT,
    PROVIDER_UNAVAILABLE,
    RATE_LIMITED,
    STORAGE_UNAVAILABLE,
    TOOL_DENIED,
    UNAUTHENTICATED,
    LlmError,
)
from loom_grpc.frontends.body import HttpError
from loom_grpc.v1.error_pb2 import ErrorReason


class _Row(NamedTuple):
    status: int
    type: str


_INVALID: Final = _Row(400, "invalid_request_error")
_UNAUTHENTICATED: Final = _Row(401, "authentication_error")
_UNPAID: Final = _Row(402, "billing_error")
_FORBIDDEN: Final = _Row(403, "permission_error")
_NOT_FOUND: Final = _Row(404, "not_found_error")
_TOO_LARGE: Final = _Row(413, "request_too_large")
_LIMITED: Final = _Row(429, "rate_limit_error")
_FAILED: Final = _Row(500, "api_error")
_TIMEOUT: Final = _Row(504, "timeout_error")
_OVERLOADED: Final = _Row(529, "overloaded_error")

TABLE: Final[dict[ErrorReason.ValueType, _Row]] = {
    UNAUTHENTICATED: _UNAUTHENTICATED,
    PERMISSION_DENIED: _FORBIDDEN,
    INVALID_REQUEST: _INVALID,
    CONTEXT_TOO_LONG: _INVALID,
    MODEL_NOT_FOUND: _NOT_FOUND,
    PROVIDER_NOT_CONFIGURED: _NOT_FOUND,
    RATE_LIMITED: _LIMITED,
    BUDGET_EXCEEDED: _UNPAID,
    PROVIDER_RATE_LIMITED: _LIMITED,
    PROVIDER_QUOTA_EXCEEDED: _LIMITED,
    PROVIDER_AUTH_FAILED: _FAILED,
    PROVIDER_UNAVAILABLE: _OVERLOADED,
    PROVIDER_TIMEOUT: _TIMEOUT,
    PROVIDER_BAD_RESPONSE: _FAILED,
    LOOP_DETECTED: _INVALID,
    TOOL_DENIED: _FORBIDDEN,
    CONTENT_BLOCKED: _INVALID,
    DRAINING: _OVERLOADED,
    ACCOUNT_NOT_FOUND: _NOT_FOUND,
    ACCOUNT_EXISTS: _INVALID,
    LOGIN_STATE_INVALID: _INVALID,
    LOGIN_EXCHANGE_FAILED: _INVALID,
    NOT_FOUND: _NOT_FOUND,
    CONFLICT: _INVALID,
    STORAGE_UNAVAILABLE: _OVERLOADED,
    INTERNAL: _FAILED,
}
"""Clients ask again after 409, 429 and from 500 on, so that what asking again cannot mend has none of these."""

_TOO_LONG: Final = "prompt is too long: "
"""How the API's message begins, by which coding agents know that they have to shorten the conversation."""
_INDEX: Final = re.compile(r"\[(\d+)\]")
_DETAILS: Final = {"thread": {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}}
"""What clients are to know of a field that is refused: told so, the API's own clients send a conversation in whole
(lib/threads/_thread_state.py in anthropic 2.11 on PyPI, seen 2026-11-21)."""


def failure(error: LlmError, request_id: str) -> tuple[int, bytes]:
    """Returns the status and the body of a call that failed before anything was sent."""
    row = TABLE[error.reason]
    return row.status, _body(row.type, _words(error), request_id)


def refusal(error: HttpError, request_id: str) -> tuple[int, bytes]:
    """Returns the status and the body for a request that is no call; the API writes a path with dots alone."""
    row = _TOO_LARGE if error.status == _TOO_LARGE.status else _INVALID
    words = error.message.removeprefix(error.field)
    path = _INDEX.sub(r".\1", error.field) if words != error.message else ""
    return row.status, _body(row.type, path + words, request_id, _DETAILS.get(error.field))


def stream_end(error: LlmError, request_id: str) -> bytes:
    """Writes the event that ends a stream that failed."""
    body = _body(TABLE[error.reason].type, _words(error), request_id)
    return b"event: error\ndata: " + body + b"\n\n"


def _words(error: LlmError) -> str:
    return _TOO_LONG + error.message if error.reason == CONTEXT_TOO_LONG else error.message


def _body(kind: str, message: str, request_id: str, details: dict[str, Any] | None = None) -> bytes:
    error: dict[str, Any] = {"type": kind, "message": message}
    if details is not None:
        error["details"] = details
    return orjson.dumps({"type": "error", "error": error, "request_id": request_id})
