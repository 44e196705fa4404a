"""Framing without I/O: bytes in any cut, whole events out."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import orjson

from loom_grpc.core.errors import PROVIDER_BAD_RESPONSE, LlmError

MAX_EVENT_BYTES: Final = 64 * 1024 * 1024
"""The most bytes that one event may have before the answer is refused."""

_BOM: Final = b"\xef\xbb\xbf"


class Frame(NamedTuple):
    """One event: its name, empty where the framing has none, its data, and the data's JSON value where the framer knows it."""

    name: bytes
    data: bytes
    value: object = None


class SseFramer:
    """Splits server-sent events by the WHATWG rules (html.spec.whatwg.org, section 9.2.6, seen 2026-11-21).

    Differs in one thing: an event at the very end without its blank line counts, because providers leave it out. Lines that are no
    field at all are kept in `stray`: some providers write a bare JSON error into an event stream.
    """

    def __init__(self) -> None:
        self._pending = b""
        self._name = b""
        self._data: list[bytes] = []
        self._size = 0
        self._at_start = True
        self.stray: list[bytes] = []

    def feed(self, chunk: bytes) -> list[Frame]:
        """Takes the next bytes and returns the events that they complete."""
        if b"\n" not in chunk and b"\r" not in chunk:
            self._hold(self._pending + chunk)
            return []
        text = self._pending + chunk
        if b"\r" in text:
            text = _unify_line_ends(text)
        *lines, rest = text.split(b"\n")
        self._hold(rest)
        return self._read(lines)

    def end(self) -> list[Frame]:
        """Returns the event that the end of the bytes completes, if there is one."""
        lines = [*self._pending.rstrip(b"\r").split(b"\r"), b""]
        self._pending = b""
        return self._read(lines)

    def _hold(self, rest: bytes) -> None:
        _refuse_oversize(self._size + len(rest))
        self._pending = rest

    def _read(self, lines: list[bytes]) -> list[Frame]:
        if self._at_start and lines:
            lines[0] = lines[0].removeprefix(_BOM)
            self._at_start = False
        frames: list[Frame] = []
        for line in lines:
            if not line:
                self._dispatch(frames)
            elif line.startswith(b"data:"):
                self._add_data(line[6:] if line[5:6] == b" " else line[5:])
            else:
                self._read_other(line)
        return frames

    def _add_data(self, value: bytes) -> None:
        self._size += len(value)
        _refuse_oversize(self._size)
        self._data.append(value)

    def _dispatch(self, frames: list[Frame]) -> None:
        if self._data:
            frames.append(Frame(self._name, self._data[0] if len(self._data) == 1 else b"\n".join(self._data)))
            self._data = []
            self._size = 0
        self._name = b""

    def _read_other(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        if field == b"event":
            self._name = value.removeprefix(b" ")
        elif field == b"data":
            self._add_data(b"")
        elif field not in _IGNORED_FIELDS:
            self._size += len(line)
            _refuse_oversize(self._size)
            self.stray.append(line)


_IGNORED_FIELDS: Final = frozenset({b"", b"id", b"retry"})
"""An empty name is a comment."""


def _unify_line_ends(text: bytes) -> bytes:
    """Turns CRLF and CR into LF, except a CR at the end, which may be half of a CRLF."""
    if text.endswith(b"\r"):
        return _unify_line_ends(text[:-1]) + b"\r" if len(text) > 1 else text
    return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


class BodyFramer:
    """Takes a whole body as one event."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._size = 0
        self.stray: list[bytes] = []

    def feed(self, chunk: bytes) -> list[Frame]:
        """Keeps the bytes."""
        self._size += len(chunk)
        _refuse_oversize(self._size)
        self._chunks.append(chunk)
        return []

    def end(self) -> list[Frame]:
        """Returns the body, if there is one."""
        body = b"".join(self._chunks)
        return [Frame(b"", body)] if body else []


class JsonFramer:
    """Splits JSON objects that follow each other: one body, newline-delimited, or the elements of an array."""

    def __init__(self) -> None:
        self._pending = b""
        self._position = 0
        self._depth = 0
        self._start = 0
        self._in_string = False
        self.stray: list[bytes] = []

    def feed(self, chunk: bytes) -> list[Frame]:
        """Takes the next bytes and returns the objects that they complete."""
        if not self._pending and (value := _whole_object(chunk)) is not None:
            return [Frame(b"", chunk, value)]
        self._pending += chunk
        _refuse_oversize(len(self._pending))
        return self._scan()

    def end(self) -> list[Frame]:
        """Hands out what is left, which is no whole object and so will not parse."""
        rest = self._pending.strip(b" \t\r\n,[]")
        self._pending = b""
        return [Frame(b"", rest)] if rest else []

    def _scan(self) -> list[Frame]:
        frames: list[Frame] = []
        while match := _TOKEN.search(self._pending, self._position):
            self._position = match.end()
            self._step(match[0], match.start(), frames)
        # A backslash at the end is half of an escape: it is read again with the byte after it.
        half = self._position < len(self._pending) and self._pending.endswith(b"\\")
        self._position = len(self._pending) - half
        if not self._depth:
            self._drop_spent()
        return frames

    def _step(self, token: bytes, at: int, frames: list[Frame]) -> None:
        if self._in_string:
            if token == b'"':
                self._in_string = False
        elif token == b'"':
            self._in_string = True
        elif token == b"{":
            if not self._depth:
                self._start = at
            self._depth += 1
        elif token == b"}" and self._depth:
            self._depth -= 1
            if not self._depth:
                frames.append(Frame(b"", self._pending[self._start : at + 1]))
                self._start = at + 1

    def _drop_spent(self) -> None:
        self._pending = self._pending[self._start :].lstrip(b" \t\r\n,[]")
        self._position = len(self._pending)
        self._start = 0


_TOKEN: Final = re.compile(rb'[{}"]|\\.', re.DOTALL)


def _whole_object(chunk: bytes) -> object:
    """The common case, one whole object in one read, without the scan."""
    if not chunk.startswith(b"{"):
        return None
    try:
        return orjson.loads(chunk)
    except orjson.JSONDecodeError:
        return None


def _refuse_oversize(size: int) -> None:
    if size > MAX_EVENT_BYTES:
        raise LlmError(PROVIDER_BAD_RESPONSE, f"The provider sent an event of more than {MAX_EVENT_BYTES} bytes.")
