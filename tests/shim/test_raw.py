"""Below `/{provider}/raw/` callers speak to the provider's own API, with our credentials and through our pools."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.shim.serving import Shim, configuration, shim
from tests.stand_in import Connection, StandIn, answer, json_answer, stand_in

SPENT = json_answer({"error": {"code": "insufficient_quota", "message": "Pay."}}, status=429)
WRONG = json_answer({"error": {"message": "No such file."}}, status=404, x_quirk="1")


@asynccontextmanager
async def world(**provider: Any) -> AsyncIterator[tuple[StandIn, Shim]]:
    async with stand_in(json_answer({"ok": True}, openai_processing_ms="7", set_cookie="a=b")) as upstream:
        openai = {"base_url": f"{upstream.url}/v1", "api_key": "sk-ours", "raw": True, "retry": {"base_delay_s": 0}}
        providers = {"openai": openai | provider, "mock": {}}
        async with shim(configuration(providers=providers, credentials={"keep_records": False})) as ours:
            yield upstream, ours


async def test_a_request_arrives_as_it_is_but_for_the_credentials() -> None:
    async with world() as (upstream, ours):
        headers = {
            "Authorization": "Bearer theirs",
            "x-api-key": "theirs",
            "Cookie": "a=b",
            "OpenAI-Beta": "files",
            "Loom-Timeout": "5",
            "Content-Type": "application/jsonl",
        }
        path = "/openai/raw/files/a%2Fb?purpose=x&key=theirs&n=1"
        async with ours.client.put(path, data=b'{"model": "gpt"}\n{}', headers=headers) as response:
            told = (response.status, await response.json())

    (asked,) = upstream.asked
    assert told == (200, {"ok": True})
    assert (asked.method, asked.path, asked.body) == ("PUT", "/v1/files/a%2Fb?purpose=x&n=1", b'{"model": "gpt"}\n{}')
    kept = {name: value for name, value in asked.headers.items() if name not in ("host", "accept", "user-agent")}
    assert kept == {
        "authorization": "Bearer sk-ours",
        "openai-beta": "files",
        "content-type": "application/jsonl",
        "content-length": "19",
        "accept-encoding": "identity",
    }


async def test_the_answer_comes_back_as_it_is_but_for_what_is_between_the_provider_and_us() -> None:
    async with world() as (_, ours):
        told = await ours.get("/openai/raw/models")

    assert (told.headers["openai-processing-ms"], told.headers["loom-provider"]) == ("7", "openai")
    assert "set-cookie" not in told.headers


async def test_a_refusal_is_the_providers_own() -> None:
    async with world() as (upstream, ours):
        upstream.play(WRONG)
        told = await ours.get("/openai/raw/files/x")

    assert (told.status, told.json, told.headers["x-quirk"]) == (404, {"error": {"message": "No such file."}}, "1")


async def test_the_next_account_stands_in_for_one_whose_quota_is_used_up() -> None:
    accounts = {"a": {"api_key": "sk-a"}, "b": {"api_key": "sk-b"}}

    async with world(api_key=None, accounts=accounts) as (upstream, ours):
        upstream.play(SPENT, json_answer({"ok": True}))
        told = await ours.get("/openai/raw/models")

    assert (told.status, told.headers["loom-attempts"]) == (200, "2")
    assert [asked.headers["authorization"] for asked in upstream.asked] == ["Bearer sk-a", "Bearer sk-b"]


async def test_a_stream_comes_as_it_is_sent_and_a_cut_one_does_not_look_whole() -> None:
    async def half(connection: Connection) -> None:
        await connection.head()
        await connection.send("data: 1\n\n")
        connection.cut()

    async with world() as (upstream, ours):
        upstream.play(half)
        with pytest.raises(aiohttp.ClientPayloadError):
            await ours.post("/openai/raw/chat/completions")


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        (
            "/mock/raw/models",
            403,
            "Requests are not passed on to mock as they are; the operator may set providers.mock.raw.",
        ),
        ("/groq/raw/models", 503, "Groq provider is not configured on the server"),
        ("/openai/raw/%2e%2e/admin", 400, "The path must not have . or .. as a piece."),
        ("/openai/raw/a/..%2f..", 400, "The path must not have . or .. as a piece."),
        # What is cut off in front of it must be just that, or the rest would become a part of the provider's host.
        ("/open%61i/raw/models", 400, "The provider and raw must not be escaped."),
        ("/%6f%70%65nai/raw/models", 400, "The provider and raw must not be escaped."),
        ("/openai/%72aw/models", 400, "The provider and raw must not be escaped."),
        ("/openai%2fraw/models", 400, "The provider and raw must not be escaped."),
    ],
)
async def test_what_is_not_passed_on_is_refused_in_words(path: str, status: int, message: str) -> None:
    async with world() as (upstream, ours):
        head = f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        raw = await ours.raw(head.encode())

    assert raw.startswith(f"HTTP/1.1 {status} ".encode())
    assert message.encode() in raw
    assert upstream.asked == []


async def test_a_binary_answer_is_not_touched() -> None:
    body = bytes(range(256)) * 300

    async with world() as (upstream, ours):
        upstream.play(answer(body, content_type="audio/mpeg"))
        told = await ours.get("/openai/raw/audio/1")

    assert (told.body, told.headers["content-type"]) == (body, "audio/mpeg")
