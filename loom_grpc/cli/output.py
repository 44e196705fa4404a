"""Writing for people at a terminal and for programs behind a pipe, and the exit codes."""

from __future__ import annotations

import io
import os
import sys
from typing import Final, TextIO

FAILED: Final = 1
MISUSED: Final = 2
ABORTED: Final = 130
"""128 and the number of SIGINT, as shells write it."""
PIPE_CLOSED: Final = 141
"""128 and the number of SIGPIPE."""

# What a terminal would take for commands. Line breaks and tabs are text.
_CONTROLS: Final = {
    code: "\N{REPLACEMENT CHARACTER}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"
}


class UsageError(Exception):
    """What is wrong with what the user gave, and what to do."""


class LocalError(Exception):
    """What went wrong on this side, though the user and the server did as they should."""


def say(text: str) -> None:
    """Writes a result."""
    print(text, flush=True)  # noqa: T201


def say_file(text: str) -> None:
    """Writes a piece of what is meant for a file: in UTF-8 and as it is, unless it goes to a terminal."""
    if sys.stdout.isatty():
        sys.stdout.write(harmless(text.replace("\r\n", "\n")))
    else:
        sys.stdout.buffer.write(text.encode())


def error(message: str) -> None:
    """Writes what went wrong in one line."""
    note(f"error: {one_line(message)}")


def warning(message: str) -> None:
    """Writes what may go wrong in one line."""
    note(f"warning: {one_line(message)}")


def note(message: str) -> None:
    """Writes a line that does not belong to the result."""
    print(message, file=sys.stderr)  # noqa: T201


def one_line(text: str) -> str:
    """Puts a text on one line that does nothing to a terminal."""
    return " ".join(text.split()).translate(_CONTROLS)


def harmless(text: str) -> str:
    """Replaces what a terminal would take for commands."""
    return text.translate(_CONTROLS)


def span(seconds: float) -> str:
    """Writes a time span in its two largest units, such as `1 h 12 min`."""
    left = max(0, round(seconds))
    if left < 60:
        return f"{left} s"
    minutes = round(left / 60)
    parts = ((minutes // 1440, "d"), (minutes // 60 % 24, "h"), (minutes % 60, "min"))
    return " ".join([f"{number} {unit}" for number, unit in parts if number][:2])


def tolerate_any_text() -> None:
    """Lets text that the terminal's encoding lacks be written as question marks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def leave_pipe() -> None:
    """Sends what is still to be written nowhere, since nobody reads it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())


def takes_colour(stream: TextIO) -> bool:
    """Tells whether a stream is a terminal that shows faint text and whose user wants it (no-color.org, seen 2026-11-21)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
