"""The fault table: what callers get of each fault, how soon, and what the upstream sees. No fault looks like a whole answer."""

from __future__ import annotations

import asyncio

import pytest

from tests.faults.caller import Edge, over_extended_proxy, over_grpc
from tests.faults.fault import EDGES, SOON_S, TABLE, configured, leave, meet
from tests.faults.upstream import upstream


@pytest.mark.parametrize("model", TABLE)
async def test_a_fault_is_waited_out_or_told_and_never_passes_for_a_whole_answer(model: str) -> None:
    records = await asyncio.gather(*(meet(model, over) for over in EDGES))

    assert [record for record in records if not record.ok] == []


@pytest.mark.parametrize("over", EDGES)
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "unary"])
async def test_a_caller_that_goes_away_closes_the_providers_connection_at_once(stream: bool, over: str) -> None:
    records = [await leave(over, stream=stream) for _ in range(5)]

    assert {record.outcome for record in records} == {"closed"}
    quickest = min(records, key=lambda record: record.seconds)  # a busy machine only ever adds to a time
    assert quickest.ok, quickest


@pytest.mark.parametrize("edge", [over_grpc, over_extended_proxy])
async def test_a_stalled_stream_closes_the_providers_connection(edge: Edge) -> None:
    async with upstream() as models, edge(configured(models.url)) as caller:
        await caller.stream("stall")
        async with asyncio.timeout(SOON_S):
            await models.attempts("stall")[0].connection.closed.wait()
