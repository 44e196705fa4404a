"""Routes of the configuration behind a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from loom_grpc.client import llm_error
from loom_grpc.config import Config, ConfigError
from loom_grpc.core.errors import INVALID_REQUEST, PROVIDER_UNAVAILABLE, RATE_LIMITED
from loom_grpc.v1.llm_service_pb2 import LlmEvent, LlmRequest
from loom_grpc.v1.message_pb2 import ROLE_ASSISTANT, ROLE_USER, Media, Message, Part, ToolDefinition
from tests.server.serving import COMPLETION, LAST, Serving, chunk, serving
from tests.stand_in import Connection, StandIn, json_answer, stand_in, stream_answer

DOWN = json_answer({"error": {"message": "Down"}}, status=503)
WELL = json_answer(COMPLETION)


@dataclass
class World:
    """Two providers, and a server that routes between them."""

    first: StandIn
    second: StandIn
    server: Serving


@asynccontextmanager
async def world(**routing: Any) -> AsyncIterator[World]:
    """Runs everything on real sockets; retries come at once."""
    async with stand_in(WELL) as first, stand_in(WELL) as second:
        provider = {"api_key": "sk-test", "retry": {"base_delay_s": 0, "max_attempts": 2}}
        config = {
            "grpc": {"address": "127.0.0.1:0"},
            "providers": {
                "openai": provider | {"base_url": first.url},
                "groq": provider | {"base_url": second.url},
            },
            "routes": {"smart": {"targets": [{"model": "openai/one"}, {"model": "groq/two"}]}},
            "log": {"level": "error"},
        }
        async with serving(Config.model_validate(config | routing)) as server:
            yield World(first, second, server)


def ask(model: str = "smart") -> LlmRequest:
    """Makes a request to the route."""
    return LlmRequest(model=model, messages=[Message(role=ROLE_USER, content="hi")])


async def cut_off(connection: Connection) -> None:
    """Begins an answer and breaks off."""
    await connection.head()
    await connection.send(chunk("Hel"))
    connection.cut()


async def test_another_provider_answers_when_the_first_is_down() -> None:
    async with world() as our:
        our.first.play(DOWN)
        call = our.server.stub.Complete(ask())
        answer = await call
        trailers = dict(await call.trailing_metadata())

    assert (answer.provider, answer.message.content) == ("groq", "Hello.")
    assert [asked.json["model"] for asked in our.first.asked] == ["one", "one"]
    assert [asked.json["model"] for asked in our.second.asked] == ["two"]
    assert (trailers["loom-provider"], trailers["loom-model"], trailers["loom-attempts"]) == ("groq", "two", "3")


PICTURE = Part(image=Media(media_type="image/png", data=b"png"))


@pytest.mark.parametrize(
    ("known", "wish"),
    [
        ({"tools": False}, LlmRequest(tools=[ToolDefinition(name="look")])),
        ({"images": False}, LlmRequest(messages=[Message(role=ROLE_USER, parts=[PICTURE])])),
        ({"prefill": False}, LlmRequest(messages=[Message(role=ROLE_ASSISTANT, content="It is")])),
        ({"context_tokens": 100}, LlmRequest(messages=[Message(role=ROLE_USER, content="far too long " * 100)])),
    ],
    ids=["tools", "images", "prefill", "context"],
)
async def test_a_target_that_is_configured_not_to_be_able_is_skipped(known: dict[str, Any], wish: LlmRequest) -> None:
    request = ask()
    request.MergeFrom(wish)
    async with world(models={"openai/one": known}) as our:
        answer = await our.server.stub.Complete(request)

    assert (answer.provider, our.first.asked) == ("groq", [])


async def test_a_stream_that_dies_begins_anew_at_another_provider() -> None:
    async with world() as our:
        our.first.play(cut_off)
        our.second.play(stream_answer(chunk("Hello"), LAST))
        metadata = (("loom-events", "restarted"),)
        events: list[LlmEvent] = [event async for event in our.server.stub.Stream(ask(), metadata=metadata)]

    kinds = [event.WhichOneof("event") for event in events]
    assert kinds == ["started", "text_delta", "restarted", "text_delta", "completed"]
    restarted = events[2].restarted
    assert (restarted.attempt, restarted.provider, restarted.model) == (2, "groq", "gpt-4o")
    assert restarted.reason == PROVIDER_UNAVAILABLE
    assert events[-1].completed.response.message.content == "Hello"
    assert (len(our.first.asked), len(our.second.asked)) == (1, 1)


async def test_a_stream_that_dies_ends_in_an_error_for_who_did_not_ask_for_restarts() -> None:
    async with world() as our:
        our.first.play(cut_off)
        stream: Any = our.server.stub.Stream(ask())
        events = [(await stream.read()).WhichOneof("event") for _ in range(3)]
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await stream.read()

    assert events == ["started", "text_delta", "error"]
    assert llm_error(failure.value, "").reason == PROVIDER_UNAVAILABLE
    assert our.second.asked == []


async def test_a_silent_target_is_left_at_its_limit_and_not_asked_again() -> None:
    async def silent(connection: Connection) -> None:
        await connection.closed.wait()

    targets = [{"model": "openai/one", "first_token_s": 0.2}, {"model": "groq/two"}]
    async with world(routes={"smart": {"targets": targets}}) as our:
        our.first.play(silent)
        our.second.play(stream_answer(chunk("Hello"), LAST))
        events = [event.WhichOneof("event") async for event in our.server.stub.Stream(ask())]

    assert events == ["started", "text_delta", "completed"]
    assert (len(our.first.asked), len(our.second.asked)) == (1, 1)


async def test_calls_beyond_a_targets_limit_go_to_the_next_one_and_at_the_last_are_refused() -> None:
    go_on = asyncio.Event()

    async def slow(connection: Connection) -> None:
        await go_on.wait()
        await WELL(connection)

    limit = {"max_calls": 1}
    targets = [{"model": "openai/one"} | limit, {"model": "groq/two"} | limit]
    async with world(routes={"smart": {"targets": targets}}) as our:
        our.first.play(slow)
        our.second.play(slow)
        first = asyncio.ensure_future(our.server.stub.Complete(ask()))
        await our.first.arrived.wait()
        second = asyncio.ensure_future(our.server.stub.Complete(ask()))
        await our.second.arrived.wait()
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await our.server.stub.Complete(ask())
        go_on.set()
        answers = [(await first).provider, (await second).provider]
        again = await our.server.stub.Complete(ask())

    error = llm_error(failure.value, "")
    assert (error.reason, error.retry_after) == (RATE_LIMITED, 1.0)
    assert answers == ["openai", "groq"]
    assert again.provider == "openai"


async def test_names_are_rewritten_and_calls_without_one_take_the_default_route() -> None:
    rewrites = [{"match": "gpt-(.*)", "to": r"groq/llama-\1"}]
    async with world(rewrites=rewrites, default_route="smart") as our:
        rewritten = await our.server.stub.Complete(ask("gpt-5"))
        await our.server.stub.Complete(ask(""))

    assert rewritten.provider == "groq"
    assert [asked.json["model"] for asked in our.second.asked] == ["llama-5"]
    assert [asked.json["model"] for asked in our.first.asked] == ["one"]


async def test_the_targets_of_routes_are_not_rewritten() -> None:
    async with world(rewrites=[{"match": "openai/one", "to": "smart"}]) as our:
        answer = await our.server.stub.Complete(ask("openai/one"))

    assert (answer.provider, our.first.asked[0].json["model"]) == ("openai", "one")


async def test_a_target_without_a_model_is_refused_before_anything_is_served() -> None:
    config = {
        "providers": {"ollama": {}},
        "routes": {"smart": {"targets": [{"model": "ollama/default"}]}},
        "log": {"level": "error"},
    }

    with pytest.raises(ConfigError) as refusal:
        async with serving(Config.model_validate(config)):
            pass

    assert refusal.value.problems == (
        "routes.smart.targets: model: ollama has no default model; name one, or set providers.ollama.default_model.",
    )


async def test_callers_chain_models_where_that_is_allowed() -> None:
    async with world(chains=True) as our:
        our.first.play(DOWN)
        answer = await our.server.stub.Complete(ask("openai/x|groq/y"))
    async with world() as our:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await our.server.stub.Complete(ask("openai/x|groq/y"))

    assert answer.provider == "groq"
    assert llm_error(failure.value, "").reason == INVALID_REQUEST


async def test_a_route_is_asked_by_its_name_in_the_place_of_a_provider() -> None:
    async with world() as our:
        our.first.play(DOWN)
        answer = await our.server.stub.Complete(LlmRequest(provider="smart", messages=ask().messages))

    assert answer.provider == "groq"


async def test_tokens_are_counted_at_the_first_target() -> None:
    async with world() as our:
        counted = await our.server.stub.CountTokens(ask())

    assert (counted.provider, counted.model) == ("openai", "one")
