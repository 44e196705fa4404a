"""How a provider is, as `/health` tells it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from loom_grpc.core.pool import Account
from loom_grpc.core.ports import ProviderState
from loom_grpc.v1.admin_service_pb2 import ACCOUNT_KIND_OAUTH, ACCOUNT_STATUS_AVAILABLE, PoolHealth

_Status = Literal["healthy", "degraded", "unhealthy"]


def provider_state(title: str, health: PoolHealth, accounts: Sequence[Account], *, logs_in: bool) -> ProviderState:
    """Sums a pool up: no account that may be asked is unhealthy, all of them are healthy, some are degraded.

    `logs_in` tells whether accounts can log in, which alone says what an empty pool is for.
    """
    available = sum(account.status == ACCOUNT_STATUS_AVAILABLE for account in health.accounts)
    status: _Status = "unhealthy" if not available else "degraded" if available < len(accounts) else "healthy"
    if len(accounts) == 1 and accounts[0].implicit:
        error = "" if available else "disabled by the operator"
        return ProviderState(health.provider, title, configured=True, status=status, error=error)
    has_logins = any(account.kind == ACCOUNT_KIND_OAUTH for account in accounts) or (logs_in and not accounts)
    mode: Literal["api_key_pool", "oauth_pool"] = "oauth_pool" if has_logins else "api_key_pool"
    error = "" if available else "no account can be asked"
    return ProviderState(health.provider, title, configured=True, status=status, error=error, mode=mode, pool=health)
