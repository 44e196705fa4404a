"""Reads JSON as Google's servers do (protobuf.dev/programming-guides/json, seen 2026-11-21): leniently, and always in one spelling."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

from loom_grpc.frontends.body import Fields, json_text
from loom_grpc.frontends.gemini_state import decode_base64

_SNAKE: Final = re.compile(r"(?<=.)_([a-z0-9])")
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])([A-Z])")
_INTEGER: Final = re.compile(r"-?\d{1,19}")


def camel(name: str) -> str:
    """Returns the spelling of a field's name that JSON has."""
    return _SNAKE.sub(lambda match: match[1].upper(), name) if "_" in name else name


def snake(path: str) -> str:
    """Returns the spelling of a path that Google's error messages have."""
    return _CAMEL.sub(lambda match: f"_{match[1].lower()}", path)


class Proto(Fields):
    """An object that stands for a protobuf message.

    Its names come in two spellings, numbers also as text, and a list of one entry as that entry alone.
    """

    __slots__ = ()

    def __init__(self, value: object, at: str = "") -> None:
        if isinstance(value, dict) and any("_" in key for key in value):
            value = {camel(key): entry for key, entry in value.items()}
        super().__init__(value, at)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def object(self, key: str) -> Proto | None:
        """Returns an object."""
        value = self._value.get(key)
        return None if value is None else Proto(value, self.at(key))

    def need_object(self, key: str) -> Proto:
        """Returns an object that must be there."""
        self.need(key)
        return Proto(self._value[key], self.at(key))

    def objects(self, key: str) -> Iterator[Proto]:
        """Yields the objects of an array; a missing one is empty."""
        value = self._value.get(key)
        if isinstance(value, dict):
            yield Proto(value, self.at(key))
            return
        for index, entry in enumerate(self.array(key)):
            yield Proto(entry, f"{self.at(key)}[{index}]")

    def integer(self, key: str, bits: int = 32) -> int | None:
        """Returns an integer that fits into so many bits, the sign included; `1.0` and `"1"` are integers too."""
        return Fields({key: _integer(self._value.get(key))}, self._at).integer(key, bits)

    def base64(self, key: str) -> bytes:
        """Returns bytes; missing ones are empty."""
        try:
            return decode_base64(self.text(key))
        except ValueError:
            raise self.wrong(key, "Base64 decoding failed") from None

    def struct(self, key: str) -> dict[str, Any]:
        """Returns an object whose names are the caller's own; a missing one is empty."""
        return self._take(key, dict, "an object") or {}

    def struct_json(self, key: str) -> str:
        """Returns such an object as JSON text."""
        return self.dumped(key, self.struct(key))

    def dumped(self, key: str, value: Any) -> str:
        """Writes JSON of what was read from a field."""
        try:
            return json_text(value)
        except TypeError:
            raise self.wrong(key, "is nested too deeply") from None

    def whole(self) -> dict[str, Any]:
        """Returns the object itself."""
        return dict(self._value)


def _integer(value: Any) -> Any:
    """Returns the integer that text or a number stands for; anything else as it is."""
    if isinstance(value, str):
        return int(value) if _INTEGER.fullmatch(value) else value
    if isinstance(value, float | Decimal) and -(2**63) < value < 2**63 and value == int(value):
        return int(value)
    return value
