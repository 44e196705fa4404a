"""Values made up for JSON Schemas."""

from __future__ import annotations

from typing import Any

import pytest

from loom_grpc.providers.mock_value import made_up


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({}, "text"),
        (True, None),
        ({"const": 5}, 5),
        ({"type": "string", "default": "a"}, "a"),
        ({"enum": ["red", "blue"]}, "red"),
        ({"type": "string", "format": "date"}, "2026-01-31"),
        ({"type": ["null", "integer"]}, 1),
        ({"type": "number", "minimum": 5, "maximum": 9}, 5),
        ({"type": "integer", "exclusiveMinimum": 10}, 11),
        ({"type": "number", "maximum": 0.5}, 0.5),
        ({"type": "boolean"}, True),
        ({"type": "null"}, None),
        ({"type": "array", "items": {"type": "integer"}}, [1]),
        ({"anyOf": [{"type": "boolean"}, {"type": "string"}]}, True),
        ({"properties": {"a": {}, "city": {}}, "required": ["city", "b"]}, {"city": "Paris", "b": "b"}),
        ({"$defs": {"x": {"enum": [7]}}, "type": "array", "items": {"$ref": "#/$defs/x"}}, [7]),
    ],
)
def test_a_value_fits_its_schema(schema: Any, value: Any) -> None:
    assert made_up(schema) == value


def test_a_schema_that_refers_to_itself_comes_to_an_end() -> None:
    assert made_up({"$ref": "#"}) is None

    wide = {"type": "object", "required": ["a", "b"], "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}}
    assert set(made_up(wide)) == {"a", "b"}
