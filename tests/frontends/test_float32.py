"""Floats are written with the fewest digits that lead back to them."""

from __future__ import annotations

import math
import struct

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_grpc.frontends.float32 import shortest

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def as_float(value: float) -> float:
    """Returns the float next to a number, as a double."""
    (found,) = struct.unpack("f", struct.pack("f", value))
    return float(found)


def slowly(value: float) -> float:
    """Tries every number of digits."""
    texts = (f"{value:.{digits}g}" for digits in range(1, 10))
    return next(float(text) for text in texts if as_float(float(text)) == value)


@given(st.lists(FLOATS))
def test_every_float_comes_back_and_none_has_a_digit_too_many(values: list[float]) -> None:
    found = shortest(values)

    assert [as_float(value) for value in found] == values
    assert found == [slowly(value) for value in values]


@given(st.floats(1e-9, 1e6, allow_nan=False), st.integers(1, 6))
def test_what_was_written_with_six_digits_is_written_so_again(value: float, digits: int) -> None:
    written = float(f"{value:.{digits}g}")

    assert shortest([as_float(written)]) == [written]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, b"0.1"),
        (-0.016573092, b"-0.016573092"),
        (1 / 3, b"0.33333334"),
        (0.0, b"0.0"),
        (2.0**-41, b"4.5474735e-13"),
        (2.0**-10, b"0.0009765625"),
        (16777216.0, b"16777216.0"),
        (3.4028235e38, b"3.4028235e+38"),
        (1e-45, b"1e-45"),
    ],
)
def test_a_float_is_written_in_few_digits(value: float, text: bytes) -> None:
    assert orjson.dumps(shortest([as_float(value)])[0]) == text


def test_one_float_far_away_leaves_the_others_as_they_are() -> None:
    values = [as_float(value) for value in (0.1, 1e-30, 1e30, 0.7)]

    assert shortest(values) == [0.1, 1e-30, 1e30, 0.7]


def test_what_is_no_number_stays_so() -> None:
    assert shortest([math.inf, 0.5]) == [math.inf, 0.5]
