"""Carries other dialects' state through the two fields that Anthropic's clients send back unread: `signature` and `data`."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from google.protobuf.message import DecodeError

from loom_grpc.frontends.body import HttpError
from loom_grpc.v1.message_pb2 import Message, Part, ToolCall

NAME: Final = "anthropic"

_OURS: Final = "loom."
_PART: Final = "loom.part."
"""Begins a token for a part of which only the provider state, or nothing at all, can be said in a block."""
_TURN: Final = "loom.turn."
"""Begins a token for the state of a turn's texts and calls, which becomes known when the turn is over."""
_FOREIGN_ID: Final = re.compile(r"[^a-zA-Z0-9_-]")
"""What an id of a call must not have at Anthropic; other providers' ids may."""


def signature_of(part: Part) -> str:
    """Returns the signature of a thinking block: Anthropic's own, or a token that holds whatever another provider wants back."""
    if part.origin == NAME:
        try:
            return part.provider_state.decode()
        except UnicodeDecodeError:
            pass  # no signature of Anthropic's, and yet to be returned byte for byte
    return _PART + _text(Part(provider_state=part.provider_state, origin=part.origin).SerializeToString())


def part_token(part: Part) -> str:
    """Returns a token that holds a whole part."""
    return _PART + _text(part.SerializeToString())


def turn_token(message: Message, signed: Collection[int]) -> str:
    """Returns a token that holds the state that has no place in a turn's blocks; empty when there is none.

    `signed` are the thinking parts, counted from 0, whose state is in a block of theirs.
    """
    turn = Message()
    thoughts = 0
    for part in message.parts:
        if part.HasField("text"):
            turn.parts.add(text="", provider_state=part.provider_state, origin=part.origin)
        elif part.HasField("thinking"):
            slot = turn.parts.add(thinking="")
            if thoughts not in signed:
                slot.provider_state, slot.origin = part.provider_state, part.origin
            thoughts += 1
    for call in message.tool_calls:
        if call.provider_state:
            turn.tool_calls.add(id=call.id, provider_state=call.provider_state, origin=call.origin)
    if not turn.tool_calls and not any(part.provider_state for part in turn.parts):
        return ""
    return _TURN + _text(turn.SerializeToString())


def is_token(text: object) -> bool:
    """Tells whether a signature or data is a token of ours."""
    return isinstance(text, str) and text.startswith(_OURS)


def read_token(token: str, at: str) -> Part | Message:
    """Returns the part or the turn that a token holds; raises `HttpError`."""
    try:
        if token.startswith(_PART):
            return Part.FromString(_bytes(token.removeprefix(_PART)))
        if token.startswith(_TURN):
            return Message.FromString(_bytes(token.removeprefix(_TURN)))
    except (DecodeError, ValueError):
        pass  # told below, like a token of no kind
    raise HttpError(422, f"{at}: is not what this server sent; send it back unchanged or leave the block out.", at)


def give_back(turn: Message, parts: list[Part], calls: list[ToolCall]) -> None:
    """Puts a turn's state back on its parts and calls; parts without words, which had no blocks, are added again."""
    states = {call.id: call for call in turn.tool_calls}
    for call in calls:
        if (state := states.get(call.id)) is not None:
            call.provider_state, call.origin = state.provider_state, state.origin
    for kind in ("thinking", "text"):
        present = [part for part in parts if part.HasField(kind)]
        slots = [slot for slot in turn.parts if slot.HasField(kind)]
        for part, slot in zip(present, slots, strict=False):
            if slot.provider_state:
                part.provider_state, part.origin = slot.provider_state, slot.origin
        _add(kind, [slot for slot in slots[len(present) :] if slot.provider_state], parts, calls)


def without_tokens(body: dict[str, Any]) -> dict[str, Any]:
    """Returns the body of a request that has been read as Anthropic takes it: without our tokens, and with ids that it allows."""
    messages = body["messages"]
    cleaned = [_clean(message) for message in messages]
    if all(new is old for new, old in zip(cleaned, messages, strict=True)):
        return body
    return {**body, "messages": [message for message in cleaned if message is not None]}


def _add(kind: str, slots: list[Part], parts: list[Part], calls: list[ToolCall]) -> None:
    """Adds parts without words: thoughts come first in a turn, texts last."""
    if kind == "text":
        parts += slots
        return
    parts[:0] = slots
    for call in calls:
        call.part_index += len(slots)


def _clean(message: Any) -> Any:
    """Returns a message as Anthropic takes it, the same object where nothing is to be changed; None when nothing is left of it."""
    content, clean = message["content"], _CLEAN.get(message["role"])
    if clean is None or not isinstance(content, list):
        return message
    blocks = [clean(block) for block in content]
    if all(new is old for new, old in zip(blocks, content, strict=True)):
        return message
    left = [block for block in blocks if block is not None]
    return {**message, "content": left} if left else None


def _clean_own(block: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Returns a block of the model's as Anthropic takes it; None when it is ours."""
    match block["type"]:
        case "thinking" if is_token(block.get("signature")):
            return None
        case "redacted_thinking" if is_token(block.get("data")):
            return None
        case "text" if block.get("citations"):
            return _without_our_citations(block)
        case "tool_use":
            return _with_own_id(block, "id")
    return block


def _clean_said(block: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns a block of the user's as Anthropic takes it."""
    return _with_own_id(block, "tool_use_id") if block["type"] == "tool_result" else block


_CLEAN: Final[dict[str, Callable[[Mapping[str, Any]], Mapping[str, Any] | None]]] = {
    "assistant": _clean_own,
    "user": _clean_said,
}


def _without_our_citations(block: Mapping[str, Any]) -> Mapping[str, Any]:
    citations = block["citations"]
    own = [citation for citation in citations if not is_token(citation.get("encrypted_index"))]
    if len(own) == len(citations):
        return block
    rest = {key: value for key, value in block.items() if key != "citations"}
    return rest | ({"citations": own} if own else {})


def _with_own_id(block: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    return {**block, key: _FOREIGN_ID.sub("_", block[key])} if _FOREIGN_ID.search(block[key]) else block


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    """Reads base64url without padding; raises ValueError."""
    return binascii.a2b_base64(text.translate(_STANDARD) + "=" * (-len(text) % 4), strict_mode=True)


_STANDARD: Final = str.maketrans("-_", "+/")
