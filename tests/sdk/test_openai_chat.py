"""The official Python package of OpenAI's, at the provider and at us."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable
from typing import Any, Final

import openai
import pytest
from openai.types.chat import ChatCompletion

from tests.sdk.recorded import PROVIDER, both, cases
from tests.shim.serving import configuration, shim
from tests.stand_in import answer, json_answer, stand_in, stream_answer
from tests.wire.cases import Case, expected_usage

ASK: Final[dict[str, Any]] = {"messages": [{"role": "user", "content": "hi"}]}
NATIVE: Final = cases("chat_completions", "openai_chat")
FOREIGN: Final = {
    "messages": "anthropic",
    "anthropic_raw_predict": "anthropic",
    "generate_content": "gemini",
    "chat": "ollama",
}
"""The dialect that we speak to the recorded API."""
FINISH: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "pause_turn": "length",
    "refusal": "content_filter",
    "tool_use": "tool_calls",
    "STOP": "stop",
    "1": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "BLOCK:SAFETY": "content_filter",
    "BLOCK:MODEL_ARMOR": "content_filter",
}
"""What the other APIs' words are here; the rest are the same."""
WEATHER: Final[dict[str, Any]] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Paris"]}},
            "required": ["city"],
        },
    },
}


def client(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=url, api_key="sk-caller", max_retries=0)


async def gather(found: list[Any], objects: AsyncIterable[Any]) -> None:
    """Adds objects as they come, so that those before an error are there too."""
    async for item in objects:
        found.append(item.model_dump(warnings=False))  # noqa: PERF401 - a comprehension would lose them


async def seen(url: str, model: str, *, stream: bool) -> list[Any]:
    """Returns all that the client hands out of an answer: its chunks, the whole completion, and the kind of error that it raises."""
    found: list[Any] = []
    asked: Any = {"model": model, **ASK}
    usage: Any = {"include_usage": True}
    async with client(url) as sdk:
        try:
            if not stream:
                found.append((await sdk.chat.completions.create(**asked)).model_dump(warnings=False))
                return found
            chunks = await sdk.chat.completions.create(**asked, stream=True, stream_options=usage)
            await gather(found, chunks)
            async with sdk.chat.completions.stream(**asked, stream_options=usage) as events:
                await gather(found, events)
                found.append((await events.get_final_completion()).model_dump(warnings=False))
        except openai.APIError:
            found.append("APIError")
        except (AssertionError, AttributeError, LookupError, TypeError, ValueError, openai.OpenAIError) as error:
            found.append(type(error).__name__)  # the package cannot gather the chunks of every host
    return found


@pytest.mark.filterwarnings(
    "ignore:Pydantic serializer warnings"
)  # the package's own, for hosts whose content is a list
@pytest.mark.parametrize("case", NATIVE, ids=lambda case: case.id)
async def test_a_recorded_answer_is_the_same_straight_and_through_us(case: Case) -> None:
    async with both(case, dialect="openai") as addresses:
        direct = await seen(addresses.direct, "asked", stream=case.stream)
        through = await seen(f"{addresses.through}/v1", f"{PROVIDER}/asked", stream=case.stream)

    assert through == direct
    assert direct


async def gathered(url: str, *, stream: bool) -> dict[str, Any]:
    """Returns an answer in the words of the independent reading."""
    async with client(url) as sdk:
        if not stream:
            whole: ChatCompletion | None = await sdk.chat.completions.create(model=f"{PROVIDER}/asked", **ASK)
        else:
            options: Any = {"include_usage": True}
            async with sdk.chat.completions.stream(model=f"{PROVIDER}/asked", stream_options=options, **ASK) as events:
                try:
                    whole = await events.get_final_completion()
                except (openai.LengthFinishReasonError, openai.ContentFilterFinishReasonError) as error:
                    whole = error.completion
    assert whole is not None
    choice = whole.choices[0]
    assert whole.usage is None or whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    return {
        "text": choice.message.content or "",
        "reasoning": getattr(choice.message, "reasoning_content", ""),
        "refusal": choice.message.refusal or "",
        "tool_calls": [
            (call.function.name, _parsed(call.function.arguments))
            for call in choice.message.tool_calls or ()
            if call.type == "function"
        ],
        "finish": choice.finish_reason,
        "usage": _usage(whole),
    }


def _parsed(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments  # cut off by the limit on tokens


def _usage(whole: ChatCompletion) -> tuple[int, int, int, int]:
    usage = whole.usage
    if usage is None:
        return 0, 0, 0, 0
    assert usage.prompt_tokens_details is not None
    assert usage.completion_tokens_details is not None
    cached, reasoning = usage.prompt_tokens_details.cached_tokens, usage.completion_tokens_details.reasoning_tokens
    return usage.prompt_tokens, usage.completion_tokens, cached or 0, reasoning or 0


def expected(case: Case) -> dict[str, Any]:
    expect = case.expect
    assert expect is not None
    calls = [(call["name"], call["arguments"]) for call in expect["tool_calls"]]
    finish = FINISH.get(str(expect["finish"]), expect["finish"])
    prompt, output, read, _write, reasoning = expected_usage(case)
    return {
        "text": expect["text"],
        "reasoning": expect["reasoning"],
        "refusal": expect["refusal"],
        "tool_calls": calls,
        "finish": "tool_calls" if calls and finish == "stop" else finish,
        "usage": (prompt, output, read, reasoning),
    }


@pytest.mark.parametrize("case", cases(*FOREIGN), ids=lambda case: case.id)
async def test_an_answer_of_another_api_says_the_same(case: Case) -> None:
    assert case.expect is not None
    async with both(case, dialect=FOREIGN[case.api]) as addresses:
        if case.expect["outcome"] == "message":
            assert await gathered(f"{addresses.through}/v1", stream=case.stream) == expected(case)
        else:
            with pytest.raises(openai.APIError):
                await gathered(f"{addresses.through}/v1", stream=case.stream)


async def test_a_stream_without_include_usage_has_no_usage() -> None:
    asked: Any = {"model": "mock-words", **ASK}
    async with shim() as edge, client(f"http://127.0.0.1:{edge.port}/v1") as sdk:
        chunks = [chunk async for chunk in await sdk.chat.completions.create(**asked, stream=True)]

    assert [chunk.usage for chunk in chunks] == [None] * len(chunks)
    assert all(chunk.choices for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_conversation_with_tools_goes_on(stream: bool) -> None:
    messages: Any = [{"role": "user", "content": "call get_weather"}]
    asked: Any = {"model": "mock/mock-think", "messages": messages, "tools": [WEATHER]}
    async with shim() as edge, client(f"http://127.0.0.1:{edge.port}/v1") as sdk:
        first = await turn(sdk, asked, stream=stream)
        messages.append(first.model_dump(exclude_none=True))
        assert first.tool_calls is not None
        for call in first.tool_calls:
            messages.append({"role": "tool", "tool_call_id": call.id, "content": "21 degrees"})
        second = await turn(sdk, asked, stream=stream)

    calls = [(call.function.name, call.function.arguments) for call in first.tool_calls]
    assert calls == [("get_weather", '{"city":"Paris"}')]
    assert first.reasoning_content.startswith("Somebody wants to see a model think.")
    assert second.content == "The tool answered: 21 degrees"


async def turn(sdk: openai.AsyncOpenAI, asked: Any, *, stream: bool) -> Any:
    """Returns the message of an answer, gathered by the package where it is streamed."""
    if not stream:
        return (await sdk.chat.completions.create(**asked)).choices[0].message
    async with sdk.chat.completions.stream(**asked) as events:
        return (await events.get_final_completion()).choices[0].message


THOUGHT: Final = {"type": "thinking", "thinking": "Which city?", "signature": "c2lnbmVk"}
HIDDEN: Final = {"type": "redacted_thinking", "data": "aGlkZGVu"}
SPOKEN: Final = {"type": "text", "text": "Let me look."}
CALLED: Final = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "<Ulm> & 001"}}
MESSAGE: Final[dict[str, Any]] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude",
    "content": [THOUGHT, HIDDEN, SPOKEN, CALLED],
    "stop_reason": "tool_use",
    "usage": {"input_tokens": 3, "cache_read_input_tokens": 2, "output_tokens": 9},
}


def sse(*events: dict[str, Any]) -> str:
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)


def streamed() -> str:
    """Writes the same message as Anthropic streams it."""
    deltas: list[list[dict[str, Any]]] = [
        [
            {"type": "thinking_delta", "thinking": "Which city?"},
            {"type": "signature_delta", "signature": THOUGHT["signature"]},
        ],
        [],
        [{"type": "text_delta", "text": "Let me look."}],
        [{"type": "input_json_delta", "partial_json": json.dumps(CALLED["input"])}],
    ]
    empty: list[dict[str, Any]] = [
        {**THOUGHT, "thinking": "", "signature": ""},
        HIDDEN,
        {**SPOKEN, "text": ""},
        {**CALLED, "input": {}},
    ]
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}}
    ]
    for index, (block, pieces) in enumerate(zip(empty, deltas, strict=True)):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events += [{"type": "content_block_delta", "index": index, "delta": piece} for piece in pieces]
        events.append({"type": "content_block_stop", "index": index})
    events.append({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}})
    return sse(*events, {"type": "message_stop"})


@pytest.mark.parametrize("stream", [False, True])
async def test_the_state_of_another_provider_comes_back_to_it(stream: bool) -> None:
    first = stream_answer(streamed()) if stream else json_answer(MESSAGE)
    messages: Any = [{"role": "user", "content": "Weather?"}]
    asked: Any = {"model": "claude/claude-sonnet-4-5", "messages": messages, "tools": [WEATHER]}
    async with stand_in(first) as upstream:
        config = configuration(providers={"claude": {"dialect": "anthropic", "base_url": upstream.url, "api_key": "k"}})
        async with shim(config) as edge, client(f"http://127.0.0.1:{edge.port}/v1") as sdk:
            message = await turn(sdk, asked, stream=stream)
            messages.append(message.model_dump(exclude_none=True))
            messages.append({"role": "tool", "tool_call_id": "toolu_1", "content": "21 degrees"})
            await turn(sdk, asked, stream=stream)

    assert message.reasoning_content == "Which city?"
    assert message.content == "Let me look."
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "21 degrees"}
    assert upstream.asked[1].json["messages"][1:] == [
        {"role": "assistant", "content": MESSAGE["content"]},
        {"role": "user", "content": [result]},
    ]


ERRORS: Final[list[tuple[str, type[openai.APIStatusError], int, dict[str, Any]]]] = [
    ("mock-401", openai.InternalServerError, 502, {"type": "server_error", "code": "provider_auth_failed"}),
    ("mock-429", openai.RateLimitError, 429, {"type": "requests", "code": "rate_limit_exceeded"}),
    ("mock-quota", openai.RateLimitError, 429, {"type": "insufficient_quota", "code": "insufficient_quota"}),
    ("mock-500", openai.InternalServerError, 503, {"type": "server_error", "code": "provider_unavailable"}),
    (
        "mock-context",
        openai.BadRequestError,
        400,
        {"type": "invalid_request_error", "code": "context_length_exceeded", "param": "messages"},
    ),
    (
        "nothing/at:all",
        openai.NotFoundError,
        404,
        {"type": "invalid_request_error", "code": "model_not_found", "param": "model"},
    ),
]


@pytest.mark.parametrize(("model", "kind", "status", "words"), ERRORS)
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_come_as_the_package_knows_them(
    model: str, kind: type[openai.APIStatusError], status: int, words: dict[str, Any], *, stream: bool
) -> None:
    config = configuration(providers={"mock": {"retry": {"max_attempts": 1}}})
    asked: Any = {"model": model, "stream": stream, **ASK}
    async with shim(config) as edge, client(f"http://127.0.0.1:{edge.port}/v1") as sdk:
        with pytest.raises(kind) as raised:
            await sdk.chat.completions.create(**asked)

    error: Any = raised.value
    assert error.status_code == status
    assert error.body == {"message": error.body["message"], "param": None, **words}
    assert error.response.headers.get("retry-after") == ("1" if model == "mock-429" else None)
    assert error.request_id == error.response.headers["loom-request-id"]


@pytest.mark.parametrize("model", ["mock-error", "mock-cut", "mock-truncated", "mock-malformed"])
async def test_a_stream_that_breaks_off_raises(model: str) -> None:
    asked: Any = {"model": model, "stream": True, **ASK}
    chunks: list[Any] = []
    async with shim() as edge, client(f"http://127.0.0.1:{edge.port}/v1") as sdk:
        stream = await sdk.chat.completions.create(**asked)
        with pytest.raises(openai.APIError) as raised:
            await gather(chunks, stream)

    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks).startswith("Hello! ")
    assert raised.value.type == "server_error"


async def test_what_only_openai_has_is_refused_by_name_at_another_provider() -> None:
    asked: Any = {"model": "claude/claude-sonnet-4-5", "n": 2, "stop": ["."], "web_search_options": {}, **ASK}
    async with stand_in(json_answer(MESSAGE)) as upstream:
        config = configuration(providers={"claude": {"dialect": "anthropic", "base_url": upstream.url, "api_key": "k"}})
        async with shim(config) as edge, client(f"http://127.0.0.1:{edge.port}/v1") as sdk:
            with pytest.raises(openai.BadRequestError) as raised:
                await sdk.chat.completions.create(**asked)

    assert (raised.value.param, raised.value.code) == ("n", "unsupported_parameter")
    assert upstream.asked == []


async def test_what_only_openai_has_is_dropped_and_named_where_the_operator_says_so() -> None:
    asked: Any = {"model": "claude/claude-sonnet-4-5", "n": 2, "stop": ["."], "web_search_options": {}, **ASK}
    async with stand_in(json_answer(MESSAGE)) as upstream:
        provider = {"dialect": "anthropic", "base_url": upstream.url, "api_key": "k"}
        config = configuration(providers={"claude": provider}, compat={"untold": "drop"})
        async with shim(config) as edge, client(f"http://127.0.0.1:{edge.port}/v1") as sdk:
            raw = await sdk.chat.completions.with_raw_response.create(**asked)

    assert raw.headers["loom-dropped"] == "n, web_search_options"


async def test_openai_is_sent_the_request_as_it_came() -> None:
    asked: Any = {
        "model": "openai/gpt-x:y",
        "n": 2,
        "logprobs": True,
        "seed": 7,
        "user": "u",
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "hi", "unknown": 1}]},
        ],
        "extra_body": {"unheard_of": {"pi": 3.14}},
    }
    completion = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-x", "choices": []}
    choice = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
    async with stand_in(json_answer({**completion, "choices": [choice, {**choice, "index": 1}]})) as upstream:
        config = configuration(providers={"openai": {"base_url": upstream.url, "api_key": "sk-ours"}})
        async with shim(config) as edge, client(f"http://127.0.0.1:{edge.port}/v1") as sdk:
            whole = await sdk.chat.completions.create(**asked)

    assert [choice.index for choice in whole.choices] == [0, 1]
    unheard = asked.pop("extra_body")
    assert upstream.asked[0].json == {**asked, **unheard, "model": "gpt-x:y"}
    assert upstream.asked[0].headers["authorization"] == "Bearer sk-ours"


async def test_a_completion_in_place_of_a_stream_is_streamed_all_the_same() -> None:
    message = {"role": "assistant", "content": "All at once."}
    whole = {"id": "a", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    asked: Any = {"model": "openai/gpt", "stream": True, **ASK}
    async with stand_in(answer(json.dumps(whole))) as upstream:
        config = configuration(providers={"openai": {"base_url": upstream.url, "api_key": "k"}})
        async with shim(config) as edge, client(f"http://127.0.0.1:{edge.port}/v1") as sdk:
            chunks = [chunk.choices[0] async for chunk in await sdk.chat.completions.create(**asked)]

    assert "".join(chunk.delta.content or "" for chunk in chunks) == "All at once."
    assert chunks[-1].finish_reason == "stop"


BAD: Final[list[tuple[dict[str, Any], str]]] = [
    ({"messages": [{"role": "robot", "content": "hi"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ({"messages": [{"role": "tool", "tool_call_id": "call_x", "content": "21"}]}, "messages[0].tool_call_id"),
    ({"messages": []}, "messages"),
    ({"temperature": "hot"}, "temperature"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"tools": [WEATHER, WEATHER]}, "tools[1].function.name"),
    ({"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice.function.name"),
]


@pytest.mark.parametrize(("fields", "param"), BAD)
async def test_bad_input_is_a_bad_request_that_names_the_field(fields: dict[str, Any], param: str) -> None:
    asked: Any = {"model": "mock-words", **ASK, **fields}
    async with shim() as edge, client(f"http://127.0.0.1:{edge.port}/v1") as sdk:
        with pytest.raises(openai.BadRequestError) as raised:
            await sdk.chat.completions.create(**asked)

    assert (raised.value.type, raised.value.param) == ("invalid_request_error", param)


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [(b"{", "application/json", 400), (b"{}", "text/plain", 415), (b" " * 2000, "application/json", 413)],
)
async def test_what_is_no_request_is_refused_in_openais_words(body: bytes, media_type: str, status: int) -> None:
    async with shim(configuration(http={"max_body_bytes": 1000})) as edge:
        refused = await edge.post("/v1/chat/completions", body, content_type=media_type)

    assert refused.status == status
    assert refused.json["error"].keys() == {"message", "type", "param", "code"}
    assert refused.json["error"]["type"] == "invalid_request_error"
