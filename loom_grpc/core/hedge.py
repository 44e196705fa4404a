"""Hedging: when one target is silent for long, a second one is asked beside it, and who begins to answer first is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import fields, replace
from time import perf_counter
from typing import Final

from loom_grpc.core.call import Call, Handler, Send
from loom_grpc.core.errors import LlmError
from loom_grpc.v1.llm_service_pb2 import LlmEvent

_OF_BOTH: Final = {"attempt", "refusals", "upstream_s", "held", "bill", "is_recorded"}
"""What a call says of both who are asked, or of what its caller has seen; all the rest is the winner's."""
_OF_ONE: Final = [field.name for field in fields(Call) if field.name not in _OF_BOTH]
_LEAVING_S: Final = 0.02
"""How long the winner's first event waits for the other one to let go of the call, and to say what it used; that takes a turn of the event
loop, and more only for a handler that is slow to clean up."""


async def hedge(
    call: Call,
    send: Send,
    first: Handler,
    second: Handler,
    *,
    after_s: float,
    may: Callable[[], bool],
    clock: Callable[[], float] = perf_counter,
) -> None:
    """Asks `first`, and `second` beside it once it has sent nothing for `after_s` seconds, if `may` allows it, which is asked at most once.

    Who sends the first event is kept, or where there are none, as with vectors, who is done first; the other one is cancelled at once, and
    has ended when this returns. `first` has the call itself and `second` a copy; from the winner's first event on, the call tells of the
    winner and counts the attempts of both. Raises the winner's error, the one of `first` when it fails alone, and when both fail the last
    one. Cancelling cancels both and waits for their end.
    """
    race = _Race(call, send, second, may, clock)
    race.start(after_s)
    try:
        await race.run(first)
    finally:
        await race.end()
    race.check()


class _Race:
    """One hedged call. The first one runs in the caller's own task, so that a call that is answered soon costs no other."""

    def __init__(
        self, call: Call, send: Send, second: Handler, may: Callable[[], bool], clock: Callable[[], float]
    ) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - only a task awaits
        self._task = task
        self._cancelling = task.cancelling()
        self._call = call
        self._send = send
        self._second = second
        self._may = may
        self._clock = clock
        self._began = clock()
        self._before_s = call.upstream_s
        self._beside: Call | None = None
        self._task_beside: asyncio.Task[None] | None = None
        self._winner: Call | None = None
        self._is_interrupted = False

    def start(self, after_s: float) -> None:
        """Sets the time after which the second one is asked."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(after_s, self._ask_second)
        self._first_ended = loop.create_future()

    async def run(self, first: Handler) -> None:
        """Asks the first one, and hears the second one out where that is the one to answer."""
        failure: LlmError | asyncio.CancelledError | None = None
        try:
            await first(self._call, self._send_of_first)
        except (LlmError, asyncio.CancelledError) as error:
            failure = error
        finally:
            self._timer.cancel()
            self._first_ended.set_result(None)
            if self._is_interrupted:
                self._task.uncancel()
        if self._task_beside is not None and self._is_left_to_second(self._task_beside, failure):
            await self._hear(self._task_beside)
        elif failure is not None:
            raise failure

    async def end(self) -> None:
        """Ends the second one, if it was asked, and makes the call tell of both."""
        task = self._task_beside
        if task is None:
            return
        try:
            if task.cancel():
                # Hands a cancellation on, but raises it only when the task has ended.
                await asyncio.gather(task, return_exceptions=True)
        finally:
            self._settle()

    def check(self) -> None:
        """Raises what the second one met when it was cancelled, if it is neither that nor a failed call."""
        task = self._task_beside
        if task is not None and not task.cancelled() and (error := task.exception()) and not _is_usual(error):
            raise error

    def _ask_second(self) -> None:
        """Runs when the first one has been silent for long."""
        if not self._may():
            return
        self._head_start_s = self._clock() - self._began
        self._counted = self._call.attempt
        # Whether its events are still held back is not known to the copy: where it is a route, it begins nothing anew unseen.
        self._beside = replace(self._call, upstream_s=0.0, held=False)
        self._task_beside = asyncio.ensure_future(self._second(self._beside, self._send_of_second))
        self._task_beside.add_done_callback(self._second_ended)

    def _second_ended(self, task: asyncio.Task[None]) -> None:
        """Ends the first one too, where the second one is done without an event, or came to an end that nobody expects."""
        if _is_well(task):
            self._winner = self._winner or self._beside
        if self._winner is not self._call and (task.cancelled() or not isinstance(task.exception(), LlmError)):
            self._interrupt()

    def _interrupt(self) -> None:
        """Cancels the first one."""
        if not self._is_interrupted and not self._first_ended.done():
            self._is_interrupted = True
            self._task.cancel()

    def _send_of_first(self, event: LlmEvent) -> Awaitable[object]:
        """Sends an event. Not a coroutine, so that an event costs no frame more."""
        return self._send(event) if self._winner is self._call else self._first_speaks(event)

    async def _first_speaks(self, event: LlmEvent) -> None:
        if self._winner is not None:
            raise asyncio.CancelledError  # it did not heed the first one
        self._winner = self._call
        self._timer.cancel()
        if self._task_beside is not None:
            self._task_beside.cancel()
            await asyncio.wait((self._task_beside,), timeout=_LEAVING_S)
            self._count()
        await self._send(event)

    def _send_of_second(self, event: LlmEvent) -> Awaitable[object]:
        return self._send(event) if self._winner is self._beside else self._second_speaks(event)

    async def _second_speaks(self, event: LlmEvent) -> None:
        if self._winner is not None:
            raise asyncio.CancelledError  # it did not heed the first one
        self._winner = self._beside
        self._interrupt()
        # The first one's last acts are still about itself: only then does the call become the second one's.
        await asyncio.wait((self._first_ended,), timeout=_LEAVING_S)
        self._take_over()
        await self._send(event)

    def _is_left_to_second(self, task: asyncio.Task[None], failure: BaseException | None) -> bool:
        """Tells, when the first one has ended, whether the second one's end is the end of the call."""
        is_open = self._winner is None and isinstance(failure, LlmError) and (not task.done() or _is_well(task))
        return self._is_interrupted or is_open

    async def _hear(self, task: asyncio.Task[None]) -> None:
        """Waits for the second one's end."""
        if self._task.cancelling() > self._cancelling:
            raise asyncio.CancelledError  # the caller's, whatever the first one made of it
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        if outcome is not None:
            self._winner = self._beside
            raise outcome

    def _take_over(self) -> None:
        """Makes the call tell of the second one."""
        for name in _OF_ONE:
            setattr(self._call, name, getattr(self._beside, name))
        self._count()

    def _count(self) -> None:
        """Counts the second one's attempts with the others; they are not of the first one's budget."""
        assert self._beside is not None  # noqa: S101 - it was asked
        more = self._beside.attempt - self._counted
        self._counted += more
        self._call.attempt += more
        self._call.refusals += more

    def _settle(self) -> None:
        """Makes the call tell how both ended. While both were waited for, that was one wait: the second one's, if that is kept."""
        self._count()
        if self._beside is not None and self._winner is self._beside:
            alone_s = min(self._call.upstream_s - self._before_s, self._head_start_s)
            self._take_over()
            self._call.upstream_s = self._before_s + alone_s + self._beside.upstream_s


def _is_well(task: asyncio.Task[None]) -> bool:
    """Tells whether a call is answered."""
    return task.done() and not task.cancelled() and task.exception() is None


def _is_usual(error: BaseException | None) -> bool:
    return error is None or isinstance(error, LlmError)
