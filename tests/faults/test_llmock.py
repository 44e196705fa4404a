"""Providers that nobody here wrote break in every way they can, and find nothing to blame in how they were asked.

LLMock counts as one call the attempts that have the same body, whoever makes them: those of this server, and those of a caller who was
told of a failure and asks again. A strict verdict is one without errors and without warnings.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, TypeVar

import pytest

from loom_grpc.client import LoomClient
from loom_grpc.config import Config
from loom_grpc.core.errors import LlmError
from loom_grpc.v1.message_pb2 import ToolDefinition
from tests.faults.llmock_server import BASE_PATHS, Behaviour, LlmockServer, llmock_process, llmock_server
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
EDGES: Final = (grpc_unary, grpc_stream, http_unary, http_stream)
STREAMS: Final = (grpc_stream, http_stream)
HTTP: Final = (http_unary, http_stream)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    # With a pause between chunks LLMock notices that its client has gone before it has sent the rest.
    with llmock_process("--stream-chunk-delay-ms", "20") as url:
        yield url


@pytest.fixture
async def llmock(address: str) -> AsyncIterator[LlmockServer]:
    async with llmock_server(address) as server:
        await server.reset()
        await server.script(SAYS)
        yield server


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


@pytest.mark.parametrize("edge", EDGES)
async def test_a_passing_failure_is_outlasted(llmock: LlmockServer, edge: Edge) -> None:
    await happens(llmock, PASSING)
    async with edge(configuration(llmock.url)) as ask:
        assert await answers(ask, models(PASSING)) == everywhere(PASSING, TEXT)

    assert await llmock.attempts() == everywhere(PASSING, 2)
    assert await llmock.findings() == []


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


@pytest.mark.parametrize("edge", EDGES)
async def test_a_lasting_failure_is_told_and_not_asked_for_again(llmock: LlmockServer, edge: Edge) -> None:
    faults = {str(status): fail(status) for status in LASTING}
    await happens(llmock, faults)
    async with edge(configuration(llmock.url)) as ask:
        told = await answers(ask, models(faults))

    words = {str(status): row[edge in HTTP] for status, row in LASTING.items()}
    assert told == {(provider, model): words[model] for provider, model in models(faults)}
    assert await llmock.attempts() == everywhere(faults, 1)
    assert await llmock.findings() == []


@pytest.mark.parametrize("edge", EDGES)
async def test_an_outage_is_told_after_a_few_attempts(llmock: LlmockServer, edge: Edge) -> None:
    outage = {"down": fail(503, retry_after=SOON_S, times=None)}
    await happens(llmock, outage)
    async with edge(configuration(llmock.url)) as ask:
        told = await answers(ask, models(outage))

    assert told == everywhere(outage, "upstream_error" if edge in HTTP else "PROVIDER_UNAVAILABLE")
    assert await llmock.attempts() == everywhere(outage, 3)
    assert await llmock.findings() == []


async def test_pauses_grow_where_no_wait_is_asked_for(llmock: LlmockServer) -> None:
    faults = {"500": fail(500, times=2), "dropped": broken("disconnect", 0, times=2)}
    await happens(llmock, faults)
    async with grpc_stream(configuration(llmock.url, retry={})) as ask:
        assert await answers(ask, models(faults)) == everywhere(faults, TEXT)

    assert await llmock.attempts() == everywhere(faults, 3)
    assert await llmock.findings() == []


SLOW: Final[Faults] = {
    "slow answer": {"type": "delay", "seconds": SLOW_S},
    "slow first token": {"type": "slow_first_token", "seconds": SLOW_S},
}


@pytest.mark.parametrize("edge", EDGES)
async def test_a_silent_stream_is_left_and_asked_for_again_and_a_whole_answer_awaited(
    llmock: LlmockServer, edge: Edge
) -> None:
    await happens(llmock, SLOW)
    async with edge(configuration(llmock.url)) as ask:
        assert await answers(ask, models(SLOW)) == everywhere(SLOW, TEXT)

    assert await llmock.attempts() == everywhere(SLOW, 2 if edge in STREAMS else 1)
    assert await llmock.findings() == []


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


def outcome(edge: Edge, provider: str, fault: str) -> str:
    """Returns what a caller gets whose stream breaks: an answer only where nothing had been passed on and another attempt may help."""
    kind, after_chunks = fault.split()
    begun = int(after_chunks) >= SILENT_CHUNKS[provider]
    if not begun and kind in ("disconnect", "stall"):
        return TEXT
    if edge in HTTP:
        return "broken off" if begun else "upstream_error"
    return REASONS[kind]


@pytest.mark.parametrize("edge", STREAMS)
async def test_a_broken_stream_never_passes_for_an_answer(llmock: LlmockServer, edge: Edge) -> None:
    await happens(llmock, BROKEN)
    async with edge(configuration(llmock.url)) as ask:
        told = await answers(ask, models(BROKEN))
        await llmock.records()  # which waits until LLMock has noticed that all of them were left
        again = [model for model, text in told.items() if text != TEXT]
        assert await answers(ask, again) == dict.fromkeys(again, TEXT)

    assert told == {(provider, fault): outcome(edge, provider, fault) for provider, fault in models(BROKEN)}
    assert await llmock.attempts() == everywhere(BROKEN, 2)
    assert await llmock.findings() == []


def routed(url: str) -> Config:
    """Makes a configuration with a route for every way to break: the provider, and the same one once more by another name."""
    plain = configuration(url).model_dump(include={"grpc", "log"})
    # Just less than LLMock's silence: with all calls at once a shorter wait would say more of the machine.
    patience = {"timeouts": {"first_token_s": 0.9, "idle_s": 0.9}}
    providers = {name: {"base_url": url + path} | IMPATIENT | patience for name, path in BASE_PATHS.items()}
    again = {f"{name}-again": {"dialect": name} | provider for name, provider in providers.items()}
    routes = {
        f"{provider}: {fault}": {"targets": [{"model": f"{provider}/{fault}"}, {"model": f"{provider}-again/{fault}"}]}
        for provider, fault in models(BROKEN)
    }
    return Config.model_validate(plain | {"providers": providers | again, "routes": routes})


async def test_a_route_replaces_a_broken_stream(llmock: LlmockServer) -> None:
    await happens(llmock, BROKEN)
    async with serving(routed(llmock.url)) as server, LoomClient(f"localhost:{server.port}") as client:

        async def ask(provider: str, fault: str) -> str:
            text = ""
            async for event in client.stream("hi", model=f"{provider}: {fault}", metadata={"loom-events": "restarted"}):
                text = "" if event.HasField("restarted") else text + event.text_delta.content
            return text

        assert await answers(ask, models(BROKEN)) == everywhere(BROKEN, TEXT)

    assert await llmock.attempts() == everywhere(BROKEN, 2)
    # LLMock takes for the same call only what comes after it has noticed that the stream before was left. A route is faster than that now
    # and then, and what LLMock then says of a malformed stream, that it was read on, its own notes do not bear out.
    assert [finding for finding in await llmock.findings() if finding["code"] != "malformed_chunk_ignored"] == []
    malformed = [record for record in await llmock.records() if "malformed" in str(record["fault"])]
    assert {record["completed"] for record in malformed} == {False}


TOOL: Final = ToolDefinition(
    name="weather",
    description="Looks the weather up",
    input_schema_json='{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}',
)
UNKNOWN: Final = "llmock_unknown_tool"
CALLS: Final[dict[Model, tuple[str, str]]] = {
    ("openai", "unknown_tool"): (UNKNOWN, '{"city": "mock-city"}'),
    ("anthropic", "unknown_tool"): (UNKNOWN, '{"city": "mock-city"}'),
    ("gemini", "unknown_tool"): (UNKNOWN, '{"city":"mock-city"}'),
    ("openai", "malformed_arguments"): ("weather", '{"city": "'),
    ("anthropic", "malformed_arguments"): ("weather", '{"city": "'),
    # Gemini's arguments are no text, and LLMock leaves out what it cannot write.
    ("gemini", "malformed_arguments"): ("weather", "{}"),
}
"""The name and the arguments of each model's broken call."""


async def test_a_broken_tool_call_is_handed_on_as_the_model_spoke_it(llmock: LlmockServer) -> None:
    faults: Faults = {kind: {"type": "tool_fault", "kind": kind} for _, kind in CALLS}
    await happens(llmock, faults)
    async with serving(configuration(llmock.url)) as server, LoomClient(f"localhost:{server.port}") as client:

        async def ask(provider: str, model: str) -> tuple[str, str]:
            stream = client.stream("the weather in Paris?", provider=provider, model=model, tools=[TOOL])
            fragments = [event.tool_call_delta async for event in stream if event.HasField("tool_call_delta")]
            assert stream.response is not None
            (call,) = stream.response.tool_calls
            assert {fragment.tool_name for fragment in fragments} == {call.tool_name}
            assert "".join(fragment.arguments_fragment for fragment in fragments) == call.arguments_json
            return call.tool_name, call.arguments_json

        assert await answers(ask, list(CALLS)) == CALLS

    assert await llmock.attempts() == everywhere(faults, 1)
    assert await llmock.findings() == []


TOKENS_A_MINUTE: Final = 60_000
FEW: Final = 1_000
"""How many tokens are there again after a second."""


async def test_a_quota_is_waited_for_and_a_too_long_prompt_is_told() -> None:
    async def ask(provider: str, model: str) -> str:
        await client.complete("hi", provider=provider, model=model, max_tokens=TOKENS_A_MINUTE - FEW // 2)
        await client.complete("hi", provider=provider, model=model, max_tokens=FEW)
        with pytest.raises(LlmError) as caught:
            await client.complete("word " * 30_000, provider=provider, model=model)
        return caught.value.name

    limits: Faults = {"limited": {}}
    with llmock_process("--tpm", str(TOKENS_A_MINUTE), "--context-window", "20000") as url:
        async with serving(configuration(url)) as server, LoomClient(f"localhost:{server.port}") as client:
            told = await answers(ask, models(limits))
        async with llmock_server(url) as llmock:
            statuses = Counter(record["status"] for record in await llmock.records())
            findings = await llmock.findings()

    assert told == everywhere(limits, "CONTEXT_TOO_LONG")
    assert statuses == {200: 6, 429: 3, 400: 3}
    assert findings == []
