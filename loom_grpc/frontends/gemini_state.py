"""What a provider wants back unchanged, in the field that the Gemini API has for it: `thoughtSignature`.

Gemini's own signatures stand there as they are. What another dialect wrote is wrapped, so that clients send it back and it is the same
bytes again.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Any, Final

from google.protobuf.message import DecodeError

from loom_grpc.v1.message_pb2 import Opaque, Part, ToolCall

DIALECT: Final = "gemini"
CALL_STATE: Final = "loom.call_state"
"""The type of an opaque part that tells what belongs to a call which was sent before; its `block_json` has the call's id."""

_MARK: Final = b"loom."
_MARK_TEXT: Final = "bG9vbS"
"""How the mark begins in base64."""
_STANDARD: Final = str.maketrans("-_", "+/")
_UNSIGNED: Final = "skip_thought_signature_validator"
"""Stands for the signature of a call that another model made (ai.google.dev/gemini-api/docs/thought-signatures, seen 2026-11-21)."""


def decode_base64(text: str) -> bytes:
    """Reads base64 as protobuf's JSON has it: in either alphabet, with padding or without. Raises ValueError."""
    plain = text.translate(_STANDARD).rstrip("=")
    return binascii.a2b_base64(plain + "=" * (-len(plain) % 4), strict_mode=True)


def wrap(part: Part) -> str:
    """Writes a part, or what is known of one beside its words, as a signature."""
    return base64.b64encode(_MARK + part.SerializeToString()).decode()


def unwrap(signature: str) -> Part | None:
    """Reads what `wrap` wrote; None for anything else."""
    if not signature.startswith(_MARK_TEXT):
        return None
    try:
        data = decode_base64(signature)
        # Nothing is never wrapped.
        return Part.FromString(data.removeprefix(_MARK)) if data.startswith(_MARK) and data != _MARK else None
    except (ValueError, DecodeError):
        return None


def signature_of(signed: Part | ToolCall) -> dict[str, str]:
    """Returns the field for what a part or a call has to be sent back with; empty where there is nothing."""
    state = signed.provider_state
    if not state:
        return {}
    if signed.origin == DIALECT and state.isascii():
        return {"thoughtSignature": state.decode()}
    return {"thoughtSignature": wrap(Part(provider_state=state, origin=signed.origin))}


def late_signature(call: ToolCall) -> dict[str, Any]:
    """Writes a part that says what belongs to a call which was sent before."""
    marker = Part(provider_state=call.provider_state, origin=call.origin)
    marker.opaque.CopyFrom(Opaque(type=CALL_STATE, block_json=call.id))
    return {"text": "", "thoughtSignature": wrap(marker)}


def strip_foreign(body: dict[str, Any]) -> None:
    """Takes what was wrapped out of a request that Gemini is to get as it came: it would refuse such signatures."""
    kept: list[Any] = []
    for content in _objects(body.get("contents")):
        parts = [_stripped(part) for part in _objects(content.get("parts"))]
        content["parts"] = [part for part in parts if part]
        # A turn without parts is refused.
        if content["parts"]:
            kept.append(content)
    body["contents"] = kept


def _stripped(part: dict[str, Any]) -> dict[str, Any]:
    """Returns a part without what was wrapped; empty where nothing else was in it."""
    key = "thoughtSignature" if "thoughtSignature" in part else "thought_signature"
    signature = part.get(key)
    if not isinstance(signature, str) or unwrap(signature) is None:
        return part
    if "functionCall" in part or "function_call" in part:
        return {**part, key: _UNSIGNED}
    rest = {name: value for name, value in part.items() if name != key}
    return rest if rest.get("text") or rest.keys() - {"text", "thought"} else {}


def _objects(value: object) -> Iterator[dict[str, Any]]:
    """Yields the objects of a list; one alone may stand for a list of one."""
    for entry in value if isinstance(value, list) else [value]:
        if isinstance(entry, dict):
            yield entry
