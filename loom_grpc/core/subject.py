"""What a request of administration is about, for the log."""

from __future__ import annotations

import re
from typing import Any, Final

from google.protobuf.message import Message

_NOUNS: Final = ("organization", "team", "user", "key", "budget", "call")
_NAME: Final = re.compile(r"[A-Z][a-z]+([A-Z][a-z]+)Request")
_KEY_TEXT: Final = re.compile(r"l[kt]_[0-9A-Za-z]{30,}")
_LONGEST: Final = 128


def subject(message: Message) -> str:
    """Names the thing that a request or a response is about, such as `key/key-0123456789abcdef`; empty where it is about no single one."""
    shown: Any = message
    for noun in _NOUNS:
        field = message.DESCRIPTOR.fields_by_name.get(noun)
        if field is not None and field.message_type is not None and message.HasField(noun):
            return _named(noun, getattr(shown, noun).id)
    name = _NAME.fullmatch(message.DESCRIPTOR.name)
    return _named(name[1].lower(), shown.id) if name is not None and "id" in message.DESCRIPTOR.fields_by_name else ""


def _named(noun: str, id: str) -> str:
    return f"{noun}/{id[:_LONGEST]}" if id and not is_key_text(id) else noun


def is_key_text(text: str) -> bool:
    """Tells whether a text looks like that of a key, which somebody may give for its id, and which then belongs nowhere."""
    return _KEY_TEXT.search(text) is not None
