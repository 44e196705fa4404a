"""Speaks OpenAI's Embeddings API with callers (developers.openai.com/api/reference/resources/embeddings, seen 2026-11-21)."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import orjson

from loom_grpc.frontends import openai_error
from loom_grpc.frontends.body import Fields, HttpError, json_text, read_json
from loom_grpc.frontends.float32 import shortest
from loom_grpc.frontends.frontend import EmbedAsked
from loom_grpc.v1.llm_service_pb2 import EmbedInput, EmbedRequest, EmbedResponse, TokenList

_KNOWN: Final = frozenset(
    {
        *("model", "input", "dimensions", "encoding_format"),
        "user",  # who the caller's caller is, for abuse reports
    }
)
"""All other fields go to the provider as they are: many hosts of this dialect have some of their own."""
_RENAMES: Final[openai_error.Renames] = ((re.compile(r"inputs"), "input"),)
_TOKEN_BITS: Final = 32


class OpenAIEmbedding(openai_error.OpenAIApi):
    """The front end."""

    name = "openai"
    renames = _RENAMES

    def read(self, body: bytes, path: Mapping[str, str], headers: Mapping[str, str]) -> EmbedAsked:
        """Reads a request; raises `HttpError`."""
        fields = Fields(read_json(body))
        form = fields.text("encoding_format") or "float"
        if form not in _FORMS:
            raise fields.wrong("encoding_format", "must be float or base64")
        request = EmbedRequest(
            model=fields.need_text("model"),
            inputs=_inputs(fields),
            dimensions=fields.integer("dimensions"),
            provider_options_json=_options(fields),
        )
        return EmbedAsked(request, form)

    def write(self, asked: EmbedAsked, response: EmbedResponse) -> bytes:
        """Writes the vectors. The API has no word for a number of tokens that is not known, so an estimate stands there too."""
        write = _FORMS[asked.form]
        rows = [
            {"object": "embedding", "index": index, "embedding": write(embedding.values)}
            for index, embedding in enumerate(response.embeddings)
        ]
        tokens = response.usage.input_tokens
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return orjson.dumps({"object": "list", "data": rows, "model": response.model, "usage": usage})


def _base64(values: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()


_FORMS: Final[dict[str, Callable[[Sequence[float]], Any]]] = {"float": shortest, "base64": _base64}
"""How a vector is written."""


def _inputs(fields: Fields) -> list[EmbedInput]:
    """Reads a text, the tokens of one, or a list of either."""
    fields.need("input")
    value = fields.value("input")
    if isinstance(value, str):
        return [EmbedInput(text=value)]
    values = fields.array("input")
    if any(type(value) is int for value in values):
        return [_tokens(fields, "input", values)]
    return [_input(fields, f"input[{index}]", value) for index, value in enumerate(values)]


def _input(fields: Fields, at: str, value: object) -> EmbedInput:
    if isinstance(value, str):
        return EmbedInput(text=value)
    if isinstance(value, list):
        return _tokens(fields, at, value)
    raise fields.wrong(at, "must be a string or an array of tokens")


def _tokens(fields: Fields, at: str, values: list[Any]) -> EmbedInput:
    for index, value in enumerate(values):
        if type(value) is not int or not 0 <= value < 1 << (_TOKEN_BITS - 1):
            raise fields.wrong(f"{at}[{index}]", "must be a token, a number from 0 on")
    return EmbedInput(tokens=TokenList(ids=values))


def _options(fields: Fields) -> str:
    more = {key: fields.value(key) for key in fields.keys() if key not in _KNOWN}  # noqa: SIM118 - not a mapping
    try:
        return json_text(more) if more else ""
    except TypeError:
        raise HttpError(422, "The body is nested too deeply.") from None
