"""Whether a runner's answer is what its case expects."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError, Message

from clients.conformance.case import METHODS, Case
from clients.conformance.match import differences, filled
from clients.conformance.odd import Seen
from loom_grpc.v1.llm_service_pb2 import LlmEvent, LlmResponse

KEYS: Final = {"name", "response", "events", "error", "cancelled", "trailers", "elapsed_ms"}
"""What an answer has; `events` only that of a stream."""
_DELTAS: Final = ("text_delta", "thinking_delta", "tool_call_delta")
_ERROR_KEYS: Final = {"reason", "message", "retry_after_ms", "metadata", "partial"}


def judge(
    case: Case, words: Mapping[str, Any], line: str, seen: Seen | None = None, key: str | None = None
) -> list[str]:
    """Compares the line that a runner printed with what the case expects, and returns what is wrong with it.

    `words` are the values of `$name` in the expectation, `seen` is what the odd server saw, and `key` is what must not be shown.
    """
    try:
        answer = json.loads(line)
    except ValueError:
        return [f"the runner printed what is not JSON: {line[:200]!r}"]
    if not isinstance(answer, dict) or answer.get("name") != case.name:
        return [f"the runner printed what is not its answer: {line[:200]!r}"]
    if "failed" in answer:
        return [f"the runner could not carry the case out: {answer['failed']}"]
    keys = KEYS if case.method == "stream" else KEYS - {"events"}
    if keys - answer.keys():
        return [f"the answer lacks {', '.join(sorted(keys - answer.keys()))}"]
    try:
        actual, problems = _readable(case, answer)
    except (DecodeError, ValueError, TypeError, KeyError) as error:
        return [f"the answer cannot be read: {type(error).__name__}: {error}"]
    if seen is not None:
        actual["seen"] = _seen(case, seen)
        problems += _repeated(case, seen)
    problems += differences(_whole(case, words), actual)
    if key and key in line:
        problems.append("the answer shows the API key")
    return problems


def _whole(case: Case, words: Mapping[str, Any]) -> dict[str, Any]:
    """Completes an expectation: what it does not name has to be absent."""
    expect: dict[str, Any] = filled({name: value for name, value in case.expect.items() if name != "record"}, words)
    if isinstance(expect.get("error"), dict):
        expect["error"] = dict.fromkeys(_ERROR_KEYS) | expect["error"]
    usual: dict[str, Any] = {"response": None, "error": None, "cancelled": False, "elapsed_ms": None}
    if case.method == "stream":
        usual |= {"events": [], "text": "", "thinking": ""}
    return usual | expect


def _readable(case: Case, answer: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Returns an answer in the words of an expectation, as far as the case has any for it, and what contradicts itself."""
    expect, method = case.expect, METHODS[case.method]
    response = _message(answer["response"], method.response)
    actual: dict[str, Any] = {
        "response": _json(response),
        "error": answer["error"] and _error(answer["error"]),
        "cancelled": answer["cancelled"],
        "elapsed_ms": answer["elapsed_ms"] if "elapsed_ms" in expect else None,
    }
    if "trailers" in expect:
        actual["trailers"] = {name: text for name, text in answer["trailers"].items() if name.startswith("loom-")}
    problems = [] if answer["elapsed_ms"] >= 0 else ["elapsed_ms is negative"]
    if case.method == "stream":
        events = [event for item in answer["events"] if (event := _message(item, LlmEvent)) is not None]
        actual |= _story(events, expect.get("events", []))
        problems += _contradictions(events, response)
    if "count" in expect:
        actual["count"] = len(answer["events"])
    return actual, problems


def _error(error: Mapping[str, Any]) -> dict[str, Any]:
    if error.keys() != _ERROR_KEYS:
        raise ValueError(f"the error has {sorted(error)} and not {sorted(_ERROR_KEYS)}")
    return {**error, "partial": _json(_message(error["partial"], LlmResponse))}


def _story(events: Iterable[LlmEvent], expected: Iterable[Any]) -> dict[str, Any]:
    """Tells what happened: kinds, deltas of one kind in a row as one, and whole events where the expectation has a whole one.

    Events of unknown cases may be handed on or passed over, and so do not count.
    """
    known = [event for event in events if event.WhichOneof("event")]
    runs = [event for event, before in zip(known, [None, *known], strict=False) if not _goes_on(event, before)]
    wanted = [*expected, *[""] * len(runs)]
    return {
        "events": [
            _json(event) if isinstance(want, dict) else event.WhichOneof("event")
            for want, event in zip(wanted, runs, strict=False)
        ],
        "text": "".join(event.text_delta.content for event in known),
        "thinking": "".join(event.thinking_delta.content for event in known),
    }


def _goes_on(event: LlmEvent, before: LlmEvent | None) -> bool:
    """Tells whether an event is one more of the deltas that it comes after."""
    kind = event.WhichOneof("event")
    return before is not None and kind in _DELTAS and before.WhichOneof("event") == kind


def _contradictions(events: list[LlmEvent], response: Message | None) -> list[str]:
    """Compares a stream with its own end."""
    completed = [event.completed.response for event in events if event.HasField("completed")]
    if [*completed] != ([] if response is None else [response]):
        return ["the response is not that of `completed`"]
    if not completed or any(event.HasField("restarted") for event in events):
        return []
    text = "".join(event.text_delta.content for event in events)
    problems = [] if text == completed[0].message.content else ["the deltas are not the text of the whole answer"]
    if _calls(events) != [(call.id, call.tool_name, call.arguments_json) for call in completed[0].tool_calls]:
        problems.append("the fragments are not the tool calls of the whole answer")
    return problems


def _calls(events: Iterable[LlmEvent]) -> list[tuple[str, str, str]]:
    calls: dict[int, tuple[str, str, str]] = {}
    for delta in (event.tool_call_delta for event in events if event.HasField("tool_call_delta")):
        arguments = calls[delta.index][2] if delta.index in calls else ""
        calls[delta.index] = (delta.call_id, delta.tool_name, arguments + delta.arguments_fragment)
    return [calls[index] for index in sorted(calls)]


def _seen(case: Case, seen: Seen) -> dict[str, Any] | None:
    """Returns what the case wants to know of what the odd server saw."""
    wanted = case.expect.get("seen")
    return None if wanted is None else {name: value for name, value in seen.facts().items() if name in wanted}


def _repeated(case: Case, seen: Seen) -> list[str]:
    """Compares what arrived with what was to be sent: the request as it was, and each call once."""
    if case.method == "list_models":
        return []
    request = case.message()
    counted = len(seen.requests) == 1 or "calls" in case.expect.get("seen", {})
    problems = [] if counted else [f"the server was asked {len(seen.requests)} times"]
    return problems + [
        "the request arrived as another one"
        for arrived in seen.requests
        if type(request).FromString(arrived) != request
    ]


def _message(text: str | None, kind: type[Any]) -> Any:
    return None if text is None else kind.FromString(base64.b64decode(text, validate=True))


def _json(message: Message | None) -> dict[str, Any] | None:
    return None if message is None else MessageToDict(message, preserving_proto_field_name=True)
