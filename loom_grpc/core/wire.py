"""Reads requests, and finds out why bytes are no protobuf message, which the protobuf runtime does not tell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from loom_grpc.core.errors import INVALID_REQUEST, LlmError

M = TypeVar("M", bound=Message)

_MAX_FIELDS: Final = 50_000
"""After so many fields nothing more is looked at: 16 MiB of empty ones would hold the event loop up for ten seconds."""
_VARINT: Final = 0
_FIXED: Final = {1: 8, 5: 4}
_BYTES: Final = 2


class _Field(NamedTuple):
    number: int
    value: bytes | None
    """The bytes of a length-delimited field; None for numbers."""


def read_message(message: M, data: bytes) -> M:
    """Reads a request into `message`, and returns it; raises `LlmError`."""
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise LlmError(INVALID_REQUEST, misfit(message.DESCRIPTOR, data)) from None
    return message


def misfit(descriptor: Any, data: bytes) -> str:
    """Names what keeps `data` from being such a message: a text field that is not UTF-8, or the bytes as a whole."""
    try:
        field = _bad_text(descriptor, data, "", iter(range(_MAX_FIELDS)))
    except (IndexError, ValueError, StopIteration):
        field = ""
    return f"{field}: is not valid UTF-8." if field else f"The request is not a {descriptor.full_name} message."


def _bad_text(descriptor: Any, data: bytes, prefix: str, looks: Iterator[int]) -> str:
    """Returns the path of the first text that is not UTF-8; empty when there is none. Raises `StopIteration` when `looks` are used up."""
    seen: dict[int, int] = {}
    for number, value in _fields(data):
        next(looks)
        field = descriptor.fields_by_number.get(number)
        if field is None or value is None:
            continue
        path = prefix + field.name
        if field.is_repeated:
            path += f"[{seen.setdefault(number, 0)}]"
            seen[number] += 1
        if bad := _check(field, value, path, looks):
            return bad
    return ""


def _check(field: FieldDescriptor, value: bytes, path: str, looks: Iterator[int]) -> str:
    if field.type == FieldDescriptor.TYPE_STRING:
        try:
            value.decode()
        except UnicodeDecodeError:
            return path
    elif field.type == FieldDescriptor.TYPE_MESSAGE and field.message_type is not None:
        return _bad_text(field.message_type, value, f"{path}.", looks)
    return ""


def _fields(data: bytes) -> Iterator[_Field]:
    """Yields the fields of a message's bytes (protobuf.dev/programming-guides/encoding, seen 2026-11-21)."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        value = None
        if kind == _VARINT:
            _, at = _varint(data, at)
        elif kind == _BYTES:
            size, at = _varint(data, at)
            value = data[at : at + size]
            at += size
        elif kind in _FIXED:
            at += _FIXED[kind]
        else:
            raise ValueError(kind)
        yield _Field(tag >> 3, value)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError(shift)
