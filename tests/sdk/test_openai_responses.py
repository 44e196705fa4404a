"""The official Python package of OpenAI's at the Responses API, at the provider and at us."""

from __future__ import annotations

from typing import Any, Final

import openai
import pytest
from openai.types.responses import Response

from tests.sdk.recorded import PROVIDER, both, cases
from tests.sdk.test_openai_chat import FOREIGN, MESSAGE, _parsed, client, gather, streamed
from tests.shim.serving import configuration, shim
from tests.stand_in import json_answer, stand_in, stream_answer
from tests.wire.cases import Case, expected_usage

ASK: Final[dict[str, Any]] = {"input": "hi"}
NATIVE: Final = cases("responses", "openai_responses")
INCOMPLETE: Final = {
    "length": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "pause_turn": "max_output_tokens",
    "MAX_TOKENS": "max_output_tokens",
    "content_filter": "content_filter",
    "SAFETY": "content_filter",
    "BLOCK:SAFETY": "content_filter",
    "BLOCK:MODEL_ARMOR": "content_filter",
}
"""Why the answers of other APIs are not complete."""
WEATHER: Final[dict[str, Any]] = {
    "type": "function",
    "name": "get_weather",
    "strict": False,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Paris"]}},
        "required": ["city"],
    },
}


async def seen(url: str, model: str, *, stream: bool) -> list[Any]:
    """Returns all that the client hands out of an answer: its events, the whole response, and the kind of error that it raises."""
    found: list[Any] = []
    asked: Any = {"model": model, **ASK}
    async with client(url) as sdk:
        try:
            if not stream:
                found.append((await sdk.responses.create(**asked)).model_dump(warnings=False))
                return found
            await gather(found, await sdk.responses.create(**asked, stream=True))
            async with sdk.responses.stream(**asked) as events:
                await gather(found, events)
                found.append((await events.get_final_response()).model_dump(warnings=False))
        except openai.APIError:
            found.append("APIError")
        except (AssertionError, AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
            found.append(type(error).__name__)  # the package cannot gather the events of every host
    return found


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # the package's own, for what only other hosts have
@pytest.mark.parametrize("case", NATIVE, ids=lambda case: case.id)
async def test_a_recorded_answer_is_the_same_straight_and_through_us(case: Case) -> None:
    assert case.expect is not None
    async with both(case, dialect="openai", responses=True) as addresses:
        direct = await seen(addresses.direct, "asked", stream=case.stream)
        through = await seen(f"{addresses.through}/v1", f"{PROVIDER}/asked", stream=case.stream)

    assert addresses.provider.asked[-1].path == "/responses"
    if case.expect["outcome"] == "message":
        assert through == direct
    else:
        assert through[-1] == direct[-1] == "APIError"


async def answered(url: str, *, stream: bool) -> Response:
    """Returns an answer of a provider behind us, gathered by the package where it is streamed."""
    asked: Any = {"model": f"{PROVIDER}/asked", **ASK}
    async with client(url) as sdk:
        if not stream:
            whole: Response = await sdk.responses.create(**asked)
            return whole
        async with sdk.responses.stream(**asked) as events:
            found: list[Any] = [event async for event in events]
        response: Response = found[-1].response  # the package itself has no last word for what is incomplete
        return response


def said(whole: Response) -> dict[str, Any]:
    """Puts a response into the words of the independent reading."""
    usage = whole.usage
    assert usage is None or usage.total_tokens == usage.input_tokens + usage.output_tokens
    pieces = [piece for item in whole.output if item.type == "message" for piece in item.content]
    return {
        "text": whole.output_text,
        "reasoning": "".join(part.text for item in whole.output if item.type == "reasoning" for part in item.summary),
        "refusal": "".join(piece.refusal for piece in pieces if piece.type == "refusal"),
        "tool_calls": [(item.name, _parsed(item.arguments)) for item in whole.output if item.type == "function_call"],
        "incomplete": whole.incomplete_details.reason if whole.incomplete_details else None,
        "usage": None
        if usage is None
        else (
            usage.input_tokens,
            usage.output_tokens,
            usage.input_tokens_details.cached_tokens,
            usage.output_tokens_details.reasoning_tokens,
        ),
    }


def expected(case: Case) -> dict[str, Any]:
    expect = case.expect
    assert expect is not None
    prompt, output, read, _write, reasoning = expected_usage(case)
    return {
        "text": expect["text"],
        "reasoning": expect["reasoning"],
        "refusal": expect["refusal"],
        "tool_calls": [(call["name"], call["arguments"]) for call in expect["tool_calls"]],
        "incomplete": INCOMPLETE.get(str(expect["finish"])),
        "usage": (prompt, output, read, reasoning) if expect["usage"] else None,
    }


@pytest.mark.parametrize("case", cases(*FOREIGN, "chat_completions", "openai_chat"), ids=lambda case: case.id)
async def test_an_answer_of_another_api_says_the_same(case: Case) -> None:
    assert case.expect is not None
    async with both(case, dialect=FOREIGN.get(case.api, "openai")) as addresses:
        if case.expect["outcome"] == "message":
            assert said(await answered(f"{addresses.through}/v1", stream=case.stream)) == expected(case)
        else:
            with pytest.raises(openai.APIError):
                await answered(f"{addresses.through}/v1", stream=case.stream)


async def turn(sdk: openai.AsyncOpenAI, asked: Any, *, stream: bool) -> Response:
    """Returns a response, gathered by the package where it is streamed."""
    if not stream:
        whole: Response = await sdk.responses.create(**asked)
        return whole
    async with sdk.responses.stream(**asked) as events:
        return await events.get_final_response()


def results(response: Response) -> list[Any]:
    """Returns what the tools have to say."""
    calls = [item for item in response.output if item.type == "function_call"]
    return [{"type": "function_call_output", "call_id": call.call_id, "output": "21 degrees"} for call in calls]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_conversation_with_tools_goes_on_from_the_response_before(stream: bool) -> None:
    asked: Any = {"model": "mock/mock-think", "tools": [WEATHER]}
    async with shim() as edge, client(f"http://127.0.0.1:{edge.port}/v1") as sdk:
        first = await turn(sdk, {**asked, "input": "call get_weather"}, stream=stream)
        goes_on = {**asked, "previous_response_id": first.id, "input": results(first)}
        second = await turn(sdk, goes_on, stream=stream)
        kept = await sdk.responses.retrieve(second.id)
        items = [item async for item in await sdk.responses.input_items.list(second.id, order="asc")]

    assert [(item.name, item.arguments) for item in first.output if item.type == "function_call"] == [
        ("get_weather", '{"city":"Paris"}')
    ]
    assert second.output_text == "The tool answered: 21 degrees"
    assert second.previous_response_id == first.id
    assert (kept.id, kept.output_text, kept.usage) == (second.id, second.output_text, second.usage)
    assert [item.type for item in items] == ["message", "reasoning", "function_call", "function_call_output"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_conversation_goes_on_from_the_items_that_the_client_keeps(stream: bool) -> None:
    items: list[Any] = [{"role": "user", "content": "call get_weather"}]
    asked: Any = {"model": "mock/mock-think", "tools": [WEATHER], "input": items, "store": False}
    async with shim() as edge, client(f"http://127.0.0.1:{edge.port}/v1") as sdk:
        first = await turn(sdk, asked, stream=stream)
        items += [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in first.output]
        items += results(first)
        second = await turn(sdk, asked, stream=stream)
        with pytest.raises(openai.NotFoundError):
            await sdk.responses.retrieve(first.id)

    assert second.output_text == "The tool answered: 21 degrees"


@pytest.mark.parametrize("keeps", ["the server", "both", "the client"])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_state_of_another_provider_comes_back_to_it(stream: bool, keeps: str) -> None:
    first = stream_answer(streamed()) if stream else json_answer(MESSAGE)
    asked: Any = {"model": "claude/claude-sonnet-4-5", "tools": [WEATHER]}
    if keeps == "the client":
        asked |= {"include": ["reasoning.encrypted_content"], "store": False}
    async with stand_in(first) as upstream:
        config = configuration(providers={"claude": {"dialect": "anthropic", "base_url": upstream.url, "api_key": "k"}})
        async with shim(config) as edge, client(f"http://127.0.0.1:{edge.port}/v1") as sdk:
            response = await turn(sdk, {**asked, "input": "Weather?"}, stream=stream)
            goes_on: Any = {"previous_response_id": response.id, "input": results(response)}
            if keeps != "the server":
                said: list[Any] = [item.model_dump(exclude_none=True) for item in response.output]
                for item in said:
                    item.pop("parsed_arguments", None)
                goes_on = {"input": [{"role": "user", "content": "Weather?"}, *said, *results(response)]}
            await turn(sdk, {**asked, **goes_on}, stream=stream)

    kinds = [item.type for item in response.output]
    assert kinds == ["reasoning", "message", "function_call", *(["reasoning"] if keeps == "the client" else [])]
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "21 degrees"}
    assert upstream.asked[1].json["messages"][1:] == [
        {"role": "assistant", "content": MESSAGE["content"]},
        {"role": "user", "content": [result]},
    ]


NATIVE_ANSWER: Final[dict[str, Any]] = {
    "id": "resp_up1",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "model": "gpt-5",
    "output": [
        {"id": "rs_up1", "type": "reasoning", "summary": [], "encrypted_content": "c2VjcmV0"},
        {
            "id": "msg_up1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Hello.", "annotations": []}],
        },
    ],
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "tool_choice": "auto",
    "tools": [],
}


async def test_a_provider_of_the_same_api_is_sent_the_whole_conversation_and_not_our_ids() -> None:
    async with stand_in(json_answer(NATIVE_ANSWER)) as upstream:
        provider = {"dialect": "openai", "responses": True, "base_url": upstream.url, "api_key": "k"}
        async with (
            shim(configuration(providers={"up": provider, "mock": {}})) as edge,
            client(f"http://127.0.0.1:{edge.port}/v1") as sdk,
        ):
            ours = await sdk.responses.create(model="mock/mock-think", input="think")
            first = await sdk.responses.create(model="up/gpt-5", input="hi", previous_response_id=ours.id)
            await sdk.responses.create(model="up/gpt-5", input="more", previous_response_id=first.id)

    assert first.previous_response_id == ours.id
    bodies = [asked.json for asked in upstream.asked]
    assert [(body["model"], "previous_response_id" in body) for body in bodies] == [("gpt-5", False)] * 2
    said = [(item["type"], item.get("id")) for item in bodies[1]["input"]]
    assert said == [
        ("message", None),
        ("message", None),
        ("message", None),
        ("reasoning", "rs_up1"),
        ("message", "msg_up1"),
        ("message", None),
    ]
    assert bodies[1]["input"][3:5] == NATIVE_ANSWER["output"]


async def test_an_item_that_is_only_named_is_found() -> None:
    async with shim() as edge, client(f"http://127.0.0.1:{edge.port}/v1") as sdk:
        first = await sdk.responses.create(model="mock/mock-think", input="call get_weather", tools=[WEATHER])  # type: ignore[list-item]
        names: list[Any] = [{"type": "item_reference", "id": item.id} for item in first.output]
        again: Any = {"model": "mock/mock-think", "tools": [WEATHER], "input": [*names, *results(first)]}
        second = await sdk.responses.create(**again)
        with pytest.raises(openai.BadRequestError, match="Item with id 'msg_loom0' not found") as raised:
            await sdk.responses.create(model="mock-words", input=[{"type": "item_reference", "id": "msg_loom0"}])

    assert second.output_text == "The tool answered: 21 degrees"
    assert raised.value.param == "input"


async def test_nobody_else_is_told_of_a_response() -> None:
    async with shim() as edge, client(f"http://127.0.0.1:{edge.port}/v1") as sdk:
        response = await sdk.responses.create(model="mock-words", input="hi")
        other = sdk.with_options(api_key="sk-other")
        with pytest.raises(openai.NotFoundError) as missing:
            await other.responses.retrieve(response.id)
        with pytest.raises(openai.NotFoundError):
            await other.responses.delete(response.id)
        with pytest.raises(openai.BadRequestError) as refused:
            await other.responses.create(model="mock-words", input="hi", previous_response_id=response.id)
        assert (await sdk.responses.retrieve(response.id)).id == response.id

    assert missing.value.body == {
        "message": f"Response with id '{response.id}' not found.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
    assert refused.value.body == {
        "message": f"Previous response with id '{response.id}' not found.",
        "type": "invalid_request_error",
        "param": "previous_response_id",
        "code": "previous_response_not_found",
    }


async def test_a_response_that_was_deleted_is_gone() -> None:
    async with shim() as edge, client(f"http://127.0.0.1:{edge.port}/v1") as sdk:
        response = await sdk.responses.create(model="mock-words", input="hi")
        await sdk.responses.delete(response.id)
        for look in (
            sdk.responses.retrieve,
            sdk.responses.delete,
            sdk.responses.cancel,
            sdk.responses.input_items.list,
        ):
            with pytest.raises(openai.NotFoundError):
                await look(response.id)


async def test_a_response_that_is_complete_is_not_cancelled() -> None:
    async with shim() as edge, client(f"http://127.0.0.1:{edge.port}/v1") as sdk:
        response = await sdk.responses.create(model="mock-words", input="hi")
        with pytest.raises(openai.BadRequestError, match="Cannot cancel a synchronous response"):
            await sdk.responses.cancel(response.id)


async def test_items_come_in_pages() -> None:
    said: list[Any] = [{"role": "user", "content": str(number)} for number in range(5)]
    async with shim() as edge, client(f"http://127.0.0.1:{edge.port}/v1") as sdk:
        response = await sdk.responses.create(model="mock-words", input=said)
        page = await sdk.responses.input_items.list(response.id, limit=2)
        items: list[Any] = [item async for item in page]

    assert [len(page.data), page.has_more] == [2, True]
    assert [item.content[0].text for item in items] == ["4", "3", "2", "1", "0"]


async def test_encrypted_state_is_shown_to_whoever_asks_for_it() -> None:
    async with stand_in(json_answer(MESSAGE)) as upstream:
        config = configuration(providers={"claude": {"dialect": "anthropic", "base_url": upstream.url, "api_key": "k"}})
        async with shim(config) as edge, client(f"http://127.0.0.1:{edge.port}/v1") as sdk:
            response = await sdk.responses.create(model="claude/c", input="hi")
            plain = await sdk.responses.retrieve(response.id)
            whole = await sdk.responses.retrieve(response.id, include=["reasoning.encrypted_content"])

    assert len(plain.output) == len(response.output)
    assert len(whole.output) == len(response.output) + 1


ERRORS: Final[list[tuple[str, type[openai.APIStatusError], int, dict[str, Any]]]] = [
    ("mock-401", openai.InternalServerError, 502, {"type": "server_error", "code": "provider_auth_failed"}),
    ("mock-429", openai.RateLimitError, 429, {"type": "requests", "code": "rate_limit_exceeded"}),
    ("mock-500", openai.InternalServerError, 503, {"type": "server_error", "code": "provider_unavailable"}),
    (
        "mock-context",
        openai.BadRequestError,
        400,
        {"type": "invalid_request_error", "code": "context_length_exceeded", "param": "input"},
    ),
]


@pytest.mark.parametrize(("model", "kind", "status", "words"), ERRORS)
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_come_as_the_package_knows_them(
    model: str, kind: type[openai.APIStatusError], status: int, words: dict[str, Any], *, stream: bool
) -> None:
    asked: Any = {"model": model, "stream": stream, **ASK}
    async with shim() as edge, client(f"http://127.0.0.1:{edge.port}/v1") as sdk:
        with pytest.raises(kind) as raised:
            await sdk.responses.create(**asked)

    error: Any = raised.value
    assert error.status_code == status
    assert error.body == {"message": error.body["message"], "param": None, **words}


@pytest.mark.parametrize("model", ["mock-error", "mock-cut", "mock-truncated", "mock-malformed"])
async def test_a_stream_that_breaks_off_raises_and_is_not_kept(model: str) -> None:
    events: list[Any] = []
    async with shim() as edge, client(f"http://127.0.0.1:{edge.port}/v1") as sdk:
        stream = await sdk.responses.create(model=model, input="hi", stream=True)
        with pytest.raises(openai.APIError) as raised:
            await gather(events, stream)
        with pytest.raises(openai.NotFoundError):
            await sdk.responses.retrieve(events[0]["response"]["id"])

    assert "response.completed" not in {event["type"] for event in events}
    assert raised.value.type == "server_error"


BAD: Final[list[tuple[dict[str, Any], str | None]]] = [
    ({"input": 7}, "input"),
    ({"input": [{"role": "judge", "content": "x"}]}, "input[0].role"),
    ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
    ({"input": [{"type": "function_call_output", "call_id": "call_x", "output": "1"}]}, "input"),
    ({"input": "hi", "temperature": "warm"}, "temperature"),
    ({"input": "hi", "temperature": -1}, "temperature"),
    ({"input": "hi", "max_output_tokens": 0}, "max_output_tokens"),
    ({"input": "hi", "tools": [{"type": "function"}]}, "tools[0].name"),
    ({"input": "hi", "background": True}, "background"),
    ({"input": "hi", "previous_response_id": "resp_unknown"}, "previous_response_id"),
    ({"input": "hi", "tools": [{"type": "web_search"}]}, "tools[0]"),
    ({"input": [{"type": "custom_tool_call", "call_id": "c", "name": "n", "input": "x"}]}, "input[0]"),
    ({}, "input"),
]


@pytest.mark.parametrize(("body", "param"), BAD)
async def test_what_is_wrong_is_named(body: dict[str, Any], param: str | None) -> None:
    async with shim() as edge, client(f"http://127.0.0.1:{edge.port}/v1") as sdk:
        with pytest.raises(openai.BadRequestError) as raised:
            await sdk.responses.create(model="mock-words", **body)

    error: Any = raised.value
    assert (error.type, error.param) == ("invalid_request_error", param)
