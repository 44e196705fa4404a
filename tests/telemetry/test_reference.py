"""The page about telemetry."""

from __future__ import annotations

from pathlib import Path

from loom_grpc.telemetry import reference_markdown
from loom_grpc.telemetry.names import METRICS, SPAN_ATTRIBUTES


def test_the_page_is_in_step_with_the_code() -> None:
    page = Path(__file__).parents[2] / "docs" / "telemetry.md"

    assert page.read_text() == reference_markdown()


def test_the_page_names_every_metric_and_every_attribute() -> None:
    text = reference_markdown()

    assert [metric.name for metric in METRICS if f"| `{metric.name}` |" not in text] == []
    assert [name for name in SPAN_ATTRIBUTES if f"| `{name}` |" not in text] == []
