"""The edge of one HTTP request: it is answered, or the caller is told why not, and what came of it is written down."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter, time
from typing import NamedTuple

from loom_grpc.config import Config
from loom_grpc.core.call import Call
from loom_grpc.core.errors import INVALID_REQUEST, LlmError, server_draining, server_failed
from loom_grpc.core.ports import Gateway
from loom_grpc.frontends.body import HttpError
from loom_grpc.shim.exchange import Exchange, Gone
from loom_grpc.telemetry import Telemetry


class Site(NamedTuple):
    """What every part of the HTTP edge is made with."""

    config: Config
    gateway: Gateway
    telemetry: Telemetry
    draining: Callable[[], bool]
    """Tells whether the server is about to stop."""


class Edge:
    """Attends to the requests of one route; nobody gets in whom the gatekeeper does not admit, nor once the server drains.

    `method` is the path of the route, with its variables as such.
    """

    def __init__(self, site: Site, method: str) -> None:
        self._gateway = site.gateway
        self._telemetry = site.telemetry
        self._draining = site.draining
        self._method = method

    async def attend(
        self,
        call: Call,
        exchange: Exchange,
        work: Callable[[], Awaitable[None]],
        *,
        refuse: Callable[[HttpError], Awaitable[None]],
        fail: Callable[[LlmError], Awaitable[None]],
    ) -> None:
        """Runs `work`, which answers the caller; `refuse` and `fail` answer where it raises instead."""
        call.began = perf_counter()
        failure: LlmError | None = None
        gone = False
        try:
            await self._admit(call, exchange)
            await work()
        except Gone:
            gone = True
        except HttpError as error:
            failure = LlmError(INVALID_REQUEST, error.message)
            self._gateway.conclude(call, failure)
            await refuse(error)
        except LlmError as error:
            failure = error
            self._gateway.conclude(call, failure)
            await fail(failure)
        except Exception as error:  # noqa: BLE001 # this is the edge: what is not foreseen is logged and told
            self._telemetry.crashed(call, error)
            failure = server_failed()
            self._gateway.conclude(call, failure)
            await fail(failure)
        except asyncio.CancelledError:
            # The time to drain is over. The caller is told, and then nothing is left to be cancelled.
            failure = server_draining()
            self._gateway.conclude(call, failure)
            await fail(failure)
        self._gateway.conclude(call, cancelled=gone)
        self._telemetry.finished(call, failure, perf_counter() - call.began, "http", cancelled=gone)

    async def _admit(self, call: Call, exchange: Exchange) -> None:
        if self._draining():
            raise server_draining()
        gatekeeper, shown = self._gateway.gatekeeper, exchange.shown()
        call.principal = await gatekeeper.admit(self._method, shown)
        call.tenant = call.principal.tenant
        call.address = gatekeeper.address_of(shown)
        call.began_s = time()
