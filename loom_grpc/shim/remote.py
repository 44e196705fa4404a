"""A gateway that is a loom-grpc server somewhere else."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping
from time import perf_counter
from typing import Any, Final, TypeVar

import grpc.aio

from loom_grpc.client import LoomClient, llm_error
from loom_grpc.client.health import serving_status
from loom_grpc.core.cache import HEADER as CACHE_HEADER
from loom_grpc.core.call import Call, Send
from loom_grpc.core.errors import PERMISSION_DENIED, UNAUTHENTICATED, LlmError
from loom_grpc.core.fingerprint import CREDENTIALS, TENANT
from loom_grpc.core.notice import LIMITS, read_notices
from loom_grpc.core.ports import Admin, Office, ProviderState
from loom_grpc.core.principal import Principal, Shown, bearer, stranger
from loom_grpc.core.quota import Claim, Scope, Standing
from loom_grpc.providers.registry import PROVIDERS
from loom_grpc.shim.remote_office import RemoteOffice
from loom_grpc.telemetry.log import REQUEST_ID
from loom_grpc.v1.llm_service_pb2 import Completed, CountTokensResponse, EmbedRequest, EmbedResponse, LlmEvent, Model

R = TypeVar("R")

_FORWARDED: Final = (*CREDENTIALS, "loom-cache", "loom-events", "traceparent", "tracestate", "baggage")
_STATE_TIMEOUT_S: Final = 5.0


class RemoteGateway:
    """Passes calls on to a server, each with its deadline, request id and credentials; cancelling cancels there too.

    `upstream_s` of a call grows by the time that the server took, its own overhead included.
    """

    def __init__(self, client: LoomClient) -> None:
        self._client = client
        self.gatekeeper = _Door()
        self._known: list[str] = []
        """The providers that the server had when it last said so."""

    async def answer(self, call: Call, send: Send) -> None:
        """Passes every event on; a call that is no stream gets `completed` alone."""
        if call.native is not None:
            call.dropped = call.native.left_out("a server behind a shim")
        began = perf_counter()  # the loop's clock goes in steps of a millisecond
        try:
            await (self._stream(call, send) if call.stream else self._complete(call, send))
        finally:
            call.upstream_s += perf_counter() - began

    async def list_models(self, call: Call, provider: str = "") -> list[Model]:
        """Returns the server's models."""
        return await self._client.list_models(provider, metadata=_metadata(call))

    async def count_tokens(self, call: Call) -> CountTokensResponse:
        """Lets the server count."""
        metadata = self._client.metadata(_metadata(call))
        rpc = self._client.stub.CountTokens(call.request, timeout=_timeout_s(call), metadata=metadata)
        counted = await self._awaited(rpc, call)
        call.provider, call.model = counted.provider, counted.model
        return counted

    async def embed(self, call: Call) -> EmbedResponse:
        """Lets the server embed."""
        began = perf_counter()  # the loop's clock goes in steps of a millisecond
        metadata = self._client.metadata(_metadata(call))
        rpc = self._client.stub.Embed(call.embed or EmbedRequest(), timeout=_timeout_s(call), metadata=metadata)
        try:
            return await self._awaited(rpc, call)
        finally:
            call.upstream_s += perf_counter() - began

    async def pass_on(self, call: Call) -> None:
        """Is only for the server that has the credentials."""
        raise LlmError(
            PERMISSION_DENIED, "Requests are passed on as they are by the server itself, not by a shim before it."
        )

    async def providers(self) -> list[ProviderState]:
        """Returns the providers whose models the server lists, all unhealthy while it does not serve."""
        error = ""
        try:
            error = await self._trouble()
            models = await self._client.list_models(timeout_s=_STATE_TIMEOUT_S)
            self._known = list(dict.fromkeys(model.provider for model in models if model.provider))
        except LlmError as failure:
            if not self._known:
                raise
            error = error or failure.message
        status: Final = "unhealthy" if error else "healthy"
        return [ProviderState(name, _title(name), True, status, error) for name in self._known]

    def conclude(self, call: Call, error: LlmError | None = None, *, cancelled: bool = False) -> None:
        """Leaves it to the server behind to record the call."""

    def admin(self, shown: Shown) -> Admin:
        """Lets the server behind decide what the key is good for; the client's own key is not shown there."""
        try:
            return self._client.admin(_admin_key(shown), metadata=_request_id())
        except ValueError:  # no key, or one that no server can have
            raise _no_key() from None

    def office(self, shown: Shown) -> Office:
        """Lets the server behind decide, as for `admin`."""
        try:
            metadata = self._client.metadata({"authorization": f"Bearer {_admin_key(shown)}", **_request_id()})
        except ValueError:
            raise _no_key() from None
        return RemoteOffice(self._client, metadata)

    async def _stream(self, call: Call, send: Send) -> None:
        stream = self._client.stream(call.request, timeout_s=_timeout_s(call), metadata=_metadata(call))
        async with stream:
            try:
                async for event in stream:
                    if not call.responded:
                        _note_limits(call, await stream.headers())
                    if event.HasField("started"):
                        started = event.started
                        call.provider, call.model, call.attempt = started.provider, started.model, started.attempt
                        call.cache = "" if started.attempt else "hit"  # only what was kept is nobody's attempt
                    call.responded = True
                    await send(event)
                _note(call, (await stream.trailers()).items())
            except LlmError:
                _note(call, (await stream.trailers()).items())
                raise

    async def _complete(self, call: Call, send: Send) -> None:
        metadata = self._client.metadata(_metadata(call))
        rpc = self._client.stub.Complete(call.request, timeout=_timeout_s(call), metadata=metadata)
        response = await self._awaited(rpc, call)
        call.responded = True
        await send(LlmEvent(completed=Completed(response=response)))

    async def _awaited(self, rpc: grpc.aio.UnaryUnaryCall[Any, R], call: Call) -> R:
        """Returns what the server answers, and keeps what it tells of the call; raises `LlmError`."""
        try:
            response = await rpc
        except grpc.aio.AioRpcError as failure:
            _note(call, failure.trailing_metadata() or ())
            raise llm_error(failure, self._client.target) from failure
        _note(call, await rpc.trailing_metadata())
        return response

    async def _trouble(self) -> str:
        """Returns what is wrong with the server; raises `LlmError` when it does not even say."""
        status = await serving_status(self._client, timeout_s=_STATE_TIMEOUT_S)
        return "" if status == "SERVING" else f"The server at {self._client.target} is {status}."


class _Door:
    """Lets everybody through to the server behind, which decides."""

    async def admit(self, method: str, shown: Shown) -> Principal:
        """Returns a caller of whom nothing is known."""
        return stranger(shown)

    def address_of(self, shown: Shown) -> str:
        """Returns the address at the other end of the connection."""
        return shown.peer


def _admin_key(shown: Shown) -> str:
    """Returns what a caller shows as its key; empty where there is none."""
    credentials = dict(shown.credentials)
    return bearer(credentials.get("authorization", "")) or credentials.get("x-api-key", "").strip()


def _request_id() -> dict[str, str]:
    return {"x-request-id": REQUEST_ID.get()} if REQUEST_ID.get() else {}


def _no_key() -> LlmError:
    return LlmError(UNAUTHENTICATED, "Administration needs the server's admin key as bearer token.")


def _timeout_s(call: Call) -> float | None:
    if call.deadline == math.inf:
        return None
    return max(0.0, call.deadline - asyncio.get_running_loop().time())


def _metadata(call: Call) -> dict[str, str]:
    """Returns the metadata that goes on to the server."""
    forwarded = {name: call.metadata[name] for name in _FORWARDED if name in call.metadata}
    if call.tenant:
        forwarded[TENANT] = call.tenant
    if call.address:
        forwarded["x-forwarded-for"] = call.address
    return {**forwarded, "x-request-id": call.request_id}


def _note(call: Call, trailers: Iterable[tuple[str, str | bytes]]) -> None:
    """Keeps what the server tells of the call at its end."""
    told = {name: value for name, value in trailers if isinstance(value, str)}
    call.provider = told.get("loom-provider", call.provider)
    call.model = told.get("loom-model", call.model)
    call.cache = told.get(CACHE_HEADER, "")
    if (attempts := told.get("loom-attempts", "")).isdigit():
        call.attempt = int(attempts)
    _note_limits(call, told)


def _note_limits(call: Call, told: Mapping[str, str]) -> None:
    """Keeps what the server tells of the caller's limits, as of when the call came."""
    if LIMITS in told:
        passed_s = perf_counter() - call.began
        call.standings = [
            Standing(Claim(b"", kind, 0, most, Scope("", "")), left, reset_s + passed_s)
            for kind, most, left, reset_s in read_notices(told[LIMITS])
        ]


def _title(name: str) -> str:
    row = PROVIDERS.get(name)
    return row.title if row is not None else name
