"""Money as people write it."""

from __future__ import annotations

from decimal import Decimal


def dollars(nanos: int) -> str:
    """Writes billionths of a dollar as dollars, with the digits that matter and at least two behind the point."""
    whole, _, fraction = f"{Decimal(nanos).scaleb(-9):.9f}".partition(".")
    return f"{whole}.{fraction.rstrip('0'):0<2}"
