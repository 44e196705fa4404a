"""What a provider wrote goes along with what it means, frame for frame, and never before the answer has begun."""

from __future__ import annotations

import re

import orjson
import pytest

from loom_grpc.v1.llm_service_pb2 import LlmEvent
from tests.wire.cases import DIALECTS, Case, decoder, fixtures

CASES = [case for case in fixtures() if case.api in DIALECTS and case.api != "chat" and case.status == 200]
"""The answers in dialects that front ends speak too."""

MADE_UP = re.compile(r"call_[0-9a-f]{24}")
"""An id that the server gives to a call that has none."""


def taken(case: Case, *, native: bool) -> list[LlmEvent]:
    reader = decoder(case)
    reader.keeps_native = native
    return reader.feed(case.body) + reader.end()


def frames(case: Case) -> list[bytes]:
    """Returns the JSON that a body has, event by event; a whole body is one, unless it is an array of events."""
    if b"data:" not in case.body:
        return [case.body.strip()]
    lines = (line[5:].strip() for line in case.body.splitlines() if line.startswith(b"data:"))
    return [line for line in lines if line not in (b"", b"[DONE]")]


def whole(events: list[LlmEvent]) -> list[str]:
    return [MADE_UP.sub("call", str(event.completed)) for event in events if event.HasField("completed")]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_every_frame_is_told_once_and_in_order_beside_the_same_events(case: Case) -> None:
    events = taken(case, native=True)
    if not events:  # it failed before it began
        assert not any(event.WhichOneof("event") for event in taken(case, native=False))
        return

    assert (events[0].WhichOneof("event"), events[0].native_json) == ("started", b"")
    told = [event.native_json.strip() for event in events if event.native_json]
    if case.body.startswith(b"["):
        told = [b"[" + b",".join(told) + b"]"]
        assert orjson.loads(told[0]) == orjson.loads(case.body)
        return
    assert told == frames(case)[: len(told)]
    assert whole(events) == whole(taken(case, native=False))
