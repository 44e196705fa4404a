"""The log: structured lines on standard error, ours and those of the libraries, as JSON or for people."""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, BinaryIO, Final

import orjson
import structlog
from structlog.typing import FilteringBoundLogger, Processor, WrappedLogger

from loom_grpc.config import LogConfig
from loom_grpc.telemetry import redact

REQUEST_ID: Final[ContextVar[str]] = ContextVar("request_id", default="")
"""The call that the running code works for: lines of libraries carry it too. Only the id, so that no request is kept alive."""

_MOST_FRAMES: Final = 40

Fields = MutableMapping[str, Any]


def make_log(config: LogConfig, blackener: redact.Blackener, stream: BinaryIO | None = None) -> FilteringBoundLogger:
    """Makes the logger of this process; without a stream it writes to standard error."""
    out = stream or sys.stderr.buffer
    console = config.format == "console" or (config.format == "auto" and out.isatty())
    render = _console(colors=out.isatty() and "NO_COLOR" not in os.environ) if console else [_json]
    log: FilteringBoundLogger = structlog.wrap_logger(
        _Lines(out, blackener),
        processors=[_add_request_id, *render],
        wrapper_class=structlog.make_filtering_bound_logger(level_of(config)),
        cache_logger_on_first_use=True,
    )
    return log


def level_of(config: LogConfig) -> int:
    """Returns the level as the standard library numbers it."""
    return logging.getLevelNamesMapping()[config.level.upper()]


def frames(error: BaseException, *, messages: bool = False) -> str:
    """Writes where an exception and its causes come from; without their messages, which may repeat what callers sent."""
    parts: list[str] = []
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        stack = "".join(traceback.format_tb(cause.__traceback__, -_MOST_FRAMES))
        parts.append(f"{stack}{type(cause).__qualname__}{f': {cause}' if messages else ''}")
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return "\n\n".join(reversed(parts))


class LibraryLines(logging.Handler):
    """Takes what libraries log, from warnings on, into our log. `prompts` lets the messages of exceptions through."""

    def __init__(self, log: FilteringBoundLogger, *, prompts: bool) -> None:
        super().__init__(logging.WARNING)
        self._log = log
        self._prompts = prompts

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a record as a line of ours."""
        try:
            fields = {"logger": record.name}
            error = record.exc_info[1] if record.exc_info else None
            if error is not None:
                fields["exception"] = frames(error, messages=self._prompts)
            level = min(record.levelno // 10 * 10, logging.CRITICAL)
            self._log.log(level, redact.line(record.getMessage()), **fields)
        except Exception:  # noqa: BLE001 - as every handler of the standard library: a bad record is told and passed over
            self.handleError(record)


class _Lines:
    """Writes finished lines, with every known secret blackened."""

    def __init__(self, stream: BinaryIO, blackener: redact.Blackener) -> None:
        self._stream = stream
        self._blacken = blackener.blacken
        self.debug = self.info = self.warning = self.error = self.critical = self.msg

    def msg(self, line: bytes) -> None:
        """Writes a line; one that cannot be written is lost, for nobody is left to be told."""
        with suppress(OSError, ValueError):
            self._stream.write(self._blacken(line))
            self._stream.flush()


def _add_request_id(_logger: WrappedLogger, _method: str, fields: Fields) -> Fields:
    request_id = REQUEST_ID.get()
    if request_id and "request_id" not in fields:
        fields["request_id"] = request_id
    return fields


def _json(_logger: WrappedLogger, method: str, fields: Fields) -> bytes:
    row = {"time": datetime.now(UTC), "level": method, "event": fields.pop("event"), **fields}
    try:
        return orjson.dumps(row, default=str, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z)
    except orjson.JSONEncodeError:  # half a character pair, or a number of more than 64 bits
        return json.dumps(row, default=str, ensure_ascii=False).encode(errors="replace") + b"\n"


def _console(*, colors: bool) -> list[Processor]:
    render = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)

    def encode(logger: WrappedLogger, method: str, fields: Fields) -> bytes:
        shown: Mapping[str, Any] = {key: _printable(key, value) for key, value in fields.items()}
        return (render(logger, method, dict(shown)) + "\n").encode(errors="backslashreplace")

    return [structlog.processors.add_log_level, structlog.processors.TimeStamper("%H:%M:%S", utc=False), encode]


def _printable(key: str, value: Any) -> Any:
    """Keeps a terminal from obeying what somebody wrote into a name."""
    if not isinstance(value, str) or value.isprintable():
        return value
    lines = value.split("\n") if key == "exception" else [value]
    return "\n".join("".join(char if char.isprintable() else repr(char)[1:-1] for char in line) for line in lines)
