"""A provider that is made up, so that everything a provider can do, well or badly, can be seen without a key.

It is a transport for the Chat Completions dialect: it reads the request and makes up the provider's bytes, so that retries
and time limits take their real way. The model's name says what happens.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from itertools import chain, count, islice
from typing import Any, Final, NamedTuple

import orjson

from loom_grpc.core.errors import PROVIDER_UNAVAILABLE, LlmError
from loom_grpc.providers.mock_value import made_up

Sleep = Callable[[float], Awaitable[object]]


class Ending(Enum):
    """How the bytes of an answer end; only those of a `WHOLE` one are complete."""

    WHOLE = auto()
    TRUNCATED = auto()
    SILENCE = auto()
    BREAK = auto()
    GARBAGE = auto()
    ERROR = auto()


class Failure(NamedTuple):
    """An answer that is only an error."""

    status: int
    kind: str
    code: str
    message: str
    retry_after: str = ""


_GREETING: Final = (
    "Hello! I am the mock provider: I need no key, cost nothing and say the same to everyone. "
    "Ask me to call one of your tools, or choose another of my models to see how a failure looks."
)
_THOUGHTS: Final = (
    "Somebody wants to see a model think. I could say anything here, so I shall be brief and then be friendly."
)
_REFUSAL: Final = "I am sorry, but refusing is all that this model does."
_LONG: Final = "Ten words are said five hundred times over and over. " * 500

_LIMITED: Final = Failure(
    429, "rate_limit_error", "rate_limit_exceeded", "Too many requests, the mock provider says.", "1"
)
_BROKEN: Final = Failure(500, "server_error", "", "The mock provider broke, as this model always does.")
_OVERLOADED: Final = Failure(
    529, "overloaded_error", "", "The mock provider is overloaded, as it always is with this model."
)
_NO_KEY: Final = Failure(
    401, "authentication_error", "invalid_api_key", "The mock provider takes no key with this model."
)
_NO_QUOTA: Final = Failure(429, "insufficient_quota", "insufficient_quota", "The mock provider's quota is used up.")
_TOO_LONG: Final = Failure(
    400,
    "invalid_request_error",
    "context_length_exceeded",
    "The prompt is longer than the mock provider's context window.",
)
_UNREADABLE: Final = Failure(400, "invalid_request_error", "", "The mock provider cannot read the request.")


class Behaviour(NamedTuple):
    """What a model does. `outcome` is the stop reason or the error that its caller sees."""

    summary: str
    outcome: str = "STOP"
    text: str = _GREETING
    """What it says; empty: what the user said last."""
    thinking: str = ""
    refusal: str = ""
    finish_reason: str = "stop"
    words: int | None = None
    """The most words that it says."""
    pace_s: float = 0.02
    """The time before each read."""
    chunks_a_read: int = 1
    ending: Ending = Ending.WHOLE
    chunks: int = 0
    """How many chunks come before an ending that is not whole; the first one has no word yet."""
    failure: Failure | None = None
    every_other: bool = False
    """Whether only the first, third and so on of its requests fail."""


_SOME: Final = 5

MODELS: Final[dict[str, Behaviour]] = {
    "mock-words": Behaviour("Says a few friendly words, one every 20 ms."),
    "mock-echo": Behaviour("Says what the user said last.", text=""),
    "mock-embed": Behaviour("Turns texts into vectors, the same for the same text; says a few words else."),
    "mock-think": Behaviour("Thinks aloud, then answers.", thinking=_THOUGHTS),
    "mock-slow": Behaviour("Says a word every half second; time enough to cancel.", pace_s=0.5),
    "mock-long": Behaviour("Says 5,000 words as fast as it can.", text=_LONG, pace_s=0.0, chunks_a_read=50),
    "mock-length": Behaviour("Stops at the limit on tokens.", "LENGTH", finish_reason="length", words=4),
    "mock-filter": Behaviour(
        "Is stopped by a content filter.", "CONTENT_FILTER", finish_reason="content_filter", words=4
    ),
    "mock-refusal": Behaviour("Refuses.", "REFUSAL", refusal=_REFUSAL),
    "mock-429": Behaviour("Answers 429 with Retry-After: 1.", "PROVIDER_RATE_LIMITED", failure=_LIMITED),
    "mock-429-once": Behaviour("Answers 429 first and words when asked again.", failure=_LIMITED, every_other=True),
    "mock-quota": Behaviour("Answers 429 because the quota is used up.", "PROVIDER_QUOTA_EXCEEDED", failure=_NO_QUOTA),
    "mock-401": Behaviour("Answers 401: wrong key.", "PROVIDER_AUTH_FAILED", failure=_NO_KEY),
    "mock-500": Behaviour("Answers 500.", "PROVIDER_UNAVAILABLE", failure=_BROKEN),
    "mock-529": Behaviour("Answers 529: overloaded.", "PROVIDER_UNAVAILABLE", failure=_OVERLOADED),
    "mock-context": Behaviour("Answers 400: the prompt is too long.", "CONTEXT_TOO_LONG", failure=_TOO_LONG),
    "mock-silent": Behaviour("Says nothing at all.", "PROVIDER_TIMEOUT", ending=Ending.SILENCE),
    "mock-stall": Behaviour("Falls silent after some words.", "PROVIDER_TIMEOUT", ending=Ending.SILENCE, chunks=_SOME),
    "mock-cut": Behaviour(
        "Breaks the connection after some words.", "PROVIDER_UNAVAILABLE", ending=Ending.BREAK, chunks=_SOME
    ),
    "mock-error": Behaviour(
        "Sends an error after some words.", "PROVIDER_UNAVAILABLE", ending=Ending.ERROR, chunks=_SOME
    ),
    "mock-truncated": Behaviour(
        "Ends after some words as if that were all.", "PROVIDER_BAD_RESPONSE", ending=Ending.TRUNCATED, chunks=_SOME
    ),
    "mock-malformed": Behaviour(
        "Sends broken JSON after some words.", "PROVIDER_BAD_RESPONSE", ending=Ending.GARBAGE, chunks=_SOME
    ),
    "mock-empty": Behaviour("Answers 200 without a body.", "PROVIDER_BAD_RESPONSE", ending=Ending.TRUNCATED),
}


def models_table() -> str:
    """Writes the models as a Markdown table, for docs/mock.md."""
    rows = [f"| `{name}` | {row.summary} | `{row.outcome}` |" for name, row in MODELS.items()]
    return "\n".join(["| model | what it does | how the call ends |", "|---|---|---|", *rows])


_UNREADABLE_BY: Final = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What reading a request of an unexpected shape raises; the caller's provider options can give it any."""


class MockTransport:
    """Answers every request out of `MODELS`; `sleep` waits between the words."""

    def __init__(self, sleep: Sleep = asyncio.sleep) -> None:
        self._sleep = sleep
        self._ids = count(1)
        self._asked: Counter[str] = Counter()

    async def open(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, connect_s: float
    ) -> MockResponse:
        """Answers a GET with the models and a POST with a completion, or with vectors."""
        if method == "GET":
            rows = [{"id": name, "object": "model", "name": row.summary} for name, row in MODELS.items()]
            return self._send([orjson.dumps({"object": "list", "data": rows})])
        try:
            return self._answer(orjson.loads(body), embeds=url.endswith("/embeddings"))
        except _UNREADABLE_BY:
            return self._fail(_UNREADABLE)

    def retire(self) -> None:
        """Has nothing to close."""

    async def close(self) -> None:
        """Has nothing to close."""

    def _answer(self, body: dict[str, Any], *, embeds: bool) -> MockResponse:
        name = body["model"]
        row = MODELS.get(name)
        if row is None:
            message = f"The model `{name}` does not exist; the mock provider has {', '.join(MODELS)}."
            return self._fail(Failure(404, "invalid_request_error", "model_not_found", message))
        self._asked[name] += 1
        if row.failure and not (row.every_other and self._asked[name] % 2 == 0):
            return self._fail(row.failure)
        if embeds:
            return self._send([_vectors(body)])
        turn = _turn(row, body)
        head = {"id": f"chatcmpl-mock-{next(self._ids)}", "created": 0, "model": name}
        if body.get("stream"):
            with_usage = bool((body.get("stream_options") or {}).get("include_usage"))
            chunks = _end_stream(_stream(turn, head, with_usage), row)
            return self._send(chunks, "text/event-stream", row.pace_s, row.chunks_a_read, row.ending)
        pace_s = row.pace_s * len(_words(turn.text)) / row.chunks_a_read
        return self._send(_end_body(_completion(turn, head), row), pace_s=pace_s, ending=row.ending)

    def _fail(self, failure: Failure) -> MockResponse:
        headers = {"content-type": "application/json"}
        if failure.retry_after:
            headers["retry-after"] = failure.retry_after
        return MockResponse(failure.status, headers, iter([_error(failure)]), self._sleep)

    def _send(
        self,
        chunks: Iterable[bytes],
        media_type: str = "application/json",
        pace_s: float = 0.0,
        chunks_a_read: int = 1,
        ending: Ending = Ending.WHOLE,
    ) -> MockResponse:
        headers = {"content-type": media_type}
        return MockResponse(200, headers, iter(chunks), self._sleep, pace_s, chunks_a_read, ending)


_DIMENSIONS: Final = 16


def _vectors(body: dict[str, Any]) -> bytes:
    """Answers a request for embeddings with vectors of length one."""
    inputs = [body["input"]] if isinstance(body["input"], str) else body["input"]
    rows = [
        {"object": "embedding", "index": index, "embedding": _vector(text, body.get("dimensions") or _DIMENSIONS)}
        for index, text in enumerate(inputs)
    ]
    tokens = sum(len(_words(text)) if isinstance(text, str) else len(text) for text in inputs)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return orjson.dumps({"object": "list", "data": rows, "model": body["model"], "usage": usage})


def _vector(text: object, dimensions: int) -> list[float]:
    digest = hashlib.shake_128(repr(text).encode()).digest(2 * dimensions)
    numbers = [int.from_bytes(digest[at : at + 2]) - 2**15 for at in range(0, len(digest), 2)]
    length = math.hypot(*numbers) or 1.0
    return [number / length for number in numbers]


class MockResponse:
    """A made-up answer."""

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str],
        chunks: Iterator[bytes],
        sleep: Sleep,
        pace_s: float = 0.0,
        chunks_a_read: int = 1,
        ending: Ending = Ending.WHOLE,
    ) -> None:
        self.status = status
        self.headers = headers
        self._chunks = chunks
        self._sleep = sleep
        self._pace_s = pace_s
        self._chunks_a_read = chunks_a_read
        self._ending = ending
        self._closed = asyncio.Event()

    async def read(self) -> bytes:
        """Returns the next chunks at the model's pace; raises `LlmError` (PROVIDER_UNAVAILABLE) where it breaks off."""
        if chunk := b"".join(islice(self._chunks, self._chunks_a_read)):
            await self._sleep(self._pace_s)
            return chunk
        if self._ending is Ending.SILENCE:
            await self._closed.wait()
        if self._ending is Ending.BREAK:
            raise LlmError(PROVIDER_UNAVAILABLE, "The connection to the provider broke off.")
        return b""

    def close(self, finished: bool) -> None:
        """Ends a silence."""
        self._closed.set()


class _Call(NamedTuple):
    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class _Turn:
    """What a model answers."""

    prompt_words: int
    finish_reason: str
    thinking: str = ""
    text: str = ""
    refusal: str = ""
    calls: tuple[_Call, ...] = ()

    def usage(self) -> dict[str, Any]:
        """Counts words, which are this model's tokens."""
        thinking = _count(self.thinking)
        said = thinking + _count(self.text) + _count(self.refusal) + sum(_count(call.arguments) for call in self.calls)
        return {
            "prompt_tokens": self.prompt_words,
            "completion_tokens": said,
            "total_tokens": self.prompt_words + said,
            "completion_tokens_details": {"reasoning_tokens": thinking},
        }


def _turn(row: Behaviour, body: dict[str, Any]) -> _Turn:
    messages = body["messages"]
    prompt_words = sum(_count(_text_of(message)) for message in messages)
    if calls := _calls(body):
        return _Turn(prompt_words, "tool_calls", thinking=row.thinking, calls=calls)
    if row.refusal:
        return _Turn(prompt_words, row.finish_reason, refusal=row.refusal)
    words, finish_reason = _words(_text(row, body))[: row.words], row.finish_reason
    limit = body.get("max_tokens")
    if limit is not None and limit < len(words):
        words, finish_reason = words[:limit], "length"
    return _Turn(prompt_words, finish_reason, thinking=row.thinking, text="".join(words))


def _text(row: Behaviour, body: dict[str, Any]) -> str:
    """Decides what to say: what the tools answered, JSON when the caller wants it, or what the model always says."""
    messages = body["messages"]
    results = [_text_of(message) for message in messages if message["role"] == "tool"]
    if messages[-1]["role"] == "tool":
        return f"The tool answered: {results[-1]}"
    said = row.text or _last_user_text(messages)
    match body.get("response_format"):
        case {"type": "json_schema", "json_schema": {"schema": schema}}:
            return orjson.dumps(made_up(schema)).decode()
        case {"type": "json_object"}:
            return orjson.dumps({"answer": said}).decode()
    return said


def _calls(body: dict[str, Any]) -> tuple[_Call, ...]:
    """Calls the tools that the user names after the word `call`, or one that must be called; none after a result."""
    messages, choice = body["messages"], body.get("tool_choice")
    tools = {tool["function"]["name"]: tool["function"] for tool in body.get("tools") or ()}
    if not tools or choice == "none" or messages[-1]["role"] == "tool":
        return ()
    named = [name.strip(".-") for name in _CALL.findall(_last_user_text(messages))]
    names = [name for name in named if name in tools]
    if isinstance(choice, dict):
        names = [choice["function"]["name"]]
    elif choice == "required" and not names:
        names = list(tools)[:1]
    if body.get("parallel_tool_calls") is False:
        names = names[:1]
    return tuple(
        _Call(f"call_{len(messages)}_{number}", name, _arguments(tools[name])) for number, name in enumerate(names, 1)
    )


_CALL: Final = re.compile(r"\bcall\s+(?:the\s+)?[`'\"]?([\w.-]+)", re.IGNORECASE)


def _arguments(function: dict[str, Any]) -> str:
    schema = function.get("parameters") or {"type": "object"}
    return orjson.dumps(made_up(schema)).decode()


def _text_of(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(item.get("text") or "" for item in content)


def _last_user_text(messages: list[dict[str, Any]]) -> str:
    return next((_text_of(message) for message in reversed(messages) if message["role"] == "user"), "")


def _words(text: str) -> list[str]:
    """Splits a text into words, each with the space beside it."""
    return re.findall(r"\s*\S+\s*|\s+", text)


def _count(text: str) -> int:
    return len(text.split())


def _completion(turn: _Turn, head: dict[str, Any]) -> bytes:
    message: dict[str, Any] = {"role": "assistant", "content": turn.text or None}
    if turn.thinking:
        message["reasoning_content"] = turn.thinking
    if turn.refusal:
        message["refusal"] = turn.refusal
    if turn.calls:
        message["tool_calls"] = [_call(call, call.arguments) for call in turn.calls]
    choice = {"index": 0, "message": message, "finish_reason": turn.finish_reason}
    return orjson.dumps({**head, "object": "chat.completion", "choices": [choice], "usage": turn.usage()})


def _call(call: _Call, arguments: str) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _stream(turn: _Turn, head: dict[str, Any], with_usage: bool) -> Iterator[bytes]:
    head = {**head, "object": "chat.completion.chunk"}
    for delta in _deltas(turn):
        yield _event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    yield _event({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": turn.finish_reason}]})
    if with_usage:
        yield _event({**head, "choices": [], "usage": turn.usage()})
    yield b"data: [DONE]\n\n"


def _deltas(turn: _Turn) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": ""}
    for field, text in (("reasoning_content", turn.thinking), ("refusal", turn.refusal), ("content", turn.text)):
        for word in _words(text):
            yield {field: word}
    for index, call in enumerate(turn.calls):
        yield {"tool_calls": [{"index": index, **_call(call, "")}]}
        for start in range(0, len(call.arguments), 8):
            yield {"tool_calls": [{"index": index, "function": {"arguments": call.arguments[start : start + 8]}}]}


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


def _error(failure: Failure) -> bytes:
    error = {"message": failure.message, "type": failure.kind, "param": None, "code": failure.code or None}
    return orjson.dumps({"error": error})


_LATE: Final = _error(Failure(200, "server_error", "", "The mock provider broke in the middle of its answer."))
_LAST: Final = {Ending.GARBAGE: b'data: {"choices": [{"delta": {"con\n\n', Ending.ERROR: b"data: " + _LATE + b"\n\n"}


def _end_stream(chunks: Iterator[bytes], row: Behaviour) -> Iterator[bytes]:
    if row.ending is Ending.WHOLE:
        return chunks
    return chain(islice(chunks, row.chunks), filter(None, [_LAST.get(row.ending)]))


def _end_body(body: bytes, row: Behaviour) -> list[bytes]:
    """Breaks a whole answer off in its middle, or at once where a stream of it would have no words."""
    if row.ending is Ending.WHOLE:
        return [body]
    if row.ending is Ending.ERROR:
        return [_LATE]
    return [body[: len(body) // 2]] if row.chunks else []
