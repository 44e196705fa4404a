"""Prices that depend on the day, on the hour, and on the length of the prompt."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal

import genai_prices
import pytest
from genai_prices.data import providers
from genai_prices.types import ModelPrice, StartDateConstraint, TieredPrices, TimeOfDateConstraint

from loom_grpc.catalogue.price import PriceBook, price_list
from loom_grpc.core.model import UNKNOWN, Facts, Prices
from loom_grpc.v1.usage_pb2 import Usage

KNOWN = {(provider.id, model.id): model for provider in providers for model in provider.models}


def test_a_price_counts_from_its_day_on() -> None:
    model = KNOWN["openai", "o3"]
    assert isinstance(model.prices, list)
    later = model.prices[-1].constraint
    assert isinstance(later, StartDateConstraint)

    before = PriceBook(date(2025, 5, 1)).find("openai", "", "o3").prices
    after = PriceBook(later.start_date).find("openai", "", "o3").prices

    assert before == Prices(Decimal(10), Decimal(40), Decimal("0.5"))
    assert after == Prices(Decimal(2), Decimal(8), Decimal("0.5"))


def test_a_price_that_changes_with_the_hour_is_the_dearest() -> None:
    model = KNOWN["deepseek", "deepseek-v4-flash"]
    assert isinstance(model.prices, list)
    assert isinstance(model.prices[-1].constraint, TimeOfDateConstraint)

    found = PriceBook(date(2026, 11, 21)).find("deepseek", "", "deepseek-v4-flash").prices

    assert found is not None
    assert found.input == getattr(model.prices[-1].prices, "input_mtok", None) == Decimal("0.3")


def test_a_price_that_grows_with_the_prompt_is_that_of_short_ones() -> None:
    price = KNOWN["anthropic", "claude-haiku-5-5"].prices
    tiered = getattr(price, "input_mtok", None)
    assert isinstance(tiered, TieredPrices)

    found = PriceBook().find("anthropic", "", "claude-haiku-5-5").prices

    assert found is not None
    assert found.input == tiered.base == Decimal("0.1")


def test_a_host_that_the_package_knows_needs_no_name() -> None:
    found = PriceBook().find("", "https://api.fireworks.ai/inference/v1", "accounts/fireworks/models/gpt-oss-120b")

    assert found.prices is not None


def test_what_the_package_does_not_have_is_not_known() -> None:
    book = PriceBook()

    assert book.find("openai", "", "no-such-model") == UNKNOWN
    assert book.find("", "http://127.0.0.1:8000", "gpt-4o") == UNKNOWN
    assert book.find("openai", "", "text-embedding-3-small") == Facts(context_tokens=8192)


def every_price() -> Iterator[tuple[str, ModelPrice]]:
    for provider in providers:
        for model in provider.models:
            prices = [model.prices] if isinstance(model.prices, ModelPrice) else [row.prices for row in model.prices]
            yield from ((f"{provider.id}/{model.id}", price) for price in prices)


@pytest.mark.parametrize("tokens", [10_000, 100_001, 200_000, 200_001, 272_000, 272_001, 1_000_000])
def test_every_price_of_the_package_comes_to_what_the_package_makes_of_it(tokens: int) -> None:
    usage = Usage(
        input_tokens=tokens,
        output_tokens=3_001,
        cache_read_tokens=2_003,
        cache_write_tokens=1_009,
        reasoning_tokens=107,
    )
    theirs = genai_prices.Usage(
        input_tokens=tokens,
        output_tokens=3_001,
        cache_read_tokens=2_003,
        cache_write_tokens=1_009,
        output_reasoning_tokens=107,
    )
    priced = [(name, price, tariff) for name, price in every_price() if (tariff := price_list(name, price))]
    wrong = {
        name: (tariff.cost(usage), price)
        for name, price, tariff in priced
        if tariff.cost(usage) != round(price.calc_price(theirs)["total_price"] * 10**9)
    }

    assert wrong == {}
    assert len(priced) > 2_000


def test_audio_and_images_have_prices_of_their_own() -> None:
    book = PriceBook(date(2026, 11, 21))
    flash, image = (book.tariff("gemini", "", name) for name in ("gemini-2.5-flash", "gemini-2.5-flash-image"))
    assert flash is not None
    assert image is not None
    heard = Usage(input_tokens=1000, input_audio_tokens=600, cache_read_tokens=300, cache_read_audio_tokens=200)

    assert flash.cost(heard) == 300 * 300 + 100 * 30 + 400 * 1_000 + 200 * 100
    assert image.cost(Usage(output_tokens=1300, output_image_tokens=1290)) == 10 * 2_500 + 1290 * 30_000


def test_a_price_of_the_call_is_counted() -> None:
    tariff = PriceBook(date(2026, 11, 21)).tariff("perplexity", "", "sonar")

    assert tariff is not None
    assert tariff.cost(Usage(input_tokens=1000)) == 12_000_000 + 1000 * 1_000


def test_an_hour_in_the_cache_costs_twice_the_prompt_wherever_the_package_has_both_of_claude() -> None:
    known = [price for name, price in every_price() if name.startswith("anthropic/")]
    both = [
        (getattr(price, "input_mtok", None), hour)
        for price in known
        if (hour := getattr(price, "cache_write_1h_mtok", None))
    ]

    assert len(both) > 10
    assert [(base(read) * 2, base(hour)) for read, hour in both] == [(base(hour), base(hour)) for _, hour in both]


def test_an_hour_in_the_cache_of_claude_elsewhere_costs_twice_the_prompt_too() -> None:
    found = PriceBook(date(2026, 11, 21)).find("openrouter", "", "anthropic/claude-sonnet-4.5").prices

    assert found is not None
    assert (found.input, found.cache_write, found.cache_write_1h) == (Decimal(3), Decimal("3.75"), Decimal(6))


def test_what_is_not_paid_by_tokens_has_no_tariff() -> None:
    assert PriceBook().tariff("groq", "", "whisper-large-v3") is None


def base(price: Decimal | TieredPrices | None) -> Decimal:
    assert price is not None
    return price.base if isinstance(price, TieredPrices) else price
