"""Texts become vectors through the same routes, pools and retries as answers."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from loom_grpc.client import LoomClient
from loom_grpc.config import Config
from loom_grpc.core.errors import INVALID_REQUEST, PROVIDER_BAD_RESPONSE, LlmError
from loom_grpc.v1.llm_service_pb2 import Embedding, EmbedInput, EmbedRequest, EmbedResponse
from loom_grpc.v1.usage_pb2 import Usage
from tests.server.serving import serving
from tests.stand_in import Connection, StandIn, json_answer, stand_in

BUSY = json_answer({"error": {"message": "Busy"}}, status=503)
SPENT = json_answer({"error": {"code": "insufficient_quota", "message": "Pay."}}, status=429)


async def embeds(connection: Connection) -> None:
    """Answers with the number of each text's characters as its vector."""
    texts = connection.asked.json["input"]
    rows = [{"index": index, "embedding": [len(text)]} for index, text in enumerate(texts)]
    usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
    await json_answer({"data": rows, "model": "told", "usage": usage})(connection)


@asynccontextmanager
async def world(**provider: Any) -> AsyncIterator[tuple[StandIn, LoomClient]]:
    """Runs a provider and a server in front of it and of the mock provider."""
    async with stand_in(embeds) as upstream:
        openai = {"api_key": "sk-test", "base_url": upstream.url, "retry": {"base_delay_s": 0}} | provider
        config = {
            "grpc": {"address": "127.0.0.1:0"},
            "providers": {"openai": openai, "mock": {}, "anthropic": {"api_key": "k", "base_url": upstream.url}},
            "routes": {"vectors": {"targets": [{"model": "openai/small"}, {"model": "mock/mock-embed"}]}},
            "credentials": {"keep_records": False},
            "log": {"level": "error"},
        }
        async with (
            serving(Config.model_validate(config)) as server,
            LoomClient(f"127.0.0.1:{server.port}") as client,
        ):
            yield upstream, client


async def failure(client: LoomClient, request: EmbedRequest) -> LlmError:
    with pytest.raises(LlmError) as caught:
        await client.embed(request)
    return caught.value


async def test_vectors_come_in_the_order_of_the_texts_with_their_cost() -> None:
    async with world() as (upstream, client):
        response = await client.embed(["a", "bbb"], model="openai/small")

    assert response == EmbedResponse(
        embeddings=[Embedding(values=[1]), Embedding(values=[3])],
        usage=Usage(input_tokens=2, provider_usage_json='{"prompt_tokens":2,"total_tokens":2}'),
        provider="openai",
        model="told",
    )
    assert (upstream.asked[0].path, upstream.asked[0].json) == (
        "/embeddings",
        {"model": "small", "input": ["a", "bbb"]},
    )
    assert upstream.asked[0].headers["authorization"] == "Bearer sk-test"


async def test_more_texts_than_the_provider_takes_are_asked_for_in_turns() -> None:
    texts = ["x" * (n % 7 + 1) for n in range(2049)]

    async with world() as (upstream, client):
        response = await client.embed(texts, model="openai/small")

    assert [len(asked.json["input"]) for asked in upstream.asked] == [2048, 1]
    assert [embedding.values[0] for embedding in response.embeddings] == [len(text) for text in texts]
    assert response.usage == Usage(input_tokens=2049)


async def test_a_passing_failure_is_tried_again() -> None:
    async with world() as (upstream, client):
        upstream.play(BUSY, embeds)
        response = await client.embed("a", model="openai/small")

    assert ([list(embedding.values) for embedding in response.embeddings], len(upstream.asked)) == ([[1.0]], 2)


async def test_the_next_account_and_the_next_target_stand_in() -> None:
    accounts = {"a": {"api_key": "sk-a"}, "b": {"api_key": "sk-b"}}

    async with world(api_key=None, accounts=accounts) as (upstream, client):
        upstream.play(SPENT, embeds)
        by_account = await client.embed("a", model="vectors")
        upstream.play(BUSY)
        by_target = await client.embed("a", model="vectors")

    assert (by_account.provider, by_target.provider) == ("openai", "mock")


async def test_the_mock_provider_gives_the_same_text_the_same_vector_of_length_one() -> None:
    async with world() as (_, client):
        request = EmbedRequest(model="mock/mock-embed", dimensions=3)
        request.inputs.extend(EmbedInput(text=text) for text in ("a", "b", "a"))
        response = await client.embed(request)

    a, b, again = (list(embedding.values) for embedding in response.embeddings)
    assert (a == again, a == b, len(a)) == (True, False, 3)
    assert math.hypot(*a) == pytest.approx(1)


async def test_an_answer_that_leaves_a_text_out_is_no_answer() -> None:
    async with world() as (upstream, client):
        upstream.play(json_answer({"data": []}))

        assert (await failure(client, EmbedRequest(model="openai/small", inputs=[EmbedInput(text="a")]))).reason == (
            PROVIDER_BAD_RESPONSE
        )


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (EmbedRequest(model="openai/small"), "inputs: at least one is needed."),
        (EmbedRequest(model="openai/small", inputs=[EmbedInput()]), "inputs[0]: must have text or tokens."),
        (
            EmbedRequest(inputs=[EmbedInput(text="a")]),
            "model: must name a model for embeddings, such as openai/text-embedding-3-small.",
        ),
        (
            EmbedRequest(model="openai/small", inputs=[EmbedInput(text="a")], dimensions=0),
            "dimensions: must be at least 1.",
        ),
        (
            EmbedRequest(model="anthropic/claude", inputs=[EmbedInput(text="a")]),
            "model: anthropic has no embeddings; name a model of another provider.",
        ),
    ],
)
async def test_what_cannot_become_a_vector_is_refused_by_name(request_: EmbedRequest, message: str) -> None:
    async with world() as (_, client):
        error = await failure(client, request_)

    assert (error.reason, error.message) == (INVALID_REQUEST, message)


async def test_vectors_come_from_a_second_target_while_the_first_one_is_silent() -> None:
    async def silent(connection: Connection) -> None:
        await connection.closed.wait()

    async with stand_in(silent) as first, stand_in(embeds) as second:
        urls = {"openai": first.url, "groq": second.url}
        providers = {name: {"dialect": "openai", "api_key": "sk-test", "base_url": url} for name, url in urls.items()}
        route = {"targets": [{"model": "openai/one"}, {"model": "groq/two"}], "hedge_after_s": 0.05}
        config = {"grpc": {"address": "127.0.0.1:0"}, "providers": providers, "routes": {"vectors": route}}
        async with (
            serving(Config.model_validate(config | {"log": {"level": "error"}})) as server,
            LoomClient(f"127.0.0.1:{server.port}") as client,
            asyncio.timeout(10),
        ):
            response = await client.embed("abc", model="vectors")
            await first.connections[0].closed.wait()

    assert ([list(vector.values) for vector in response.embeddings], response.provider) == ([[3.0]], "groq")
