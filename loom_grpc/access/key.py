"""Virtual keys: how they are made, recognised and kept."""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import zlib
from typing import Final, Literal

KeyKind = Literal["lk", "lt"]
"""`lk` is a key of an organization, `lt` one of a user."""

_LETTERS: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_CHANCE: Final = 32
"""How many letters are chance: 190 bits."""
_CHECK: Final = 6
"""How many letters a sum of 32 bits takes."""
_FORM: Final = re.compile(rf"l[kt]_[0-9A-Za-z]{{{_CHANCE + _CHECK}}}")
_SHOWN: Final = 9


def new_key(kind: KeyKind) -> str:
    """Returns a new key, which is shown once and kept as its `digest`."""
    return random_text(f"{kind}_")


def random_text(prefix: str) -> str:
    """Returns a text of 190 bits of chance after a prefix, with letters at its end by which a slip of the pen is found."""
    text = prefix + "".join(secrets.choice(_LETTERS) for _ in range(_CHANCE))
    return text + _check(text)


def is_well_formed(text: str) -> bool:
    """Tells whether a text can be a key at all; no key with one letter changed can."""
    return _FORM.fullmatch(text) is not None and text[-_CHECK:] == _check(text[:-_CHECK])


def digest(text: str) -> bytes:
    """Returns the SHA-256 of a key, or of whatever was shown as one."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()


def shown_prefix(text: str) -> str:
    """Returns the letters of a key by which people recognise it; all others stay unknown."""
    return text[:_SHOWN]


def _check(text: str) -> str:
    """Returns the CRC-32 of a text in base 62: every change of up to four letters in a row changes it."""
    rest = zlib.crc32(text.encode())
    letters = ""
    for _ in range(_CHECK):
        rest, letter = divmod(rest, len(_LETTERS))
        letters = _LETTERS[letter] + letters
    return letters
