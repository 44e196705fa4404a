"""What organizations, teams, users, keys and budgets may hold; what else an operator sends is refused by the name of its field."""

from __future__ import annotations

import ipaddress
import unicodedata
from collections.abc import Callable, Iterable
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from loom_grpc.config import account_id
from loom_grpc.core.errors import INVALID_REQUEST, LlmError
from loom_grpc.core.subject import is_key_text
from loom_grpc.v1.access_pb2 import AccessRole, Allowed, Limits

_MOST: Final = 10**15
"""The highest limit, as in the configuration."""
_LONGEST_NAME: Final = 256
_MANY: Final = 1000
_SECONDS: Final = range(-62_135_596_800, 253_402_300_800)
"""The years 1 to 9999, which a `Timestamp` has (protobuf.dev/reference/protobuf/google.protobuf, seen 2026-11-21)."""
_BREAKS: Final = ("Cc", "Cs", "Zl", "Zp")
"""The categories of Unicode that tear a line apart: control characters, and separators of lines and paragraphs."""


def wrong(field: str, what: str) -> LlmError:
    """Makes the error that says what is wrong with a field."""
    return LlmError(INVALID_REQUEST, f"{field}: {what}.", field=field)


def check_id(id: str, field: str = "id") -> None:
    """Raises `LlmError` for what can be no id, and for the text of a key, which belongs nowhere."""
    if not id:
        raise wrong(field, "is missing")
    if is_key_text(id):
        raise wrong(field, "is the text of a key; give its id, which `loom-grpc keys list` shows")
    try:
        account_id(id)
    except ValueError as error:
        raise wrong(field, str(error)) from None


def check_fields(thing: Any, names: Iterable[str], at: str, now: float) -> None:
    """Raises `LlmError` for the first of a thing's fields that holds what it may not; `at` is where the thing is in its request."""
    for name in names:
        if name in _CHECKS:
            _CHECKS[name](thing, name, f"{at}.{name}", now)


def check_time(time: Timestamp, field: str) -> None:
    """Raises `LlmError` for a time that cannot be."""
    if time.seconds not in _SECONDS or not 0 <= time.nanos < 10**9:
        raise wrong(field, "is no time: its seconds or nanos are out of range")


def seconds_of(time: Timestamp) -> float:
    """Returns a time in seconds since 1970."""
    return time.seconds + time.nanos / 1e9


def check_text(text: str, field: str) -> None:
    """Raises `LlmError` for a text that is too long or would tear a line apart."""
    if len(text) > _LONGEST_NAME:
        raise wrong(field, f"must not be longer than {_LONGEST_NAME} characters")
    if is_key_text(text):
        raise wrong(field, "holds the text of a key, which belongs nowhere")
    if any(unicodedata.category(letter) in _BREAKS for letter in text):
        raise wrong(field, "must not contain line breaks or control characters")


def _name(thing: Any, name: str, field: str, _now: float) -> None:
    check_text(getattr(thing, name), field)


def _reference(thing: Any, name: str, field: str, _now: float) -> None:
    if id := getattr(thing, name):
        check_id(id, field)


def _role(thing: Any, name: str, field: str, _now: float) -> None:
    if getattr(thing, name) not in AccessRole.values():
        raise wrong(field, "must be ACCESS_ROLE_USER or ACCESS_ROLE_ADMIN")


def _expiry(thing: Any, name: str, field: str, now: float) -> None:
    if not thing.HasField(name):
        return
    check_time(getattr(thing, name), field)
    if seconds_of(getattr(thing, name)) <= now:
        raise wrong(field, "must be in the future; to end a key now, revoke it")


def _limits(thing: Any, name: str, field: str, _now: float) -> None:
    limits: Limits = getattr(thing, name)
    for descriptor, value in limits.ListFields():
        if not 0 <= value <= _MOST:
            raise wrong(f"{field}.{descriptor.name}", f"must be from 0 to {_MOST}")


def _allowed(thing: Any, name: str, field: str, _now: float) -> None:
    allowed: Allowed = getattr(thing, name)
    for descriptor, values in allowed.ListFields():
        at = f"{field}.{descriptor.name}"
        if len(values) > _MANY:
            raise wrong(at, f"must not have more than {_MANY} items")
        for index, value in enumerate(values):
            if not value:
                raise wrong(f"{at}[{index}]", "must not be empty")
            check_text(value, f"{at}[{index}]")
    for index, network in enumerate(allowed.source_networks):
        _network(network, f"{field}.source_networks[{index}]")


def _network(text: str, field: str) -> None:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        what = "must be a network such as 10.0.0.0/8 or 2001:db8::/32, with no bits set behind it"
        raise wrong(field, what) from None


_CHECKS: Final[dict[str, Callable[[Any, str, str, float], None]]] = {
    "display_name": _name,
    "organization": _reference,
    "team": _reference,
    "user": _reference,
    "role": _role,
    "expire_time": _expiry,
    "limits": _limits,
    "allowed": _allowed,
}
"""What checks a field, by its name, of whatever thing it is."""
