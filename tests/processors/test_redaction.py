"""What is taken out of texts before they are recorded, and what is not."""

from __future__ import annotations

import base64
import hashlib
import time

import pytest

from loom_grpc.access.key import new_key
from loom_grpc.processors.redaction import PATTERNS, is_card, redact, without_files

KEY = "abcdefghijklmnopqrstuvwxyz0123456789"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (f"It is sk-ant-api03-{KEY}.", "It is [KEY]"),
        (f"sk-proj-{KEY} and gsk_{KEY}", "[KEY] and [KEY]"),
        (f"github_pat_{KEY} glpat-{KEY} xoxb-{KEY} hf_{KEY}", "[KEY] [KEY] [KEY] [KEY]"),
        ("AKIAIOSFODNN7EXAMPLE", "[KEY]"),
        (f"AIza{KEY} ya29.{KEY}", "[KEY] [KEY]"),
        (f"Authorization: Bearer {KEY}==", "Authorization: Bearer [KEY]"),
        (f"authorization: basic {KEY}", "authorization: basic [KEY]"),
        ("a eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl b", "a [KEY] b"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----\nbye", "[KEY]\nbye"),
        ("-----BEGIN PRIVATE KEY-----\nMIIcut off", "[KEY]"),
        ("password: hunter22", "password: [KEY]"),
        ('{"api_key": "a1", "client_secret":"abcd"}', '{"api_key": "a1", "client_secret":"[KEY]"}'),
        (r"{\"access_token\": \"abcd\"}", r"{\"access_token\": \"[KEY]\"}"),
        ("postgres://loom:p%40ss@db/loom", "postgres://loom:[KEY]@db/loom"),
        ("https://h/f?a=1&X-Amz-Signature=abc&b=2", "https://h/f?a=1&X-Amz-Signature=[KEY]&b=2"),
        ("Write to ada.b+c@mail.example.org, please", "Write to [E-MAIL], please"),
        ("4111 1111 1111 1111 or 5500-0000-0000-0004", "[CARD] or [CARD]"),
    ],
)
def test_credentials_addresses_and_cards_are_taken_out(text: str, kept: str) -> None:
    assert redact(text) == kept


def test_our_own_keys_are_taken_out() -> None:
    assert redact(f"{new_key('lk')} {new_key('lt')}") == "[KEY] [KEY]"


@pytest.mark.parametrize(
    "text",
    [
        "The password is required, and so is a token: ask.",
        "import sk_learn_is_not_a_key_of_anybody",
        "Order 4111 1111 1111 1112 of 2026-11-21 at 10.0.0.1:8080",
        "Call @ada about http://example.org/a?page=2#top",
        "0000000000000000",
        "bearer of news",
    ],
)
def test_what_only_looks_a_little_like_it_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(("digits", "is_one"), [("79927398713", True), ("79927398710", False), ("0000", False)])
def test_a_card_is_known_by_its_check_digit(digits: str, is_one: bool) -> None:
    assert is_card(digits) is is_one


def test_a_file_in_a_text_is_told_by_type_size_and_digest() -> None:
    data = bytes(range(100))
    text = f"![](data:image/png;base64,{base64.b64encode(data).decode()}) is it"

    assert without_files(text) == f"![]([image/png, 100 bytes, SHA-256 {hashlib.sha256(data).hexdigest()}]) is it"


@pytest.mark.parametrize("piece", ["a", "a@", "a@a.", "1 ", "://a:b", "?a=", "eyJ", "password ", "-----BEGIN PRIVATE"])
def test_no_text_takes_long(piece: str) -> None:
    text = piece * (16_384 // len(piece))
    began = time.process_time()

    redact(text)

    assert time.process_time() - began < 0.5


def test_every_hint_is_in_lower_case() -> None:
    assert [pattern.hint for pattern in PATTERNS if pattern.hint != pattern.hint.lower()] == []
