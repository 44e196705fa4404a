"""The driver: one attempt at one provider, from the request to the last event, within every time limit."""

from __future__ import annotations

import asyncio
import copy
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar

from loom_grpc.core.call import Call, Send
from loom_grpc.core.charge import charge_answer, charge_fragment, charge_inputs, charge_vectors
from loom_grpc.core.decoder import Decoder
from loom_grpc.core.errors import (
    INVALID_REQUEST,
    PROVIDER_AUTH_FAILED,
    PROVIDER_BAD_RESPONSE,
    PROVIDER_TIMEOUT,
    LlmError,
)
from loom_grpc.core.native import Native
from loom_grpc.core.raw import Raw, RawError, Refused
from loom_grpc.core.request import with_defaults
from loom_grpc.providers._http import Response, Transport
from loom_grpc.providers.dialect import Dialect, HttpRequest
from loom_grpc.providers.embedding import add
from loom_grpc.v1.llm_service_pb2 import EmbedInput, EmbedRequest, EmbedResponse, LlmEvent, LlmResponse, Model

T = TypeVar("T")

_LISTS: Final = frozenset({"anthropic-beta"})
"""Headers that are lists: what the operator, the credential and the caller say is sent together."""

_OF_LIMITS: Final = ("x-ratelimit-", "anthropic-ratelimit-")
"""How the headers begin in which providers tell what is left of a limit."""

_MAX_ERROR_BYTES: Final = 64 * 1024
_ERROR_S: Final = 2.0
"""How long the body of an error is waited for; the status alone says the most."""
_MAX_FETCHED_BYTES: Final = 16 * 1024 * 1024
_FETCH_S: Final = 30.0
"""How long a count of tokens or a list of models may take."""


class Credential(Protocol):
    """What is shown to a provider."""

    async def headers(self) -> Mapping[str, str]:
        """Returns the headers to send; raises `LlmError` (PROVIDER_AUTH_FAILED, PROVIDER_UNAVAILABLE)."""

    async def renewed(self, refused: Mapping[str, str]) -> Mapping[str, str] | None:
        """Returns other headers than those that the provider has refused, or None when there is nothing new to show.

        Raises as `headers` does.
        """


@dataclass(frozen=True, slots=True)
class Limits:
    """How long one attempt may take, in seconds: to connect, until the first event of a stream, and between two chunks of it.

    Bytes that make no event, such as comments that keep the connection open, do not count as the first.
    """

    connect_s: float
    first_token_s: float
    idle_s: float


class Upstream:
    """A provider's handler."""

    def __init__(
        self,
        dialect: Dialect,
        base_url: str,
        credential: Credential,
        transport: Transport,
        limits: Limits,
        headers: Mapping[str, str],
        options: dict[str, Any],
    ) -> None:
        self.dialect = dialect
        self._base_url = base_url.rstrip("/")
        self._credential = credential
        self._transport = transport
        self._limits = limits
        self._headers = {"content-type": "application/json", **{name.lower(): value for name, value in headers.items()}}
        self._options = options

    def set_header(self, name: str, value: str) -> None:
        """Sends a header with every request from now on, whatever the credential."""
        self._headers[name.lower()] = value

    def showing(self, credential: Credential) -> Upstream:
        """Returns the same provider, asked with another credential over the same connections."""
        other = copy.copy(self)  # the headers stay common to both
        other._credential = credential  # noqa: SLF001 - its own kind
        return other

    async def __call__(self, call: Call, send: Send) -> None:
        """Asks once and sends every event of the answer; raises `LlmError`; cancelling closes the connection.

        A call for vectors, or one that is passed on as it is, sends no events.
        """
        if call.raw is not None:
            await self._pass_on(call, call.raw)
            return
        if call.embed is not None:
            call.embedded = await self._embed(call, call.embed)
            return
        if self._options:
            call.request = with_defaults(call.request, self._options)
        call.dropped = []  # a former target's
        native = self._encode_native(call, call.native) if call.native is not None else None
        request = native or self._encode(call)
        async with _Watch(call, self._limits) as watch:
            with _Charged(watch, partial(charge_fragment, call, None)):
                response = await self._open(request, watch)
            if call.native is not None:
                call.told = _limits(response) if native is not None and not call.account else {}
            finished = False
            decoder = self.dialect.decoder(call, _media_type(response.headers))
            try:
                decoder.keeps_native = native is not None
                await self._relay(call, decoder, response, send, watch)
                finished = True
            finally:
                if not decoder.ended:
                    charge_fragment(call, decoder.fragment())
                response.close(finished)

    async def _pass_on(self, call: Call, raw: Raw) -> None:
        """Sends a request as it came, with our credentials, and its answer back; what is not 2xx is raised with the answer in it."""
        shown = await self._credential.headers()
        headers = {**self._headers, **raw.headers, **shown}
        url = self._base_url + raw.target
        async with _Watch(call, self._limits) as watch:
            response = await watch.wait(
                self._transport.open(raw.method, url, headers, raw.body, self._limits.connect_s)
            )
            finished = False
            try:
                if response.status >= 400:
                    raise await self._refused(response, watch)
                call.responded = True
                await raw.reply.begin(response.status, response.headers)
                while chunk := await watch.wait(response.read()):
                    watch.has_spoken()
                    await raw.reply.write(chunk)
                finished = True
            finally:
                response.close(finished)

    async def _refused(self, response: Response, watch: _Watch) -> RawError:
        body = await _read_some(response, watch)
        error = self.dialect.error(response.status, response.headers, body)
        return RawError(error, Refused(response.status, response.headers, body))

    async def _embed(self, call: Call, request: EmbedRequest) -> EmbedResponse:
        """Asks for vectors, as often as the provider's limit makes it."""
        codec = self.dialect.embedding
        if codec is None:
            message = f"model: {call.provider} has no embeddings; name a model of another provider."
            raise LlmError(INVALID_REQUEST, message, field="model")
        response = EmbedResponse(provider=call.provider, model=call.model)
        try:
            async with _Watch(call, self._limits) as watch:
                for inputs in _batches(request.inputs, codec.most(call.model)):
                    with _Charged(watch, partial(charge_inputs, call, inputs)):
                        answer = await self._open(codec.encode(call.model, inputs, request), watch)
                    with _Charged(None, partial(charge_inputs, call, inputs)):
                        add(response, codec.decode(await _read_to_end(answer, watch)), inputs)
        finally:
            if response.embeddings:  # also where the others could not be had
                charge_vectors(call, response.usage)
        call.answer = LlmResponse(model=response.model, usage=response.usage)
        return response

    async def count_tokens(self, call: Call) -> int | None:
        """Asks the provider how many tokens the prompt has; None where it cannot tell."""
        request = self.dialect.encode_count(call)
        return None if request is None else self.dialect.decode_count(await self._fetch(request, call))

    async def models(self, call: Call) -> list[Model] | None:
        """Asks the provider for its models; None where it has no list. Raises `LlmError`."""
        request = self.dialect.encode_models()
        return None if request is None else self.dialect.decode_models(await self._fetch(request, call))

    async def _open(self, request: HttpRequest, watch: _Watch) -> Response:
        """Returns an answer of status 2xx, or raises what another one means.

        A credential that is refused while there is a newer one, such as a key that was just rotated, is shown anew once.
        """
        shown = await self._credential.headers()
        response = await self._send(request, shown, watch)
        if 200 <= response.status < 300:
            return response
        error = await self._error(response, watch)
        newer = await self._credential.renewed(shown) if _is_refusal(error) else None
        if newer is None:
            raise error
        response = await self._send(request, newer, watch)
        if 200 <= response.status < 300:
            return response
        raise await self._error(response, watch)

    def _send(self, request: HttpRequest, shown: Mapping[str, str], watch: _Watch) -> Awaitable[Response]:
        headers = {**self._headers, **shown, **request.headers}
        for name in _LISTS & request.headers.keys():
            headers[name] = ",".join(filter(None, (self._headers.get(name), shown.get(name), request.headers[name])))
        url = self._base_url + request.path
        return watch.wait(self._transport.open(request.method, url, headers, request.body, self._limits.connect_s))

    async def _error(self, response: Response, watch: _Watch) -> LlmError:
        try:
            body = await _read_some(response, watch)
        finally:
            response.close(finished=False)
        return self.dialect.error(response.status, response.headers, body)

    def _encode_native(self, call: Call, native: Native) -> HttpRequest | None:
        """Writes the request as it came, where the provider speaks its dialect."""
        try:
            return self.dialect.encode_native(call, native)
        except TypeError:
            raise LlmError(INVALID_REQUEST, "The body is nested too deeply.") from None

    def _encode(self, call: Call) -> HttpRequest:
        """Writes the request in the provider's dialect; raises `LlmError` for what that has no words for."""
        if call.native is not None and call.native.untold:
            call.dropped = call.native.left_out(call.provider)
        return self.dialect.encode(call)

    async def _relay(self, call: Call, decoder: Decoder, response: Response, send: Send, watch: _Watch) -> None:
        while True:
            events = await _next_events(decoder, response, watch)
            if events:
                call.responded = True
                watch.has_spoken()
            if decoder.ended:
                charge_answer(call, _answer(events))  # before the caller knows that it is over
            for event in events:
                await send(event)
            if decoder.failure is not None:
                raise decoder.failure
            if decoder.ended:
                return

    async def _fetch(self, request: HttpRequest, call: Call) -> bytes:
        """Returns a whole small answer."""
        call.expires = min(call.deadline, asyncio.get_running_loop().time() + _FETCH_S)
        async with _Watch(call, self._limits) as watch:
            return await _read_to_end(await self._open(request, watch), watch)


class _Charged:
    """Charges for what is given up while the provider is at it; without a watch for whatever goes wrong, since an answer has begun."""

    __slots__ = ("_charge", "_watch")

    def __init__(self, watch: _Watch | None, charge: Callable[[], None]) -> None:
        self._watch = watch
        self._charge = charge

    def __enter__(self) -> None:
        """Begins."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        watch = self._watch
        if error is not None and (watch is None or watch.expired or isinstance(error, asyncio.CancelledError)):
            self._charge()


def _limits(response: Response) -> dict[str, str]:
    """Returns what a provider says of the caller's limits; those of one account of a pool are nobody else's."""
    return {name: value for name, value in response.headers.items() if name.startswith(_OF_LIMITS)}


def _is_refusal(error: LlmError) -> bool:
    return error.reason == PROVIDER_AUTH_FAILED and not error.by_words


def _answer(events: Sequence[LlmEvent]) -> LlmResponse:
    """Returns the whole answer, with which the last events of a stream end."""
    last = events[-1]  # nearly always, and no generator is needed to find it
    if last.HasField("completed"):
        return last.completed.response
    return next(event.completed.response for event in reversed(events) if event.HasField("completed"))


async def _next_events(decoder: Decoder, response: Response, watch: _Watch) -> list[LlmEvent]:
    """Returns the events of the next bytes; where the bytes stop, the decoder's verdict decides."""
    try:
        chunk = await watch.wait(response.read())
    except LlmError as error:
        return decoder.end(error)
    return decoder.feed(chunk) if chunk else decoder.end()


async def _read_some(response: Response, watch: _Watch) -> bytes:
    """Returns an error's body as far as it comes, and comes soon."""
    body = b""
    try:
        async with asyncio.timeout(_ERROR_S):
            while len(body) < _MAX_ERROR_BYTES and (chunk := await watch.wait(response.read())):
                body += chunk
    except (LlmError, TimeoutError):
        return body
    return body


async def _read_to_end(response: Response, watch: _Watch) -> bytes:
    finished = False
    try:
        body = await _read_whole(response, watch)
        finished = True
    finally:
        response.close(finished)
    return body


def _batches(inputs: Sequence[EmbedInput], most: int) -> Iterator[Sequence[EmbedInput]]:
    for start in range(0, len(inputs), most):
        yield inputs[start : start + most]


async def _read_whole(response: Response, watch: _Watch) -> bytes:
    body = bytearray()
    while chunk := await watch.wait(response.read()):
        body += chunk
        if len(body) > _MAX_FETCHED_BYTES:
            raise LlmError(PROVIDER_BAD_RESPONSE, f"The provider's answer has more than {_MAX_FETCHED_BYTES} bytes.")
    return bytes(body)


def _media_type(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


class _Watch:
    """Breaks off an attempt that takes too long, and counts the time that it waits for the provider.

    One timer serves the whole attempt: it is moved only when it fires, so that a chunk costs no timer of its own. `asyncio.timeout`
    would cost one for each chunk.
    """

    def __init__(self, call: Call, limits: Limits) -> None:
        self._call = call
        self._limits = limits
        first_token_s = limits.first_token_s if call.first_token_s is None else call.first_token_s
        self._silence_s = first_token_s if call.stream else math.inf
        self._silent_since = math.inf
        self._spoken = not call.stream
        self.expired = False
        """Whether a limit was reached."""
        self._expired: LlmError | None = None

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - only a task awaits
        self._task = task
        self._cancelling = task.cancelling()
        self._loop = asyncio.get_running_loop()
        self._timer_at = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._arm(self._call.expires)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        # Whatever a cancellation may have become on its way up: it was this watch's, and is over.
        self._raise_if_expired()

    def has_spoken(self) -> None:
        """Says that the first event has come: from here on the time between chunks counts."""
        if not self._spoken:
            self._spoken = True
            self._silence_s = self._limits.idle_s
            self._silent_since = math.inf

    async def wait(self, answer: Awaitable[T]) -> T:
        """Waits for the provider; raises `LlmError` (PROVIDER_TIMEOUT) when a limit is reached."""
        began = perf_counter()
        if self._silent_since == math.inf:
            self._silent_since = self._loop.time()
            self._arm(self._silent_since + self._silence_s)
        try:
            return await answer
        except asyncio.CancelledError:
            self._raise_if_expired()
            raise
        finally:
            if self._spoken:
                self._silent_since = math.inf
            self._call.upstream_s += perf_counter() - began

    def _arm(self, when: float) -> None:
        if when >= self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = when
        self._timer = self._loop.call_at(when, self._look)

    def _look(self) -> None:
        """Runs when the timer fires: expires the attempt, or moves the timer to when it may be due."""
        self._timer_at = math.inf
        due = min(self._call.expires, self._silent_since + self._silence_s)
        if self._loop.time() < due:
            self._arm(due)
            return
        self.expired = True
        self._expired = self._timeout()
        self._task.cancel()

    def _timeout(self) -> LlmError:
        if self._loop.time() < self._call.expires:
            return LlmError(PROVIDER_TIMEOUT, f"The provider sent nothing for {self._silence_s:g} s.")
        if self._call.expires == self._call.deadline:
            return LlmError(PROVIDER_TIMEOUT, "The caller's deadline passed before the provider's answer was complete.")
        return LlmError(PROVIDER_TIMEOUT, "The provider's answer took longer than this server allows.")

    def _raise_if_expired(self) -> None:
        """Turns the cancellation that this watch asked for, and no other, into its error."""
        error, self._expired = self._expired, None
        if error is not None and self._task.uncancel() <= self._cancelling:
            raise error from None
