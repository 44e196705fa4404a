"""Recorded answers of every provider cost what is written down, and what the provider says where it says something."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from loom_grpc.core.tariff import each
from loom_grpc.v1.usage_pb2 import Usage
from tests.money.invoice import GOLDEN, invoices, text

DIFFERENT: Final = {
    # The package has the highest price of a call, that of the largest search context; the recorded ones had the smallest.
    "perplexity-compat-document-models-perplexity-sonar-pro-understands-docx-do-0-5ffbe0",
    "perplexity-compat-with-extended-thinking-perplexity-sonar-reasoning-pro-pr-1-72fa32",
    # It was charged 0.05 and 0.2 dollars: OpenRouter sends calls to hosts with prices of their own.
    "openrouter-compatresp-openai-responses-raw-cot-stream-openrouter-0-f8ca48",
    # It was charged 5, 0.5 and 30 dollars, which the package has of no day.
    "openrouter-compatresp-openrouter-responses-prompt-cache-e2e-1-82c00e",
    # Azure hands on the field of xAI with a zero in it.
    "azure-chat-function-calling-azure-grok-4-1-fast-non-reasoning-can-u-2-c7336d",
    "azure-chat-function-calling-azure-grok-4-1-fast-non-reasoning-can-u-3-150884",
}
"""What providers put another price on, each with its reason."""


def test_the_invoices_are_as_they_are_written_down() -> None:
    assert text() == GOLDEN.read_text(encoding="utf-8")


def test_every_invoice_adds_up() -> None:
    for invoice in invoices():
        amounts = [tokens * price for tokens, price in zip(invoice.counts, each(invoice.prices), strict=True)]
        fee = invoice.tariff.cost(Usage())

        assert invoice.nanos == round(sum(amounts, Decimal(0)) * 1000 + fee), invoice.case.id


def test_the_providers_come_to_the_same_amount() -> None:
    reported = {
        invoice.case.id: (invoice.nanos, invoice.reported) for invoice in invoices() if invoice.reported is not None
    }
    different = {case_id for case_id, (ours, theirs) in reported.items() if ours != theirs}

    assert different == DIFFERENT
    assert len(reported) - len(different) >= 20


def test_a_long_prompt_that_was_recorded_pays_its_tier() -> None:
    assert any(invoice.prices != invoice.tariff.prices for invoice in invoices())


def test_every_family_of_providers_has_an_invoice() -> None:
    assert {invoice.case.provider for invoice in invoices()} >= {
        "anthropic",
        "avian",
        "azure",
        "cerebras",
        "deepseek",
        "gemini",
        "groq",
        "mistral",
        "openai",
        "openrouter",
        "perplexity",
        "together",
        "vertex",
        "xai",
        "zai",
    }


def test_every_kind_of_tokens_that_was_recorded_has_an_invoice() -> None:
    kinds = {kind for invoice in invoices() for kind in invoice.family[2]}

    assert kinds >= {"input", "cache_read", "cache_write", "cache_write_1h", "input_audio", "output_audio"}
    assert kinds >= {"input_image", "output_image", "output", "reasoning"}
