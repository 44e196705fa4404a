"""Prices that depend on the day, on the hour, and on the length of the prompt."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from genai_prices.data import providers
from genai_prices.types import StartDateConstraint, TieredPrices, TimeOfDateConstraint

from loom_grpc.catalogue.price import PriceBook
from loom_grpc.core.model import UNKNOWN, Facts, Prices

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
