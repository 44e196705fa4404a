"""Anthropic's own client sees through us what it sees at the provider."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest

from tests.sdk.recorded import PROVIDER, both, cases
from tests.shim.serving import configuration, shim
from tests.wire.cases import Case, differences, expected_usage

NATIVE = {case.id: case for case in cases("messages", "anthropic_raw_predict")}
WHOLE = [case for case in NATIVE.values() if case.expect and case.expect["outcome"] == "message"]
CUT = [case for case in WHOLE if case.stream and not case.body.endswith(b"\n\n")]
"""Their last event is not followed by a blank line: at the provider the client passes over it, and from us it gets it."""

ASKED: dict[str, Any] = {
    "model": f"{PROVIDER}/claude",
    "max_tokens": 1000,
    "messages": [{"role": "user", "content": "hi"}],
}


def client(url: str) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(api_key="sk-caller", base_url=url, max_retries=0)


async def seen(url: str, case: Case) -> list[Any]:
    """Returns all that the client hands out of an answer: its events, the helper's events and the whole message."""
    async with client(url) as sdk:
        if not case.stream:
            return [(await sdk.messages.create(**ASKED)).model_dump(warnings=False)]
        events = await sdk.messages.create(**ASKED, stream=True)
        found = [event.model_dump(warnings=False) async for event in events]
        async with sdk.messages.stream(**ASKED) as stream:
            found += [helped.model_dump(warnings=False) async for helped in stream]
            found.append((await stream.get_final_message()).model_dump(warnings=False))
    return found


@pytest.mark.parametrize("case", [case for case in WHOLE if case not in CUT], ids=lambda case: case.id)
async def test_a_recorded_answer_is_the_same_straight_and_through_us(case: Case) -> None:
    async with both(case, dialect="anthropic") as urls:
        direct = await seen(urls.direct, case)
        through = await seen(urls.through, case)

        assert through == direct
        assert direct


@pytest.mark.parametrize("case", CUT, ids=lambda case: case.id)
async def test_an_event_that_the_client_would_miss_for_want_of_a_blank_line_is_given_to_it(case: Case) -> None:
    async with both(case, dialect="anthropic") as urls:
        direct = await seen(urls.direct, case)
        through = await seen(urls.through, case)

        assert [event for event in through if event["type"] != "message_stop"] == direct


async def test_a_failure_before_the_first_content_has_a_status_of_its_own() -> None:
    async with both(NATIVE["reported-anthropic-first-event-overloaded"], dialect="anthropic") as urls:
        with pytest.raises(anthropic.APIStatusError) as caught:
            async with client(urls.through) as sdk:
                await sdk.messages.create(**ASKED, stream=True)

        assert (caught.value.status_code, caught.value.type) == (529, "overloaded_error")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("reported-anthropic-midstream-overloaded", "overloaded_error"),
        ("reported-anthropic-truncated-no-message-stop", "api_error"),
    ],
)
async def test_a_stream_that_breaks_off_ends_in_an_error_and_never_in_a_message(name: str, kind: str) -> None:
    async with both(NATIVE[name], dialect="anthropic") as urls, client(urls.through) as sdk:
        with pytest.raises(anthropic.APIStatusError) as caught:
            async with sdk.messages.stream(**ASKED) as stream:
                await stream.get_final_message()

        assert (caught.value.status_code, caught.value.type) == (200, kind)


OTHERS = [
    case
    for case in cases("chat_completions", "openai_chat", "generate_content", "chat")
    if case.expect and case.expect["outcome"] == "message" and case.id not in differences()
]
DIALECT = {"chat_completions": "openai", "openai_chat": "openai", "generate_content": "gemini", "chat": "ollama"}
STOPS = {
    "stop": "end_turn",
    "eos": "end_turn",
    "STOP": "end_turn",
    "1": "end_turn",
    "length": "max_tokens",
    "MAX_TOKENS": "max_tokens",
    "content_filter": "refusal",
    "SAFETY": "refusal",
    "BLOCK:SAFETY": "refusal",
    "BLOCK:MODEL_ARMOR": "refusal",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
}
"""What the words of other providers are in Anthropic's; those that are missing here are none there."""


def told(message: anthropic.types.Message) -> dict[str, Any]:
    """Puts what the client has into the words of the independent reading."""
    usage = message.usage
    cached = (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
    return {
        "text": "".join(block.text for block in message.content if block.type == "text"),
        "reasoning": "".join(block.thinking for block in message.content if block.type == "thinking"),
        "tool_calls": [(block.name, block.input) for block in message.content if block.type == "tool_use"],
        "stop_reason": message.stop_reason,
        "input": usage.input_tokens + cached,
        "output": usage.output_tokens,
        "cache_read": usage.cache_read_input_tokens,
    }


def expected(case: Case) -> dict[str, Any]:
    """Returns the independent reading of another provider's answer in Anthropic's terms."""
    assert case.expect is not None
    calls = [(call["name"], call["arguments"]) for call in case.expect["tool_calls"]]
    stop = STOPS.get(str(case.expect["finish"]))
    if stop == "end_turn":
        stop = "tool_use" if calls else "refusal" if case.expect["refusal"] else stop
    prompt, output, read, _, _ = expected_usage(case)
    return {
        "text": case.expect["text"] + case.expect["refusal"],
        "reasoning": case.expect["reasoning"],
        "tool_calls": calls,
        "stop_reason": stop,
        # Of some hosts more tokens are cached than the prompt has.
        "input": max(prompt, read),
        "output": output,
        "cache_read": read,
    }


@pytest.mark.parametrize("case", OTHERS, ids=lambda case: case.id)
async def test_the_answer_of_another_dialect_says_the_same_whole_and_as_a_stream(case: Case) -> None:
    async with both(case, dialect=DIALECT[case.api]) as urls, client(urls.through) as sdk:
        if case.stream:
            async with sdk.messages.stream(**ASKED) as stream:
                message: anthropic.types.Message = await stream.get_final_message()
        else:
            message = await sdk.messages.create(**ASKED)

        assert told(message) == expected(case)


@pytest.mark.parametrize(
    ("model", "error", "status", "kind"),
    [
        ("mock-429", anthropic.RateLimitError, 429, "rate_limit_error"),
        ("mock-quota", anthropic.RateLimitError, 429, "rate_limit_error"),
        ("mock-401", anthropic.InternalServerError, 500, "api_error"),
        ("mock-529", anthropic.InternalServerError, 529, "overloaded_error"),
        ("mock-silent", anthropic.InternalServerError, 504, "timeout_error"),
        ("mock-context", anthropic.BadRequestError, 400, "invalid_request_error"),
        ("mock-nothing", anthropic.NotFoundError, 404, "not_found_error"),
    ],
)
async def test_a_failure_is_raised_as_the_client_would_raise_the_apis_own(
    model: str, error: type[anthropic.APIStatusError], status: int, kind: str
) -> None:
    async with shim(configuration()) as edge, client(f"http://127.0.0.1:{edge.port}/anthropic") as sdk:
        with pytest.raises(error) as caught:
            await sdk.messages.create(**ASKED | {"model": f"mock/{model}"}, stream=True)

        assert (caught.value.status_code, caught.value.type) == (status, kind)
        assert caught.value.request_id == caught.value.response.headers["x-request-id"]


async def test_a_rate_limit_says_when_to_ask_again() -> None:
    async with shim(configuration()) as edge, client(f"http://127.0.0.1:{edge.port}") as sdk:
        with pytest.raises(anthropic.RateLimitError) as caught:
            await sdk.messages.create(**ASKED | {"model": "mock/mock-429"})

        assert caught.value.response.headers["retry-after"] == "1"


async def note(stream: anthropic.AsyncStream[Any], kinds: list[str]) -> None:
    """Writes down what events come, as long as they come."""
    async for event in stream:
        kinds.append(event.type)  # noqa: PERF401 - what came before an error counts


@pytest.mark.parametrize("model", ["mock-cut", "mock-error", "mock-truncated", "mock-malformed", "mock-stall"])
async def test_a_stream_of_another_dialect_that_breaks_off_never_becomes_a_message(model: str) -> None:
    async with shim(configuration()) as edge, client(f"http://127.0.0.1:{edge.port}") as sdk:
        kinds: list[str] = []
        stream = await sdk.messages.create(**ASKED | {"model": f"mock/{model}"}, stream=True)
        with pytest.raises(anthropic.APIStatusError) as caught:
            await note(stream, kinds)

        assert caught.value.status_code == 200
        assert kinds[:2] == ["message_start", "content_block_start"]
        assert "message_delta" not in kinds


async def test_betas_are_passed_on_and_their_blocks_come_back() -> None:
    case = next(case for case in WHOLE if "mcp-servers" in case.id)
    async with both(case, dialect="anthropic") as urls:
        found = []
        for url in (urls.direct, urls.through):
            async with client(url) as sdk:
                message = await sdk.beta.messages.create(**ASKED, betas=["mcp-client-2025-04-04"])
                found.append(message.model_dump(warnings=False))

        assert found[1] == found[0]
        assert "mcp_tool_use" in [block["type"] for block in found[1]["content"]]
        assert urls.provider.asked[1].headers["anthropic-beta"] == "mcp-client-2025-04-04"
