"""What a secret's text must be like, wherever it comes from."""

from __future__ import annotations


class SecretError(Exception):
    """A secret cannot be had; the message says why and never repeats it."""


def usable(text: str, where: str) -> str:
    """Returns the text if a header can carry it; raises `SecretError`, which names where it was found."""
    if not text:
        raise SecretError(f"{where} is not set or empty")
    if not (text.isascii() and text.isprintable()):
        raise SecretError(
            f"{where} has line breaks, control characters or letters beyond ASCII, which no header can carry"
        )
    return text
