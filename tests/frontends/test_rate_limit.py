"""How limits stand, in the headers of each API."""

from __future__ import annotations

import math

import pytest

from loom_grpc.core.notice import Notice
from loom_grpc.core.quota import Kind
from loom_grpc.frontends.rate_limit import anthropic, draft, duration, openai

NOW = 1_795_274_400.25  # 2026-11-21T15:20:00.25Z
ALL = [
    Notice(Kind.REQUESTS, 60, 59, 0.012),
    Notice(Kind.TOKENS, 150_000, 149_984, 360.0),
    Notice(Kind.STREAMS, 3, 2, 1.0),
]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.0001, "1ms"),
        (0.012, "12ms"),
        (1, "1s"),
        (7.66, "7.66s"),
        (59.9999, "1m0s"),
        (61.5, "1m1.5s"),
        (360, "6m0s"),
        (3600.5, "1h0m0.5s"),
        (2_592_000, "720h0m0s"),
    ],
)
def test_durations_are_written_as_openai_does(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_openais_clients_read_how_much_is_left_and_for_how_long() -> None:
    assert openai(ALL) == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "12ms",
        "x-ratelimit-limit-tokens": "150000",
        "x-ratelimit-remaining-tokens": "149984",
        "x-ratelimit-reset-tokens": "6m0s",
    }


def test_anthropics_clients_read_when_it_is_over() -> None:
    assert anthropic(ALL, NOW) == {
        "anthropic-ratelimit-requests-limit": "60",
        "anthropic-ratelimit-requests-remaining": "59",
        "anthropic-ratelimit-requests-reset": "2026-11-21T15:20:01Z",
        "anthropic-ratelimit-tokens-limit": "150000",
        "anthropic-ratelimit-tokens-remaining": "149984",
        "anthropic-ratelimit-tokens-reset": "2026-11-21T15:26:01Z",
    }


def test_others_read_it_as_the_draft_has_it() -> None:
    assert draft(ALL) == {
        "ratelimit-policy": '"requests";q=60;w=60, "tokens";q=150000;qu="tokens";w=60, "streams";q=3;qu="concurrent-requests"',
        "ratelimit": '"requests";r=59;t=1, "tokens";r=149984;t=360, "streams";r=2',
    }


def test_what_is_never_over_has_no_time() -> None:
    endless = [Notice(Kind.REQUESTS, 10**15, 5, math.inf)]

    assert openai(endless) == {"x-ratelimit-limit-requests": str(10**15), "x-ratelimit-remaining-requests": "5"}
    assert anthropic(endless, NOW) == {
        "anthropic-ratelimit-requests-limit": str(10**15),
        "anthropic-ratelimit-requests-remaining": "5",
    }
    assert draft(endless) == {"ratelimit-policy": '"requests";q=999999999999999;w=60', "ratelimit": '"requests";r=5'}


def test_without_limits_there_are_no_headers() -> None:
    assert (openai([]), anthropic([], NOW), draft([])) == ({}, {}, {})
