"""A failure as `google.rpc.Status`, which gRPC, gRPC-Web and Connect carry each in its own way."""

from __future__ import annotations

from typing import Final

from google.rpc import error_details_pb2, status_pb2

from loom_grpc.core.errors import DOMAIN, LlmError

_MAX_MESSAGE_BYTES: Final = 1500
"""Metadata has to fit into 8 KiB with everything else in it, and a byte of a message may take up three in it and two in the details."""
_CUT: Final = "…"


def message_of(error: LlmError) -> str:
    """Returns the error's message, cut to what metadata can hold."""
    text = error.message.encode()
    if len(text) <= _MAX_MESSAGE_BYTES:
        return error.message
    return text[: _MAX_MESSAGE_BYTES - len(_CUT.encode())].decode(errors="ignore") + _CUT


def status_of(error: LlmError, request_id: str) -> status_pb2.Status:
    """Returns the status with ErrorInfo, RetryInfo when a time is known, and QuotaFailure for a limit that was reached."""
    status = status_pb2.Status(code=error.row.grpc, message=message_of(error))
    metadata = {**error.metadata, "request_id": request_id}
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=error.name, domain=DOMAIN, metadata=metadata))
    if error.retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(round(error.retry_after * 1000))
        status.details.add().Pack(retry)
    if "scope" in error.metadata:
        status.details.add().Pack(error_details_pb2.QuotaFailure(violations=[_violation(error)]))
    return status


def _violation(error: LlmError) -> error_details_pb2.QuotaFailure.Violation:
    """Returns which limit or budget was reached."""
    told = error.metadata
    violation = error_details_pb2.QuotaFailure.Violation(
        subject=f"{told['scope']}:{told['id']}", description=message_of(error)
    )
    if "limit" in told:
        violation.quota_metric, violation.quota_value = told["kind"], int(told["limit"])
    return violation
