"""What a provider's dialect can do; all of it is pure, and the driver does the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from loom_grpc.core.call import Call
from loom_grpc.core.decoder import Decoder
from loom_grpc.core.errors import PROVIDER_BAD_RESPONSE, LlmError
from loom_grpc.core.native import Native
from loom_grpc.core.request import merge, options
from loom_grpc.core.sse import BodyFramer, SseFramer
from loom_grpc.providers.classify import provider_error
from loom_grpc.providers.count import believed
from loom_grpc.v1.llm_service_pb2 import EmbedInput, EmbedRequest, Model
from loom_grpc.v1.usage_pb2 import Usage


class HttpRequest(NamedTuple):
    """A request to a provider; the path begins with `/` and is appended to the provider's base URL."""

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = {}


class Vectors(NamedTuple):
    """What a provider makes of some inputs."""

    values: list[list[float]]
    """In the order of the inputs."""
    model: str = ""
    """The model that answered; empty where the provider does not say."""
    usage: Usage | None = None


class EmbeddingCodec(Protocol):
    """How a wire format turns texts into vectors."""

    def most(self, model: str) -> int:
        """Returns how many inputs a request may have."""

    def encode(self, model: str, inputs: Sequence[EmbedInput], request: EmbedRequest) -> HttpRequest:
        """Writes a request for some of a request's inputs; raises `LlmError` (INVALID_REQUEST) for what the wire format cannot say."""

    def decode(self, body: bytes) -> Vectors:
        """Reads the answer; raises `LlmError` (PROVIDER_BAD_RESPONSE)."""


class Dialect(Protocol):
    """One wire format.

    `name` is the `origin` that the dialect writes beside provider state. Encoding raises `LlmError` (INVALID_REQUEST) for what the wire
    format cannot say; nothing else raises.
    """

    name: str
    embedding: EmbeddingCodec | None
    """How texts are turned into vectors; None where the wire format cannot say it."""

    def encode(self, call: Call) -> HttpRequest:
        """Writes a request for `call.model`, for a stream when `call.stream`."""

    def encode_native(self, call: Call, native: Native) -> HttpRequest | None:
        """Writes a request for `call.model` in the words in which it came; None where the dialect is another one."""

    def decoder(self, call: Call, media_type: str) -> Decoder:
        """Makes the reader of one answer; `media_type` is the answer's, without parameters and in lower case."""

    def error(self, status: int, headers: Mapping[str, str], body: bytes) -> LlmError:
        """Says what an answer of another status than 2xx means; header names are in lower case."""

    def encode_count(self, call: Call) -> HttpRequest | None:
        """Writes a request to count the prompt's tokens; None where the provider cannot."""

    def decode_count(self, body: bytes) -> int:
        """Reads the number of prompt tokens; raises `LlmError` (PROVIDER_BAD_RESPONSE)."""

    def encode_models(self) -> HttpRequest | None:
        """Writes a request for the provider's models; None where it has no list."""

    def decode_models(self, body: bytes) -> list[Model]:
        """Reads the provider's models, without `provider`; raises `LlmError` (PROVIDER_BAD_RESPONSE)."""


def native_body(call: Call, native: Native) -> dict[str, Any]:
    """Returns the body of a request that is sent in its own words, completed by the options of the configuration."""
    body = options(call.request)
    merge(body, dict(native.body), keep_null=True)
    return body


def framer_of(call: Call, media_type: str) -> BodyFramer | SseFramer:
    """Returns the framer for an answer that is JSON or server-sent events; some hosts give their streams no type, or another."""
    if media_type == "text/event-stream" or (call.stream and media_type != "application/json"):
        return SseFramer()
    return BodyFramer()


def read_count(value: dict[str, Any], key: str) -> int:
    """Reads a number of tokens; raises `LlmError` (PROVIDER_BAD_RESPONSE) when there is none."""
    count = believed(value.get(key))
    if count is None:
        raise provider_error(PROVIDER_BAD_RESPONSE)
    return count


def read_models(rows: object, title: str) -> list[Model]:
    """Reads rows with an `id` and, under `title`, a name for people; raises `LlmError` (PROVIDER_BAD_RESPONSE)."""
    if not isinstance(rows, list):
        raise provider_error(PROVIDER_BAD_RESPONSE)
    return [_model(row, title) for row in rows]


def _model(row: object, title: str) -> Model:
    if not isinstance(row, dict) or not isinstance(row.get("id"), str):
        raise provider_error(PROVIDER_BAD_RESPONSE)
    name = row.get(title)
    return Model(id=row["id"], display_name=name if isinstance(name, str) else "")
