"""Writes accounts as Loom's administration and its `/health` show them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from loom_grpc.core.errors import LOGIN_EXCHANGE_FAILED, LOGIN_STATE_INVALID, PROVIDER_NOT_CONFIGURED, LlmError
from loom_grpc.frontends.loom_error import error_body, http_status
from loom_grpc.v1.admin_service_pb2 import (
    ACCOUNT_KIND_API_KEY,
    ACCOUNT_KIND_GOOGLE,
    ACCOUNT_KIND_NONE,
    ACCOUNT_KIND_OAUTH,
    ACCOUNT_STATUS_AVAILABLE,
    ACCOUNT_STATUS_COOLING_DOWN,
    ACCOUNT_STATUS_DISABLED,
    Account,
    AccountKind,
    AccountStatus,
    PoolHealth,
)
from loom_grpc.v1.error_pb2 import ErrorReason

_STATUSES: Final[dict[AccountStatus.ValueType, str]] = {
    ACCOUNT_STATUS_AVAILABLE: "available",
    ACCOUNT_STATUS_COOLING_DOWN: "cooling_down",
    ACCOUNT_STATUS_DISABLED: "disabled",
}
_KINDS: Final[dict[AccountKind.ValueType, str]] = {
    ACCOUNT_KIND_API_KEY: "api_key",
    ACCOUNT_KIND_OAUTH: "oauth",
    ACCOUNT_KIND_GOOGLE: "google",
    ACCOUNT_KIND_NONE: "none",
}
_ANSWERS: Final[dict[ErrorReason.ValueType, tuple[int, str]]] = {
    PROVIDER_NOT_CONFIGURED: (501, "not_implemented"),
    LOGIN_STATE_INVALID: (400, "invalid_state"),
    LOGIN_EXCHANGE_FAILED: (400, "exchange_failed"),
}
"""Where administration answers otherwise than calls do."""


def failure(error: LlmError) -> tuple[int, bytes]:
    """Writes why an operator's request failed: an HTTP status and a body."""
    status, code = _ANSWERS.get(error.reason, (http_status(error), ""))
    if "not_implemented" in error.metadata:  # the provider is there, but cannot do this
        status = 501
    return status, error_body(status, error.message, {"error": code} if code else None)


def accounts(found: Sequence[Account], now: float) -> dict[str, Any]:
    """Writes a list of accounts with its summary; `now` is in seconds since 1970."""
    counts = Counter(account.status for account in found)
    summary = {word: counts[status] for status, word in _STATUSES.items()}
    return {"accounts": [account(one, now) for one in found], "summary": {"total": len(found), **summary}}


def account(one: Account, now: float) -> dict[str, Any]:
    """Writes an account; what Loom does not have comes last."""
    value = _health(one, now)
    if one.HasField("token_expire_time"):
        value["expires_at"] = one.token_expire_time.ToJsonString()
    return value | {
        "kind": _KINDS.get(one.kind, "unknown"),
        "configured": one.configured,
        "disabled_by_operator": one.disabled_by_operator,
        "requests": one.requests,
        "errors": one.errors,
        "input_tokens": one.input_tokens,
        "output_tokens": one.output_tokens,
    }


def pool(health: PoolHealth, now: float) -> dict[str, Any]:
    """Writes how a pool fares, without what only operators need to know."""
    counts = Counter(account.status for account in health.accounts)
    return {
        "accounts_total": len(health.accounts),
        "accounts_available": counts[ACCOUNT_STATUS_AVAILABLE],
        "accounts_cooling": counts[ACCOUNT_STATUS_COOLING_DOWN],
        "accounts_disabled": counts[ACCOUNT_STATUS_DISABLED],
        "accounts": [_counted(account, now) for account in health.accounts],
    }


def _counted(one: Account, now: float) -> dict[str, Any]:
    return {**_health(one, now), "requests": one.requests, "errors": one.errors}


def _health(one: Account, now: float) -> dict[str, Any]:
    value: dict[str, Any] = {"id": one.id, "status": _STATUSES.get(one.status, "unknown")}
    if one.HasField("cooling_until"):
        left_s = one.cooling_until.ToNanoseconds() / 1e9 - now
        value["cooldown_remaining_secs"] = max(0, math.ceil(left_s))
    if one.last_error:
        value["last_error"] = one.last_error
    return value
