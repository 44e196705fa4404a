"""The events of one answer and the whole answer, built together so that they cannot disagree."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from typing import Any, Final

from loom_grpc.core.call import Call
from loom_grpc.core.errors import PROVIDER_BAD_RESPONSE, LlmError
from loom_grpc.core.reported import reported_cost
from loom_grpc.v1.llm_service_pb2 import (
    STOP_REASON_REFUSAL,
    STOP_REASON_STOP,
    STOP_REASON_TOOL_CALLS,
    STOP_REASON_UNSPECIFIED,
    Error,
    LlmEvent,
    LlmResponse,
    Started,
    StopReason,
    ToolCallDelta,
)
from loom_grpc.v1.message_pb2 import ROLE_ASSISTANT, Citation, Message, Part, ToolCall
from loom_grpc.v1.usage_pb2 import Usage

_TEXT: Final = "text"
_THINKING: Final = "thinking"


class _Words:
    """A run of visible text or of reasoning."""

    __slots__ = ("chunks", "citations", "kind", "state")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.chunks: list[str] = []
        self.state = b""
        self.citations: list[Part] = []

    def part(self, origin: str) -> Part:
        part = Part(provider_state=self.state, origin=origin if self.state else "")
        setattr(part, self.kind, "".join(self.chunks))
        return part


class _Tool:
    """A tool call that is being spelled out."""

    __slots__ = ("fragments", "id", "index", "name", "state", "waiting")

    def __init__(self, index: int) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.state = b""
        self.fragments: list[str] = []
        self.waiting: list[str] = []
        """Fragments that came before the name, which every delta must carry."""

    def call(self, origin: str) -> ToolCall:
        return ToolCall(
            id=self.id,
            tool_name=self.name,
            arguments_json="".join(self.fragments),
            provider_state=self.state,
            origin=origin if self.state else "",
        )


class Answer:
    """Collects what a decoder reads from one provider's answer; `take` hands out the events that have become due.

    `started` leaves together with the first content, so that an answer that fails before it can still be asked for again.
    Neighbouring text of one read becomes one event.
    """

    def __init__(self, call: Call, origin: str, read_usage: Callable[[dict[str, Any]], Usage]) -> None:
        self.id = ""
        self.model = call.model
        self.usage: dict[str, Any] | None = None
        """The provider's own usage object, as far as it is known."""
        self._call = call
        self._origin = origin
        self._read_usage = read_usage
        self._started = False
        self._events: list[LlmEvent] = []
        self._delta: list[str] = []
        self._delta_kind = _TEXT
        self._blocks: list[_Words | Part | _Tool] = []
        self._words: _Words | None = None
        self._tools: dict[object, _Tool] = {}

    @property
    def empty(self) -> bool:
        """Whether no content has come yet."""
        return not self._blocks

    def take(self) -> list[LlmEvent]:
        """Returns the events since the last time."""
        self._flush()
        events, self._events = self._events, []
        return events

    def text(self, content: str) -> None:
        """Adds visible text."""
        self._say(_TEXT, content)

    def thinking(self, content: str) -> None:
        """Adds reasoning."""
        self._say(_THINKING, content)

    def state(self, kind: str, state: bytes) -> None:
        """Keeps what the provider wants back with the current run of `text` or `thinking`, which may be empty."""
        self._run(kind).state += state

    def sign_thinking(self, state: bytes) -> None:
        """Keeps what the provider wants back with all its reasoning, which has ended and may not have been shown at all."""
        self.close()
        words = next((block for block in self._blocks if isinstance(block, _Words) and block.kind == _THINKING), None)
        if words is None:
            words = _Words(_THINKING)
            self._blocks.insert(0, words)
        words.state = state
        self._emit(LlmEvent(part=words.part(self._origin)))

    def close(self) -> None:
        """Ends the current run of text or reasoning; what follows is a part of its own."""
        words, self._words = self._words, None
        if words is not None and words.kind == _THINKING and words.state:
            self._emit(LlmEvent(part=words.part(self._origin)))

    def cite(self, citation: Citation) -> None:
        """Adds a source to the current run of text."""
        part = Part(citation=citation, origin=self._origin if citation.citation_json else "")
        self._run(_TEXT).citations.append(part)
        self._emit(LlmEvent(part=part))

    def part(self, part: Part) -> None:
        """Adds a whole part."""
        self.close()
        if part.provider_state or part.HasField("opaque") or part.HasField("redacted_thinking"):
            part.origin = self._origin
        self._blocks.append(part)
        self._emit(LlmEvent(part=part))

    def tool(self, key: object, *, id: str = "", name: str = "", fragment: str = "", state: bytes = b"") -> None:
        """Adds to the tool call that the provider numbers by `key`; the id and the name may come once or every time."""
        if key not in self._tools and not (id or name or fragment):
            return
        tool = self._tools.get(key) or self._open_tool(key)
        tool.id = tool.id or id
        tool.state = tool.state or state
        if fragment:
            tool.waiting.append(fragment)
        if name and not tool.name:
            tool.name = name
        elif not fragment:
            return
        if tool.name:
            self._spell(tool)

    def end_tool(self, key: object) -> None:
        """Closes a tool call: without any arguments they are `{}`."""
        tool = self._tools.pop(key, None)
        if tool is None:
            return
        if not tool.name:
            raise LlmError(PROVIDER_BAD_RESPONSE, "The provider sent a tool call without a name.")
        if not "".join(tool.fragments).strip():
            tool.waiting.append("{}")
            self._spell(tool)

    def complete(self, finish_reason: str, stop_reason: StopReason.ValueType) -> None:
        """Ends the answer with `completed`.

        Providers that say "stop" where the model called a tool or refused are put right in `stop_reason`; `finish_reason` stays theirs.
        """
        self._close_all()
        if stop_reason == STOP_REASON_STOP:
            stop_reason = self._real_stop()
        event = LlmEvent()
        self._write(event.completed.response, finish_reason, stop_reason)
        self._emit(event)

    def partial(self) -> LlmResponse | None:
        """Returns what there is of an answer that will not be completed."""
        if self.empty and self.usage is None:
            return None
        response = LlmResponse()
        self._write(response, "", STOP_REASON_UNSPECIFIED)
        return response

    def _say(self, kind: str, content: str) -> None:
        if not content:
            return
        if not isinstance(content, str):
            raise TypeError(type(content).__name__)
        self._run(kind).chunks.append(content)
        if self._delta_kind != kind:
            self._flush()
            self._delta_kind = kind
        self._delta.append(content)

    def _run(self, kind: str) -> _Words:
        words = self._words
        if words is None or words.kind != kind:
            self.close()
            words = self._words = _Words(kind)
            self._blocks.append(words)
        return words

    def _open_tool(self, key: object) -> _Tool:
        self.close()
        tool = _Tool(sum(isinstance(block, _Tool) for block in self._blocks))
        self._tools[key] = tool
        self._blocks.append(tool)
        return tool

    def _spell(self, tool: _Tool) -> None:
        tool.id = tool.id or f"call_{secrets.token_hex(12)}"
        fragment = "".join(tool.waiting)
        tool.waiting.clear()
        tool.fragments.append(fragment)
        delta = ToolCallDelta(call_id=tool.id, tool_name=tool.name, arguments_fragment=fragment, index=tool.index)
        self._emit(LlmEvent(tool_call_delta=delta))

    def _flush(self) -> None:
        if not self._delta:
            return
        content = self._delta[0] if len(self._delta) == 1 else "".join(self._delta)
        self._delta.clear()
        # Setting a field of a new event costs less than half of what building it from keywords does.
        event = LlmEvent()
        if self._delta_kind == _TEXT:
            event.text_delta.content = content
        else:
            event.thinking_delta.content = content
        self._append(event)

    def _emit(self, event: LlmEvent) -> None:
        self._flush()
        self._append(event)

    def _append(self, event: LlmEvent) -> None:
        if not self._started:
            self._started = True
            call = self._call
            started = Started(id=self.id, provider=call.provider, model=self.model, attempt=call.attempt)
            self._events.append(LlmEvent(started=started))
        self._events.append(event)

    def _real_stop(self) -> StopReason.ValueType:
        if any(isinstance(block, _Tool) for block in self._blocks):
            return STOP_REASON_TOOL_CALLS
        if any(isinstance(block, Part) and block.HasField("refusal") for block in self._blocks):
            return STOP_REASON_REFUSAL
        return STOP_REASON_STOP

    def _close_all(self) -> None:
        self.close()
        for key in list(self._tools):
            self.end_tool(key)

    def _write(self, response: LlmResponse, finish_reason: str, stop_reason: StopReason.ValueType) -> None:
        """Fills in the whole answer in place: protobuf copies what it is given, and an answer may be long."""
        _write_message(response.message, self._blocks, self._origin)
        if response.message.tool_calls:
            response.tool_calls.extend(response.message.tool_calls)
        if self.usage is not None:
            response.usage.CopyFrom(self._read_usage(self.usage))
            if (nanos := reported_cost(self.usage)) is not None:
                response.reported_cost.nanos = nanos
                response.reported_cost.currency_code = "USD"
        response.finish_reason = finish_reason
        response.stop_reason = stop_reason
        response.id = self.id
        response.provider = self._call.provider
        response.model = self.model


def _write_message(message: Message, blocks: Iterable[_Words | Part | _Tool], origin: str) -> None:
    """Puts the blocks into the contract's shape: text alone in `content`, more than text, or text after a call, in `parts` too."""
    parts: list[Part] = []
    calls: list[ToolCall] = []
    for block in blocks:
        if isinstance(block, _Tool):
            # Only a broken answer has a call whose name never came.
            if block.name:
                calls.append(block.call(origin))
                calls[-1].part_index = len(parts)
        elif isinstance(block, _Words):
            parts.append(block.part(origin))
            parts.extend(block.citations)
        else:
            parts.append(block)
    for call in calls:
        if call.part_index == len(parts):
            call.ClearField("part_index")
    plain = all(part.HasField("text") and not part.provider_state for part in parts)
    # Text that comes after a call has to stay behind it.
    plain = plain and not any(call.HasField("part_index") for call in calls)
    message.role = ROLE_ASSISTANT
    message.content = "".join(part.text for part in parts)
    message.tool_calls.extend(calls)
    if not plain:
        message.parts.extend(parts)


def error_event(error: LlmError) -> LlmEvent:
    """Makes the last event of a stream that failed."""
    event = Error(reason=error.reason, message=error.message, partial=error.partial)
    if error.retry_after is not None:
        event.retry_after.FromMilliseconds(round(error.retry_after * 1000))
    return LlmEvent(error=event)
