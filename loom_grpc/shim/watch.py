"""Looks after a caller while the call is answered: it may go away, or hear nothing for long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any

from loom_grpc.shim.exchange import Exchange, Gone

OnSilence = Callable[[], Awaitable[float]]
"""Is awaited when a caller may have heard nothing for long; returns after how many seconds to await it again."""


class Watch:
    """An async context manager that cancels what runs in it as soon as the caller goes away, and raises `Gone` then."""

    __slots__ = ("_exchange", "_gone", "_on_silence", "_owner", "_task")

    def __init__(self, exchange: Exchange, on_silence: OnSilence | None = None) -> None:
        self._exchange = exchange
        self._on_silence = on_silence
        self._gone = False

    async def __aenter__(self) -> None:
        self._owner: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment] # this runs in a task
        self._task = asyncio.create_task(self._run())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        if self._gone and kind is asyncio.CancelledError:
            self._owner.uncancel()
            raise Gone from None

    async def _run(self) -> None:
        if self._on_silence is None:
            await self._exchange.gone()
        else:
            await self._break_silence(self._on_silence)
        self._gone = True
        self._owner.cancel()

    async def _break_silence(self, on_silence: OnSilence) -> None:
        """Waits as `Exchange.gone` does, and calls `on_silence` in between."""
        while True:
            pause_s = await on_silence()
            try:
                async with asyncio.timeout(pause_s):
                    await self._exchange.gone()
            except TimeoutError:
                continue
            return
