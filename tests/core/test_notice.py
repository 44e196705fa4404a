"""What callers are told of their limits."""

from __future__ import annotations

import math

from loom_grpc.core.notice import Notice, notices, notices_text, read_notices
from loom_grpc.core.quota import Claim, Kind, Scope, Standing


def standing(kind: Kind, left: int, most: int, reset_s: float = 60.0, of: str = "key") -> Standing:
    return Standing(Claim(b"", kind, 1, most, Scope(of, "x")), left, reset_s)


def test_of_each_kind_the_limit_is_told_of_which_the_least_is_left() -> None:
    taken = [
        standing(Kind.TOKENS, 500, 1000),
        standing(Kind.REQUESTS, 50, 100, of="team"),
        standing(Kind.REQUESTS, 9, 10),
        standing(Kind.TOKENS, 600, 10_000, 30.0, of="team"),
    ]

    assert notices(taken, None, 0) == [
        Notice(Kind.REQUESTS, 100, 50, 60.0),
        Notice(Kind.TOKENS, 10_000, 600, 30.0),
    ]


def test_the_limit_that_refused_the_call_is_told_however_others_stand() -> None:
    taken = [standing(Kind.REQUESTS, 0, 10), standing(Kind.STREAMS, 1, 2, 1.0)]

    refused = standing(Kind.TOKENS, 400, 1000, 5.0)

    assert notices([*taken, standing(Kind.TOKENS, 0, 9)], refused, 0) == [
        Notice(Kind.REQUESTS, 10, 0, 60.0),
        Notice(Kind.TOKENS, 1000, 400, 5.0),
        Notice(Kind.STREAMS, 2, 1, 1.0),
    ]


def test_the_time_that_has_passed_meanwhile_is_taken_off() -> None:
    taken = [standing(Kind.REQUESTS, 1, 2, 60.0), standing(Kind.TOKENS, 1, 2, 4.0)]

    assert [notice.reset_s for notice in notices(taken, None, 5.0)] == [55.0, 0.0]


def test_nobody_is_told_of_money() -> None:
    assert notices([standing(Kind.MONEY, 5, 10, math.inf)], standing(Kind.MONEY, 0, 10, math.inf), 0) == []


def test_a_limit_of_nothing_is_the_tightest() -> None:
    assert notices([standing(Kind.REQUESTS, 0, 0), standing(Kind.REQUESTS, 1, 9)], None, 0)[0].most == 0


def test_what_is_written_of_limits_is_read_again() -> None:
    told = [
        Notice(Kind.REQUESTS, 9, 4, 41.203),
        Notice(Kind.TOKENS, 1000, 0, math.inf),
        Notice(Kind.STREAMS, 3, 2, math.inf),
    ]

    text = notices_text(told)

    assert (
        text == "requests;limit=9;remaining=4;reset=41.203, tokens;limit=1000;remaining=0, streams;limit=3;remaining=2"
    )
    assert read_notices(text) == told


def test_what_is_no_limit_is_not_read() -> None:
    assert read_notices("cows;limit=1;remaining=1, requests;limit=x;remaining=1, tokens;remaining=2, ,=") == []
