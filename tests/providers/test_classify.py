"""What failures of all providers have in common."""

from __future__ import annotations

import pytest

from loom_grpc.core.errors import (
    CONTENT_BLOCKED,
    CONTEXT_TOO_LONG,
    INVALID_REQUEST,
    MODEL_NOT_FOUND,
    PROVIDER_AUTH_FAILED,
    PROVIDER_BAD_RESPONSE,
    PROVIDER_QUOTA_EXCEEDED,
    PROVIDER_RATE_LIMITED,
    PROVIDER_TIMEOUT,
    PROVIDER_UNAVAILABLE,
)
from loom_grpc.providers.classify import by_status, json_object, json_value, provider_error
from loom_grpc.v1.error_pb2 import ErrorReason


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (301, PROVIDER_BAD_RESPONSE),
        (304, PROVIDER_BAD_RESPONSE),
        (400, INVALID_REQUEST),
        (401, PROVIDER_AUTH_FAILED),
        (402, PROVIDER_QUOTA_EXCEEDED),
        (403, PROVIDER_AUTH_FAILED),
        (404, MODEL_NOT_FOUND),
        (405, INVALID_REQUEST),
        (408, PROVIDER_TIMEOUT),
        (409, PROVIDER_UNAVAILABLE),
        (413, INVALID_REQUEST),
        (422, INVALID_REQUEST),
        (429, PROVIDER_RATE_LIMITED),
        (500, PROVIDER_UNAVAILABLE),
        (502, PROVIDER_UNAVAILABLE),
        (503, PROVIDER_UNAVAILABLE),
        (504, PROVIDER_TIMEOUT),
        (529, PROVIDER_UNAVAILABLE),
        (599, PROVIDER_UNAVAILABLE),
    ],
)
def test_a_status_alone_has_a_meaning(status: int, reason: ErrorReason.ValueType) -> None:
    assert by_status(status) == reason


@pytest.mark.parametrize(
    "words",
    [
        "This model's maximum context length is 8192 tokens.",
        "Your input exceeds the context window of this model.",
        "prompt is too long: 201000 tokens > 200000 maximum",
        "The input token count (9) exceeds the maximum number of tokens allowed (8).",
        "input exceeds the limit of 131072 tokens",
        "context_length_exceeded",
    ],
)
@pytest.mark.parametrize(("status", "too_long"), [(400, True), (413, True), (422, True), (500, False), (404, False)])
def test_words_tell_a_prompt_that_is_too_long_where_the_request_was_refused(
    words: str, status: int, too_long: bool
) -> None:
    assert (by_status(status, words) == CONTEXT_TOO_LONG) is too_long


@pytest.mark.parametrize("reason", [INVALID_REQUEST, CONTEXT_TOO_LONG, MODEL_NOT_FOUND, CONTENT_BLOCKED])
def test_the_provider_s_words_are_passed_on_where_they_speak_of_the_request(reason: ErrorReason.ValueType) -> None:
    error = provider_error(reason, "  top_k:\n must be\t1 or more ", status=400, code="bad")

    assert error.message == "The provider refused the request: top_k: must be 1 or more"
    assert error.metadata == {"provider_status": "400", "provider_code": "bad"}
    assert provider_error(reason).message == "The provider refused the request."


@pytest.mark.parametrize(
    "reason",
    [
        PROVIDER_AUTH_FAILED,
        PROVIDER_QUOTA_EXCEEDED,
        PROVIDER_RATE_LIMITED,
        PROVIDER_UNAVAILABLE,
        PROVIDER_TIMEOUT,
        PROVIDER_BAD_RESPONSE,
    ],
)
def test_the_provider_s_words_on_the_operator_s_account_are_for_the_log(reason: ErrorReason.ValueType) -> None:
    error = provider_error(reason, "organization acme has no money", retry_after=3, code=1113)

    assert "acme" not in error.message
    assert (error.detail, error.retry_after) == ("organization acme has no money", 3)
    assert error.metadata == {"provider_code": "1113"}


@pytest.mark.parametrize(
    "key",
    ["sk-abcdefgh1234", "sk-proj-ab_cd-12345678", "sk-ant-api03-xyzxyzxyz", "gsk_abcdefgh", "xai-abcdefgh", "AIzaSyabcdef-123",
     "pplx-abcdefgh", "sk-abc*****wxyz"],
)  # fmt: skip
def test_what_looks_like_a_key_is_not_repeated(key: str) -> None:
    error = provider_error(INVALID_REQUEST, f"wrong key {key}, sorry", code=f"bad_{key} {key}")

    assert error.message == "The provider refused the request: wrong key [REDACTED], sorry"
    assert key not in error.metadata["provider_code"].split()


def test_long_words_are_cut() -> None:
    error = provider_error(INVALID_REQUEST, "x" * 5000, code="y" * 500)

    assert len(error.message) == len("The provider refused the request: ") + 600
    assert error.message.endswith("x…")
    assert error.metadata["provider_code"] == "y" * 80


def test_it_is_kept_whether_only_words_told_the_reason() -> None:
    assert provider_error(PROVIDER_AUTH_FAILED, by_words=True).by_words
    assert not provider_error(PROVIDER_AUTH_FAILED).by_words


@pytest.mark.parametrize("code", [None, "", [], {}, 1.5])
def test_a_code_that_is_none_is_left_out(code: object) -> None:
    assert provider_error(INVALID_REQUEST, code=code).metadata == {}


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a":1}', {"a": 1}),
        (b'[{"a":1},{"b":2}]', {"a": 1}),
        (b"[]", {}),
        (b"[1]", {}),
        (b"5", {}),
        (b"null", {}),
        (b"", {}),
        (b"<html>", {}),
        (b"\xff", {}),
    ],
)
def test_an_error_body_is_an_object_or_nothing(body: bytes, value: dict[str, int]) -> None:
    assert json_object(body) == value


def test_json_is_read_and_anything_else_is_none() -> None:
    assert json_value(b"[1]") == [1]
    assert json_value(b"[1") is None
