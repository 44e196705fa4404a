"""Vertex AI: Gemini's dialect, and Anthropic's for Claude (docs.cloud.google.com/vertex-ai/generative-ai/docs, seen 2026-11-21)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from loom_grpc.core.call import Call
from loom_grpc.core.decoder import Decoder
from loom_grpc.core.errors import INVALID_REQUEST, LlmError
from loom_grpc.core.exact import dumps
from loom_grpc.core.native import Native
from loom_grpc.providers.anthropic import Anthropic
from loom_grpc.providers.classify import json_object
from loom_grpc.providers.dialect import EmbeddingCodec, HttpRequest, native_body, read_count
from loom_grpc.providers.embedding import VertexEmbedding
from loom_grpc.providers.gemini import content_decoder, verb
from loom_grpc.providers.gemini_error import http_error
from loom_grpc.providers.gemini_request import NAME, write_body
from loom_grpc.providers.wait import NO_HEADERS
from loom_grpc.v1.llm_service_pb2 import Model

ANTHROPIC_VERSION: Final = "vertex-2023-10-16"

_MODEL: Final = re.compile(r"(?:publishers/([a-z0-9-]+)/models/|([a-z0-9-]+)/)?([^/]+)")
_COUNTED: Final = ("contents", "systemInstruction", "tools")
"""What countTokens takes here."""


def base_url(location: str) -> str:
    """Returns where a location answers: a region, `global`, or one of the groups of regions `us` and `eu`."""
    if location == "global":
        return "https://aiplatform.googleapis.com"
    if location in ("us", "eu"):
        return f"https://aiplatform.{location}.rep.googleapis.com"
    return f"https://{location}-aiplatform.googleapis.com"


class Vertex:
    """Vertex AI in one project and location. `name` is what Gemini's state is written under; Claude's has its own."""

    name = NAME

    def __init__(self, project: str, location: str) -> None:
        self._publishers = f"/v1/projects/{quote(project, safe=':')}/locations/{quote(location, safe='')}/publishers"
        self._claude = Claude(f"{self._publishers}/anthropic/models")
        self.embedding: EmbeddingCodec | None = VertexEmbedding(self._method)

    def encode(self, call: Call) -> HttpRequest:
        """Writes a request for generateContent, or for rawPredict when the model is Claude."""
        publisher, model = publisher_and_model(call.model)
        if publisher == "anthropic":
            return self._claude.encode(call)
        # This version of the API knows no ids of calls.
        body = write_body(call.request, model, ids=False)
        return self._request(publisher, model, verb(call), body)

    def encode_native(self, call: Call, native: Native) -> HttpRequest | None:
        """Takes a request as it is, in the dialect of the model's publisher."""
        publisher, model = publisher_and_model(call.model)
        if publisher == "anthropic":
            return self._claude.encode_native(call, native)
        return (
            None if native.dialect != NAME else self._request(publisher, model, verb(call), native_body(call, native))
        )

    def decoder(self, call: Call, media_type: str) -> Decoder:
        """Reads what the model's own dialect says."""
        if _is_claude(call.model):
            return self._claude.decoder(call, media_type)
        return content_decoder(call, media_type)

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> LlmError:
        """Classifies what Anthropic wrote as Anthropic's and everything else as Google's."""
        if json_object(body).get("type") == "error":
            return self._claude.error(status, headers, body)
        return http_error(status, headers, body)

    def encode_count(self, call: Call) -> HttpRequest | None:
        """Writes a request for countTokens."""
        publisher, model = publisher_and_model(call.model)
        if publisher == "anthropic":
            return self._claude.encode_count(call)
        body = write_body(call.request, model, ids=False)
        return self._request(publisher, model, "countTokens", {key: body[key] for key in _COUNTED if key in body})

    def decode_count(self, body: bytes) -> int:
        """Reads Gemini's or Claude's name for the number."""
        value = json_object(body)
        return read_count(value, "input_tokens" if "input_tokens" in value else "totalTokens")

    def encode_models(self) -> HttpRequest | None:
        """Has no list of the models that a project can use."""
        return None

    def decode_models(self, body: bytes) -> list[Model]:
        """Reads nothing, as nothing is asked for."""
        return []

    def _request(self, publisher: str, model: str, method: str, body: dict[str, Any]) -> HttpRequest:
        return HttpRequest("POST", self._method(f"{publisher}/{model}", method), dumps(body).encode())

    def _method(self, model: str, method: str) -> str:
        """Returns the path of a method of a model."""
        publisher, name = publisher_and_model(model)
        return f"{self._publishers}/{publisher}/models/{quote(name, safe='@')}:{method}"


class Claude(Anthropic):
    """Messages as Vertex AI takes them: the model is in the path, the version in the body."""

    def __init__(self, models: str) -> None:
        self._models = models

    def _request(self, path: str, body: dict[str, Any], headers: Mapping[str, str] = NO_HEADERS) -> HttpRequest:
        betas = {name: value for name, value in headers.items() if name != "anthropic-version"}
        model = publisher_and_model(str(body.pop("model", "")))[1]
        body.setdefault("anthropic_version", ANTHROPIC_VERSION)
        if path == "/v1/messages":
            method = "streamRawPredict" if body.get("stream") else "rawPredict"
            return HttpRequest("POST", f"{self._models}/{quote(model, safe='@')}:{method}", dumps(body).encode(), betas)
        body["model"] = model
        return HttpRequest("POST", f"{self._models}/count-tokens:rawPredict", dumps(body).encode(), betas)


def publisher_and_model(model: str) -> tuple[str, str]:
    """Splits `publisher/model`; a bare name is Google's, or Anthropic's when it begins with `claude`."""
    match = _MODEL.fullmatch(model.removeprefix("models/"))
    if match is None:
        message = f"model: {model!r} is no model of Vertex AI; give a name, or publisher/name."
        raise LlmError(INVALID_REQUEST, message, field="model")
    name = match[3]
    return match[1] or match[2] or ("anthropic" if name.startswith("claude") else "google"), name


def _is_claude(model: str) -> bool:
    return publisher_and_model(model)[0] == "anthropic"
