"""Deletes records of calls that are old enough, and prompts and answers before them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from loom_grpc.config import AuditConfig
from loom_grpc.core.account import StoreError
from loom_grpc.core.ledger import Ledger
from loom_grpc.telemetry import Telemetry

_EVERY_S: Final = 3600.0
_AGAIN_S: Final = 60.0
"""When it is tried again after the database was away."""
_DAY_S: Final = 86_400.0


class Pruning:
    """Prunes a ledger at once and every hour; of all processes that share the ledger, one at a time. `clock` gives seconds since 1970."""

    def __init__(
        self,
        ledger: Ledger,
        config: AuditConfig,
        telemetry: Telemetry,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._ledger = ledger
        self._config = config
        self._telemetry = telemetry
        self._clock = clock
        self._sleep = sleep
        self._task: asyncio.Task[None] | None = None
        self._trouble = ""

    def start(self) -> None:
        """Begins."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stops; what is left is deleted after the next start. The ledger stays open."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            trouble = ""
            try:
                await self._prune()
            except StoreError as error:
                trouble = str(error)
            except Exception as error:  # noqa: BLE001 - a background loop: the next time may go well
                self._telemetry.crashed(None, error)
                trouble = f"There was an unexpected {type(error).__name__}."
            if trouble and not self._trouble:
                self._telemetry.pruning_failed(trouble)
            self._trouble = trouble
            await self._sleep(_AGAIN_S if trouble else _EVERY_S)

    async def _prune(self) -> None:
        now, config = self._clock(), self._config
        counts = await self._ledger.prune(
            content_before=now - config.content_retention_days * _DAY_S, before=now - config.retention_days * _DAY_S
        )
        self._telemetry.records_pruned(counts)
