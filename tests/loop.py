"""The event loop as tests look at it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any


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
