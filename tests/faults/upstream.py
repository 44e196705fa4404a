"""An upstream that speaks OpenAI's Chat Completions over real sockets and fails as the model's name says."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import orjson

from tests.stand_in import Connection, StandIn, json_answer, stand_in

PIECES: Final = tuple(f"word{number} " for number in range(1, 61))
"""The answer as every model streams it, an event a piece."""

TEN_WORDS: Final = "".join(PIECES[:10])
TWENTY_WORDS: Final = "".join(PIECES[:20])
FORTY_WORDS: Final = "".join(PIECES[:40])
WHOLE_ANSWER: Final = "".join(PIECES)

USAGE: Final = {"prompt_tokens": 20, "completion_tokens": 60, "total_tokens": 80}
DONE: Final = "data: [DONE]\n\n"

SLOW_FIRST_TOKEN_S: Final = 2.0
"""A tenth of what failoverbench waits, as are the limits that are set against it."""

Fault = Callable[[Connection, int], Awaitable[None]]
"""Answers a model's request, given the number of the attempt, from 1."""


class Attempt(NamedTuple):
    """A request as the upstream saw it."""

    at: float
    """On the clock of `time.perf_counter`."""
    connection: Connection


class Upstream:
    """Answers by the table below, and remembers each model's attempts."""

    def __init__(self) -> None:
        self.url = ""
        self.down = True
        """Whether the models that flap fail now."""
        self.arrived = asyncio.Event()
        """Set when a request has come."""
        self._attempts: dict[str, list[Attempt]] = {}

    def attempts(self, model: str) -> list[Attempt]:
        """Returns a model's attempts in their order."""
        return self._attempts.get(model, [])

    def seen(self) -> dict[str, int]:
        """Counts the attempts of each model that was asked."""
        return {model: len(attempts) for model, attempts in self._attempts.items()}

    async def answer(self, connection: Connection) -> None:
        """Answers a request as its model does."""
        model = connection.asked.json["model"]
        attempts = self._attempts.setdefault(model, [])
        attempts.append(Attempt(time.perf_counter(), connection))
        self.arrived.set()
        healthy = model in _FLAPPING and not self.down
        await (whole if healthy else FAULTS[model])(connection, len(attempts))


@asynccontextmanager
async def upstream() -> AsyncIterator[Upstream]:
    """Runs the upstream on a free port of the loopback address."""
    models = Upstream()
    async with stand_in(models.answer) as standing:
        models.url = _url(standing)
        yield models


def _url(standing: StandIn) -> str:
    return f"{standing.url}/v1"


async def whole(connection: Connection, attempt: int) -> None:
    """Answers as a healthy model."""
    await _begin(connection, len(PIECES))
    if connection.asked.json.get("stream"):
        await _finish(connection, DONE)
    else:
        await connection.end()


def refusal(status: int, code: str, kind: str, **headers: str) -> Fault:
    """Refuses with an error as OpenAI writes it."""
    error = {"message": f"Refused: {code}.", "type": kind, "param": None, "code": code}

    async def refuse(connection: Connection, attempt: int) -> None:
        await json_answer({"error": error}, status=status, **headers)(connection)

    return refuse


def once(fault: Fault) -> Fault:
    """Fails the first attempt, and is healthy after it."""

    async def fail_once(connection: Connection, attempt: int) -> None:
        await (fault if attempt == 1 else whole)(connection, attempt)

    return fail_once


async def reset(connection: Connection, attempt: int) -> None:
    """Resets the connection before any byte."""
    sock = connection.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.cut()


async def silence(connection: Connection, attempt: int) -> None:
    """Takes the request and says nothing."""
    await connection.closed.wait()


async def slow_first_token(connection: Connection, attempt: int) -> None:
    """Sends the head at once, and the first token late."""
    await connection.head()
    try:
        async with asyncio.timeout(SLOW_FIRST_TOKEN_S):
            await connection.closed.wait()
    except TimeoutError:
        await _pieces(connection, 0, len(PIECES))
        await _finish(connection, DONE)


def clean_end(pieces: int) -> Fault:
    """Ends the body as HTTP wants it, without a finish reason and without `[DONE]`."""

    async def end_early(connection: Connection, attempt: int) -> None:
        await _begin(connection, pieces)
        await connection.end()

    return end_early


def cut(pieces: int) -> Fault:
    """Resets the connection in mid-stream."""

    async def cut_off(connection: Connection, attempt: int) -> None:
        await _begin(connection, pieces)
        await reset(connection, attempt)

    return cut_off


def stall(pieces: int) -> Fault:
    """Goes silent in mid-stream and keeps the connection open."""

    async def go_silent(connection: Connection, attempt: int) -> None:
        await _begin(connection, pieces)
        await connection.closed.wait()

    return go_silent


def malformed(pieces: int) -> Fault:
    """Sends an event that is no JSON, and all the others as they should be."""

    async def garble(connection: Connection, attempt: int) -> None:
        await _begin(connection, pieces)
        await connection.send('data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"cont\n\n')
        await _pieces(connection, pieces, len(PIECES))
        await _finish(connection, DONE)

    return garble


async def no_marker(connection: Connection, attempt: int) -> None:
    """Ends a whole stream without `[DONE]`."""
    await _begin(connection, len(PIECES))
    await _finish(connection, "")


async def refuses_prefill(connection: Connection, attempt: int) -> None:
    """Takes no request whose last message is the beginning of the answer."""
    prefilled = connection.asked.json["messages"][-1]["role"] == "assistant"
    await (_NO_PREFILL if prefilled else whole)(connection, attempt)


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
    "fb-s08": cut(40),
    "fb-s09": stall(20),
    "fb-s10": malformed(9),
    "fb-s11": no_marker,
    "fb-s12": refusal(400, "context_length_exceeded", "invalid_request_error"),
    "fb-s13": refusal(400, "content_policy_violation", "invalid_request_error"),
    "fb-s14": cut(40),
    "fb-s15": _OVERLOADED,
    "fb-s16": _OVERLOADED,
}
"""What each model does, for streams; all but those without the marker or with a slow first token answer whole requests too."""

_FLAPPING: Final = frozenset({"fb-s15"})
"""The models that are healthy once `Upstream.down` is false."""


async def _begin(connection: Connection, pieces: int) -> None:
    """Sends the head and the first pieces; of a whole answer as large a share of its body."""
    if connection.asked.json.get("stream"):
        await connection.head()
        await _pieces(connection, 0, pieces)
        return
    choice = {"index": 0, "message": {"role": "assistant", "content": WHOLE_ANSWER}, "finish_reason": "stop"}
    model = connection.asked.json["model"]
    body = orjson.dumps({"id": "chatcmpl-1", "model": model, "choices": [choice], "usage": USAGE})
    await connection.head(content_type="application/json")
    await connection.send(body[: len(body) * pieces // len(PIECES)])


async def _pieces(connection: Connection, first: int, end: int) -> None:
    for piece in PIECES[first:end]:
        await connection.send(_event(connection, choices=[{"index": 0, "delta": {"content": piece}}]))


async def _finish(connection: Connection, marker: str) -> None:
    """Sends the finish reason, the usage and the marker, and ends the body."""
    await connection.send(_event(connection, choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]))
    await connection.send(_event(connection, choices=[], usage=USAGE))
    await connection.send(marker)
    await connection.end()


def _event(connection: Connection, **fields: Any) -> bytes:
    value = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": connection.asked.json["model"]}
    return b"data: %b\n\n" % orjson.dumps(value | fields)
