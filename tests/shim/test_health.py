"""How `/health` shows pools, in Loom's shape."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from loom_grpc.core.ports import ProviderState
from loom_grpc.v1.admin_service_pb2 import (
    ACCOUNT_KIND_API_KEY,
    ACCOUNT_KIND_OAUTH,
    ACCOUNT_STATUS_AVAILABLE,
    ACCOUNT_STATUS_COOLING_DOWN,
    ACCOUNT_STATUS_DISABLED,
    Account,
    PoolHealth,
)
from tests.books import Books, ask, open_desk, session

Status = Literal["healthy", "degraded", "unhealthy"]

POOL = PoolHealth(
    provider="anthropic",
    strategy="session",
    accounts=[
        Account(
            provider="anthropic",
            id="a",
            kind=ACCOUNT_KIND_OAUTH,
            status=ACCOUNT_STATUS_AVAILABLE,
            token_expire_time=Timestamp(seconds=4_000_000_000),
            requests=4,
            input_tokens=7,
        ),
        Account(
            id="b",
            kind=ACCOUNT_KIND_API_KEY,
            status=ACCOUNT_STATUS_COOLING_DOWN,
            cooling_until=Timestamp(seconds=1),
            last_error="The quota is used up.",
            requests=2,
            errors=1,
        ),
        Account(id="c", kind=ACCOUNT_KIND_API_KEY, status=ACCOUNT_STATUS_DISABLED, disabled_by_operator=True),
    ],
)


async def health(*states: ProviderState) -> tuple[int, str, Any]:
    """Returns the HTTP status, the overall word, and what is told of providers, to somebody without any key."""
    books = Books(states=list(states))
    async with open_desk(books) as desk, session(desk, accept="*/*") as anybody:
        answer = await ask(anybody, "GET", "/health")
    return answer.status, answer.json["status"], answer.json["components"]["llm_providers"]["providers"]


async def test_a_pool_is_shown_account_by_account() -> None:
    shown = await health(ProviderState("anthropic", "Anthropic", True, "degraded", "", "oauth_pool", POOL))

    assert shown == (
        200,
        "degraded",
        [
            {
                "name": "anthropic",
                "status": "degraded",
                "mode": "oauth_pool",
                "pool": {
                    "accounts_total": 3,
                    "accounts_available": 1,
                    "accounts_cooling": 1,
                    "accounts_disabled": 1,
                    "accounts": [
                        {"id": "a", "status": "available", "requests": 4, "errors": 0},
                        {
                            "id": "b",
                            "status": "cooling_down",
                            "cooldown_remaining_secs": 0,
                            "last_error": "The quota is used up.",
                            "requests": 2,
                            "errors": 1,
                        },
                        {"id": "c", "status": "disabled", "requests": 0, "errors": 0},
                    ],
                },
            }
        ],
    )


async def test_an_empty_pool_is_shown_as_such() -> None:
    state = ProviderState("zai", "Z.ai", True, "unhealthy", "No account.", "api_key_pool", PoolHealth(provider="zai"))

    status, word, providers = await health(state)

    assert (status, word, providers[0]["mode"], providers[0]["error"]) == (
        503,
        "unhealthy",
        "api_key_pool",
        "No account.",
    )
    assert providers[0]["pool"] == {
        "accounts_total": 0,
        "accounts_available": 0,
        "accounts_cooling": 0,
        "accounts_disabled": 0,
        "accounts": [],
    }


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["healthy", "healthy"], (200, "healthy")),
        (["healthy", "degraded"], (200, "degraded")),
        (["healthy", "unhealthy"], (200, "degraded")),
        (["degraded", "unhealthy"], (200, "degraded")),
        (["degraded"], (200, "degraded")),
        (["unhealthy", "unhealthy"], (503, "unhealthy")),
    ],
)
async def test_the_whole_is_healthy_when_all_are_and_unhealthy_when_none_can_answer(
    statuses: list[Status], expected: tuple[int, str]
) -> None:
    states = [ProviderState(f"p{number}", "P", True, status) for number, status in enumerate(statuses)]

    assert (await health(*states))[:2] == expected
