"""Requests in a provider's own words: what is added to them on the way, and what they are refused for."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.shim.serving import configuration, request, shim
from tests.stand_in import json_answer, stand_in

HI: dict[str, Any] = {"model": "anthropic/m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "Hello."}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 1, "output_tokens": 1},
    "container": {"id": "unknown to us"},
}


async def test_betas_of_the_operator_and_of_the_caller_go_together() -> None:
    async with stand_in(json_answer(ANSWER)) as upstream:
        provider = {"base_url": upstream.url, "api_key": "k", "headers": {"anthropic-beta": "ours"}}
        async with shim(configuration(providers={"anthropic": provider})) as edge:
            told = await edge.post("/v1/messages", HI, anthropic_beta="theirs,more")

    assert (upstream.asked[0].headers["anthropic-beta"], told.json) == ("ours,theirs,more", ANSWER)


async def test_options_of_the_operator_complete_the_callers_own_words() -> None:
    async with stand_in(json_answer(ANSWER)) as upstream:
        options = {"service_tier": "auto", "metadata": {"user_id": "ours"}}
        provider = {"base_url": upstream.url, "api_key": "k", "options": options}
        async with shim(configuration(providers={"anthropic": provider})) as edge:
            await edge.post("/v1/messages", HI | {"metadata": {"user_id": "theirs"}})

    asked = upstream.asked[0].json
    assert asked == HI | {"model": "m", "metadata": {"user_id": "theirs"}, "service_tier": "auto"}


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
async def test_a_body_that_is_nested_too_deeply_is_the_callers_fault(path: str) -> None:
    deep = b'{"model":"anthropic/m","max_tokens":9,"messages":[{"role":"user","content":"Hi"}],"x":' + (
        b"[" * 600 + b"]" * 600 + b"}"
    )
    async with stand_in(json_answer(ANSWER)) as upstream:
        providers = {
            "anthropic": {"base_url": upstream.url, "api_key": "k"},
            "openai": {"base_url": upstream.url, "api_key": "k"},
        }
        async with shim(configuration(providers=providers)) as edge:
            told = await edge.post(path, deep.replace(b"anthropic/m", b"openai/m") if "chat" in path else deep)

    assert (told.status, upstream.asked) == (400, [])
    assert "nested too deeply" in orjson.dumps(told.json).decode()


@pytest.mark.parametrize(
    ("path", "header"),
    [
        ("/v1/messages", "anthropic-beta"),
        ("/v1/chat/completions", "openai-beta"),
        ("/v1beta/models/gemini/m:generateContent", "x-server-timeout"),
    ],
)
async def test_a_header_that_cannot_be_passed_on_is_the_callers_fault(path: str, header: str) -> None:
    body = HI | {"contents": [{"parts": [{"text": "Hi"}]}]}
    async with shim() as edge:
        sent = request(path, body, f"{header}: here").replace(b"here", b"caf\xc3\xa9")
        told = await edge.raw(sent)

    assert told.startswith(b"HTTP/1.1 400 ")
    assert b"must be ASCII" in told


async def test_fields_that_were_dropped_are_named_in_a_header_that_clients_take() -> None:
    odd = {"x\r\nset-cookie: a=b": 1, "é": 2, "z" * 9000: 3} | {f"more_{number}": 4 for number in range(99)}
    async with shim(configuration(compat={"untold": "drop"})) as edge:
        told = await edge.post("/v1/messages", HI | odd | {"model": "mock/mock-words"})

    named = told.headers["loom-dropped"].split(", ")
    assert (told.status, "set-cookie" in told.headers) == (200, False)
    assert named == ["x??set-cookie: a=b", "\\xe9", "z" * 80] + [f"more_{number}" for number in range(17)]


async def test_a_field_with_a_long_name_is_refused_in_few_words() -> None:
    async with shim() as edge:
        told = await edge.post("/v1/messages", HI | {"z" * 9000: 1, "model": "mock/mock-words"})

    assert (told.status, len(told.body) < 600) == (400, True)


@pytest.mark.parametrize(
    ("shown", "left"),
    [({"api_key": "k"}, "41"), ({"accounts": {"a": {"api_key": "k"}}}, None)],
    ids=["one key", "a pool"],
)
async def test_what_is_left_of_the_providers_limit_is_told_where_it_is_the_callers_alone(
    shown: dict[str, Any], left: str | None
) -> None:
    script = json_answer(ANSWER, anthropic_ratelimit_requests_remaining="41", set_cookie="a=b")
    async with stand_in(script) as upstream:
        config = configuration(
            providers={"anthropic": {"base_url": upstream.url, **shown}}, credentials={"keep_records": False}
        )
        async with shim(config) as edge:
            told = await edge.post("/v1/messages", HI)

    assert (told.status, told.headers.get("anthropic-ratelimit-requests-remaining")) == (200, left)
    assert "set-cookie" not in told.headers
