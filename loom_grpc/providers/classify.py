"""What providers' failures have in common: the meaning of a status, and what may be told."""

from __future__ import annotations

import re
from typing import Any, Final, TypeAlias

import orjson

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
    LlmError,
)
from loom_grpc.v1.error_pb2 import ErrorReason

Reason: TypeAlias = ErrorReason.ValueType

_BY_STATUS: Final[dict[int, Reason]] = {
    401: PROVIDER_AUTH_FAILED,
    402: PROVIDER_QUOTA_EXCEEDED,
    403: PROVIDER_AUTH_FAILED,
    404: MODEL_NOT_FOUND,
    408: PROVIDER_TIMEOUT,
    # A clash of requests at the provider, as Google's ABORTED; OpenAI's own client asks again too (github.com/openai/openai-python,
    # _base_client.py, seen 2026-11-21).
    409: PROVIDER_UNAVAILABLE,
    429: PROVIDER_RATE_LIMITED,
    504: PROVIDER_TIMEOUT,
}

_SENTENCES: Final[dict[Reason, str]] = {
    PROVIDER_AUTH_FAILED: "The provider refused the server's credentials; the operator must check the provider's key.",
    PROVIDER_QUOTA_EXCEEDED: "The provider account's quota or balance is used up.",
    PROVIDER_RATE_LIMITED: "The provider's rate limit is reached; try again later.",
    PROVIDER_UNAVAILABLE: "The provider is unavailable or overloaded; try again later.",
    PROVIDER_TIMEOUT: "The provider timed out; try again later.",
    PROVIDER_BAD_RESPONSE: "The provider's answer cannot be read.",
}

_CALLERS_FAULT: Final = frozenset({INVALID_REQUEST, CONTEXT_TOO_LONG, MODEL_NOT_FOUND, CONTENT_BLOCKED})
"""Reasons for which the provider's own words help the caller; other words may speak of the operator's account."""

_CONTEXT_WORDS: Final = re.compile(
    r"maximum context length|context window|context[_ ]length|prompt (is )?too long|exceeds? the (maximum|limit).{0,40}tokens"
    r"|input token count.{0,60}exceeds",
    re.IGNORECASE,
)
"""For providers that answer a too long prompt with a plain 400 and tell it only in words."""

_SECRETS: Final = re.compile(r"\b(?:sk|gsk|xai|key|pplx|AIza)[-_]?[\w*-]{6,}", re.IGNORECASE)
_MAX_WORDS: Final = 600


def by_status(status: int, words: str = "") -> Reason:
    """Gives the reason that a status alone stands for; `words` are looked at only in a 400 or 413, for the length of the prompt."""
    if status in (400, 413, 422):
        return CONTEXT_TOO_LONG if _CONTEXT_WORDS.search(words) else INVALID_REQUEST
    if reason := _BY_STATUS.get(status):
        return reason
    if status >= 500:
        return PROVIDER_UNAVAILABLE
    return INVALID_REQUEST if status >= 400 else PROVIDER_BAD_RESPONSE


def provider_error(
    reason: Reason,
    words: str = "",
    *,
    status: int | None = None,
    code: object = None,
    retry_after: float | None = None,
    detail: str = "",
    by_words: bool = False,
) -> LlmError:
    """Makes the error for a failure that the provider reported.

    The provider's own words are passed on only where they speak of the caller's request. `code` is the provider's error type or code;
    `by_words` says that only the words told the reason.
    """
    sentence = _SENTENCES.get(reason)
    if sentence is None:
        sentence = (
            f"The provider refused the request: {_tellable(words)}" if words else "The provider refused the request."
        )
    metadata: dict[str, str] = {}
    if status is not None:
        metadata["provider_status"] = str(status)
    if isinstance(code, str | int) and str(code):
        metadata["provider_code"] = _tellable(str(code))[:80]
    error = LlmError(reason, sentence, retry_after=retry_after, detail=detail or words, by_words=by_words)
    error.metadata = metadata
    return error


def json_value(body: bytes) -> object:
    """Reads JSON; what is none reads as None."""
    try:
        value: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return value


def json_object(body: bytes) -> dict[str, Any]:
    """Reads an error body, which may be an array of one object; what is no object reads as an empty one."""
    value = json_value(body)
    if isinstance(value, list) and value:
        value = value[0]
    return value if isinstance(value, dict) else {}


def _tellable(words: str) -> str:
    """Cuts a provider's words to a decent length, on one line, without what looks like a key."""
    line = " ".join(_SECRETS.sub("[REDACTED]", words).split())
    return line if len(line) <= _MAX_WORDS else line[: _MAX_WORDS - 1] + "…"
