"""Hold-back: the beginning of a stream waits here for a while, so that an answer that breaks off early can begin anew unseen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from types import TracebackType
from typing import Self

from loom_grpc.core.call import Call, Send
from loom_grpc.core.estimate import BYTES_PER_TOKEN
from loom_grpc.v1.llm_service_pb2 import LlmEvent


class HoldBack:
    """Holds the events of a stream back until they have `tokens` tokens, or for `seconds` from the first one on, and then lets all go.

    The call's `held` says so from the beginning on. While it does, an answer may begin anew: the first event of another attempt, or another
    `started`, replaces what is held. When the time is over before that comes, what is left of the answer that broke off is not sent if the
    call's `responded` was set back meanwhile. An async context manager: leaving it with an error drops what is held, and nothing of the
    call was sent then. Tokens are guessed as `core.estimate` does.
    """

    def __init__(self, call: Call, send: Send, *, tokens: int, seconds: float) -> None:
        self._call = call
        self._send = send
        self._seconds = seconds
        self._bytes = self._bytes_left = tokens * BYTES_PER_TOKEN
        self._held: list[LlmEvent] = []
        self._attempt = call.attempt
        self._has_begun = False
        self._timer: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._holds = call.held = True
        self._passes = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._flushing is not None:
            await self._end_flushing(self._flushing, error)
        elif self._holds:
            self._let_go()
            if error is None:
                await self._flush()
            else:
                self._call.responded = False

    def send(self, event: LlmEvent) -> Awaitable[object]:
        """Takes the next event. Raises what sending raises, that of earlier events too.

        Not a coroutine, so that an event that passes costs no frame.
        """
        return self._send(event) if self._passes else self._take(event)

    async def _take(self, event: LlmEvent) -> None:
        if self._flushing is not None:
            await asyncio.wait((self._flushing,))  # goes on where this is cancelled
            self._flushing.result()
        if not self._holds:
            await self._send(event)
            return
        self._hold(event)
        if self._bytes_left <= 0:
            self._let_go()
            await self._flush()

    def _hold(self, event: LlmEvent) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._time_is_over)
        begins = event.HasField("started")
        # An answer in the provider's own words has events before `started`, and not all that answer count attempts.
        if self._call.attempt != self._attempt or (begins and self._has_begun):
            self._held.clear()
            self._bytes_left = self._bytes
            self._has_begun = False
        self._attempt = self._call.attempt
        self._has_begun = self._has_begun or begins
        self._held.append(event)
        self._bytes_left -= self._size(event)
        self._call.responded = True

    def _size(self, event: LlmEvent) -> int:
        """Returns the bytes that count; what ends the answer, or waits for the caller, counts as enough."""
        kind = event.WhichOneof("event")
        if kind is None or kind == "started":
            return 0
        if kind == "text_delta":
            return len(event.text_delta.content.encode())
        if kind == "thinking_delta":
            return len(event.thinking_delta.content.encode())
        if kind == "tool_call_delta":
            return len(event.tool_call_delta.arguments_fragment.encode())
        return event.part.ByteSize() if kind == "part" else self._bytes

    def _time_is_over(self) -> None:
        """Runs when what is held has waited for long enough, also while the provider is silent."""
        if not self._call.responded:
            self._held.clear()  # the answer that it was of has broken off
        self._let_go()
        self._flushing = asyncio.ensure_future(self._flush())

    def _let_go(self) -> None:
        """Ends the holding: from here on the answer may not begin anew."""
        self._holds = self._call.held = False
        if self._timer is not None:
            self._timer.cancel()

    async def _flush(self) -> None:
        """Sends what was held; after it everything passes."""
        held, self._held = self._held, []
        for event in held:
            await self._send(event)
        self._passes = True

    async def _end_flushing(self, flushing: asyncio.Task[None], error: BaseException | None) -> None:
        """Waits until what was held is sent, unless it is the caller who ends the call; raises what sending it raised."""
        is_cancelled = error is not None and not isinstance(error, Exception)
        if is_cancelled:
            flushing.cancel()
        (outcome,) = await asyncio.gather(flushing, return_exceptions=True)
        if outcome is not None and outcome is not error and not is_cancelled:
            raise outcome
