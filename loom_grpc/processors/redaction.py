"""Takes out of texts what a record of a call must not hold: credentials, e-mail addresses, card numbers and files.

It knows shapes, not meanings: names, addresses of houses and passwords that stand alone in a sentence stay.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple


class Pattern(NamedTuple):
    """A shape that is taken out."""

    name: str
    """What stands in its place, in brackets."""
    hint: str
    """What a text holds that has the shape, in lower case, found faster than the shape; empty is anything."""
    shape: re.Pattern[str]
    """The whole match is replaced, or its group `secret`."""
    counts: Callable[[str], bool] = bool
    """Tells whether a match is what it looks like."""


def is_card(text: str) -> bool:
    """Tells whether the digits of a text are a card's number: their check digit is right (ISO/IEC 7812-1, the Luhn formula)."""
    digits = [int(letter) for letter in reversed(text) if letter.isdecimal()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]
    return any(digits) and (sum(digits[::2]) + sum(doubled)) % 10 == 0


PATTERNS: Final = (
    Pattern(
        "KEY",
        "private key-----",
        re.compile(
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----|\Z)", re.DOTALL
        ),
    ),
    Pattern("KEY", "", re.compile(r"\b(?:bearer|basic)\s+(?P<secret>[\w.~+/-]{12,}=*)", re.IGNORECASE)),
    Pattern(
        "KEY",
        "",
        re.compile(
            r"\b(?:sk|pk|rk|gsk|xai|pplx|nvapi|hf|r8|fw|lk|lt|lsv2|gh[oprsu]|github_pat|glpat|npm|pypi|xox[abeoprs]|whsec|dop_v1|"
            r"GOCSPX|SG)[-_.](?=[\w.-]{0,40}\d)[\w.-]{16,}"
        ),
    ),
    Pattern("KEY", "", re.compile(r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b")),
    Pattern("KEY", "", re.compile(r"\bAIza[\w-]{30,}|\bya29\.[\w-]{10,}")),
    Pattern("KEY", "eyj", re.compile(r"\beyJ[\w-]{8,}\.[\w-]{2,}(?:\.[\w-]*){0,3}")),
    Pattern(
        "KEY",
        "",
        re.compile(
            r"(?:pass(?:word|wd|phrase)|secret|(?:api|access|private|encryption|signing)[-_ ]?key|"
            r"(?:auth|access|refresh|bearer|id)[-_ ]?token)"
            r"[\w-]{0,20}\\?[\"']?\s{0,3}[:=]\s{0,3}(?:\\?[\"'](?P<quoted>[^\"'\\\s]{4,})|(?P<secret>[^\"'\s,;{}\[\]()]{6,}))",
            re.IGNORECASE,
        ),
    ),
    Pattern(
        "KEY",
        "://",
        re.compile(
            r"[?&;](?:[\w-]{0,30}(?:signature|credential|token|secret|password)|sig|key|api_?key)=(?P<secret>[^&#\s\"'<>\\)]+)",
            re.IGNORECASE,
        ),
    ),
    Pattern("KEY", "://", re.compile(r"://[^\s:/@\"'<>]{0,100}:(?P<secret>[^\s/@\"'<>]{1,200})@")),
    Pattern("E-MAIL", "@", re.compile(r"(?<![\w.+%-])[\w.+%-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}\b")),
    Pattern("CARD", "", re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-])"), is_card),
)
"""What is taken out, in this order. What else looks like a credential is what the server itself was given, which the caller knows."""

_FILE: Final = re.compile(
    r"data:(?P<type>[\w.+-]{1,60}/[\w.+-]{1,80})?[\w=;.-]{0,80};base64,(?P<data>[A-Za-z0-9+/_%-]{32,}={0,2})"
)


def redact(text: str) -> str:
    """Returns a text without what the patterns find."""
    lower = text.lower()
    for pattern in PATTERNS:
        if pattern.hint in lower:
            text = pattern.shape.sub(partial(_replaced, pattern), text)
    return text


def without_files(text: str) -> str:
    """Returns a text with the type, the size and the SHA-256 of files in the place of those that are written into it."""
    return _FILE.sub(_file, text) if ";base64," in text else text


def fingerprint(data: bytes) -> dict[str, int | str]:
    """Returns what is kept of data: its size, and by what it is recognised when it comes again."""
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _replaced(pattern: Pattern, match: re.Match[str]) -> str:
    groups = match.groupdict()
    secret = next((name for name, text in groups.items() if text is not None), 0)
    if not pattern.counts(match[secret]):
        return match[0]
    first, last = match.start(secret) - match.start(), match.end(secret) - match.start()
    return f"{match[0][:first]}[{pattern.name}]{match[0][last:]}"


def _file(match: re.Match[str]) -> str:
    try:
        data = base64.b64decode(match["data"], validate=True)
    except binascii.Error:
        data = match["data"].encode()
    return f"[{match['type'] or 'file'}, {len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}]"
