"""What errors mean in Chat Completions, over all the hosts that speak it."""

from __future__ import annotations

import re
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
}
"""By `error.code`, then `error.type`; a code says more than the status."""

_WORDS: Final = (
    (re.compile(r"incorrect api key|invalid api key|missing authentication", re.IGNORECASE), PROVIDER_AUTH_FAILED),
    (re.compile(r"insufficient (balance|credits)|exceeded your current quota", re.IGNORECASE), PROVIDER_QUOTA_EXCEEDED),
)
"""For hosts that give neither a code nor the right status."""

_PASSING: Final = frozenset({PROVIDER_RATE_LIMITED, PROVIDER_TIMEOUT, PROVIDER_UNAVAILABLE})


def classify(value: dict[str, Any], *, status: int | None = None, wait: float | None = None) -> LlmError:
    """Says what an error object or a body with one means; `wait` is the provider's Retry-After in seconds.

    Hosts nest it differently: `{"error": {...}}`, `{"error": "text"}`, `{"detail": ...}` (Mistral), `{"code", "error": "text"}` (xAI).
    """
    error = value.get("error", value)
    if not isinstance(error, dict):
        error = {"message": error, "code": value.get("code")}
    words = str(error.get("message") or value.get("message") or value.get("detail") or "")
    code, kind = error.get("code"), error.get("type")
    number = status or (code if isinstance(code, int) and 400 <= code < 600 else None)
    reason = _CODES.get(str(code)) or _CODES.get(str(kind)) or by_status(number or 500, words)
    if reason not in _PASSING:
        reason = next((reason for pattern, reason in _WORDS if pattern.search(words)), reason)
    return provider_error(
        reason, words, status=number, code=code or kind, retry_after=wait if reason in _LIMITS else None
    )


_LIMITS: Final = _PASSING | {PROVIDER_QUOTA_EXCEEDED}
