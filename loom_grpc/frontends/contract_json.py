"""Messages of the contract as JSON (protobuf.dev/programming-guides/json, seen 2026-11-21), by the names of their fields.

The library's own reader takes wrong types here and there, and does not name the field in words for people.
"""

from __future__ import annotations

import re
from typing import Any, Final

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from loom_grpc.frontends.body import Fields, HttpError

_INTEGER: Final = re.compile(r"-?[0-9]{1,19}")
_BITS: Final = {FieldDescriptor.CPPTYPE_INT32: 32, FieldDescriptor.CPPTYPE_INT64: 64}
_SHOWN: Final = 80


def write(message: Message) -> bytes:
    """Writes a message; fields that are empty are there too, unless they can be missing."""
    text: str = MessageToJson(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True, indent=None
    )
    return text.encode()


def fill(message: Any, fields: Fields) -> None:
    """Puts the fields of an object into a message; raises `HttpError` for one that it does not have, or that is of another type."""
    known = message.DESCRIPTOR.fields_by_name
    for name in fields.keys():  # noqa: SIM118 - it is no mapping
        if name not in known:
            raise fields.wrong(name[:_SHOWN], f"is not known here; this takes {', '.join(known)}")
        _put(message, known[name], fields)


def _put(message: Any, field: Any, fields: Fields) -> None:
    name = field.name
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        getattr(message, name).update(fields.mapping(name))
    elif field.is_repeated:
        getattr(message, name).extend(fields.texts(name))
    elif field.message_type is not None:
        _put_message(getattr(message, name), name, fields)
    else:
        setattr(message, name, _scalar(field, fields))


def _put_message(message: Any, name: str, fields: Fields) -> None:
    message.SetInParent()
    if isinstance(message, Timestamp):
        _read_text(message, name, fields, "a time such as 2026-11-21T10:00:00Z")
    elif isinstance(message, Duration):
        _read_text(message, name, fields, "a number of seconds such as 3600s")
    elif inner := fields.object(name):
        fill(message, inner)


def _read_text(message: Timestamp | Duration, name: str, fields: Fields, what: str) -> None:
    try:
        message.FromJsonString(fields.text(name))
    except (ValueError, OverflowError):
        raise fields.wrong(name, f"must be {what}") from None


def _scalar(field: Any, fields: Fields) -> object:
    if field.enum_type is not None:
        return _number(field.enum_type, field.name, fields)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return fields.flag(field.name)
    if field.cpp_type in _BITS:
        return _integer(field.name, _BITS[field.cpp_type], fields)
    text = fields.text(field.name)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise fields.wrong(field.name, "has half of a surrogate pair") from None
    return text


def _integer(name: str, bits: int, fields: Fields) -> int | None:
    """Reads an integer, which JSON may have as a string, as many readers would lose its last digits otherwise."""
    value = fields.value(name)
    if not isinstance(value, str):
        return fields.integer(name, bits)
    number = int(value) if _INTEGER.fullmatch(value) else 1 << bits
    if not -(1 << bits - 1) <= number < 1 << bits - 1:
        raise fields.wrong(name, f"must be an integer of {bits} bits")
    return number


def _number(enum: EnumDescriptor, name: str, fields: Fields) -> int:
    word = fields.text(name)
    if word not in enum.values_by_name:
        raise fields.wrong(name, f"must be one of {', '.join(enum.values_by_name)}")
    return int(enum.values_by_name[word].number)


def flag_of(text: str, name: str) -> bool:
    """Reads a boolean of an address's query; raises `HttpError`."""
    if text not in ("true", "false"):
        raise HttpError(422, f"{name}: must be true or false.", name)
    return text == "true"
