"""What a provider itself says that a call cost."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from loom_grpc.core.exact import decimal

_DOLLAR: Final = 10**9
"""In billionths of a dollar."""
_MOST: Final = 10**9
"""More dollars than this are not believed."""

_FIELDS: Final = (
    # A tick is a ten-billionth of a dollar (docs.x.ai/developers/cost-tracking, seen 2026-11-21).
    (("cost_in_usd_ticks",), Decimal("0.1")),
    # Perplexity, in recorded answers.
    (("cost", "total_cost"), Decimal(_DOLLAR)),
    # OpenRouter, whose credits are dollars, and Vercel's gateway and Avian, which took it over.
    (("cost",), Decimal(_DOLLAR)),
    # DeepInfra, of which there is no recorded answer.
    (("estimated_cost",), Decimal(_DOLLAR)),
)
"""Where a usage object says it, and in how many billionths of a dollar."""
_NAMES: Final = frozenset(path[0] for path, _ in _FIELDS)


def reported_cost(usage: Mapping[str, Any]) -> int | None:
    """Returns what a provider's usage object says that the call cost, in billionths of a dollar; None where it does not say."""
    if _NAMES.isdisjoint(usage):
        return None
    for path, unit in _FIELDS:
        if (amount := _nanos(_at(usage, path), unit)) is not None:
            return amount + _upstream(usage)
    return None


def _upstream(usage: Mapping[str, Any]) -> int:
    """Returns what the owner of a key pays beside a gateway's fee; for other keys it is in the cost already.

    What the two fields are: openrouter.ai/docs/use-cases/usage-accounting, seen 2026-11-21; in a recorded answer to such a key the cost
    is zero and the other is not.
    """
    if usage.get("is_byok") is not True:
        return 0
    return _nanos(_at(usage, ("cost_details", "upstream_inference_cost")), Decimal(_DOLLAR)) or 0


def _at(value: object, path: tuple[str, ...]) -> object:
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def _nanos(value: object, unit: Decimal) -> int | None:
    amount = decimal(value)
    if amount is None or not 0 <= amount <= _MOST * _DOLLAR / unit:
        return None
    return round(amount * unit)
