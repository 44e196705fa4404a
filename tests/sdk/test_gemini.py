"""Google's own client reads through us what it reads from the provider itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
import pytest
from google import genai
from google.genai import errors, types

from loom_grpc.core.sse import Frame, JsonFramer, SseFramer
from tests.sdk.recorded import PROVIDER, both, cases
from tests.shim.serving import configuration, shim
from tests.stand_in import json_answer, stand_in
from tests.wire.cases import Case, expected_answer, expected_usage

pytestmark = [
    # What the client itself does where aiohttp is installed, and says of a word that it does not know.
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:FAKE_NEW_FINISH_REASON is not a valid FinishReason:UserWarning"),
]

SAME = cases("generate_content")
OTHERS = [
    case
    for case in cases("messages", "anthropic_raw_predict", "chat_completions", "openai_chat", "chat")
    if case.expect is not None
]
DIALECTS = {"messages": "anthropic", "anthropic_raw_predict": "anthropic", "chat": "ollama"}
"""The dialects beside `openai`, by the API of a case."""
MODEL = "gemini-2.5-flash"
ASK = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
BEYOND_THE_CLIENT = (
    "gemini-gen-testgoogleaigeneratecontentwithmultiplemessages",
    "gemini-gen-testgoogleaiwithtools",
    "vertex-gen-gemini-token-counts",
)
"""Cases that the client cannot read from the provider either: an array where it wants events, numbers for words."""
FINISH = {
    **dict.fromkeys(("stop", "end_turn", "stop_sequence", "tool_use", "tool_calls", "function_call", "eos"), "STOP"),
    **dict.fromkeys(("length", "max_tokens"), "MAX_TOKENS"),
    **dict.fromkeys(("content_filter", "refusal"), "SAFETY"),
    "": None,
}
"""Gemini's word for another provider's; every other one is `OTHER`."""


def independent(case: Case) -> dict[str, Any]:
    """Returns the independent reading of a case."""
    assert case.expect is not None
    return case.expect


def client(address: str) -> genai.Client:
    options = types.HttpOptions(base_url=address, retry_options=types.HttpRetryOptions(attempts=1))
    return genai.Client(api_key="sk-recorded", http_options=options)


@asynccontextmanager
async def speaking(address: str) -> AsyncIterator[Any]:
    """Gives Google's asynchronous client of an address."""
    async with client(address).aio as ours:
        yield ours


async def read(address: str, case: Case, model: str) -> Any:
    """Returns what the client makes of an answer: every object it yields, or the error that it raises."""
    async with speaking(address) as ours:
        try:
            if case.stream:
                stream = await ours.models.generate_content_stream(model=model, contents="hi")
                return [told(chunk) async for chunk in stream]
            return told(await ours.models.generate_content(model=model, contents="hi"))
        except errors.APIError as error:
            return error.code, error.status


def told(response: types.GenerateContentResponse) -> dict[str, Any]:
    """Returns all that a response says, the headers of HTTP aside."""
    return response.model_dump(exclude={"sdk_http_response"}, exclude_none=True)


@pytest.mark.parametrize(
    "case", [case for case in SAME if not case.id.startswith(BEYOND_THE_CLIENT)], ids=lambda case: case.id
)
async def test_the_client_gets_equal_objects(case: Case) -> None:
    async with both(case, dialect="gemini") as addresses:
        direct = await read(addresses.direct, case, MODEL)
        through = await read(addresses.through, case, f"{PROVIDER}/{MODEL}")

    assert through == direct
    asked, ours = addresses.provider.asked
    assert ours.json == asked.json
    assert ours.path.removeprefix("/v1beta") == asked.path.removeprefix("/v1")


@pytest.mark.parametrize(
    "case", [case for case in SAME if independent(case)["outcome"] == "message"], ids=lambda case: case.id
)
async def test_every_object_of_an_answer_is_the_providers_own(case: Case) -> None:
    method = "streamGenerateContent" if case.stream else "generateContent"

    async with both(case, dialect="gemini") as addresses, aiohttp.ClientSession() as session:
        address = f"{addresses.through}/v1beta/models/{PROVIDER}/{MODEL}:{method}"
        async with session.post(address, json=ASK) as answer:
            body = await answer.read()

    assert answer.content_type == "application/json"
    if case.stream:
        assert orjson.loads(body) == [frame.value for frame in objects(case)]
    else:
        assert orjson.loads(body) == orjson.loads(case.body)


def objects(case: Case) -> list[Frame]:
    """Returns the objects of a recorded stream."""
    framer = SseFramer() if case.media_type == "text/event-stream" else JsonFramer()
    frames = [*framer.feed(case.body), *framer.end()]
    return [Frame(b"", frame.data, orjson.loads(frame.data)) for frame in frames]


@pytest.mark.parametrize("case", OTHERS, ids=lambda case: f"{case.provider}-{case.id}")
async def test_answers_of_other_dialects_say_the_same(case: Case) -> None:
    async with both(case, dialect=DIALECTS.get(case.api, "openai")) as addresses:
        responses = await heard(addresses.through, case)

    if independent(case)["outcome"] != "message":
        assert isinstance(responses, errors.APIError)
        return
    assert not isinstance(responses, errors.APIError), responses
    expected = expected_answer(independent(case))
    parts = [part for response in responses for part in parts_of(response)]
    assert "".join(part.text or "" for part in parts if not part.thought) == expected["text"] + expected["refusal"]
    assert "".join(part.text or "" for part in parts if part.thought) == expected["reasoning"]
    if not is_cut(case):
        calls = [part.function_call for part in parts if part.function_call]
        assert [(call.name, call.args) for call in calls] == expected["tool_calls"]
        assert len({call.id for call in calls}) == len(calls)
    assert finish_of(responses[-1]) == ("SAFETY" if expected["refusal"] else FINISH.get(expected["finish"], "OTHER"))
    if independent(case)["usage"]:
        assert usage_of(responses[-1]) == expected_gemini_usage(case)


async def heard(address: str, case: Case) -> list[types.GenerateContentResponse] | errors.APIError:
    async with speaking(address) as ours:
        try:
            if case.stream:
                stream = await ours.models.generate_content_stream(model=f"{PROVIDER}/m", contents="hi")
                return [chunk async for chunk in stream]
            return [await ours.models.generate_content(model=f"{PROVIDER}/m", contents="hi")]
        except errors.APIError as error:
            return error


def parts_of(response: types.GenerateContentResponse) -> list[types.Part]:
    return [
        part
        for candidate in response.candidates or []
        for part in (candidate.content.parts if candidate.content else None) or []
    ]


def is_cut(case: Case) -> bool:
    """Tells whether the limit on tokens cut the arguments of a call, which then cannot be said here."""
    return any(not isinstance(call["arguments"], dict) for call in independent(case)["tool_calls"])


def finish_of(response: types.GenerateContentResponse) -> str | None:
    if response.prompt_feedback is not None:
        return "SAFETY"
    assert response.candidates
    reason = response.candidates[0].finish_reason
    return None if reason is None else reason.value


def usage_of(response: types.GenerateContentResponse) -> tuple[int, int, int, int, int]:
    """Returns the tokens of prompt, answer, cache and thoughts, and all of them."""
    usage = response.usage_metadata or types.GenerateContentResponseUsageMetadata()
    return (
        usage.prompt_token_count or 0,
        usage.candidates_token_count or 0,
        usage.cached_content_token_count or 0,
        usage.thoughts_token_count or 0,
        usage.total_token_count or 0,
    )


def expected_gemini_usage(case: Case) -> tuple[int, int, int, int, int]:
    prompt, output, cached, _, thoughts = expected_usage(case)
    return prompt, output - thoughts, cached, thoughts, prompt + output


def weather() -> types.Tool:
    place = types.Schema(type=types.Type.STRING, enum=["Paris", "Oslo"])
    schema = types.Schema(type=types.Type.OBJECT, properties={"place": place}, required=["place"])
    return types.Tool(function_declarations=[types.FunctionDeclaration(name="weather", parameters=schema)])


async def test_a_conversation_with_a_tool_goes_on_for_several_turns() -> None:
    async with shim() as edge, speaking(f"http://127.0.0.1:{edge.port}") as ours:
        config = types.GenerateContentConfig(
            tools=[weather()],
            system_instruction="Be brief.",
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        )
        chat = ours.chats.create(model="mock/mock-think", config=config)
        called = await chat.send_message("Please call weather.")
        call = called.function_calls[0]
        result = types.Part.from_function_response(name="weather", response={"result": "sunny"})
        answered = await chat.send_message(result)
        chunks = [chunk.text async for chunk in await chat.send_message_stream("Thank you.")]

    assert (call.name, call.args) == ("weather", {"place": "Paris"})
    assert answered.text == "The tool answered: sunny"
    assert "".join(filter(None, chunks)).startswith("Hello! I am the mock provider")


@pytest.mark.parametrize(
    ("model", "code", "status"),
    [
        ("mock/mock-429", 429, "RESOURCE_EXHAUSTED"),
        ("mock/mock-context", 400, "INVALID_ARGUMENT"),
        ("mock/mock-500", 503, "UNAVAILABLE"),
        ("nobody/model:with/all", 404, "NOT_FOUND"),
    ],
)
async def test_a_failure_is_the_clients_own_error(model: str, code: int, status: str) -> None:
    expected = errors.ClientError if code < 500 else errors.ServerError

    async with shim() as edge, speaking(f"http://127.0.0.1:{edge.port}") as ours:
        with pytest.raises(expected) as whole:
            await ours.models.generate_content(model=model, contents="hi")
        with pytest.raises(expected) as streamed:
            [chunk async for chunk in await ours.models.generate_content_stream(model=model, contents="hi")]

    assert (whole.value.code, whole.value.status) == (code, status)
    assert (streamed.value.code, streamed.value.status) == (code, status)


async def test_a_stream_that_breaks_off_raises_after_what_came() -> None:
    texts: list[str | None] = []

    async def listen(ours: Any) -> None:
        async for chunk in await ours.models.generate_content_stream(model="mock/mock-cut", contents="hi"):
            texts.append(chunk.text)  # noqa: PERF401 - what came before the failure is kept

    async with shim() as edge, speaking(f"http://127.0.0.1:{edge.port}") as ours:
        with pytest.raises(errors.ServerError) as failure:
            await listen(ours)

    assert texts == ["Hello! ", "I ", "am ", "the "]
    assert (failure.value.code, failure.value.status) == (503, "UNAVAILABLE")


async def test_tokens_are_counted() -> None:
    async with shim() as edge, speaking(f"http://127.0.0.1:{edge.port}") as ours:
        counted = await ours.models.count_tokens(model="mock/mock-words", contents="One two three.")

    assert counted.total_tokens


async def test_models_are_listed_page_by_page() -> None:
    async with shim() as edge, speaking(f"http://127.0.0.1:{edge.port}") as ours:
        names = [model.name async for model in await ours.models.list(config={"page_size": 3})]
        one = await ours.models.get(model="mock/mock-echo")

    assert len(names) == len(set(names)) > 3
    assert "models/mock/mock-echo" in names
    assert one.name == "models/mock/mock-echo"
    assert one.supported_actions == ["generateContent", "countTokens"]


@pytest.mark.parametrize("name", ["thinking-streaming-0-b5b78a", "thinking-part-redacted-stream-0-ee6460"])
async def test_what_another_provider_signed_goes_back_to_it(name: str) -> None:
    (case,) = (case for case in OTHERS if case.id.endswith(name))

    async with both(case, dialect="anthropic") as addresses, speaking(addresses.through) as ours:
        chat = ours.chats.create(model=f"{PROVIDER}/claude")
        chunks = [chunk async for chunk in await chat.send_message_stream("Well?")]
        calls = [part.function_call for chunk in chunks for part in parts_of(chunk) if part.function_call]
        results = [
            types.Part(function_response=types.FunctionResponse(id=call.id, name=call.name, response={"result": "1"}))
            for call in calls
        ]
        await drain(await chat.send_message_stream([*results, types.Part(text="Go on.")]))

    assert addresses.provider.asked[1].json["messages"][1] == {"role": "assistant", "content": blocks_of(case)}


async def drain(stream: Any) -> None:
    async for _ in stream:
        pass


def blocks_of(case: Case) -> list[dict[str, Any]]:
    """Puts the blocks of one of Anthropic's streams together."""
    blocks: list[dict[str, Any]] = []
    for frame in objects(case):
        event: Any = frame.value
        if event["type"] == "content_block_start":
            kept = ("type", "id", "name", "data", "text")
            blocks.append({key: value for key, value in event["content_block"].items() if key in kept})
        elif event["type"] == "content_block_delta":
            delta = event["delta"]
            key = {"input_json_delta": "partial_json"}.get(delta["type"], delta["type"].removesuffix("_delta"))
            blocks[-1][key] = blocks[-1].get(key, "") + delta[key]
    for block in blocks:
        if "partial_json" in block:
            block["input"] = orjson.loads(block.pop("partial_json"))
    return blocks


BAD = {"contents": [{"role": "system", "parts": [{"text": "hi"}]}]}
UNASKED = {"contents": [{"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]}]}
SEARCH = {**ASK, "tools": [{"googleSearch": {}}]}
NO_SEARCH = (
    "Invalid value at 'tools[0].google_search': mock has no such field; "
    "leave it out, or ask the operator to set compat.untold: drop."
)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (BAD, "Invalid value at 'contents[0].role': please use a valid role: user, model."),
        (
            UNASKED,
            "Invalid value at 'contents[0].parts[0].function_response': there is no call of 'f' before it that it could answer.",
        ),
        ({"contents": []}, "Invalid value at 'contents': at least one message is needed."),
        (SEARCH, NO_SEARCH),
        ([], "The body must be a JSON object."),
    ],
)
async def test_a_bad_request_is_told_in_googles_words(body: Any, message: str) -> None:
    async with shim() as edge:
        answer = await edge.post("/v1beta/models/mock/mock-words:generateContent", body)

    error = answer.json["error"]
    assert (answer.status, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert error["message"] == message


async def test_what_the_provider_cannot_be_told_is_dropped_where_the_operator_says_so() -> None:
    async with shim(configuration(compat={"untold": "drop"})) as edge:
        answer = await edge.post("/v1beta/models/mock/mock-words:generateContent", SEARCH)

    assert (answer.status, answer.headers["loom-dropped"]) == (200, "tools[0].googleSearch")


async def test_a_model_may_have_slashes_and_colons() -> None:
    body = b'{"candidates":[{"content":{"parts":[{"text":"Hi"}],"role":"model"},"finishReason":"STOP"}]}'
    async with stand_in(json_answer(orjson.loads(body))) as upstream:
        provider = {"base_url": upstream.url, "api_key": "k", "dialect": "gemini"}
        async with shim(configuration(providers={"mine": provider})) as edge:
            answers = [
                await edge.post(f"/v1beta/{path}:generateContent", ASK)
                for path in ("models/mine/ft:a/b:c", "models/mine/tunedModels/t", "models/mine%2Fx%3Ay")
            ]

    assert [answer.status for answer in answers] == [200] * 3
    assert [asked.path for asked in upstream.asked] == [
        "/v1beta/models/ft%3Aa%2Fb%3Ac:generateContent",
        "/v1beta/tunedModels/t:generateContent",
        "/v1beta/models/x%3Ay:generateContent",
    ]
