"""What is wrong with a Redis is told without the secrets of its URL."""

from __future__ import annotations

import pytest

from loom_grpc.quota.redis_client import explain, make_client


@pytest.mark.parametrize("url", ["", "http://h", "redis://:p@ss:word@h:x/0", "redis://h/0?nonsense=1"])
def test_a_wrong_url_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ValueError, match="must be an address such as redis://") as failure:
        make_client(url)

    assert "p@ss" not in str(failure.value)


def test_a_url_that_became_wrong_is_told_without_the_words_of_who_found_it_wrong() -> None:
    words = explain("localhost:6379", ValueError("redis://:p@ss:word@h cannot be read"))

    assert words.startswith("limits.redis_url must be an address such as redis://")
    assert "p@ss" not in words
