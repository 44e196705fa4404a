"""Keeps secrets and prompts out of what is logged, also where a provider repeats them in its error."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from google.protobuf.message import Message
from pydantic import SecretStr

from loom_grpc.config import REDACTED, Config, split_reference
from loom_grpc.config.schema import leaves

PROMPT: Final = "[PROMPT]"
"""What stands in for words of the conversation."""

_SHORTEST_SECRET: Final = 6
"""Shorter ones are made up, and would blacken half of the log."""
_CREDENTIAL_HEADER: Final = re.compile(r"auth|key|token|secret|cookie", re.IGNORECASE)
_KEY_SHAPED: Final = re.compile(
    r"\bbearer\s+[^\s\"',]+|\b(?:sk|gsk|xai|pplx|rk|pk|ghp)[-_][\w*.-]{6,}|\bAIza[\w-]{10,}|\bya29\.[\w-]+|\beyJ[\w-]+\.[\w.-]+",
    re.IGNORECASE,
)
_ESCAPED: Final = re.compile(r"(?:\\u[0-9a-fA-F]{4})+|(?:\\x[0-9a-fA-F]{2})+|\\[\"'\\/bfnrt]")

_WINDOW: Final = 8
"""A run of twice as many characters of the conversation does not get through."""
_SHORTEST_TEXT: Final = 4
_LONGEST_LINE: Final = 2000
_LONGEST_CONVERSATION: Final = 256 * 1024
"""Comparing with more would hold up other calls."""
_NAMES: Final = frozenset(
    {"effort", "id", "labels", "media_type", "model", "name", "origin", "provider", "session_id", "tool_call_id"}
    | {"tool_name", "type", "finish_reason"}
)
"""Fields of a request or an answer that are no part of the conversation."""


def secrets(config: Config, environ: Mapping[str, str]) -> list[str]:
    """Returns the configured secrets, from where they are now."""
    references = [value.get_secret_value() for _, value in leaves(config) if isinstance(value, SecretStr)]
    for provider in config.providers.values():
        references += [value for name, value in provider.headers.items() if _CREDENTIAL_HEADER.search(name)]
    found = {_follow(reference, environ) for reference in references}
    return sorted((secret for secret in found if len(secret) >= _SHORTEST_SECRET), key=len, reverse=True)


def line(text: str) -> str:
    """Returns a text on one line, cut to a decent length, without what looks like a key."""
    words = " ".join(_KEY_SHAPED.sub(REDACTED, text).split())
    return words if len(words) <= _LONGEST_LINE else words[: _LONGEST_LINE - 1] + "…"


def without_conversation(text: str, *messages: Message | None) -> str:
    """Returns the text on one line, without what it repeats of the messages.

    What a provider says of a request may quote it, whole or in part, and in JSON's or Python's escapes.
    """
    words = line(_unescape(text))
    told = [" ".join(told.split()) for message in messages if message is not None for told in _texts(message)]
    if sum(map(len, told)) > _LONGEST_CONVERSATION:
        return f"[{len(words)} characters, not logged: the conversation is too long to be compared with]"
    for whole in sorted(set(told), key=len, reverse=True):
        if len(whole) >= _SHORTEST_TEXT:
            words = words.replace(whole, PROMPT)
    return _without_runs(words, told)


def _follow(reference: str, environ: Mapping[str, str]) -> str:
    try:
        source, rest = split_reference(reference)
        if source == "file":
            return Path(rest).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, ValueError):
        return ""  # a secret that is not there cannot get out; who needs it says what is wrong
    return environ.get(rest, "") if source == "env" else rest


def _without_runs(words: str, told: list[str]) -> str:
    """Replaces runs of words that are also in one of the texts.

    Every eighth piece of a text is looked up among all pieces of the words: a run of fifteen characters contains one of them.
    """
    places: dict[str, list[int]] = {}
    for start in range(len(words) - _WINDOW + 1):
        places.setdefault(words[start : start + _WINDOW], []).append(start)
    hidden = bytearray(len(words))
    for text in told:
        for at in range(0, len(text) - _WINDOW + 1, _WINDOW):
            for start in places.pop(text[at : at + _WINDOW], ()):
                if not (hidden[start] and hidden[start + _WINDOW - 1]):
                    first, last = _stretch(words, start, text, at)
                    hidden[first:last] = b"\1" * (last - first)
    if not any(hidden):
        return words
    return re.sub("\0+", PROMPT, "".join("\0" if hide else char for char, hide in zip(words, hidden, strict=True)))


def _stretch(words: str, start: int, text: str, at: int) -> tuple[int, int]:
    """Returns the first and the end of the run that a common piece belongs to."""
    first, before = start, at
    while first > 0 and before > 0 and words[first - 1] == text[before - 1]:
        first, before = first - 1, before - 1
    last, after = start + _WINDOW, at + _WINDOW
    while last < len(words) and after < len(text) and words[last] == text[after]:
        last, after = last + 1, after + 1
    return first, last


def _texts(message: Message) -> Iterator[str]:
    """Walks over every text of a message that may be part of the conversation."""
    for field, value in message.ListFields():
        if field.name in _NAMES:
            continue
        for item in value if field.is_repeated else (value,):
            if isinstance(item, str):
                yield item
            elif isinstance(item, Message):
                yield from _texts(item)


def _unescape(text: str) -> str:
    return _ESCAPED.sub(_plain, text)


def _plain(escape: re.Match[str]) -> str:
    code = escape[0]
    if code[1] == "u":
        units = bytes.fromhex(code.replace("\\u", ""))
        return units.decode("utf-16-be", "replace")
    if code[1] == "x":
        return bytes.fromhex(code.replace("\\x", "")).decode("utf-8", "replace")
    return code[1] if code[1] in "\"'\\/" else " "
