"""Calls over one gRPC channel."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, Unpack

import grpc
import grpc.aio

from loom_grpc import __version__
from loom_grpc.client.admin import AdminClient
from loom_grpc.client.failure import llm_error, unreadable
from loom_grpc.client.message import Fields, make_request
from loom_grpc.core import errors
from loom_grpc.core.errors import LlmError
from loom_grpc.v1.llm_service_pb2 import (
    CountTokensResponse,
    EmbedInput,
    EmbedRequest,
    EmbedResponse,
    Error,
    ListModelsRequest,
    LlmEvent,
    LlmRequest,
    LlmResponse,
    Model,
)
from loom_grpc.v1.llm_service_pb2_grpc import LlmServiceStub

if TYPE_CHECKING:
    from loom_grpc.v1.llm_service_pb2_grpc import LlmServiceAsyncStub

DEFAULT_TARGET: Final = "127.0.0.1:50051"

_R = TypeVar("_R")
_MAX_MESSAGE_BYTES: Final = 64 * 2**20
_PAGE: Final = 1000
_END_S: Final = 2.0
"""How long a server may take to end a call after its last event; ours takes no time."""


class LoomClient:
    """Asks a loom-grpc server; every method raises `LlmError` when the call fails.

    The connection is opened by the first call, in whose event loop the client stays, and closed by `close` or by leaving `async with`.
    `api_key` goes out as a bearer token. `tls` is True for the system's authorities, or what `grpc.ssl_channel_credentials` returns for
    others and for a client certificate. `timeout_s` is for a whole call and can be set for each; None waits as long as the server does.
    `options` are gRPC channel arguments that replace the client's own. Cancelling a task that waits here cancels the call.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        api_key: str | None = None,
        tls: bool | grpc.ChannelCredentials = False,
        metadata: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        options: Mapping[str, str | int] | None = None,
    ) -> None:
        self.target = target
        self._tls = tls
        self._metadata = _metadata(api_key, metadata or {})
        self._timeout_s = timeout_s
        self._options = {**_channel_options(target), **(options or {})}
        self._channel: grpc.aio.Channel | None = None
        self._stub: LlmServiceAsyncStub | None = None

    def __repr__(self) -> str:
        return f"LoomClient({self.target!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection and cancels the calls that are in flight."""
        if self._channel is not None:
            await self._channel.close()

    async def complete(
        self,
        request: LlmRequest | str | None = None,
        *,
        timeout_s: float | None = None,
        metadata: Mapping[str, str] | None = None,
        **fields: Unpack[Fields],
    ) -> LlmResponse:
        """Returns the whole answer to a request, to a prompt (the last user message), or to the given fields."""
        rpc = self.stub.Complete(
            make_request(request, fields), timeout=self._timeout(timeout_s), metadata=self.metadata(metadata)
        )
        return await self._answer(rpc)

    def stream(
        self,
        request: LlmRequest | str | None = None,
        *,
        timeout_s: float | None = None,
        metadata: Mapping[str, str] | None = None,
        **fields: Unpack[Fields],
    ) -> Stream:
        """Starts the same call and returns its events as they come, to be used in `async for` or in `async with`."""
        rpc = self.stub.Stream(
            make_request(request, fields), timeout=self._timeout(timeout_s), metadata=self.metadata(metadata)
        )
        return Stream(rpc, self.target)

    async def count_tokens(
        self,
        request: LlmRequest | str | None = None,
        *,
        timeout_s: float | None = None,
        metadata: Mapping[str, str] | None = None,
        **fields: Unpack[Fields],
    ) -> CountTokensResponse:
        """Returns the number of prompt tokens of a request; `estimated` tells when the provider could not count them."""
        rpc = self.stub.CountTokens(
            make_request(request, fields), timeout=self._timeout(timeout_s), metadata=self.metadata(metadata)
        )
        return await self._answer(rpc)

    async def embed(
        self,
        request: EmbedRequest | str | Sequence[str],
        *,
        model: str = "",
        timeout_s: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> EmbedResponse:
        """Turns texts into vectors, in their order; `model` goes with texts."""
        if isinstance(request, str):
            request = [request]
        if not isinstance(request, EmbedRequest):
            request = EmbedRequest(model=model, inputs=[EmbedInput(text=text) for text in request])
        rpc = self.stub.Embed(request, timeout=self._timeout(timeout_s), metadata=self.metadata(metadata))
        return await self._answer(rpc)

    async def list_models(
        self, provider: str = "", *, timeout_s: float | None = None, metadata: Mapping[str, str] | None = None
    ) -> list[Model]:
        """Returns all models of one provider or of all, ordered by provider and id; `timeout_s` is for each page."""
        models: list[Model] = []
        request = ListModelsRequest(provider=provider, page_size=_PAGE)
        while True:
            rpc = self.stub.ListModels(request, timeout=self._timeout(timeout_s), metadata=self.metadata(metadata))
            page = await self._answer(rpc)
            models += page.models
            if not page.next_page_token:
                return models
            request.page_token = page.next_page_token

    def admin(self, key: str | None = None, *, metadata: Mapping[str, str] | None = None) -> AdminClient:
        """Returns what administers the server, with the server's admin key or, without one here, with the client's `api_key`.

        Raises `ValueError` for a key that cannot be sent.
        """
        own = self.metadata(_metadata(key, metadata or {}))
        return AdminClient(self.channel, self.target, own, self._timeout_s)

    @property
    def channel(self) -> grpc.aio.Channel:
        """The gRPC channel, for other services at the same address."""
        if self._channel is None:
            self._channel = _open(self.target, self._tls, list(self._options.items()))
        return self._channel

    @property
    def stub(self) -> LlmServiceAsyncStub:
        """The generated stub on the channel, for what the other methods do not cover; `metadata` and `llm_error` go with it."""
        if self._stub is None:
            self._stub = LlmServiceStub(self.channel)
        return self._stub

    def metadata(self, extra: Mapping[str, str] | None = None) -> list[tuple[str, str]]:
        """Returns the metadata of a call: the client's own, which `extra` replaces by name; raises `ValueError`."""
        return list({**self._metadata, **_checked(extra or {})}.items())

    async def _answer(self, rpc: grpc.aio.UnaryUnaryCall[Any, _R]) -> _R:
        try:
            answer: _R | None = await rpc
        except grpc.aio.AioRpcError as failure:
            raise llm_error(failure, self.target) from failure
        if answer is None:
            raise unreadable(self.target)
        return answer

    def _timeout(self, timeout_s: float | None) -> float | None:
        return self._timeout_s if timeout_s is None else timeout_s


class Stream:
    """The events of one answer: `started`, deltas, and `completed` as the last; anything else ends in `LlmError`.

    An `error` event is raised and not handed out; what had arrived before it is the error's `partial`. Leaving `async with`, `aclose`,
    dropping the last reference (as `break` does in `async for event in client.stream(...)`) and cancelling the reading task cancel the call
    at once.
    """

    def __init__(self, rpc: grpc.aio.UnaryStreamCall[LlmRequest, LlmEvent], target: str) -> None:
        self.response: LlmResponse | None = None
        """The whole answer, once `completed` has come."""
        self._rpc = rpc
        self._target = target
        self._over = False

    def __del__(self) -> None:
        # gRPC keeps a call that is under way alive, so nothing else would end it.
        if not self._rpc.done():
            self._rpc.cancel()

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> LlmEvent:
        if self.response is not None and not self._over:
            await self._finish()
        if self._over:
            raise StopAsyncIteration
        event = await self._read()
        if self._over:  # cancelled meanwhile
            raise StopAsyncIteration
        if event is None:
            raise self._failed(
                LlmError(errors.PROVIDER_BAD_RESPONSE, "The server's answer ended without being complete.")
            )
        kind = event.WhichOneof("event")
        if kind == "error":
            raise self._failed(await self._reported(event.error))
        if kind == "completed":
            self.response = event.completed.response
        return event

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Cancels the call unless it is over; iterating further ends at once."""
        self.cancel()

    def cancel(self) -> None:
        """Does what `aclose` does, from where one cannot wait."""
        self._over = True
        self._rpc.cancel()

    async def headers(self) -> dict[str, str]:
        """Waits for the beginning of the answer and returns its initial metadata, such as `loom-ratelimit`."""
        return _texts(await self._rpc.initial_metadata())

    async def trailers(self) -> dict[str, str]:
        """Waits for the end of the call and returns its trailing metadata, such as `loom-request-id`."""
        return _texts(await self._rpc.trailing_metadata())

    async def _read(self) -> LlmEvent | None:
        """Returns the next event, or None at an end without an error status."""
        try:
            event: Any = await self._rpc.read()
        except grpc.aio.AioRpcError as failure:
            raise self._failed(llm_error(failure, self._target)) from failure
        except asyncio.CancelledError:
            if not self._over or _is_being_cancelled():
                raise
            return None
        if event is None:
            raise self._failed(unreadable(self._target))
        return event if isinstance(event, LlmEvent) else None

    async def _reported(self, event: Error) -> LlmError:
        """Returns the error of an `error` event; the status that follows says more than the event does."""
        error = LlmError(event.reason if event.reason in errors.TABLE else errors.INTERNAL, event.message)
        if event.HasField("retry_after"):
            error.retry_after = event.retry_after.ToMilliseconds() / 1000
        try:
            async with asyncio.timeout(_END_S):
                await self._read()
        except TimeoutError:
            self.cancel()
        except LlmError as status:
            if status.reason == error.reason:
                error.metadata = status.metadata
        error.partial = event.partial if event.HasField("partial") else None
        return error

    async def _finish(self) -> None:
        """Lets the call end by itself, so that the server does not take it for cancelled; one that goes on is cancelled."""
        try:
            async with asyncio.timeout(_END_S):
                while await self._rpc.read() is not grpc.aio.EOF:
                    pass  # the status only comes when everything before it has been read
        except (TimeoutError, grpc.aio.AioRpcError):
            pass  # the answer is whole, whatever comes after it
        except asyncio.CancelledError:
            if _is_being_cancelled():
                raise
        finally:
            self.cancel()

    def _failed(self, error: LlmError) -> LlmError:
        self.cancel()
        return error


def _is_being_cancelled() -> bool:
    """Tells whether it is the current task that is being cancelled, and not the call alone."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _metadata(api_key: str | None, extra: Mapping[str, str]) -> dict[str, str]:
    """Returns the metadata of every call; raises `ValueError` for what cannot be sent, without repeating it."""
    if api_key is None:
        return _checked(extra)
    if not re.fullmatch(r"[!-~]+", api_key):
        raise ValueError("api_key: must be printable ASCII without spaces or line breaks")
    return {"authorization": f"Bearer {api_key}", **_checked(extra)}


def _checked(metadata: Mapping[str, str]) -> dict[str, str]:
    """Writes names in lower case, as gRPC demands; raises `ValueError` for what gRPC would fail on."""
    for name, value in metadata.items():
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", name) or name.lower().endswith("-bin"):
            raise ValueError(f"metadata: {name!r} is not a name for text")
        if not re.fullmatch(r"[ -~]*", value):
            raise ValueError(f"metadata: the value of {name} must be printable ASCII")
    return {name.lower(): value for name, value in metadata.items()}


def _texts(metadata: Iterable[tuple[str, str | bytes]]) -> dict[str, str]:
    return {name: value for name, value in metadata if isinstance(value, str)}


def _channel_options(target: str) -> dict[str, str | int]:
    """Returns the channel arguments (grpc.github.io/grpc/core/group__grpc__arg__keys.html, seen 2026-11-21)."""
    options: dict[str, str | int] = {
        "grpc.primary_user_agent": f"loom-grpc-python/{__version__}",
        "grpc.max_receive_message_length": _MAX_MESSAGE_BYTES,
        "grpc.max_send_message_length": _MAX_MESSAGE_BYTES,
        # A model may think for minutes without a word: pings tell that from a dead connection.
        "grpc.keepalive_time_ms": 30_000,
        "grpc.keepalive_timeout_ms": 10_000,
        # gRPC's own 1 s to 2 min would keep callers waiting long after a server has been restarted.
        "grpc.initial_reconnect_backoff_ms": 100,
        "grpc.min_reconnect_backoff_ms": 1000,
        "grpc.max_reconnect_backoff_ms": 5000,
    }
    if target.startswith(_LOCAL):
        options["grpc.enable_http_proxy"] = 0  # what HTTPS_PROXY names cannot reach this machine
    return options


_LOCAL: Final = ("127.", "localhost:", "[::1]:", "unix:")


def _open(target: str, tls: bool | grpc.ChannelCredentials, options: list[tuple[str, Any]]) -> grpc.aio.Channel:
    if tls is False:
        return grpc.aio.insecure_channel(target, options)
    credentials = grpc.ssl_channel_credentials() if tls is True else tls
    return grpc.aio.secure_channel(target, credentials, options)
