"""What recorded answers cost, with the arithmetic; `python -m tests.money.invoice` writes `golden_invoices.txt` anew."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from loom_grpc.catalogue.price import PriceBook
from loom_grpc.core.model import Prices
from loom_grpc.core.tariff import Counts, PriceList, each, split
from loom_grpc.providers.registry import PROVIDERS
from loom_grpc.v1.llm_service_pb2 import LlmResponse
from loom_grpc.v1.usage_pb2 import Usage
from tests.wire.cases import DIALECTS, Case, fixtures, read

GOLDEN: Final = Path(__file__).with_name("golden_invoices.txt")
_BOOK: Final = PriceBook(date(2026, 11, 21))
"""The prices of one day, so that a newer one of the same package changes nothing."""
_ELSEWHERE: Final = {
    "alibaba": "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
    "avian": "https://api.avian.io/v1",
    "azure": "https://example.openai.azure.com",
    "gemini-openai": "https://generativelanguage.googleapis.com/v1beta/openai",
    "huggingface": "https://router.huggingface.co/v1",
    "vertex": "https://us-central1-aiplatform.googleapis.com",
}
"""Where the recorded hosts are that have no row of their own."""


class Invoice(NamedTuple):
    """A recorded answer whose price is known."""

    case: Case
    response: LlmResponse
    tariff: PriceList

    @property
    def prices(self) -> Prices:
        """What a prompt of its length costs."""
        tokens = self.response.usage.input_tokens
        return next((tier.prices for tier in self.tariff.tiers[::-1] if tokens > tier.above), self.tariff.prices)

    @property
    def counts(self) -> Counts:
        """The tokens by their kinds."""
        return split(self.response.usage)

    @property
    def nanos(self) -> int:
        """What we say that it cost."""
        return self.tariff.cost(self.response.usage)

    @property
    def reported(self) -> int | None:
        """What the provider said that it cost."""
        return self.response.reported_cost.nanos if self.response.HasField("reported_cost") else None

    @property
    def family(self) -> tuple[str, str, tuple[str, ...]]:
        """The provider, its API, and the kinds of tokens that there are."""
        kinds = tuple(kind for kind, tokens in zip(Counts._fields, self.counts, strict=True) if tokens)
        return self.case.provider, self.case.api, kinds

    def lines(self) -> Iterator[str]:
        """Writes the arithmetic: tokens of each kind, dollars for a million of them, and nano-dollars."""
        yield f"{self.case.id}: {self.response.model}"
        for kind, tokens, price in zip(Counts._fields, self.counts, each(self.prices), strict=True):
            if tokens:
                yield f"  {kind:<16} {tokens:>8} x {price:>7} = {_plain(tokens * price * 1000):>12}"
        if fee := self.tariff.cost(Usage()):
            yield f"  {'request':<16} {'':>8}   {'':>7}   {fee:>12}"
        yield f"  {'cost':<16} {'':>8}   {'':>7}   {self.nanos:>12}"
        if self.reported is not None:
            yield f"  {'reported':<16} {'':>8}   {'':>7}   {self.reported:>12}"


@cache
def invoices() -> tuple[Invoice, ...]:
    """Returns all recorded answers whose prices are known, in the order of their names."""
    return tuple(filter(None, map(_invoice, fixtures())))


def text() -> str:
    """Writes an invoice for each family and for whatever the provider itself put a price on, and for long prompts."""
    seen: set[object] = set()
    lines: list[str] = []
    for invoice in invoices():
        if invoice.family not in seen or invoice.reported is not None or invoice.prices != invoice.tariff.prices:
            lines += [*invoice.lines(), ""]
        seen.add(invoice.family)
    return "\n".join(lines)


def _invoice(case: Case) -> Invoice | None:
    if case.api not in DIALECTS or case.status != 200:
        return None
    response = read(case, [case.body]).response
    if response is None or not response.HasField("usage"):
        return None
    place = (case.provider, _base_url(case.provider), response.model)
    tariff = _BOOK.tariff(*place)
    return None if tariff is None else Invoice(case, response, tariff)


def _base_url(provider: str) -> str:
    row = PROVIDERS.get(provider)
    return _ELSEWHERE.get(provider, "") if row is None else row.base_url


def _plain(amount: Decimal) -> str:
    return f"{amount.normalize():f}"


if __name__ == "__main__":
    GOLDEN.write_text(text(), encoding="utf-8")
