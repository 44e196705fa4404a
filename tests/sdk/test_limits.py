"""The official Python packages read how our limits stand, and ask again when they may."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anthropic
import openai
import pytest

from tests.let_in import let_in
from tests.shim.serving import Shim, configuration, shim

ASK: Final[dict[str, Any]] = {
    "model": "mock/mock-words",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "hi"}],
}
ENDLESS: Final = ASK | {"model": "mock/mock-slow", "max_tokens": 500}
"""Says a word every half second."""


def openai_client(edge: Shim, retries: int = 0, **more: Any) -> openai.AsyncOpenAI:
    url = f"http://127.0.0.1:{edge.port}/v1"
    settings: Any = {"base_url": url, "api_key": "sk-caller", "max_retries": retries, **more}
    return openai.AsyncOpenAI(**settings)


def anthropic_client(edge: Shim, retries: int = 0, **more: Any) -> anthropic.AsyncAnthropic:
    url = f"http://127.0.0.1:{edge.port}"
    settings: Any = {"base_url": url, "api_key": "sk-caller", "max_retries": retries, **more}
    return anthropic.AsyncAnthropic(**settings)


@asynccontextmanager
async def limited(**address: int) -> AsyncIterator[Shim]:
    async with shim(configuration(limits={"address": address})) as edge:
        yield edge


async def test_openais_client_sees_the_limits_and_their_end() -> None:
    async with limited(requests_per_minute=1, tokens_per_minute=900) as edge, openai_client(edge) as sdk:
        told = await sdk.chat.completions.with_raw_response.create(**ASK)
        with pytest.raises(openai.RateLimitError) as refused:
            await sdk.chat.completions.create(**ASK, stream=True)

    names = [f"x-ratelimit-{name}-requests" for name in ("limit", "remaining")]
    assert [told.headers[name] for name in names] == ["1", "0"]
    assert int(told.headers["x-ratelimit-remaining-tokens"]) < 900
    assert (refused.value.code, refused.value.type) == ("rate_limit_exceeded", "requests")
    assert [refused.value.response.headers[name] for name in names] == ["1", "0"]


async def test_anthropics_client_sees_the_limits_and_their_end() -> None:
    async with limited(requests_per_minute=1, tokens_per_minute=900) as edge, anthropic_client(edge) as sdk:
        told = await sdk.messages.with_raw_response.create(**ASK)
        with pytest.raises(anthropic.RateLimitError) as refused:
            await sdk.messages.create(**ASK, stream=True)

    names = [f"anthropic-ratelimit-requests-{name}" for name in ("limit", "remaining")]
    assert [told.headers[name] for name in names] == ["1", "0"]
    assert int(told.headers["anthropic-ratelimit-tokens-remaining"]) < 900
    assert refused.value.type == "rate_limit_error"
    assert [refused.value.response.headers[name] for name in names] == ["1", "0"]


async def test_openais_client_asks_again_when_a_stream_may_begin() -> None:
    began = time.monotonic()
    refusals: list[Any] = []
    async with limited(concurrent_streams=1) as edge, openai_client(edge) as first:
        held = await first.chat.completions.create(**ENDLESS, stream=True)

        async def answered(response: Any) -> None:
            if response.status_code == 429:
                refusals.append(response.headers["retry-after"])
                await held.close()

        http = openai.DefaultAsyncHttpxClient(event_hooks={"response": [answered]})
        async with openai_client(edge, retries=1, http_client=http) as second:
            chunks = [chunk async for chunk in await second.chat.completions.create(**ASK, stream=True)]

    assert (refusals, chunks[-1].choices[0].finish_reason) == (["1"], "length")
    assert time.monotonic() - began >= 1


async def test_anthropics_client_asks_again_when_a_stream_may_begin() -> None:
    began = time.monotonic()
    refusals: list[Any] = []
    async with limited(concurrent_streams=1) as edge, anthropic_client(edge) as first:
        held = await first.messages.create(**ENDLESS, stream=True)

        async def answered(response: Any) -> None:
            if response.status_code == 429:
                refusals.append(response.headers["retry-after"])
                await held.close()

        http = anthropic.DefaultAsyncHttpxClient(event_hooks={"response": [answered]})
        async with anthropic_client(edge, retries=1, http_client=http) as second:
            events = [event.type async for event in await second.messages.create(**ASK, stream=True)]

    assert (refusals, events[-1]) == (["1"], "message_stop")
    assert time.monotonic() - began >= 1


async def test_no_client_asks_again_by_itself_for_a_budget_that_is_spent(tmp_path: Path) -> None:
    asked: list[int] = []

    async def answered(response: Any) -> None:
        asked.append(response.status_code)

    caller = await let_in(tmp_path)
    spending = {"budgets": [{"scope": "user", "id": "ann", "period": "total", "usd": "0.000001"}]}
    prices = {"mock/mock-words": {"prices": {"input": 1, "output": 1}}}
    config = configuration(spending=spending, models=prices, **caller.settings)
    hooks: Any = {"event_hooks": {"response": [answered]}}
    async with shim(config, environ=caller.environ) as edge:
        http = openai.DefaultAsyncHttpxClient(**hooks)
        async with openai_client(edge, retries=2, api_key=caller.key, http_client=http) as sdk:
            with pytest.raises(openai.RateLimitError) as refused:
                await sdk.chat.completions.create(**ASK)
        theirs = anthropic.DefaultAsyncHttpxClient(**hooks)
        async with anthropic_client(edge, retries=2, api_key=caller.key, http_client=theirs) as claude:
            with pytest.raises(anthropic.APIStatusError) as unpaid:
                await claude.messages.create(**ASK)

    assert (asked, refused.value.code, unpaid.value.type) == ([429, 402], "insufficient_quota", "billing_error")
