"""Providers that nobody here wrote break in every way they can, and find nothing to blame in how they were asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Final

import pytest

from loom_grpc.client import LoomClient
from loom_grpc.config import Config
from loom_grpc.core.errors import LlmError
from loom_grpc.v1.message_pb2 import ToolDefinition
from tests.faults.llmock_case import (
    BROKEN,
    CASES,
    FLAGS,
    IMPATIENT,
    SAYS,
    TEXT,
    Faults,
    Model,
    answers,
    configuration,
    everywhere,
    happens,
    meet,
    models,
)
from tests.faults.llmock_server import BASE_PATHS, LlmockServer, llmock_process, llmock_server
from tests.server.serving import serving


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with llmock_process(*FLAGS) as url:
        yield url


@pytest.fixture
async def llmock(address: str) -> AsyncIterator[LlmockServer]:
    async with llmock_server(address) as server:
        await server.reset()
        await server.script(SAYS)
        yield server


@pytest.mark.parametrize(("name", "over"), [(name, over) for name, case in CASES.items() for over in case.overs])
async def test_faults_are_outlasted_or_told_and_llmock_finds_nothing_to_blame(
    llmock: LlmockServer, name: str, over: str
) -> None:
    record = await meet(llmock, name, over)

    assert record.ok, record


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
    assert await llmock.findings() == []


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
