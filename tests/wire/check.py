"""What has to hold for a recorded exchange, cut in any way; each broken promise is a sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from loom_grpc.core.errors import TABLE, LlmError, reason_name
from tests.wire.cases import (
    DIALECTS,
    HERE,
    Case,
    Reading,
    actual_usage,
    cuts,
    decoder,
    expected_answer,
    expected_usage,
    line_ends,
    read,
)

_BYTEWISE_LIMIT: Final = 200_000
"""Longer bodies are cut at every newline and in sevens only: byte by byte they would take minutes."""
_REASONS: Final = {reason_name(reason): reason for reason in TABLE}


def problems(case: Case) -> Iterator[str]:
    """Yields what is wrong with our reading of a case."""
    assert case.expect is not None
    if case.expect["outcome"] == "http_error":
        yield from _wrong_error(case)
        return
    for ends, body in line_ends(case):
        for way, chunks in cuts(body):
            if way == "byte by byte" and len(body) > _BYTEWISE_LIMIT:
                continue
            for problem in _wrong_answer(case, read(case, chunks)):
                yield f"{ends}, {way}: {problem}"
    yield from _false_success(case)


def _wrong_error(case: Case) -> Iterator[str]:
    assert case.expect is not None
    error = DIALECTS[case.api]().error(case.status, case.headers, case.body)
    yield from _wrong_reason(case, error)
    if error.message and str(case.body[:20]) in error.message:
        yield "the provider's body is in the message"


def _wrong_reason(case: Case, error: LlmError) -> Iterator[str]:
    expected = reasons().get(case.id)
    if expected is None:
        yield f"no reason is written down for it; it was read as {error.name}"
    elif error.name != expected:
        yield f"read as {error.name}, not as {expected}"


def _wrong_answer(case: Case, reading: Reading) -> Iterator[str]:
    assert case.expect is not None
    if case.expect["outcome"] == "error_after_200":
        if reading.failure is None:
            yield "the failure was not seen"
        else:
            yield from _wrong_reason(case, reading.failure)
        return
    if reading.failure is not None:
        yield f"failed: {reading.failure.message} {reading.failure.detail}"
        return
    actual, expected = reading.answer, expected_answer(case.expect)
    yield from (
        f"{name} is {actual[name]!r}, not {expected[name]!r}" for name in expected if actual[name] != expected[name]
    )
    yield from _wrong_numbers(case, reading)
    yield from _wrong_events(reading)


def _wrong_numbers(case: Case, reading: Reading) -> Iterator[str]:
    assert case.expect is not None
    assert reading.response is not None
    if case.expect["usage"] and actual_usage(case, reading.response) != expected_usage(case):
        yield f"usage is {actual_usage(case, reading.response)}, not {expected_usage(case)}"
    if case.expect["model"] and reading.response.model != case.expect["model"]:
        yield f"model is {reading.response.model!r}, not {case.expect['model']!r}"
    if case.expect["response_id"] and reading.response.id != case.expect["response_id"]:
        yield f"id is {reading.response.id!r}, not {case.expect['response_id']!r}"


def _wrong_events(reading: Reading) -> Iterator[str]:
    """Checks that the events tell the same as the whole answer."""
    assert reading.response is not None
    kinds = [event.WhichOneof("event") for event in reading.events]
    if (
        kinds.count("completed") != 1
        or kinds[-1] != "completed"
        or kinds[0] != "started"
        or kinds.count("started") != 1
    ):
        yield f"the events are {kinds}"
    text = "".join(event.text_delta.content for event in reading.events)
    if text != reading.response.message.content:
        yield f"the deltas say {text!r}"
    fragments: dict[str, str] = {}
    for event in reading.events:
        if event.HasField("tool_call_delta"):
            delta = event.tool_call_delta
            fragments[delta.call_id] = fragments.get(delta.call_id, "") + delta.arguments_fragment
    whole = {call.id: call.arguments_json for call in reading.response.tool_calls}
    if fragments != whole:
        yield f"the fragments of tool calls say {fragments!r}, the calls {whole!r}"


def _false_success(case: Case) -> Iterator[str]:
    """Breaks a stream off after every line: what is then still taken for complete must have everything in it."""
    assert case.expect is not None
    if not case.stream or case.expect["outcome"] != "message":
        return
    expected = expected_answer(case.expect)
    reader = decoder(case)
    lines = case.body.splitlines(keepends=True)
    ends = [i + 1 for i, line in enumerate(lines) if not line.strip() or line.startswith(b"{")]
    for end in ends:
        reader = decoder(case)
        reader.feed(b"".join(lines[:end]))
        event = reader.end()[-1:]
        if reader.ended and event:
            content = event[0].completed.response.message.content
            if content != expected["text"]:
                yield f"cut after line {end} it was taken for complete"


def reasons() -> dict[str, str]:
    """Returns the reason that each recorded failure means."""
    table: dict[str, str] = json.loads((HERE / "reasons.json").read_text(encoding="utf-8"))
    return table


def known(reason: str) -> bool:
    """Tells whether there is such a reason."""
    return reason in _REASONS
