"""Every way a call can fail: one error class, one enum of reasons, one table."""

from __future__ import annotations

from typing import Final, NamedTuple

from google.rpc import code_pb2

from loom_grpc.core.quota import Standing
from loom_grpc.v1 import error_pb2 as _pb
from loom_grpc.v1.error_pb2 import ErrorReason
from loom_grpc.v1.llm_service_pb2 import LlmResponse

DOMAIN: Final = "loom-grpc"
"""The `domain` of every `google.rpc.ErrorInfo` that the server sends."""

UNAUTHENTICATED: Final = _pb.ERROR_REASON_UNAUTHENTICATED
PERMISSION_DENIED: Final = _pb.ERROR_REASON_PERMISSION_DENIED
INVALID_REQUEST: Final = _pb.ERROR_REASON_INVALID_REQUEST
CONTEXT_TOO_LONG: Final = _pb.ERROR_REASON_CONTEXT_TOO_LONG
MODEL_NOT_FOUND: Final = _pb.ERROR_REASON_MODEL_NOT_FOUND
PROVIDER_NOT_CONFIGURED: Final = _pb.ERROR_REASON_PROVIDER_NOT_CONFIGURED
RATE_LIMITED: Final = _pb.ERROR_REASON_RATE_LIMITED
BUDGET_EXCEEDED: Final = _pb.ERROR_REASON_BUDGET_EXCEEDED
PROVIDER_RATE_LIMITED: Final = _pb.ERROR_REASON_PROVIDER_RATE_LIMITED
PROVIDER_QUOTA_EXCEEDED: Final = _pb.ERROR_REASON_PROVIDER_QUOTA_EXCEEDED
PROVIDER_AUTH_FAILED: Final = _pb.ERROR_REASON_PROVIDER_AUTH_FAILED
PROVIDER_UNAVAILABLE: Final = _pb.ERROR_REASON_PROVIDER_UNAVAILABLE
PROVIDER_TIMEOUT: Final = _pb.ERROR_REASON_PROVIDER_TIMEOUT
PROVIDER_BAD_RESPONSE: Final = _pb.ERROR_REASON_PROVIDER_BAD_RESPONSE
LOOP_DETECTED: Final = _pb.ERROR_REASON_LOOP_DETECTED
TOOL_DENIED: Final = _pb.ERROR_REASON_TOOL_DENIED
CONTENT_BLOCKED: Final = _pb.ERROR_REASON_CONTENT_BLOCKED
DRAINING: Final = _pb.ERROR_REASON_DRAINING
ACCOUNT_NOT_FOUND: Final = _pb.ERROR_REASON_ACCOUNT_NOT_FOUND
ACCOUNT_EXISTS: Final = _pb.ERROR_REASON_ACCOUNT_EXISTS
LOGIN_STATE_INVALID: Final = _pb.ERROR_REASON_LOGIN_STATE_INVALID
LOGIN_EXCHANGE_FAILED: Final = _pb.ERROR_REASON_LOGIN_EXCHANGE_FAILED
STORAGE_UNAVAILABLE: Final = _pb.ERROR_REASON_STORAGE_UNAVAILABLE
NOT_FOUND: Final = _pb.ERROR_REASON_NOT_FOUND
CONFLICT: Final = _pb.ERROR_REASON_CONFLICT
INTERNAL: Final = _pb.ERROR_REASON_INTERNAL

_STORE_BACK_S: Final = 5.0
"""When to ask a store again, which is seldom back at once."""


class Row(NamedTuple):
    """What a reason means to the caller and to the retry loop."""

    grpc: int
    """A `google.rpc.Code`."""
    http: int
    """An HTTP status."""
    retry: bool = False
    """Whether the same account may be asked again."""
    next: bool = False
    """Whether another account or target may be asked instead."""


TABLE: Final[dict[ErrorReason.ValueType, Row]] = {
    UNAUTHENTICATED: Row(code_pb2.UNAUTHENTICATED, 401),
    PERMISSION_DENIED: Row(code_pb2.PERMISSION_DENIED, 403),
    INVALID_REQUEST: Row(code_pb2.INVALID_ARGUMENT, 400),
    CONTEXT_TOO_LONG: Row(code_pb2.INVALID_ARGUMENT, 400),
    MODEL_NOT_FOUND: Row(code_pb2.NOT_FOUND, 404),
    PROVIDER_NOT_CONFIGURED: Row(code_pb2.FAILED_PRECONDITION, 503),
    RATE_LIMITED: Row(code_pb2.RESOURCE_EXHAUSTED, 429),
    BUDGET_EXCEEDED: Row(code_pb2.RESOURCE_EXHAUSTED, 429),
    PROVIDER_RATE_LIMITED: Row(code_pb2.RESOURCE_EXHAUSTED, 429, retry=True, next=True),
    PROVIDER_QUOTA_EXCEEDED: Row(code_pb2.RESOURCE_EXHAUSTED, 429, next=True),
    PROVIDER_AUTH_FAILED: Row(code_pb2.INTERNAL, 502, next=True),
    PROVIDER_UNAVAILABLE: Row(code_pb2.UNAVAILABLE, 503, retry=True, next=True),
    PROVIDER_TIMEOUT: Row(code_pb2.DEADLINE_EXCEEDED, 504, retry=True, next=True),
    PROVIDER_BAD_RESPONSE: Row(code_pb2.INTERNAL, 502, next=True),
    LOOP_DETECTED: Row(code_pb2.ABORTED, 409),
    TOOL_DENIED: Row(code_pb2.PERMISSION_DENIED, 403),
    CONTENT_BLOCKED: Row(code_pb2.FAILED_PRECONDITION, 400),
    DRAINING: Row(code_pb2.UNAVAILABLE, 503),
    ACCOUNT_NOT_FOUND: Row(code_pb2.NOT_FOUND, 404),
    ACCOUNT_EXISTS: Row(code_pb2.ALREADY_EXISTS, 409),
    LOGIN_STATE_INVALID: Row(code_pb2.INVALID_ARGUMENT, 400),
    LOGIN_EXCHANGE_FAILED: Row(code_pb2.FAILED_PRECONDITION, 400),
    STORAGE_UNAVAILABLE: Row(code_pb2.UNAVAILABLE, 503),
    NOT_FOUND: Row(code_pb2.NOT_FOUND, 404),
    CONFLICT: Row(code_pb2.ALREADY_EXISTS, 409),
    INTERNAL: Row(code_pb2.INTERNAL, 500),
}


class LlmError(Exception):
    """A failed call: the reason, words for people, and what is known beside them.

    `retry_after` is in seconds. `metadata` goes to the caller, so nothing secret and no upstream body belongs there. `partial` is what
    arrived before the failure; `detail` is for the log alone. `by_words` says that only words of a message tell the reason. `standing` is
    how the limit stands that was reached.
    """

    def __init__(
        self,
        reason: ErrorReason.ValueType,
        message: str,
        *,
        retry_after: float | None = None,
        partial: LlmResponse | None = None,
        detail: str = "",
        by_words: bool = False,
        standing: Standing | None = None,
        **metadata: str,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_after = retry_after
        self.partial = partial
        self.detail = detail
        self.by_words = by_words
        self.standing = standing
        self.metadata = metadata

    def __repr__(self) -> str:
        return f"LlmError({self.name}, {self.message!r})"

    @property
    def name(self) -> str:
        """The reason as `google.rpc.ErrorInfo` names it, such as `PROVIDER_TIMEOUT`."""
        return reason_name(self.reason)

    @property
    def row(self) -> Row:
        """The table's row for the reason."""
        return TABLE[self.reason]


def server_draining() -> LlmError:
    """Makes the error of a server that is about to stop."""
    return LlmError(DRAINING, "The server is shutting down; call again, another one will answer.", retry_after=1)


def storage_unavailable(message: str, *, retry_after: float = _STORE_BACK_S, detail: str = "") -> LlmError:
    """Makes the error of a store that cannot be had for now."""
    return LlmError(STORAGE_UNAVAILABLE, message, retry_after=retry_after, detail=detail)


def server_failed() -> LlmError:
    """Makes the error of a server with a mistake in its program."""
    return LlmError(INTERNAL, "The server failed; its log has the details under the request id.")


def reason_name(reason: ErrorReason.ValueType) -> str:
    """Names a reason without the enum's prefix."""
    return ErrorReason.Name(reason).removeprefix("ERROR_REASON_")
