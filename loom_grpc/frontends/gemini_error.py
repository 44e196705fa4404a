"""Says why a call failed as Google's APIs do: a `google.rpc.Status` in JSON (google.aip.dev/193, seen 2026-11-21)."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import orjson
from google.rpc import code_pb2

from loom_grpc.core.errors import DOMAIN, LlmError
from loom_grpc.frontends.body import HttpError
from loom_grpc.frontends.gemini_json import snake


class Status(NamedTuple):
    """How Google says a `google.rpc.Code` over HTTP."""

    http: int
    word: str


_STATUS: Final[dict[int, Status]] = {
    code_pb2.INVALID_ARGUMENT: Status(400, "INVALID_ARGUMENT"),
    code_pb2.FAILED_PRECONDITION: Status(400, "FAILED_PRECONDITION"),
    code_pb2.UNAUTHENTICATED: Status(401, "UNAUTHENTICATED"),
    code_pb2.PERMISSION_DENIED: Status(403, "PERMISSION_DENIED"),
    code_pb2.NOT_FOUND: Status(404, "NOT_FOUND"),
    code_pb2.ABORTED: Status(409, "ABORTED"),
    code_pb2.ALREADY_EXISTS: Status(409, "ALREADY_EXISTS"),
    code_pb2.RESOURCE_EXHAUSTED: Status(429, "RESOURCE_EXHAUSTED"),
    code_pb2.INTERNAL: Status(500, "INTERNAL"),
    code_pb2.UNAVAILABLE: Status(503, "UNAVAILABLE"),
    code_pb2.DEADLINE_EXCEEDED: Status(504, "DEADLINE_EXCEEDED"),
}
"""The mapping that github.com/googleapis/googleapis, google/rpc/code.proto, prescribes (seen 2026-11-21)."""

_REFUSALS: Final = {404: "NOT_FOUND", 405: "UNIMPLEMENTED", 408: "DEADLINE_EXCEEDED", 429: "RESOURCE_EXHAUSTED"}
"""The word for an HTTP status at which a request is turned away; any other is the caller's mistake."""

_FIELDS: Final = {
    "messages": "contents",
    "max_tokens": "generation_config.max_output_tokens",
    "temperature": "generation_config.temperature",
    "top_p": "generation_config.top_p",
    "top_k": "generation_config.top_k",
    "seed": "generation_config.seed",
    "stop": "generation_config.stop_sequences",
    "reasoning": "generation_config.thinking_config",
    "response_format": "generation_config.response_schema",
    "tool_choice": "tool_config.function_calling_config",
}
"""Gemini's name for what the contract calls otherwise, by the first word of a path."""
_FIRST_WORD: Final = re.compile(r"\w*")
_TYPES: Final = "type.googleapis.com/google.rpc."


def failure(error: LlmError, request_id: str) -> tuple[int, bytes]:
    """Returns the HTTP status and the body of a call that failed."""
    status = _STATUS[error.row.grpc]
    return status.http, orjson.dumps(failure_value(error, request_id))


def failure_value(error: LlmError, request_id: str) -> dict[str, Any]:
    """Returns the body of a call that failed, which also ends a stream."""
    status = _STATUS[error.row.grpc]
    field = error.metadata.get("field", "")
    info = {"reason": error.name, "domain": DOMAIN, "metadata": error.metadata}
    details = [_detail("ErrorInfo", info)]
    if error.retry_after is not None:
        details.append(_detail("RetryInfo", {"retryDelay": f"{error.retry_after:.9g}s"}))
    if "scope" in error.metadata:
        details.append(_detail("QuotaFailure", {"violations": [_violation(error)]}))
    message, more = _about(field, error.message)
    details += [*more, _detail("RequestInfo", {"requestId": request_id})]
    return {"error": {"code": status.http, "message": message, "status": status.word, "details": details}}


def refusal(error: HttpError, request_id: str) -> tuple[int, bytes]:
    """Returns the HTTP status and the body for a request that is no call."""
    status = 400 if error.status == 422 else error.status
    message, more = _about(error.field, error.message)
    details = [*more, _detail("RequestInfo", {"requestId": request_id})]
    word = _REFUSALS.get(status, "INVALID_ARGUMENT")
    return status, orjson.dumps({"error": {"code": status, "message": message, "status": word, "details": details}})


def _violation(error: LlmError) -> dict[str, str]:
    """Returns which limit or budget was reached."""
    told = error.metadata
    violation = {"subject": f"{told['scope']}:{told['id']}", "description": error.message}
    if "limit" in told:
        violation |= {"quotaMetric": told["kind"], "quotaValue": told["limit"]}
    return violation


def _about(field: str, message: str) -> tuple[str, list[dict[str, Any]]]:
    """Returns a message in Google's words and, where it is about a field, the detail that names it."""
    if not field:
        return message, []
    name = _name(field)
    what = message.removeprefix(f"{field}: ")
    return f"Invalid value at '{name}': {what}", [
        _detail("BadRequest", {"fieldViolations": [{"field": name, "description": what}]})
    ]


def _name(field: str) -> str:
    """Returns a field's name in Google's spelling; the contract's messages are not counted as the contents are."""
    first = _FIRST_WORD.match(field)
    return _FIELDS.get(first[0] if first else "") or snake(field)


def _detail(type: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"@type": _TYPES + type, **value}
