"""What gets through from each front end to each provider's dialect and back, as the code has it: the tables of docs/frontends.md."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import orjson

from loom_grpc.core.call import Call
from loom_grpc.core.errors import LlmError
from loom_grpc.frontends.anthropic import Messages
from loom_grpc.frontends.frontend import Asked, Frontend
from loom_grpc.frontends.gemini import Gemini as GeminiFrontend
from loom_grpc.frontends.openai_chat import OpenAIChat
from loom_grpc.frontends.openai_responses import OpenAIResponses
from loom_grpc.providers.anthropic import Anthropic
from loom_grpc.providers.dialect import Dialect
from loom_grpc.providers.gemini import Gemini
from loom_grpc.providers.ollama import Ollama
from loom_grpc.providers.openai import Host, OpenAI
from loom_grpc.v1.llm_service_pb2 import (
    STOP_REASON_LENGTH,
    STOP_REASON_STOP,
    STOP_REASON_TOOL_CALLS,
    LlmResponse,
    StopReason,
)
from loom_grpc.v1.message_pb2 import ROLE_ASSISTANT, Citation, Media, Message, Part, ToolCall
from loom_grpc.v1.usage_pb2 import Usage

FRONTENDS: Final[Mapping[str, Frontend]] = {
    "openai": OpenAIChat(lambda: 0.0),
    "responses": OpenAIResponses(lambda: 0.0),
    "anthropic": Messages(counts=False),
    "gemini": GeminiFrontend("generateContent"),
}
TITLES: Final = {
    "openai": "Chat Completions",
    "responses": "Responses",
    "anthropic": "Messages",
    "gemini": "generateContent",
    "ollama": "Ollama",
}
DIALECTS: Final[Mapping[str, Callable[[], Dialect]]] = {
    "openai": OpenAI,
    "anthropic": Anthropic,
    "gemini": Gemini,
    "ollama": Ollama,
}
"""What requests are translated to; Responses are spoken only to those who speak them."""
READERS: Final[Mapping[str, Callable[[], Dialect]]] = {**DIALECTS, "responses": lambda: OpenAI(Host(responses=True))}
"""What reads an answer as a client of each front end's API does."""

Body = dict[str, Any]

_PIXEL: Final = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
_PAPER: Final = base64.b64encode(b"%PDF-1.4\n").decode()
_SCHEMA: Final = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_HI: Final[Mapping[str, Body]] = {
    "openai": {"model": "m", "messages": [{"role": "user", "content": "Hi"}]},
    "responses": {"model": "m", "input": "Hi"},
    "anthropic": {"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": "Hi"}]},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]},
}
_TOOL: Final[Mapping[str, Body]] = {
    "openai": {"tools": [{"type": "function", "function": {"name": "weather", "parameters": _SCHEMA}}]},
    "responses": {"tools": [{"type": "function", "name": "weather", "parameters": _SCHEMA}]},
    "anthropic": {"tools": [{"name": "weather", "input_schema": _SCHEMA}]},
    "gemini": {"tools": [{"functionDeclarations": [{"name": "weather", "parametersJsonSchema": _SCHEMA}]}]},
}


def _openai(*content: Body) -> Body:
    return {"messages": [{"role": "user", "content": list(content)}]}


def _responses(*content: Body) -> Body:
    return {"input": [{"role": "user", "content": list(content)}]}


def _anthropic(*content: Body) -> Body:
    return {"messages": [{"role": "user", "content": list(content)}]}


def _gemini(*parts: Body) -> Body:
    return {"contents": [{"role": "user", "parts": list(parts)}]}


_ROUND: Final[Mapping[str, Body]] = {
    "openai": {
        "messages": [
            {"role": "user", "content": "Hi"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": f"call_{n}",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city":"Oslo"}'},
                    }
                    for n in (1, 2)
                ],
            },
            *({"role": "tool", "tool_call_id": f"call_{n}", "content": "Rain"} for n in (1, 2)),
        ]
    },
    "responses": {
        "input": [
            {"role": "user", "content": "Hi"},
            *(
                {"type": "function_call", "call_id": f"call_{n}", "name": "weather", "arguments": '{"city":"Oslo"}'}
                for n in (1, 2)
            ),
            *({"type": "function_call_output", "call_id": f"call_{n}", "output": "Rain"} for n in (1, 2)),
        ]
    },
    "anthropic": {
        "messages": [
            {"role": "user", "content": "Hi"},
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": f"toolu_{n}", "name": "weather", "input": {"city": "Oslo"}}
                    for n in (1, 2)
                ],
            },
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": f"toolu_{n}", "content": "Rain"} for n in (1, 2)],
            },
        ]
    },
    "gemini": {
        "contents": [
            {"role": "user", "parts": [{"text": "Hi"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "weather", "args": {"city": "Oslo"}}}] * 2},
            {"role": "user", "parts": [{"functionResponse": {"name": "weather", "response": {"sky": "Rain"}}}] * 2},
        ]
    },
}

REQUESTS: Final[Mapping[str, Mapping[str, Body]]] = {
    "text, limit, temperature, top p, stop": {
        "openai": {"max_tokens": 9, "temperature": 0.5, "top_p": 0.9, "stop": ["x"]},
        "responses": {"max_output_tokens": 9, "temperature": 0.5, "top_p": 0.9},  # which has no stop
        "anthropic": {"temperature": 0.5, "top_p": 0.9, "stop_sequences": ["x"]},
        "gemini": {"generationConfig": {"maxOutputTokens": 9, "temperature": 0.5, "topP": 0.9, "stopSequences": ["x"]}},
    },
    "system instructions": {
        "openai": {"messages": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi"}]},
        "responses": {"instructions": "Be brief."},
        "anthropic": {"system": [{"type": "text", "text": "Be brief."}]},
        "gemini": {"systemInstruction": {"parts": [{"text": "Be brief."}]}},
    },
    "tools": _TOOL,
    "calls of tools and their results": {name: {**_TOOL[name], **body} for name, body in _ROUND.items()},
    "one certain tool": {
        "openai": {**_TOOL["openai"], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
        "responses": {**_TOOL["responses"], "tool_choice": {"type": "function", "name": "weather"}},
        "anthropic": {**_TOOL["anthropic"], "tool_choice": {"type": "tool", "name": "weather"}},
        "gemini": {
            **_TOOL["gemini"],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["weather"]}},
        },
    },
    "one call at a time": {
        "openai": {**_TOOL["openai"], "parallel_tool_calls": False},
        "responses": {**_TOOL["responses"], "parallel_tool_calls": False},
        "anthropic": {**_TOOL["anthropic"], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
    },
    "an answer by a JSON schema": {
        "openai": {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "place", "schema": _SCHEMA, "strict": True},
            }
        },
        "responses": {"text": {"format": {"type": "json_schema", "name": "place", "schema": _SCHEMA, "strict": True}}},
        "anthropic": {"output_config": {"format": {"type": "json_schema", "schema": _SCHEMA}}},
        "gemini": {"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": _SCHEMA}},
    },
    "pictures": {
        "openai": _openai({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_PIXEL}"}}),
        "responses": _responses({"type": "input_image", "image_url": f"data:image/png;base64,{_PIXEL}"}),
        "anthropic": _anthropic(
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": _PIXEL}}
        ),
        "gemini": _gemini({"inlineData": {"mimeType": "image/png", "data": _PIXEL}}),
    },
    "PDF documents": {
        "openai": _openai(
            {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{_PAPER}"}}
        ),
        "responses": _responses(
            {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{_PAPER}"}
        ),
        "anthropic": _anthropic(
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": _PAPER}}
        ),
        "gemini": _gemini({"inlineData": {"mimeType": "application/pdf", "data": _PAPER}}),
    },
    "sound": {
        "openai": _openai({"type": "input_audio", "input_audio": {"data": _PIXEL, "format": "wav"}}),
        "gemini": _gemini({"inlineData": {"mimeType": "audio/wav", "data": _PIXEL}}),
    },
    "how much to think": {
        "openai": {"reasoning_effort": "high"},
        "responses": {"reasoning": {"effort": "high"}},
        "anthropic": {"max_tokens": 9000, "thinking": {"type": "enabled", "budget_tokens": 2048}},
        "gemini": {"generationConfig": {"thinkingConfig": {"thinkingBudget": 2048}}},
    },
    "a seed": {"openai": {"seed": 7}, "gemini": {"generationConfig": {"seed": 7}}},
    "top k": {"anthropic": {"top_k": 40}, "gemini": {"generationConfig": {"topK": 40}}},
    "markers for the prompt cache": {
        "anthropic": _anthropic({"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}})
    },
    "several answers": {"openai": {"n": 2}, "gemini": {"generationConfig": {"candidateCount": 2}}},
    "log probabilities": {
        "openai": {"logprobs": True},
        "responses": {"include": ["message.output_text.logprobs"]},
        "gemini": {"generationConfig": {"responseLogprobs": True}},
    },
    "tools of the provider's own": {
        "openai": {"web_search_options": {}},
        "responses": {"tools": [{"type": "web_search"}]},
        "anthropic": {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        "gemini": {"tools": [{"googleSearch": {}}]},
    },
}
"""What a request may say, in the words of each API that can say it, beside a greeting."""


class Answer(NamedTuple):
    """Something that an answer may have, and how to find it in one."""

    response: LlmResponse
    found: Callable[[LlmResponse], object]


def _said(*parts: Part, stop: StopReason.ValueType = STOP_REASON_STOP, **fields: Any) -> LlmResponse:
    text = "".join(part.text for part in parts)
    shown = [part for part in parts if not part.text] and parts
    message = Message(role=ROLE_ASSISTANT, content=text, parts=shown, tool_calls=fields.get("tool_calls", ()))
    return LlmResponse(message=message, finish_reason="end", stop_reason=stop, id="r", model="m", **fields)


_CALLS: Final = [
    ToolCall(id="a", tool_name="weather", arguments_json='{"city":"<Zürich> & \\"001\\""}'),
    ToolCall(id="b", tool_name="time", arguments_json="{}"),
]

ANSWERS: Final[Mapping[str, Answer]] = {
    "text": Answer(_said(Part(text="Hello.")), lambda response: response.message.content),
    "calls of tools, to the byte": Answer(
        _said(stop=STOP_REASON_TOOL_CALLS, tool_calls=_CALLS),
        lambda response: [(call.id, call.tool_name, orjson.loads(call.arguments_json)) for call in response.tool_calls],
    ),
    "thoughts": Answer(
        _said(Part(thinking="Well."), Part(text="Hello.")),
        lambda response: "".join(part.thinking for part in response.message.parts),
    ),
    "sources": Answer(
        _said(Part(text="Hello."), Part(citation=Citation(url="https://example.org", title="An example"))),
        lambda response: [part.citation.url for part in response.message.parts if part.HasField("citation")],
    ),
    "pictures": Answer(
        _said(Part(image=Media(data=b"PNG", media_type="image/png"))),
        lambda response: [part.image.data for part in response.message.parts if part.HasField("image")],
    ),
    "a refusal in its own words": Answer(
        _said(Part(refusal="I cannot.")),
        lambda response: "".join(part.refusal for part in response.message.parts),
    ),
    "that the limit was reached": Answer(
        _said(Part(text="Hel"), stop=STOP_REASON_LENGTH), lambda response: response.stop_reason
    ),
    "tokens, cached and thinking ones apart": Answer(
        _said(
            Part(text="Hello."),
            usage=Usage(input_tokens=30, output_tokens=20, cache_read_tokens=10, reasoning_tokens=5),
        ),
        lambda response: (
            response.usage.input_tokens,
            response.usage.output_tokens,
            response.usage.cache_read_tokens,
            response.usage.reasoning_tokens,
        ),
    ),
}
"""What an answer of another dialect may have, and whether a client of the front end's API can read it in there."""


def asked(frontend: str, feature: str) -> Asked:
    """Reads a request that has a feature, as the front end does."""
    body = {**_HI[frontend], **REQUESTS[feature][frontend]}
    return FRONTENDS[frontend].read(orjson.dumps(body), {"model": "m"}, {})


def outcome(frontend: str, dialect: str, feature: str) -> str:
    """Says what becomes of a feature of a request on its way to a provider's dialect."""
    if feature not in REQUESTS or frontend not in REQUESTS[feature]:
        return ""
    if frontend == dialect:
        return "as it is"
    request = asked(frontend, feature)
    if request.native is not None and request.native.untold:
        return "refused"
    try:
        told = _written(request, dialect)
    except LlmError:
        return "refused"
    return "left out" if told == _written(_without(frontend, feature), dialect) else "yes"


def _written(request: Asked, dialect: str) -> bytes:
    """Writes a request in a provider's dialect."""
    call = Call(request.request, stream=False, request_id="r", provider=dialect, model="m")
    return DIALECTS[dialect]().encode(call).body


def _without(frontend: str, feature: str) -> Asked:
    """Reads the request that differs in nothing but a feature."""
    if feature == "one call at a time" and frontend == "anthropic":
        body = {**_HI[frontend], **_TOOL[frontend], "tool_choice": {"type": "auto"}}
        return FRONTENDS[frontend].read(orjson.dumps(body), {"model": "m"}, {})
    more = _TOOL[frontend] if REQUESTS[feature][frontend].keys() & _TOOL[frontend].keys() and feature != "tools" else {}
    return FRONTENDS[frontend].read(orjson.dumps({**_HI[frontend], **more}), {"model": "m"}, {})


def comes_back(frontend: str, name: str) -> str:
    """Says whether a client of a front end's API reads in an answer what a provider of another dialect put there."""
    answer = ANSWERS[name]
    request = asked(frontend, "tools")
    call = Call(request.request, stream=False, request_id="r", model="m")
    body = FRONTENDS[frontend].writer(request, call).whole(answer.response, b"")
    call.native = request.native
    decoder = READERS[frontend]().decoder(call, "application/json")
    events = decoder.feed(body) + decoder.end()
    if decoder.failure is not None:
        raise decoder.failure
    read = events[-1].completed.response
    return "yes" if answer.found(read) == answer.found(answer.response) else "no"


def requests_table() -> Iterator[str]:
    """Yields the lines of the table of what requests may say."""
    pairs = [(front, dialect) for front in FRONTENDS for dialect in DIALECTS]
    yield "| a request says | " + " | ".join(f"{TITLES[f]} to {TITLES[d]}" for f, d in pairs if f != d) + " |"
    yield "|---" * (1 + sum(f != d for f, d in pairs)) + "|"
    for feature in REQUESTS:
        cells = [outcome(front, dialect, feature) for front, dialect in pairs if front != dialect]
        yield f"| {feature} | " + " | ".join(cells) + " |"


def answers_table() -> Iterator[str]:
    """Yields the lines of the table of what answers may have."""
    yield "| an answer of another dialect has | " + " | ".join(TITLES[front] for front in FRONTENDS) + " |"
    yield "|---" * (1 + len(FRONTENDS)) + "|"
    for name in ANSWERS:
        yield f"| {name} | " + " | ".join(comes_back(front, name) for front in FRONTENDS) + " |"
