"""Says in OpenAI's words why a request failed (platform.openai.com/docs/guides/error-codes, seen 2026-11-21)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

from loom_grpc.core.errors import (
    BUDGET_EXCEEDED,
    CONFLICT,
    CONTENT_BLOCKED,
    CONTEXT_TOO_LONG,
    INVALID_REQUEST,
    LOOP_DETECTED,
    MODEL_NOT_FOUND,
    NOT_FOUND,
    PERMISSION_DENIED,
    PROVIDER_QUOTA_EXCEEDED,
    PROVIDER_RATE_LIMITED,
    RATE_LIMITED,
    TOOL_DENIED,
    UNAUTHENTICATED,
    LlmError,
)
from loom_grpc.core.notice import Notice
from loom_grpc.frontends import rate_limit
from loom_grpc.frontends.body import HttpError
from loom_grpc.v1.error_pb2 import ErrorReason

Renames = Sequence[tuple[re.Pattern[str], str]]
"""What a path of the contract is called in the caller's request; the first pattern that matches counts."""

_FAULT: Final = "invalid_request_error"
_TOKENS: Final = "tokens"
"""The `type` of an error about a limit of tokens."""


class _Words(NamedTuple):
    """An error's `type`, `code` and, where the call does not name a field, `param`."""

    type: str
    code: str | None
    param: str | None = None


_WORDS: Final[dict[ErrorReason.ValueType, _Words]] = {
    UNAUTHENTICATED: _Words(_FAULT, "invalid_api_key"),
    PERMISSION_DENIED: _Words(_FAULT, "permission_denied"),
    INVALID_REQUEST: _Words(_FAULT, None),
    CONTEXT_TOO_LONG: _Words(_FAULT, "context_length_exceeded", "messages"),
    MODEL_NOT_FOUND: _Words(_FAULT, "model_not_found", "model"),
    NOT_FOUND: _Words(_FAULT, "not_found"),
    CONFLICT: _Words(_FAULT, "conflict"),
    CONTENT_BLOCKED: _Words(_FAULT, "content_policy_violation"),
    LOOP_DETECTED: _Words(_FAULT, "loop_detected"),
    TOOL_DENIED: _Words(_FAULT, "tool_denied", "tools"),
    RATE_LIMITED: _Words("requests", "rate_limit_exceeded"),
    PROVIDER_RATE_LIMITED: _Words("requests", "rate_limit_exceeded"),
    BUDGET_EXCEEDED: _Words("insufficient_quota", "insufficient_quota"),
    PROVIDER_QUOTA_EXCEEDED: _Words("insufficient_quota", "insufficient_quota"),
}
"""For the other reasons the server or the provider is at fault, and the code is the reason itself."""

_UNREADABLE: Final = 422
"""The status of a field that is wrong, for which OpenAI says 400."""


class OpenAIApi:
    """What all of OpenAI's endpoints have in common; `renames` is for where they call fields by other names than the contract."""

    renames: Renames = ()

    def failure(self, error: LlmError, request_id: str) -> tuple[int, bytes]:
        """Returns the HTTP status and the body of a call that failed before anything was sent."""
        return failure(error, self.renames)

    def refusal(self, error: HttpError, request_id: str) -> tuple[int, bytes]:
        """Returns the HTTP status and the body for a request that is no call."""
        return refusal(error)

    def headers(self, request_id: str) -> Mapping[str, str]:
        """Returns nothing: `x-request-id` is sent anyhow."""
        return {}

    def limits(self, notices: Sequence[Notice], now: float) -> Mapping[str, str]:
        """Returns the headers that tell how the caller's limits stand."""
        return rate_limit.openai(notices)


def failure(error: LlmError, renames: Renames = ()) -> tuple[int, bytes]:
    """Returns the HTTP status and the body of a call that failed before anything was sent."""
    return error.row.http, _body(_words(error, renames))


def refusal(error: HttpError) -> tuple[int, bytes]:
    """Returns the HTTP status and the body for a request that is no call."""
    status = 400 if error.status == _UNREADABLE else error.status
    words = {"message": error.message, "type": _FAULT, "param": error.field or None, "code": None}
    return status, _body(words)


def in_stream(error: LlmError, renames: Renames = ()) -> bytes:
    """Writes the last event of a stream that failed, which has no end marker then."""
    return b"data: " + _body(_words(error, renames)) + b"\n\n"


def _body(words: dict[str, Any]) -> bytes:
    return orjson.dumps({"error": words})


def _words(error: LlmError, renames: Renames) -> dict[str, Any]:
    words = _WORDS.get(error.reason) or _Words("server_error", error.name.lower())
    field = error.metadata.get("field", "")
    param = _renamed(field, renames)
    message = error.message
    if field and message.startswith(field):
        message = param + message[len(field) :]
    code = error.metadata.get("code") or words.code
    return {
        "message": message,
        "type": _TOKENS if error.metadata.get("kind") == _TOKENS else words.type,
        "param": param or _renamed(words.param or "", renames) or None,
        "code": code,
    }


def _renamed(field: str, renames: Renames) -> str:
    for pattern, name in renames:
        if pattern.match(field):
            return pattern.sub(name, field)
    return field
