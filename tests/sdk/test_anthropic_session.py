"""A coding agent's session in Anthropic's API, with providers of three dialects that take turns behind us."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anthropic
import pytest

from tests.shim.serving import configuration, shim
from tests.stand_in import Script, StandIn, json_answer, stand_in, stream_answer

MODEL = "claude-sonnet-4-5-20250929"
PNG = "iVBORw0KGgo="
EPHEMERAL = {"type": "ephemeral"}
SYSTEM: list[dict[str, Any]] = [
    {"type": "text", "text": "You are an agent."},
    {"type": "text", "text": "Be careful.", "cache_control": EPHEMERAL},
]
TOOLS: list[dict[str, Any]] = [
    {"name": "read", "description": "Reads a file.", "input_schema": {"type": "object", "properties": {"path": {}}}},
    {"name": "list", "input_schema": {"type": "object"}, "cache_control": EPHEMERAL},
]
DETAILS = [{"type": "reasoning.encrypted", "data": "b3BhcXVl", "id": "rs_1", "index": 0}]
ARGUMENTS = '{"path": "a<b>&\\"c\\"/é/001"}'


def chat(*deltas: dict[str, Any], finish: str) -> Script:
    """Scripts a stream of Chat Completions."""
    head: dict[str, Any] = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "gpt"}
    chunks = [{**head, "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    chunks.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    chunks.append({**head, "choices": [], "usage": {"prompt_tokens": 50, "completion_tokens": 7, "total_tokens": 57}})
    return stream_answer(*(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks), "data: [DONE]\n\n")


def generated(*parts: dict[str, Any]) -> Script:
    """Scripts a stream of Gemini's."""
    chunks: list[dict[str, Any]] = [{"candidates": [{"content": {"role": "model", "parts": [part]}}]} for part in parts]
    chunks[-1]["candidates"][0]["finishReason"] = "STOP"
    chunks[-1]["usageMetadata"] = {"promptTokenCount": 60, "candidatesTokenCount": 5, "thoughtsTokenCount": 3}
    return stream_answer(*(f"data: {json.dumps(chunk)}\r\n\r\n" for chunk in chunks))


def messages(*blocks: tuple[dict[str, Any], list[dict[str, Any]]]) -> Script:
    """Scripts a stream of Anthropic's."""
    usage = {"input_tokens": 70, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "content": [], "usage": usage}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": message}]
    for index, (block, deltas) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    events += [{"type": "message_delta", "delta": delta, "usage": {"output_tokens": 9}}, {"type": "message_stop"}]
    return stream_answer(*(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events))


def call(index: int, name: str, arguments: str) -> dict[str, Any]:
    """Makes the delta of a whole call."""
    function = {"name": name, "arguments": arguments}
    return {
        "tool_calls": [{"index": index, "id": f"functions.{name}:{index}", "type": "function", "function": function}]
    }


@dataclass
class Session:
    """A conversation, and the providers that it is had with."""

    sdk: anthropic.AsyncAnthropic
    gpt: StandIn
    gemini: StandIn
    claude: StandIn
    history: list[Any] = field(default_factory=list)

    async def turn(self, provider: str, script: Script, *said: dict[str, Any]) -> anthropic.types.Message:
        """Says something, lets a provider answer as scripted, and keeps the answer in the history."""
        stand: StandIn = getattr(self, provider)
        stand.play(script)
        self.history.append({"role": "user", "content": [*said[:-1], {**said[-1], "cache_control": EPHEMERAL}]})
        async with self.sdk.messages.stream(
            model=f"{provider}/{MODEL}",
            max_tokens=4096,
            system=SYSTEM,  # type: ignore[arg-type] # plain objects, as agents write them
            tools=TOOLS,  # type: ignore[arg-type] # the same
            messages=self.history,
            metadata={"user_id": "user_1_session_2"},
            extra_headers={"anthropic-beta": "interleaved-thinking-2025-05-14"},
        ) as stream:
            message: anthropic.types.Message = await stream.get_final_message()
        self.history.append({"role": "assistant", "content": message.content})
        return message


@asynccontextmanager
async def session() -> AsyncIterator[Session]:
    """Opens a session with a server of ours that has three providers."""
    async with AsyncExitStack() as stack:
        stands = {name: await stack.enter_async_context(stand_in(chat(finish="stop"))) for name in DIALECTS}
        providers = {
            name: {"dialect": DIALECTS[name], "base_url": stand.url, "api_key": "sk-1", "retry": {"max_attempts": 1}}
            for name, stand in stands.items()
        }
        edge = await stack.enter_async_context(shim(configuration(providers=providers)))
        url = f"http://127.0.0.1:{edge.port}/anthropic"
        sdk = anthropic.AsyncAnthropic(api_key="sk-caller", base_url=url, max_retries=0)
        await stack.enter_async_context(sdk)
        yield Session(sdk, stands["gpt"], stands["gemini"], stands["claude"])


DIALECTS = {"gpt": "openai", "gemini": "gemini", "claude": "anthropic"}


def result(block: Any, content: Any, **more: Any) -> dict[str, Any]:
    """Makes the result of a call."""
    return {"type": "tool_result", "tool_use_id": block.id, "content": content, **more}


def calls_of(message: anthropic.types.Message) -> list[Any]:
    """Returns the calls of an answer."""
    return [block for block in message.content if block.type == "tool_use"]


def last(stand: StandIn) -> Any:
    """Returns the body of the last request."""
    return stand.asked[-1].json


async def test_a_session_goes_on_from_one_dialect_to_the_next_and_each_gets_its_own_state_back() -> None:
    async with session() as agent:
        first = await agent.turn(
            "gpt",
            chat(
                {"role": "assistant", "reasoning": "I look.", "reasoning_details": DETAILS},
                {"content": "Let me see."},
                call(0, "read", ARGUMENTS),
                call(1, "list", "{}"),
                finish="tool_calls",
            ),
            {"type": "text", "text": "What is in here?"},
        )
        read, listed = calls_of(first)
        assert [(read.name, read.input), (listed.name, listed.input)] == [
            ("read", json.loads(ARGUMENTS)),
            ("list", {}),
        ]
        assert first.stop_reason == "tool_use"
        assert (first.usage.input_tokens, first.usage.output_tokens) == (50, 7)
        assert last(agent.gpt)["messages"] == [
            {"role": "system", "content": "You are an agent.\n\nBe careful."},
            {"role": "user", "content": "What is in here?"},
        ]

        image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
        second = await agent.turn(
            "gemini",
            generated(
                {"text": "Two files.", "thought": True},
                {"functionCall": {"name": "read", "args": {"path": "b"}}, "thoughtSignature": "c2lnLTE="},
            ),
            result(read, [{"type": "text", "text": "words"}, image]),
            result(listed, "no such directory", is_error=True),
        )
        (again,) = calls_of(second)
        contents = last(agent.gemini)["contents"]
        assert [part["functionCall"] for part in contents[1]["parts"] if "functionCall" in part] == [
            {"name": "read", "args": json.loads(ARGUMENTS), "id": read.id},
            {"name": "list", "args": {}, "id": listed.id},
        ]
        assert [
            part["functionResponse"]["response"] for part in contents[2]["parts"] if "functionResponse" in part
        ] == [
            {"result": "words"},
            {"error": "no such directory"},
        ]
        assert second.stop_reason == "tool_use"
        assert second.usage.output_tokens == 8

        third = await agent.turn(
            "claude",
            messages(
                (
                    {"type": "thinking", "thinking": "", "signature": ""},
                    [
                        {"type": "thinking_delta", "thinking": "Done."},
                        {"type": "signature_delta", "signature": "RXJVQktB"},
                    ],
                ),
                ({"type": "text", "text": ""}, [{"type": "text_delta", "text": "All read."}]),
            ),
            result(again, "more words"),
            {"type": "text", "text": "Go on."},
        )
        asked = agent.claude.asked[-1]
        assert asked.headers["anthropic-beta"] == "interleaved-thinking-2025-05-14"
        assert "loom." not in asked.body.decode()
        assert asked.json["messages"][1]["content"] == [
            {"type": "text", "text": "Let me see."},
            {"type": "tool_use", "id": "functions_read_0", "name": "read", "input": json.loads(ARGUMENTS)},
            {"type": "tool_use", "id": "functions_list_1", "name": "list", "input": {}},
        ]
        assert [block["tool_use_id"] for block in asked.json["messages"][2]["content"]] == [
            "functions_read_0",
            "functions_list_1",
        ]
        assert asked.json["system"] == SYSTEM
        assert asked.json["model"] == MODEL
        assert [block.type for block in third.content] == ["thinking", "text"]

        await agent.turn("gpt", chat({"content": "Yes."}, finish="stop"), {"type": "text", "text": "Sure?"})
        turns = [message for message in last(agent.gpt)["messages"] if message["role"] == "assistant"]
        assert turns[0]["reasoning_details"] == DETAILS
        assert [call["id"] for call in turns[0]["tool_calls"]] == ["functions.read:0", "functions.list:1"]
        assert "reasoning_details" not in turns[1]
        assert "loom." not in agent.gpt.asked[-1].body.decode()

        await agent.turn("gemini", generated({"text": "Quite."}), {"type": "text", "text": "Really?"})
        parts = [part for turn in last(agent.gemini)["contents"] for part in turn["parts"]]
        assert [part["thoughtSignature"] for part in parts if "thoughtSignature" in part] == ["c2lnLTE="]
        assert next(part for part in parts if "thoughtSignature" in part)["functionCall"]["args"] == {"path": "b"}
        assert "loom." not in agent.gemini.asked[-1].body.decode()

        await agent.turn("claude", messages(), {"type": "text", "text": "Bye."})
        body = last(agent.claude)
        assert [block for block in body["messages"][5]["content"] if block["type"] == "thinking"] == [
            {"type": "thinking", "thinking": "Done.", "signature": "RXJVQktB"}
        ]
        assert "loom." not in agent.claude.asked[-1].body.decode()


async def test_the_provider_counts_what_it_understands_alone() -> None:
    async with session() as agent:
        agent.claude.play(json_answer({"input_tokens": 321}))
        search = {"type": "web_search_20250305", "name": "web_search"}

        counted = await agent.sdk.messages.count_tokens(
            model=f"claude/{MODEL}",
            messages=[{"role": "user", "content": "hi"}],
            tools=[search],  # type: ignore[list-item] # plain objects, as agents write them
            extra_headers={"anthropic-beta": "token-counting-2024-11-01"},
        )

        asked = agent.claude.asked[-1]
        assert counted.input_tokens == 321
        assert asked.path == "/v1/messages/count_tokens"
        assert asked.headers["anthropic-beta"] == "token-counting-2024-11-01"
        assert asked.json == {
            "model": MODEL,
            "messages": [{"role": "user", "content": "hi"}],
            "tools": [search],
        }


async def test_a_tool_of_anthropics_own_is_refused_by_name_at_another_provider() -> None:
    async with session() as agent:
        with pytest.raises(anthropic.BadRequestError, match=r"tools\[0\]: gpt has no such field") as caught:
            await agent.sdk.messages.create(
                model=f"gpt/{MODEL}",
                max_tokens=10,
                messages=[{"role": "user", "content": "hi"}],
                tools=[{"type": "web_search_20250305", "name": "web_search"}],
            )

        assert caught.value.type == "invalid_request_error"
        assert caught.value.request_id
        assert agent.gpt.asked == []


async def test_tokens_are_estimated_where_the_provider_cannot_count() -> None:
    async with session() as agent:
        counted = await agent.sdk.messages.count_tokens(
            model=f"gpt/{MODEL}",
            system=SYSTEM,  # type: ignore[arg-type] # plain objects, as agents write them
            messages=[{"role": "user", "content": "x" * 400}],
        )

        assert 100 <= counted.input_tokens <= 150


async def test_a_model_that_calls_tools_is_answered_until_it_has_said_all() -> None:
    history: list[Any] = [{"role": "user", "content": "Please call read and call list."}]
    answers: list[anthropic.types.Message] = []
    async with shim(configuration()) as edge:
        url = f"http://127.0.0.1:{edge.port}"
        async with anthropic.AsyncAnthropic(api_key="sk-caller", base_url=url, max_retries=0) as sdk:
            while not answers or calls_of(answers[-1]):
                async with sdk.messages.stream(
                    model="mock/mock-think",
                    max_tokens=100,
                    messages=history,
                    tools=TOOLS,  # type: ignore[arg-type] # plain objects, as agents write them
                ) as stream:
                    answers.append(await stream.get_final_message())
                results = [result(call, f"{call.name} is done") for call in calls_of(answers[-1])]
                history += [{"role": "assistant", "content": answers[-1].content}, {"role": "user", "content": results}]

    assert [[block.type for block in answer.content] for answer in answers] == [
        ["thinking", "tool_use", "tool_use"],
        ["thinking", "text"],
    ]
    assert [answer.stop_reason for answer in answers] == ["tool_use", "end_turn"]
    assert answers[1].content[1].text == "The tool answered: list is done"  # type: ignore[union-attr] # it is text
