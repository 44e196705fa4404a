"""Providers that nobody here wrote break in every way they can, and judge how they were asked: the cases, and running one.

LLMock counts as one call the attempts that have the same body, whoever makes them: those of this server, and those of a caller who was
told of a failure and asks again. A strict verdict is one without errors and without warnings.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, NamedTuple, TypeVar

from loom_grpc.client import LoomClient
from loom_grpc.config import Config
from loom_grpc.core.errors import LlmError
from tests.faults.llmock_server import BASE_PATHS, Behaviour, LlmockServer, llmock_process, llmock_server
from tests.faults.record import Record
from tests.server.serving import serving
from tests.shim.serving import Answer, shim

T = TypeVar("T")

TEXT: Final = "one two three four five six seven eight nine ten eleven twelve"
SAYS: Final[Behaviour] = {"type": "reply", "text": TEXT, "times": None}
SOON_S: Final = 0.2
"""How long LLMock asks to wait where it asks for a wait."""
STALL_S: Final = 1.1
"""How long LLMock falls silent in the middle of a stream; it minds a client that bears a second of it."""
SLOW_S: Final = 0.6
"""How long LLMock takes to begin."""

IMPATIENT: Final = {
    "api_key": "sk-test",
    "retry": {"base_delay_s": 0.1},
    "timeouts": {"first_token_s": 0.45, "idle_s": 0.45},
}

Ask = Callable[[str, str], Awaitable[str]]
"""Asks a model of a provider; returns the text of the answer, or what the failure is called."""


def configuration(url: str, **provider: Any) -> Config:
    """Makes a configuration with LLMock as every provider, and no patience with silence."""
    return Config.model_validate(
        {
            "grpc": {"address": "127.0.0.1:0"},
            "http": {"address": "127.0.0.1:0"},
            "providers": {name: IMPATIENT | {"base_url": url + path} | provider for name, path in BASE_PATHS.items()},
            "log": {"level": "error"},
        }
    )


@asynccontextmanager
async def grpc_unary(config: Config) -> AsyncIterator[Ask]:
    async with serving(config) as server, LoomClient(f"localhost:{server.port}") as client:

        async def ask(provider: str, model: str) -> str:
            try:
                response = await client.complete("hi", provider=provider, model=model)
            except LlmError as error:
                return error.name
            return response.message.content

        yield ask


@asynccontextmanager
async def grpc_stream(config: Config) -> AsyncIterator[Ask]:
    async with serving(config) as server, LoomClient(f"localhost:{server.port}") as client:

        async def ask(provider: str, model: str) -> str:
            stream = client.stream("hi", provider=provider, model=model)
            try:
                spoken = [event.text_delta.content async for event in stream if event.HasField("text_delta")]
            except LlmError as error:
                return error.name
            assert stream.response is not None
            assert stream.response.message.content == "".join(spoken)
            return stream.response.message.content

        yield ask


@asynccontextmanager
async def http_unary(config: Config) -> AsyncIterator[Ask]:
    async with shim(config) as server:

        async def ask(provider: str, model: str) -> str:
            answer = await server.post(f"/proxy/{provider}/complete", _body(model))
            return str(answer.json["message"]["content"]) if answer.status == 200 else _word(answer)

        yield ask


@asynccontextmanager
async def http_stream(config: Config) -> AsyncIterator[Ask]:
    async with shim(config) as server:

        async def ask(provider: str, model: str) -> str:
            answer = await server.post(f"/proxy/{provider}/stream", _body(model))
            if answer.status != 200:
                return _word(answer)
            *deltas, last = answer.events
            if last["type"] == "error":
                return "broken off"
            assert last["response"]["message"]["content"] == "".join(delta["content"] for delta in deltas)
            return str(last["response"]["message"]["content"])

        yield ask


def _body(model: str) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hi"}]}


def _word(answer: Answer) -> str:
    return str(answer.json["error"])


Edge = Callable[[Config], AbstractAsyncContextManager[Ask]]
EDGES: Final[Mapping[str, Edge]] = {
    "gRPC Complete": grpc_unary,
    "gRPC Stream": grpc_stream,
    "/proxy complete": http_unary,
    "/proxy stream": http_stream,
}
STREAMS: Final = ("gRPC Stream", "/proxy stream")
HTTP: Final = ("/proxy complete", "/proxy stream")

# With a pause between chunks LLMock notices that its client has gone before it has sent the rest.
FLAGS: Final = ("--stream-chunk-delay-ms", "20")


def fail(status: int, **more: Any) -> Behaviour:
    return {"type": "fail", "status": status, **more}


def broken(kind: str, after_chunks: int, **more: Any) -> Behaviour:
    return {"type": "stream_fault", "kind": kind, "after_chunks": after_chunks, "stall_seconds": STALL_S, **more}


Model = tuple[str, str]
"""A provider and one of its models."""
Faults = dict[str, Behaviour]
"""What happens to the requests for a model."""


def models(faults: Faults) -> list[Model]:
    return [(provider, model) for provider in BASE_PATHS for model in faults]


def everywhere(faults: Faults, value: T) -> dict[Model, T]:
    """Expects the same of every provider and model."""
    return dict.fromkeys(models(faults), value)


async def happens(llmock: LlmockServer, faults: Faults) -> None:
    """Has every provider break for each model in the model's way."""
    await llmock.script(
        *(faults[model] | {"match": {"provider": provider, "model": model}} for provider, model in models(faults))
    )


async def answers(ask: Callable[[str, str], Awaitable[T]], asked: list[Model]) -> dict[Model, T]:
    """Asks for all at once."""
    return dict(zip(asked, await asyncio.gather(*(ask(*model) for model in asked)), strict=True))


PASSING: Final[Faults] = {
    "408": fail(408),
    "409": fail(409),
    "429": fail(429, retry_after=SOON_S),
    "429 unless awaited": fail(429, retry_after=0.6),
    "500": fail(500),
    "502": fail(502),
    "503": fail(503, retry_after=SOON_S),
    "504": fail(504, retry_after=SOON_S),
    "529": fail(529, retry_after=SOON_S),
}


LASTING: Final[dict[int, tuple[str, str]]] = {
    400: ("INVALID_REQUEST", "bad_request"),
    401: ("PROVIDER_AUTH_FAILED", "upstream_error"),
    402: ("PROVIDER_QUOTA_EXCEEDED", "rate_limited"),
    403: ("PROVIDER_AUTH_FAILED", "upstream_error"),
    404: ("MODEL_NOT_FOUND", "not_found"),
    405: ("INVALID_REQUEST", "bad_request"),
    422: ("INVALID_REQUEST", "bad_request"),
}
"""By status, what callers are told over gRPC and over HTTP."""


SLOW: Final[Faults] = {
    "slow answer": {"type": "delay", "seconds": SLOW_S},
    "slow first token": {"type": "slow_first_token", "seconds": SLOW_S},
}


BROKEN: Final[Faults] = {
    f"{kind} {after_chunks}": broken(kind, after_chunks)
    for kind in ("disconnect", "truncate", "malformed", "stall")
    for after_chunks in range(5)
}
SILENT_CHUNKS: Final = {"openai": 2, "anthropic": 4, "gemini": 1}
"""How many chunks there are to the end of the first one with text."""
REASONS: Final = {
    "disconnect": "PROVIDER_UNAVAILABLE",
    "truncate": "PROVIDER_BAD_RESPONSE",
    "malformed": "PROVIDER_BAD_RESPONSE",
    "stall": "PROVIDER_TIMEOUT",
}


OUTAGE: Final[Faults] = {"down": fail(503, retry_after=SOON_S, times=None)}
PAUSES: Final[Faults] = {"500": fail(500, times=2), "dropped": broken("disconnect", 0, times=2)}

Expects = Callable[[str, str, str], str]
"""Returns what a caller is to get by a way in, of a provider that has a fault."""


class Case(NamedTuple):
    """Faults that callers meet alike."""

    title: str
    faults: Faults
    expects: Expects
    expected: str
    attempts: Callable[[str], int]
    """How often each model is asked by a way in."""
    overs: tuple[str, ...] = tuple(EDGES)
    provider: Mapping[str, Any] = {}
    """What the providers are told beside the rest."""
    is_asked_again: bool = False
    """Whether a caller who gets no answer asks again, and then gets one."""


def _answered(over: str, provider: str, fault: str) -> str:
    return TEXT


def _refused(over: str, provider: str, fault: str) -> str:
    return LASTING[int(fault)][over in HTTP]


def _down(over: str, provider: str, fault: str) -> str:
    return "upstream_error" if over in HTTP else "PROVIDER_UNAVAILABLE"


def _broken_off(over: str, provider: str, fault: str) -> str:
    """A caller whose stream breaks gets an answer only where nothing had been passed on and another attempt may help."""
    kind, after_chunks = fault.split()
    begun = int(after_chunks) >= SILENT_CHUNKS[provider]
    if not begun and kind in ("disconnect", "stall"):
        return TEXT
    if over in HTTP:
        return "broken off" if begun else "upstream_error"
    return REASONS[kind]


CASES: Final[Mapping[str, Case]] = {
    "passing": Case(
        "408, 409, 429, 5xx and 529, once, with Retry-After and without",
        PASSING,
        _answered,
        "the answer at the second attempt, not before Retry-After",
        lambda over: 2,
    ),
    "lasting": Case(
        "400, 401, 402, 403, 404, 405, 422",
        {str(status): fail(status) for status in LASTING},
        _refused,
        "the error, asked once",
        lambda over: 1,
    ),
    "outage": Case("503 for ever", OUTAGE, _down, "an error after three attempts", lambda over: 3),
    "pauses": Case(
        "500 or a dropped connection, twice, without Retry-After",
        PAUSES,
        _answered,
        "the answer, after pauses that grow",
        lambda over: 3,
        overs=("gRPC Stream",),
        provider={"retry": {}},
    ),
    "slow": Case(
        "slow answer, slow first token",
        SLOW,
        _answered,
        "the answer; a silent stream is left",
        lambda over: 2 if over in STREAMS else 1,
    ),
    "broken": Case(
        "disconnect, truncation, malformed chunk and stall after 0 to 4 chunks",
        BROKEN,
        _broken_off,
        "an answer or an error, never a part as the whole; a caller who asks again gets the answer",
        lambda over: 2,
        overs=STREAMS,
        is_asked_again=True,
    ),
}


async def meet(llmock: LlmockServer, name: str, over: str) -> Record:
    """Has callers meet the faults of a case by one way in, all providers and faults at once; LLMock judges."""
    case = CASES[name]
    await llmock.reset()
    await llmock.script(SAYS)
    await happens(llmock, case.faults)
    began = time.perf_counter()
    async with EDGES[over](configuration(llmock.url, **case.provider)) as ask:
        told = await answers(ask, models(case.faults))
        again = await _ask_again(llmock, ask, told) if case.is_asked_again else True
    took_s = time.perf_counter() - began
    wrong = [f"{model}: {text}" for model, text in told.items() if text != case.expects(over, *model)]
    attempts, findings = await llmock.attempts(), await llmock.findings()
    outcome = f"{len(told) - len(wrong)} of {len(told)} as expected, {len(findings)} findings"
    wrong += [] if again else ["a second call was not answered"]
    wrong += [f"attempts: {attempts}"] if attempts != everywhere(case.faults, case.attempts(over)) else []
    seen = [f"{provider} {model}: {count}" for (provider, model), count in attempts.items()]
    detail = "; ".join([*wrong, *map(str, findings)])
    return Record(case.title, over, outcome, case.expected, round(took_s, 3), not detail, seen, detail)


async def _ask_again(llmock: LlmockServer, ask: Ask, told: dict[Model, str]) -> bool:
    await llmock.records()  # which waits until LLMock has noticed that all of them were left
    again = [model for model, text in told.items() if text != TEXT]
    return await answers(ask, again) == dict.fromkeys(again, TEXT)


async def all_records() -> list[Record]:
    """Runs all cases by every way in, with one LLMock."""
    with llmock_process(*FLAGS) as url:
        async with llmock_server(url) as llmock:
            return [await meet(llmock, name, over) for name, case in CASES.items() for over in case.overs]
