"""Finds the key that an operator shows."""

from __future__ import annotations

from typing import Final

_SCHEME: Final = "bearer"


def shown_key(authorization: str, api_key: str) -> str:
    """Returns the bearer token of `authorization`, or else what `x-api-key` holds; empty when neither is there."""
    scheme, _, token = authorization.strip().partition(" ")
    return token.strip() if scheme.lower() == _SCHEME else api_key.strip()
