"""What a record holds of a prompt and an answer."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from loom_grpc.core.call import Call
from loom_grpc.core.raw import Raw
from loom_grpc.processors.content import MOST_BYTES, MOST_CHARACTERS, Contents
from loom_grpc.v1.llm_service_pb2 import EmbedInput, EmbedRequest, LlmRequest, LlmResponse, TokenList
from loom_grpc.v1.message_pb2 import (
    ROLE_ASSISTANT,
    ROLE_SYSTEM,
    ROLE_TOOL,
    ROLE_USER,
    Media,
    Message,
    Part,
    ToolCall,
    ToolDefinition,
)
from loom_grpc.v1.usage_pb2 import Usage


def as_it_is(text: bytes) -> bytes:
    return text


def call(*messages: Message, answer: LlmResponse | None = None, **fields: Any) -> Call:
    return Call(LlmRequest(messages=messages, **fields), stream=False, request_id="r", answer=answer)


def prompt(*messages: Message, **fields: Any) -> Any:
    return json.loads(Contents(as_it_is)(call(*messages, **fields))[0])


def test_prompt_and_answer_are_kept_without_what_the_record_has_anyway() -> None:
    answer = LlmResponse(
        message=Message(role=ROLE_ASSISTANT, content="Yes, write to bob@example.org."),
        usage=Usage(input_tokens=1),
        provider="openai",
        model="gpt",
        id="1",
    )
    one = call(
        Message(role=ROLE_SYSTEM, content="Be brief."),
        Message(role=ROLE_USER, content="May I? password: hunter22"),
        provider="openai",
        model="gpt",
        session_id="s",
        labels={"a": "b"},
        temperature=0.5,
    )
    one.answer = answer

    told = [json.loads(text) for text in Contents(as_it_is)(one)]

    assert told == [
        {
            "messages": [
                {"role": "ROLE_SYSTEM", "content": "Be brief."},
                {"role": "ROLE_USER", "content": "May I? password: [KEY]"},
            ],
            "temperature": 0.5,
        },
        {"message": {"role": "ROLE_ASSISTANT", "content": "Yes, write to [E-MAIL]."}, "id": "1"},
    ]


def test_files_are_kept_by_type_size_and_digest() -> None:
    data = bytes(1000)
    image = Part(image=Media(data=data, media_type="image/png"))
    linked = Part(document=Media(url="https://u:secret@h/a.pdf?sig=abc", media_type="application/pdf"))

    (message,) = prompt(Message(role=ROLE_USER, parts=[image, linked, Part(redacted_thinking="sealed")]))["messages"]

    assert message["parts"] == [
        {
            "image": {
                "data": {"bytes": 1000, "sha256": hashlib.sha256(data).hexdigest()},
                "media_type": "image/png",
            }
        },
        {"document": {"url": "https://u:[KEY]@h/a.pdf?sig=[KEY]", "media_type": "application/pdf"}},
        {"redacted_thinking": {"bytes": 6, "sha256": hashlib.sha256(b"sealed").hexdigest()}},
    ]


def test_tools_and_what_they_are_given_are_redacted_and_state_of_providers_is_left_out() -> None:
    asked = Message(
        role=ROLE_ASSISTANT,
        tool_calls=[
            ToolCall(id="1", tool_name="f", arguments_json='{"token":"x","api_key":"abcdef"}', provider_state=b"x")
        ],
    )
    told = Message(role=ROLE_TOOL, tool_call_id="1", content="Bearer abcdefghijklmnop")

    value = prompt(asked, told, tools=[ToolDefinition(name="f", input_schema_json="{}")])

    assert value == {
        "messages": [
            {
                "role": "ROLE_ASSISTANT",
                "tool_calls": [{"id": "1", "tool_name": "f", "arguments_json": '{"token":"x","api_key":"[KEY]"}'}],
            },
            {"role": "ROLE_TOOL", "content": "Bearer [KEY]", "tool_call_id": "1"},
        ],
        "tools": [{"name": "f", "input_schema_json": "{}"}],
    }


def test_a_long_text_is_cut_at_a_word_and_tells_how_much_is_missing() -> None:
    text = "x" * (MOST_CHARACTERS - 10) + f" sk-ant-{'a1' * 100}"

    (message,) = prompt(Message(role=ROLE_USER, content=text))["messages"]

    assert message["content"] == f"{'x' * (MOST_CHARACTERS - 10)} [208 characters left out]"


def test_the_newest_messages_are_kept_when_not_all_fit() -> None:
    messages = [Message(role=ROLE_USER, content=f"{number} {'word ' * 3000}") for number in range(20)]

    value = prompt(*messages, tools=[ToolDefinition(name="f")])

    left_out, cut, *whole = value["messages"]
    assert left_out == "[15 more left out]"
    assert cut["content"][:7] == "15 word"
    assert cut["content"].endswith(" characters left out]")
    assert [message["content"][:3].strip() for message in whole] == ["16", "17", "18", "19"]
    assert "tools" not in value


@pytest.mark.parametrize("content", ["\0" * 100_000, "漢字" * 50_000, '" \\ ' * 30_000, "a b " * 50_000])
def test_no_prompt_takes_more_than_there_is_room_for(content: str) -> None:
    one = call(*(Message(role=ROLE_USER, content=content) for _ in range(50)), *([Message(role=ROLE_USER)] * 10_000))

    text, _ = Contents(as_it_is)(one)

    json.loads(text)
    assert len(text.encode()) < MOST_BYTES + 1024


def test_secrets_that_the_server_was_given_are_hidden_whatever_they_look_like() -> None:
    contents = Contents(lambda text: text.replace(b"correct horse", b"[REDACTED]"))

    text, _ = contents(call(Message(role=ROLE_USER, content="Say correct horse.")))

    assert json.loads(text)["messages"][0]["content"] == "Say [REDACTED]."


def test_of_vectors_the_inputs_are_kept() -> None:
    one = Call(LlmRequest(), stream=False, request_id="r")
    one.begin_embed(
        EmbedRequest(model="m", inputs=[EmbedInput(text="a@b.org"), EmbedInput(tokens=TokenList(ids=[1, 2]))])
    )
    one.answer = LlmResponse(model="m", usage=Usage(input_tokens=3))

    text, answer = Contents(as_it_is)(one)

    assert (json.loads(text), answer) == ({"inputs": [{"text": "[E-MAIL]"}, {"tokens": {"ids": [1, 2]}}]}, "")


class Nowhere:
    async def begin(self, status: int, headers: object) -> None:
        pass

    async def write(self, chunk: bytes) -> None:
        pass


def test_of_a_call_that_is_passed_on_as_it_is_nothing_is_kept() -> None:
    one = Call(LlmRequest(provider="openai"), stream=True, request_id="r")
    one.raw = Raw("POST", "/x", {}, b'{"secret": 1}', Nowhere())

    assert Contents(as_it_is)(one) == ("", "")


def test_of_a_call_without_an_answer_the_prompt_is_kept() -> None:
    assert Contents(as_it_is)(call(Message(role=ROLE_USER, content="hi")))[1] == ""
