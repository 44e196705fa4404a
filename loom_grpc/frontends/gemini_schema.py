"""Turns the Gemini API's schemas, a subset of OpenAPI 3.0, into JSON Schema (ai.google.dev/api/caching#Schema, seen 2026-11-21)."""

from __future__ import annotations

from typing import Any, Final

from loom_grpc.frontends.gemini_json import Proto

_MOST_LEVELS: Final = 64
_COUNTS: Final = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})
"""64-bit integers, which protobuf's JSON writes as text."""
_RENAMED: Final = {"defs": "$defs", "$defs": "$defs", "ref": "$ref"}
_LISTS: Final = frozenset({"anyOf", "oneOf", "allOf"})
_MAPS: Final = frozenset({"properties", "defs", "$defs"})
_ELSEWHERE: Final = frozenset({"nullable", "propertyOrdering"})


def to_json_schema(schema: Proto, level: int = 0) -> dict[str, Any]:
    """Returns the JSON Schema that says the same; keywords that are the same in both stay as they are."""
    if level > _MOST_LEVELS:
        raise schema.wrong("type", f"is nested more deeply than {_MOST_LEVELS} levels")
    result = {_RENAMED.get(key, key): _keyword(schema, key, level) for key in schema if key not in _ELSEWHERE}
    if "example" in result:
        result["examples"] = [result.pop("example")]
    if result.get("format") == "enum":
        del result["format"]  # says no more than the keyword `enum` does
    if result.get("type") == "type_unspecified":
        del result["type"]
    if schema.flag("nullable"):
        _allow_null(result)
    return result


def _keyword(schema: Proto, key: str, level: int) -> Any:
    value = schema.value(key)
    if key == "type" and isinstance(value, str):
        return value.lower()
    if key == "ref":
        return schema.text(key).replace("#/defs/", "#/$defs/")
    if key in _COUNTS:
        return schema.integer(key, 64)
    if key == "items" or (key == "additionalProperties" and isinstance(value, dict)):
        return to_json_schema(schema.need_object(key), level + 1)
    if key in _LISTS:
        return [to_json_schema(entry, level + 1) for entry in schema.objects(key)]
    if key in _MAPS:
        return _map(schema, key, level)
    if key == "enum":
        return _enum(schema)
    return value


def _map(schema: Proto, key: str, level: int) -> dict[str, Any]:
    """Reads named schemas, in the order that is wanted of the model."""
    entries = schema.struct(key)
    first = [name for name in schema.texts("propertyOrdering") if name in entries] if key == "properties" else []
    names = dict.fromkeys([*first, *entries])
    return {name: to_json_schema(Proto(entries[name], f"{schema.at(key)}.{name[:80]}"), level + 1) for name in names}


def _enum(schema: Proto) -> list[Any]:
    """Reads the values, which are texts also where numbers are meant."""
    values = schema.array("enum")
    if schema.text("type").lower() == "integer":
        return [int(value) if isinstance(value, str) and value.lstrip("-").isdecimal() else value for value in values]
    return values


def _allow_null(schema: dict[str, Any]) -> None:
    if isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
    if "anyOf" in schema:
        schema["anyOf"] = [*schema["anyOf"], {"type": "null"}]
    if "enum" in schema and None not in schema["enum"]:
        schema["enum"] = [*schema["enum"], None]
