"""Numbers of 32 bits as they are written: protobuf hands them out as doubles, which print with digits that nobody wrote."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from typing import Final, NamedTuple

_BITS: Final = 24
"""The significant bits of a float."""


class _Grid(NamedTuple):
    """How far apart the floats of one binary exponent are, and the decimals that come next to them."""

    scale: float
    """Ten to as many places as a decimal may have so that the float nearest to it leads back to it."""
    half: float
    """Half the distance between two floats."""


_GRIDS: Final = {
    exponent: _Grid(10.0 ** math.floor((_BITS - exponent) * math.log10(2)), 2.0 ** (exponent - _BITS - 1))
    for exponent in range(-40, _BITS)
}
"""By the exponent that `math.frexp` tells. Beyond these a power of ten is no double, and text has to help."""


def shortest(values: Sequence[float]) -> list[float]:
    """Returns the doubles that print with the fewest digits among those that are the same floats.

    The floats of 1,536 components take 0.4 ms; formatting each with more and more digits until it is right takes four times that.
    """
    try:
        found = [_near(value) for value in values]
    except (KeyError, OverflowError, ValueError):  # too large, too small, or no number at all
        return [_by_text(value) for value in values]
    if array("f", found) == array("f", values):
        return found
    return [_by_text(value) for value in values]


def _near(value: float) -> float:
    """Returns a decimal next to a float: with so few places that it must be the only one, or else with one more."""
    scale, half = _GRIDS[math.frexp(value)[1]]
    near = round(value * scale) / scale
    if abs(near - value) < half:
        return near
    scale *= 10
    return round(value * scale) / scale


def _by_text(value: float) -> float:
    """Tries as many digits as it takes; nine are always enough."""
    texts = (f"{value:.{digits}g}" for digits in range(1, 10))
    return next((float(text) for text in texts if _is_same(float(text), value)), value)


def _is_same(one: float, other: float) -> bool:
    return array("f", [one]) == array("f", [other])
