"""Framing without I/O: bytes in any cut, whole events out."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from loom_grpc.core import exact
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
        self._pending: list[bytes] = []
        """The pieces of a line whose end has not come."""
        self._pending_size = 0
        self._name = b""
        self._data: list[bytes] = []
        self._data_size = 0
        self._at_start = True
        self._after_cr = False
        self.stray: list[bytes] = []
        self._stray_size = 0

    def feed(self, chunk: bytes) -> list[Frame]:
        """Takes the next bytes and returns the events that they complete."""
        if self._after_cr or b"\r" in chunk:
            chunk = self._with_line_feeds(chunk)
        if b"\n" not in chunk:
            self._hold(chunk)
            return []
        *lines, rest = chunk.split(b"\n")
        if self._pending:
            lines[0] = self._release() + lines[0]
        if rest:
            self._hold(rest)
        return self._read(lines)

    def end(self) -> list[Frame]:
        """Returns the event that the end of the bytes completes, if there is one."""
        return self._read([self._release(), b""])

    def _with_line_feeds(self, chunk: bytes) -> bytes:
        """Turns CRLF and CR into LF. A CR ends its line at once: the LF of a CRLF that was cut in two is dropped when it comes."""
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
            self._after_cr = False
        if chunk:
            self._after_cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _hold(self, rest: bytes) -> None:
        self._pending_size += len(rest)
        _refuse_oversize(self._data_size + self._pending_size)
        self._pending.append(rest)

    def _release(self) -> bytes:
        line = b"".join(self._pending)
        self._pending.clear()
        self._pending_size = 0
        return line

    def _read(self, lines: list[bytes]) -> list[Frame]:
        if self._at_start:
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
        self._data_size += len(value)
        _refuse_oversize(self._data_size)
        self._data.append(value)

    def _dispatch(self, frames: list[Frame]) -> None:
        if self._data:
            frames.append(Frame(self._name, self._data[0] if len(self._data) == 1 else b"\n".join(self._data)))
            self._data = []
            self._data_size = 0
        self._name = b""

    def _read_other(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        if field == b"event":
            self._name = value.removeprefix(b" ")
        elif field == b"data":
            self._add_data(b"")
        elif field not in _IGNORED_FIELDS:
            self._stray_size += len(line)
            _refuse_oversize(self._stray_size)
            self.stray.append(line)


_IGNORED_FIELDS: Final = frozenset({b"", b"id", b"retry"})
"""An empty name is a comment."""


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
        body = b"".join(self._chunks).removeprefix(_BOM)
        return [Frame(b"", body)] if body else []


class JsonFramer:
    """Splits JSON objects that follow each other: one body, newline-delimited, or the elements of an array.

    What stands between two objects and is more than a separator is an event of its own: it is what damage left of one, and must
    not vanish.
    """

    def __init__(self) -> None:
        self._pending = bytearray()
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
        rest = bytes(self._pending.strip(_BETWEEN))
        self._pending.clear()
        return [Frame(b"", rest)] if rest else []

    def _scan(self) -> list[Frame]:
        frames: list[Frame] = []
        while match := (_INSIDE if self._depth else _OUTSIDE).search(self._pending, self._position):
            self._position = match.end()
            self._step(match[0], match.start(), frames)
        # A backslash at the end is half of an escape: it is read again with the byte after it.
        half = self._position < len(self._pending) and self._pending.endswith(b"\\")
        self._position = len(self._pending) - half
        self._drop_spent()
        return frames

    def _step(self, token: bytes | bytearray, at: int, frames: list[Frame]) -> None:
        if token == b'"':
            self._in_string = not self._in_string
        elif self._in_string:
            return
        elif token == b"{":
            if not self._depth:
                self._begin(at, frames)
            self._depth += 1
        elif token == b"}":
            self._depth -= 1
            if not self._depth:
                frames.append(Frame(b"", bytes(self._pending[self._start : at + 1])))
                self._start = at + 1

    def _begin(self, at: int, frames: list[Frame]) -> None:
        if between := self._pending[self._start : at].strip(_BETWEEN):
            frames.append(Frame(b"", bytes(between)))
        self._start = at

    def _drop_spent(self) -> None:
        """Lets go of the objects that were handed out, so that a long answer does not pile up."""
        del self._pending[: self._start]
        self._position -= self._start
        self._start = 0
        if not self._depth:
            self._pending = self._pending.lstrip(_BETWEEN)
            self._position = len(self._pending)


_OUTSIDE: Final = re.compile(rb"\{")
_INSIDE: Final = re.compile(rb'[{}"]|\\.', re.DOTALL)
_BETWEEN: Final = b" \t\r\n,[]" + _BOM
"""The bytes that may stand around objects; the mark of UTF-8 counts nowhere but in front, and does no harm elsewhere."""


def _whole_object(chunk: bytes) -> object:
    """The common case, one whole object in one read, without the scan."""
    if not chunk.startswith(b"{"):
        return None
    try:
        return exact.loads(chunk)
    except ValueError:
        return None


def _refuse_oversize(size: int) -> None:
    if size > MAX_EVENT_BYTES:
        raise LlmError(PROVIDER_BAD_RESPONSE, f"The provider sent an event of more than {MAX_EVENT_BYTES} bytes.")
