"""Keys are chance, recognised by their form, and kept as digests."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_grpc.access.key import KeyKind, digest, is_well_formed, new_key, shown_prefix

KEY = "lk_0123456789ABCDEFGHIJKLMNOPQRSTUV44CEZA"


@pytest.mark.parametrize("kind", ["lk", "lt"])
def test_new_keys_are_well_formed_and_all_different(kind: KeyKind) -> None:
    keys = {new_key(kind) for _ in range(1000)}

    assert len(keys) == 1000
    assert {(key[:3], len(key)) for key in keys} == {(f"{kind}_", 41)}
    assert all(map(is_well_formed, keys))


def test_the_form_stays_what_it_is() -> None:
    assert is_well_formed(KEY)


@given(st.integers(0, len(KEY) - 1), st.characters())
def test_no_key_with_another_character_is_well_formed(place: int, other: str) -> None:
    changed = KEY[:place] + other + KEY[place + 1 :]

    assert is_well_formed(changed) == (changed == KEY)


@given(st.integers(0, len(KEY) - 2))
def test_no_key_with_two_characters_swapped_is_well_formed(place: int) -> None:
    changed = KEY[:place] + KEY[place + 1] + KEY[place] + KEY[place + 2 :]

    assert is_well_formed(changed) == (changed == KEY)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "lk_",
        KEY[:-1],
        f"{KEY}0",
        f"{KEY}\n",
        f" {KEY}",
        f"{KEY}\r\nloom-tenant: x",
        KEY.replace("lk_", "la_"),
        KEY.replace("lk_", "lt_"),
        KEY.upper(),
        KEY.replace("0", "\u0660"),  # a zero of another script
        KEY[:-1] + "\udc80",
        "lk_' OR 1=1 --",
        "x" * 100_000,
    ],
)
def test_what_is_no_key_is_not_well_formed(text: str) -> None:
    assert not is_well_formed(text)


def test_a_key_is_kept_as_its_sha256() -> None:
    assert digest(KEY) == hashlib.sha256(KEY.encode()).digest()


@given(st.text(st.characters(exclude_categories=())))
def test_whatever_is_shown_has_a_digest(text: str) -> None:
    assert len(digest(text)) == 32


def test_what_is_shown_of_a_key_leaves_its_chance() -> None:
    assert shown_prefix(KEY) == "lk_012345"
