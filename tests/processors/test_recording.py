"""Each call leaves one record, and one that was refused for want of room takes none."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from loom_grpc.core.call import Call, Send
from loom_grpc.core.charge import charge_answer, charge_fragment
from loom_grpc.core.errors import INVALID_REQUEST, PROVIDER_UNAVAILABLE, STORAGE_UNAVAILABLE, LlmError
from loom_grpc.core.model import Prices
from loom_grpc.core.tariff import PriceList
from loom_grpc.processors.recording import Recorder
from loom_grpc.storage.spool import FileSpool
from loom_grpc.v1.audit_pb2 import OPERATION_COMPLETE, OPERATION_STREAM, CallRecord
from loom_grpc.v1.llm_service_pb2 import Completed, LlmEvent, LlmRequest, LlmResponse
from loom_grpc.v1.usage_pb2 import Usage

SMALL = 2000
TARIFF = PriceList(Prices(Decimal(1), Decimal(2)))


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[FileSpool]:
    def ignore(*_: object) -> None:
        """Is told nothing that matters here."""

    spool = FileSpool(tmp_path, SMALL, lambda: 1000.0, on_trouble=ignore, on_recovery=ignore, on_damage=ignore)
    yield spool
    spool.close()


@pytest.fixture
def recorder(spool: FileSpool) -> Recorder:
    numbers = count()
    return Recorder(spool, lambda _provider, _model: TARIFF, new_id=lambda _: f"{next(numbers):04}", timer=lambda: 5.0)


def new_call(*, stream: bool = False) -> Call:
    operation = OPERATION_STREAM if stream else OPERATION_COMPLETE
    call = Call(LlmRequest(), stream, "r", began_s=1000.0, began=4.0, operation=operation)
    call.provider, call.model = "mine", "one"
    return call


def records(spool: FileSpool) -> list[CallRecord]:
    return [CallRecord.FromString(waiting.record) for waiting in spool.take(1000)]


async def answers(call: Call, send: Send) -> None:
    """Answers as a provider does that took 3 tokens for the prompt and 4 for the answer."""
    await charge_and_answer(LlmResponse(usage=Usage(input_tokens=3, output_tokens=4)), call, send)


async def charge_and_answer(response: LlmResponse, call: Call, send: Send) -> None:
    """Answers as a provider does, which charges for the answer once more."""
    charge_answer(call, response)
    await send(LlmEvent(completed=Completed(response=response)))


async def nowhere(_event: LlmEvent) -> None:
    """Takes events."""


async def fill(recorder: Recorder, spool: FileSpool) -> None:
    while not spool.state().trouble:
        await recorder.around(answers)(new_call(), nowhere)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_is_recorded_once_however_often_it_is_concluded(
    recorder: Recorder, spool: FileSpool, stream: bool
) -> None:
    call = new_call(stream=stream)
    told: list[tuple[int, int]] = []

    async def send(event: LlmEvent) -> None:
        told.append((event.completed.response.cost.nanos, spool.waiting()))

    await recorder.around(answers)(call, send)
    recorder.conclude(call)
    recorder.conclude(call, LlmError(PROVIDER_UNAVAILABLE, "too late"))

    [record] = records(spool)
    assert (record.usage.input_tokens, record.usage.output_tokens, record.cost.nanos) == (3, 4, 11_000)
    assert (record.error_reason, record.cancelled) == ("", False)
    # The end of a stream leaves when the record is there already; a whole answer leaves later than its event.
    assert told == ([(11_000, 1)] if stream else [(0, 0)])


async def test_a_call_whose_providers_say_what_cannot_be_is_recorded_all_the_same(
    recorder: Recorder, spool: FileSpool
) -> None:
    call, most = new_call(), 2**63 - 1
    response = LlmResponse(usage=Usage(input_tokens=most))
    response.reported_cost.nanos = most
    charge_answer(call, response)

    await recorder.around(partial(charge_and_answer, response))(call, nowhere)
    recorder.conclude(call)

    [record] = records(spool)
    assert (record.usage.input_tokens, record.cost.nanos, record.reported_cost.nanos) == (most, most, most)


async def test_a_record_waits_for_what_is_still_under_way(recorder: Recorder, spool: FileSpool) -> None:
    call = new_call(stream=True)
    call.bill.begin()
    recorder.conclude(call, cancelled=True)
    before = records(spool)
    charge_fragment(call, LlmResponse(usage=Usage(input_tokens=7)))
    call.bill.end()

    [record] = records(spool)
    assert before == []
    assert (record.cancelled, record.usage.input_tokens, record.usage.estimated) == (True, 7, True)


async def test_calls_that_are_refused_for_want_of_room_take_none(recorder: Recorder, spool: FileSpool) -> None:
    await fill(recorder, spool)
    full = spool.waiting()
    reasons = set()
    for _ in range(10):
        call = new_call()
        with pytest.raises(LlmError) as caught:
            await recorder.around(answers)(call, nowhere)
        recorder.conclude(call, caught.value)
        recorder.conclude(new_call(), LlmError(INVALID_REQUEST, "It makes no sense."))
        reasons.add(caught.value.reason)

    assert reasons == {STORAGE_UNAVAILABLE}
    assert spool.waiting() == full


async def test_calls_that_were_under_way_when_the_room_ended_are_recorded(recorder: Recorder, spool: FileSpool) -> None:
    answered, failed = new_call(), new_call(stream=True)
    await fill(recorder, spool)
    full = spool.waiting()
    charge_answer(answered, LlmResponse(usage=Usage(input_tokens=1)))
    recorder.conclude(answered)
    charge_fragment(failed, LlmResponse(usage=Usage(input_tokens=2)))
    recorder.conclude(failed, LlmError(PROVIDER_UNAVAILABLE, "It broke off."))

    assert [record.usage.input_tokens for record in records(spool)[full:]] == [1, 2]
    spool.done(spool.take(full))
    recorder.conclude(new_call(), LlmError(INVALID_REQUEST, "It makes no sense."))
    assert [record.error_reason for record in records(spool)] == ["", "PROVIDER_UNAVAILABLE", "INVALID_REQUEST"]
