"""Which models the providers have: as configured, and as they say themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from loom_grpc.core.call import Call
from loom_grpc.core.errors import LlmError
from loom_grpc.core.pool import Pool
from loom_grpc.core.router import Target
from loom_grpc.v1.llm_service_pb2 import LlmRequest, Model

_FRESH_S: Final = 300.0
"""How long a provider's list is believed before it is asked again."""
_FAILED_S: Final = 15.0
"""How long a provider that did not answer is left alone."""


@dataclass(slots=True)
class Shelf:
    """A provider's models, and until when on the event loop's clock they need not be asked for again."""

    pool: Pool
    target: Target
    configured: list[str]
    models: dict[str, Model] = field(default_factory=dict)
    fresh_until: float = float("-inf")
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Listing:
    """Keeps the providers' model lists; a provider that does not answer is listed with its configured models alone."""

    def __init__(self, shelves: Mapping[str, Shelf], on_failure: Callable[[str, LlmError], None]) -> None:
        self._shelves = shelves
        self._on_failure = on_failure

    async def models(self, provider: str = "") -> list[Model]:
        """Returns the models of one configured provider or of all, ordered by provider and id."""
        names = [provider] if provider else sorted(self._shelves)
        lists = await asyncio.gather(*(self._list(name) for name in names))
        return [model for models in lists for model in models]

    async def _list(self, provider: str) -> list[Model]:
        shelf = self._shelves[provider]
        async with shelf.lock:
            await self._refresh(provider, shelf)
        default = shelf.target.default_model
        names = sorted({*shelf.models, *shelf.configured, *([default] if default else [])})
        return [
            Model(
                provider=provider,
                id=name,
                display_name=shelf.models[name].display_name if name in shelf.models else "",
                is_default=name == default,
            )
            for name in names
        ]

    async def _refresh(self, provider: str, shelf: Shelf) -> None:
        now = asyncio.get_running_loop().time()
        if now < shelf.fresh_until:
            return
        call = Call(LlmRequest(), stream=False, request_id=f"models-{provider}", provider=provider)
        try:
            models = await shelf.pool.ask(call, lambda account: account.inquiry.models(call), lenient=True)
        except LlmError as error:
            shelf.fresh_until = now + _FAILED_S
            self._on_failure(provider, error)
            return
        shelf.fresh_until = now + _FRESH_S
        shelf.models = {model.id: model for model in models or ()}
        shelf.target.models = frozenset(shelf.models) | frozenset(shelf.configured)
