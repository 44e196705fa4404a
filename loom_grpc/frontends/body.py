"""Reads the JSON that callers send: numbers stay exact, and errors name the field."""

from __future__ import annotations

import binascii
import json
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeVar

import orjson

from loom_grpc.core.exact import dumps

T = TypeVar("T")

_DIGITS: Final = bytes.maketrans(b"123456789.", b"0000000000")
_LONG_NUMBER: Final = b"0" * 16
"""Shorter numbers are the same before and after a double; few bodies have a longer one, so few are parsed twice."""


class HttpError(Exception):
    """A request that is turned away by its HTTP status, before it is a call; `field` is what is wrong with it, by path."""

    def __init__(self, status: int, message: str, field: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.field = field


def read_json(body: bytes) -> Any:
    """Parses a body; numbers that a double cannot hold become `Decimal`. Of two equal keys the last one counts.

    Raises `HttpError` with status 400.
    """
    try:
        value = orjson.loads(body)
        if _LONG_NUMBER in body.translate(_DIGITS):
            value = json.loads(body, parse_int=_integer, parse_float=Decimal)
    except orjson.JSONDecodeError as error:
        raise HttpError(400, _why(body, error)) from None
    except RecursionError:
        raise HttpError(400, "The body is nested too deeply.") from None
    except InvalidOperation:
        raise HttpError(400, "The body has a number whose exponent is too large.") from None
    return value


def take_headers(headers: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Returns those of the headers that are there. Raises `HttpError` for letters that could not be passed on."""
    taken = {name: headers[name] for name in names if name in headers}
    for name, value in taken.items():
        if not value.isascii():
            raise HttpError(400, f"{name}: must be ASCII.", name)
    return taken


def json_text(value: object) -> str:
    """Writes a value of `read_json` as JSON text. Raises `TypeError` when it is nested more deeply than 254 levels."""
    return dumps(value)


class Fields:
    """An object of the caller's and where it is. A field that is null counts as missing; every method raises `HttpError`."""

    __slots__ = ("_at", "_value")

    def __init__(self, value: object, at: str = "") -> None:
        if not isinstance(value, dict):
            raise HttpError(422, f"{at}: must be an object." if at else "The body must be a JSON object.", at)
        self._value = value
        self._at = at

    def keys(self) -> list[str]:
        """Returns the names of the fields that are there."""
        return [key for key, value in self._value.items() if value is not None]

    def names(self) -> list[str]:
        """Returns the names of all fields, of those too that are null."""
        return list(self._value)

    def at(self, key: str) -> str:
        """Returns where a field is, by path."""
        return self._path(key)

    def value(self, key: str) -> Any:
        """Returns a field as it is; None when it is missing."""
        return self._value.get(key)

    def has(self, *keys: str) -> bool:
        """Tells whether one of the fields is there."""
        return any(self._value.get(key) is not None for key in keys)

    def need(self, *keys: str) -> None:
        """Refuses an object that has none of the fields."""
        if not self.has(*keys):
            raise self.wrong(keys[0], "is missing")

    def wrong(self, key: str, what: str) -> HttpError:
        """Makes the error that says what is wrong with a field."""
        return HttpError(422, f"{self._path(key)}: {what}.", self._path(key))

    def text(self, key: str) -> str:
        """Returns a string; a missing one is empty."""
        return self._take(key, str, "a string") or ""

    def need_text(self, key: str) -> str:
        """Returns a string that must be there; it may be empty."""
        value = self._value.get(key)
        if type(value) is str:
            return value
        self.need(key)
        return self.text(key)

    def flag(self, key: str) -> bool | None:
        """Returns a boolean."""
        return self._take(key, bool, "true or false")

    def integer(self, key: str, bits: int = 32) -> int | None:
        """Returns an integer that fits into so many bits, the sign included."""
        value = self._value.get(key)
        if value is None:
            return None
        limit = 1 << (bits - 1)
        if type(value) is not int or not -limit <= value < limit:
            raise self.wrong(key, f"must be an integer of {bits} bits")
        return value

    def number(self, key: str) -> float | None:
        """Returns a number."""
        value = self._value.get(key)
        if value is None:
            return None
        if type(value) not in (int, float, Decimal):
            raise self.wrong(key, "must be a number")
        return float(value)

    def array(self, key: str) -> list[Any]:
        """Returns an array as it is; a missing one is empty."""
        return self._take(key, list, "an array") or []

    def texts(self, key: str) -> list[str]:
        """Returns an array of strings; a missing one is empty."""
        values = self.array(key)
        for index, value in enumerate(values):
            if not isinstance(value, str):
                raise self.wrong(f"{key}[{index}]", "must be a string")
        return values

    def mapping(self, key: str) -> dict[str, str]:
        """Returns an object of strings; a missing one is empty."""
        values: dict[str, Any] = self._take(key, dict, "an object") or {}
        for name, value in values.items():
            if not isinstance(value, str):
                raise self.wrong(f"{key}.{name[:80]}", "must be a string")
        return values

    def object(self, key: str) -> Fields | None:
        """Returns an object."""
        value = self._value.get(key)
        return None if value is None else Fields(value, self._path(key))

    def objects(self, key: str) -> Iterator[Fields]:
        """Yields the objects of an array; a missing one is empty."""
        path = self._path(key)
        for index, value in enumerate(self.array(key)):
            yield Fields(value, f"{path}[{index}]")

    def json(self, key: str) -> str:
        """Returns an object as JSON text; a string is taken as the text itself, and a missing one is empty."""
        value = self._value.get(key)
        if value is None or isinstance(value, str):
            return value or ""
        if not isinstance(value, dict):
            raise self.wrong(key, "must be an object")
        try:
            return json_text(value)
        except TypeError:
            raise self.wrong(key, "is nested too deeply") from None

    def base64(self, key: str) -> bytes:
        """Returns bytes that come as base64 (RFC 4648, section 4); missing ones are empty."""
        try:
            return binascii.a2b_base64(self.text(key), strict_mode=True)
        except ValueError:
            raise self.wrong(key, "must be base64 with padding") from None

    def _take(self, key: str, kind: type[T], name: str) -> T | None:
        value = self._value.get(key)
        if value is None or type(value) is kind:
            return value
        raise self.wrong(key, f"must be {name}")

    def _path(self, key: str) -> str:
        return f"{self._at}.{key}" if self._at else key


def _integer(text: str) -> int | Decimal:
    value = int(text)
    return value if -(2**63) <= value < 2**64 else Decimal(text)


def _why(body: bytes, error: orjson.JSONDecodeError) -> str:
    if not body:
        return "The body is empty; a JSON object is needed."
    try:
        body.decode()
    except UnicodeDecodeError as bad:
        return f"The body is not valid UTF-8 (byte {bad.start})."
    return f"The body is not valid JSON: {error}."
