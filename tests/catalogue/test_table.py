"""The file of abilities: whether every row means what it says and can be reached."""

from __future__ import annotations

import re

import pytest

from loom_grpc.catalogue.table import Family, filled, table
from loom_grpc.core.model import UNKNOWN, Facts

FAMILIES = table().families
NAMED = [(family, name) for family in FAMILIES for name in family.names]


def places_of(family: Family) -> set[str]:
    return set(family.at) or {""}


def first(place: str, model: str) -> Family:
    """Returns the row that counts for a model."""
    return next(row for row in FAMILIES if (not row.at or place in row.at) and row.pattern.fullmatch(model))


@pytest.mark.parametrize(("family", "name"), NAMED, ids=[name for _, name in NAMED])
def test_no_pattern_is_hidden_by_an_earlier_row(family: Family, name: str) -> None:
    example = name.replace("*", "")

    assert {place: first(place, example).names for place in places_of(family)} == dict.fromkeys(
        places_of(family), family.names
    )


def test_every_name_is_written_as_names_are_compared() -> None:
    assert [name for _, name in NAMED if name != name.lower() or "/" in name or re.search(r"[\[?]", name)] == []


def test_no_name_stands_twice() -> None:
    stands = [(name, place) for family, name in NAMED for place in places_of(family)]

    assert len(stands) == len(set(stands))


def test_every_row_says_where_it_is_from_and_when() -> None:
    assert [family.names for family in FAMILIES if not re.search(r"\S, 20\d\d-\d\d-\d\d(;|$)", family.seen)] == []


def test_every_place_is_known_to_somebody() -> None:
    dialects = {"anthropic", "gemini", "mock", "ollama", "vertex"}
    known = dialects | set(table().hosts.values())

    assert {place for family in FAMILIES for place in family.at} | set(table().places) <= known


def test_numbers_are_counts_and_the_rest_is_yes_or_no() -> None:
    for facts in (*(family.facts for family in FAMILIES), *table().places.values()):
        counts, abilities = facts[:2], facts[2:-1]
        assert all(count is None or (type(count) is int and count > 0) for count in counts)
        assert all(able is None or type(able) is bool for able in abilities)
        assert facts.prices is None


def test_an_answer_is_never_longer_than_the_context() -> None:
    limits = [(family.facts.context_tokens, family.facts.max_output_tokens) for family in FAMILIES]

    assert [pair for pair in limits if pair[0] is not None and pair[1] is not None and pair[1] > pair[0]] == []


def test_weights_that_hold_anywhere_promise_no_length() -> None:
    lengths = {family.facts[:2] for family in FAMILIES if not family.at}

    assert lengths == {(None, None)}


@pytest.mark.parametrize(
    ("place", "model", "prefill"),
    [
        ("anthropic", "claude-sonnet-4-5-20250929", True),
        ("anthropic", "claude-opus-4-6", False),
        ("anthropic", "claude-sonnet-5-5", False),
        ("vertex", "publishers/anthropic/models/claude-haiku-4-5@20251001", True),
        ("openai", "gpt-4o", False),
        ("openai", "a-model-that-nobody-knows", False),
        ("gemini", "gemini-2.5-flash", True),
        ("gemini", "gemini-3.6-flash", False),
        ("mistral", "mistral-large-latest", False),
        ("deepseek", "deepseek-v4-pro", False),
        ("zai", "glm-4.7", None),
        ("groq", "llama-3.3-70b-versatile", None),
    ],
)
def test_who_goes_on_with_an_assistant_message(place: str, model: str, prefill: bool | None) -> None:
    assert table().find(place, model).prefill is prefill


def test_a_model_is_found_under_every_way_to_write_it() -> None:
    names = ["claude-opus-4-5", "CLAUDE-OPUS-4-5", "anthropic/claude-opus-4-5@20251101"]

    assert {table().find("vertex", name) for name in names} == {
        Facts(200_000, 64_000, True, True, True, False, True, True, True)
    }


def test_a_row_without_a_place_holds_wherever_the_weights_are_served() -> None:
    facts = Facts(images=False, audio=False, reasoning=False)

    assert {table().find(place, "meta-llama/Llama-3.3-70B-Instruct") for place in ("", "groq", "together")} == {facts}


def test_nothing_is_guessed_of_a_model_that_no_row_has() -> None:
    assert table().find("", "gpt-4o") == table().find("anthropic-like", "claude-opus-4-6") == UNKNOWN


def test_the_first_source_counts_where_several_know() -> None:
    first, second = Facts(context_tokens=1, tools=False), Facts(context_tokens=2, max_output_tokens=3, tools=True)

    assert filled(first, second) == Facts(context_tokens=1, max_output_tokens=3, tools=False)
