"""A request is refused with the name of the field, or every dialect can write it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from loom_grpc.core.call import Call
from loom_grpc.core.errors import INVALID_REQUEST, LlmError
from loom_grpc.core.request import (
    check,
    has_tools,
    merge,
    options,
    parts_of,
    plays_back,
    raw_object,
    raw_state,
    state_text,
    system_text,
    text_of,
    with_defaults,
)
from loom_grpc.providers.anthropic import Anthropic
from loom_grpc.providers.dialect import Dialect, HttpRequest
from loom_grpc.providers.gemini import Gemini
from loom_grpc.providers.ollama import Ollama
from loom_grpc.providers.openai import Host, OpenAI
from loom_grpc.providers.vertex import Vertex
from loom_grpc.v1.llm_service_pb2 import LlmRequest
from loom_grpc.v1.message_pb2 import (
    ROLE_ASSISTANT,
    ROLE_SYSTEM,
    ROLE_TOOL,
    ROLE_USER,
    Citation,
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

HELLO = Message(role=ROLE_USER, content="Hello")
TOOL = ToolDefinition(name="add")


def request(*messages: Message, **fields: Any) -> LlmRequest:
    return LlmRequest(messages=messages or [HELLO], **fields)


def spoken(**fields: Any) -> LlmRequest:
    return request(Message(role=ROLE_ASSISTANT, **fields))


def calling(**fields: Any) -> LlmRequest:
    return spoken(tool_calls=[ToolCall(id="c0", tool_name="a"), ToolCall(**{"id": "c1", "tool_name": "a"} | fields)])


def containing(part: Part) -> LlmRequest:
    return request(HELLO, Message(role=ROLE_USER, parts=[Part(text="See"), part]))


def choosing(**fields: Any) -> LlmRequest:
    return request(tools=[TOOL], tool_choice=ToolChoice(**fields))


def shaped(schema: str) -> LlmRequest:
    return request(response_format=ResponseFormat(json_schema=JsonSchemaFormat(schema_json=schema)))


CALL_1 = "messages[0].tool_calls[1]"
PART_1 = "messages[1].parts[1]"
DEEP = '{"a":' * 300 + "1" + "}" * 300
TOO_DEEP = '{"a":' * 2000 + "1" + "}" * 2000
WRONG_ROLE = "must be ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT or ROLE_TOOL"


@pytest.mark.parametrize(
    ("request_", "field", "what"),
    [
        (LlmRequest(), "messages", "at least one message is needed"),
        (request(provider="open\nai"), "provider", "must not contain control characters"),
        (request(provider="x" * 513), "provider", "must not be longer than 512 characters"),
        (request(model="gpt\r\n4"), "model", "must not contain control characters"),
        (request(model="a\x00"), "model", "must not contain control characters"),
        (request(model="a\u2028b"), "model", "must not contain control characters"),
        (request(model="x" * 513), "model", "must not be longer than 512 characters"),
        (request(Message(content="Hi")), "messages[0].role", WRONG_ROLE),
        (request(HELLO, Message(role=9, content="Hi")), "messages[1].role", WRONG_ROLE),  # type: ignore[arg-type]
        (request(Message(role=ROLE_TOOL, content="4")), "messages[0].tool_call_id",
         "a tool result must name the call that it answers"),
        (request(Message(role=ROLE_USER, tool_calls=[ToolCall(tool_name="a")])), "messages[0].tool_calls",
         "only an assistant message calls tools"),
        (calling(tool_name=""), f"{CALL_1}.tool_name", "must not be empty"),
        (calling(tool_name="a\tb"), f"{CALL_1}.tool_name", "must not contain control characters"),
        (calling(arguments_json="{"), f"{CALL_1}.arguments_json",
         "is not valid JSON (unexpected end of data: line 1 column 2 (char 1))"),
        (calling(arguments_json="[1]"), f"{CALL_1}.arguments_json", "must be a JSON object"),
        (calling(arguments_json='{"a":NaN}'), f"{CALL_1}.arguments_json", None),
        (calling(arguments_json='{"a":1e999}'), f"{CALL_1}.arguments_json", None),
        (calling(arguments_json='{"a":"\\ud800"}'), f"{CALL_1}.arguments_json", None),
        (calling(arguments_json='{"a":1}}'), f"{CALL_1}.arguments_json", None),
        (calling(arguments_json='{"a":001}'), f"{CALL_1}.arguments_json", None),
        (calling(arguments_json=TOO_DEEP), f"{CALL_1}.arguments_json", None),
        (calling(part_index=-1), f"{CALL_1}.part_index", "must be 0 or more"),
        (containing(Part()), PART_1, "has no content; set one of text, image, document, audio and so on"),
        (containing(Part(image=Media())), f"{PART_1}.image", "needs a url or data"),
        (containing(Part(document=Media(data=b"x"))), f"{PART_1}.document.media_type",
         "is needed with data, such as image/png"),
        (containing(Part(audio=Media(media_type="audio/wav"))), f"{PART_1}.audio", "needs a url or data"),
        (containing(Part(opaque=Opaque(type="x"))), f"{PART_1}.opaque.block_json", "must not be empty"),
        (containing(Part(opaque=Opaque(block_json="5"))), f"{PART_1}.opaque.block_json", "must be a JSON object"),
        (containing(Part(citation=Citation(citation_json='"a"],"x":['))), f"{PART_1}.citation.citation_json", None),
        (request(Message(role=ROLE_SYSTEM, parts=[Part(image=Media(url="u"))])), "messages[0].parts[0]",
         "a system message is text"),
        (request(tools=[TOOL, ToolDefinition()]), "tools[1].name", "must not be empty"),
        (request(tools=[TOOL, TOOL]), "tools[1].name", "'add' is defined twice"),
        (request(tools=[ToolDefinition(name="a\x7f")]), "tools[0].name", "must not contain control characters"),
        (request(tools=[ToolDefinition(name="a", input_schema_json="no")]), "tools[0].input_schema_json", None),
        (request(tools=[ToolDefinition(name="a", input_schema_json="true")]), "tools[0].input_schema_json",
         "must be a JSON object"),
        (request(max_tokens=0), "max_tokens", "must be 1 or more"),
        (request(max_tokens=-5), "max_tokens", "must be 1 or more"),
        (request(temperature=-0.1), "temperature", "must be a finite number of 0 or more"),
        (request(temperature=math.nan), "temperature", "must be a finite number of 0 or more"),
        (request(temperature=math.inf), "temperature", "must be a finite number of 0 or more"),
        (request(top_p=1.1), "top_p", "must be between 0 and 1"),
        (request(top_p=-0.1), "top_p", "must be between 0 and 1"),
        (request(top_p=math.nan), "top_p", "must be between 0 and 1"),
        (request(top_k=0), "top_k", "must be 1 or more"),
        (choosing(mode=7), "tool_choice.mode", "there is no mode 7"),
        (choosing(mode=ToolChoice.MODE_TOOL, tool_name="sub"), "tool_choice.tool_name", "'sub' is not among the tools"),
        (choosing(mode=ToolChoice.MODE_TOOL), "tool_choice.tool_name", "'' is not among the tools"),
        (choosing(tool_name="x" * 600), "tool_choice.tool_name", "must not be longer than 512 characters"),
        (request(tool_choice=ToolChoice(mode=ToolChoice.MODE_REQUIRED)), "tool_choice.mode",
         "a tool is required but none is defined"),
        (request(tool_choice=ToolChoice(mode=ToolChoice.MODE_REQUIRED), provider_options_json='{"a":1}'),
         "tool_choice.mode", "a tool is required but none is defined"),
        (shaped("{"), "response_format.json_schema.schema_json", None),
        (shaped("[]"), "response_format.json_schema.schema_json", "must be a JSON object"),
        (request(reasoning=Reasoning(budget_tokens=-1)), "reasoning.budget_tokens", "must be 0 or more"),
        (request(reasoning=Reasoning(effort="")), "reasoning.effort", "must not be empty"),
        (request(reasoning=Reasoning(effort="x" * 600)), "reasoning.effort", "must not be longer than 512 characters"),
        (request(provider_options_json="{,}"), "provider_options_json", None),
        (request(provider_options_json="[]"), "provider_options_json", "must be a JSON object"),
        (request(provider_options_json=DEEP), "provider_options_json", "is nested too deeply"),
        (
            request(provider_options_json='{"model":"another"}'),
            "provider_options_json",
            "must not have model; name the model in the field model",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 50 else "",
)  # fmt: skip
def test_a_wrong_request_is_told_which_field_is_wrong(request_: LlmRequest, field: str, what: str | None) -> None:
    with pytest.raises(LlmError) as caught:
        check(request_)
    error = caught.value

    assert (error.reason, error.metadata) == (INVALID_REQUEST, {"field": field})
    assert error.message == f"{field}: {what}." if what else error.message.startswith(f"{field}: is not valid JSON (")


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(request(provider="openai", model="org/model:tag@1"), id="names"),
        pytest.param(request(temperature=0.0, top_p=0.0, top_k=1, max_tokens=1, seed=-(2**63)), id="least numbers"),
        pytest.param(request(temperature=1e300, top_p=1.0, top_k=2**31 - 1, max_tokens=2**31 - 1), id="most numbers"),
        pytest.param(request(Message(role=ROLE_USER)), id="an empty message"),
        pytest.param(request(Message(role=ROLE_TOOL, tool_call_id="c1", name="名前\n")), id="a tool result"),
        pytest.param(calling(arguments_json=" \n"), id="no arguments"),
        pytest.param(calling(arguments_json=' {"a": [1, 1.0, "é"]}\n'), id="arguments"),
        pytest.param(calling(arguments_json=DEEP, part_index=99), id="deep arguments"),
        pytest.param(containing(Part(image=Media(data=b"x", media_type="image/png"))), id="a picture"),
        pytest.param(containing(Part(citation=Citation(citation_json='"https://a.example"'))), id="a source as text"),
        pytest.param(containing(Part(thinking="")), id="an empty thought"),
        pytest.param(request(tools=[ToolDefinition(name="名前", input_schema_json="{}")]), id="a tool"),
        pytest.param(request(tool_choice=ToolChoice(mode=ToolChoice.MODE_REQUIRED), provider_options_json='{"tools":[]}'),
                     id="the provider's own tools"),
        pytest.param(request(tool_choice=ToolChoice(mode=ToolChoice.MODE_AUTO)), id="a choice among no tools"),
        pytest.param(request(reasoning=Reasoning()), id="no measure"),
        pytest.param(shaped(""), id="no schema"),
        pytest.param(request(provider_options_json=" "), id="no options"),
    ],
)  # fmt: skip
def test_a_right_request_passes(request_: LlmRequest) -> None:
    check(request_)


def test_system_messages_are_joined_in_order() -> None:
    messages = [
        Message(role=ROLE_SYSTEM, content="One."),
        HELLO,
        Message(role=ROLE_SYSTEM, parts=[Part(text="Tw"), Part(text="o.")]),
        Message(role=ROLE_SYSTEM),
        Message(role=ROLE_SYSTEM, content="Three."),
    ]

    assert system_text(request(*messages)) == "One.\n\nTwo.\n\nThree."
    assert system_text(request()) == ""


def test_parts_come_before_content() -> None:
    both = Message(role=ROLE_USER, content="unseen", parts=[Part(text="a"), Part(thinking="b"), Part(text="c")])

    assert text_of(both) == "ac"
    assert list(parts_of(both)) == list(both.parts)
    assert list(parts_of(HELLO)) == [Part(text="Hello")]
    assert list(parts_of(Message())) == []


def test_json_is_embedded_byte_for_byte() -> None:
    text = '{ "a" : [1.0, 1, 12345678901234567890123, "<&\\u00e9"] }'

    assert orjson.dumps({"x": raw_object(text)}) == b'{"x":' + text.encode() + b"}"
    assert orjson.dumps([raw_object(""), raw_object(" \n")]) == b"[{},{}]"


def test_state_goes_back_to_the_dialect_that_wrote_it() -> None:
    assert plays_back("openai", "openai")
    assert plays_back("", "openai")
    assert not plays_back("gemini", "openai")


def test_state_that_the_provider_did_not_write_is_refused_with_its_field() -> None:
    for read, state in (
        (state_text, b"\xff"),
        (raw_state, b"[1"),
        (raw_state, b'{"a":1}'),
        (raw_state, b'[1],"x":[2]'),
    ):
        with pytest.raises(LlmError) as caught:
            read(Part(provider_state=state), "messages[0].parts[0]")
        assert caught.value.metadata == {"field": "messages[0].parts[0].provider_state"}
        assert caught.value.message == (
            "messages[0].parts[0].provider_state: is not what the provider wrote; "
            "send it back unchanged or leave it out."
        )


@pytest.mark.parametrize(
    ("body", "extra", "merged"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": 1}, {"a": 2}, {"a": 2}),
        ({"a": 1}, {"a": None, "b": None}, {}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 9, "c": None, "d": 3}}, {"a": {"b": 9, "d": 3}}),
        ({"a": 1}, {"a": {"b": 2}}, {"a": {"b": 2}}),
        ({"a": {"b": 2}}, {"a": 1}, {"a": 1}),
        ({"tools": [1]}, {"tools": [2]}, {"tools": [1, 2]}),
        ({}, {"tools": [2]}, {"tools": [2]}),
        ({"stop": [1]}, {"stop": [2]}, {"stop": [2]}),
    ],
)
def test_options_are_merged_key_by_key(body: dict[str, Any], extra: dict[str, Any], merged: dict[str, Any]) -> None:
    merge(body, extra)

    assert body == merged


def test_the_server_s_options_give_way_to_the_caller_s() -> None:
    caller = request(provider_options_json='{"a":{"x":2},"tools":[2]}')

    both = with_defaults(caller, {"a": {"x": 1, "y": 1}, "b": 1, "tools": [1]})

    assert options(both) == {"a": {"x": 2, "y": 1}, "b": 1, "tools": [1, 2]}
    assert caller == request(provider_options_json='{"a":{"x":2},"tools":[2]}')


def test_a_field_that_the_caller_takes_out_stays_out_whatever_the_server_adds() -> None:
    caller = request(provider_options_json='{"a":null,"stream_options":null}')
    body: dict[str, Any] = {"stream_options": {"include_usage": True}}

    merge(body, options(with_defaults(caller, {"a": 1, "b": 2})))

    assert body == {"b": 2}


def test_tools_of_the_provider_are_tools_too() -> None:
    assert not has_tools(request())
    assert has_tools(request(tools=[TOOL]))
    assert has_tools(request(provider_options_json='{"tools":[{"type":"web_search"}]}'))


# Any request at all: made from the contract's own description, mostly right, with values that are likely to hurt.


def mostly(right: list[Any], hurtful: list[Any]) -> st.SearchStrategy[Any]:
    """Values of which about one in twenty is hurtful."""
    return st.sampled_from(right * (1 + 20 * len(hurtful) // len(right)) + hurtful)


TEXTS = mostly(["", "a", "é🎉", "low", "file-1", "file_1"], ["\n", "\x00", "\u2028", "x" * 600])
OBJECTS = mostly(
    ["{}", ' {"a": 1.0}', '{"error":"x"}', '{"a":12345678901234567890123}', DEEP, "\u00a0"],
    ["", "{", "[]", "null", "5", '"x"', "nope", '{"a":1}}', '{"a":NaN}', "\ufeff{}", TOO_DEEP, '{"a":"\\ud800"}'],
)
OPTIONS = mostly(
    ["", "{}", '{"tools":[]}', '{"messages":null}', '{"model":null}', '{"model":5}', '{"stream":"x"}',
     '{"contents":{"a":[]}}', '{"output_config":5,"thinking":7,"options":"x","generationConfig":[]}'],
    ["{", "[]", DEEP],
)  # fmt: skip
BYTES = mostly([b"", b"x", b"[]", b'[{"a":1}]', b"\x89PNG"], [b"\xff\xfe", b'[],"x":[', "é".encode()])
DOUBLES = mostly([0.0, -0.0, 0.5, 1.0], [-1.0, 2.0, 1e308, 5e-324, math.nan, math.inf, -math.inf])
INT32 = mostly([0, 1, 2, 1024, 2**31 - 1], [-1, -(2**31)])
INT64 = st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63)])
ENUMS = mostly([0, 1, 2, 3, 4], [5, 99, -1])
ROLES = mostly([ROLE_SYSTEM, ROLE_USER, ROLE_USER, ROLE_ASSISTANT, ROLE_ASSISTANT, ROLE_TOOL], [0, 99])
SCALARS = {
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_BYTES: BYTES,
    FieldDescriptor.TYPE_DOUBLE: DOUBLES,
    FieldDescriptor.TYPE_ENUM: ENUMS,
    FieldDescriptor.TYPE_INT32: INT32,
    FieldDescriptor.TYPE_INT64: INT64,
    FieldDescriptor.TYPE_STRING: TEXTS,
}
NAMED: dict[str, st.SearchStrategy[Any]] = {
    "role": ROLES,
    "origin": st.sampled_from(["", "anthropic", "openai", "gemini", "ollama"]),
    "tool_name": mostly(["a", "b"], ["", "x" * 600]),
    "tool_choice": st.sampled_from(
        [{}, {"mode": 1}, {"mode": 2}, {"mode": 3}, {"mode": 4, "tool_name": "a"}, {"mode": 9}]
    ),
    "tools": st.lists(st.sampled_from(["a", "b", "", "\n"]), unique=True, max_size=3).map(
        lambda names: [{"name": name, "input_schema_json": "{}"} for name in names]
    ),
    "tool_call_id": mostly(["c1", "call:0"], [""]),
    "media_type": mostly(["image/png", "text/plain", "audio/wav"], [""]),
    "provider_options_json": OPTIONS,
}


NEEDED = {"role", "tool_name", "tool_call_id", "block_json", "media_type"}


def _values(descriptor: Descriptor) -> st.SearchStrategy[dict[str, Any]]:
    """Values for some of a message's fields, at most one of each oneof."""
    fields = {field.name: _value(field) for field in descriptor.fields if field.name != "labels"}
    needed = {name: fields.pop(name) for name in sorted(NEEDED & fields.keys())}
    return st.fixed_dictionaries(needed, optional=fields).map(lambda values: _likely(descriptor, values))


def _value(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.name in ("tools", "tool_choice"):
        return NAMED[field.name]
    if field.name in NAMED:
        single = NAMED[field.name]
    elif field.name.endswith("_json"):
        single = OBJECTS
    elif field.message_type is not None:
        single = _values(field.message_type)
    else:
        single = SCALARS[field.type]
    return st.lists(single, max_size=3) if field.is_repeated else single


def _likely(descriptor: Descriptor, values: dict[str, Any]) -> dict[str, Any]:
    """Takes out what protobuf would take out, and puts right what would be refused nearly always."""
    for oneof in descriptor.oneofs:
        given = [field.name for field in oneof.fields if field.name in values]
        for extra in given[1:]:
            del values[extra]
        if not given and oneof.name in ("kind", "source"):
            values["text" if oneof.name == "kind" else "url"] = "u"
    if values.get("role") != ROLE_ASSISTANT:
        values.pop("tool_calls", None)
    return values


DIALECTS: list[tuple[str, Callable[[], Dialect], str]] = [
    ("anthropic", Anthropic, "claude-sonnet-4-5"),
    ("anthropic adaptive", Anthropic, "claude-opus-5"),
    ("openai", OpenAI, "gpt-4o"),
    ("zai", lambda: OpenAI(Host(reasoning_field="reasoning_content", thinking_switch=True)), "glm-4.7"),
    ("gemini", Gemini, "gemini-2.5-flash"),
    ("gemini 3", Gemini, "gemini-3-pro"),
    ("vertex", lambda: Vertex("p", "l"), "gemini-2.5-pro"),
    ("vertex claude", lambda: Vertex("p", "l"), "claude-opus-4-1"),
    ("ollama", Ollama, "qwen3"),
]


def refusal(step: Callable[[], object]) -> LlmError | None:
    try:
        step()
    except LlmError as error:
        return error
    return None


def _write(encode: Callable[[Call], HttpRequest | None], call: Call) -> None:
    """Writes a request. Anything but JSON, or an `LlmError` with a field, fails."""
    written: list[HttpRequest | None] = []
    error = refusal(lambda: written.append(encode(call)))
    if error is not None:
        assert (error.reason, bool(error.metadata["field"])) == (INVALID_REQUEST, True)
    for http in filter(None, written):
        assert isinstance(orjson.loads(http.body), dict)
        assert (http.path.isascii(), http.path.isprintable()) == (True, True)


LIKELY = st.fixed_dictionaries(
    {"messages": st.lists(_values(Message.DESCRIPTOR), min_size=1, max_size=3)},
    optional={
        field.name: _value(field) for field in LlmRequest.DESCRIPTOR.fields if field.name not in ("labels", "messages")
    },
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(LIKELY | _values(LlmRequest.DESCRIPTOR))
@example({"messages": [{"role": ROLE_ASSISTANT, "tool_calls": [{"tool_name": "a", "part_index": -1}]}]})
@example({"messages": [{"role": ROLE_ASSISTANT, "parts": [{"thinking": "a", "provider_state": b"\xff"}]}]})
@example({"messages": [{"role": ROLE_ASSISTANT, "parts": [{"audio": {"url": "u"}, "provider_state": b"\xff"}]}]})
@example({"messages": [{"role": ROLE_ASSISTANT, "parts": [{"thinking": "a", "provider_state": b'[],"x":['}]}]})
@example({"messages": [{"role": ROLE_ASSISTANT, "parts": [{"text": "a"}, {"citation": {"citation_json": "]"}}]}]})
@example({"messages": [{"role": ROLE_USER}], "provider_options_json": DEEP})
@example({"messages": [{"role": ROLE_USER}], "provider_options_json": '{"model":null}'})
@example({"messages": [{"role": ROLE_USER}], "reasoning": {"effort": "x" * 500}})
def test_any_request_is_refused_with_its_field_or_written_by_every_dialect(values: dict[str, Any]) -> None:
    request = LlmRequest(**values)
    if error := refusal(lambda: check(request)):
        assert error.reason == INVALID_REQUEST
        assert error.message.startswith(error.metadata["field"])
        assert len(error.message) < 800
        return
    for _name, make, model in DIALECTS:
        dialect = make()
        for stream in (False, True):
            _write(dialect.encode, Call(request, stream, "r", model=model))
        _write(dialect.encode_count, Call(request, False, "r", model=model))


@given(st.binary(max_size=200))
def test_any_bytes_that_are_a_request_are_judged(data: bytes) -> None:
    request = LlmRequest()
    try:
        request.ParseFromString(data)
    except DecodeError:
        return
    error = refusal(lambda: check(request))
    assert error is None or error.metadata["field"]
