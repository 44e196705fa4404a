"""Times as messages have them."""

from __future__ import annotations

import math

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from loom_grpc.core.moment import timestamp, timestamp_of, us_of

LAST_US = 253_402_300_799_999_999


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, Timestamp()),
        (1_763_700_000.25, Timestamp(seconds=1_763_700_000, nanos=250_000_000)),
        (1.000_000_9, Timestamp(seconds=1)),
        (-5.0, Timestamp()),
        (1e18, Timestamp(seconds=253_402_300_799)),
        (math.inf, Timestamp(seconds=253_402_300_799)),
    ],
)
def test_seconds_become_the_nearest_time_that_can_be_written(seconds: float, expected: Timestamp) -> None:
    assert timestamp(seconds) == expected


@given(st.integers(0, LAST_US))
def test_microseconds_come_back_as_they_were(us: int) -> None:
    assert us_of(timestamp_of(us)) == us


def test_what_is_shorter_than_a_microsecond_is_dropped() -> None:
    assert us_of(Timestamp(seconds=3, nanos=1_999)) == us_of(Duration(seconds=3, nanos=1_000)) == 3_000_001
