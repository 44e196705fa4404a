"""What a front end is: a pure codec between an API that callers speak and our contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from loom_grpc.core.call import Call
from loom_grpc.core.errors import LlmError
from loom_grpc.core.native import Native
from loom_grpc.core.notice import Notice
from loom_grpc.frontends.body import HttpError
from loom_grpc.v1.llm_service_pb2 import (
    CountTokensResponse,
    EmbedRequest,
    EmbedResponse,
    LlmEvent,
    LlmRequest,
    LlmResponse,
)


class Asked(NamedTuple):
    """What a caller asks for."""

    request: LlmRequest
    stream: bool
    native: Native | None = None
    """The request as it came, for a provider that speaks the same dialect."""
    form: str = ""
    """How the answer is to be framed, where the API has several ways."""
    restarts: bool = False
    """Whether the caller takes an answer that begins anew in mid-stream."""


class Writer(Protocol):
    """Writes one answer."""

    media_type: str
    """Of a stream; a whole answer is JSON."""

    def event(self, event: LlmEvent) -> bytes:
        """Writes an event of a stream, `completed` included; empty where the API says nothing of it."""

    def failed(self, error: LlmError) -> bytes:
        """Writes the end of a stream that failed after it had begun."""

    def keep_alive(self) -> bytes:
        """Writes something without meaning into a stream that has been silent for long."""

    def whole(self, response: LlmResponse, native_json: bytes) -> bytes:
        """Writes a whole answer; `native_json` is what the provider wrote, where it speaks the caller's dialect."""


class Api(Protocol):
    """What every API that callers speak has."""

    name: str
    """Which API it is, for logs: `loom`, `openai`, `responses`, `anthropic`, `gemini`."""

    def failure(self, error: LlmError, request_id: str) -> tuple[int, bytes]:
        """Returns the HTTP status and the body of a call that failed before anything was sent."""

    def refusal(self, error: HttpError, request_id: str) -> tuple[int, bytes]:
        """Returns the HTTP status and the body for a request that is no call."""

    def headers(self, request_id: str) -> Mapping[str, str]:
        """Returns the headers by which the API's clients know an answer, beside our own."""

    def limits(self, notices: Sequence[Notice], now: float) -> Mapping[str, str]:
        """Returns the headers that tell how the caller's limits stand; `now` is seconds since 1970."""


class Frontend(Api, Protocol):
    """An API that answers conversations."""

    def read(self, body: bytes, path: Mapping[str, str], headers: Mapping[str, str]) -> Asked:
        """Reads a request; `path` has the pieces of the address, its query included, `headers` those of the request, in lower case.

        Raises `HttpError` where its shape is wrong, and `LlmError` (INVALID_REQUEST) for what nobody could be told.
        """

    def writer(self, asked: Asked, call: Call) -> Writer:
        """Returns what writes the answer to a call."""


class CountingFrontend(Frontend, Protocol):
    """An API that also counts the prompt tokens of a conversation."""

    def count(self, counted: CountTokensResponse) -> bytes:
        """Writes a number of prompt tokens."""


class EmbedAsked(NamedTuple):
    """What a caller wants vectors of."""

    request: EmbedRequest
    form: str = ""
    """How the vectors are to be written, where the API has several ways."""


class EmbeddingFrontend(Api, Protocol):
    """An API that turns texts into vectors."""

    def read(self, body: bytes, path: Mapping[str, str], headers: Mapping[str, str]) -> EmbedAsked:
        """Reads a request, as `Frontend.read` does."""

    def write(self, asked: EmbedAsked, response: EmbedResponse) -> bytes:
        """Writes the vectors."""
