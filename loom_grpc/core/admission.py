"""Lets only so many calls at a time reach a target; the others wait in a line that is not endless."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from loom_grpc.core.errors import RATE_LIMITED, LlmError

_RETRY_AFTER_S: Final = 1.0
"""Nobody knows when an answer ends; a second is long enough for a caller not to be a nuisance."""


class Admission:
    """Admits `most` calls at a time, and lets `queue` more wait for their turn, first come first served.

    A call that leaves hands its place to the first in the line, so nobody who comes later can take it. Errors call the target `name`.
    """

    def __init__(self, most: int, queue: int, *, name: str = "the target") -> None:
        self.inside = 0
        """How many calls are admitted now."""
        self._most = most
        self._queue = queue
        self._name = name
        self._line: dict[asyncio.Future[None], None] = {}  # in order; a dict, because some leave early

    @property
    def waiting(self) -> int:
        """How many calls wait for their turn."""
        return len(self._line)

    @asynccontextmanager
    async def enter(self, timeout_s: float | None = None) -> AsyncIterator[None]:
        """Admits a call for as long as the context lasts.

        Raises `LlmError` (`RATE_LIMITED`) when the line is full, or when no place was free for `timeout_s` seconds; None waits for ever.
        Who is cancelled while waiting leaves the line.
        """
        if self.inside < self._most:
            self.inside += 1
        else:
            await self._wait(timeout_s)
        try:
            yield
        finally:
            self._leave()

    async def _wait(self, timeout_s: float | None) -> None:
        """Waits in the line for the place of another call."""
        if len(self._line) >= self._queue:
            waiting = f"and {self._queue} wait" if self._queue else "and none may wait"
            raise self._refusal(f"{self._most} calls to {self._name} are under way {waiting}; try again later.")
        turn = asyncio.get_running_loop().create_future()
        self._line[turn] = None
        try:
            async with asyncio.timeout(timeout_s):
                await turn
        except BaseException as error:
            self._give_up(turn)
            if not isinstance(error, TimeoutError):
                raise
            words = f"A call to {self._name} waited {timeout_s:g} s for its turn, with {self._most} under way; try again later."
            raise self._refusal(words) from None

    def _give_up(self, turn: asyncio.Future[None]) -> None:
        """Leaves the line; the place that was handed over a moment too late goes to the next one."""
        self._line.pop(turn, None)
        if turn.done() and not turn.cancelled():
            self._leave()

    def _leave(self) -> None:
        """Hands a place to the first who still waits for it."""
        while self._line:
            turn = next(iter(self._line))
            del self._line[turn]
            if not turn.done():
                turn.set_result(None)
                return
        self.inside -= 1

    def _refusal(self, message: str) -> LlmError:
        return LlmError(RATE_LIMITED, message, retry_after=_RETRY_AFTER_S, target=self._name)
