"""The state machine that every dialect's reader runs in: bytes in, events out, and one verdict at the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final

import orjson

from loom_grpc.core import exact
from loom_grpc.core.errors import PROVIDER_BAD_RESPONSE, LlmError
from loom_grpc.core.events import Answer
from loom_grpc.core.sse import BodyFramer, Frame, JsonFramer, SseFramer
from loom_grpc.v1.llm_service_pb2 import LlmEvent, LlmResponse

_SHAPE_ERRORS: Final = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What reading JSON of an unexpected shape raises."""


class Decoder(ABC):
    """Reads one answer. It is over when `ended` or `failure` is set, and exactly one of them will be.

    A dialect says in `read` what one JSON value means, calls `finish` when the provider's end marker comes, and tells by `complete`
    whether the answer is whole when the bytes stop without that marker. `all_text` says that the arguments of calls come as text,
    where no number can be rounded.
    """

    def __init__(self, answer: Answer, framer: BodyFramer | JsonFramer | SseFramer, *, all_text: bool = False) -> None:
        self.answer = answer
        self.ended = False
        self.failure: LlmError | None = None
        self.torn = b""
        """What there is of an event that the end of the bytes cut in two."""
        self._framer = framer
        self._loads: Callable[[bytes], Any] = orjson.loads if all_text else exact.loads
        self._fed = False
        self.keeps_native = False
        """Whether the events carry what the provider wrote (`LlmEvent.native_json`)."""
        self._kept: list[LlmEvent] = []
        self._begun = False

    @abstractmethod
    def read(self, name: bytes, value: dict[str, Any]) -> None:
        """Takes one event's JSON object; raises `LlmError` when the provider reports a failure."""

    @abstractmethod
    def complete(self) -> bool:
        """Tells whether the answer is whole although no end marker came."""

    @abstractmethod
    def finish(self) -> None:
        """Completes the answer and sets `ended`."""

    def read_marker(self, data: bytes) -> bool:
        """Takes data that is not JSON, such as `[DONE]`; returns whether the dialect knows it."""
        return False

    def read_stray(self, lines: list[bytes]) -> None:
        """Takes lines that are no event; raises `LlmError` when they tell of a failure, and passes over anything else."""
        value = self._try_loads(b"\n".join(lines))
        if isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, dict) and "error" in value:
            self.read(b"", value)

    def feed(self, chunk: bytes) -> list[LlmEvent]:
        """Takes the next bytes and returns the events that they complete."""
        return self._guard(self._feed, chunk)

    def end(self, cause: LlmError | None = None) -> list[LlmEvent]:
        """Takes the end of the bytes, with the reason when they broke off, and gives the verdict."""
        return self._guard(self._end, cause)

    def fragment(self) -> LlmResponse | None:
        """Returns what there is of an answer that was not completed."""
        if self.failure is not None and self.failure.partial is not None:
            return self.failure.partial
        try:
            return self.answer.partial()
        except _SHAPE_ERRORS:
            return None

    def _feed(self, chunk: bytes) -> None:
        self._fed = self._fed or bool(chunk)
        for frame in self._framer.feed(chunk):
            self._read(frame)
            if self.ended:
                return

    def _end(self, cause: LlmError | None) -> None:
        for frame in self._framer.end():
            if self.ended or _blank(frame.data) or self.read_marker(frame.data):
                continue
            value = self._try_loads(frame.data)
            if isinstance(value, dict):
                self.read(frame.name, value)
                if self.keeps_native:
                    self._keep(frame)
            else:
                self.torn = frame.data
        if not self.ended and self._framer.stray:
            self.read_stray(self._framer.stray)
        if not self.ended:
            if not self.complete():
                raise cause or self._truncated()
            self.finish()

    def _read(self, frame: Frame) -> None:
        value = frame.value
        if value is None:
            if _blank(frame.data) or self.read_marker(frame.data):
                return
            value = self._loads(frame.data)
        if not isinstance(value, dict):
            raise TypeError(type(value).__name__)
        self.read(frame.name, value)
        if self.keeps_native:
            self._keep(frame)

    def _keep(self, frame: Frame) -> None:
        """Puts what the provider wrote beside what it means."""
        events = self._after_start() or [LlmEvent()]
        events[0].native_json = frame.data
        self._kept += events

    def _take(self) -> list[LlmEvent]:
        """Returns the events since the last time; none before the answer has begun, as it may yet fail and be asked for again."""
        if not self.keeps_native:
            return self.answer.take()
        self._kept += self._after_start()
        if not self._begun:
            return []
        kept, self._kept = self._kept, []
        return kept

    def _after_start(self) -> list[LlmEvent]:
        """Returns the newest events but `started`, which is our own and goes before all that was kept."""
        events = self.answer.take()
        if events and events[0].HasField("started"):
            self._kept.insert(0, events.pop(0))
            self._begun = True
        return events

    def _guard(self, step: Any, argument: object) -> list[LlmEvent]:
        if self.ended or self.failure is not None:
            return []
        try:
            step(argument)
            return self._take()
        except LlmError as error:
            return self._fail(error)
        except _SHAPE_ERRORS as error:
            detail = f"{type(error).__name__}: {error}"
            return self._fail(LlmError(PROVIDER_BAD_RESPONSE, "The provider's answer is malformed.", detail=detail))

    def _fail(self, error: LlmError) -> list[LlmEvent]:
        """Sets the failure and returns the events before it, as far as what is malformed lets them be made."""
        self.failure = error
        try:
            error.partial = self.answer.partial()
            return self._take()
        except _SHAPE_ERRORS:
            return []

    def _truncated(self) -> LlmError:
        if not self._fed:
            return LlmError(PROVIDER_BAD_RESPONSE, "The provider's answer is empty.")
        return LlmError(PROVIDER_BAD_RESPONSE, "The provider's answer ended before it was complete.")

    def _try_loads(self, data: bytes) -> object:
        """Reads JSON; None when it is none."""
        try:
            return self._loads(data)
        except ValueError:
            return None


def _blank(data: bytes) -> bool:
    """Tells whether there is nothing in an event, which then is a sign of life and no more."""
    return not data or data.isspace()
