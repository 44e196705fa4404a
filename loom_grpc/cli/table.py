"""Tables for people, and JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, TypeVar

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from loom_grpc.cli.output import one_line

T = TypeVar("T")

# JSON may hold them as they are, but a terminal would take them for commands.
_CONTROLS: Final = {code: f"\\u{code:04x}" for code in range(127, 160)}


def table(
    items: Sequence[T],
    columns: Mapping[str, Callable[[T], str]],
    *,
    always: Collection[str] = (),
    numbers: Collection[str] = (),
) -> str:
    """Draws a row for each item; columns without anything in them are left out unless they are `always` there."""
    drawn = [[title, *(one_line(write(item)) for item in items)] for title, write in columns.items()]
    shown = [_even(column, column[0] in numbers) for column in drawn if column[0] in always or any(column[1:])]
    return "\n".join("  ".join(row).rstrip() for row in zip(*shown, strict=True))


def _even(column: Sequence[str], to_the_right: bool) -> list[str]:
    width = max(map(len, column))
    return [cell.rjust(width) if to_the_right else cell.ljust(width) for cell in column]


def as_json(value: Any) -> str:
    """Writes a value, in which messages may be, as JSON that does nothing to a terminal."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=_fields).translate(_CONTROLS)


def _fields(message: Message) -> dict[str, Any]:
    """Writes every field of a message by the names of the contract."""
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
