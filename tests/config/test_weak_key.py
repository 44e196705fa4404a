"""Admin keys that others guess are refused, with the reason and without the key."""

from __future__ import annotations

import secrets
import uuid

import pytest

from loom_grpc.access.admin_key import new_admin_key
from loom_grpc.config.weak_key import weakness

ADVICE = "; `loom-grpc admin-key` prints a good one"
SHORT = "has fewer than 16 characters"
ALIKE = "has fewer than 8 different characters"
KNOWN = "is made of words, runs or repeats that are tried first"
UNSENDABLE = "has a blank or another character that no header carries"


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("", SHORT),
        ("admin", SHORT),
        ("changeme", SHORT),
        ("password", SHORT),
        ("sk-1234", SHORT),
        ("secret", SHORT),
        ("x8Kd93nQz1LpV7t", SHORT),
        ("a" * 64, ALIKE),
        ("aA1!aA1!aA1!aA1!", ALIKE),
        ("changemechangeme", ALIKE),
        ("change-me-change-me-please", KNOWN),
        ("my-secret-admin-key", KNOWN),
        ("your-admin-key-here", KNOWN),
        ("sk-1234567890abcdef", KNOWN),
        ("0123456789abcdef0123456789abcdef", KNOWN),
        ("abcdefghijklmnopqrstuvwxyz", KNOWN),
        ("ZYXWVUTSRQPONMLK", KNOWN),
        ("qwertyuiopasdfgh", KNOWN),
        ("1q2w3e4r5t6y7u8i", KNOWN),
        ("Password1234Password1234", KNOWN),
        ("x8Kd93nQzx8Kd93nQz", KNOWN),
        ("the-admin-key-of-loom-grpc", KNOWN),
        ("x8Kd93nQz1Lp V7tR", UNSENDABLE),
        ("x8Kd93nQz1LpV7tR\n", UNSENDABLE),
        ("x8Kd93nQz1LpV7t\u00e9", UNSENDABLE),
    ],
)
def test_a_weak_key_is_refused_with_the_reason(key: str, why: str) -> None:
    assert weakness(key) == f"{why}{ADVICE}"


@pytest.mark.parametrize(
    "make",
    [new_admin_key, lambda: secrets.token_urlsafe(32), lambda: secrets.token_hex(32), lambda: f"{uuid.uuid4()}"],
)
def test_chance_is_never_refused(make: object) -> None:
    assert callable(make)
    assert {weakness(make()) for _ in range(500)} == {""}


def test_words_that_nobody_expects_are_taken() -> None:
    assert weakness("correct-horse-battery-staple") == ""


def test_new_admin_keys_differ() -> None:
    assert len({new_admin_key() for _ in range(1000)}) == 1000
