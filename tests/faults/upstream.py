"""An upstream that speaks OpenAI's Chat Completions over real sockets and fails as the model's name says."""

from __future__ import annotations

import asyncio
import math
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import orjson

from tests.stand_in import Connection, json_answer, stand_in

PIECES: Final = tuple(f"word{number} " for number in range(1, 61))
"""The answer as every model streams it, an event a piece."""

TEN_WORDS: Final = "".join(PIECES[:10])
TWENTY_WORDS: Final = "".join(PIECES[:20])
FORTY_WORDS: Final = "".join(PIECES[:40])
WHOLE_ANSWER: Final = "".join(PIECES)

USAGE: Final = {"prompt_tokens": 20, "completion_tokens": 60, "total_tokens": 80}
DONE: Final = "data: [DONE]\n\n"


class Times(NamedTuple):
    """How long things take that take time, in seconds."""

    first_token_s: float = 2.0
    """Until a slow model says its first word."""
    silence_s: float = math.inf
    """How long a model is silent that never answers, until it hangs up."""
    stall_s: float = math.inf
    """How long a stream stalls, until it hangs up."""
    down_s: float = math.inf
    """How long a model is down that flaps, from the upstream's start on."""
    token_s: float = 0.0
    """Between two words."""

    def scaled(self, scale: float) -> Times:
        """Makes all of it longer or shorter."""
        return Times(*(scale * seconds for seconds in self))


AT_ONCE: Final = Times()


class Attempt(NamedTuple):
    """A request as the upstream saw it."""

    number: int
    """Of those for the same model, from 1."""
    at: float
    """On the clock of `time.perf_counter`."""
    connection: Connection
    times: Times
    is_down: bool

    @property
    def is_streamed(self) -> bool:
        """Whether a stream is wanted."""
        return bool(self.connection.asked.json.get("stream"))

    @property
    def is_prefilled(self) -> bool:
        """Whether the last message is the beginning of the answer."""
        return bool(self.connection.asked.json["messages"][-1]["role"] == "assistant")


Fault = Callable[[Attempt], Awaitable[None]]
"""Answers a model's request."""


class Upstream:
    """Answers by the table below, and remembers each model's attempts."""

    def __init__(self, times: Times) -> None:
        self.url = ""
        self.began = time.perf_counter()
        self.arrived = asyncio.Event()
        """Set when a request has come."""
        self._times = times
        self._attempts: dict[str, list[Attempt]] = {}

    def attempts(self, model: str) -> list[Attempt]:
        """Returns a model's attempts in their order."""
        return self._attempts.get(model, [])

    def seen(self) -> dict[str, int]:
        """Counts the attempts of each model that was asked."""
        return {model: len(attempts) for model, attempts in self._attempts.items()}

    async def answer(self, connection: Connection) -> None:
        """Answers a request as its model does."""
        model, now = connection.asked.json["model"], time.perf_counter()
        attempts = self._attempts.setdefault(model, [])
        is_down = now - self.began < self._times.down_s
        attempt = Attempt(len(attempts) + 1, now, connection, self._times, is_down)
        attempts.append(attempt)
        self.arrived.set()
        await FAULTS[model](attempt)


@asynccontextmanager
async def upstream(times: Times = AT_ONCE) -> AsyncIterator[Upstream]:
    """Runs the upstream on a free port of the loopback address."""
    models = Upstream(times)
    async with stand_in(models.answer) as standing:
        models.url = f"{standing.url}/v1"
        yield models


async def whole(attempt: Attempt) -> None:
    """Answers as a healthy model."""
    await _begin(attempt, len(PIECES))
    if attempt.is_streamed:
        await _finish(attempt, DONE)
    else:
        await attempt.connection.end()


def refusal(status: int, code: str, kind: str, **headers: str) -> Fault:
    """Refuses with an error as OpenAI writes it."""
    error = {"message": f"Refused: {code}.", "type": kind, "param": None, "code": code}

    async def refuse(attempt: Attempt) -> None:
        await json_answer({"error": error}, status=status, **headers)(attempt.connection)

    return refuse


def once(fault: Fault) -> Fault:
    """Fails the first attempt, and is healthy after it."""

    async def fail_once(attempt: Attempt) -> None:
        await (fault if attempt.number == 1 else whole)(attempt)

    return fail_once


def while_down(fault: Fault) -> Fault:
    """Fails at first, and is healthy after a while."""

    async def fail_while_down(attempt: Attempt) -> None:
        await (fault if attempt.is_down else whole)(attempt)

    return fail_while_down


async def reset(attempt: Attempt) -> None:
    """Resets the connection, with whatever was sent."""
    sock = attempt.connection.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    attempt.connection.cut()


async def silence(attempt: Attempt) -> None:
    """Takes the request and says nothing, until it hangs up."""
    if await _is_heard(attempt, attempt.times.silence_s):
        attempt.connection.cut()


async def slow_first_token(attempt: Attempt) -> None:
    """Sends the head at once, and the first token late."""
    await attempt.connection.head()
    if await _is_heard(attempt, attempt.times.first_token_s):
        await _pieces(attempt, 0, len(PIECES))
        await _finish(attempt, DONE)


def clean_end(pieces: int) -> Fault:
    """Ends the body as HTTP wants it, without a finish reason and without `[DONE]`."""

    async def end_early(attempt: Attempt) -> None:
        await _begin(attempt, pieces)
        await attempt.connection.end()

    return end_early


def cut(pieces: int) -> Fault:
    """Resets the connection in mid-stream."""

    async def cut_off(attempt: Attempt) -> None:
        await _begin(attempt, pieces)
        await reset(attempt)

    return cut_off


def closed(pieces: int) -> Fault:
    """Closes the connection in mid-stream, without the end of the body."""

    async def close(attempt: Attempt) -> None:
        await _begin(attempt, pieces)
        attempt.connection.transport.close()

    return close


def stall(pieces: int) -> Fault:
    """Goes silent in mid-stream and keeps the connection open, until it hangs up."""

    async def go_silent(attempt: Attempt) -> None:
        await _begin(attempt, pieces)
        if await _is_heard(attempt, attempt.times.stall_s):
            attempt.connection.transport.close()

    return go_silent


def malformed(pieces: int) -> Fault:
    """Sends an event that is no JSON, and all the others as they should be."""

    async def garble(attempt: Attempt) -> None:
        await _begin(attempt, pieces)
        await attempt.connection.send('data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"cont\n\n')
        await _pieces(attempt, pieces, len(PIECES))
        await _finish(attempt, DONE)

    return garble


async def no_marker(attempt: Attempt) -> None:
    """Ends a whole stream without `[DONE]`."""
    await _begin(attempt, len(PIECES))
    await _finish(attempt, "")


async def refuses_prefill(attempt: Attempt) -> None:
    """Takes no request whose last message is the beginning of the answer."""
    await (_NO_PREFILL if attempt.is_prefilled else whole)(attempt)


_NO_PREFILL: Final = refusal(400, "prefill_not_supported", "invalid_request_error")
_RATE_LIMIT: Final = ("rate_limit_exceeded", "requests")
_OVERLOADED: Final = refusal(503, "server_overloaded", "server_error")

FAULTS: Final[Mapping[str, Fault]] = {
    "fb-ok": whole,
    "fb-ok-noprefill": refuses_prefill,
    # The fault table.
    "rate-limited-once": once(refusal(429, *_RATE_LIMIT, retry_after="2")),
    "clean-early-end": clean_end(10),
    "tcp-cut": cut(10),
    "malformed-event": malformed(10),
    "no-done": no_marker,
    "stall": stall(10),
    "silence": silence,
    # The scenarios of github.com/failoverbench/failoverbench, scenarios/catalogue.yaml (seen 2026-11-21), in our own words.
    "fb-s01": once(refusal(429, *_RATE_LIMIT, retry_after="2")),
    "fb-s02": refusal(429, *_RATE_LIMIT),
    "fb-s03": once(refusal(500, "server_error", "server_error")),
    "fb-s04": _OVERLOADED,
    "fb-s05": once(reset),
    "fb-s06": silence,
    "fb-s07": slow_first_token,
    "fb-s08": closed(40),
    "fb-s09": stall(20),
    "fb-s10": malformed(9),
    "fb-s11": no_marker,
    "fb-s12": refusal(400, "context_length_exceeded", "invalid_request_error"),
    "fb-s13": refusal(400, "content_policy_violation", "invalid_request_error"),
    "fb-s14": closed(40),
    "fb-s15": while_down(_OVERLOADED),
    "fb-s16": _OVERLOADED,
}
"""What each model does, for streams; all but those without the marker or with a slow first token answer whole requests too."""


async def _is_heard(attempt: Attempt, seconds: float) -> bool:
    """Waits; returns whether there is still somebody who listens."""
    try:
        async with asyncio.timeout(None if seconds == math.inf else seconds):
            await attempt.connection.closed.wait()
    except TimeoutError:
        return True
    return False


async def _begin(attempt: Attempt, pieces: int) -> None:
    """Sends the head and the first pieces; of a whole answer as large a share of its body."""
    connection = attempt.connection
    if attempt.is_streamed:
        await connection.head()
        await _pieces(attempt, 0, pieces)
        return
    choice = {"index": 0, "message": {"role": "assistant", "content": WHOLE_ANSWER}, "finish_reason": "stop"}
    model = connection.asked.json["model"]
    body = orjson.dumps({"id": "chatcmpl-1", "model": model, "choices": [choice], "usage": USAGE})
    await connection.head(content_type="application/json")
    await connection.send(body[: len(body) * pieces // len(PIECES)])


async def _pieces(attempt: Attempt, first: int, end: int) -> None:
    for piece in PIECES[first:end]:
        await attempt.connection.send(_event(attempt, choices=[{"index": 0, "delta": {"content": piece}}]))
        if attempt.times.token_s:
            await asyncio.sleep(attempt.times.token_s)


async def _finish(attempt: Attempt, marker: str) -> None:
    """Sends the finish reason, the usage and the marker, and ends the body."""
    connection = attempt.connection
    await connection.send(_event(attempt, choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]))
    await connection.send(_event(attempt, choices=[], usage=USAGE))
    await connection.send(marker)
    await connection.end()


def _event(attempt: Attempt, **fields: Any) -> bytes:
    model = attempt.connection.asked.json["model"]
    value = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": model}
    return b"data: %b\n\n" % orjson.dumps(value | fields)
