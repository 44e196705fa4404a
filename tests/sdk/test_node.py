"""The clients that people use in JavaScript, at the provider and at us."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest

from tests.sdk.node import Client, Done, running
from tests.sdk.recorded import PROVIDER, both, cases
from tests.shim.serving import WAIT_S, configuration, shim
from tests.stand_in import Connection, stand_in
from tests.wire.cases import Case, differences

MODEL: Final = f"{PROVIDER}/asked"
CHAT: Final = ("chat_completions", "openai_chat")
MESSAGES: Final = ("messages", "anthropic_raw_predict")
CONTENT: Final = ("generate_content",)
RESPONSES: Final = ("responses", "openai_responses")

Ask = Callable[[str, str], dict[str, Any]]
"""Makes what a client is to ask out of a model and what the user says."""


def _messages(model: str, said: str) -> dict[str, Any]:
    return {"request": {"model": model, "messages": [{"role": "user", "content": said}], "max_tokens": 1000}}


def _contents(model: str, said: str) -> dict[str, Any]:
    return {"request": {"model": model, "contents": [{"role": "user", "parts": [{"text": said}]}]}}


def _input(model: str, said: str) -> dict[str, Any]:
    return {"request": {"model": model, "input": [{"role": "user", "content": said}]}}


def _prompt(provider: str) -> Ask:
    return lambda model, said: {"provider": provider, "model": model, "request": {"prompt": said}}


@dataclass(frozen=True)
class Sdk:
    """A client in JavaScript, and the API that it speaks."""

    program: str
    """Its file in tests/node."""
    kind: str
    """The job there that asks for an answer."""
    apis: tuple[str, ...]
    """What the recorded answers call its API."""
    dialect: str
    """What our configuration calls it."""
    path: str
    """Where it is among our addresses."""
    ask: Ask

    def provider(self, **more: Any) -> dict[str, Any]:
        """Returns the configuration of a provider that speaks the client's own API."""
        return {"dialect": self.dialect, **more} | ({"responses": True} if self.apis == RESPONSES else {})


SDKS: Final = {
    "openai": Sdk("openai", "chat", CHAT, "openai", "/v1", _messages),
    "openai-responses": Sdk("openai", "responses", RESPONSES, "openai", "/v1", _input),
    "@anthropic-ai/sdk": Sdk("anthropic", "messages", MESSAGES, "anthropic", "", _messages),
    "@google/genai": Sdk("genai", "content", CONTENT, "gemini", "", _contents),
    "@ai-sdk/openai": Sdk("ai", "text", CHAT, "openai", "/v1", _prompt("openai")),
    "@ai-sdk/openai-responses": Sdk("ai", "text", RESPONSES, "openai", "/v1", _prompt("responses")),
    "@ai-sdk/openai-compatible": Sdk("ai", "text", CHAT, "openai", "/v1", _prompt("compatible")),
    "@ai-sdk/anthropic": Sdk("ai", "text", MESSAGES, "anthropic", "/v1", _prompt("anthropic")),
    "@ai-sdk/google": Sdk("ai", "text", CONTENT, "gemini", "/v1beta", _prompt("google")),
}


@pytest.fixture(scope="module")
def clients() -> Iterator[Callable[[str], Client]]:
    """Starts each program when it is first wanted, and ends them all."""
    started: dict[str, Client] = {}
    with ExitStack() as stack:

        def client(program: str) -> Client:
            if program not in started:
                started[program] = stack.enter_context(running(program))
            return started[program]

        yield client


Clients = Callable[[str], Client]


def recorded(outcome: Callable[[str], bool]) -> list[Any]:
    """Returns the answers that each client is to read, by how they end."""
    return [
        pytest.param(sdk, case, id=f"{name}-{case.id}")
        for name, sdk in SDKS.items()
        for case in map(_whole, cases(*sdk.apis))
        if case.expect is not None and outcome(case.expect["outcome"]) and _is_asked_for(case)
    ]


def _whole(case: Case) -> Case:
    """Adds the blank line at the end of a stream where the recorder has left it out: without it clients miss the last event."""
    if not case.stream or case.media_type != "text/event-stream" or case.body.endswith((b"\n\n", b"\r\n\r\n")):
        return case
    return replace(case, body=case.body + b"\n\n")


def _is_asked_for(case: Case) -> bool:
    """Tells whether clients ever ask for an answer of this kind: none of these ask for a stream that is a JSON array."""
    return not case.stream or case.media_type == "text/event-stream"


@pytest.mark.parametrize(("sdk", "case"), recorded(lambda outcome: outcome == "message"))
async def test_a_recorded_answer_is_the_same_straight_and_through_us(clients: Clients, sdk: Sdk, case: Case) -> None:
    client, asked = clients(sdk.program), sdk.ask(MODEL, "hi")
    async with both(case, **sdk.provider()) as urls:
        direct = await client.do(sdk.kind, urls.direct + sdk.path, stream=case.stream, **asked)
        through = await client.do(sdk.kind, urls.through + sdk.path, stream=case.stream, **asked)

    bodies = [asked.json for asked in urls.provider.asked]
    assert through == direct
    assert direct.seen or direct.error
    assert [body | {"model": MODEL} for body in bodies[len(bodies) // 2 :]] == [
        body | {"model": MODEL} for body in bodies[: len(bodies) // 2]
    ]


@pytest.mark.parametrize(("sdk", "case"), recorded(lambda outcome: outcome != "message"))
async def test_an_answer_that_fails_on_its_way_is_an_error_and_never_whole(
    clients: Clients, sdk: Sdk, case: Case
) -> None:
    async with both(case, **sdk.provider()) as urls:
        through = await clients(sdk.program).do(sdk.kind, urls.through + sdk.path, stream=True, **sdk.ask(MODEL, "hi"))

    assert through.error is not None


CHECKED: Final = {name: sdk for name, sdk in SDKS.items() if sdk.program == "ai"}
"""The clients that check every answer against a schema."""
SPOKEN: Final = {
    "chat": {"dialect": "ollama"},
    **{api: SDKS["openai"].provider() for api in CHAT},
    **{api: SDKS["@anthropic-ai/sdk"].provider() for api in MESSAGES},
    **{api: SDKS["@google/genai"].provider() for api in CONTENT},
}
"""The provider that gives the answers of each recorded API; Responses is spoken only to callers who speak it too."""
UNSAYABLE: Final = {
    "anthropic-msg-incomplete-partial-json-response-0-40d58d": "Google's API has no calls that are cut in their middle.",
    "vertex-gen-google-vertexai-image-generation-with-output-format-0-f5f029": "Anthropic's API has no answers in pictures.",
}
"""Answers that not every API can give, and why."""
TELLING: Final = [
    case
    for case in map(_whole, cases(*SPOKEN))
    if case.expect is not None
    and case.expect["outcome"] == "message"
    and not case.expect["refusal"]
    and case.id not in {*differences(), *UNSAYABLE}
]
DEAF: Final = "@ai-sdk/openai"
"""Passes over the reasoning in Chat Completions, of which OpenAI's own answers have none."""


def said(done: Done, *, stream: bool) -> dict[str, Any]:
    """Puts what a client has handed out into the words of the independent reading."""
    assert done.error is None
    pieces = done.seen if stream else done.seen[0]["content"]
    return {
        "text": "".join(piece["text"] for piece in pieces if piece["type"] in ("text", "text-delta")),
        "reasoning": "".join(piece["text"] for piece in pieces if piece["type"] in ("reasoning", "reasoning-delta")),
        "tool_calls": [
            {"name": piece["toolName"], "arguments": piece["input"]} for piece in pieces if piece["type"] == "tool-call"
        ],
    }


@pytest.mark.parametrize("case", TELLING, ids=lambda case: case.id)
async def test_the_answer_of_another_api_passes_the_checks_of_clients_and_says_the_same(
    clients: Clients, case: Case
) -> None:
    assert case.expect is not None
    others = {name: sdk for name, sdk in CHECKED.items() if case.api not in sdk.apis}
    found = {}
    async with both(case, **SPOKEN[case.api]) as urls:
        for name, sdk in others.items():
            done = await clients(sdk.program).do(
                sdk.kind, urls.through + sdk.path, stream=case.stream, **sdk.ask(MODEL, "hi")
            )
            found[name] = said(done, stream=case.stream)

    expected = {
        "text": case.expect["text"],
        "reasoning": case.expect["reasoning"],
        "tool_calls": [{"name": call["name"], "arguments": call["arguments"]} for call in case.expect["tool_calls"]],
    }
    assert found == {name: expected | ({"reasoning": ""} if name == DEAF else {}) for name in others}


LIVE: Final = configuration(providers={"mock": {"retry": {"max_attempts": 1}}})
LOOK: Final = {
    "type": "object",
    "properties": {"at": {"type": "string", "enum": ['<a href="?x&y">é 世界</a> \\ 001']}},
    "required": ["at"],
}
ADD: Final = {
    "type": "object",
    "properties": {
        "numbers": {"type": "array", "items": {"type": "integer", "minimum": 7}},
        "more": {"type": "object", "properties": {"exact": {"type": "boolean"}}, "required": ["exact"]},
    },
    "required": ["numbers", "more"],
}
TOOLS: Final = {"look": LOOK, "add": ADD, "wait": {"type": "object", "properties": {}}}
RESULTS: Final = {"look": "A <door> & a window.", "add": "002", "wait": 'It "rains" — 雨.'}
CALLED: Final = [
    {"called": "look", "given": {"at": '<a href="?x&y">é 世界</a> \\ 001'}},
    {"called": "add", "given": {"numbers": [7], "more": {"exact": True}}},
    {"called": "wait", "given": {}},
]
TOLD: Final = {
    "@ai-sdk/google": '{"name":"wait","content":"It \\"rains\\" — 雨."}',
}
"""What the model is told of the last result: Google's API has objects there, and clients make one of a text."""


def _functions(said: str) -> dict[str, Any]:
    functions = [
        {"type": "function", "function": {"name": name, "description": name, "parameters": schema}}
        for name, schema in TOOLS.items()
    ]
    return {"messages": [{"role": "user", "content": said}], "tools": functions}


def _flat_functions(said: str) -> dict[str, Any]:
    functions = [
        {"type": "function", "name": name, "description": name, "parameters": schema, "strict": False}
        for name, schema in TOOLS.items()
    ]
    return {"input": [{"role": "user", "content": said}], "tools": functions}


def _input_schemas(said: str) -> dict[str, Any]:
    tools = [{"name": name, "description": name, "input_schema": schema} for name, schema in TOOLS.items()]
    return {"messages": [{"role": "user", "content": said}], "tools": tools, "max_tokens": 1000}


def _declarations(said: str) -> dict[str, Any]:
    functions = [{"name": name, "description": name, "parametersJsonSchema": schema} for name, schema in TOOLS.items()]
    contents = [{"role": "user", "parts": [{"text": said}]}]
    return {"contents": contents, "config": {"tools": [{"functionDeclarations": functions}]}}


TOOL_ROUNDS: Final[dict[str, tuple[str, Callable[[str], dict[str, Any]]]]] = {
    "openai": ("chat_tools", _functions),
    "openai-responses": ("responses_tools", _flat_functions),
    "@anthropic-ai/sdk": ("tools", _input_schemas),
    "@google/genai": ("tools", _declarations),
}
"""The job that goes through a round of tools, and how the client is told of them; the rest are those of `ai`."""


def tool_round(name: str, model: str, said: str) -> tuple[str, dict[str, Any]]:
    """Returns the job with which a client lets the model call tools."""
    if SDKS[name].program == "ai":
        return "tools", {**SDKS[name].ask(model, said), "tools": TOOLS}
    kind, request = TOOL_ROUNDS[name]
    return kind, {"request": {"model": model, **request(said)}}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", SDKS)
async def test_a_client_that_calls_its_tools_itself_gets_to_the_answer(
    clients: Clients, name: str, *, stream: bool
) -> None:
    sdk = SDKS[name]
    kind, job = tool_round(name, "mock/mock-words", "Please call look, call add and call wait.")
    async with shim(LIVE) as edge:
        url = f"http://127.0.0.1:{edge.port}{sdk.path}"
        done = await clients(sdk.program).do(kind, url, stream=stream, results=RESULTS, **job)

    assert done == Done([*CALLED, f"The tool answered: {TOLD.get(name, RESULTS['wait'])}"], None)


STATUSES: Final = {
    "mock-429": {"openai": 429, "anthropic": 429, "gemini": 429},
    "mock-quota": {"openai": 429, "anthropic": 429, "gemini": 429},
    "mock-401": {"openai": 502, "anthropic": 500, "gemini": 500},  # it is our key that is refused, not the caller's
    "mock-500": {"openai": 503, "anthropic": 529, "gemini": 503},
    "mock-529": {"openai": 503, "anthropic": 529, "gemini": 503},
    "mock-context": {"openai": 400, "anthropic": 400, "gemini": 400},
    "mock-none": {"openai": 404, "anthropic": 404, "gemini": 404},
}
"""The status of each failure of the mock provider's, by API."""
CLASSES: Final = {
    400: "BadRequestError",
    404: "NotFoundError",
    429: "RateLimitError",
    500: "InternalServerError",
    502: "InternalServerError",
    503: "InternalServerError",
    529: "OverloadedError",
}
"""What the clients of OpenAI and Anthropic raise; the others have one class for all."""
ONE_CLASS: Final = {"genai": "ApiError", "ai": "APICallError"}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", SDKS)
async def test_a_client_raises_what_it_has_for_each_failure(clients: Clients, name: str, *, stream: bool) -> None:
    sdk, raised = SDKS[name], {}
    async with shim(LIVE) as edge:
        url = f"http://127.0.0.1:{edge.port}{sdk.path}"
        for model in STATUSES:
            done = await clients(sdk.program).do(sdk.kind, url, stream=stream, **sdk.ask(f"mock/{model}", "hi"))
            assert done.error is not None
            raised[model] = (done.error["status"], done.error["class"])

    expected = {model: row[sdk.dialect] for model, row in STATUSES.items()}
    assert raised == {
        model: (status, ONE_CLASS.get(sdk.program, CLASSES[status])) for model, status in expected.items()
    }


USER: Final = {"role": "user", "content": "hi"}
STRAY: Final = {"type": "tool_result", "tool_use_id": "x", "content": "1"}
WRONG: Final[dict[str, dict[str, dict[str, Any]]]] = {
    "openai": {
        "messages[0].role": {"messages": [{"role": "robot", "content": "hi"}]},
        "temperature": {"messages": [USER], "temperature": "hot"},
        "messages[1].tool_call_id": {"messages": [USER, {"role": "tool", "tool_call_id": "x", "content": "1"}]},
    },
    "openai-responses": {
        "input[0].role": {"input": [{"role": "robot", "content": "hi"}]},
        "temperature": {"input": "hi", "temperature": "hot"},
        "previous_response_id": {"input": "hi", "previous_response_id": "resp_unknown"},
    },
    "@anthropic-ai/sdk": {
        "messages.0.role": {"max_tokens": 9, "messages": [{"role": "robot", "content": "hi"}]},
        "temperature": {"max_tokens": 9, "messages": [USER], "temperature": "hot"},
        "messages.0.content.0.tool_use_id": {"max_tokens": 9, "messages": [{"role": "user", "content": [STRAY]}]},
    },
    "@google/genai": {
        "contents[0].role": {"contents": [{"role": "robot", "parts": [{"text": "hi"}]}]},
        "generation_config.temperature": {"contents": "hi", "config": {"temperature": "hot"}},
        "contents[0].parts[0].function_response": {
            "contents": [{"role": "user", "parts": [{"functionResponse": {"name": "x", "response": {}}}]}]
        },
    },
}
"""Requests that are wrong, by the field that the error is to name."""


@pytest.mark.parametrize(("name", "field"), [(name, field) for name, rows in WRONG.items() for field in rows])
async def test_a_client_learns_which_field_of_its_request_is_wrong(clients: Clients, name: str, field: str) -> None:
    sdk, request = SDKS[name], WRONG[name][field]
    async with shim(LIVE) as edge:
        url = f"http://127.0.0.1:{edge.port}{sdk.path}"
        done = await clients(sdk.program).do(
            sdk.kind, url, stream=False, request={"model": "mock/mock-words", **request}
        )

    assert done.error is not None
    assert done.error["status"] == 400
    assert field == done.error["param"] if sdk.dialect == "openai" else field in done.error["message"]


LISTED: Final = {
    "openai": "mock/mock-echo",
    "@anthropic-ai/sdk": "mock/mock-echo",
    "@google/genai": "models/mock/mock-echo",
}


@pytest.mark.parametrize("name", LISTED)
async def test_a_client_lists_our_models(clients: Clients, name: str) -> None:
    sdk = SDKS[name]
    async with shim(LIVE) as edge:
        done = await clients(sdk.program).do("list", f"http://127.0.0.1:{edge.port}{sdk.path}")

    assert LISTED[name] in done.seen
    assert done.error is None


VECTORS: Final[dict[str, tuple[str, str, dict[str, Any]]]] = {
    "floats": ("openai", "/v1", {"input": ["a", "b"], "dimensions": 2, "encoding_format": "float"}),
    "base64": ("openai", "/v1", {"input": ["a", "b"], "dimensions": 2}),
    "gemini": ("genai", "", {"contents": ["a", "b"], "config": {"outputDimensionality": 2}}),
}
"""The client, where it asks, and what it asks for; OpenAI's asks for base64 where it is not told otherwise."""


@pytest.mark.parametrize("way", VECTORS)
async def test_a_client_gets_the_same_vectors_in_every_way(clients: Clients, way: str) -> None:
    program, path, request = VECTORS[way]
    async with shim(LIVE) as edge:
        url = f"http://127.0.0.1:{edge.port}{path}"
        done = await clients(program).do("embeddings", url, request={"model": "mock/mock-embed", **request})

    assert done.error is None
    rows = done.seen[0].get("data") or done.seen[0]["embeddings"]
    vectors = [row.get("embedding") or row["values"] for row in rows]
    assert [pytest.approx(vector) for vector in vectors] == [[0.8150083, -0.5794493], [-0.6830986, 0.7303262]]


BEGUN: Final = {
    "chat_completions": b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"role":"assistant","content":"Hello"},"finish_reason":null}]}\n\n',
    "messages": b'event: message_start\ndata: {"type":"message_start","message":{"id":"1","type":"message",'
    b'"role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,'
    b'"usage":{"input_tokens":1,"output_tokens":1}}}\n\n'
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
    b'"content_block":{"type":"text","text":""}}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":"Hello"}}\n\n',
    "responses": b'event: response.created\ndata: {"type":"response.created","sequence_number":0,'
    b'"response":{"id":"1","object":"response","created_at":1,"model":"m","output":[]}}\n\n'
    b'event: response.output_item.added\ndata: {"type":"response.output_item.added","sequence_number":1,'
    b'"output_index":0,"item":{"id":"2","type":"message","role":"assistant","content":[]}}\n\n'
    b'event: response.content_part.added\ndata: {"type":"response.content_part.added","sequence_number":2,'
    b'"item_id":"2","output_index":0,"content_index":0,"part":{"type":"output_text","text":"","annotations":[]}}\n\n'
    b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","sequence_number":3,'
    b'"item_id":"2","output_index":0,"content_index":0,"delta":"Hello","logprobs":[]}\n\n',
    "generate_content": b'data: {"candidates":[{"content":{"parts":[{"text":"Hello"}],"role":"model"},"index":0}]}\n\n',
}
"""How an answer of each API begins."""


@pytest.mark.parametrize("name", SDKS)
async def test_a_client_that_gives_up_in_the_middle_of_a_stream_ends_it_at_the_provider(
    clients: Clients, name: str
) -> None:
    sdk = SDKS[name]

    async def begin(connection: Connection) -> None:
        await connection.head()
        await connection.send(BEGUN[sdk.apis[0]])
        await connection.closed.wait()

    async with stand_in(begin) as provider:
        config = configuration(providers={PROVIDER: sdk.provider(base_url=provider.url, api_key="k")})
        async with shim(config) as edge:
            url = f"http://127.0.0.1:{edge.port}{sdk.path}"
            done = await clients(sdk.program).do(sdk.kind, url, stream=True, gives_up="Hello", **sdk.ask(MODEL, "hi"))
            await asyncio.wait_for(provider.connections[0].closed.wait(), WAIT_S)

    assert done.error is not None
    assert "abort" in done.error["message"].lower()
    assert len(provider.asked) == 1


@pytest.mark.parametrize("name", SDKS)
async def test_a_client_that_gives_up_before_the_answer_ends_the_call_at_the_provider(
    clients: Clients, name: str
) -> None:
    sdk, client = SDKS[name], clients(SDKS[name].program)

    async def keep_silent(connection: Connection) -> None:
        await connection.closed.wait()

    async with stand_in(keep_silent) as provider:
        config = configuration(providers={PROVIDER: sdk.provider(base_url=provider.url, api_key="k")})
        async with shim(config) as edge:
            url = f"http://127.0.0.1:{edge.port}{sdk.path}"
            job = asyncio.create_task(client.do(sdk.kind, url, stream=False, **sdk.ask(MODEL, "hi")))
            await asyncio.wait_for(provider.arrived.wait(), WAIT_S)
            client.abort()
            done = await job
            await asyncio.wait_for(provider.connections[0].closed.wait(), WAIT_S)

    assert done.seen == []
    assert done.error is not None
    assert "abort" in done.error["message"].lower()
