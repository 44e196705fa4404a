"""The edge of one HTTP request: it is answered, or the caller is told why not, and what came of it is written down."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter

from loom_grpc.core.call import Call
from loom_grpc.core.errors import INVALID_REQUEST, LlmError, server_draining, server_failed
from loom_grpc.frontends.body import HttpError
from loom_grpc.shim.exchange import Gone
from loom_grpc.telemetry import Telemetry


class Edge:
    """Attends to requests; nobody gets in once `draining` says so."""

    def __init__(self, telemetry: Telemetry, draining: Callable[[], bool]) -> None:
        self._telemetry = telemetry
        self._draining = draining

    async def attend(
        self,
        call: Call,
        work: Callable[[], Awaitable[None]],
        *,
        refuse: Callable[[HttpError], Awaitable[None]],
        fail: Callable[[LlmError], Awaitable[None]],
    ) -> None:
        """Runs `work`, which answers the caller; `refuse` and `fail` answer where it raises instead."""
        began = perf_counter()
        failure: LlmError | None = None
        gone = False
        try:
            if self._draining():
                raise server_draining()
            await work()
        except Gone:
            gone = True
        except HttpError as error:
            failure = LlmError(INVALID_REQUEST, error.message)
            await refuse(error)
        except LlmError as error:
            failure = error
            await fail(failure)
        except Exception as error:  # noqa: BLE001 # this is the edge: what is not foreseen is logged and told
            self._telemetry.crashed(call, error)
            failure = server_failed()
            await fail(failure)
        except asyncio.CancelledError:
            # The time to drain is over. The caller is told, and then nothing is left to be cancelled.
            failure = server_draining()
            await fail(failure)
        self._telemetry.finished(call, failure, perf_counter() - began, "http", cancelled=gone)
