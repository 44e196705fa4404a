"""Every failure has a status and a type of Anthropic's API."""

from __future__ import annotations

import orjson
import pytest

from loom_grpc.core import errors
from loom_grpc.core.errors import LlmError
from loom_grpc.frontends.anthropic import Messages, Writer
from loom_grpc.frontends.anthropic_error import TABLE
from loom_grpc.frontends.body import HttpError
from loom_grpc.v1.error_pb2 import ErrorReason


def test_every_reason_has_its_row() -> None:
    assert set(TABLE) == set(errors.TABLE)


@pytest.mark.parametrize(
    ("reason", "status", "kind"),
    [
        (errors.UNAUTHENTICATED, 401, "authentication_error"),
        (errors.PERMISSION_DENIED, 403, "permission_error"),
        (errors.INVALID_REQUEST, 400, "invalid_request_error"),
        (errors.MODEL_NOT_FOUND, 404, "not_found_error"),
        (errors.NOT_FOUND, 404, "not_found_error"),
        (errors.CONFLICT, 400, "invalid_request_error"),
        (errors.STORAGE_UNAVAILABLE, 529, "overloaded_error"),
        (errors.RATE_LIMITED, 429, "rate_limit_error"),
        (errors.BUDGET_EXCEEDED, 402, "billing_error"),
        (errors.PROVIDER_AUTH_FAILED, 500, "api_error"),
        (errors.PROVIDER_UNAVAILABLE, 529, "overloaded_error"),
        (errors.PROVIDER_TIMEOUT, 504, "timeout_error"),
    ],
)
def test_a_failed_call_is_told_in_the_words_of_the_api(reason: ErrorReason.ValueType, status: int, kind: str) -> None:
    answered, body = Messages().failure(LlmError(reason, "No."), "req_1")

    assert (answered, orjson.loads(body)) == (
        status,
        {"type": "error", "error": {"type": kind, "message": "No."}, "request_id": "req_1"},
    )


def test_agents_know_by_the_words_that_a_prompt_is_too_long() -> None:
    _, body = Messages().failure(LlmError(errors.CONTEXT_TOO_LONG, "The provider refused it."), "req_1")

    assert orjson.loads(body)["error"]["message"] == "prompt is too long: The provider refused it."


@pytest.mark.parametrize(
    ("error", "status", "kind", "message"),
    [
        (HttpError(422, "a[0].b[1]: is missing.", "a[0].b[1]"), 400, "invalid_request_error", "a.0.b.1: is missing."),
        (HttpError(400, "The body is empty."), 400, "invalid_request_error", "The body is empty."),
        (HttpError(415, "content-type: must be JSON."), 400, "invalid_request_error", "content-type: must be JSON."),
        (HttpError(413, "Too large."), 413, "request_too_large", "Too large."),
    ],
)
def test_a_request_that_is_no_call_is_told_so_by_a_path_with_dots(
    error: HttpError, status: int, kind: str, message: str
) -> None:
    answered, body = Messages().refusal(error, "req_1")

    assert (answered, orjson.loads(body)["error"]) == (status, {"type": kind, "message": message})


def test_clients_that_would_have_us_keep_the_conversation_are_told_to_send_it() -> None:
    with pytest.raises(HttpError) as caught:
        Messages().read(b'{"model": "m", "max_tokens": 1, "messages": [], "thread": {"type": "create"}}', {}, {})
    status, body = Messages().refusal(caught.value, "req_1")

    assert (status, orjson.loads(body)["error"]) == (
        400,
        {
            "type": "invalid_request_error",
            "message": "thread: this server keeps no conversations; send all of it each time.",
            "details": {"error_code": "thread_unsupported_request", "unsupported": ["thread"]},
        },
    )


def test_a_stream_that_fails_ends_in_an_error_event() -> None:
    failed = Writer("req_1").failed(LlmError(errors.PROVIDER_TIMEOUT, "Too late."))

    assert failed == (
        b'event: error\ndata: {"type":"error","error":{"type":"timeout_error","message":"Too late."},"request_id":"req_1"}\n\n'
    )


def test_answers_name_the_request_as_the_api_does() -> None:
    assert Messages().headers("req_1") == {"request-id": "req_1"}
