"""Recorded exchanges: how they are found, cut, read, and compared with an independent reading."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from loom_grpc.core.call import Call
from loom_grpc.core.decoder import Decoder
from loom_grpc.core.errors import LlmError
from loom_grpc.core.native import Native
from loom_grpc.providers.anthropic import Anthropic
from loom_grpc.providers.dialect import Dialect
from loom_grpc.providers.gemini import Gemini
from loom_grpc.providers.ollama import Ollama
from loom_grpc.providers.openai import Host, OpenAI
from loom_grpc.v1.llm_service_pb2 import LlmEvent, LlmRequest, LlmResponse

HERE: Final = Path(__file__).parent
FIXTURES: Final = HERE.parent / "fixtures"


def _responses() -> OpenAI:
    return OpenAI(Host(responses=True))


DIALECTS: Final[dict[str, Callable[[], Dialect]]] = {
    "messages": Anthropic,
    "anthropic_raw_predict": Anthropic,
    "chat_completions": OpenAI,
    "openai_chat": OpenAI,
    "responses": _responses,
    "openai_responses": _responses,
    "generate_content": Gemini,
    "chat": Ollama,
}
"""The dialect that reads each recorded API; other APIs are not spoken to providers."""


@dataclass(frozen=True)
class Case:
    """A recorded exchange and the independent reading of it, which may be missing."""

    id: str
    provider: str
    api: str
    status: int
    headers: dict[str, str]
    body: bytes
    stream: bool
    expect: dict[str, Any] | None

    @property
    def media_type(self) -> str:
        """The media type, also where the recorder kept no headers."""
        named = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if named or not self.stream:
            return named or "application/json"
        return "text/event-stream" if b"data:" in self.body else "application/json"


@dataclass
class Reading:
    """What our dialect makes of a case."""

    events: list[LlmEvent] = field(default_factory=list)
    response: LlmResponse | None = None
    failure: LlmError | None = None

    @property
    def answer(self) -> dict[str, Any]:
        """The answer in the words of the independent reading."""
        assert self.response is not None, self.failure
        message = self.response.message
        return {
            "text": message.content,
            "reasoning": "".join(part.thinking for part in message.parts),
            "refusal": "".join(part.refusal for part in message.parts),
            "tool_calls": [(call.tool_name, _parsed(call.arguments_json)) for call in self.response.tool_calls],
            "finish": self.response.finish_reason,
        }


def load(path: Path, expect: dict[str, Any] | None) -> Case:
    """Reads a case file."""
    value = json.loads(path.read_text(encoding="utf-8"))
    response = value["response"]
    if expect is None and value["evidence"] == "synthetic-from-report":
        expect = {"outcome": "http_error" if response["status"] != 200 else "error_after_200"}
    if "body" in response:
        body = json.dumps(response["body"], ensure_ascii=False).encode()
    else:
        body = str(response.get("stream", response.get("body_text"))).encode()
    return Case(
        id=value["id"],
        provider=value["provider"],
        api=value["api"],
        status=response["status"],
        headers={name.lower(): entry for name, entry in (response.get("headers") or {}).items()},
        body=body,
        stream="stream" in response,
        expect=expect,
    )


def fixtures() -> list[Case]:
    """Loads the cases that are kept with the tests."""
    return [
        load(folder / "case.json", json.loads((folder / "expect.json").read_text(encoding="utf-8")))
        for folder in sorted(FIXTURES.glob("*/*/"))
    ]


def decoder(case: Case) -> Decoder:
    """Makes the decoder that the driver would make for the case."""
    call = Call(LlmRequest(), case.stream, "request", provider=case.provider, model="asked")
    if DIALECTS[case.api] is _responses:  # which is spoken only to callers who speak it too
        call.native = Native("responses", {}, {})
    return DIALECTS[case.api]().decoder(call, case.media_type)


def read(case: Case, chunks: list[bytes]) -> Reading:
    """Reads an answer in the given pieces."""
    reader = decoder(case)
    reading = Reading()
    for chunk in chunks:
        reading.events += reader.feed(chunk)
    reading.events += reader.end()
    reading.failure = reader.failure
    if reader.ended:
        reading.response = reading.events[-1].completed.response
    return reading


def cuts(body: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Cuts a body in every way that a network may."""
    yield "whole", [body]
    yield "byte by byte", [body[i : i + 1] for i in range(len(body))]
    yield "at every newline", body.splitlines(keepends=True)
    yield "in sevens", [body[i : i + 7] for i in range(0, len(body), 7)]


def line_ends(case: Case) -> Iterator[tuple[str, bytes]]:
    """Gives a stream with each kind of line ends; other bodies stay as they are."""
    if not case.stream or case.media_type != "text/event-stream":
        yield "as recorded", case.body
        return
    lines = case.body.replace(b"\r\n", b"\n")
    yield "LF", lines
    yield "CRLF", lines.replace(b"\n", b"\r\n")


def expected_answer(expect: dict[str, Any]) -> dict[str, Any]:
    """Puts the independent reading into the same words: finish words as text, a blocked prompt by the provider's word."""
    finish = str(expect["finish"] if expect["finish"] is not None else "")
    return {
        "text": expect["text"],
        "reasoning": expect["reasoning"],
        "refusal": expect["refusal"],
        "tool_calls": [(call["name"], call["arguments"]) for call in expect["tool_calls"]],
        "finish": finish.removeprefix("BLOCK:").removeprefix("incomplete:"),
    }


def expected_usage(case: Case) -> tuple[int, int, int, int, int]:
    """Works the contract's usage (input, output, cache read, cache write, reasoning) out of the provider's numbers."""
    assert case.expect is not None
    usage: dict[str, int] = case.expect["usage"]
    prompt, output = usage.get("input", 0), usage.get("output", 0)
    read, write, reasoning = usage.get("cache_read", 0), usage.get("cache_write", 0), usage.get("reasoning", 0)
    if case.api in ("messages", "anthropic_raw_predict"):
        prompt += read + write
    elif case.api == "generate_content":
        prompt += usage.get("tool_input", 0)
        output += reasoning
    elif reasoning and usage.get("total") == prompt + output + reasoning:
        output += reasoning
    return prompt, output, read, write, reasoning


def actual_usage(case: Case, response: LlmResponse) -> tuple[int, int, int, int, int]:
    """Returns the usage in the same order; cache writes count only where the independent reading knows of them."""
    assert case.expect is not None
    usage = response.usage
    return (
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens if "cache_write" in case.expect["usage"] else 0,
        usage.reasoning_tokens,
    )


def differences() -> dict[str, str]:
    """Returns the cases that are read differently on purpose, each with its reason."""
    rows = (HERE / "DIFFERENCES.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return dict(row.split("\t") for row in rows)


def _parsed(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments
