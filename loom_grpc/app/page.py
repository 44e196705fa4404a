"""Pages of lists (AIP-158): a token says behind which item the next page begins, so that what comes and goes meanwhile moves nothing."""

from __future__ import annotations

import binascii
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from google.protobuf.message import Message

from loom_grpc.core.errors import INVALID_REQUEST, LlmError

_MOST: Final = 1000
_SUM: Final = 8
"""How many letters of a token tell whether it belongs to what is asked."""
T = TypeVar("T")


def page_of(request: Any, items: Sequence[T], place: Callable[[T], str]) -> tuple[list[T], str]:
    """Returns the page that is asked for, and the token of the next one; the items are in the order of their places.

    Raises `LlmError`.
    """
    size, before = size_of(request), place_of(request)
    rest = [item for item in items if place(item) > before] if before else list(items)
    return rest[:size], token_of(request, place(rest[size - 1])) if len(rest) > size else ""


def numbered_page_of(request: Any, items: list[T]) -> tuple[list[T], str]:
    """Returns the page that is asked for of a list that does not change, and the token of the next one, which is a number.

    Raises `LlmError`.
    """
    start = _start(request.page_token)
    end = start + size_of(request)
    return items[start:end], str(end) if end < len(items) else ""


def size_of(request: Any) -> int:
    """Returns how long a page may be; raises `LlmError`."""
    if not 0 <= request.page_size <= _MOST:
        raise LlmError(INVALID_REQUEST, f"page_size: must be from 0 to {_MOST}.", field="page_size")
    return request.page_size or _MOST


def _start(token: str) -> int:
    if token and not (token.isascii() and token.isdigit() and len(token) < 10):
        raise LlmError(INVALID_REQUEST, "page_token: is not a next_page_token of this server.", field="page_token")
    return int(token or 0)


def token_of(request: Message, place: str) -> str:
    """Returns the token of the page that begins behind a place."""
    text = place.encode()
    return _sum(request, text) + urlsafe_b64encode(text).decode().rstrip("=")


def place_of(request: Any) -> str:
    """Returns behind which place the page begins, empty for the first page; raises `LlmError` for a token of another list."""
    token: str = request.page_token
    if not token:
        return ""
    place = _decoded(token[_SUM:])
    if place is None or _sum(request, place) != token[:_SUM] or not place.decode().isprintable():
        message = "page_token: is not a next_page_token of this list; ask for the first page again, without one."
        raise LlmError(INVALID_REQUEST, message, field="page_token")
    return place.decode()


def _decoded(text: str) -> bytes | None:
    try:
        place = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        place.decode()
    except (binascii.Error, ValueError):
        return None
    return place


def _sum(request: Message, place: bytes) -> str:
    """Returns what a token shows that it belongs to the list which is asked for, filters included."""
    asked: Any = type(request)()
    asked.CopyFrom(request)
    asked.ClearField("page_size")
    asked.ClearField("page_token")
    name = asked.DESCRIPTOR.name.encode()
    return f"{zlib.crc32(b' '.join([name, asked.SerializeToString(deterministic=True), place])):08x}"
