"""One call upstream that several callers share: each gets all of its events, at its own pace."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from loom_grpc.core.call import Call, Handler, Send
from loom_grpc.core.errors import PROVIDER_TIMEOUT, LlmError, server_draining
from loom_grpc.v1.llm_service_pb2 import LlmEvent

_EVENT_BYTES: Final = 256
"""What an event takes beside its content, roughly."""
_OF_ALL: Final = ("provider", "model", "answer", "dropped")
"""What the stages find out about a call, which everybody is told."""
_OF_THE_FIRST: Final = (*_OF_ALL, "account", "attempt", "refusals", "upstream_s", "first_content_s")
"""What the one who began the flight is told."""


class _Reader:
    """One caller's place in the events."""

    __slots__ = ("position",)

    def __init__(self) -> None:
        self.position = 0


class Flight:
    """A call that is under way for everybody who reads it, and cancelled upstream when nobody does any more.

    It has no deadline, because each reader has its own. Events are kept up to `room` bytes for who is slow or comes later; beyond that
    nobody may join, and the answer comes no faster than the slowest reader takes it. `on_close` is told once nobody may join any more.
    """

    def __init__(self, call: Call, handler: Handler, *, room: int, on_close: Callable[[Flight], None]) -> None:
        self.call = replace(call, deadline=math.inf)
        self._room = room
        self._on_close = on_close
        self._is_open = True
        self._events: deque[LlmEvent] = deque()
        self._size = 0
        self._dropped = 0
        """How many events went before those that are kept."""
        self._readers: set[_Reader] = set()
        self._news = asyncio.Event()
        """Set, and replaced by another, when there is something to read."""
        self._moved = asyncio.Event()
        self._task = asyncio.ensure_future(handler(self.call, self._take))
        self._task.add_done_callback(self._landed)

    @property
    def failure(self) -> BaseException | None:
        """What a flight that is over failed for."""
        return server_draining() if self._task.cancelled() else self._task.exception()

    async def follow(self, call: Call, send: Send, *, leads: bool = False) -> None:
        """Passes all events on until the flight is over, well or not.

        Raises `LlmError` (PROVIDER_TIMEOUT) at the caller's own deadline. Cancelling it cancels the flight when nobody else reads.
        """
        reader = _Reader()
        self._readers.add(reader)
        limit = asyncio.timeout_at(None if call.deadline == math.inf else call.deadline)
        try:
            async with limit:
                await self._read(reader, call, send, leads=leads)
        except TimeoutError:
            if not limit.expired():
                raise
            raise LlmError(
                PROVIDER_TIMEOUT, "The caller's deadline passed before the provider's answer was complete."
            ) from None
        finally:
            await self._leave(reader)
            self._tell(call, leads=leads)

    async def _read(self, reader: _Reader, call: Call, send: Send, *, leads: bool) -> None:
        now = asyncio.get_running_loop().time
        while True:
            if reader.position < self._dropped + len(self._events):
                self._tell(call, leads=leads)
                call.responded = True
                await send(self._events[reader.position - self._dropped])
                reader.position += 1
                self._moved.set()
            elif self._task.done():
                self._close()  # a turn of the event loop before `_landed` does
                return
            else:
                began = now()
                try:
                    await self._news.wait()
                finally:
                    call.upstream_s += now() - began

    async def _leave(self, reader: _Reader) -> None:
        self._readers.discard(reader)
        self._moved.set()
        if not self._readers and not self._task.done():
            self._close()
            self._task.cancel()
            await asyncio.wait((self._task,))
        if self._task.done() and not self._task.cancelled():
            self._task.exception()  # or asyncio complains that nobody looked

    async def _take(self, event: LlmEvent) -> None:
        """Takes the next event of the answer; waits only while more than there is room for is unread."""
        self._events.append(event)
        self._size += event.ByteSize() + _EVENT_BYTES
        self._wake()
        while self._size > self._room:
            self._close()
            self._drop()
            if self._size > self._room:
                self._moved.clear()
                await self._moved.wait()

    def _drop(self) -> None:
        """Forgets what everybody has read."""
        read = min((reader.position for reader in self._readers), default=self._dropped)
        while self._dropped < read:
            self._size -= self._events.popleft().ByteSize() + _EVENT_BYTES
            self._dropped += 1

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _landed(self, _task: asyncio.Task[None]) -> None:
        self._close()
        self._wake()

    def _close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._on_close(self)

    def _tell(self, call: Call, *, leads: bool) -> None:
        """Tells a reader's call what the flight has found out; attempts and accounts are those of the one who began it."""
        for name in _OF_THE_FIRST if leads else _OF_ALL:
            setattr(call, name, getattr(self.call, name))
