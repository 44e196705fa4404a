"""What Google's failures mean: `google.rpc.Status` in JSON (google.aip.dev/193, ai.google.dev/gemini-api/docs/troubleshooting,
seen 2026-11-21)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from loom_grpc.core.errors import (
    CONTENT_BLOCKED,
    CONTEXT_TOO_LONG,
    INVALID_REQUEST,
    MODEL_NOT_FOUND,
    PROVIDER_AUTH_FAILED,
    PROVIDER_QUOTA_EXCEEDED,
    PROVIDER_RATE_LIMITED,
    PROVIDER_TIMEOUT,
    PROVIDER_UNAVAILABLE,
    LlmError,
)
from loom_grpc.providers.classify import Reason, by_status, json_object, provider_error
from loom_grpc.providers.wait import NO_HEADERS, wait_of

_BY_WORD: Final[dict[str, Reason]] = {
    "UNAUTHENTICATED": PROVIDER_AUTH_FAILED,
    "PERMISSION_DENIED": PROVIDER_AUTH_FAILED,
    "NOT_FOUND": MODEL_NOT_FOUND,
    "RESOURCE_EXHAUSTED": PROVIDER_RATE_LIMITED,
    "DEADLINE_EXCEEDED": PROVIDER_TIMEOUT,
    "UNAVAILABLE": PROVIDER_UNAVAILABLE,
    "INTERNAL": PROVIDER_UNAVAILABLE,
    "UNKNOWN": PROVIDER_UNAVAILABLE,
    "DATA_LOSS": PROVIDER_UNAVAILABLE,
    "ABORTED": PROVIDER_UNAVAILABLE,
    "CANCELLED": PROVIDER_UNAVAILABLE,
    "UNIMPLEMENTED": INVALID_REQUEST,
}
"""By `error.status`; words that are not here mean what the HTTP status means."""

_BY_INFO: Final[dict[str, Reason]] = {
    "API_KEY_INVALID": PROVIDER_AUTH_FAILED,
    "API_KEY_SERVICE_BLOCKED": PROVIDER_AUTH_FAILED,
    "SERVICE_DISABLED": PROVIDER_AUTH_FAILED,
    "CONSUMER_INVALID": PROVIDER_AUTH_FAILED,
    "CONSUMER_SUSPENDED": PROVIDER_AUTH_FAILED,
    "BILLING_DISABLED": PROVIDER_QUOTA_EXCEEDED,
}
"""By the `reason` of an ErrorInfo: a wrong key comes with status 400."""

_BY_WORDS: Final[dict[Reason, tuple[tuple[re.Pattern[str], Reason], ...]]] = {
    INVALID_REQUEST: (
        (re.compile(r"api key (not valid|expired|not found)", re.IGNORECASE), PROVIDER_AUTH_FAILED),
        (re.compile(r"input token count is \d+ but", re.IGNORECASE), CONTEXT_TOO_LONG),
        (re.compile(r"responsible ai", re.IGNORECASE), CONTENT_BLOCKED),
    ),
    # Someone else's file or cache is the caller's mistake, not the key's.
    PROVIDER_AUTH_FAILED: ((re.compile(r"access the file|cachedcontent", re.IGNORECASE), INVALID_REQUEST),),
}
"""What only the message tells."""

_UNPAID: Final = re.compile(r"billing", re.IGNORECASE)
"""What a FAILED_PRECONDITION speaks of where the account does not pay; elsewhere the word may be the caller's."""

_PER_DAY: Final = re.compile(r"per_?day|daily", re.IGNORECASE)
_PER_MINUTE: Final = re.compile(r"per_?minute", re.IGNORECASE)
_USED_UP: Final = re.compile(r"per day|daily|billing|credits|spending cap", re.IGNORECASE)
_DELAY: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")


def http_error(status: int, headers: Mapping[str, str], body: bytes) -> LlmError:
    """Says what an answer of another status than 2xx means."""
    error = json_object(body).get("error")
    if isinstance(error, dict):
        return rpc_error(error, status=status, headers=headers)
    # A page in HTML comes from in front of the API, for an address that is not of the API.
    words = "it has nothing at this address; check the model and, on Vertex AI, the location" if status == 404 else ""
    reason = by_status(status)
    return provider_error(reason, words, status=status, retry_after=wait_of(headers, reason), detail=repr(body[:500]))


def rpc_error(error: dict[str, Any], *, status: int | None = None, headers: Mapping[str, str] = NO_HEADERS) -> LlmError:
    """Classifies a `google.rpc.Status`, which may also come inside an answer of status 200."""
    code, word, words = error.get("code"), str(error.get("status") or ""), str(error.get("message") or "")
    if status is None:
        status = code if isinstance(code, int) and 400 <= code < 600 else 500
    details = list(_details(error))
    if "location is not supported" in words:
        return _wrong_place(words, status, word)
    plain = _plain(status, word, words, details)
    reason = _better(plain, word, words, details)
    # A used-up quota comes with the wait of some other, shorter one.
    wait = None if reason == PROVIDER_QUOTA_EXCEEDED else _retry_delay(details) or wait_of(headers, reason)
    by_words = reason == PROVIDER_AUTH_FAILED and plain != reason
    return provider_error(reason, words, status=status, code=word or code, retry_after=wait, by_words=by_words)


def _details(error: dict[str, Any]) -> Iterator[dict[str, Any]]:
    details = error.get("details")
    if isinstance(details, list):
        yield from (detail for detail in details if isinstance(detail, dict))


def _plain(status: int, word: str, words: str, details: list[dict[str, Any]]) -> Reason:
    """Returns what the details, the status word or the status say."""
    for detail in details:
        if found := _BY_INFO.get(str(detail.get("reason"))):
            return found
    return _BY_WORD.get(word) or by_status(status, words)


def _better(reason: Reason, word: str, words: str, details: list[dict[str, Any]]) -> Reason:
    """Returns what the message says where it says more."""
    if reason == PROVIDER_RATE_LIMITED:
        return _limit(words, details)
    if word == "FAILED_PRECONDITION" and _UNPAID.search(words):
        return PROVIDER_QUOTA_EXCEEDED
    return next((better for pattern, better in _BY_WORDS.get(reason, ()) if pattern.search(words)), reason)


def _limit(words: str, details: list[dict[str, Any]]) -> Reason:
    """Tells a used-up day or balance from a burst; the message asks to check the billing in both cases."""
    quotas = " ".join(_quotas(details))
    if _PER_DAY.search(quotas):
        return PROVIDER_QUOTA_EXCEEDED
    if _PER_MINUTE.search(quotas) or _retry_delay(details) is not None:
        return PROVIDER_RATE_LIMITED
    return PROVIDER_QUOTA_EXCEEDED if _USED_UP.search(words) else PROVIDER_RATE_LIMITED


def _quotas(details: list[dict[str, Any]]) -> Iterator[str]:
    """Yields the names of the quotas that a QuotaFailure or an ErrorInfo speaks of."""
    for detail in details:
        for holder in [detail.get("metadata"), *_list(detail.get("violations"))]:
            if isinstance(holder, dict):
                yield from (str(holder.get(key)) for key in ("quotaId", "quotaMetric", "quota_limit", "quota_metric"))


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _retry_delay(details: list[dict[str, Any]]) -> float | None:
    """Reads a RetryInfo, in seconds."""
    for detail in details:
        if match := _DELAY.fullmatch(str(detail.get("retryDelay"))):
            return float(match[1])
    return None


def _wrong_place(words: str, status: int, word: str) -> LlmError:
    """Makes the error for a server that stands where the API is not offered: no caller can do anything about it."""
    message = "The provider is not offered where this server is; the operator must use another location or Vertex AI."
    error = LlmError(PROVIDER_AUTH_FAILED, message, detail=words, by_words=True)
    error.metadata = {"provider_status": str(status), "provider_code": word or str(status)}
    return error
