"""An answer that is kept: its bytes, and the events that tell it again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError

from loom_grpc.v1.llm_service_pb2 import LlmEvent, LlmResponse, Started, ToolCallDelta
from loom_grpc.v1.message_pb2 import Message, Part, ToolCall

_VERSION: Final = b"2"
"""Changes with the layout: version, seal, then the model's name and the events, each after its length."""
_SEAL_BYTES: Final = 16
_LENGTH_BYTES: Final = 4


class Kept(NamedTuple):
    """A whole answer, and the model that was asked for it."""

    model: str
    events: Sequence[LlmEvent]
    """All of them where they have the provider's own words in them, and else `completed` alone, which says it all."""

    @property
    def response(self) -> LlmResponse:
        """The answer."""
        return self.events[-1].completed.response


def pack(key: bytes, kept: Kept) -> bytes:
    """Returns the bytes to keep under a key."""
    body = b"".join(_framed([kept.model.encode(), *(event.SerializeToString() for event in kept.events)]))
    return _VERSION + _seal(key, body) + body


def unpack(key: bytes, data: bytes) -> Kept | None:
    """Reads what was kept under a key; None for bytes of another version, of another key, and that are not whole.

    Bytes that are not an answer may well parse as one, hence the seal.
    """
    body = data[len(_VERSION) + _SEAL_BYTES :]
    if not data.startswith(_VERSION + _seal(key, body)):
        return None
    try:
        model, *events = _unframed(body)
        return Kept(model.decode(), [LlmEvent.FromString(event) for event in events])
    except (DecodeError, UnicodeDecodeError, ValueError):
        return None


def _framed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        yield len(piece).to_bytes(_LENGTH_BYTES)
        yield piece


def _unframed(body: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(body):
        end = at + _LENGTH_BYTES + int.from_bytes(body[at : at + _LENGTH_BYTES])
        yield body[at + _LENGTH_BYTES : end]
        at = end


def again(kept: Kept) -> Iterator[LlmEvent]:
    """Yields the events of an answer that was given before, as attempt 0."""
    if len(kept.events) == 1:
        yield from replay(kept.response)
        return
    for event in kept.events:
        if event.HasField("started"):
            event.started.attempt = 0
        yield event


def replay(response: LlmResponse) -> Iterator[LlmEvent]:
    """Yields the events of an answer that was given before, as attempt 0: what a stream of them collects to is the answer."""
    started = Started(id=response.id, provider=response.provider, model=response.model)
    yield LlmEvent(started=started)
    yield from _content(response.message)
    completed = LlmEvent()
    completed.completed.response.CopyFrom(response)
    yield completed


def _content(message: Message) -> Iterator[LlmEvent]:
    """Yields what a message holds, in its order."""
    if not message.parts and message.content:
        yield _text(message.content)
    calls = list(enumerate(message.tool_calls))
    for position, part in enumerate(message.parts):
        while calls and calls[0][1].HasField("part_index") and calls[0][1].part_index <= position:
            yield _tool(*calls.pop(0))
        yield from _part(part)
    for call in calls:
        yield _tool(*call)


def _part(part: Part) -> Iterator[LlmEvent]:
    if part.HasField("text"):
        if part.text:
            yield _text(part.text)
    elif part.HasField("thinking"):
        if part.thinking:
            event = LlmEvent()
            event.thinking_delta.content = part.thinking
            yield event
        if part.provider_state:
            yield LlmEvent(part=part)
    else:
        yield LlmEvent(part=part)


def _text(content: str) -> LlmEvent:
    event = LlmEvent()
    event.text_delta.content = content
    return event


def _tool(index: int, call: ToolCall) -> LlmEvent:
    delta = ToolCallDelta(
        call_id=call.id, tool_name=call.tool_name, arguments_fragment=call.arguments_json, index=index
    )
    return LlmEvent(tool_call_delta=delta)


def _seal(key: bytes, body: bytes) -> bytes:
    return hashlib.blake2b(body, key=key, digest_size=_SEAL_BYTES).digest()
