"""What an operator does, written down whatever comes of it."""

from __future__ import annotations

import logging
from time import perf_counter
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

from loom_grpc.core.errors import DRAINING, PERMISSION_DENIED, UNAUTHENTICATED, LlmError
from loom_grpc.telemetry import names, redact
from loom_grpc.telemetry.log import REQUEST_ID

_CANCELLED: Final = "CANCELLED"


class Act:
    """One act of an operator, or an attempt at one. It begins when this is made: from then on the task's lines in the log have its id.

    `edge` is `grpc` or `http`, `peer` is where the caller is. `account` is whom it is about, as far as that is known: `provider/id`,
    or the provider alone. `who` is the operator, once that is known.
    """

    __slots__ = ("_began", "_edge", "_log", "_method", "_peer", "account", "request_id", "who")

    def __init__(self, log: FilteringBoundLogger, method: str, request_id: str, edge: str, peer: str) -> None:
        self._began = perf_counter()
        self._log = log
        self._method = method
        self._edge = edge
        self._peer = peer
        self.account = ""
        self.who = ""
        self.request_id = request_id
        REQUEST_ID.set(request_id)

    def end(self, error: LlmError | None = None, *, cancelled: bool = False) -> None:
        """Writes the line; `log.access` does not switch it off."""
        fields: dict[str, Any] = {
            "method": self._method,
            "account": redact.line(self.account),
            "edge": self._edge,
            "peer": self._peer,
            "who": redact.line(self.who),
            "reason": _CANCELLED if cancelled else error.name if error is not None else names.OK,
            "duration_ms": round((perf_counter() - self._began) * 1000, 1),
        }
        if error is not None:
            fields["message"] = redact.line(error.message)
        if error is not None and error.detail:
            fields["detail"] = redact.line(error.detail)
        self._log.log(_gravity(error), "admin", **fields)


def _gravity(error: LlmError | None) -> int:
    """Whoever shows a wrong key may be guessing it; a watch that ends with the server is nobody's fault."""
    if error is None or error.reason == DRAINING:
        return logging.INFO
    grave = error.reason in (UNAUTHENTICATED, PERMISSION_DENIED) or error.row.http >= 500
    return logging.WARNING if grave else logging.INFO
