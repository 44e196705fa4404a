"""Reads what both of OpenAI's APIs for answers say in the same words."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Any

import orjson

from loom_grpc.frontends.body import Fields, json_text
from loom_grpc.v1.message_pb2 import JsonSchemaFormat, Media, ToolDefinition


def refuse(fields: Fields, key: str, what: str) -> Any:
    """Raises `HttpError` that says what is wrong with a field."""
    raise fields.wrong(key, what)


def need_object(fields: Fields, key: str) -> Fields:
    """Returns an object that must be there."""
    fields.need(key)
    return Fields(fields.value(key), fields.at(key))


def need_filled(fields: Fields, key: str) -> str:
    """Returns a string that must be there and not be empty."""
    return fields.need_text(key) or refuse(fields, key, "must not be empty")


def check_depth(fields: Fields, keys: Iterable[str]) -> None:
    """Refuses what could not be written again, in an object of an object."""
    for key in keys:
        try:
            json_text({"": {key: fields.value(key)}})
        except TypeError:
            raise fields.wrong(key, "is nested too deeply") from None


def read_definition(function: Fields) -> ToolDefinition:
    """Reads a tool."""
    return ToolDefinition(
        name=need_filled(function, "name"),
        description=function.text("description"),
        input_schema_json=function.json("parameters"),
        strict=function.flag("strict"),
    )


def read_schema(schema: Fields) -> JsonSchemaFormat:
    """Reads the schema of an answer."""
    return JsonSchemaFormat(
        name=schema.text("name"),
        description=schema.text("description"),
        schema_json=schema.json("schema"),
        strict=bool(schema.flag("strict")),  # what is left out is not strict here
    )


def read_arguments(function: Fields) -> tuple[str, bool]:
    """Returns the arguments of a call, and whether they are no JSON object, as models write them at times; then they are `{}`."""
    text = function.json("arguments")
    try:
        broken = bool(text.strip()) and not isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        broken = True
    return "{}" if broken or not text.strip() else text, broken


def read_media(fields: Fields, key: str) -> Media:
    """Reads an address, which may be the bytes themselves (`data:`, RFC 2397)."""
    address = need_filled(fields, key)
    if not address.startswith("data:"):
        return Media(url=address)
    head, comma, data = address[5:].partition(",")
    media_type, _, encoding = head.rpartition(";")
    if not (comma and encoding == "base64" and media_type):
        raise fields.wrong(key, "must look like data:image/png;base64,... when it begins with data:")
    try:
        return Media(data=base64.b64decode(data, validate=True), media_type=media_type)
    except binascii.Error:
        raise fields.wrong(key, "has no valid base64 after the comma") from None
