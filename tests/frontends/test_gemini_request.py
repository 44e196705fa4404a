"""Requests of the Gemini API and the messages that become of them."""

from __future__ import annotations

import base64
import json
from time import perf_counter
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_grpc.core.exact import dumps
from loom_grpc.frontends.body import HttpError
from loom_grpc.frontends.gemini_request import read_content, read_count
from loom_grpc.frontends.gemini_state import late_signature, wrap
from loom_grpc.providers.gemini_request import write_body
from loom_grpc.v1.llm_service_pb2 import LlmRequest
from loom_grpc.v1.message_pb2 import (
    ROLE_ASSISTANT,
    ROLE_SYSTEM,
    ROLE_TOOL,
    ROLE_USER,
    JsonSchemaFormat,
    Media,
    Message,
    Opaque,
    Part,
    Reasoning,
    ResponseFormat,
    ToolCall,
    ToolChoice,
    ToolDefinition,
)

HI = {"role": "user", "parts": [{"text": "hi"}]}
GREETING = Message(role=ROLE_USER, content="hi")


def read(**fields: Any) -> LlmRequest:
    return read_content(orjson.dumps({"contents": [HI], **fields}), "m", {})[0]


def messages(*contents: Any) -> list[Message]:
    return list(read(contents=list(contents)).messages)


def untold(**fields: Any) -> tuple[str, ...]:
    return read_content(orjson.dumps({"contents": [HI], **fields}), "m", {})[1].untold


def refused(**fields: Any) -> tuple[int, str]:
    with pytest.raises(HttpError) as refusal:
        read(**fields)
    return refusal.value.status, refusal.value.field


def model(*parts: Any) -> dict[str, Any]:
    return {"role": "model", "parts": list(parts)}


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "parts": list(parts)}


def call(name: str, **more: Any) -> dict[str, Any]:
    return {"functionCall": {"name": name, **more}}


def result(name: str, response: Any, **more: Any) -> dict[str, Any]:
    return {"functionResponse": {"name": name, "response": response, **more}}


def test_a_whole_request_in_both_spellings() -> None:
    tools = [
        {
            "functionDeclarations": [
                {"name": "look", "description": "Looks.", "parametersJsonSchema": {"type": "object"}},
                {"name": "rest"},
            ]
        }
    ]
    camel = {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "tools": tools,
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["look"]}},
        "generationConfig": {
            "maxOutputTokens": 7,
            "temperature": 0.5,
            "topP": 1,
            "topK": 3.0,
            "seed": "-4",
            "stopSequences": ["."],
            "responseMimeType": "application/json",
            "thinkingConfig": {"thinkingLevel": "HIGH", "includeThoughts": True},
        },
        "labels": {"team": "a"},
    }
    snake = orjson.loads(
        json.dumps(camel)
        .replace("systemInstruction", "system_instruction")
        .replace("functionDeclarations", "function_declarations")
        .replace("parametersJsonSchema", "parameters_json_schema")
        .replace("toolConfig", "tool_config")
        .replace("functionCallingConfig", "function_calling_config")
        .replace("allowedFunctionNames", "allowed_function_names")
        .replace("generationConfig", "generation_config")
        .replace("maxOutputTokens", "max_output_tokens")
        .replace("topP", "top_p")
        .replace("topK", "top_k")
        .replace("stopSequences", "stop_sequences")
        .replace("responseMimeType", "response_mime_type")
        .replace("thinkingConfig", "thinking_config")
        .replace("thinkingLevel", "thinking_level")
    )

    expected = LlmRequest(
        model="m",
        messages=[Message(role=ROLE_SYSTEM, content="Be brief."), GREETING],
        tools=[
            ToolDefinition(name="look", description="Looks.", input_schema_json='{"type":"object"}'),
            ToolDefinition(name="rest"),
        ],
        tool_choice=ToolChoice(mode=ToolChoice.MODE_TOOL, tool_name="look"),
        max_tokens=7,
        temperature=0.5,
        top_p=1,
        top_k=3,
        seed=-4,
        stop=["."],
        reasoning=Reasoning(effort="high"),
        labels={"team": "a"},
    )
    expected.response_format.json_object.SetInParent()
    assert read(**camel) == expected
    assert read(**snake) == expected
    assert untold(**camel) == ()


def test_one_entry_may_stand_for_a_list() -> None:
    assert messages() == []
    assert list(read(contents={"parts": {"text": "hi"}}).messages) == [GREETING]


def test_a_user_turn_of_every_kind_of_part() -> None:
    data = base64.urlsafe_b64encode(b"\xfb\xff").decode().rstrip("=")
    parts = [
        {"text": "a"},
        {"text": "b"},
        {"inlineData": {"mimeType": "image/png", "data": data, "displayName": "p"}},
        {"fileData": {"mimeType": "audio/wav", "fileUri": "https://x.test/a"}},
        {"fileData": {"fileUri": "https://x.test/b"}, "mediaResolution": {"level": "LOW"}},
        {"executableCode": {"language": "PYTHON", "code": "1"}},
    ]

    assert messages(user(*parts)) == [
        Message(
            role=ROLE_USER,
            parts=[
                Part(text="a"),
                Part(text="b"),
                Part(image=Media(data=b"\xfb\xff", media_type="image/png", name="p")),
                Part(audio=Media(url="https://x.test/a", media_type="audio/wav")),
                Part(document=Media(url="https://x.test/b")),
                Part(
                    opaque=Opaque(
                        type="executableCode", block_json='{"executableCode":{"language":"PYTHON","code":"1"}}'
                    ),
                    origin="gemini",
                ),
            ],
        )
    ]


def test_calls_without_ids_are_answered_by_name_and_order() -> None:
    turns = [
        HI,
        model(call("a", args={"n": 1}), call("b"), call("a", args={"n": 2})),
        user(result("a", {"result": "one"}), result("a", {"x": "two"}), result("b", {"error": "none"}), {"text": "go"}),
    ]

    ids = [f"call_{number:024x}" for number in range(3)]
    assert messages(*turns) == [
        GREETING,
        Message(
            role=ROLE_ASSISTANT,
            tool_calls=[
                ToolCall(id=ids[0], tool_name="a", arguments_json='{"n":1}'),
                ToolCall(id=ids[1], tool_name="b", arguments_json="{}"),
                ToolCall(id=ids[2], tool_name="a", arguments_json='{"n":2}'),
            ],
        ),
        Message(role=ROLE_TOOL, tool_call_id=ids[0], name="a", content="one"),
        Message(role=ROLE_TOOL, tool_call_id=ids[2], name="a", content='{"x":"two"}'),
        Message(role=ROLE_TOOL, tool_call_id=ids[1], name="b", content="none", is_error=True),
        Message(role=ROLE_USER, content="go"),
    ]


def test_a_result_names_its_call_by_id_and_may_have_files() -> None:
    file = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    turns = [model(call("a", id="x"), call("a", id="y")), user(result("a", {"result": "1"}, id="y", parts=[file]))]

    assert messages(*turns)[1] == Message(
        role=ROLE_TOOL,
        tool_call_id="y",
        name="a",
        parts=[Part(text="1"), Part(image=Media(data=b"\0\0\0", media_type="image/png"))],
    )


def test_a_call_between_texts_keeps_its_place() -> None:
    turn = model({"text": "a"}, call("f", id="1"), {"text": "b"}, {"text": "c"})

    assert messages(turn) == [
        Message(
            role=ROLE_ASSISTANT,
            parts=[Part(text="a"), Part(text="bc")],
            tool_calls=[ToolCall(id="1", tool_name="f", arguments_json="{}", part_index=1)],
        )
    ]


def test_the_chunks_of_a_stream_are_one_turn_again() -> None:
    state = Part(provider_state=b"\x00sig", origin="anthropic")
    chunks = [
        model({"text": "I ", "thought": True}),
        model({"text": "think.", "thought": True}),
        model({"text": "", "thought": True, "thoughtSignature": wrap(state)}),
        model({"text": "Hel"}),
        model({"text": "lo"}),
    ]

    assert messages(*chunks) == [
        Message(
            role=ROLE_ASSISTANT,
            parts=[Part(thinking="I think.", provider_state=b"\x00sig", origin="anthropic"), Part(text="Hello")],
        )
    ]


def test_geminis_own_signatures_stay_with_their_parts() -> None:
    turn = model(
        {"text": "a", "thought": True, "thoughtSignature": "c2ln"},
        {"text": "", "thoughtSignature": "AQID"},
        call("f", id="1") | {"thoughtSignature": "BAUG"},
    )

    assert messages(turn) == [
        Message(
            role=ROLE_ASSISTANT,
            parts=[
                Part(thinking="a", provider_state=b"c2ln", origin="gemini"),
                Part(text="", provider_state=b"AQID", origin="gemini"),
            ],
            tool_calls=[ToolCall(id="1", tool_name="f", arguments_json="{}", provider_state=b"BAUG", origin="gemini")],
        )
    ]


def test_gemini_is_not_sent_what_another_dialect_signed() -> None:
    foreign = wrap(Part(provider_state=b"s", origin="anthropic"))
    redacted = wrap(Part(redacted_thinking="x", provider_state=b"r", origin="anthropic"))
    body = {
        "contents": [
            HI,
            model({"text": "", "thought": True, "thoughtSignature": redacted}),
            model(
                {"text": "t", "thought": True, "thoughtSignature": foreign},
                call("f", id="1") | {"thoughtSignature": foreign},
            ),
        ]
    }

    request, native = read_content(orjson.dumps(body), "m", {"x-server-timeout": "9", "x-goog-api-key": "k"})

    assert native.headers == {"x-server-timeout": "9"}
    assert native.body == {
        "contents": [
            HI,
            model(
                {"text": "t", "thought": True},
                call("f", id="1") | {"thoughtSignature": "skip_thought_signature_validator"},
            ),
        ]
    }
    assert request.messages[1].parts[0] == Part(redacted_thinking="x", provider_state=b"r", origin="anthropic")


def test_a_schema_of_googles_kind_becomes_a_json_schema() -> None:
    schema = {
        "type": "OBJECT",
        "propertyOrdering": ["b", "a"],
        "properties": {
            "a": {"type": "STRING", "format": "enum", "enum": ["x"], "nullable": True},
            "b": {"type": "ARRAY", "items": {"type": "INTEGER", "format": "int32"}, "minItems": "1", "max_items": 2},
            "some_name": {"anyOf": [{"type": "STRING"}, {"type": "NUMBER", "example": 1.5}]},
            "n": {"type": "INTEGER", "format": "enum", "enum": ["1", "2"]},
        },
        "required": ["a"],
        "title": "T",
    }

    request = read(
        tools=[{"functionDeclarations": [{"name": "f", "parameters": schema}]}],
        generationConfig={"responseSchema": schema},
    )

    expected = {
        "type": "object",
        "properties": {
            "b": {"type": "array", "items": {"type": "integer", "format": "int32"}, "minItems": 1, "maxItems": 2},
            "a": {"type": ["string", "null"], "enum": ["x", None]},
            "some_name": {"anyOf": [{"type": "string"}, {"type": "number", "examples": [1.5]}]},
            "n": {"type": "integer", "enum": [1, 2]},
        },
        "required": ["a"],
        "title": "T",
    }
    assert request.tools[0].input_schema_json == orjson.dumps(expected).decode()
    assert request.response_format == ResponseFormat(
        json_schema=JsonSchemaFormat(schema_json=orjson.dumps(expected).decode())
    )


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"cachedContent": "cachedContents/1"}, ("cachedContent",)),
        ({"tools": [{"googleSearch": {"x": 1}}, {"code_execution": {"y": 1}}]}, ("tools[0].googleSearch", "tools[1].codeExecution")),
        ({"generationConfig": {"candidateCount": 2}}, ("generationConfig.candidateCount",)),
        ({"generationConfig": {"responseModalities": ["AUDIO"]}}, ("generationConfig.responseModalities",)),
        ({"generationConfig": {"presencePenalty": 0.5}}, ("generationConfig.presencePenalty",)),
        ({"generationConfig": {"responseMimeType": "text/x.enum"}}, ("generationConfig.responseMimeType",)),
        ({"generationConfig": {"candidateCount": 1, "responseModalities": ["TEXT"], "responseLogprobs": False}}, ()),
        ({"safetySettings": [{"category": "X", "threshold": "OFF"}], "store": True}, ()),
        ({"contents": [user({"fileData": {"fileUri": "gs://b/o"}})]}, ("contents[0].parts[0].fileData.fileUri",)),
        ({"contents": [user({"text": "a", "videoMetadata": {"fps": 1}})]}, ("contents[0].parts[0].videoMetadata",)),
    ],
)  # fmt: skip
def test_what_has_no_place_is_named(fields: dict[str, Any], names: tuple[str, ...]) -> None:
    assert untold(**fields) == names


def test_empty_tools_of_googles_own_are_named_too() -> None:
    assert untold(tools=[{"googleSearch": {}}]) == ("tools[0].googleSearch",)


def test_some_of_the_functions_cannot_be_allowed_elsewhere() -> None:
    declared = [{"functionDeclarations": [{"name": name} for name in "abc"]}]
    calling = {"mode": "ANY", "allowedFunctionNames": ["a", "b"]}

    names = untold(tools=declared, toolConfig={"functionCallingConfig": calling})

    assert names == ("toolConfig.functionCallingConfig.allowedFunctionNames",)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"contents": None}, "contents"),
        ({"contents": "hi"}, "contents"),
        ({"contents": ["hi"]}, "contents[0]"),
        ({"contents": [{"role": "assistant", "parts": []}]}, "contents[0].role"),
        ({"contents": [user({"text": 1})]}, "contents[0].parts[0].text"),
        ({"contents": [user({})]}, "contents[0].parts[0].data"),
        ({"contents": [user({"inlineData": {"mimeType": "a/b", "data": "!"}})]}, "contents[0].parts[0].inlineData.data"),
        ({"contents": [user({"inline_data": {"data": "AAAA"}})]}, "contents[0].parts[0].inlineData.mimeType"),
        ({"contents": [user(call("f"))]}, "contents[0].parts[0].functionCall"),
        ({"contents": [user(result("f", {}))]}, "contents[0].parts[0].functionResponse"),
        ({"contents": [model(call("f", id="1")), user(result("f", {}, id="2"))]}, "contents[1].parts[0].functionResponse"),
        ({"contents": [model({"functionCall": {"args": {}}})]}, "contents[0].parts[0].functionCall.name"),
        ({"contents": [model(call("f", args="{}"))]}, "contents[0].parts[0].functionCall.args"),
        ({"generationConfig": {"temperature": "hot"}}, "generationConfig.temperature"),
        ({"generationConfig": {"maxOutputTokens": 1.5}}, "generationConfig.maxOutputTokens"),
        ({"generationConfig": []}, "generationConfig"),
        ({"toolConfig": {"functionCallingConfig": {"mode": "SOME"}}}, "toolConfig.functionCallingConfig.mode"),
        ({"tools": [{"functionDeclarations": [{"description": "d"}]}]}, "tools[0].functionDeclarations[0].name"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(fields: dict[str, Any], field: str) -> None:
    assert refused(**fields) == (422, field)


def test_a_result_may_answer_a_call_of_the_cached_prompt() -> None:
    request = read(contents=[user(result("f", {}, id="1"))], cachedContent="cachedContents/1")

    assert request.messages[0] == Message(role=ROLE_TOOL, tool_call_id="1", name="f", content="{}")


def test_a_schema_that_is_nested_too_deeply_is_refused() -> None:
    schema: dict[str, Any] = {"type": "STRING"}
    for _ in range(100):
        schema = {"type": "ARRAY", "items": schema}

    status, field = refused(tools=[{"functionDeclarations": [{"name": "f", "parameters": schema}]}])

    assert status == 422
    assert field.startswith("tools[0].functionDeclarations[0].parameters.items")


def test_a_body_that_could_not_be_written_again_is_refused() -> None:
    deep = b'{"contents":[],"x":' + b"[" * 300 + b"]" * 300 + b"}"

    with pytest.raises(HttpError) as refusal:
        read_content(deep, "m", {})

    assert (refusal.value.status, refusal.value.message) == (400, "The body is nested too deeply.")


@pytest.mark.parametrize("number", ["123456789012345678901234567890", "-1e-999999999"])
def test_a_number_of_any_size_is_read_or_refused_at_once(number: str) -> None:
    body = f'{{"contents":[],"generationConfig":{{"maxOutputTokens":{number},"seed":1.00000000000000000000}}}}'

    with pytest.raises(HttpError) as refusal:
        read_content(body.encode(), "m", {})

    assert refusal.value.field == "generationConfig.maxOutputTokens"


def test_a_count_asks_about_contents_or_about_a_whole_request() -> None:
    whole = {"generateContentRequest": {"model": "models/m", "contents": [HI]}}

    assert read_count(orjson.dumps(whole), "m", {})[0] == read()
    assert read_count(orjson.dumps({"contents": [HI]}), "m", {})[0] == read()


def test_a_budget_of_thoughts() -> None:
    def measured(**config: Any) -> Reasoning:
        return read(generationConfig={"thinkingConfig": config}).reasoning

    assert measured(thinkingBudget=0) == Reasoning(budget_tokens=0)
    assert measured(thinkingBudget=512, includeThoughts=True) == Reasoning(budget_tokens=512)
    assert measured(thinkingBudget=-1) == Reasoning()


# What a request says, in the words in which the provider's side of the server writes it.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=3)
NAME = st.from_regex(r"[a-z]{1,6}", fullmatch=True)
SIGNATURE = st.binary(min_size=1, max_size=6).map(lambda data: base64.b64encode(data).decode())
BLOB = st.builds(
    lambda kind, data: {"inlineData": {"mimeType": kind, "data": base64.b64encode(data).decode()}},
    st.sampled_from(["image/png", "audio/wav", "video/mp4", "application/pdf"]),
    st.binary(min_size=1, max_size=6),
)
FILE = st.builds(lambda name: {"fileData": {"mimeType": "image/png", "fileUri": f"https://x.test/{name}"}}, NAME)
OPAQUE = st.builds(
    lambda code, signed: {"executableCode": {"language": "PYTHON", "code": code}, **signed},
    TEXT,
    st.just({}) | SIGNATURE.map(lambda text: {"thoughtSignature": text}),
)


SIGNED_TEXT = st.builds(lambda text, signature: {"text": text, "thoughtSignature": signature}, TEXT, SIGNATURE)
SIGNED_THOUGHT = SIGNED_TEXT.map(lambda part: {**part, "thought": True})


@st.composite
def turns(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draws a conversation in which every call is answered in its turn."""
    contents = [
        user(*draw(st.lists(TEXT.map(lambda text: {"text": text}) | BLOB | FILE | OPAQUE, min_size=1, max_size=3)))
    ]
    made = 0
    for _ in range(draw(st.integers(0, 2))):
        parts: list[dict[str, Any]] = []
        for kind in draw(st.lists(st.sampled_from([SIGNED_TEXT, SIGNED_THOUGHT, BLOB, OPAQUE]), max_size=3)):
            parts.append(draw(kind))  # noqa: PERF401 - more follow
        names = draw(st.lists(NAME, min_size=0 if parts else 1, max_size=3))
        for name in names:
            signed = draw(st.just({}) | SIGNATURE.map(lambda text: {"thoughtSignature": text}))
            parts.append({"functionCall": {"name": name, "args": draw(OBJECT), "id": f"c{made}"}, **signed})
            made += 1
        contents.append(model(*parts))
        ids = [f"c{made - len(names) + number}" for number in range(len(names))]
        results = [result(name, draw(OBJECT), id=id) for name, id in zip(names, ids, strict=True)]
        contents.append(user(*results) if results else HI)
    return contents


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, Any]:
    """Draws a request."""
    body: dict[str, Any] = {"contents": draw(turns())}
    if draw(st.booleans()):
        body["systemInstruction"] = {"parts": [{"text": draw(TEXT)}]}
    if names := draw(st.lists(NAME, unique=True, max_size=2)):
        schema = {"type": "object", "title": draw(TEXT)}
        declared = [{"name": name, "description": draw(TEXT), "parametersJsonSchema": schema} for name in names]
        body["tools"] = [{"functionDeclarations": declared}]
        modes = [{"mode": mode} for mode in ("AUTO", "NONE", "ANY")]
        calling = draw(st.sampled_from([*modes, {"mode": "ANY", "allowedFunctionNames": names[:1]}]))
        body["toolConfig"] = {"functionCallingConfig": calling}
    config = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "maxOutputTokens": st.integers(1, 2**31 - 1),
                "temperature": st.floats(0, 2),
                "topP": st.floats(0, 1),
                "topK": st.integers(1, 100),
                "seed": st.integers(-(2**31), 2**31 - 1),
                "stopSequences": st.lists(TEXT, min_size=1, max_size=2),
                "thinkingConfig": st.builds(
                    lambda budget: {"thinkingBudget": budget, "includeThoughts": True}, st.integers(1, 9999)
                ),
                "responseMimeType": st.just("application/json"),
            },
        )
    )
    if "responseMimeType" in config and draw(st.booleans()):
        config["responseJsonSchema"] = {"type": "object", "title": draw(TEXT)}
    return body | ({"generationConfig": config} if config else {})


@given(bodies())
def test_a_request_that_is_read_and_written_again_says_the_same(body: dict[str, Any]) -> None:
    request, native = read_content(orjson.dumps(body), "gemini-2.5-flash", {})

    written = orjson.loads(dumps(write_body(request, "gemini-2.5-flash", ids=True)))
    assert written == body
    assert orjson.loads(dumps(native.body)) == body
    assert native.untold == ()


def seconds(body: dict[str, Any]) -> float:
    sent, began = orjson.dumps(body), perf_counter()
    read_content(sent, "m", {})
    return perf_counter() - began


@pytest.mark.parametrize(
    "parts",
    [
        [{"text": "word "}] * 20_000,
        [call("f", id=f"c{number}") for number in range(5_000)]
        + [late_signature(ToolCall(id="c1", origin="a"))] * 5_000,
        [{"text": "", "thought": True, "thoughtSignature": wrap(Part(provider_state=b"x", origin="a"))}] * 10_000,
    ],
    ids=["pieces of a text", "late signatures", "thoughts without words"],
)
def test_a_long_turn_takes_no_longer_than_its_length(parts: list[Any]) -> None:
    assert seconds({"contents": [HI, model(*parts)]}) < 2


def test_a_long_conversation_takes_no_longer_than_its_length() -> None:
    turns = [model(call("f")), user(result("f", {"result": "1"}))] * 10_000

    assert seconds({"contents": turns}) < 3


def test_a_text_that_came_in_pieces_is_one_again_beside_thoughts_and_calls() -> None:
    pieces = [{"text": "a", "thought": True}, {"text": "b", "thought": True}, {"text": "c"}, {"text": "d"}]
    turn = messages(HI, model(*pieces, call("f", id="1"), {"text": "e"}, {"text": "f"}), user(result("f", {}, id="1")))[
        1
    ]

    assert list(turn.parts) == [Part(thinking="ab"), Part(text="cd"), Part(text="ef")]
