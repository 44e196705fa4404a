"""The prompt and the answer of a call as its record holds them: as JSON, redacted, without files, and of a bounded size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import orjson
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from loom_grpc.core.call import Call
from loom_grpc.processors.redaction import fingerprint, redact, without_files

MOST_BYTES: Final = 64 * 1024
"""How much of a prompt, and how much of an answer, a record holds."""
MOST_CHARACTERS: Final = 16 * 1024
"""How much of one text."""
_FRAME: Final = 48
"""What a message without texts takes, its names and brackets."""
_LONGEST_WORD: Final = 4096
"""What is cut off at the end of a text that is cut: half a credential has no shape."""
_ELSEWHERE: Final = frozenset(
    {"provider", "model", "labels", "session_id", "usage", "finish_reason", "cost", "reported_cost", "provider_state"}
)
"""Fields that a record has anyway, and one that only its provider can read."""
_SEALED: Final = frozenset({"redacted_thinking"})
"""Texts that only their provider can read."""

Hide = Callable[[bytes], bytes]
"""Takes the secrets out of JSON that this server was given."""
Fields = Mapping[str, Any]


class Contents:
    """Makes the JSON of prompts and answers.

    The newest messages come first when there is no room for all; what is left out is counted where it stood. Of a call that came in
    another API's words our own are kept; of one that was passed on as it was, nothing is.
    """

    def __init__(self, hide: Hide) -> None:
        self._hide = hide

    def __call__(self, call: Call) -> tuple[str, str]:
        """Returns the prompt and the answer; empty is none."""
        if call.raw is not None:
            return "", ""
        if call.embed is not None:
            return self._json(call.embed, "inputs"), ""
        answer = self._json(call.answer, "message") if call.answer is not None else ""
        return self._json(call.request, "messages"), answer

    def _json(self, message: Message, first: str) -> str:
        """Writes a message, of which one field matters more than all others."""
        room = _Room(MOST_BYTES)
        fields = {field.name: (field, value) for field, value in message.ListFields() if field.name not in _ELSEWHERE}
        names = sorted(fields, key=lambda name: name != first)
        value = {name: room.field(*fields[name]) for name in names if not room.is_full or name == first}
        return self._hide(orjson.dumps(value)).decode() if value else ""


class _Room:
    """How many bytes of JSON there is room for."""

    def __init__(self, left: int) -> None:
        self._left = left

    @property
    def is_full(self) -> bool:
        return self._left <= _FRAME

    def field(self, field: FieldDescriptor, value: Any) -> Any:
        if field.name in _SEALED:
            return self._taken(fingerprint(value.encode()))
        if field.is_repeated:
            return self._list(field, value)
        return self._one(field, value)

    def _list(self, field: FieldDescriptor, values: Iterable[Any]) -> list[Any]:
        """Writes the last messages of a conversation, and the first of everything else."""
        values = list(values)
        is_told_backwards = field.name == "messages"
        kept: list[Any] = []
        for value in reversed(values) if is_told_backwards else values:
            if self.is_full:
                kept.append(f"[{len(values) - len(kept)} more left out]")
                break
            kept.append(self._one(field, value))
        return kept[::-1] if is_told_backwards else kept

    def _one(self, field: FieldDescriptor, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, bytes):
            return self._taken(fingerprint(value))
        if isinstance(value, Message):
            self._left -= _FRAME
            fields = [pair for pair in value.ListFields() if pair[0].name not in _ELSEWHERE]
            return {inner.name: self.field(inner, item) for inner, item in fields}
        if field.enum_type is not None:
            known = field.enum_type.values_by_number.get(value)
            return self._taken(known.name if known is not None else value)
        return self._taken(value)

    def _text(self, text: str) -> str:
        """Writes a text as far as there is room for it; what is cut is cut before it is looked through, for that takes its time."""
        text = without_files(text)
        kept = _fitting(text, self._left)
        more = f" [{len(text) - len(kept)} characters left out]" if len(kept) < len(text) else ""
        value = str(self._taken(redact(kept) + more))
        if len(kept) < min(len(text), MOST_CHARACTERS - _LONGEST_WORD):
            self._left = 0  # or ever smaller pieces of what comes next would follow
        return value

    def _taken(self, value: Any) -> Any:
        self._left -= _size(value)
        return value


def _size(value: Any) -> int:
    return len(orjson.dumps(value))


def _fitting(text: str, room: int) -> str:
    """Returns as much of the beginning of a text as there is room for."""
    kept = text if len(text) <= MOST_CHARACTERS else _cut(text, MOST_CHARACTERS)
    while kept and _size(kept) > room:
        kept = _cut(text, len(kept) // 2)
    return kept


def _cut(text: str, most: int) -> str:
    """Returns the beginning of a text, up to the end of a word."""
    kept = text[:most]
    end = max(kept.rfind(space) for space in " \n\t\r")
    return kept[: max(end, most - _LONGEST_WORD, 0)]
