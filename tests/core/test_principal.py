"""Who calls."""

from __future__ import annotations

import pytest

from loom_grpc.core.principal import ANYBODY, Shown, bearer, stranger


@pytest.mark.parametrize(
    ("authorization", "token"),
    [
        ("Bearer lk_1", "lk_1"),
        ("  bearer \t lk_1 ", "lk_1"),
        ("BEARER a b", "a b"),
        ("Bearer", ""),
        ("Basic bGtfMQ==", ""),
        ("lk_1", ""),
        ("", ""),
    ],
)
def test_only_what_a_bearer_shows_is_a_token(authorization: str, token: str) -> None:
    assert bearer(authorization) == token


def test_strangers_are_the_same_only_where_they_show_the_same() -> None:
    shown = [
        Shown((("authorization", "Bearer a"),)),
        Shown((("x-api-key", "Bearer a"),)),
        Shown((("authorization", "Bearer a"),), ("pem",)),
        Shown((), ("pem",)),
        Shown((), ("other",)),
    ]
    tenants = {stranger(each).tenant for each in shown}

    assert len(tenants - {""}) == len(shown)
    assert stranger(Shown((("x-api-key", "k"), ("authorization", "a")), peer="::1")) == stranger(
        Shown((("authorization", "a"), ("x-api-key", "k")))
    )
    assert stranger(Shown()) == ANYBODY
