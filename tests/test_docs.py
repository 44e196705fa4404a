"""The pages of docs/ that are generated from the code's tables."""

from __future__ import annotations

import re
import runpy
from typing import Any

import pytest

from loom_grpc.config.change import FIXED
from loom_grpc.core.health import Condition, Event
from tests.program import ROOT

LINK = re.compile(r"\]\((?!\w+:)([^)#]+)")


@pytest.fixture(scope="module")
def docs() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "scripts" / "docs.py"))


def test_the_page_of_accounts_is_in_step_with_the_table_of_conditions(docs: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "accounts.md").read_text(encoding="utf-8")

    assert docs["accounts_markdown"]() == page
    assert docs["health_table"]() in page
    assert docs["health_picture"]() in page


def test_the_page_of_models_is_in_step_with_the_table_of_abilities(docs: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")

    assert docs["models_markdown"]() == page
    assert docs["families_table"]() in page


def test_the_page_of_front_ends_says_what_gets_through(docs: dict[str, Any]) -> None:
    assert docs["frontends_markdown"]() == (ROOT / "docs" / "frontends.md").read_text(encoding="utf-8")


def test_the_page_of_reloads_names_every_section_that_cannot_change() -> None:
    page = (ROOT / "docs" / "reload.md").read_text(encoding="utf-8")
    paragraph = page.partition("**What cannot change**")[2].partition(". A configuration")[0]

    assert re.findall(r"`(\w+)`", paragraph) == [*FIXED]


def test_every_page_can_be_reached_from_the_readme_and_no_link_leads_nowhere() -> None:
    readme = ROOT / "README.md"
    pages = [readme, *(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "decisions").glob("*.md")]
    links = {page: [page.parent / link for link in LINK.findall(page.read_text(encoding="utf-8"))] for page in pages}

    assert [target for targets in links.values() for target in targets if not target.exists()] == []
    assert {*(ROOT / "docs").glob("*.md")} <= {*links[readme]}


def test_every_line_of_the_log_is_explained() -> None:
    page = (ROOT / "docs" / "telemetry.md").read_text(encoding="utf-8")
    code = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "loom_grpc").rglob("*.py"))
    events = set(re.findall(r'\blog\.(?:info|warning|error|log)\((?:[^"()]*(?:\([a-z]*\))?, )?"([a-z_]+)"', code))

    assert len(events) > 20
    assert {event for event in events if f"`{event}`" not in page} == set()


def test_every_event_and_condition_has_its_words(docs: dict[str, Any]) -> None:
    assert set(docs["EVENTS"]) == set(Event)
    assert set(docs["CONDITIONS"]) == set(Condition)


def test_the_picture_has_a_way_for_every_change(docs: dict[str, Any]) -> None:
    assert "    available --> refused: refused\n" in docs["health_picture"]()
    assert "    off --> available: enabled\n" in docs["health_picture"]()
    assert "off --> refused" not in docs["health_picture"]()
