"""Keeps what Chat Completions has no field for, so that the client brings it back: one text that stands for a whole message.

The text is an element of `reasoning_details`, the list that OpenRouter asks its clients to send back unchanged
(openrouter.ai/docs/guides/best-practices/reasoning-tokens, seen 2026-11-21); of a tool call it is in `extra_content`, where Gemini's host
of this API keeps the signature of a call (ai.google.dev/gemini-api/docs/openai, seen 2026-11-21).
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Final, TypeVar

from google.protobuf.message import DecodeError

from loom_grpc.v1.message_pb2 import Message, Part, ToolCall

T = TypeVar("T", Message, ToolCall)

DETAILS: Final = "reasoning_details"
EXTRA: Final = "extra_content"
OURS: Final = "loom"
"""The key in `extra_content`, and the `format` of the element."""
_MARK: Final = "loom."
_NAMELESS: Final = frozenset({"redacted_thinking", "opaque", "document"})
"""The kinds of parts that Chat Completions cannot show."""


def details_of(message: Message) -> list[dict[str, Any]]:
    """Returns the list to show beside an answer; empty where the API's own fields say everything."""
    if not any(map(_is_lost, message.parts)) and not any(map(_is_signed, message.tool_calls)):
        return []
    return [{"type": "reasoning.encrypted", "data": _wrap(message), "format": OURS, "index": 0}]


def extra_of(call: ToolCall) -> dict[str, Any]:
    """Returns what to show beside a tool call that has provider state."""
    return {OURS: _wrap(ToolCall(provider_state=call.provider_state, origin=call.origin))}


def kept_message(details: Sequence[object]) -> Message | None:
    """Returns the message that a list of ours stands for; None when it is not ours. Raises ValueError when it was changed."""
    return _unwrap(details[0].get("data"), Message) if len(details) == 1 and isinstance(details[0], dict) else None


def kept_state(extra: object) -> ToolCall | None:
    """Returns the provider state of a tool call; None when it is not ours. Raises ValueError when it was changed."""
    return _unwrap(extra.get(OURS), ToolCall) if isinstance(extra, dict) else None


def drop_kept(messages: Sequence[dict[str, Any]]) -> None:
    """Takes out of a body what is for this server alone, before a provider is sent it."""
    for message in (message for message in messages if message["role"] == "assistant"):
        details = message.get(DETAILS)
        if details and kept_message(details) is not None:
            del message[DETAILS]
        for call in message.get("tool_calls") or ():
            if kept_state(call.get(EXTRA)) is not None:
                del call[EXTRA][OURS]
                if not call[EXTRA]:
                    del call[EXTRA]


def _is_lost(part: Part) -> bool:
    return bool(part.provider_state or part.citation.citation_json) or part.WhichOneof("kind") in _NAMELESS


def _is_signed(call: ToolCall) -> bool:
    return bool(call.provider_state) or call.HasField("part_index")


def _wrap(message: Message | ToolCall) -> str:
    return _MARK + base64.urlsafe_b64encode(message.SerializeToString()).decode()


def _unwrap(text: object, kind: type[T]) -> T | None:
    if not isinstance(text, str) or not text.startswith(_MARK):
        return None
    try:
        return kind.FromString(base64.b64decode(text[len(_MARK) :], b"-_", validate=True))
    except DecodeError:
        raise ValueError("not a message") from None
