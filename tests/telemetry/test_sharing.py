"""The metrics of several workers, added up by the one that is asked."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from loom_grpc.telemetry import Telemetry
from loom_grpc.telemetry.sharing import Sharing
from tests.telemetry.lines import Log, answer, call, configuration, ignore
from tests.telemetry.test_metrics import samples, values

CALLS = {"loom_edge": "grpc", "loom_provider": "openai", "loom_reason": "OK"}


def worker(number: int, folder: Path) -> Telemetry:
    return Telemetry(configuration(), worker=number, shared=folder, stream=Log())


async def work(telemetry: Telemetry, calls: int) -> None:
    for _ in range(calls):
        await telemetry.attempt(answer)(call(stream=True), ignore)
        telemetry.finished(call(), None, 0.1, "grpc")


async def test_whichever_worker_is_asked_tells_of_all(tmp_path: Path) -> None:
    first, second = worker(0, tmp_path), worker(1, tmp_path)

    await work(first, 2)
    await work(second, 3)
    await first.close()

    assert values(second, "loom_calls_total") == [(CALLS, 5)]
    assert [value for _, value in values(second, "gen_ai_client_token_usage_sum")] == [55, 20]
    assert [value for _, value in values(second, "gen_ai_client_operation_duration_seconds_count")] == [5]


async def test_a_worker_in_a_dead_ones_place_counts_on_from_there(tmp_path: Path) -> None:
    dead = worker(0, tmp_path)
    await work(dead, 2)
    await dead.close()

    heir = worker(0, tmp_path)
    await work(heir, 1)
    assert values(heir, "loom_calls_total") == [(CALLS, 3)]
    await heir.close()

    assert values(worker(1, tmp_path), "loom_calls_total") == [(CALLS, 3)]


async def test_attempts_that_died_with_their_worker_are_not_active_for_ever(tmp_path: Path) -> None:
    dead = worker(0, tmp_path)

    async def asked_to_write(call: object, send: object) -> None:
        await dead.close()

    await dead.attempt(asked_to_write)(call(), ignore)
    assert [value for _, value in values(worker(1, tmp_path), "loom_attempts_active")] == [1]

    assert samples(worker(0, tmp_path), "loom_attempts_active") == []


async def test_workers_do_not_speak_of_their_own_process(tmp_path: Path) -> None:
    assert b"process_resident_memory_bytes" not in worker(0, tmp_path).prometheus()


async def test_a_worker_that_ends_while_it_writes_leaves_what_it_measured_last(tmp_path: Path) -> None:
    draft, counted = tmp_path / "0.draft", [1.0]
    sharing = Sharing(tmp_path, 0, lambda: {"loom.calls": {("grpc",): list(counted)}}, worker(0, tmp_path).log)
    os.mkfifo(draft)  # so that who writes to it waits for a reader
    writing = asyncio.create_task(sharing.write())
    await asyncio.sleep(0)  # it begins
    writing.cancel()
    counted[0] = 2.0

    closing = asyncio.create_task(sharing.close())
    await asyncio.sleep(0)
    reader = await asyncio.to_thread(os.open, draft, os.O_RDONLY)
    await closing
    os.close(reader)

    assert (tmp_path / "0.json").is_file()
    assert (tmp_path / "0.json").read_text() == '{"loom.calls":[[["grpc"],[2.0]]]}'
    assert not draft.exists()
