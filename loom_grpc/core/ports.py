"""What the edges need of whatever answers calls: this process, or a server behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from loom_grpc.core.call import Call, Send
from loom_grpc.v1.llm_service_pb2 import CountTokensResponse, Model


@dataclass(frozen=True, slots=True)
class ProviderState:
    """What `/health` tells of a provider."""

    name: str
    title: str
    """The provider's name for people, such as `Z.ai`."""
    configured: bool
    healthy: bool = True
    error: str = ""


class Gateway(Protocol):
    """Answers calls. Raises `LlmError` only; cancelling any of these stops the upstream work."""

    async def answer(self, call: Call, send: Send) -> None:
        """Answers a call, as every `Handler` does."""

    async def list_models(self, provider: str = "") -> list[Model]:
        """Returns the models of one provider or of all, ordered by provider and id."""

    async def count_tokens(self, call: Call) -> CountTokensResponse:
        """Counts the prompt tokens of the call's request."""

    async def providers(self) -> list[ProviderState]:
        """Returns every provider that the contract knows by name or that is configured."""
