"""What errors mean in Chat Completions, over all the hosts that speak it."""

from __future__ import annotations

import re
from collections.abc import Mapping
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
from loom_grpc.providers.classify import Reason, by_status, provider_error
from loom_grpc.providers.wait import NO_HEADERS, wait_of

_CODES: Final[dict[str, Reason]] = {
    # OpenAI: platform.openai.com/docs/guides/error-codes, seen 2026-11-21.
    "context_length_exceeded": CONTEXT_TOO_LONG,
    "insufficient_quota": PROVIDER_QUOTA_EXCEEDED,
    "billing_hard_limit_reached": PROVIDER_QUOTA_EXCEEDED,
    "billing_not_active": PROVIDER_QUOTA_EXCEEDED,
    "rate_limit_exceeded": PROVIDER_RATE_LIMITED,
    "tokens": PROVIDER_RATE_LIMITED,
    "requests": PROVIDER_RATE_LIMITED,
    "model_not_found": MODEL_NOT_FOUND,
    "invalid_api_key": PROVIDER_AUTH_FAILED,
    "authentication_error": PROVIDER_AUTH_FAILED,
    "content_filter": CONTENT_BLOCKED,
    "content_policy_violation": CONTENT_BLOCKED,
    "server_error": PROVIDER_UNAVAILABLE,
    "server_overloaded": PROVIDER_UNAVAILABLE,
    # Azure: learn.microsoft.com/azure/ai-foundry/openai, seen 2026-11-21.
    "DeploymentNotFound": MODEL_NOT_FOUND,
    "RateLimitReached": PROVIDER_RATE_LIMITED,
    # Groq: the model spoke, but not what the tools' schemas allow.
    "tool_use_failed": INVALID_REQUEST,
    # Z.ai: docs.z.ai/api-reference/api-code, seen 2026-11-21.
    "1000": PROVIDER_AUTH_FAILED,
    "1001": PROVIDER_AUTH_FAILED,
    "1002": PROVIDER_AUTH_FAILED,
    "1003": PROVIDER_AUTH_FAILED,
    "1004": PROVIDER_AUTH_FAILED,
    "1110": PROVIDER_AUTH_FAILED,
    "1111": PROVIDER_AUTH_FAILED,
    "1112": PROVIDER_AUTH_FAILED,
    "1113": PROVIDER_QUOTA_EXCEEDED,
    "1120": PROVIDER_UNAVAILABLE,
    "1121": PROVIDER_AUTH_FAILED,
    "1210": INVALID_REQUEST,
    "1211": MODEL_NOT_FOUND,
    "1213": INVALID_REQUEST,
    "1214": INVALID_REQUEST,
    "1220": PROVIDER_AUTH_FAILED,
    "1230": PROVIDER_UNAVAILABLE,
    "1234": PROVIDER_UNAVAILABLE,
    "1261": CONTEXT_TOO_LONG,
    "1301": CONTENT_BLOCKED,
    "1302": PROVIDER_RATE_LIMITED,
    "1303": PROVIDER_RATE_LIMITED,
    "1304": PROVIDER_QUOTA_EXCEEDED,
    "1305": PROVIDER_RATE_LIMITED,
    "1308": PROVIDER_QUOTA_EXCEEDED,
    "1309": PROVIDER_QUOTA_EXCEEDED,
    "1310": PROVIDER_QUOTA_EXCEEDED,
    **dict.fromkeys(map(str, range(1316, 1322)), PROVIDER_QUOTA_EXCEEDED),
}
"""By `error.code`, then `error.type`; a code says more than the status."""

_WORDS: Final = (
    (re.compile(r"incorrect api key|invalid api key|missing authentication", re.IGNORECASE), PROVIDER_AUTH_FAILED),
    (
        re.compile(r"insufficient (balance|credits)|(you )?exceeded your current quota", re.IGNORECASE),
        PROVIDER_QUOTA_EXCEEDED,
    ),
    # xAI gives the status and the code of a wrong key (docs.x.ai, github.com/UKGovernmentBEIS/inspect_ai/pull/2267, seen 2026-11-21).
    (re.compile(r"content violates usage guidelines", re.IGNORECASE), CONTENT_BLOCKED),
)
"""For hosts that give neither a code nor the right status. A message must begin with them: further on it may repeat the caller's words."""

_LIMIT_WORDS: Final = re.compile(
    r"insufficient (balance|credits)|usage limit|limit exhausted|-per-day|spending limit", re.IGNORECASE
)
"""What tells a used-up quota where the status is 429 and there is no code that says more; `free-models-per-day` is OpenRouter's."""

_PASSING: Final = frozenset({PROVIDER_RATE_LIMITED, PROVIDER_TIMEOUT, PROVIDER_UNAVAILABLE})


_LIMITS: Final = frozenset({PROVIDER_RATE_LIMITED, PROVIDER_QUOTA_EXCEEDED})


def classify(value: dict[str, Any], *, status: int | None = None, headers: Mapping[str, str] = NO_HEADERS) -> LlmError:
    """Says what an error object or a body with one means.

    Hosts nest it differently: `{"error": {...}}`, `{"error": "text"}`, `{"detail": ...}` (Mistral), `{"code", "error": "text"}` (xAI).
    """
    error = value.get("error", value)
    if not isinstance(error, dict):
        error = {"message": error, "code": value.get("code")}
    words = str(error.get("message") or value.get("message") or value.get("detail") or "")
    code, kind = error.get("code"), error.get("type")
    number = status or (code if isinstance(code, int) and 400 <= code < 600 else None)
    known = _CODES.get(str(code)) or _CODES.get(str(kind))
    plain = known or by_status(number or 500, words)
    reason = _better(plain, known is not None, words, _metadata(error))
    return provider_error(
        reason,
        words,
        status=number,
        code=code or kind,
        retry_after=_wait(headers, reason, words, error),
        by_words=reason == PROVIDER_AUTH_FAILED and plain != reason,
    )


def _better(reason: Reason, by_code: bool, words: str, metadata: dict[str, Any]) -> Reason:
    """Returns what the words say where they say more than the code or the status."""
    if reason == PROVIDER_RATE_LIMITED and not by_code and _LIMIT_WORDS.search(words):
        return PROVIDER_QUOTA_EXCEEDED
    if reason in _PASSING:
        return reason
    if reason == PROVIDER_AUTH_FAILED and isinstance(metadata.get("reasons"), list):
        return CONTENT_BLOCKED
    return next((better for pattern, better in _WORDS if pattern.match(words)), reason)


def _metadata(error: dict[str, Any]) -> dict[str, Any]:
    """Returns what OpenRouter adds: `reasons` of a moderation, which has status 403, and `headers` of a limit
    (openrouter.ai/docs/api/reference/errors-and-debugging, seen 2026-11-21)."""
    metadata = error.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def _wait(headers: Mapping[str, str], reason: Reason, words: str, error: dict[str, Any]) -> float | None:
    """Reads the wait from the headers, else from those that OpenRouter puts into the body: they are of the very limit that was hit."""
    wait = wait_of(headers, reason, words)
    inner = _metadata(error).get("headers")
    if wait is not None or reason not in _LIMITS or not isinstance(inner, dict):
        return wait
    return wait_of({str(name).lower(): str(value) for name, value in inner.items()}, PROVIDER_RATE_LIMITED)
