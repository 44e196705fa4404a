"""What makes two calls the same: a digest of everything that the answer depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any, Final, Never

import orjson

from loom_grpc.core.exact import dumps
from loom_grpc.core.native import Native
from loom_grpc.v1.llm_service_pb2 import LlmRequest

_VERSION: Final = b"1"
"""Changes with what is digested, so that no version takes another one's fingerprint for its own."""

TENANT: Final = "loom-tenant"
"""The metadata in which the HTTP edge tells a server behind it whom its caller is."""
CREDENTIALS: Final = frozenset({"authorization", "x-api-key", "x-goog-api-key", TENANT})
"""The metadata and headers by which callers are told apart. Whoever makes `loom-tenant` up only sets itself apart."""


def fingerprint(space: bytes, tenant: str, request: LlmRequest, native: Native | None = None) -> bytes:
    """Returns 32 bytes that are the same for requests that mean the same, of one tenant, under one configuration.

    A request in the words of another API is the same as one in the very same words, for its answer may come back word for word.

    `space` stands for the configuration. What only attributes a request, `session_id` and `labels`, does not count; a knob that is not
    set differs from one that is set to its default, because providers have defaults of their own.
    """
    pieces = [_VERSION, space, tenant.encode(), _normalised(request)]
    if native is not None:
        pieces += [native.dialect.encode(), dumps(native.body).encode(), dumps(sorted(native.headers.items())).encode()]
    return _digest(pieces, 32)


def tenant_of(shown: Iterable[tuple[str, str]]) -> str:
    """Returns whom a caller is, by the names and texts of all that it showed of itself; empty when it showed nothing.

    Callers who showed anything different are never the same.
    """
    pieces = [text.encode(errors="surrogateescape") for pair in sorted(shown) for text in pair]
    return _digest(pieces, 16).hex() if pieces else ""


def canonical_json(text: str, *, sort: bool = True) -> str:
    """Returns JSON without blanks, and with its keys in order unless their order is to stay.

    Numbers stay as they are written. A text that could not be written back exactly, such as one with a key twice, stays as it is.
    """
    if not text or text.isspace():
        return ""
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=orjson.Fragment,
            parse_float=orjson.Fragment,
            parse_constant=_refuse,
        )
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS if sort else None).decode()
    except (ValueError, TypeError, RecursionError):  # also half a character pair, and what is nested too deeply
        return text


def _normalised(request: LlmRequest) -> bytes:
    copy = LlmRequest()
    copy.CopyFrom(request)
    copy.ClearField("session_id")
    copy.ClearField("labels")
    copy.provider_options_json = canonical_json(request.provider_options_json)
    for message in copy.messages:
        if message.parts:
            message.ClearField("content")  # which nobody reads then
        for call in message.tool_calls:
            call.arguments_json = canonical_json(call.arguments_json)
    # Models write the fields of an answer in the order in which the schema has them.
    for tool in copy.tools:
        tool.input_schema_json = canonical_json(tool.input_schema_json, sort=False)
    if copy.response_format.HasField("json_schema"):
        schema = copy.response_format.json_schema
        schema.schema_json = canonical_json(schema.schema_json, sort=False)
    return copy.SerializeToString(deterministic=True)


def _digest(pieces: Iterable[bytes], size: int) -> bytes:
    digest = hashlib.blake2b(digest_size=size)
    for piece in pieces:
        digest.update(len(piece).to_bytes(8))  # or the end of one could be the beginning of the next
        digest.update(piece)
    return digest.digest()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key comes twice")
    return found


def _refuse(constant: str) -> Never:
    raise ValueError(f"{constant} is no JSON")
