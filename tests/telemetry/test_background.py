"""Work beside the calls."""

from __future__ import annotations

import asyncio

import pytest

from loom_grpc.telemetry.background import again_and_again
from tests.telemetry.lines import Log, telemetry


async def test_a_failure_is_told_once_and_ends_nothing() -> None:
    log = Log()
    outcomes = iter([None, OSError("disk full"), OSError("disk full"), None, OSError("disk full")])
    done = asyncio.Event()

    async def due() -> None:
        """Is due at once."""

    async def work() -> None:
        try:
            outcome = next(outcomes)
        except StopIteration:
            done.set()
            await asyncio.Event().wait()
            return
        if outcome is not None:
            raise outcome

    task = again_and_again(work, due, telemetry(log).log)
    await done.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    lines = log.lines()
    assert [line["event"] for line in lines] == ["background_work_failed"] * 2
    assert lines[0]["exception"].endswith("OSError: disk full")
