"""Times as messages have them, and as databases keep them: in microseconds since 1970."""

from __future__ import annotations

from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

_US: Final = 1_000_000
_LAST_SECOND: Final = 253_402_300_799
"""The last one of the year 9999, after which there is no `Timestamp`."""


def timestamp(seconds: float) -> Timestamp:
    """Writes a time in seconds since 1970, to the microsecond; one that cannot be written becomes the nearest that can be."""
    return timestamp_of(int(min(max(seconds, 0.0), _LAST_SECOND) * _US))


def timestamp_of(us: int) -> Timestamp:
    """Writes a time in microseconds since 1970."""
    return Timestamp(seconds=us // _US, nanos=us % _US * 1000)


def us_of(time: Timestamp | Duration) -> int:
    """Returns a time in microseconds."""
    return time.seconds * _US + time.nanos // 1000
