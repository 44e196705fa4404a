"""The official packages of OpenAI's and Google's turn texts into vectors, at the provider and at us."""

from __future__ import annotations

import base64
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import openai
import pytest
from google import genai
from google.genai import errors, types

from tests.sdk.recorded import PROVIDER
from tests.shim.serving import configuration, shim
from tests.stand_in import Connection, Script, StandIn, json_answer, stand_in

pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")
"""Google's client does so where aiohttp is installed."""

MODEL: Final = f"{PROVIDER}/small"
TEXTS: Final = ["one", "three"]


def vector(text: str) -> list[float]:
    """Makes a vector of a text; its numbers are such as providers write."""
    return [len(text) / 10, -0.016573092]


async def openai_embeds(connection: Connection) -> None:
    """Answers as OpenAI does, in the form that is asked for."""
    body = connection.asked.json
    texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
    encodes = body.get("encoding_format") == "base64"
    rows = [
        {"object": "embedding", "index": index, "embedding": packed(vector(text)) if encodes else vector(text)}
        for index, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
    await json_answer({"object": "list", "data": rows, "model": "small-001", "usage": usage})(connection)


async def gemini_embeds(connection: Connection) -> None:
    """Answers as Google does."""
    texts = [request["content"]["parts"][0]["text"] for request in connection.asked.json["requests"]]
    value = {"embeddings": [{"values": vector(text)} for text in texts], "usageMetadata": {"promptTokenCount": 7}}
    await json_answer(value)(connection)


async def ollama_embeds(connection: Connection) -> None:
    """Answers as Ollama does."""
    vectors = [vector(text) for text in connection.asked.json["input"]]
    await json_answer({"model": "small", "embeddings": vectors, "prompt_eval_count": 7})(connection)


def packed(values: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()


@asynccontextmanager
async def both(script: Script, dialect: str) -> AsyncIterator[tuple[StandIn, str]]:
    """Runs a provider and a server of ours before it; gives the provider and our address."""
    async with stand_in(script) as upstream:
        ours = {"base_url": upstream.url, "api_key": "sk-p", "retry": {"max_attempts": 1}, "dialect": dialect}
        providers = {PROVIDER: ours, "anthropic": {"api_key": "k", "base_url": upstream.url}}
        async with shim(configuration(providers=providers)) as edge:
            yield upstream, f"http://127.0.0.1:{edge.port}"


def openai_client(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=url, api_key="sk-caller", max_retries=0)


@asynccontextmanager
async def google_client(url: str) -> AsyncIterator[Any]:
    """Gives Google's asynchronous client of an address."""
    options = types.HttpOptions(base_url=url, retry_options=types.HttpRetryOptions(attempts=1))
    async with genai.Client(api_key="sk-caller", http_options=options).aio as client:
        yield client


async def google_vectors(url: str, model: str, **config: Any) -> Any:
    """Returns all that Google's client reads, the headers of HTTP aside."""
    async with google_client(url) as client:
        found = await client.models.embed_content(model=model, contents=list(TEXTS), config=config or None)
    return found.model_dump(exclude={"sdk_http_response"}, exclude_none=True)


@pytest.mark.parametrize("options", [{"encoding_format": "float"}, {"encoding_format": "base64"}, {}])
async def test_openais_client_gets_equal_objects(options: Any) -> None:
    async with both(openai_embeds, "openai") as (upstream, url):
        async with openai_client(upstream.url) as client:
            direct = await client.embeddings.create(model="small", input=TEXTS, **options)
        async with openai_client(f"{url}/v1") as client:
            through = await client.embeddings.create(model=MODEL, input=TEXTS, dimensions=2, user="u", **options)

    # What a caller asks for as base64 stays a string, which is not in the client's own model.
    assert through.model_dump(warnings=False) == direct.model_dump(warnings=False)
    assert upstream.asked[1].json == {"model": "small", "input": TEXTS, "dimensions": 2}


async def test_one_text_and_one_list_of_tokens_are_one_vector() -> None:
    async with both(openai_embeds, "openai") as (upstream, url), openai_client(f"{url}/v1") as client:
        text = await client.embeddings.create(model=MODEL, input="one")
        tokens = await client.embeddings.create(model=MODEL, input=[5, 6])

    assert (len(text.data), len(tokens.data)) == (1, 1)
    assert [asked.json["input"] for asked in upstream.asked] == [["one"], [[5, 6]]]


async def test_more_texts_than_the_provider_takes_come_back_in_order() -> None:
    texts = ["x" * (n % 7 + 1) for n in range(2049)]

    async with both(openai_embeds, "openai") as (upstream, url), openai_client(f"{url}/v1") as client:
        found = await client.embeddings.create(model=MODEL, input=texts, encoding_format="float")

    assert [len(asked.json["input"]) for asked in upstream.asked] == [2048, 1]
    assert [(row.index, row.embedding) for row in found.data] == [(n, vector(text)) for n, text in enumerate(texts)]
    assert found.usage.prompt_tokens == 2049


@pytest.mark.parametrize(
    ("script", "dialect"), [(gemini_embeds, "gemini"), (ollama_embeds, "ollama")], ids=["gemini", "ollama"]
)
async def test_openais_client_reads_the_vectors_of_other_providers(script: Script, dialect: str) -> None:
    async with both(script, dialect) as (_, url), openai_client(f"{url}/v1") as client:
        found = await client.embeddings.create(model=MODEL, input=TEXTS, encoding_format="float")

    assert [row.embedding for row in found.data] == [vector(text) for text in TEXTS]
    assert (found.model, found.usage.total_tokens) == ("small", 7)


@pytest.mark.parametrize(
    ("script", "dialect", "tokens"),
    [(openai_embeds, "openai", 2), (ollama_embeds, "ollama", 7)],
    ids=["openai", "ollama"],
)
async def test_googles_client_reads_the_vectors_of_other_providers(script: Script, dialect: str, tokens: int) -> None:
    async with both(script, dialect) as (_, url):
        found = await google_vectors(url, MODEL, output_dimensionality=2)

    assert found == {
        "embeddings": [{"values": vector(text)} for text in TEXTS],
        "usage_metadata": {"prompt_token_count": tokens},
    }


async def test_googles_client_gets_equal_objects() -> None:
    settings = {"task_type": "RETRIEVAL_QUERY", "output_dimensionality": 2}

    async with both(gemini_embeds, "gemini") as (upstream, url):
        direct = await google_vectors(upstream.url, "small", **settings)
        through = await google_vectors(url, MODEL, **settings)

    assert through == direct
    written = upstream.asked[0].json
    for request in written["requests"]:
        del request["content"]["role"]  # there is only one
    assert upstream.asked[1].json == written
    assert upstream.asked[1].path == "/v1beta/models/small:batchEmbedContents"


@pytest.mark.parametrize(
    ("upstream_status", "model", "texts", "kind", "param"),
    [
        (200, MODEL, [], openai.BadRequestError, "input"),
        (200, MODEL, ["a", ""], openai.BadRequestError, "input[1]"),
        (200, "anthropic/claude", ["a"], openai.BadRequestError, "model"),
        (200, "nobody/has", ["a"], openai.NotFoundError, "model"),
        (429, MODEL, ["a"], openai.RateLimitError, None),
        (503, MODEL, ["a"], openai.InternalServerError, None),
    ],
)
async def test_openais_client_raises_the_error_of_its_kind(
    upstream_status: int, model: str, texts: list[str], kind: type[openai.APIStatusError], param: str | None
) -> None:
    busy = json_answer({"error": {"message": "Busy", "type": "t", "code": "c"}}, status=upstream_status)
    async with both(busy, "openai") as (_, url), openai_client(f"{url}/v1") as client:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.embeddings.create(model=model, input=texts)

    assert (type(caught.value), caught.value.param) == (kind, param)


@pytest.mark.parametrize(
    ("upstream_status", "model", "code", "status"),
    [
        (200, "anthropic/claude", 400, "INVALID_ARGUMENT"),
        (200, "nobody/has", 404, "NOT_FOUND"),
        (429, MODEL, 429, "RESOURCE_EXHAUSTED"),
        (503, MODEL, 503, "UNAVAILABLE"),
    ],
)
async def test_googles_client_raises_an_error_with_its_status(
    upstream_status: int, model: str, code: int, status: str
) -> None:
    busy = json_answer({"error": {"message": "Busy"}}, status=upstream_status)
    async with both(busy, "gemini") as (_, url):
        with pytest.raises(errors.APIError) as caught:
            await google_vectors(url, model)

    assert (caught.value.code, caught.value.status) == (code, status)
