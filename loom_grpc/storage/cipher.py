"""Encrypting what is secret in the database."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from loom_grpc.core.account import StoreError
from loom_grpc.core.errors import LlmError

_NAME: Final = "credentials.encryption_key"


class Cipher:
    """Encrypts values with the first of several keys and decrypts them with any.

    `keys` gives the keys with commas between; it is asked every time, because they may rotate. Fernet is AES-128 in CBC mode with an
    HMAC-SHA256 over it (cryptography.io/en/latest/fernet, seen 2026-11-21).
    """

    def __init__(self, keys: Callable[[], str]) -> None:
        self._keys = keys
        self._text = ""
        self._fernets: list[Fernet] = []

    def __repr__(self) -> str:
        return "Cipher([REDACTED])"

    def seal(self, row: str, value: object) -> str:
        """Encrypts a value, to be opened for the same row only; raises `StoreError` when there is no usable key."""
        plain = json.dumps([row, value], separators=(",", ":")).encode()
        return self._present()[0].encrypt(plain).decode()

    def open(self, row: str, sealed: str) -> Any:
        """Decrypts the value of a row; raises `StoreError` when no key fits or the value belongs to another row."""
        try:
            plain = MultiFernet(self._present()).decrypt(sealed)
        except InvalidToken:
            raise StoreError(
                f"{_NAME} does not fit what the database holds for {row}; add the key that encrypted it, after a comma"
            ) from None
        sealed_row, value = json.loads(plain)
        if sealed_row != row:
            raise StoreError(f"the database holds for {row} what belongs to {sealed_row}; somebody has moved it there")
        return value

    def outdated(self, sealed: str) -> bool:
        """Tells whether a value was encrypted with another key than the first."""
        try:
            self._present()[0].decrypt(sealed)
        except InvalidToken:
            return True
        return False

    def _present(self) -> list[Fernet]:
        try:
            text = self._keys()
        except LlmError as error:
            raise StoreError(f"{_NAME}: {error.message}") from None
        if not self._fernets or text != self._text:
            self._text, self._fernets = text, _make(text)
        return self._fernets


def _make(text: str) -> list[Fernet]:
    try:
        return [Fernet(key.strip()) for key in text.split(",")]
    except ValueError:
        raise StoreError(f"{_NAME} is no key as `loom-grpc encryption-key` prints them") from None
