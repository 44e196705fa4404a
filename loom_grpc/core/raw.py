"""A request to a provider's own API that is passed on as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from loom_grpc.core.errors import LlmError


class Reply(Protocol):
    """Where the provider's answer goes."""

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Sends the head; names are in lower case."""

    async def write(self, chunk: bytes) -> None:
        """Sends the next bytes; returns when the receiver has room for more."""


class Raw(NamedTuple):
    """A request, and where its answer goes."""

    method: str
    target: str
    """The path below the provider's base URL, which begins with `/`, and the query."""
    headers: Mapping[str, str]
    """Names in lower case; without credentials."""
    body: bytes
    reply: Reply


class Refused(NamedTuple):
    """What a provider answered that would not do what it was asked, for the caller who speaks to it directly."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class RawError(LlmError):
    """A failure of a request that was passed on, with the provider's answer."""

    def __init__(self, error: LlmError, refused: Refused) -> None:
        super().__init__(error.reason, error.message, retry_after=error.retry_after, detail=error.detail)
        self.metadata = error.metadata
        self.refused = refused
