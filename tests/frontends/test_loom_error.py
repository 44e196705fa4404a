from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from loom_grpc.core import errors
from loom_grpc.core.errors import LlmError
from loom_grpc.frontends.loom import Writer
from loom_grpc.frontends.loom_error import error_body
from loom_grpc.v1.error_pb2 import ErrorReason

PLAIN = Writer(extended=False)
EXTENDED = Writer(extended=True)


def failed(error: LlmError, writer: Writer = PLAIN) -> tuple[int, Any, Any]:
    """Returns status, body and event."""
    status, body = writer.failure(error)
    return status, orjson.loads(body), orjson.loads(writer.failed(error).split(b"data: ")[1])


@pytest.mark.parametrize(
    ("reason", "status", "code", "message", "event"),
    [
        ("UNAUTHENTICATED", 401, "unauthorized", "Authentication required", "API error: Authentication required"),
        ("PERMISSION_DENIED", 403, "forbidden", "Oh.", "API error: Oh."),
        ("INVALID_REQUEST", 400, "bad_request", "Oh.", "API error: Oh."),
        ("CONTEXT_TOO_LONG", 400, "bad_request", "Oh.", "API error: Oh."),
        ("MODEL_NOT_FOUND", 404, "not_found", "Oh.", "API error: Oh."),
        ("PROVIDER_NOT_CONFIGURED", 503, "service_unavailable", "Oh.", "API error: Oh."),
        ("RATE_LIMITED", 429, "rate_limited", "LLM rate limited; try again later", "Rate limited: try again later"),
        ("BUDGET_EXCEEDED", 429, "rate_limited", "Oh.", "API error: Oh."),
        (
            "PROVIDER_RATE_LIMITED",
            429,
            "rate_limited",
            "LLM rate limited; try again later",
            "Rate limited: try again later",
        ),
        (
            "PROVIDER_QUOTA_EXCEEDED",
            429,
            "rate_limited",
            "LLM rate limited; try again later",
            "Rate limited: try again later",
        ),
        ("PROVIDER_AUTH_FAILED", 502, "upstream_error", "LLM API error: Oh.", "API error: Oh."),
        ("PROVIDER_UNAVAILABLE", 502, "upstream_error", "LLM HTTP error: Oh.", "HTTP error: Oh."),
        ("PROVIDER_TIMEOUT", 504, "upstream_timeout", "LLM request timed out", "Request timed out"),
        ("PROVIDER_BAD_RESPONSE", 502, "upstream_error", "Invalid LLM response: Oh.", "Invalid response: Oh."),
        ("LOOP_DETECTED", 409, "conflict", "Oh.", "API error: Oh."),
        ("TOOL_DENIED", 403, "forbidden", "Oh.", "API error: Oh."),
        ("CONTENT_BLOCKED", 400, "bad_request", "Oh.", "API error: Oh."),
        ("DRAINING", 503, "service_unavailable", "Oh.", "API error: Oh."),
        ("INTERNAL", 500, "internal_error", "Oh.", "API error: Oh."),
        ("ACCOUNT_NOT_FOUND", 404, "not_found", "Oh.", "API error: Oh."),
        ("ACCOUNT_EXISTS", 409, "conflict", "Oh.", "API error: Oh."),
        ("LOGIN_STATE_INVALID", 400, "bad_request", "Oh.", "API error: Oh."),
        ("LOGIN_EXCHANGE_FAILED", 400, "bad_request", "Oh.", "API error: Oh."),
        ("NOT_FOUND", 404, "not_found", "Oh.", "API error: Oh."),
        ("CONFLICT", 409, "conflict", "Oh.", "API error: Oh."),
        ("STORAGE_UNAVAILABLE", 503, "service_unavailable", "Oh.", "API error: Oh."),
    ],
)
def test_every_failure_has_looms_words(reason: str, status: int, code: str, message: str, event: str) -> None:
    error = LlmError(ErrorReason.Value(f"ERROR_REASON_{reason}"), "Oh.")

    assert failed(error) == (status, {"error": code, "message": message}, {"type": "error", "message": event})
    assert failed(error, EXTENDED) == (
        status,
        {"error": code, "message": message, "reason": reason},
        {"type": "error", "message": event, "reason": reason},
    )


@pytest.mark.parametrize("reason", errors.TABLE)
def test_every_reason_has_a_status_with_a_word(reason: ErrorReason.ValueType) -> None:
    status, body, _ = failed(LlmError(reason, "{0} {braces}"))

    assert 400 <= status < 600
    assert body["error"]


def test_a_rate_limit_says_in_whole_seconds_when_to_come_back() -> None:
    error = LlmError(errors.PROVIDER_RATE_LIMITED, "Slow down.", retry_after=29.2)

    assert failed(error, EXTENDED) == (
        429,
        {
            "error": "rate_limited",
            "message": "LLM rate limited; retry after 30 seconds",
            "reason": "PROVIDER_RATE_LIMITED",
            "retry_after": 29.2,
        },
        {
            "type": "error",
            "message": "Rate limited: retry after 30 seconds",
            "reason": "PROVIDER_RATE_LIMITED",
            "retry_after": 29.2,
        },
    )


def test_a_rate_limit_is_503_where_loom_is_followed_to_the_letter() -> None:
    writer = Writer(extended=False, rate_limit_status=503)

    status, body = writer.failure(LlmError(errors.PROVIDER_RATE_LIMITED, "Slow down.", retry_after=30))

    assert (status, orjson.loads(body)) == (
        503,
        {"error": "service_unavailable", "message": "LLM rate limited; retry after 30 seconds"},
    )


def test_an_unknown_provider_is_an_unknown_path() -> None:
    error = LlmError(errors.INVALID_REQUEST, "provider: there is no provider 'x'.", field="provider")

    assert failed(error)[:2] == (404, {"error": "not_found", "message": "provider: there is no provider 'x'."})


def test_the_documented_words_for_statuses_are_right() -> None:
    page = (Path(__file__).parents[2] / "docs" / "http.md").read_text()
    calls, _, _ = page.partition("## Administration")
    rows = re.findall(r"^\| (\d{3}) \| `(\w+)` \|", calls, re.MULTILINE)

    assert [(status, orjson.loads(error_body(int(status), ""))["error"]) for status, _ in rows] == rows
    assert len(rows) == 15
