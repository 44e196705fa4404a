"""Writes a failure as gRPC says it: a code, and `google.rpc` details in the trailing metadata."""

from __future__ import annotations

from typing import Final

import grpc

from loom_grpc.core.errors import LlmError
from loom_grpc.core.status import status_of

_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}
_DETAILS: Final = "grpc-status-details-bin"


def code_of(error: LlmError) -> grpc.StatusCode:
    """Returns the gRPC code of an error."""
    return _CODES[error.row.grpc]


def details_of(error: LlmError, request_id: str) -> tuple[str, bytes]:
    """Returns the trailing metadata entry with the error's whole status."""
    return _DETAILS, status_of(error, request_id).SerializeToString()
