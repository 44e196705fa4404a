"""The mock provider behind the real driver and the real Chat Completions dialect."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest

from loom_grpc.core.account import AccountRef
from loom_grpc.core.call import Call
from loom_grpc.core.errors import (
    INVALID_REQUEST,
    MODEL_NOT_FOUND,
    PROVIDER_RATE_LIMITED,
    PROVIDER_TIMEOUT,
    PROVIDER_UNAVAILABLE,
    LlmError,
)
from loom_grpc.core.health import Health
from loom_grpc.core.pool import Account, Pool
from loom_grpc.core.retry import Retry, RetryPolicy
from loom_grpc.providers.mock import MODELS, Ending, MockTransport, models_table
from loom_grpc.providers.openai import OpenAI
from loom_grpc.providers.upstream import Limits, Upstream
from loom_grpc.v1.admin_service_pb2 import ACCOUNT_KIND_NONE
from loom_grpc.v1.llm_service_pb2 import LlmEvent, LlmRequest, LlmResponse, Model, StopReason
from loom_grpc.v1.message_pb2 import (
    ROLE_ASSISTANT,
    ROLE_TOOL,
    ROLE_USER,
    JsonObjectFormat,
    JsonSchemaFormat,
    Message,
    Part,
    ResponseFormat,
    ToolCall,
    ToolChoice,
    ToolDefinition,
)

DOCS = Path(__file__).parents[2] / "docs" / "mock.md"
WEATHER = ToolDefinition(
    name="get_weather",
    input_schema_json="""{
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer", "minimum": 3},
            "unit": {"enum": ["celsius", "fahrenheit"]},
            "note": {"type": "string"}
        },
        "required": ["city", "days", "unit"]
    }""",
)
NOW = ToolDefinition(name="now")
PATIENT = Limits(connect_s=5, first_token_s=5, idle_s=5)


class NoCredential:
    async def headers(self) -> Mapping[str, str]:
        return {}

    async def renewed(self, refused: Mapping[str, str]) -> Mapping[str, str] | None:
        return None


@dataclass
class Mock:
    """A client of one mock provider; the events of its last call and the waits between words are kept."""

    limits: Limits = PATIENT
    waits: list[float] = field(default_factory=list)
    events: list[LlmEvent] = field(default_factory=list)

    def __post_init__(self) -> None:
        transport = MockTransport(self._wait)
        self.upstream = Upstream(OpenAI(), "http://mock.invalid", NoCredential(), transport, self.limits, {}, {})
        pool = Pool("mock")
        ref, kind, health = AccountRef("mock", "default"), ACCOUNT_KIND_NONE, Health(time.time)
        pool.accounts = [Account(ref, kind, self.upstream, self.upstream, health, configured=True, implicit=True)]
        self.retry = Retry(
            pool,
            RetryPolicy(jitter=False),
            retryable=lambda error: error.row.retry,
            on_retry=lambda call, error, delay: None,
            sleep=self._wait,
        )

    async def _wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(0)

    async def ask(
        self, model: str, request: LlmRequest, *, stream: bool = True, within_s: float = math.inf
    ) -> LlmResponse:
        self.events = []
        deadline = asyncio.get_running_loop().time() + within_s
        call = Call(request, stream, "r", deadline=deadline, provider="mock", model=model)
        await self.retry(call, self._send)
        return self.events[-1].completed.response

    async def _send(self, event: LlmEvent) -> None:
        self.events.append(event)

    def texts(self) -> list[str]:
        return [event.text_delta.content for event in self.events if event.HasField("text_delta")]


def says(text: str) -> LlmRequest:
    return LlmRequest(messages=[Message(role=ROLE_USER, content=text)])


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("model", MODELS)
async def test_every_model_ends_as_its_row_says(model: str, stream: bool) -> None:
    mock = Mock(Limits(connect_s=5, first_token_s=0.05, idle_s=0.05))
    silent = MODELS[model].ending is Ending.SILENCE

    try:
        answer = await mock.ask(model, says("Hi."), stream=stream, within_s=0.1 if silent and not stream else 60)
        outcome = StopReason.Name(answer.stop_reason).removeprefix("STOP_REASON_")
    except LlmError as error:
        outcome = error.name

    assert outcome == MODELS[model].outcome


async def test_words_come_one_by_one_at_the_models_pace() -> None:
    mock = Mock()

    answer = await mock.ask("mock-words", says("Hi."))

    assert mock.texts() == [f"{word} " for word in answer.message.content.split()[:-1]] + ["looks."]
    assert set(mock.waits) == {0.02}
    assert answer.message.content == (await mock.ask("mock-words", says("Hi."), stream=False)).message.content


async def test_an_echo_says_the_last_words_of_the_user() -> None:
    request = says("One.")
    request.messages.add(role=ROLE_ASSISTANT, content="Two.")
    request.messages.add(role=ROLE_USER, parts=[Part(text="Three,  "), Part(text="vier, fünf.")])

    assert (await Mock().ask("mock-echo", request)).message.content == "Three,  vier, fünf."


async def test_thoughts_come_before_the_answer_and_are_counted() -> None:
    answer = await Mock().ask("mock-think", says("How are you?"))

    assert [part.WhichOneof("kind") for part in answer.message.parts] == ["thinking", "text"]
    thoughts, words = (len(text.split()) for text in (answer.message.parts[0].thinking, answer.message.content))
    usage = answer.usage
    assert (usage.input_tokens, usage.output_tokens, usage.reasoning_tokens) == (3, thoughts + words, thoughts)


async def test_the_long_answer_is_long_and_waits_for_nobody() -> None:
    mock = Mock()

    answer = await mock.ask("mock-long", says("Go on."))

    assert answer.usage.output_tokens == len(answer.message.content.split()) == 5000
    assert set(mock.waits) == {0.0}


async def test_a_limit_on_tokens_is_kept() -> None:
    request = says("Hi.")
    request.max_tokens = 3

    answer = await Mock().ask("mock-words", request)

    assert (answer.message.content.split(), answer.finish_reason) == (["Hello!", "I", "am"], "length")


async def test_tools_that_the_user_names_are_called_with_fitting_arguments() -> None:
    request = says("Call `get_weather` and then call the now tool, but do not call nonsense.")
    request.tools.extend([NOW, WEATHER])
    mock = Mock()

    answer = await mock.ask("mock-words", request)

    assert list(answer.tool_calls) == [
        ToolCall(id="call_1_1", tool_name="get_weather", arguments_json='{"city":"Paris","days":3,"unit":"celsius"}'),
        ToolCall(id="call_1_2", tool_name="now", arguments_json="{}"),
    ]
    assert answer.finish_reason == "tool_calls"
    assert len([event for event in mock.events if event.HasField("tool_call_delta")]) > len(answer.tool_calls)
    assert list((await mock.ask("mock-words", request, stream=False)).tool_calls) == list(answer.tool_calls)


@pytest.mark.parametrize(
    ("text", "choice", "called"),
    [
        ("Hi.", ToolChoice(mode=ToolChoice.MODE_AUTO), []),
        ("Hi.", ToolChoice(mode=ToolChoice.MODE_REQUIRED), ["now"]),
        ("Hi.", ToolChoice(mode=ToolChoice.MODE_TOOL, tool_name="get_weather"), ["get_weather"]),
        ("call get_weather", ToolChoice(mode=ToolChoice.MODE_REQUIRED), ["get_weather"]),
        ("call now", ToolChoice(mode=ToolChoice.MODE_NONE), []),
        ("call now, call get_weather", ToolChoice(mode=ToolChoice.MODE_AUTO, parallel=False), ["now"]),
    ],
)
async def test_the_tool_choice_decides(text: str, choice: ToolChoice, called: list[str]) -> None:
    request = says(text)
    request.tools.extend([NOW, WEATHER])
    request.tool_choice.CopyFrom(choice)

    answer = await Mock().ask("mock-echo", request)

    assert [call.tool_name for call in answer.tool_calls] == called


async def test_a_tools_result_is_put_into_words() -> None:
    mock = Mock()
    request = says("Please call now.")
    request.tools.append(NOW)
    request.messages.append((await mock.ask("mock-words", request)).message)
    request.messages.add(role=ROLE_TOOL, tool_call_id="call_1_1", content="It is noon.")

    answer = await mock.ask("mock-words", request)

    assert (answer.message.content, answer.finish_reason) == ("The tool answered: It is noon.", "stop")


async def test_json_is_answered_where_json_is_wanted() -> None:
    request = says("Hi.")
    request.response_format.CopyFrom(ResponseFormat(json_object=JsonObjectFormat()))
    assert orjson.loads((await Mock().ask("mock-echo", request)).message.content) == {"answer": "Hi."}

    schema = JsonSchemaFormat(schema_json=WEATHER.input_schema_json)
    request.response_format.CopyFrom(ResponseFormat(json_schema=schema))
    assert orjson.loads((await Mock().ask("mock-echo", request)).message.content) == {
        "city": "Paris",
        "days": 3,
        "unit": "celsius",
    }


async def test_a_rate_limit_says_how_long_to_wait_and_passes_on_the_second_try() -> None:
    mock = Mock()

    with pytest.raises(LlmError) as caught:
        await mock.ask("mock-429", says("Hi."))
    assert (caught.value.reason, caught.value.retry_after, mock.waits) == (
        PROVIDER_RATE_LIMITED,
        1.0,
        [0.0, 1.0] * 2 + [0.0],
    )

    mock.waits.clear()
    answer = await mock.ask("mock-429-once", says("Hi."))
    assert (answer.finish_reason, mock.events[0].started.attempt, mock.waits[:2]) == ("stop", 2, [0.0, 1.0])


@pytest.mark.parametrize(
    ("model", "reason"),
    [("mock-cut", PROVIDER_UNAVAILABLE), ("mock-stall", PROVIDER_TIMEOUT), ("mock-error", PROVIDER_UNAVAILABLE)],
)
async def test_a_failure_midway_is_not_retried_and_keeps_what_was_said(model: str, reason: int) -> None:
    mock = Mock(Limits(connect_s=5, first_token_s=5, idle_s=0.05))

    with pytest.raises(LlmError) as caught:
        await mock.ask(model, says("Hi."))

    assert caught.value.reason == reason
    assert mock.texts() == ["Hello! ", "I ", "am ", "the "]
    assert mock.events[0].started.attempt == 1


async def test_a_silence_ends_when_the_answer_is_closed() -> None:
    body = orjson.dumps({"model": "mock-silent", "messages": [{"role": "user", "content": "Hi."}], "stream": True})
    response = await MockTransport().open("POST", "http://mock.invalid/chat/completions", {}, body, 5)
    reading = asyncio.create_task(response.read())
    await asyncio.sleep(0)
    assert not reading.done()

    response.close(finished=False)

    assert await reading == b""


async def test_an_unknown_model_is_not_found_and_the_answer_names_the_known_ones() -> None:
    with pytest.raises(LlmError) as caught:
        await Mock().ask("mock-word", says("Hi."))

    assert caught.value.reason == MODEL_NOT_FOUND
    assert "mock-words, mock-echo" in caught.value.message


@pytest.mark.parametrize(
    "options",
    [
        {"model": {}},
        {"messages": []},
        {"messages": [5]},
        {"messages": [{"role": "user", "content": 5}]},
        {"tools": [{"type": "web_search"}]},
        {"max_tokens": "many"},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"$ref": "#/nowhere"}}}},
    ],
)
async def test_a_request_that_options_have_spoilt_is_refused(options: dict[str, object]) -> None:
    request = says("Hi.")
    request.provider_options_json = orjson.dumps(options).decode()

    with pytest.raises(LlmError) as caught:
        await Mock().ask("mock-words", request)
    assert caught.value.reason == INVALID_REQUEST


async def test_all_models_are_listed() -> None:
    models = await Mock().upstream.models(Call(LlmRequest(), False, "r"))

    assert models == [Model(id=name, display_name=row.summary) for name, row in MODELS.items()]


def test_the_page_about_the_mock_provider_has_the_table_of_models() -> None:
    assert models_table() in DOCS.read_text(encoding="utf-8")
