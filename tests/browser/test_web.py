"""The TypeScript client in a real browser, from a page of another origin, over Connect and over gRPC-Web."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from loom_grpc.config import Config
from loom_grpc.core.call import Call, Send
from loom_grpc.core.errors import PROVIDER_RATE_LIMITED, PROVIDER_UNAVAILABLE, LlmError
from tests.browser.chromium import WAIT_S, Browser
from tests.browser.site import Site, site
from tests.let_in import let_in
from tests.shim.serving import DONE, GREETING, Script, Shim, configuration, shim, text
from tests.stand_in import Connection, stand_in

PROTOCOLS = ["connect", "grpc-web"]
every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS)


def open_to(page: Site, **more: Any) -> Config:
    """Makes a configuration that lets the page in."""
    return configuration({"cors": {"allow_origins": [page.origin]}}, **more)


def url(server: Shim) -> str:
    return f"http://127.0.0.1:{server.port}"


def asked(model: str, prompt: str = "hi", **options: Any) -> dict[str, Any]:
    return {"question": {"model": model, "prompt": prompt}, "options": options}


@pytest.fixture
async def server(page: Site) -> AsyncIterator[Shim]:
    async with shim(open_to(page)) as running:
        yield running


@every_protocol
async def test_a_page_gets_whole_answers(page: Site, server: Shim, protocol: str) -> None:
    short = await page.run("complete", url(server), **asked("mock/mock-echo", "hé", protocol=protocol))
    large = await page.run("large", url(server), **asked("mock/mock-echo", protocol=protocol), text="Grüße,世界🌍")

    assert (short["content"], short["model"]) == ("hé", "mock-echo")
    assert {name: short["trailers"][name] for name in ("loom-provider", "loom-attempts")} == {
        "loom-provider": "mock",
        "loom-attempts": "1",
    }
    assert large == {"bytes": 4_500_000, "is_the_same": True}


@every_protocol
async def test_a_page_lists_models_counts_and_embeds(page: Site, server: Shim, protocol: str) -> None:
    told = await page.run(
        "others", url(server), inputs=["a", "b"], **asked("mock/mock-words", "a b c", protocol=protocol)
    )

    assert "mock-echo" in told["models"]
    assert told["tokens"] > 0
    assert [length > 0 for length in told["vectors"]] == [True, True]


@every_protocol
async def test_a_page_sees_an_event_when_it_happens(page: Site, protocol: str) -> None:
    seen = asyncio.Event()

    async def play(call: Call, send: Send) -> None:
        call.provider, call.model, call.attempt = "openai", "gpt-4o", 1
        await send(text("Hello"))
        await seen.wait()
        await send(text("."))
        await send(DONE)

    async with shim(open_to(page), Script(play)) as server:
        running = asyncio.create_task(page.run("stream", url(server), **asked("m", protocol=protocol)))
        first = await asyncio.wait_for(page.tab.told.get(), WAIT_S)
        seen.set()
        told = await running

    assert first == "textDelta"
    assert told["cases"] == ["textDelta", "textDelta", "completed"]
    assert (told["content"], told["complete"]) == ("Hello.", "Hello.")
    assert (told["trailers"]["loom-model"], told["trailers"]["loom-attempts"]) == ("gpt-4o", "1")


@every_protocol
@pytest.mark.parametrize("job", ["complete", "stream"])
async def test_a_page_gets_a_typed_error(page: Site, protocol: str, job: str) -> None:
    async def play(call: Call, send: Send) -> None:
        raise LlmError(PROVIDER_RATE_LIMITED, "Zu viel: 100 %.", retry_after=1.5, provider="openai")

    async with shim(open_to(page), Script(play)) as server:
        told = await page.run(job, url(server), **asked("m", protocol=protocol, metadata={"x-request-id": "r-1"}))

    assert told == {
        "reason": "PROVIDER_RATE_LIMITED",
        "message": "Zu viel: 100 %.",
        "retryAfterMs": 1500,
        "metadata": {"provider": "openai", "request_id": "r-1"},
    }


@every_protocol
async def test_a_page_gets_what_had_arrived_of_a_stream_that_broke_off(page: Site, protocol: str) -> None:
    async def play(call: Call, send: Send) -> None:
        await send(text("Hello."))
        raise LlmError(PROVIDER_UNAVAILABLE, "Gone.", partial=GREETING)

    async with shim(open_to(page), Script(play)) as server:
        told = await page.run("stream", url(server), **asked("m", protocol=protocol))

    assert (told["reason"], told["message"], told["partial"]) == ("PROVIDER_UNAVAILABLE", "Gone.", "Hello.")


@every_protocol
@pytest.mark.parametrize(
    ("job", "came_of_it"),
    [("abort", {"words": ["started", "textDelta"], "error": "AbortError"}), ("leave", "Hello")],
)
async def test_a_page_that_gives_up_closes_the_providers_connection(
    page: Site, protocol: str, job: str, came_of_it: Any
) -> None:
    closed = asyncio.Event()

    async def play(connection: Connection) -> None:
        await connection.head()
        await connection.send(
            'data: {"id":"c","model":"gpt-4o","choices":[{"index":0,"delta":{"content":"Hello"}}]}\n\n'
        )
        await connection.closed.wait()
        closed.set()

    async with stand_in(play) as upstream:
        openai = {"openai": {"api_key": "sk-test", "base_url": upstream.url}}
        async with shim(open_to(page, providers=openai)) as server:
            told = await page.run(job, url(server), **asked("openai/gpt-4o", protocol=protocol))
            await asyncio.wait_for(closed.wait(), WAIT_S)

    assert told == came_of_it


@every_protocol
async def test_a_deadline_of_a_page_ends_the_call(page: Site, server: Shim, protocol: str) -> None:
    told = await page.run("complete", url(server), **asked("mock/mock-slow", protocol=protocol, timeoutMs=200))

    assert told["reason"] == "PROVIDER_TIMEOUT"


@every_protocol
@pytest.mark.parametrize("job", ["complete", "stream"])
async def test_a_page_with_a_wrong_key_is_told_so(page: Site, tmp_path: Path, protocol: str, job: str) -> None:
    ann = await let_in(tmp_path)
    async with shim(open_to(page, **ann.settings), environ=ann.environ) as server:
        wrong = await page.run(job, url(server), **asked("mock/mock-echo", protocol=protocol, apiKey="lt-wrong"))
        right = await page.run(job, url(server), **asked("mock/mock-echo", protocol=protocol, apiKey=ann.key))

    assert (wrong["reason"], "lt-wrong" in str(wrong)) == ("UNAUTHENTICATED", False)
    assert right["content"] == "hi"


@every_protocol
async def test_a_page_of_another_origin_is_kept_out(page: Site, browser: Browser, client: bytes, protocol: str) -> None:
    async def play(call: Call, send: Send) -> None:
        await send(DONE)

    script = Script(play)
    async with site(browser, client) as stranger, shim(open_to(page), script) as server, shim(gateway=script) as closed:
        kept_out = [
            await stranger.run("complete", url(server), **asked("m", protocol=protocol)),
            await page.run("complete", url(closed), **asked("m", protocol=protocol)),
        ]
        calls = list(script.calls)
        let_in = await page.run("complete", url(server), **asked("m", protocol=protocol))

    assert ([told["reason"] for told in kept_out], calls) == (["PROVIDER_UNAVAILABLE"] * 2, [])
    assert let_in["content"] == "Hello."


@every_protocol
async def test_a_page_of_the_servers_own_origin_needs_no_leave(page: Site, protocol: str) -> None:
    async with shim() as server:
        await page.tab.ask("Page.navigate", url=f"{url(server)}/livez")
        told = await page.run("stream", url(server), **asked("mock/mock-echo", "hé", protocol=protocol))

    assert told["content"] == "hé"


@every_protocol
async def test_a_page_is_told_when_the_server_goes_away(page: Site, protocol: str) -> None:
    async def play(call: Call, send: Send) -> None:
        await send(text("Hello"))
        await asyncio.Event().wait()

    async with shim(open_to(page), Script(play)) as server:
        running = asyncio.create_task(page.run("stream", url(server), **asked("m", protocol=protocol)))
        await asyncio.wait_for(page.tab.told.get(), WAIT_S)
        for connection in server.edge.connections():
            connection.transport.abort()
        told = await running

    assert (told["reason"], told["metadata"]["target"]) == ("PROVIDER_UNAVAILABLE", url(server))


async def test_a_page_needs_no_library_for_a_whole_answer(page: Site, server: Shim) -> None:
    told = await page.tab.call(
        f"""fetch("{url(server)}/loom_grpc.v1.LlmService/Complete", {{
          method: "POST",
          headers: {{ "content-type": "application/json" }},
          body: JSON.stringify({{ model: "mock/mock-echo", messages: [{{ role: "ROLE_USER", content: "hé" }}] }}),
        }}).then((response) => response.json())"""
    )

    assert told["message"] == {"role": "ROLE_ASSISTANT", "content": "hé"}
