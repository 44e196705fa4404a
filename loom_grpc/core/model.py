"""What is known of a model, and whether it can serve a request."""

from __future__ import annotations

from decimal import Decimal
from functools import cached_property
from typing import Final, NamedTuple

from loom_grpc.core.estimate import estimate_tokens
from loom_grpc.v1.llm_service_pb2 import LlmRequest
from loom_grpc.v1.message_pb2 import ROLE_ASSISTANT

_SURELY: Final = 0.6
"""The part of an estimate of tokens that a prompt is sure to have: six bytes and more to a token are rare."""


class Prices(NamedTuple):
    """What a model costs: dollars for a million tokens; None has no price of its own (`core.tariff.each`)."""

    input: Decimal
    output: Decimal
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_1h: Decimal | None = None
    reasoning: Decimal | None = None
    input_audio: Decimal | None = None
    cache_read_audio: Decimal | None = None
    output_audio: Decimal | None = None
    input_image: Decimal | None = None
    output_image: Decimal | None = None

    @property
    def blended(self) -> Decimal:
        """What a million tokens cost when three are read for each that is written, the usual way to compare models."""
        return (3 * self.input + self.output) / 4


class Facts(NamedTuple):
    """What is known of a model; None is unknown."""

    context_tokens: int | None = None
    """The most tokens of prompt and answer together."""
    max_output_tokens: int | None = None
    tools: bool | None = None
    images: bool | None = None
    documents: bool | None = None
    audio: bool | None = None
    reasoning: bool | None = None
    json_schema: bool | None = None
    prefill: bool | None = None
    """Whether it goes on with an assistant message at the end of the prompt."""
    prices: Prices | None = None


UNKNOWN: Final = Facts()


class Size:
    """How long a request is, measured once for all models: that of a long one takes milliseconds."""

    def __init__(self, request: LlmRequest) -> None:
        self._request = request

    @cached_property
    def bytes(self) -> int:
        """All that it has, which is more than its tokens: each has a byte at least."""
        return self._request.ByteSize()

    @cached_property
    def tokens(self) -> int:
        """What its prompt is guessed to have."""
        return estimate_tokens(self._request)


def obstacle(request: LlmRequest, facts: Facts, size: Size) -> str:
    """Returns why a model is known not to be able to serve a request, in a word; empty when it may. `size` is the request's."""
    if facts.tools is False and request.tools:
        return "tools"
    if facts.prefill is False and request.messages and request.messages[-1].role == ROLE_ASSISTANT:
        return "prefill"
    if facts.json_schema is False and request.response_format.HasField("json_schema"):
        return "json_schema"
    if False in (facts.images, facts.documents, facts.audio) and (medium := _unreadable(request, facts)):
        return medium
    return "context" if _is_too_long(size, request.max_tokens, facts.context_tokens) else ""


def _unreadable(request: LlmRequest, facts: Facts) -> str:
    """Returns the first kind of content that a model cannot take."""
    refused = {kind: name for kind, name, taken in _kinds(facts) if taken is False}
    for message in request.messages:
        for part in message.parts:
            if name := refused.get(part.WhichOneof("kind")):
                return name
    return ""


def _kinds(facts: Facts) -> tuple[tuple[str | None, str, bool | None], ...]:
    return (
        ("image", "images", facts.images),
        ("document", "documents", facts.documents),
        ("audio", "audio", facts.audio),
    )


def _is_too_long(size: Size, max_tokens: int, context_tokens: int | None) -> bool:
    # Most requests are so short that they need not be looked through.
    if context_tokens is None or size.bytes + max_tokens <= context_tokens:
        return False
    return _SURELY * size.tokens + max_tokens > context_tokens
