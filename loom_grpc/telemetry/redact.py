"""Keeps secrets and prompts out of what is logged, also where a provider repeats them in its error."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from google.protobuf.message import Message

from loom_grpc.config import REDACTED, Config, split_reference
from loom_grpc.config.tree import KeyPath, holds_secret, kind_of, references

PROMPT: Final = "[PROMPT]"
"""What stands in for words of the conversation."""

_SHORTEST_SECRET: Final = 6
"""Shorter ones are made up, and would blacken half of the log."""
_MOST_LATER: Final = 400
"""How many secrets are hidden that came up while the server ran."""
_BLACK: Final = REDACTED.encode()
_FEW: Final = 20
"""So many secrets are compared with sooner than a line is searched for long runs."""
_LONG_RUN: Final = re.compile(rb"(?<![\w.~+/=-])[\w.~+/=-]{40,}")
"""Longer than the ids in every line, and shorter than most keys and tokens."""
_CREDENTIAL_HEADER: Final = re.compile(r"auth|key|token|secret|cookie", re.IGNORECASE)
_KEY_SHAPED: Final = re.compile(
    r"\bbearer\s+[^\s\"',]+|\b(?:sk|gsk|xai|pplx|rk|pk|ghp)[-_][\w*.-]{6,}|\bl[akt]_\w{20,}"
    r"|\bAIza[\w-]{10,}|\bya29\.[\w-]+|\beyJ[\w-]+\.[\w.-]+",
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
    | {"tool_name", "type", "finish_reason", "task"}
)
"""Fields of a request or an answer that are no part of the conversation."""


def secrets(config: Config, environ: Mapping[str, str]) -> list[str]:
    """Returns the configured secrets, from where they are now, as far as that is this machine."""
    found: set[str] = set()
    for path, reference in references(config):
        if holds_secret(kind_of(path)) or _CREDENTIAL_HEADER.search(path[-1]):
            found |= _within(path, _follow(reference, environ))
    return sorted(filter(_is_long_enough, found), key=len, reverse=True)


def _within(path: KeyPath, secret: str) -> set[str]:
    """Returns a secret and those that it is made of."""
    if path in {("database", "url"), ("cache", "redis_url"), ("limits", "redis_url"), ("audit", "bus", "url")}:
        return {secret, *_passwords(secret)}
    if path == ("credentials", "encryption_key"):
        return {secret, *(key.strip() for key in secret.split(","))}
    return {secret}


def _passwords(url: str) -> set[str]:
    """Returns the password of a database as the address spells it, and as others do."""
    _, at, _ = url.rpartition("@")
    password = url.partition("://")[2].rpartition("@")[0].partition(":")[2] if at else ""
    return {password, unquote(password)}


def _is_long_enough(secret: str) -> bool:
    return len(secret) >= _SHORTEST_SECRET


class Blackener:
    """Blackens secrets in finished lines: those that it begins with, and the latest of those that it is told of later.

    A token lives for an hour or so, and soon nothing repeats it: what was hidden long ago is forgotten, so that lines cost the same
    after a year. Hardly a line has a run of letters that is as long as a token, and only such a line is compared with them.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._first = {spelling for secret in secrets for spelling in _spellings(secret)}
        self._later: dict[bytes, None] = {}
        self._arrange()

    def begin_with(self, secrets: Iterable[str]) -> None:
        """Takes the secrets of another configuration; those of the one before count as the latest that came up later."""
        first = {spelling for secret in secrets for spelling in _spellings(secret)}
        for spelling in self._first - first:
            self._later[spelling] = None
        self._first = first
        self._forget_oldest()
        self._arrange()

    def hide(self, secret: str) -> None:
        """Blackens a secret from now on."""
        if not _is_long_enough(secret):
            return
        for spelling in _spellings(secret) - self._first:
            self._later.pop(spelling, None)
            self._later[spelling] = None
        self._forget_oldest()
        self._arrange()

    def _forget_oldest(self) -> None:
        while len(self._later) > _MOST_LATER:
            del self._later[next(iter(self._later))]

    def blacken(self, line: bytes) -> bytes:
        """Returns the line without the secrets."""
        for secret in self._all if self._few or _LONG_RUN.search(line) else self._short:
            if secret in line:
                line = line.replace(secret, _BLACK)
        return line

    def _arrange(self) -> None:
        """Orders the secrets so that one that contains another is blackened whole."""
        self._all = sorted({*self._first, *self._later}, key=len, reverse=True)
        self._short = [secret for secret in self._all if not _LONG_RUN.fullmatch(secret)]
        self._few = len(self._all) <= _FEW


def _spellings(secret: str) -> set[bytes]:
    """A secret looks different inside of JSON when it has quotes or backslashes."""
    return {spelling.encode() for spelling in (secret, json.dumps(secret)[1:-1])}


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
        if source == "vault":
            return ""  # whoever fetches it has it hidden
        if source == "file":
            return Path(rest).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, ValueError):
        return ""  # a secret that is not there cannot get out; who needs it says what is wrong
    return {"env": environ.get(rest, ""), "literal": rest}.get(source, "")


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
