"""JSON that passes through without a digit lost: other people's numbers may be longer than a machine's."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, Final

import orjson

_DIGITS_TO_ZERO: Final = bytes.maketrans(b"123456789", b"000000000")
_LONG: Final = b"0" * 19
"""So many digits in a row may be a number that does not fit into 64 bits with a sign, which orjson would round."""
_WHOLE: Final = range(-(2**63), 2**64)
"""The whole numbers that orjson reads and writes."""
_DECIMAL: Final = 20
"""A decimal of so many characters may have more digits than a float."""


class _Number:
    """A number as it was written."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def loads(data: bytes) -> Any:
    """Reads JSON; numbers that do not fit into 64 bits stay as they are written, for `dumps`, and are no numbers to anyone else.

    Looking for them takes less time than reading the JSON does. Raises ValueError.
    """
    value = orjson.loads(data)
    if _LONG not in data.translate(_DIGITS_TO_ZERO):
        return value
    try:
        return json.loads(data, parse_int=_integer, parse_float=_decimal)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def dumps(value: object) -> str:
    """Writes JSON, long numbers and decimals as they were read. Raises TypeError for what is nested too deeply."""
    return orjson.dumps(value, default=_verbatim).decode()


def decimal(value: object) -> Decimal | None:
    """Returns a number that was read from JSON as it was written; None for what is none.

    A float says what was written as long as that had no more than 15 digits: it reads back as the shortest of all that it can be.
    """
    if isinstance(value, _Number):
        return Decimal(value.text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return Decimal(repr(value))


def _integer(text: str) -> object:
    if len(text) > _DECIMAL:
        return _Number(text)
    value = int(text)
    return value if value in _WHOLE else _Number(text)


def _decimal(text: str) -> object:
    return float(text) if len(text) < _DECIMAL else _Number(text)


def _verbatim(value: object) -> orjson.Fragment:
    if isinstance(value, _Number):
        return orjson.Fragment(value.text)
    if isinstance(value, Decimal):
        return orjson.Fragment(str(value))
    raise TypeError(type(value).__name__)
