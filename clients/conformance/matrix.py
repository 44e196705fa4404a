"""What came of all cases, in all languages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from clients.conformance.case import Case

CLIENTS: Final = Path(__file__).parents[1]
PAGE: Final = CLIENTS.parent / "docs" / "clients.md"
BEGIN: Final = "<!-- Written by `make conformance ARGS=--write`; do not edit. -->\n"
END: Final = "<!-- The end of the matrix. -->\n"
GOOD, BAD = "✓", "✗"

Results = Mapping[str, Mapping[str, list[str]]]
"""By language and by case: what is wrong."""


def matrix(cases: Iterable[Case], results: Results) -> str:
    """Writes the results as a Markdown table, a row for each row of the table of cases and a column for each language."""
    rows: dict[str, list[str]] = {}
    for case in cases:
        rows.setdefault(case.row, []).append(case.name)
    lines = [
        f"| case | {' | '.join(results)} |",
        f"|---{'|---' * len(results)}|",
        *(
            f"| {_label(row, len(names))} | {' | '.join(_cell(found, names) for found in results.values())} |"
            for row, names in rows.items()
        ),
    ]
    return "\n".join(lines) + "\n"


def languages(names: Iterable[str], folder: Path = CLIENTS) -> str:
    """Writes a list of the clients, each by the first line of its README; raises `FileNotFoundError` where one has none."""
    titles = {name: (folder / name / "README.md").read_text(encoding="utf-8").partition("\n")[0] for name in names}
    return "".join(f"- [{title.lstrip('# ')}](../clients/{name}/README.md)\n" for name, title in titles.items())


def problems(results: Results) -> list[str]:
    """Says what is wrong; what is wrong with several cases of a language in the same way is said once."""
    cases: dict[tuple[str, str], list[str]] = {}
    for language, found in results.items():
        for name, lines in found.items():
            if lines:
                cases.setdefault((language, "\n    ".join(lines)), []).append(name)
    return [
        f"{language}: {names[0]}{f' (and {len(names) - 1} more cases)' if names[1:] else ''}\n    {lines}"
        for (language, lines), names in cases.items()
    ]


def _label(row: str, number: int) -> str:
    return row if number == 1 else f"{row} ({number})"


def _cell(found: Mapping[str, list[str]], names: list[str]) -> str:
    bad = sum(bool(found[name]) for name in names)
    return GOOD if not bad else BAD if len(names) == 1 else f"{BAD} {bad} of {len(names)}"


def kept(page: str) -> str:
    """Returns what a page holds of ours; raises `ValueError` for a page without the place for it."""
    begin = page.index(BEGIN) + len(BEGIN)
    return page[begin : page.index(END, begin)].strip() + "\n"


def replaced(page: str, text: str) -> str:
    """Returns the page with another text in that place."""
    begin = page.index(BEGIN) + len(BEGIN)
    return f"{page[:begin]}\n{text}\n{page[page.index(END, begin) :]}"
