"""Work that is done again and again beside the calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from structlog.typing import FilteringBoundLogger

from loom_grpc.telemetry.log import frames


async def again_and_again(
    work: Callable[[], Awaitable[None]], due: Callable[[], Awaitable[object]], log: FilteringBoundLogger
) -> None:
    """Does the work until cancelled, each time after `due` has returned; a failure is told once and does not end it."""
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
