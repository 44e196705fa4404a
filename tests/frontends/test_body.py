from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_grpc.frontends.body import Fields, HttpError, json_text, read_json


def refusal(read: Any, *arguments: Any, **options: Any) -> tuple[int, str]:
    with pytest.raises(HttpError) as caught:
        read(*arguments, **options)
    return caught.value.status, caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "1",
        "-9223372036854775808",
        "18446744073709551615",
        "123456789012345678901234567890",
        "0.1000000000000000055511151231257827",
        "3.14159265358979323846",
        "1.25",
        '"12345678901234567890"',
    ],
)
def test_numbers_come_out_as_they_went_in(text: str) -> None:
    assert json_text(read_json(b'{"n":%b}' % text.encode())) == f'{{"n":{text}}}'


def test_a_long_number_elsewhere_changes_nothing_for_short_ones() -> None:
    assert read_json(b'{"id":12345678901234567890123,"n":5,"t":0.5}') == {
        "id": Decimal(12345678901234567890123),
        "n": 5,
        "t": Decimal("0.5"),
    }


def test_of_two_equal_keys_the_last_one_counts() -> None:
    assert read_json(b'{"a":1,"a":2}') == {"a": 2}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The body is empty; a JSON object is needed."),
        (b'{"a":"\xff"}', "The body is not valid UTF-8 (byte 6)."),
        (
            b'{"a":NaN}',
            "The body is not valid JSON: unexpected character, expected a JSON value: line 1 column 6 (char 5).",
        ),
        (b'{"a":1', "The body is not valid JSON: unexpected end of data: line 1 column 7 (char 6)."),
        (
            b'{"a":1e999}',
            "The body is not valid JSON: number is infinity when parsed as double: line 1 column 6 (char 5).",
        ),
        (
            b'"\\ud800"',
            "The body is not valid JSON: no low surrogate in string: line 1 column 2 (char 1).",
        ),
        (b"[" * 2000, "The body is not valid JSON: depth limit exceeded: line 1 column 1026 (char 1025)."),
        (b"[1234567890123456789, 0e99999999999999999999]", "The body has a number whose exponent is too large."),
        (b"[0.1234567890123456789e-9999999999999999999]", "The body has a number whose exponent is too large."),
        (b"[" * 1020 + b"1234567890123456789012" + b"]" * 1020, "The body is nested too deeply."),
    ],
)
def test_what_is_no_json_is_refused_with_the_reason(body: bytes, message: str) -> None:
    assert refusal(read_json, body) == (400, message)


def parsed(body: bytes) -> Any:
    try:
        return json_text(read_json(body))
    except HttpError as error:
        return error.status


@given(st.binary(max_size=64))
def test_bytes_are_json_or_refused(body: bytes) -> None:
    found = parsed(body)

    assert found == 400 or json.loads(found) == json.loads(body)


@pytest.mark.parametrize(
    ("method", "value", "what"),
    [
        ("text", 1, "must be a string"),
        ("text", ["a"], "must be a string"),
        ("need_text", None, "is missing"),
        ("flag", 1, "must be true or false"),
        ("integer", 1.0, "must be an integer of 32 bits"),
        ("integer", True, "must be an integer of 32 bits"),
        ("integer", 2**31, "must be an integer of 32 bits"),
        ("integer", Decimal(10**30), "must be an integer of 32 bits"),
        ("number", "1", "must be a number"),
        ("number", True, "must be a number"),
        ("array", {}, "must be an array"),
        ("mapping", [], "must be an object"),
        ("object", "a", "must be an object"),
        ("json", [1], "must be an object"),
        ("base64", "a-b_", "must be base64 with padding"),
        ("base64", "QUJ", "must be base64 with padding"),
        ("base64", "é", "must be base64 with padding"),
    ],
)
def test_a_field_of_the_wrong_kind_is_named(method: str, value: object, what: str) -> None:
    fields = Fields({"f": value}, "messages[2]")

    status, message = refusal(getattr(fields, method), "f")

    assert status == 422
    assert message in (f"messages[2].f: {what}.", f"messages[2].f: {what}")


@pytest.mark.parametrize(
    ("method", "value", "message"),
    [
        ("texts", ["a", 1], "f[1]: must be a string."),
        ("mapping", {"k": 1}, "f.k: must be a string."),
    ],
)
def test_an_element_of_the_wrong_kind_is_named(method: str, value: object, message: str) -> None:
    assert refusal(getattr(Fields({"f": value}), method), "f") == (422, message)


def test_what_is_missing_or_null_has_the_value_of_nothing() -> None:
    for fields in (Fields({}), Fields(dict.fromkeys("f"))):
        assert fields.text("f") == fields.json("f") == ""
        assert fields.base64("f") == b""
        assert fields.array("f") == fields.texts("f") == []
        assert list(fields.objects("f")) == []
        assert fields.mapping("f") == {}
        assert (fields.flag("f"), fields.integer("f"), fields.number("f"), fields.object("f")) == (None,) * 4
        assert not fields.has("f")


def test_values_of_the_right_kind_are_returned() -> None:
    fields = Fields({"i": -(2**63), "n": 3, "d": Decimal("0.25"), "b": "/w==", "t": '{"a": 1}', "o": {"a": 1}})

    assert fields.integer("i", bits=64) == -(2**63)
    assert (fields.number("n"), fields.number("d")) == (3.0, 0.25)
    assert fields.base64("b") == b"\xff"
    assert (fields.json("t"), fields.json("o")) == ('{"a": 1}', '{"a":1}')


def test_an_object_that_is_nested_too_deeply_to_be_passed_on_is_refused() -> None:
    body = b'{"f":' + b'{"a":' * 300 + b"1" + b"}" * 300 + b"}"

    assert refusal(Fields(orjson.loads(body)).json, "f") == (422, "f: is nested too deeply.")


def test_what_is_no_object_is_refused() -> None:
    assert refusal(Fields, []) == (422, "The body must be a JSON object.")
    assert refusal(Fields, 1, "tools[0]") == (422, "tools[0]: must be an object.")
