"""Work that is done again and again beside the calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context

from structlog.typing import FilteringBoundLogger

from loom_grpc.telemetry.log import frames

Step = Callable[[], Awaitable[object]]


def again_and_again(work: Step, due: Step, log: FilteringBoundLogger) -> asyncio.Task[None]:
    """Starts to do the work until cancelled, each time after `due` has returned; a failure is told once and does not end it."""
    # An empty context: the work belongs to no call.
    return asyncio.get_running_loop().create_task(_repeat(work, due, log), context=Context())


async def _repeat(work: Step, due: Step, log: FilteringBoundLogger) -> None:
    failing = False
    while True:
        await due()
        try:
            await work()
            failing = False
        except Exception as error:  # noqa: BLE001 - a background loop: the next time may go well
            if not failing:
                fields = {"work": work.__qualname__, "exception": frames(error, messages=True)}
                log.error("background_work_failed", **fields)  # noqa: TRY400 - the fields have the exception
            failing = True
