"""Values of flags: how times, money, numbers and lists are written on the command line, and shown again."""

from __future__ import annotations

import re
import time
from argparse import ArgumentTypeError
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from loom_grpc.core.money import dollars

if TYPE_CHECKING:
    from google.protobuf.descriptor import EnumDescriptor
    from google.protobuf.timestamp_pb2 import Timestamp

T = TypeVar("T")
_MOST: Final = 2**63 - 1
"""The largest number that a message holds."""
_UNITS: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}


def seconds(text: str) -> float:
    """Reads a time limit."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value


seconds.__name__ = "number of seconds"  # argparse puts it into its message


def count(text: str) -> int:
    """Reads a whole number from 0."""
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise ArgumentTypeError(f"must be a whole number, not {text!r}")
    return int(text)


def positive(text: str) -> int:
    """Reads a whole number from 1."""
    if not count(text):
        raise ArgumentTypeError("must be at least 1")
    return int(text)


def nanos(text: str) -> int:
    """Reads dollars, such as `12.50`, into billionths of a dollar."""
    if not re.fullmatch(r"[0-9]+(\.[0-9]{1,9})?", text):
        raise ArgumentTypeError(
            f"must be dollars such as 12.50, with at most nine digits behind the point, not {text!r}"
        )
    whole, _, fraction = text.partition(".")
    value = int(f"{whole[:20]}{fraction:0<9}")
    if value > _MOST:
        raise ArgumentTypeError(f"must be at most {dollars(_MOST)}")
    return value


def yes_or_no(text: str) -> bool:
    """Reads `yes` or `no`."""
    if text not in {"yes", "no"}:
        raise ArgumentTypeError(f"must be yes or no, not {text!r}")
    return text == "yes"


def names(text: str) -> list[str]:
    """Reads names between commas; an empty text holds none."""
    return [name for name in map(str.strip, text.split(",")) if name]


def label(text: str) -> tuple[str, str]:
    """Reads a label, such as `project=atlas`."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ArgumentTypeError(f"must be NAME=VALUE, not {text!r}")
    return name, value


def duration(text: str) -> int:
    """Reads a time span, such as `7d`, in seconds."""
    found = re.fullmatch(r"([0-9]{1,6})([a-z]+)", text)
    if found is None or found[2] not in _UNITS:
        raise ArgumentTypeError(f"must be a time span such as 45s, 30min, 24h, 7d or 2w, not {text!r}")
    return int(found[1]) * _UNITS[found[2]]


def past(text: str) -> Timestamp:
    """Reads a time, or how long it was ago."""
    return _moment(text, -1)


def future(text: str) -> Timestamp:
    """Reads a time, or how long it is until then."""
    return _moment(text, 1)


def _moment(text: str, direction: Literal[-1, 1]) -> Timestamp:
    """Reads a time of RFC 3339, a date, which is its beginning in UTC, or a time span from now on."""
    from google.protobuf.timestamp_pb2 import Timestamp

    moment = Timestamp()
    try:
        if re.fullmatch(r"[0-9]+[a-z]+", text):
            moment.FromSeconds(int(time.time()) + direction * duration(text))
        else:
            moment.FromJsonString(f"{text}T00:00:00Z" if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else text)
    except (ArgumentTypeError, ValueError):
        raise ArgumentTypeError(f"must be like 2026-11-21, 2026-11-21T14:05:00Z, 24h or 7d, not {text!r}") from None
    return moment


def or_nothing(kind: Callable[[str], T]) -> Callable[[str], T | Literal[""]]:
    """Makes a kind that takes an empty text too, which stands for nothing."""

    def read(text: str) -> T | Literal[""]:
        return kind(text) if text else ""

    return read


def moment(timestamp: Timestamp) -> str:
    """Writes a time to the second, in UTC."""
    return timestamp.ToJsonString()[:19].replace("T", " ") + "Z"


def word_of(kind: EnumDescriptor, number: int) -> str:
    """Writes a member of an enum as a word, such as `month`; nothing where it is not set."""
    if not number:
        return ""
    known = kind.values_by_number.get(number)
    return known.name.removeprefix(_prefix(kind)).lower() if known is not None else str(number)


def number_of(kind: EnumDescriptor, word: str) -> int:
    """Returns the member of an enum that a word names."""
    return kind.values_by_name[_prefix(kind) + word.upper()].number


def _prefix(kind: EnumDescriptor) -> str:
    return kind.values[0].name.removesuffix("UNSPECIFIED")
