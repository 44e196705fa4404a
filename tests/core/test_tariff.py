"""What tokens cost, to the billionth of a dollar."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_grpc.core.model import Prices
from loom_grpc.core.tariff import FREE, Counts, PriceList, Tier, each, split
from loom_grpc.v1.usage_pb2 import Usage

PLAIN: Final = Prices(Decimal(3), Decimal(15))
FULL: Final = Prices(*(Decimal(n) for n in ("3", "15", "0.3", "3.75", "6", "18", "32", "2.5", "64", "8", "40")))

TOKENS: Final = st.integers(0, 10**7)
ANY_TOKENS: Final = st.integers(-(2**63), 2**63 - 1)
PRICE: Final = st.decimals(0, 1000, places=6)
PRICES: Final = st.builds(Prices, PRICE, PRICE, *[st.none() | PRICE] * (len(Prices._fields) - 2))


def usages(tokens: st.SearchStrategy[int]) -> st.SearchStrategy[Usage]:
    names = [field.name for field in Usage.DESCRIPTOR.fields if field.name.endswith("_tokens")]
    return st.builds(Usage, **dict.fromkeys(names, tokens))


@st.composite
def tariffs(draw: st.DrawFn) -> PriceList:
    above = sorted(draw(st.sets(st.integers(0, 10**6), max_size=3)))
    return PriceList(draw(PRICES), [Tier(length, draw(PRICES)) for length in above], draw(PRICE))


def test_the_kinds_of_tokens_are_told_apart() -> None:
    usage = Usage(
        input_tokens=1000,
        cache_read_tokens=300,
        cache_write_tokens=200,
        cache_write_1h_tokens=50,
        input_audio_tokens=100,
        cache_read_audio_tokens=40,
        input_image_tokens=70,
        output_tokens=500,
        reasoning_tokens=100,
        output_audio_tokens=30,
        output_image_tokens=20,
    )

    assert split(usage) == Counts(
        input=370,
        cache_read=260,
        cache_write=150,
        cache_write_1h=50,
        input_audio=60,
        cache_read_audio=40,
        input_image=70,
        output=350,
        reasoning=100,
        output_audio=30,
        output_image=20,
    )


def test_parts_that_are_larger_than_their_whole_are_cut() -> None:
    usage = Usage(input_tokens=10, cache_read_tokens=12, cache_write_tokens=5, output_tokens=4, reasoning_tokens=9)

    assert split(usage) == Counts(0, 10, 0, 0, 0, 0, 0, 0, 4, 0, 0)


@given(usages(ANY_TOKENS))
def test_no_token_is_counted_twice_and_none_is_lost(usage: Usage) -> None:
    counts = split(usage)

    assert min(counts) >= 0
    assert sum(counts[:7]) == max(0, usage.input_tokens)
    assert sum(counts[7:]) == max(0, usage.output_tokens)


def test_kinds_and_prices_have_the_same_names() -> None:
    assert set(Counts._fields) == set(Prices._fields)
    assert each(FULL) == tuple(getattr(FULL, name) for name in Counts._fields)


@pytest.mark.parametrize(
    ("prices", "costs"),
    [
        (PLAIN, (3, 3, 3, 3, 3, 3, 3, 15, 15, 15, 15)),
        (PLAIN._replace(cache_write=Decimal(4)), (3, 3, 4, 4, 3, 3, 3, 15, 15, 15, 15)),
        (PLAIN._replace(input_audio=Decimal(9)), (3, 3, 3, 3, 9, 9, 3, 15, 15, 15, 15)),
        (PLAIN._replace(input_audio=Decimal(9), cache_read=Decimal(1)), (3, 1, 3, 3, 9, 1, 3, 15, 15, 15, 15)),
        (PLAIN._replace(cache_read=Decimal(0)), (3, 0, 3, 3, 3, 0, 3, 15, 15, 15, 15)),
    ],
)
def test_what_has_no_price_of_its_own_costs_what_it_is_a_kind_of(prices: Prices, costs: tuple[int, ...]) -> None:
    assert each(prices) == costs


def test_a_call_costs_the_sum_of_its_kinds() -> None:
    usage = Usage(input_tokens=1200, output_tokens=300, cache_read_tokens=1000, reasoning_tokens=20)

    assert PriceList(FULL).cost(usage) == 200 * 3_000 + 1000 * 300 + 280 * 15_000 + 20 * 18_000


@pytest.mark.parametrize(
    ("tokens", "price"),
    [(200_000, 3_000), (200_001, 6_000), (500_000, 6_000), (500_001, 9_000)],
)
def test_a_long_prompt_pays_the_price_of_its_length_for_all_of_its_tokens(tokens: int, price: int) -> None:
    tiers = [Tier(200_000, Prices(Decimal(6), Decimal(20))), Tier(500_000, Prices(Decimal(9), Decimal(20)))]

    assert PriceList(PLAIN, tiers).cost(Usage(input_tokens=tokens)) == tokens * price


def test_an_answer_pays_by_the_length_of_its_prompt() -> None:
    tariff = PriceList(PLAIN, [Tier(200_000, Prices(Decimal(6), Decimal(20)))])

    assert tariff.cost(Usage(input_tokens=1, output_tokens=300_000)) == 3_000 + 300_000 * 15_000
    assert tariff.cost(Usage(input_tokens=200_001, output_tokens=1)) == 200_001 * 6_000 + 20_000


def test_a_price_of_the_call_is_paid_whatever_its_tokens() -> None:
    tariff = PriceList(PLAIN, request=Decimal("0.012"))

    assert (tariff.cost(Usage()), tariff.most(0, 0)) == (12_000_000, 12_000_000)


@pytest.mark.parametrize(
    ("tokens", "nanos"),
    [(1, 0), (3, 2), (5, 2), (7, 4), (2, 1), (6, 3)],
)
def test_half_a_nano_dollar_is_rounded_to_the_even_one(tokens: int, nanos: int) -> None:
    assert PriceList(Prices(Decimal("0.0005"), Decimal(0))).cost(Usage(input_tokens=tokens)) == nanos


def test_parts_of_a_nano_dollar_add_up_before_they_are_rounded() -> None:
    tariff = PriceList(Prices(Decimal("0.0004"), Decimal("0.0004")))

    assert tariff.cost(Usage(input_tokens=1, output_tokens=1)) == 1


def test_no_usage_costs_more_than_the_contract_can_say() -> None:
    tariff = PriceList(FULL)

    assert tariff.cost(Usage(input_tokens=2**63 - 1)) == 2**63 - 1
    assert tariff.most(2**63 - 1, 2**63 - 1) == 2**63 - 1


def test_the_most_counts_the_dearest_kinds_and_is_rounded_up() -> None:
    assert PriceList(FULL).most(1000, 100) == 1000 * 32_000 + 100 * 64_000
    assert PriceList(Prices(Decimal("0.0001"), Decimal(0))).most(1, 0) == 1


def test_the_most_counts_dearer_prices_of_shorter_prompts() -> None:
    tariff = PriceList(PLAIN, [Tier(100, Prices(Decimal(1), Decimal(1)))])

    assert tariff.most(1000, 10) == 1000 * 3_000 + 10 * 15_000


def test_the_most_leaves_out_the_prices_of_longer_prompts() -> None:
    tariff = PriceList(PLAIN, [Tier(1000, Prices(Decimal(6), Decimal(20)))])

    assert tariff.most(1000, 0) == 1000 * 3_000


@given(tariffs(), usages(TOKENS), TOKENS, TOKENS)
def test_no_call_costs_more_than_the_most(tariff: PriceList, usage: Usage, more: int, much_more: int) -> None:
    most = tariff.most(usage.input_tokens + more, usage.output_tokens + much_more)

    assert 0 <= tariff.cost(usage) <= most


@given(PRICES, usages(TOKENS))
def test_the_cost_is_that_of_decimals(prices: Prices, usage: Usage) -> None:
    nanos = sum(tokens * price * 1000 for tokens, price in zip(split(usage), each(prices), strict=True))

    assert PriceList(prices).cost(usage) == int(Decimal(nanos).to_integral_value(ROUND_HALF_EVEN))


def test_what_is_free_costs_nothing() -> None:
    usage = Usage(input_tokens=10**9, output_tokens=10**9)

    assert (FREE.cost(usage), FREE.most(10**9, 10**9)) == (0, 0)
