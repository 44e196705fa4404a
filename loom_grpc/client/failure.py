"""What a failed call means."""

from __future__ import annotations

from typing import Final

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from loom_grpc.core import errors
from loom_grpc.core.errors import LlmError
from loom_grpc.v1.error_pb2 import ErrorReason


def llm_error(failure: grpc.aio.AioRpcError, target: str) -> LlmError:
    """Reads what a failed call says; without the details of a loom-grpc server the reason follows from the status code.

    The error's `metadata` then names the `target`.
    """
    info, retry = _details(failure)
    reason = _REASONS.get(info.reason)
    if info.domain != errors.DOMAIN or reason is None:
        return _bare_error(failure, target)
    error = LlmError(reason, failure.details() or "")
    error.metadata = dict(info.metadata)
    if retry is not None:
        error.retry_after = retry.retry_delay.ToMilliseconds() / 1000
    return error


def unreadable(target: str) -> LlmError:
    """Returns the error of an answer whose bytes are none of the contract's messages, which grpc.aio hands out as None."""
    error = LlmError(errors.INTERNAL, _OTHER[1].format(target=target, details="its answer cannot be read"))
    error.metadata = {"target": target, "grpc_code": grpc.StatusCode.INTERNAL.name}
    return error


_REASONS: Final = {errors.reason_name(reason): reason for reason in errors.TABLE}

_MEANINGS: Final[dict[grpc.StatusCode, tuple[ErrorReason.ValueType, str]]] = {
    grpc.StatusCode.CANCELLED: (errors.PROVIDER_UNAVAILABLE, "The server at {target} cancelled the call ({details})."),
    grpc.StatusCode.DEADLINE_EXCEEDED: (errors.PROVIDER_TIMEOUT, "The answer did not come within the time limit."),
    grpc.StatusCode.INVALID_ARGUMENT: (
        errors.INVALID_REQUEST,
        "The server at {target} refused the request ({details}).",
    ),
    grpc.StatusCode.PERMISSION_DENIED: (
        errors.PERMISSION_DENIED,
        "The server at {target} refused the caller ({details}).",
    ),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (errors.RATE_LIMITED, "The server at {target} refused the call ({details})."),
    grpc.StatusCode.UNAUTHENTICATED: (errors.UNAUTHENTICATED, "The server at {target} wants credentials ({details})."),
    grpc.StatusCode.UNAVAILABLE: (
        errors.PROVIDER_UNAVAILABLE,
        "There is no connection to the server at {target} ({details}).",
    ),
    grpc.StatusCode.UNIMPLEMENTED: (errors.INTERNAL, "The server at {target} does not have this method ({details})."),
}
"""What a status means that comes from gRPC itself or from a proxy on the way."""
_OTHER: Final = (errors.INTERNAL, "The call to the server at {target} failed ({details}).")
_TOO_LARGE: Final = (errors.INVALID_REQUEST, "A message or its metadata is too large ({details}).")
_TOO_LARGE_WORDS: Final = ("larger than max", "metadata size exceeds")
"""What gRPC says of that, with a status that it also has for other things."""


def _bare_error(failure: grpc.aio.AioRpcError, target: str) -> LlmError:
    details = failure.details() or "no details"
    too_large = any(words in details for words in _TOO_LARGE_WORDS)
    reason, text = _TOO_LARGE if too_large else _MEANINGS.get(failure.code(), _OTHER)
    error = LlmError(reason, text.format(target=target, details=details))
    error.metadata = {"target": target, "grpc_code": failure.code().name}
    return error


def _details(
    failure: grpc.aio.AioRpcError,
) -> tuple[error_details_pb2.ErrorInfo, error_details_pb2.RetryInfo | None]:
    """Returns what `grpc-status-details-bin` holds; an empty ErrorInfo when it holds none."""
    info, retry, retry_known = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo(), False
    for key, value in failure.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            for detail in _status(value).details:
                detail.Unpack(info)  # takes only what is one
                retry_known = detail.Unpack(retry) or retry_known
    return info, retry if retry_known else None


def _status(value: bytes) -> status_pb2.Status:
    try:
        return status_pb2.Status.FromString(value)
    except DecodeError:  # another program's details
        return status_pb2.Status()
