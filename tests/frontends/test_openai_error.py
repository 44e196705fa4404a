from __future__ import annotations

import re
from typing import Any

import orjson
import pytest

from loom_grpc.core.errors import (
    BUDGET_EXCEEDED,
    CONFLICT,
    CONTENT_BLOCKED,
    CONTEXT_TOO_LONG,
    INTERNAL,
    INVALID_REQUEST,
    MODEL_NOT_FOUND,
    NOT_FOUND,
    PERMISSION_DENIED,
    RATE_LIMITED,
    STORAGE_UNAVAILABLE,
    TABLE,
    UNAUTHENTICATED,
    LlmError,
)
from loom_grpc.frontends.body import HttpError
from loom_grpc.frontends.openai_error import failure, in_stream, refusal


@pytest.mark.parametrize(
    ("reason", "status", "kind", "code", "param"),
    [
        (UNAUTHENTICATED, 401, "invalid_request_error", "invalid_api_key", None),
        (PERMISSION_DENIED, 403, "invalid_request_error", "permission_denied", None),
        (INVALID_REQUEST, 400, "invalid_request_error", None, None),
        (CONTEXT_TOO_LONG, 400, "invalid_request_error", "context_length_exceeded", "messages"),
        (MODEL_NOT_FOUND, 404, "invalid_request_error", "model_not_found", "model"),
        (NOT_FOUND, 404, "invalid_request_error", "not_found", None),
        (CONFLICT, 409, "invalid_request_error", "conflict", None),
        (CONTENT_BLOCKED, 400, "invalid_request_error", "content_policy_violation", None),
        (RATE_LIMITED, 429, "requests", "rate_limit_exceeded", None),
        (BUDGET_EXCEEDED, 429, "insufficient_quota", "insufficient_quota", None),
        (STORAGE_UNAVAILABLE, 503, "server_error", "storage_unavailable", None),
        (INTERNAL, 500, "server_error", "internal", None),
    ],
)
def test_a_failure_has_openais_words(reason: Any, status: int, kind: str, code: str | None, param: str | None) -> None:
    words = {"message": "Why.", "type": kind, "param": param, "code": code}

    told, body = failure(LlmError(reason, "Why."))

    assert (told, orjson.loads(body)) == (status, {"error": words})


def test_every_reason_has_words() -> None:
    types = {orjson.loads(failure(LlmError(reason, "Why."))[1])["error"]["type"] for reason in TABLE}

    assert types == {"invalid_request_error", "requests", "insufficient_quota", "server_error"}


def test_a_limit_of_tokens_is_told_apart_from_one_of_requests() -> None:
    reached = LlmError(RATE_LIMITED, "Why.", scope="key", id="k", kind="tokens", limit="9")

    words = {"message": "Why.", "type": "tokens", "param": None, "code": "rate_limit_exceeded"}
    assert orjson.loads(failure(reached)[1]) == {"error": words}


def test_a_field_of_the_contract_gets_the_callers_name_in_the_words_too() -> None:
    error = LlmError(INVALID_REQUEST, "tools[3].name: must not be empty.", field="tools[3].name")

    _, body = failure(error, [(re.compile(r"(tools\[\d+\])\.name"), r"\1.function.name")])

    assert orjson.loads(body)["error"] == {
        "message": "tools[3].function.name: must not be empty.",
        "type": "invalid_request_error",
        "param": "tools[3].function.name",
        "code": None,
    }


@pytest.mark.parametrize(("status", "told"), [(400, 400), (422, 400), (413, 413), (415, 415)])
def test_a_request_that_is_no_call_is_refused_by_its_field(status: int, told: int) -> None:
    words = {"message": "n: wrong.", "type": "invalid_request_error", "param": "n", "code": None}

    shown, body = refusal(HttpError(status, "n: wrong.", "n"))

    assert (shown, orjson.loads(body)) == (told, {"error": words})


def test_a_stream_that_fails_ends_with_an_error_and_no_marker() -> None:
    written = in_stream(LlmError(INTERNAL, "Two\nlines."))

    assert written == (
        b'data: {"error":{"message":"Two\\nlines.","type":"server_error","param":null,"code":"internal"}}\n\n'
    )
