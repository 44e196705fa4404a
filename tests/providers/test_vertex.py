"""Vertex AI: where its requests go, and which dialect they are written in."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from loom_grpc.core.call import Call
from loom_grpc.core.errors import INVALID_REQUEST, PROVIDER_RATE_LIMITED, PROVIDER_UNAVAILABLE, LlmError
from loom_grpc.providers.vertex import Vertex, base_url
from loom_grpc.v1.llm_service_pb2 import STOP_REASON_STOP, LlmRequest
from loom_grpc.v1.message_pb2 import (
    ROLE_ASSISTANT,
    ROLE_SYSTEM,
    ROLE_TOOL,
    ROLE_USER,
    Message,
    ToolCall,
    ToolDefinition,
)

PUBLISHERS = "/v1/projects/my-project/locations/us-central1/publishers"
HELLO = Message(role=ROLE_USER, content="Hello")
SAID_HELLO = {"role": "user", "parts": [{"text": "Hello"}]}
CLAUDE = "claude-3-7-sonnet@20250219"


def vertex() -> Vertex:
    return Vertex("my-project", "us-central1")


def call(*messages: Message, stream: bool = False, model: str = "gemini-2.5-flash", **fields: Any) -> Call:
    return Call(LlmRequest(messages=messages, **fields), stream, "r", provider="vertex", model=model, attempt=1)


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("us-central1", "https://us-central1-aiplatform.googleapis.com"),
        ("global", "https://aiplatform.googleapis.com"),
        ("eu", "https://aiplatform.eu.rep.googleapis.com"),
    ],
)
def test_each_location_has_its_address(location: str, url: str) -> None:
    assert base_url(location) == url


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gemini-2.5-flash", "/google/models/gemini-2.5-flash:streamGenerateContent?alt=sse"),
        ("models/gemini-2.5-flash", "/google/models/gemini-2.5-flash:streamGenerateContent?alt=sse"),
        ("meta/llama@1", "/meta/models/llama@1:streamGenerateContent?alt=sse"),
        ("publishers/google/models/gemini-x", "/google/models/gemini-x:streamGenerateContent?alt=sse"),
        (CLAUDE, f"/anthropic/models/{CLAUDE}:streamRawPredict"),
        ("anthropic/claude-x", "/anthropic/models/claude-x:streamRawPredict"),
    ],
)
def test_the_path_names_project_location_publisher_and_model(model: str, path: str) -> None:
    assert vertex().encode(call(HELLO, stream=True, model=model)).path == PUBLISHERS + path


@pytest.mark.parametrize("model", ["../../secrets", "a/b/c", "Google/x"])
def test_a_model_that_would_leave_its_place_is_refused(model: str) -> None:
    with pytest.raises(LlmError) as caught:
        vertex().encode(call(HELLO, model=model))

    assert (caught.value.reason, caught.value.metadata) == (INVALID_REQUEST, {"field": "model"})


def test_gemini_is_asked_in_its_dialect_without_ids_of_calls() -> None:
    asked = Message(role=ROLE_ASSISTANT, tool_calls=[ToolCall(id="a1", tool_name="now")])
    told = Message(role=ROLE_TOOL, tool_call_id="a1", content="Noon")

    http = vertex().encode(call(HELLO, asked, told))

    assert http.path == f"{PUBLISHERS}/google/models/gemini-2.5-flash:generateContent"
    assert orjson.loads(http.body) == {
        "contents": [
            SAID_HELLO,
            {"role": "model", "parts": [{"functionCall": {"name": "now", "args": {}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "now", "response": {"result": "Noon"}}}]},
        ]
    }


def test_claude_is_asked_in_anthropics_dialect_with_the_model_in_the_path() -> None:
    http = vertex().encode(call(Message(role=ROLE_SYSTEM, content="Be brief."), HELLO, model=CLAUDE, max_tokens=9))

    assert (http.method, http.path) == ("POST", f"{PUBLISHERS}/anthropic/models/{CLAUDE}:rawPredict")
    assert orjson.loads(http.body) == {
        "anthropic_version": "vertex-2023-10-16",
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": 9,
        "stream": False,
    }


def test_each_model_is_counted_in_its_own_way() -> None:
    gemini = vertex().encode_count(call(HELLO, tools=[ToolDefinition(name="now")], max_tokens=9))
    claude = vertex().encode_count(call(HELLO, model=f"anthropic/{CLAUDE}"))

    assert gemini is not None
    assert gemini.path == f"{PUBLISHERS}/google/models/gemini-2.5-flash:countTokens"
    assert orjson.loads(gemini.body) == {
        "contents": [SAID_HELLO],
        "tools": [{"functionDeclarations": [{"name": "now", "description": ""}]}],
    }
    assert claude is not None
    assert claude.path == f"{PUBLISHERS}/anthropic/models/count-tokens:rawPredict"
    assert orjson.loads(claude.body) == {
        "anthropic_version": "vertex-2023-10-16",
        "model": CLAUDE,
        "messages": [{"role": "user", "content": "Hello"}],
    }
    assert vertex().decode_count(b'{"totalTokens":7}') == 7
    assert vertex().decode_count(b'{"input_tokens":8}') == 8


def test_each_model_is_read_in_its_own_dialect() -> None:
    gemini = vertex().decoder(call(HELLO), "application/json")
    claude = vertex().decoder(call(HELLO, model=CLAUDE), "application/json")

    events = gemini.feed(b'{"candidates":[{"content":{"parts":[{"text":"Hi"}]},"finishReason":"STOP"}]}')
    events += gemini.end()
    spoken = claude.feed(b'{"type":"message","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn"}')
    spoken += claude.end()

    for response in (events[-1].completed.response, spoken[-1].completed.response):
        assert (response.message.content, response.stop_reason) == ("Hi", STOP_REASON_STOP)


def test_failures_are_google_s_or_anthropic_s() -> None:
    google = [{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Resource exhausted."}}]
    anthropic = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}

    assert vertex().error(429, {}, orjson.dumps(google)).reason == PROVIDER_RATE_LIMITED
    assert vertex().error(529, {}, orjson.dumps(anthropic)).reason == PROVIDER_UNAVAILABLE


def test_there_is_no_list_of_models() -> None:
    assert vertex().encode_models() is None
    assert vertex().decode_models(b"{}") == []
