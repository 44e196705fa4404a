"""How `/health` sums a provider up."""

from __future__ import annotations

from loom_grpc.app.state import provider_state
from loom_grpc.core.ports import ProviderState
from loom_grpc.v1.admin_service_pb2 import PoolHealth


def test_a_pool_that_waits_for_its_first_login_is_an_oauth_pool() -> None:
    empty = PoolHealth(provider="example")

    state = provider_state("example", empty, [], logs_in=True)

    error = "no account can be asked"
    assert state == ProviderState("example", "example", True, "unhealthy", error, "oauth_pool", empty)


def test_a_pool_without_accounts_and_logins_is_one_of_keys() -> None:
    assert provider_state("example", PoolHealth(provider="example"), [], logs_in=False).mode == "api_key_pool"
