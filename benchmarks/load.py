"""The callers: each sends the same request over and over, all of them in one process of its own.

`python -m benchmarks.load JSON` warms the server up, prints a line, waits for one on standard input, sends the load and prints
a `Reading` as JSON. The pause lets the starter read the server's clocks with neither start-up nor warm-up in them.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from time import perf_counter
from typing import Literal

import grpc.aio
import httptools
import uvloop

from benchmarks.script import PROMPT, WORD, model_name

Speaks = Literal["grpc", "proxy", "openai", "responses", "anthropic", "gemini"]
"""What a caller speaks: ours over gRPC, ours over HTTP (`/proxy`), Chat Completions, Responses, Messages, or generateContent."""

_WORD = WORD.encode()
_WARM_UP_S = 0.5


@dataclasses.dataclass(frozen=True)
class Load:
    """Calls to send. `chunks` 0 is a unary call; `pace_ms` 0 is a stream that comes as fast as it goes."""

    speaks: Speaks
    port: int
    path: str
    """Of HTTP: `/v1/chat/completions`, or `/proxy/openai` without its last part."""
    model_prefix: str
    callers: int
    seconds: float
    """How long callers begin new calls; those under way are finished."""
    chunks: int = 0
    pace_ms: int = 0
    key: str = ""
    """What callers show; over HTTP they show anything where it is empty."""

    @property
    def model(self) -> str:
        """The model that the stand-in provider understands."""
        return self.model_prefix + model_name(self.chunks, self.pace_ms)


@dataclasses.dataclass(frozen=True)
class Reading:
    """What the callers saw. Times in milliseconds; the first token's are those of streams."""

    calls: int
    failures: int
    p50_ms: float
    p99_ms: float
    first_token_p50_ms: float
    first_token_p99_ms: float


class Tally:
    """Collects what each call took."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.first_tokens: list[float] = []
        self.failures = 0

    def reading(self) -> Reading:
        """Sums up."""
        calls = len(self.latencies) + self.failures
        first, all_of_it = self.first_tokens, self.latencies
        return Reading(calls, self.failures, *_percentiles(all_of_it), *_percentiles(first))


def _percentiles(seconds: list[float]) -> tuple[float, float]:
    if not seconds:
        return 0.0, 0.0
    ordered = sorted(seconds)
    return ordered[len(ordered) // 2] * 1000, ordered[len(ordered) * 99 // 100] * 1000


Caller = Callable[[Tally], Awaitable[None]]


def _grpc_caller(load: Load, channel: grpc.aio.Channel) -> Caller:
    from loom_grpc.v1 import llm_service_pb2 as pb
    from loom_grpc.v1.message_pb2 import ROLE_USER, Message

    message = Message(role=ROLE_USER, content=PROMPT)
    request = pb.LlmRequest(provider="openai", model=load.model, messages=[message]).SerializeToString()
    complete: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/loom_grpc.v1.LlmService/Complete")
    stream: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream("/loom_grpc.v1.LlmService/Stream")

    shown = (("authorization", f"Bearer {load.key}"),) if load.key else None

    async def unary(tally: Tally) -> None:
        began = perf_counter()
        answer = await complete(request, timeout=60, metadata=shown)
        tally.latencies.append(perf_counter() - began)
        if _WORD not in answer:
            raise ValueError("the answer has no text")

    async def streamed(tally: Tally) -> None:
        began = perf_counter()
        first = 0.0
        async for event in stream(request, timeout=120, metadata=shown):
            if not first and _WORD in event:
                first = perf_counter()
        if not first:
            raise ValueError("the stream has no text")
        tally.latencies.append(perf_counter() - began)
        tally.first_tokens.append(first - began)

    return streamed if load.chunks else unary


class HttpCaller(asyncio.Protocol):
    """One connection that sends the same bytes again each time the answer is whole."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._request = _http_request(load)
        self._transport: asyncio.Transport | None = None
        self._answered: asyncio.Future[None] | None = None
        self._first = 0.0
        self._text = b""
        self._open()

    def _open(self) -> None:
        self._parser = httptools.HttpResponseParser(self)

    async def call(self, tally: Tally) -> None:
        """Sends one request and waits for the end of its answer."""
        loop = asyncio.get_running_loop()
        transport = self._transport
        if transport is None:
            transport, _ = await loop.create_connection(lambda: self, "127.0.0.1", self._load.port)
            self._transport = transport
        self._answered, self._first, self._text = loop.create_future(), 0.0, b""
        began = perf_counter()
        transport.write(self._request)
        async with asyncio.timeout(120):
            await self._answered
        if not self._first:
            raise ValueError(f"no text in the answer: {self._text[:200]!r}")
        tally.latencies.append(perf_counter() - began)
        if self._load.chunks:
            tally.first_tokens.append(self._first - began)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fails the call that was under way; the next one connects anew."""
        self._transport = None
        self._open()
        if self._answered and not self._answered.done():
            self._answered.set_exception(ConnectionError("closed by the server"))

    def data_received(self, data: bytes) -> None:
        """Reads on."""
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Notes when the first text came, and keeps the start of an answer that has none."""
        if self._first:
            return
        self._text += body
        if _WORD in self._text:
            self._first = perf_counter()

    def on_message_complete(self) -> None:
        """Ends the call."""
        if self._answered and not self._answered.done():
            self._answered.set_result(None)
        if self._transport and not self._parser.should_keep_alive():
            self._transport.close()
            self._transport = None
        self._open()

    def close(self) -> None:
        """Closes the connection."""
        if self._transport:
            self._transport.close()


def _http_request(load: Load) -> bytes:
    path, fields = _asked(load)
    body = json.dumps(fields).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{load.port}\r\ncontent-type: application/json\r\n"
    key = load.key or "sk-bench"
    return (head + f"authorization: Bearer {key}\r\ncontent-length: {len(body)}\r\n\r\n").encode() + body


def _asked(load: Load) -> tuple[str, dict[str, object]]:
    """Returns the path and the body of a request in each API's words."""
    streams = bool(load.chunks)
    fields: dict[str, object] = {"model": load.model, "messages": [{"role": "user", "content": PROMPT}]}
    match load.speaks:
        case "proxy":
            return load.path + ("/stream" if streams else "/complete"), fields
        case "responses":
            return load.path, {"model": load.model, "input": PROMPT, "stream": streams}
        case "anthropic":
            return load.path, fields | {"max_tokens": 1000, "stream": streams}
        case "gemini":
            verb = "streamGenerateContent?alt=sse" if streams else "generateContent"
            return f"{load.path}/{load.model}:{verb}", {"contents": [{"role": "user", "parts": [{"text": PROMPT}]}]}
    if streams:
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    return load.path, fields


async def _callers(load: Load, stack: AsyncExitStack) -> list[Caller]:
    """Makes the callers: over gRPC they share a channel, as the parts of one application do."""
    if load.speaks == "grpc":
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{load.port}"))
        return [_grpc_caller(load, channel)] * load.callers
    callers = [HttpCaller(load) for _ in range(load.callers)]
    for caller in callers:
        stack.callback(caller.close)
    return [caller.call for caller in callers]


async def _send(load: Load, callers: list[Caller], seconds: float) -> Tally:
    tally = Tally()
    end = perf_counter() + seconds

    async def work(position: int) -> None:
        # Spread over the pace, so that the callers' chunks come one at a time, as from a model, and not as a volley.
        await asyncio.sleep(load.pace_ms / 1000 * position / load.callers)
        while perf_counter() < end:
            try:
                await callers[position](tally)
            except (grpc.RpcError, OSError, ValueError, TimeoutError) as failure:
                tally.failures += 1
                print(f"{type(failure).__name__}: {failure}"[:500], file=sys.stderr)

    await asyncio.gather(*(work(position) for position in range(load.callers)))
    return tally


async def main(load: Load) -> None:
    """Warms up, waits for the word to start, sends the load."""
    async with AsyncExitStack() as stack:
        callers = await _callers(load, stack)
        await _send(load, callers, _WARM_UP_S)
        print("warm", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        tally = await _send(load, callers, load.seconds)
        print(json.dumps(dataclasses.asdict(tally.reading())), flush=True)


if __name__ == "__main__":
    uvloop.run(main(Load(**json.loads(sys.argv[1]))))
