"""Why a key is not good enough to be the one with which everything begins."""

from __future__ import annotations

import re
import string
from functools import lru_cache
from typing import Final

_LEAST: Final = 16
_LEAST_DIFFERENT: Final = 8
_LEAST_UNKNOWN: Final = 12
"""How many letters must be left when what everybody knows is taken out."""
_RUN: Final = 4
"""From how many letters on a run is one."""

_RUNS: Final = (
    string.ascii_lowercase,
    "01234567890",
    "qwertyuiop",
    "qwertzuiop",
    "azertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm",
    "1q2w3e4r5t6y7u8i9o0p",
)
"""Letters as they stand in the alphabet and on keyboards."""
_BOTH_WAYS: Final = (*_RUNS, *(run[::-1] for run in _RUNS))
_WORDS: Final = re.compile(
    "administrator|placeholder|changeit|changeme|passphrase|password|passw0rd|credential|production|insecure|iloveyou"
    "|welcome|replace|letmein|example|default|gateway|secret|s3cret|master|please|sample|server|change|insert|string"
    "|access|dragon|monkey|admin|dummy|local|proxy|token|super|value|guest|hello|loom|grpc|root|user|test|demo|here"
    "|pass|your|this|with|temp|prod|auth|key|api|foo|bar|baz|xxx|dev|pwd|llm|the|me|my|to|sk"
)
"""What examples are made of, the longer ones first."""
_AGAIN: Final = re.compile(r"(.{1,16}?)\1{2,}")
_TWICE: Final = re.compile(r"(.+?)\1+")
_ADVICE: Final = "`loom-grpc admin-key` prints a good one"


@lru_cache(4)  # it takes half a millisecond, and is asked for each caller who may be the administrator
def weakness(text: str) -> str:
    """Returns why a key must not be the admin key, for the operator and without the key; empty when it may."""
    why = _why(text)
    return f"{why}; {_ADVICE}" if why else ""


def _why(text: str) -> str:
    if not all("!" <= letter <= "~" for letter in text):
        return "has a blank or another character that no header carries"
    if len(text) < _LEAST:
        return f"has fewer than {_LEAST} characters"
    if len(set(text)) < _LEAST_DIFFERENT:
        return f"has fewer than {_LEAST_DIFFERENT} different characters"
    if _unknown(text) < _LEAST_UNKNOWN:
        return "is made of words, runs or repeats that are tried first"
    return ""


def _unknown(text: str) -> int:
    """Returns how many characters are left without words, runs, repeats and what stands between them."""
    plain = re.sub(r"[-_.:/+]", "", text.lower())
    whole = _TWICE.fullmatch(plain)
    once = _AGAIN.sub(r"\1", whole[1] if whole is not None else plain)
    return len(_without_runs(_WORDS.sub("", once)))


def _without_runs(text: str) -> str:
    kept = ""
    at = 0
    while at < len(text):
        run = _run(text[at:])
        if run < _RUN:
            kept += text[at]
        at += run if run >= _RUN else 1
    return kept


def _run(text: str) -> int:
    """Returns how many letters at the beginning of a text are a run."""
    length = 1
    while length < len(text) and any(text[: length + 1] in run for run in _BOTH_WAYS):
        length += 1
    return length
