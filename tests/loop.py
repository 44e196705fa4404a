"""The event loop as tests look at it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from unittest.mock import patch


class Clock:
    """The time of the running event loop, which stands still until it is told to go on."""

    def __init__(self) -> None:
        self._now = asyncio.get_running_loop().time()

    def __call__(self) -> float:
        return self._now

    def go_on(self, seconds: float) -> None:
        """Makes it later; what is due then happens at the next turn of the event loop."""
        self._now += seconds


async def quickest(measure: Callable[[], Awaitable[float]], times: int = 5) -> float:
    """Measures a time again and again, and returns the shortest: a busy machine only ever adds to it."""
    return min([await measure() for _ in range(times)])


async def settle() -> None:
    """Lets everything happen that can happen now."""
    for _ in range(20):
        await asyncio.sleep(0)


@asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """Fails what leaves a task behind, or an exception that nobody has seen."""
    loop = asyncio.get_running_loop()
    unseen: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: unseen.append(context))
    before = asyncio.all_tasks()

    yield

    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    await settle()
    gc.collect()
    await settle()
    assert (left, unseen) == (set(), [])


@contextmanager
def standing_still() -> Iterator[Clock]:
    """Gives the running event loop a clock that a test moves, so that no time limit depends on how busy the machine is."""
    clock = Clock()
    with patch.object(asyncio.get_running_loop(), "time", clock):
        yield clock
