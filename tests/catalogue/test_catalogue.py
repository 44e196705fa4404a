"""What is known of a model, from the configuration, the table and the package with the prices."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from loom_grpc.catalogue import Catalogue, Place, catalogue
from loom_grpc.core.model import UNKNOWN, Facts, Prices
from loom_grpc.core.tariff import FREE
from loom_grpc.providers.registry import PROVIDERS
from loom_grpc.v1.usage_pb2 import Usage

AT_HOME = {name: Place(row.dialect, row.base_url) for name, row in PROVIDERS.items()}
GPT_4O = Facts(128_000, 16_384, True, True, True, False, False, True, False)
GPT_4O_PRICES = Prices(Decimal("2.5"), Decimal(10), Decimal("1.25"))
CLAUDE = Prices(Decimal(3), Decimal(15), Decimal("0.3"), Decimal("3.75"), Decimal(6))
USAGE = Usage(input_tokens=1000, output_tokens=100, cache_read_tokens=400)


def test_prices_are_not_known_before_they_are_loaded() -> None:
    assert Catalogue(AT_HOME, {}).facts("openai", "gpt-4o") == GPT_4O


async def test_prices_are_known_once_they_are_loaded() -> None:
    known = Catalogue(AT_HOME, {})
    before = known.facts("openai", "gpt-4o")
    await known.load_prices()

    assert before == GPT_4O
    assert known.facts("openai", "gpt-4o") == GPT_4O._replace(prices=GPT_4O_PRICES)


async def test_prices_are_loaded_once_however_many_want_them() -> None:
    known = Catalogue(AT_HOME, {})
    await asyncio.gather(*(known.load_prices() for _ in range(5)))
    facts = known.facts("openai", "gpt-4o")
    await known.load_prices()

    assert known.facts("openai", "gpt-4o") is facts


async def test_the_configuration_is_believed_first() -> None:
    own = Facts(context_tokens=1_000, tools=False, prices=Prices(Decimal(1), Decimal(2)))
    known = Catalogue(AT_HOME, {"openai/gpt-4o": own})
    await known.load_prices()

    assert known.facts("openai", "gpt-4o") == GPT_4O._replace(
        context_tokens=1_000, tools=False, prices=Prices(Decimal(1), Decimal(2))
    )


def test_the_configuration_alone_knows_a_model_of_its_own() -> None:
    known = Catalogue({"mine": Place("openai", "http://10.0.0.7/v1")}, {"mine/house-7b": Facts(tools=True)})

    assert known.facts("mine", "house-7b") == Facts(tools=True)
    assert known.facts("mine", "gpt-4o") == UNKNOWN
    assert known.facts("nobody", "gpt-4o") == UNKNOWN


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("openai", Place("openai", "http://127.0.0.1:8089")),  # what it is called, wherever a proxy of it is
        ("mine", Place("openai", "https://api.openai.com/v1")),  # where it is, whatever it is called
    ],
)
def test_a_provider_is_known_by_its_host_or_its_name(name: str, place: Place) -> None:
    assert Catalogue({name: place}, {}).facts(name, "gpt-4o") == GPT_4O


def test_a_host_says_more_than_a_name() -> None:
    known = Catalogue({"openai": Place("openai", "https://api.z.ai/api/paas/v4")}, {})

    assert known.facts("openai", "glm-4.7").context_tokens == 204_800


@pytest.mark.parametrize(
    ("provider", "model", "prices"),
    [
        ("anthropic", "claude-sonnet-4-5", CLAUDE),
        ("vertex", "anthropic/claude-sonnet-4-5@20250929", CLAUDE),
        ("gemini", "gemini-2.5-pro", Prices(Decimal("1.25"), Decimal(10), Decimal("0.125"))),
        ("vertex", "gemini-2.5-pro", Prices(Decimal("1.25"), Decimal(10), Decimal("0.125"))),
        ("zai", "glm-4.7", Prices(Decimal("0.6"), Decimal("2.2"), Decimal("0.11"))),
        ("xai", "grok-4-0709", Prices(Decimal(3), Decimal(15), Decimal("0.75"))),
        ("groq", "llama-3.3-70b-versatile", Prices(Decimal("0.59"), Decimal("0.79"))),
        ("openai", "text-embedding-3-small", None),
        ("ollama", "gpt-oss:20b", None),
        ("mock", "mock-words", None),
    ],
)  # fmt: skip
async def test_what_models_cost(provider: str, model: str, prices: Prices | None) -> None:
    known = Catalogue(AT_HOME | {"vertex": Place("vertex", "https://us-central1-aiplatform.googleapis.com")}, {})
    await known.load_prices()

    assert known.facts(provider, model).prices == prices


async def test_a_context_that_the_table_does_not_have_is_the_packages() -> None:
    known = Catalogue(AT_HOME, {})
    before = known.facts("mistral", "mistral-large-2512").context_tokens
    await known.load_prices()

    assert (before, known.facts("mistral", "mistral-large-2512").context_tokens) == (None, 262_144)


def test_callers_cannot_make_it_remember_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "_MOST", 3)
    known = Catalogue(AT_HOME, {})
    facts = known.facts("openai", "gpt-4o")
    for number in range(3):
        known.facts("openai", f"model-{number}")

    assert known.facts("openai", "gpt-4o") == facts
    assert known.facts("openai", "gpt-4o") is not facts


async def test_a_call_costs_what_the_package_says_once_it_is_loaded() -> None:
    known = Catalogue(AT_HOME, {})
    before = known.tariff("openai", "gpt-4o")
    await known.load_prices()
    after = known.tariff("openai", "gpt-4o")

    assert before is None
    assert after is not None
    assert after.cost(USAGE) == 600 * 2_500 + 400 * 1_250 + 100 * 10_000
    assert known.tariff("openai", "gpt-4o") is after


async def test_a_call_costs_what_the_configuration_says_before_all_else() -> None:
    own = Facts(prices=Prices(Decimal(1), Decimal(2)))
    known = Catalogue(AT_HOME, {"openai/gpt-4o": own, "ollama/gpt-oss:20b": own, "nobody/model": own})
    await known.load_prices()
    tariffs = [known.tariff(*name) for name in [("openai", "gpt-4o"), ("ollama", "gpt-oss:20b"), ("nobody", "model")]]

    assert [tariff and tariff.cost(USAGE) for tariff in tariffs] == [1000 * 1_000 + 100 * 2_000] * 3


@pytest.mark.parametrize(("provider", "model"), [("ollama", "gpt-oss:20b"), ("mock", "mock-words")])
def test_what_runs_on_ones_own_machines_costs_nothing(provider: str, model: str) -> None:
    assert Catalogue(AT_HOME, {}).tariff(provider, model) is FREE


async def test_vectors_cost_what_their_prompts_do() -> None:
    known = Catalogue(AT_HOME, {})
    await known.load_prices()
    tariff = known.tariff("openai", "text-embedding-3-small")

    assert tariff is not None
    assert tariff.cost(Usage(input_tokens=1000)) == 1000 * 20


async def test_a_model_whose_price_nobody_knows_has_no_tariff() -> None:
    known = Catalogue(AT_HOME | {"mine": Place("openai", "http://10.0.0.7/v1")}, {"mine/house-7b": Facts(tools=True)})
    await known.load_prices()

    assert known.tariff("mine", "house-7b") is None
    assert known.tariff("openai", "no-such-model") is None
    assert known.tariff("nobody", "gpt-4o") is None


def test_callers_cannot_make_it_remember_tariffs_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "_MOST", 3)
    known = Catalogue(AT_HOME, {"openai/mine": Facts(prices=Prices(Decimal(1), Decimal(2)))})
    tariff = known.tariff("openai", "mine")
    for number in range(3):
        known.tariff("openai", f"model-{number}")

    assert known.tariff("openai", "mine") is not tariff
