"""Made-up values for a JSON Schema, for the mock provider's tool calls and JSON answers."""

from __future__ import annotations

from typing import Any, Final

_MOST: Final = 200
"""How many values one schema may ask for: schemas can refer to themselves."""


def made_up(schema: Any) -> Any:
    """Makes up a value with the required properties alone; a schema that is none raises what reading it raises."""
    return _Maker(schema).value(schema, "")


class _Maker:
    def __init__(self, root: Any) -> None:
        self._root = root
        self._left = _MOST

    def value(self, schema: Any, name: str) -> Any:
        """Makes up a value; `name` is the property's, which may tell what would be plausible."""
        self._left -= 1
        if self._left < 0 or not isinstance(schema, dict):
            return None
        for given in ("const", "default"):
            if given in schema:
                return schema[given]
        for choices in ("enum", "examples"):
            if schema.get(choices):
                return schema[choices][0]
        if inner := _inner(schema, self._root):
            return self.value(inner, name)
        return self._of_kind(_kind(schema), schema, name)

    def _of_kind(self, kind: str, schema: dict[str, Any], name: str) -> Any:
        match kind:
            case "object":
                properties = schema.get("properties") or {}
                return {key: self.value(properties.get(key) or {}, key) for key in schema.get("required") or ()}
            case "array":
                return [self.value(schema.get("items"), name)]
            case "integer" | "number":
                low = schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
                return min(low, schema.get("maximum", low))
            case "boolean":
                return True
            case "null":
                return None
        return _FORMATS.get(schema.get("format", "")) or _NAMES.get(name) or name or "text"


def _inner(schema: dict[str, Any], root: Any) -> Any:
    """Returns the schema that another one stands for or offers first."""
    for choices in ("anyOf", "oneOf", "allOf"):
        if schema.get(choices):
            return schema[choices][0]
    reference = schema.get("$ref", "")
    if not reference.startswith("#"):
        return None
    target = root
    for step in reference.split("/")[1:]:
        target = target[step]
    return target


def _kind(schema: dict[str, Any]) -> str:
    kind = schema.get("type") or ("object" if "properties" in schema else "string")
    return str(next((word for word in kind if word != "null"), "null") if isinstance(kind, list) else kind)


_FORMATS: Final = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "email": "someone@example.com",
    "time": "12:00:00Z",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
_NAMES: Final = {
    "city": "Paris",
    "country": "France",
    "location": "Paris",
    "path": "notes/today.txt",
    "query": "weather in Paris",
    "timezone": "Europe/Paris",
    "url": "https://example.com/",
}
