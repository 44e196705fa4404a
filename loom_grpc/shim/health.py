"""Tells how the server and its providers are."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from loom_grpc import __version__
from loom_grpc.core.errors import LlmError
from loom_grpc.core.ports import Gateway, ProviderState
from loom_grpc.frontends import loom_admin
from loom_grpc.telemetry import Telemetry

_NOBODY: Final = {"name": "none", "status": "degraded", "error": "LLM service not configured"}


class Health:
    """Answers `GET /health` in Loom's shape."""

    def __init__(self, gateway: Gateway, telemetry: Telemetry) -> None:
        self._gateway = gateway
        self._telemetry = telemetry

    async def answer(self, request: Request) -> Response:
        """Answers 200 while some provider can be called, and 503 otherwise. What else is in trouble is a warning: calls go on."""
        began = time.perf_counter()
        providers = await self._providers()
        value: dict[str, Any] = {
            "status": providers["status"],
            "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
            "duration_ms": round((time.perf_counter() - began) * 1000),
            "version": {"version": __version__},
            "components": {"llm_providers": providers},
        }
        if warnings := self._telemetry.troubles.warnings():
            value["warnings"] = [{"component": part, "message": words} for part, words in warnings]
        status = 200 if value["status"] in ("healthy", "degraded") else 503
        return Response(orjson.dumps(value), status, media_type="application/json")

    async def _providers(self) -> dict[str, Any]:
        try:
            states = [state for state in await self._gateway.providers() if state.configured]
        except LlmError as error:
            return {"status": "unknown", "providers": [{"name": "none", "status": "unknown", "error": error.message}]}
        if not states:
            return {"status": "degraded", "providers": [_NOBODY]}
        return {"status": _overall(states), "providers": [_provider(state) for state in states]}


def _provider(state: ProviderState) -> dict[str, Any]:
    value: dict[str, Any] = {"name": state.name, "status": state.status, "mode": state.mode}
    if state.pool is not None:
        value["pool"] = loom_admin.pool(state.pool, time.time())
    if state.error:
        value["error"] = state.error
    return value


def _overall(states: Iterable[ProviderState]) -> str:
    statuses = {state.status for state in states}
    return statuses.pop() if len(statuses) == 1 else "degraded"
