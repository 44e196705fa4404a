"""Limits and budgets over HTTP: what callers are told of them before they are reached, and when they are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from loom_grpc.client import LoomClient
from loom_grpc.core.call import Call, Send
from loom_grpc.core.errors import BUDGET_EXCEEDED, RATE_LIMITED, STORAGE_UNAVAILABLE, LlmError
from loom_grpc.shim.remote import RemoteGateway
from tests.let_in import let_in
from tests.server.serving import serving
from tests.shim.serving import Answer, Script, configuration, shim
from tests.stand_in import json_answer, stand_in

ASK: Final[dict[str, Any]] = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
GEMINI: Final[dict[str, Any]] = {"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": {"maxOutputTokens": 1}}
CHAT: Final = ("/v1/chat/completions", {"model": "mock/mock-words", **ASK})
RESPONSES: Final = ("/v1/responses", {"model": "mock/mock-words", "input": "hi", "max_output_tokens": 16})
EMBEDDINGS: Final = ("/v1/embeddings", {"model": "mock/mock-embed", "input": "hi"})
MESSAGES: Final = ("/v1/messages", {"model": "mock/mock-words", **ASK})
COUNT: Final = ("/v1/messages/count_tokens", {"model": "mock/mock-words", "messages": ASK["messages"]})
GENERATE: Final = ("/v1beta/models/mock/mock-words:generateContent", GEMINI)
EMBED: Final = ("/v1beta/models/mock/mock-embed:embedContent", {"content": {"parts": [{"text": "hi"}]}})
LOOM: Final = ("/proxy/mock/complete", {"model": "mock-words", **ASK})
STREAMS: Final = (
    (CHAT[0], CHAT[1] | {"stream": True}),
    (RESPONSES[0], RESPONSES[1] | {"stream": True}),
    (MESSAGES[0], MESSAGES[1] | {"stream": True}),
    ("/v1beta/models/mock/mock-words:streamGenerateContent", GEMINI),
    ("/proxy/mock/stream", LOOM[1]),
)
WHOLE: Final = (CHAT, RESPONSES, EMBEDDINGS, MESSAGES, COUNT, GENERATE, EMBED, LOOM)
EVERY: Final = (*WHOLE, *STREAMS)
PASSED: Final = (CHAT, STREAMS[0], STREAMS[2], COUNT, EMBEDDINGS)
PAGES: Final = (
    "/openai/raw/models",
    "/v1/models",
    "/v1beta/models",
    "/v1/responses/resp_1",
    "/metrics",
    "/api/admin/openai/accounts",
)
PARTS: Final = re.compile(r'"(\w+)";r=(\d+)(?:;t=(\d+))?')
DURATION: Final = re.compile(r"(?:(\d+)m)?(\d+(?:\.\d+)?)s")


def limited(**address: int) -> dict[str, Any]:
    return {"limits": {"address": address}}


def about_limits(answer: Answer) -> dict[str, str]:
    """Returns the headers that tell of limits."""
    return {name: value for name, value in answer.headers.items() if "ratelimit" in name}


def read(answer: Answer) -> dict[str, tuple[int, float]]:
    """Returns what is left of each kind and after how many seconds it is over, whatever the dialect."""
    headers = answer.headers
    found = {kind: (int(left), float(t or 0)) for kind, left, t in PARTS.findall(headers.get("ratelimit", ""))}
    for kind in ("requests", "tokens"):
        if left := headers.get(f"x-ratelimit-remaining-{kind}"):
            found[kind] = (int(left), _seconds(headers[f"x-ratelimit-reset-{kind}"]))
        if left := headers.get(f"anthropic-ratelimit-{kind}-remaining"):
            reset = datetime.fromisoformat(headers[f"anthropic-ratelimit-{kind}-reset"])
            found[kind] = (int(left), (reset - datetime.now(UTC)).total_seconds())
    return found


def _seconds(text: str) -> float:
    minutes, seconds = DURATION.fullmatch(text).groups()  # type: ignore[union-attr] # a test that fails says so
    return int(minutes or 0) * 60 + float(seconds)


async def test_every_answer_tells_how_the_limits_stand() -> None:
    async with shim(configuration(**limited(requests_per_minute=70, tokens_per_minute=50_000))) as edge:
        told = [await edge.post(path, body) for path, body in EVERY]

    assert [(answer.status, read(answer)["requests"][0]) for answer in told] == [(200, 69 - at) for at in range(13)]
    for answer in told:
        assert set(read(answer)) == {"requests", "tokens"}
        assert 40_000 < read(answer)["tokens"][0] < 50_000
        assert all(50 < reset_s <= 66 for _, reset_s in read(answer).values())


async def test_every_refusal_tells_which_limit_is_reached_and_when_to_come_back() -> None:
    async with shim(configuration(**limited(requests_per_minute=1))) as edge:
        await edge.post(*CHAT)
        told = [await edge.post(path, body) for path, body in EVERY]

    for answer in told:
        assert (answer.status, {kind: left for kind, (left, _) in read(answer).items()}) == (429, {"requests": 0})
        assert 50 < int(answer.headers["retry-after"]) <= 65
        assert b"limit" in answer.body
        assert "x-should-retry" not in answer.headers


async def test_without_limits_no_header_tells_of_them() -> None:
    async with shim() as edge:
        told = [await edge.post(path, body) for path, body in EVERY]

    assert [(answer.status, about_limits(answer)) for answer in told] == [(200, {})] * len(EVERY)


async def test_the_headers_are_those_of_each_dialect() -> None:
    async with shim(configuration(**limited(requests_per_minute=9, concurrent_streams=2))) as edge:
        told = [await edge.post(path, body) for path, body in (CHAT, MESSAGES, GENERATE, STREAMS[-1])]

    assert [sorted(about_limits(answer)) for answer in told] == [
        ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"],
        [f"anthropic-ratelimit-requests-{name}" for name in ("limit", "remaining", "reset")],
        ["ratelimit", "ratelimit-policy"],
        ["ratelimit", "ratelimit-policy"],
    ]
    assert told[3].headers["ratelimit-policy"] == '"requests";q=9;w=60, "streams";q=2;qu="concurrent-requests"'
    assert told[3].headers["ratelimit"].endswith(', "streams";r=1')


async def test_of_several_limits_the_tightest_is_told(tmp_path: Path) -> None:
    caller = await let_in(tmp_path)
    limits = {
        "key": {"requests_per_minute": 10},
        "user": {"requests_per_minute": 8, "tokens_per_minute": 9000},
        "address": {"requests_per_minute": 100, "tokens_per_minute": 8000},
        "models": {"mock/mock-words": {"requests_per_minute": 4}},
    }
    async with shim(configuration(limits=limits, **caller.settings), environ=caller.environ) as edge:
        whole, stream = [
            await edge.post(path, body, authorization=caller.authorization) for path, body in (CHAT, STREAMS[0])
        ]
        other = await edge.post(*EMBEDDINGS, authorization=caller.authorization)

    assert [answer.headers["x-ratelimit-limit-requests"] for answer in (whole, stream, other)] == ["4", "4", "8"]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in (whole, stream, other)] == ["3", "2", "5"]
    assert {answer.headers["x-ratelimit-limit-tokens"] for answer in (whole, stream, other)} == {"8000"}


async def test_a_model_that_is_full_is_told_in_the_place_of_the_callers_own_limit() -> None:
    limits = {"models": {"mock/mock-words": {"requests_per_minute": 1}}, "address": {"requests_per_minute": 50}}
    async with shim(configuration(limits=limits)) as edge:
        await edge.post(*CHAT)
        told = await edge.post(*CHAT)

    error = {"message": "The limit of 1 calls a minute of this model is reached.", "type": "requests"}
    assert told.json == {"error": {**error, "param": None, "code": "rate_limit_exceeded"}}
    assert told.headers["x-ratelimit-limit-requests"] == "1"
    assert told.headers["x-ratelimit-remaining-requests"] == "0"


async def test_a_call_with_more_tokens_than_are_left_is_told_what_is_left() -> None:
    async with shim(configuration(**limited(tokens_per_minute=100))) as edge:
        told = await edge.post(CHAT[0], CHAT[1] | {"max_tokens": 500})

    assert (told.status, told.json["error"]["type"]) == (429, "tokens")
    assert (told.headers["x-ratelimit-limit-tokens"], told.headers["x-ratelimit-remaining-tokens"]) == ("100", "100")


async def test_our_own_limits_go_before_those_of_the_provider() -> None:
    theirs: Any = {
        "x_ratelimit_limit_requests": "10000",
        "x_ratelimit_remaining_requests": "9999",
        "x_ratelimit_reset_requests": "6ms",
        "x_ratelimit_remaining_tokens": "149",
    }
    completion = {"id": "c", "model": "m", "choices": [{"index": 0, "message": {"content": "Hi."}}]}
    async with stand_in(json_answer(completion, **theirs)) as upstream:
        providers = {"openai": {"base_url": upstream.url, "api_key": "k"}}
        body = {"model": "openai/m", "messages": ASK["messages"]}
        async with shim(configuration(providers=providers, **limited(requests_per_minute=9))) as edge:
            ours = await edge.post(CHAT[0], body)
        async with shim(configuration(providers=providers)) as edge:
            without = await edge.post(CHAT[0], body)

    assert about_limits(without) == {name.replace("_", "-"): value for name, value in theirs.items()}
    assert ours.headers["x-ratelimit-remaining-requests"] == "8"
    assert ours.headers["x-ratelimit-limit-requests"] == "9"
    assert ours.headers["x-ratelimit-remaining-tokens"] == "149"


async def test_what_is_passed_on_as_it_is_tells_of_our_limits_beside_the_providers() -> None:
    async with stand_in(json_answer({}, x_ratelimit_limit_requests="10000", ratelimit='"theirs";r=1')) as upstream:
        providers = {"openai": {"base_url": upstream.url, "api_key": "k", "raw": True}}
        async with shim(configuration(providers=providers, **limited(requests_per_minute=1))) as edge:
            told = await edge.get("/openai/raw/models")
            refused = await edge.get("/openai/raw/models")

    assert (told.status, told.headers["x-ratelimit-limit-requests"]) == (200, "10000")
    assert (told.headers["ratelimit-policy"], read(told)["requests"][0]) == ('"requests";q=1;w=60', 0)
    assert (refused.status, read(refused)["requests"][0]) == (429, 0)
    assert 50 < int(refused.headers["retry-after"]) <= 65


async def test_a_budget_that_is_spent_for_good_is_not_asked_again(tmp_path: Path) -> None:
    caller = await let_in(tmp_path)
    spending = {"budgets": [{"scope": "user", "id": "ann", "period": "total", "usd": "0.000001"}]}
    prices = {"mock/mock-words": {"prices": {"input": 1, "output": 1}}}
    config = configuration(spending=spending, models=prices, **limited(requests_per_minute=9), **caller.settings)
    async with shim(config, environ=caller.environ) as edge:
        told = [
            await edge.post(path, body, authorization=caller.authorization)
            for path, body in (CHAT, MESSAGES, GENERATE, LOOM)
        ]

    words = [*(answer.json["error"]["message"] for answer in told[:3]), told[3].json["message"]]
    for text in words:
        assert text.startswith("The budget of this user has 0.000001 dollars left, and this call may cost 0.0")
    assert [answer.status for answer in told] == [429, 402, 429, 429]
    assert told[0].json == {
        "error": {"message": words[0], "type": "insufficient_quota", "param": None, "code": "insufficient_quota"}
    }
    assert told[1].json["error"] == {"type": "billing_error", "message": words[1]}
    assert told[2].json["error"]["details"][1] == {
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{"subject": "user:ann", "description": words[2]}],
    }
    for answer in told:
        assert (answer.headers["x-should-retry"], "retry-after" in answer.headers) == ("false", False)
        assert set(read(answer)) == {"requests"}


@pytest.mark.parametrize(("wait_s", "again"), [(0.2, None), (119.5, None), (120.5, "false"), (86_000, "false")])
async def test_clients_are_kept_from_waiting_by_themselves_for_long(wait_s: float, again: str | None) -> None:
    async def play(call: Call, send: Send) -> None:
        raise LlmError(BUDGET_EXCEEDED, "Spent.", retry_after=wait_s)

    async with shim(gateway=Script(play)) as edge:
        told = await edge.post(*CHAT)

    assert told.headers.get("x-should-retry") == again
    assert told.headers["retry-after"] == str(int(wait_s) + 1 if wait_s % 1 else int(wait_s))


async def test_an_address_that_guesses_is_told_everywhere_when_to_come_back(tmp_path: Path) -> None:
    caller = await let_in(tmp_path)
    settings = caller.settings | {"access": {"enabled": True, "throttle": {"failures": 1, "block_s": 25}}}
    async with shim(configuration(**settings), environ=caller.environ) as edge:
        wrong = await edge.post(*CHAT, authorization="Bearer lk_wrong")
        told = [await edge.post(path, body, authorization=caller.authorization) for path, body in EVERY]
        told += [await edge.get(path, authorization=caller.authorization) for path in PAGES]

    assert wrong.status == 401
    for answer in told:
        assert (answer.status, about_limits(answer)) == (429, {})
        assert 20 <= int(answer.headers["retry-after"]) <= 25


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (*CHAT, 503),
        (*RESPONSES, 503),
        (*MESSAGES, 529),  # the API's word for being overloaded, which its clients ask again after
        (*GENERATE, 503),
        (*LOOM, 503),
    ],
)
async def test_counters_that_are_away_are_told_with_a_time_to_come_back(
    path: str, body: Mapping[str, Any], status: int
) -> None:
    async def play(call: Call, send: Send) -> None:
        raise LlmError(STORAGE_UNAVAILABLE, "Limits cannot be counted at present; call again.", retry_after=1.0)

    async with shim(gateway=Script(play)) as edge:
        told = await edge.post(path, body)

    assert (told.status, told.headers["retry-after"]) == (status, "1")
    assert b"Limits cannot be counted at present" in told.body


@pytest.mark.parametrize(("path", "body"), [CHAT, MESSAGES, GENERATE, LOOM])
async def test_nothing_of_a_name_gets_into_a_header(path: str, body: Mapping[str, Any]) -> None:
    async def play(call: Call, send: Send) -> None:
        name = "ann\r\nset-cookie: a=b\0\u2028é"
        raise LlmError(RATE_LIMITED, f"Not {name}.", retry_after=1, scope="user", id=name, kind="requests", limit="1")

    async with shim(gateway=Script(play)) as edge:
        told = await edge.post(path, body)

    assert (told.status, "set-cookie" in told.headers) == (429, False)
    assert not any("ann" in value or "a=b" in value for value in told.headers.values())


async def test_a_shim_passes_on_what_the_server_tells_of_limits() -> None:
    config = configuration(grpc={"address": "127.0.0.1:0"}, **limited(requests_per_minute=5, tokens_per_minute=9000))
    async with (
        serving(config) as server,
        LoomClient(f"127.0.0.1:{server.port}") as client,
        shim(gateway=RemoteGateway(client)) as edge,
    ):
        told = [await edge.post(path, body) for path, body in (*PASSED, MESSAGES, STREAMS[0])]

    assert [answer.status for answer in told] == [200] * 5 + [429] * 2
    stand = [read(answer) for answer in told]
    assert [found["requests"][0] for found in stand] == [4, 3, 2, 1, 0, 0, 0]
    assert [set(found) for found in stand] == [{"requests", "tokens"}] * 5 + [{"requests"}] * 2
    assert all(50 < reset_s <= 66 for found in stand for _, reset_s in found.values())
    assert all(50 < int(answer.headers["retry-after"]) <= 65 for answer in told[5:])
