"""Numbers pass through as they were written, however long they are."""

from __future__ import annotations

import json
from decimal import Decimal

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loom_grpc.core.exact import decimal, dumps, loads


@pytest.mark.parametrize(
    "text",
    [
        '{"n":123456789012345678901234567890}',
        '{"n":-123456789012345678901234567890,"m":[{"k":18446744073709551616}]}',
        '{"n":0.12345678901234567890123,"s":"123456789012345678901234567890"}',
        '{"n":12345678901234567890123e-5,"é":"é"}',
        '{"n":18446744073709551615,"m":-9223372036854775808,"k":1.0,"j":1}',
    ],
)
def test_long_numbers_are_written_as_they_were_read(text: str) -> None:
    assert dumps(loads(text.encode())) == text


def test_long_texts_of_digits_and_short_numbers_are_what_they_are() -> None:
    value = {"text": "0" * 30, "int": 7, "float": 1.5, "list": [True, None]}

    assert loads(orjson.dumps(value)) == value


def test_a_long_number_is_no_number_to_anyone_else() -> None:
    value = loads(b'{"n":123456789012345678901234567890}')

    assert not isinstance(value["n"], int | float | str)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{", id="half"),
        pytest.param(b'{"n":00000000000000000000000}', id="zeros in front"),
        pytest.param(b'{"n":NaN}', id="no number"),
        pytest.param(b'"\\ud800"', id="half a character"),
        pytest.param(b'{"n":123456789012345678901}' + b"]", id="too much"),
        pytest.param(b"[" * 5000, id="depth"),
        pytest.param(b"[" * 1000 + b"123456789012345678901" + b"]" * 1000, id="depth with a long number"),
    ],
)
def test_what_is_no_json_raises_a_value_error_or_is_read(body: bytes) -> None:
    try:
        loads(body)
    except ValueError:
        return
    json.loads(body)


def test_other_things_than_json_values_are_not_written() -> None:
    with pytest.raises(TypeError):
        dumps({"a": object()})


INTEGERS = st.integers(-(10**40), 10**40).map(str)
DECIMALS = st.tuples(st.integers(-(10**6), 10**6), st.integers(10**19, 10**30)).map(
    lambda parts: f"{parts[0]}.{parts[1]}"
)


@example("-9223372036854775809,-9223372036854775808,9223372036854775807,18446744073709551615,18446744073709551616")
@given(st.lists(INTEGERS | DECIMALS, max_size=8).map(",".join))
def test_no_long_number_loses_a_digit(numbers: str) -> None:
    assert dumps(loads(f"[{numbers}]".encode())) == f"[{numbers}]"


@pytest.mark.parametrize(
    "text", ["0", "-7", "0.1", "1.5e-07", "0.12345678901234567890123", "123456789012345678901234567890"]
)
def test_a_number_is_a_decimal_as_it_was_written(text: str) -> None:
    assert decimal(loads(f"[{text}]".encode())[0]) == Decimal(text)


@pytest.mark.parametrize("text", ["null", "true", '"1"', "[]", "{}"])
def test_what_is_no_number_is_no_decimal(text: str) -> None:
    assert decimal(loads(text.encode())) is None
