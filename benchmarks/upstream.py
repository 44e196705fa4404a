"""The stand-in provider: Chat Completions as cheap as Python can answer them, in a process of its own.

`python -m benchmarks.upstream PORT` answers every POST, unary or streamed by the request's own `stream` field.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any, cast

import uvloop

from benchmarks.script import ANSWER, WORD, read_model

_ID = "chatcmpl-BxQ7aUqJ0w1"
_USAGE = {"prompt_tokens": 24, "completion_tokens": 48, "total_tokens": 72}


def _chunk(**fields: Any) -> bytes:
    event = {"id": _ID, "object": "chat.completion.chunk", "created": 1760000000, "model": "bench", "choices": []}
    return _frame(b"data: " + json.dumps(event | fields, separators=(",", ":")).encode() + b"\n\n")


def _choice(delta: dict[str, str], finish_reason: str | None = None) -> list[dict[str, object]]:
    return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}]


def _frame(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _unary() -> bytes:
    message = {"role": "assistant", "content": ANSWER, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    answer = {"id": _ID, "object": "chat.completion", "created": 1760000000, "model": "bench", "choices": [choice]}
    body = json.dumps(answer | {"usage": _USAGE}).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


_UNARY = _unary()
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
_FIRST = _HEAD + _chunk(choices=_choice({"role": "assistant", "content": ""}))
_WORD = _chunk(choices=_choice({"content": WORD}))
_LAST = _chunk(choices=_choice({}, "stop")) + _chunk(usage=_USAGE) + _frame(b"data: [DONE]\n\n") + _frame(b"")


class Upstream(asyncio.Protocol):
    """One connection; a request's body is read by its length or its last chunk, and by nothing else."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._received = b""
        self._left = 0
        self._pace_s = 0.0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the stream."""
        if self._timer:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Answers once the request is whole."""
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or not _is_whole(head.lower(), body):
            return
        self._received = b""
        if b'"stream":true' in body or b'"stream": true' in body:
            self._stream(*read_model(body))
        else:
            self.transport.write(_UNARY)

    def _stream(self, chunks: int, pace_s: float) -> None:
        if not pace_s:
            self.transport.writelines([_FIRST, _WORD * chunks, _LAST])
            return
        self._left, self._pace_s = chunks, pace_s
        self.transport.write(_FIRST)
        loop = asyncio.get_running_loop()
        self._due = loop.time() + pace_s
        self._timer = loop.call_at(self._due, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._left:
            self._timer = None
            self.transport.write(_LAST)
            return
        self._left -= 1
        self.transport.write(_WORD)
        self._due += self._pace_s
        self._timer = loop.call_at(self._due, self._tick, loop)


def _is_whole(head: bytes, body: bytes) -> bool:
    _, found, length = head.partition(b"content-length:")
    if found:
        return len(body) >= int(length.split(b"\r\n", 1)[0])
    return b"chunked" not in head or body.endswith(b"0\r\n\r\n")


async def main(port: int) -> None:
    """Serves until it is stopped."""
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
