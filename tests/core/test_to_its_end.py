"""What is begun comes to its end, whoever lets go of it."""

from __future__ import annotations

import asyncio

import pytest

from loom_grpc.core.to_its_end import to_its_end


async def test_what_comes_of_the_work_is_returned() -> None:
    async def work() -> int:
        return 7

    assert await to_its_end(work()) == 7


async def test_an_error_of_the_work_is_raised() -> None:
    async def work() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await to_its_end(work())


@pytest.mark.parametrize("error", [None, ValueError("no")])
async def test_cancelling_however_often_waits_for_the_end(error: Exception | None) -> None:
    go = asyncio.Event()
    done = []

    async def work() -> None:
        await go.wait()
        done.append(True)
        if error is not None:
            raise error

    task = asyncio.create_task(to_its_end(work()))
    for _ in range(3):
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
    go.set()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [True]
