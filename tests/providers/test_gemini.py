"""Gemini's dialect: requests as they go out, answers and failures as they are understood."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from loom_grpc.core.call import Call
from loom_grpc.core.errors import (
    CONTENT_BLOCKED,
    CONTEXT_TOO_LONG,
    INVALID_REQUEST,
    MODEL_NOT_FOUND,
    PROVIDER_AUTH_FAILED,
    PROVIDER_BAD_RESPONSE,
    PROVIDER_QUOTA_EXCEEDED,
    PROVIDER_RATE_LIMITED,
    PROVIDER_TIMEOUT,
    PROVIDER_UNAVAILABLE,
    LlmError,
)
from loom_grpc.providers.gemini import Gemini
from loom_grpc.v1.error_pb2 import ErrorReason
from loom_grpc.v1.llm_service_pb2 import (
    STOP_REASON_CONTENT_FILTER,
    STOP_REASON_LENGTH,
    STOP_REASON_STOP,
    STOP_REASON_TOOL_CALLS,
    STOP_REASON_UNSPECIFIED,
    LlmEvent,
    LlmRequest,
    LlmResponse,
    Model,
)
from loom_grpc.v1.message_pb2 import (
    ROLE_ASSISTANT,
    ROLE_SYSTEM,
    ROLE_TOOL,
    ROLE_USER,
    Citation,
    JsonObjectFormat,
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
from loom_grpc.v1.usage_pb2 import Usage

HELLO = Message(role=ROLE_USER, content="Hello")
SAID_HELLO = {"role": "user", "parts": [{"text": "Hello"}]}
OURS = "call_0123456789abcdef01234567"
"""An id as the server makes it."""


def call(request: LlmRequest, stream: bool = False, model: str = "gemini-2.5-flash") -> Call:
    return Call(request, stream, "r", provider="gemini", model=model, attempt=1)


def encoded(request: LlmRequest, model: str = "gemini-2.5-flash") -> dict[str, Any]:
    body: dict[str, Any] = orjson.loads(Gemini().encode(call(request, model=model)).body)
    return body


def contents(*messages: Message, model: str = "gemini-2.5-flash") -> list[Any]:
    turns: list[Any] = encoded(LlmRequest(messages=messages), model)["contents"]
    return turns


def settings(request: LlmRequest, model: str = "gemini-2.5-flash") -> Any:
    return encoded(request, model)["generationConfig"]


def decoded(*chunks: dict[str, Any], stream: bool = True) -> tuple[list[LlmEvent], LlmError | None]:
    decoder = Gemini().decoder(call(LlmRequest(), stream), "text/event-stream")
    events = [event for chunk in chunks for event in decoder.feed(b"data: " + orjson.dumps(chunk) + b"\r\n\r\n")]
    return [*events, *decoder.end()], decoder.failure


def answered(*parts: dict[str, Any], **rest: Any) -> LlmResponse:
    events, failure = decoded(candidate(*parts, **rest))
    assert failure is None
    return events[-1].completed.response


def candidate(*parts: dict[str, Any], reason: str | int = "STOP", **rest: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": reason, **rest}]}


def failed(status: int, value: Any, **headers: str) -> LlmError:
    return Gemini().error(status, headers, orjson.dumps(value))


def rpc(code: int, status: str, message: str, *details: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": code, "status": status, "message": message, "details": list(details)}}


def test_a_request_with_every_setting_goes_out_whole() -> None:
    request = LlmRequest(
        messages=[
            Message(role=ROLE_SYSTEM, content="Be brief."),
            HELLO,
            Message(role=ROLE_SYSTEM, content="Be kind."),
        ],
        tools=[
            ToolDefinition(name="now", description="Tells the time"),
            ToolDefinition(name="add", description="Adds", input_schema_json='{"type":"object","$defs":{}}'),
        ],
        tool_choice=ToolChoice(mode=ToolChoice.MODE_TOOL, tool_name="add"),
        max_tokens=9,
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        seed=7,
        stop=["END"],
        response_format=ResponseFormat(json_schema=JsonSchemaFormat(schema_json='{"type":"object"}')),
        reasoning=Reasoning(budget_tokens=2000),
        provider_options_json='{"safetySettings":[],"tools":[{"googleSearch":{}}],"generationConfig":{"topK":1}}',
    )

    assert encoded(request) == {
        "systemInstruction": {"parts": [{"text": "Be brief.\n\nBe kind."}]},
        "contents": [SAID_HELLO],
        "tools": [
            {
                "functionDeclarations": [
                    {"name": "now", "description": "Tells the time"},
                    {"name": "add", "description": "Adds", "parametersJsonSchema": {"type": "object", "$defs": {}}},
                ]
            },
            {"googleSearch": {}},
        ],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["add"]}},
        "generationConfig": {
            "maxOutputTokens": 9,
            "temperature": 0.5,
            "topP": 0.9,
            "topK": 1,
            "seed": 7,
            "stopSequences": ["END"],
            "responseMimeType": "application/json",
            "responseJsonSchema": {"type": "object"},
            "thinkingConfig": {"thinkingBudget": 2000, "includeThoughts": True},
        },
        "safetySettings": [],
    }


def test_a_plain_request_says_nothing_that_the_caller_did_not_say() -> None:
    assert encoded(LlmRequest(messages=[HELLO])) == {"contents": [SAID_HELLO]}


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gemini-2.5-pro", "/v1beta/models/gemini-2.5-pro"),
        ("models/gemini-2.5-pro", "/v1beta/models/gemini-2.5-pro"),
        ("tunedModels/mine", "/v1beta/tunedModels/mine"),
        ("a/files:delete?x=1", "/v1beta/models/a%2Ffiles%3Adelete%3Fx%3D1"),
    ],
)
def test_the_model_is_in_the_path_and_cannot_leave_it(model: str, path: str) -> None:
    request = LlmRequest(messages=[HELLO])

    assert Gemini().encode(call(request, model=model)).path == f"{path}:generateContent"
    assert Gemini().encode(call(request, True, model)).path == f"{path}:streamGenerateContent?alt=sse"


@pytest.mark.parametrize("model", ["../files", "a/../b", "models/.."])
def test_a_model_that_climbs_out_of_its_path_is_refused(model: str) -> None:
    with pytest.raises(LlmError) as caught:
        Gemini().encode(call(LlmRequest(messages=[HELLO]), model=model))
    assert (caught.value.reason, caught.value.message) == (INVALID_REQUEST, "model: must not have . or .. as a piece.")


@pytest.mark.parametrize(
    ("mode", "config"),
    [
        (ToolChoice.MODE_AUTO, {"mode": "AUTO"}),
        (ToolChoice.MODE_NONE, {"mode": "NONE"}),
        (ToolChoice.MODE_REQUIRED, {"mode": "ANY"}),
    ],
)
def test_each_tool_choice_has_its_word(mode: ToolChoice.Mode.ValueType, config: Any) -> None:
    request = LlmRequest(messages=[HELLO], tools=[ToolDefinition(name="now")], tool_choice=ToolChoice(mode=mode))

    assert encoded(request)["toolConfig"] == {"functionCallingConfig": config}


def test_a_tool_choice_without_tools_is_left_out() -> None:
    request = LlmRequest(messages=[HELLO], tool_choice=ToolChoice(mode=ToolChoice.MODE_NONE))

    assert encoded(request) == {"contents": [SAID_HELLO]}


def test_any_json_object_is_asked_for_by_its_media_type() -> None:
    request = LlmRequest(messages=[HELLO], response_format=ResponseFormat(json_object=JsonObjectFormat()))

    assert settings(request) == {"responseMimeType": "application/json"}


@pytest.mark.parametrize(
    ("model", "reasoning", "config"),
    [
        ("gemini-2.5-flash", Reasoning(effort="medium"), {"thinkingBudget": 8192, "includeThoughts": True}),
        ("gemini-2.5-flash", Reasoning(effort="none"), {"thinkingBudget": 0}),
        ("gemini-2.5-flash", Reasoning(budget_tokens=0), {"thinkingBudget": 0}),
        ("gemini-2.5-pro", Reasoning(effort="none"), {"thinkingBudget": 128}),
        ("gemini-3-flash-preview", Reasoning(effort="high"), {"thinkingLevel": "high", "includeThoughts": True}),
        ("gemini-3-flash-preview", Reasoning(effort="minimal"), {"thinkingLevel": "minimal", "includeThoughts": True}),
        ("gemini-3.1-pro-preview", Reasoning(effort="minimal"), {"thinkingLevel": "low", "includeThoughts": True}),
        ("gemini-3-flash-preview", Reasoning(budget_tokens=500), {"thinkingBudget": 500, "includeThoughts": True}),
        ("gemini-3.5-flash", Reasoning(effort="none"), {"thinkingLevel": "minimal"}),
        ("gemini-pro-latest", Reasoning(effort="low"), {"thinkingLevel": "low", "includeThoughts": True}),
    ],
)
def test_effort_is_a_budget_before_gemini_3_and_a_level_from_there_on(
    model: str, reasoning: Reasoning, config: Any
) -> None:
    assert settings(LlmRequest(messages=[HELLO], reasoning=reasoning), model) == {"thinkingConfig": config}


def test_an_unknown_effort_is_refused_by_name() -> None:
    with pytest.raises(LlmError) as caught:
        encoded(LlmRequest(messages=[HELLO], reasoning=Reasoning(effort="huge")))

    assert (caught.value.reason, caught.value.metadata) == (INVALID_REQUEST, {"field": "reasoning.effort"})


def test_files_go_by_value_or_by_address() -> None:
    message = Message(
        role=ROLE_USER,
        parts=[
            Part(text="Look"),
            Part(image=Media(data=b"abc", media_type="image/png")),
            Part(document=Media(url="gs://bucket/a.pdf", media_type="application/pdf")),
            Part(audio=Media(url="https://generativelanguage.googleapis.com/v1beta/files/x")),
        ],
    )

    assert contents(message) == [
        {
            "role": "user",
            "parts": [
                {"text": "Look"},
                {"inlineData": {"mimeType": "image/png", "data": "YWJj"}},
                {"fileData": {"mimeType": "application/pdf", "fileUri": "gs://bucket/a.pdf"}},
                {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/x"}},
            ],
        }
    ]


def test_results_are_one_turn_in_the_order_of_the_calls() -> None:
    calls = Message(
        role=ROLE_ASSISTANT,
        tool_calls=[
            ToolCall(id=OURS, tool_name="sum", arguments_json='{"x":1.10}'),
            ToolCall(id="wxvlv0tv", tool_name="sum", arguments_json=""),
        ],
    )
    late = Message(role=ROLE_TOOL, tool_call_id="wxvlv0tv", content="no such file", is_error=True)
    early = Message(role=ROLE_TOOL, tool_call_id=OURS, content=' {"total": 1.10} ')

    http = Gemini().encode(call(LlmRequest(messages=[HELLO, calls, late, early, HELLO])))

    assert b'"args":{"x":1.10}' in http.body
    assert orjson.loads(http.body)["contents"] == [
        SAID_HELLO,
        {
            "role": "model",
            "parts": [
                {"functionCall": {"name": "sum", "args": {"x": 1.1}}},
                {"functionCall": {"name": "sum", "args": {}, "id": "wxvlv0tv"}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "sum", "response": {"total": 1.1}}},
                {"functionResponse": {"name": "sum", "response": {"error": "no such file"}, "id": "wxvlv0tv"}},
            ],
        },
        SAID_HELLO,
    ]


@pytest.mark.parametrize(
    ("content", "is_error", "response"),
    [
        ("Noon", False, {"result": "Noon"}),
        ("", False, {"result": ""}),
        ("[1]", False, {"result": "[1]"}),
        ("{broken", False, {"result": "{broken"}),
        ('{"a":1}', True, {"error": {"a": 1}}),
        ('{"error":"gone"}', True, {"error": "gone"}),
    ],
)
def test_a_result_is_always_an_object(content: str, is_error: bool, response: Any) -> None:
    result = Message(role=ROLE_TOOL, tool_call_id="x", name="now", content=content, is_error=is_error)

    assert contents(result) == [
        {"role": "user", "parts": [{"functionResponse": {"name": "now", "response": response, "id": "x"}}]}
    ]


def test_a_result_of_an_unknown_call_must_name_its_tool() -> None:
    with pytest.raises(LlmError) as caught:
        contents(HELLO, Message(role=ROLE_TOOL, tool_call_id="x", content="Noon"))

    assert (caught.value.reason, caught.value.metadata) == (INVALID_REQUEST, {"field": "messages[1].name"})


def test_files_in_a_result_stand_in_it_from_gemini_3_on_and_beside_it_before() -> None:
    picture = Part(image=Media(data=b"abc", media_type="image/png"))
    result = Message(role=ROLE_TOOL, tool_call_id=OURS, name="draw", parts=[picture])
    data = {"inlineData": {"mimeType": "image/png", "data": "YWJj"}}
    response = {"name": "draw", "response": {}}

    assert contents(result, model="gemini-3-flash-preview") == [
        {"role": "user", "parts": [{"functionResponse": {**response, "parts": [data]}}]}
    ]
    assert contents(result) == [{"role": "user", "parts": [{"functionResponse": response}, data]}]


def test_an_answer_goes_back_just_as_it_came() -> None:
    parts: list[dict[str, Any]] = [
        {"text": "Hm.", "thought": True, "thoughtSignature": "dGhpbms="},
        {"executableCode": {"language": "PYTHON", "code": "1"}, "thoughtSignature": "Y29kZQ=="},
        {"text": "Let me look."},
        {"functionCall": {"name": "now", "args": {}, "id": "a1"}, "thoughtSignature": "Y2FsbA=="},
        {"functionCall": {"name": "now", "args": {"zone": "UTC"}, "id": "a2"}},
        {"text": "", "thoughtSignature": "ZW1wdHk="},
    ]

    response = answered(*parts)

    assert contents(response.message, model="gemini-3-flash-preview") == [{"role": "model", "parts": parts}]
    assert (response.message.content, response.stop_reason) == ("Let me look.", STOP_REASON_TOOL_CALLS)


def test_other_providers_state_stays_here_and_their_calls_are_marked_for_gemini_3() -> None:
    message = Message(
        role=ROLE_ASSISTANT,
        parts=[
            Part(thinking="Hm.", provider_state=b"sig", origin="anthropic"),
            Part(redacted_thinking="xxx", origin="anthropic"),
            Part(opaque=Opaque(type="server_tool_use", block_json="{}"), origin="anthropic"),
            Part(text="Now?", provider_state=b"sig", origin="openai"),
        ],
        tool_calls=[
            ToolCall(id="toolu_1", tool_name="now", provider_state=b"sig", origin="anthropic"),
            ToolCall(id="toolu_2", tool_name="now"),
        ],
    )
    first = {"functionCall": {"name": "now", "args": {}, "id": "toolu_1"}}
    second = {"functionCall": {"name": "now", "args": {}, "id": "toolu_2"}}
    marked = {**first, "thoughtSignature": "skip_thought_signature_validator"}

    assert contents(message) == [{"role": "model", "parts": [{"text": "Now?"}, first, second]}]
    assert contents(message, model="gemini-3-flash-preview") == [
        {"role": "model", "parts": [{"text": "Now?"}, marked, second]}
    ]


def test_state_that_is_no_text_is_refused() -> None:
    part = Part(text="Hi", provider_state=b"\xff")

    with pytest.raises(LlmError) as caught:
        contents(HELLO, Message(role=ROLE_ASSISTANT, parts=[part]))

    assert caught.value.reason == INVALID_REQUEST
    assert caught.value.metadata == {"field": "messages[1].parts[0].provider_state"}


def test_a_count_asks_for_the_whole_request_and_reads_the_total() -> None:
    request = LlmRequest(messages=[Message(role=ROLE_SYSTEM, content="Be brief."), HELLO], max_tokens=5)

    http = Gemini().encode_count(call(request))

    assert http is not None
    assert (http.method, http.path) == ("POST", "/v1beta/models/gemini-2.5-flash:countTokens")
    assert orjson.loads(http.body) == {
        "generateContentRequest": {
            "model": "models/gemini-2.5-flash",
            "contents": [SAID_HELLO],
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "generationConfig": {"maxOutputTokens": 5},
        }
    }
    assert Gemini().decode_count(b'{"totalTokens":4}') == 4
    with pytest.raises(LlmError, match="cannot be read"):
        Gemini().decode_count(b"{}")


def test_only_models_that_generate_are_listed() -> None:
    body = {
        "models": [
            {"name": "models/a", "displayName": "A", "supportedGenerationMethods": ["generateContent", "countTokens"]},
            {"name": "models/b", "supportedGenerationMethods": ["embedContent"]},
            {"name": "models/c", "supportedGenerationMethods": 7},
            7,
        ]
    }

    http = Gemini().encode_models()

    assert http is not None
    assert (http.method, http.path) == ("GET", "/v1beta/models?pageSize=1000")
    assert Gemini().decode_models(orjson.dumps(body)) == [Model(id="a", display_name="A")]
    with pytest.raises(LlmError, match="cannot be read"):
        Gemini().decode_models(b"[]")


def test_a_streamed_answer_comes_as_it_is_spoken() -> None:
    events, failure = decoded(
        {**candidate({"text": "Hm", "thought": True}, reason=""), "responseId": "r1", "modelVersion": "gemini-2.5-x"},
        {**candidate({"text": "Hel"}, reason=""), "usageMetadata": {"promptTokenCount": 3}},
        {"candidates": [{"index": 1, "content": {"parts": [{"text": "other"}]}, "finishReason": "SAFETY"}]},
        candidate({"text": "lo"}),
        {"usageMetadata": {"promptTokenCount": 4, "toolUsePromptTokenCount": 2, "thoughtsTokenCount": 5,
                           "candidatesTokenCount": 6, "cachedContentTokenCount": 1, "totalTokenCount": 17}},
    )  # fmt: skip

    assert failure is None
    assert [event.WhichOneof("event") for event in events] == [
        "started",
        "thinking_delta",
        "text_delta",
        "text_delta",
        "completed",
    ]
    response = events[-1].completed.response
    usage_json = response.usage.provider_usage_json
    assert orjson.loads(usage_json)["totalTokenCount"] == 17
    assert response == LlmResponse(
        message=Message(role=ROLE_ASSISTANT, content="Hello", parts=[Part(thinking="Hm"), Part(text="Hello")]),
        usage=Usage(
            input_tokens=6, output_tokens=11, cache_read_tokens=1, reasoning_tokens=5, provider_usage_json=usage_json
        ),
        finish_reason="STOP",
        stop_reason=STOP_REASON_STOP,
        id="r1",
        provider="gemini",
        model="gemini-2.5-x",
    )


@pytest.mark.parametrize(
    ("reason", "meaning"),
    [
        ("MAX_TOKENS", STOP_REASON_LENGTH),
        ("RECITATION", STOP_REASON_CONTENT_FILTER),
        ("MALFORMED_FUNCTION_CALL", STOP_REASON_UNSPECIFIED),
        ("UNEXPECTED_TOOL_CALL", STOP_REASON_UNSPECIFIED),
        ("SOMETHING_NEW", STOP_REASON_UNSPECIFIED),
        (2, STOP_REASON_LENGTH),
        (9, STOP_REASON_UNSPECIFIED),
    ],
)
def test_the_reason_for_the_end_is_told_in_both_vocabularies(reason: str | int, meaning: int) -> None:
    response = answered({"functionCall": {"name": "now"}}, reason=reason)

    assert (response.finish_reason, response.stop_reason) == (str(reason), meaning)


def test_usage_tells_of_audio_and_images() -> None:
    usage = {
        "promptTokenCount": 100,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 50}, {"modality": "AUDIO", "tokenCount": 30},
                                {"modality": "IMAGE", "tokenCount": 20}],
        "toolUsePromptTokenCount": 9,
        "toolUsePromptTokensDetails": [{"modality": "IMAGE", "tokenCount": 9}],
        "cachedContentTokenCount": 40,
        "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 15}, {"modality": "TEXT", "tokenCount": 25}],
        "candidatesTokenCount": 60,
        "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 7}, {"modality": "IMAGE", "tokenCount": 8}],
    }  # fmt: skip
    events, _ = decoded(candidate({"text": "Hi"}) | {"usageMetadata": usage})

    assert events[-1].completed.response.usage == Usage(
        input_tokens=109,
        output_tokens=60,
        cache_read_tokens=40,
        provider_usage_json=orjson.dumps(usage).decode(),
        input_audio_tokens=30,
        cache_read_audio_tokens=15,
        output_audio_tokens=7,
        input_image_tokens=29,
        output_image_tokens=8,
    )


def test_a_refused_prompt_is_an_empty_answer_with_the_reason_of_the_refusal() -> None:
    events, failure = decoded({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}})

    assert failure is None
    response = events[-1].completed.response
    assert (response.finish_reason, response.stop_reason) == ("PROHIBITED_CONTENT", STOP_REASON_CONTENT_FILTER)
    assert not response.HasField("usage")


def test_an_answer_without_candidates_or_a_reason_is_a_failure() -> None:
    events, failure = decoded({"usageMetadata": {"promptTokenCount": 3}})

    assert events == []
    assert failure is not None
    assert failure.reason == PROVIDER_BAD_RESPONSE


def test_a_whole_answer_may_leave_the_reason_out_but_a_stream_may_not() -> None:
    chunk = {"candidates": [{"content": {"parts": [{"text": "Hi"}]}}]}

    whole, whole_failure = decoded(chunk, stream=False)
    streamed, stream_failure = decoded(chunk)

    assert whole_failure is None
    assert whole[-1].completed.response.stop_reason == STOP_REASON_UNSPECIFIED
    assert stream_failure is not None
    assert stream_failure.partial is not None
    assert stream_failure.partial.message.content == "Hi"
    assert streamed[-1].text_delta.content == "Hi"


def test_a_stream_that_breaks_off_within_a_chunk_is_a_failure_even_after_a_reason() -> None:
    decoder = Gemini().decoder(call(LlmRequest(), stream=True), "text/event-stream")

    decoder.feed(b"data: " + orjson.dumps(candidate({"text": "Hi"})) + b'\r\n\r\ndata: {"candidates": [{"con')
    decoder.end()

    assert decoder.failure is not None
    assert decoder.failure.reason == PROVIDER_BAD_RESPONSE


@pytest.mark.parametrize("error", [{"code": 503, "status": "UNAVAILABLE", "message": "overloaded"}, "overloaded"])
def test_an_error_inside_an_answer_fails_it(error: object) -> None:
    decoder = Gemini().decoder(call(LlmRequest(), stream=True), "application/json")

    events = decoder.feed(b"[" + orjson.dumps(candidate({"text": "Hi"}, reason="")) + b"\n,\n")
    events += decoder.feed(orjson.dumps({"error": error}) + b"]")

    assert decoder.failure is not None
    assert decoder.failure.reason == PROVIDER_UNAVAILABLE
    assert [event.WhichOneof("event") for event in events] == ["started", "text_delta"]


def test_calls_without_ids_get_ours_and_keep_their_signature() -> None:
    response = answered(
        {"functionCall": {"name": "add", "args": {"b": 3}}, "thoughtSignature": "c2ln"},
        {"functionCall": {"name": "add", "args": {"b": 3}, "id": "given"}},
    )

    first, second = response.tool_calls
    assert first == ToolCall(
        id=first.id, tool_name="add", arguments_json='{"b":3}', provider_state=b"c2ln", origin="gemini"
    )
    assert second == ToolCall(id="given", tool_name="add", arguments_json='{"b":3}')
    assert contents(response.message)[0]["parts"][0] == {
        "functionCall": {"name": "add", "args": {"b": 3}},
        "thoughtSignature": "c2ln",
    }


def partial(path: str, more: bool = False, **value: Any) -> dict[str, Any]:
    argument = {"jsonPath": path, **value} | ({"willContinue": True} if more else {})
    return candidate({"functionCall": {"partialArgs": [argument], "willContinue": True}}, reason="")


def test_arguments_that_come_in_pieces_are_put_together() -> None:
    events, failure = decoded(
        candidate({"functionCall": {"name": "cook", "willContinue": True}, "thoughtSignature": "c2ln"}, reason=""),
        partial("$.steps[0].text", more=True, stringValue="Boil "),
        partial("$.steps[0].text", stringValue="water"),
        partial("$['a.b'].n", numberValue=2),
        partial("$.steps[1].done", boolValue=False),
        partial("$.note", nullValue="NULL_VALUE"),
        candidate({"functionCall": {}}),
    )

    assert failure is None
    (tool_call,) = events[-1].completed.response.tool_calls
    assert (tool_call.tool_name, tool_call.provider_state) == ("cook", b"c2ln")
    assert orjson.loads(tool_call.arguments_json) == {
        "steps": [{"text": "Boil water"}, {"done": False}],
        "a.b": {"n": 2},
        "note": None,
    }


@pytest.mark.parametrize("path", ["$", "steps", "$.steps[999999]", "$.a.b", "$..x", "$[0]"])
def test_a_place_that_cannot_be_fails_the_answer(path: str) -> None:
    _, failure = decoded(
        candidate({"functionCall": {"name": "cook", "args": {"a": "text"}, "willContinue": True}}, reason=""),
        partial(path, stringValue="x"),
    )

    assert failure is not None
    assert failure.reason == PROVIDER_BAD_RESPONSE


def test_pictures_and_sound_are_parts_and_unknown_blocks_are_kept_word_for_word() -> None:
    unknown = {"codeExecutionResult": {"outcome": "OUTCOME_OK"}}
    thought = {"inlineData": {"mimeType": "image/png", "data": "YWJj"}, "thought": True}

    response = answered(
        {"inlineData": {"mimeType": "image/png", "data": "YWJj"}, "thoughtSignature": "c2ln"},
        {"inlineData": {"mimeType": "audio/L16", "data": "YWJj"}},
        unknown,
        thought,
    )

    assert list(response.message.parts) == [
        Part(image=Media(data=b"abc", media_type="image/png"), provider_state=b"c2ln", origin="gemini"),
        Part(audio=Media(data=b"abc", media_type="audio/L16")),
        Part(
            opaque=Opaque(type="codeExecutionResult", block_json=orjson.dumps(unknown).decode()),
            origin="gemini",
        ),
        Part(opaque=Opaque(type="inlineData", block_json=orjson.dumps(thought).decode()), origin="gemini"),
    ]


def test_every_kind_of_source_is_cited_once() -> None:
    web = {"web": {"uri": "https://a.example", "title": "A"}}
    found = {"retrievedContext": {"title": "B", "text": "Paris is"}}
    page = {"retrievedUrl": "https://c.example", "urlRetrievalStatus": "URL_RETRIEVAL_STATUS_SUCCESS"}
    missed = {"retrievedUrl": "https://d.example", "urlRetrievalStatus": "URL_RETRIEVAL_STATUS_ERROR"}
    recited = {"startIndex": 1, "uri": "https://e.example"}

    response = answered(
        {"text": "Paris"},
        groundingMetadata={"groundingChunks": [web, found, web]},
        urlContextMetadata={"urlMetadata": [page, missed]},
        citationMetadata={"citationSources": [recited]},
    )

    def cited(source: Any, **fields: str) -> Part:
        return Part(citation=Citation(citation_json=orjson.dumps(source).decode(), **fields), origin="gemini")

    assert list(response.message.parts) == [
        Part(text="Paris"),
        cited(web, url="https://a.example", title="A"),
        cited(found, title="B", cited_text="Paris is"),
        cited(page, url="https://c.example"),
        cited(recited, url="https://e.example"),
    ]
    assert contents(response.message) == [{"role": "model", "parts": [{"text": "Paris"}]}]


PER_DAY = {"violations": [{"quotaId": "RequestsPerMinute"}, {"quotaId": "GenerateRequestsPerDayPerProjectPerModel"}]}
PER_MINUTE = {"violations": [{"quotaId": "GenerateContentInputTokensPerModelPerMinute"}]}
LIMIT = "You exceeded your current quota, please check your plan and billing details."


@pytest.mark.parametrize(
    ("status", "value", "reason"),
    [
        (400, rpc(400, "INVALID_ARGUMENT", "Bad", {"reason": "API_KEY_INVALID"}), PROVIDER_AUTH_FAILED),
        (400, rpc(400, "INVALID_ARGUMENT", "API key expired. Please renew it."), PROVIDER_AUTH_FAILED),
        (400, rpc(400, "INVALID_ARGUMENT", "Unknown field"), INVALID_REQUEST),
        (
            400,
            rpc(400, "INVALID_ARGUMENT", "The input token count (9) exceeds the maximum number of tokens allowed (8)."),
            CONTEXT_TOO_LONG,
        ),
        (
            400,
            rpc(400, "INVALID_ARGUMENT", "the input token count is 9 but model only supports up to 8"),
            CONTEXT_TOO_LONG,
        ),
        (400, rpc(400, "INVALID_ARGUMENT", "violates Google's Responsible AI practices"), CONTENT_BLOCKED),
        (400, rpc(400, "FAILED_PRECONDITION", "User location is not supported for the API use."), PROVIDER_AUTH_FAILED),
        (400, rpc(400, "FAILED_PRECONDITION", "Please enable billing on your project"), PROVIDER_QUOTA_EXCEEDED),
        (400, rpc(400, "INVALID_ARGUMENT", 'Unknown name "billing": Cannot find field.'), INVALID_REQUEST),
        (401, rpc(401, "UNAUTHENTICATED", "Invalid credentials"), PROVIDER_AUTH_FAILED),
        (403, rpc(403, "PERMISSION_DENIED", "No"), PROVIDER_AUTH_FAILED),
        (403, rpc(403, "PERMISSION_DENIED", "No", {"reason": "BILLING_DISABLED"}), PROVIDER_QUOTA_EXCEEDED),
        (403, rpc(403, "PERMISSION_DENIED", "You do not have permission to access the File x"), INVALID_REQUEST),
        (404, rpc(404, "NOT_FOUND", "models/x is not found"), MODEL_NOT_FOUND),
        (429, [rpc(429, "RESOURCE_EXHAUSTED", LIMIT, PER_MINUTE)], PROVIDER_RATE_LIMITED),
        (429, rpc(429, "RESOURCE_EXHAUSTED", LIMIT, PER_DAY, {"retryDelay": "9s"}), PROVIDER_QUOTA_EXCEEDED),
        (429, rpc(429, "RESOURCE_EXHAUSTED", LIMIT), PROVIDER_QUOTA_EXCEEDED),
        (429, rpc(429, "RESOURCE_EXHAUSTED", LIMIT, {"retryDelay": "9s"}), PROVIDER_RATE_LIMITED),
        (429, rpc(429, "RESOURCE_EXHAUSTED", "Resource exhausted. Please try again later."), PROVIDER_RATE_LIMITED),
        (499, rpc(499, "CANCELLED", "The operation was cancelled."), PROVIDER_UNAVAILABLE),
        (500, rpc(500, "INTERNAL", "An internal error has occurred."), PROVIDER_UNAVAILABLE),
        (503, rpc(503, "UNAVAILABLE", "overloaded"), PROVIDER_UNAVAILABLE),
        (504, rpc(504, "DEADLINE_EXCEEDED", "too slow"), PROVIDER_TIMEOUT),
        (502, "a page", PROVIDER_UNAVAILABLE),
        (400, {"error": {"details": [7, {"violations": 7, "metadata": [], "reason": {}}]}}, INVALID_REQUEST),
    ],
)
def test_a_failure_means_what_its_details_say(status: int, value: Any, reason: ErrorReason.ValueType) -> None:
    assert failed(status, value).reason == reason


def test_a_limit_tells_how_long_to_wait_unless_the_quota_is_used_up() -> None:
    burst = rpc(429, "RESOURCE_EXHAUSTED", LIMIT, PER_MINUTE, {"retryDelay": "48.9s"})
    used_up = rpc(429, "RESOURCE_EXHAUSTED", LIMIT, PER_DAY, {"retryDelay": "48.9s"})

    assert failed(429, burst).retry_after == 48.9
    assert failed(503, rpc(503, "UNAVAILABLE", "overloaded"), **{"retry-after": "7"}).retry_after == 7
    assert failed(429, used_up).retry_after is None


@pytest.mark.parametrize(
    ("status", "value", "by_words"),
    [
        (400, rpc(400, "INVALID_ARGUMENT", "Bad", {"reason": "API_KEY_INVALID"}), False),
        (400, rpc(400, "INVALID_ARGUMENT", "API key expired. Please renew it."), True),
        (400, rpc(400, "FAILED_PRECONDITION", "User location is not supported for the API use."), True),
        (401, rpc(401, "UNAUTHENTICATED", "API key not valid"), False),
        (403, rpc(403, "PERMISSION_DENIED", "No"), False),
        (403, "a page", False),
    ],
)
def test_a_refusal_that_only_words_tell_is_marked(status: int, value: Any, by_words: bool) -> None:
    error = failed(status, value)

    assert (error.reason, error.by_words) == (PROVIDER_AUTH_FAILED, by_words)


def test_a_page_from_in_front_of_the_api_is_not_shown_to_the_caller() -> None:
    error = Gemini().error(404, {}, b"<!DOCTYPE html><title>Error 404</title>")

    assert error.reason == MODEL_NOT_FOUND
    assert "<" not in error.message
    assert "DOCTYPE" in error.detail
