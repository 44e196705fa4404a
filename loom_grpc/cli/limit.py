"""Limits of keys, users, teams and organizations."""

from __future__ import annotations

from typing import Final

from loom_grpc.client import Limits

LIMITS: Final = {
    "requests_per_minute": "limits.requests_per_minute",
    "tokens_per_minute": "limits.tokens_per_minute",
    "concurrent_streams": "limits.concurrent_streams",
}
"""The fields, by their flags."""
_UNITS: Final = {
    "requests_per_minute": "requests/min",
    "tokens_per_minute": "tokens/min",
    "concurrent_streams": "streams",
}


def limits_of(limits: Limits) -> str:
    """Writes the limits that are set."""
    return ", ".join(f"{value:,} {_UNITS.get(field.name, field.name)}" for field, value in limits.ListFields())
