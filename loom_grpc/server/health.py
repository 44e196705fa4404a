"""Health as `grpc.health.v1` has it: of the server, of each service, and of each provider."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

NAME: Final[str] = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
_SERVING: Final[int] = HealthCheckResponse.SERVING
_NOT_SERVING: Final[int] = HealthCheckResponse.NOT_SERVING
_SERVICE_UNKNOWN: Final[int] = HealthCheckResponse.SERVICE_UNKNOWN
_LONG_NAME: Final = 100


class Health(health_pb2_grpc.HealthServicer):
    """Answers probes. "" is the server, `loom_grpc.v1.LlmService` a service, `loom_grpc.v1.LlmService/openai` a provider of that service.

    https://github.com/grpc/grpc/blob/master/doc/health-checking.md, seen 2026-11-21, leaves the names to the server.
    """

    def __init__(self, services: Iterable[str], providers_of: str) -> None:
        self._services = ("", *services)
        self._providers_of = providers_of
        self._statuses: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._draining = False
        self._watches = 0

    @property
    def is_watched(self) -> bool:
        """Whether somebody hears of changes."""
        return self._watches > 0

    def tell(self, providers: Mapping[str, bool]) -> None:
        """Serves from now on; of each provider it is said whether it can be asked."""
        statuses = dict.fromkeys(self._services, _SERVING)
        for name, can_be_asked in providers.items():
            statuses[f"{self._providers_of}/{name}"] = _SERVING if can_be_asked else _NOT_SERVING
        self._set(statuses)

    def drain(self) -> None:
        """Serves no longer, nor any provider with it; watchers hear that and are let go, or else each would hold the server up."""
        self._draining = True
        self._set(dict.fromkeys(self._statuses, _NOT_SERVING))

    async def Check(self, request: HealthCheckRequest, context: Any) -> HealthCheckResponse:  # noqa: N802 - gRPC's names
        """Tells a service's status; NOT_FOUND where nobody knows it."""
        status = self._statuses.get(request.service)
        if status is None:
            message = f"No service {request.service[:_LONG_NAME]!r} here; List names those there are."
            await context.abort(grpc.StatusCode.NOT_FOUND, message)
        return HealthCheckResponse(status=status)

    async def List(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Tells the status of every service."""
        return health_pb2.HealthListResponse(  # type: ignore[attr-defined] # newer than the published types
            statuses={name: HealthCheckResponse(status=status) for name, status in self._statuses.items()}
        )

    async def Watch(self, request: HealthCheckRequest, context: Any) -> None:  # noqa: N802
        """Tells a service's status and every change of it until the server drains, NOT_SERVING as the last."""
        self._watches += 1
        try:
            await self._tell_changes(request.service, context)
        finally:
            self._watches -= 1

    async def _tell_changes(self, service: str, context: Any) -> None:
        told: int | None = None
        while True:
            changed, is_last = self._changed, self._draining
            status = self._statuses.get(service, _SERVICE_UNKNOWN)
            if status != told:
                await context.write(HealthCheckResponse(status=status))
                told = status
            if is_last:
                return
            await changed.wait()

    def _set(self, statuses: dict[str, int]) -> None:
        self._statuses = statuses
        told, self._changed = self._changed, asyncio.Event()
        told.set()
