"""What is wrong with a Redis is told without the secrets of its URL."""

from __future__ import annotations

import pytest

from loom_grpc.redis_client import RedisUse

USE = RedisUse("limits.redis_url", connections=1, patience_s=1, retries=0, refusals={})


@pytest.mark.parametrize(
    "url",
    [
        "",
        "redis",
        "http://h",
        "redis://h:99999",
        "redis://:p@ss:word@h:x/0",
        "redis://h/0?nonsense=1",
        "redis://[::1/0",
    ],
)
def test_a_wrong_url_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ValueError, match="must be an address such as redis://") as failure:
        USE.make_client(url)

    assert "p@ss" not in str(failure.value)
    assert failure.value.__cause__ is None


@pytest.mark.parametrize(
    "url", ["redis://h", "redis://user:p%40ss@h:6379/3", "rediss://h/0", "unix:///run/redis.sock?db=1"]
)
def test_every_kind_of_url_is_taken(url: str) -> None:
    USE.make_client(url)


def test_a_url_that_became_wrong_is_told_without_the_words_of_who_found_it_wrong() -> None:
    words = USE.explain("localhost:6379", ValueError("redis://:p@ss:word@h cannot be read"))

    assert words.startswith("limits.redis_url must be an address such as redis://")
    assert "p@ss" not in words
