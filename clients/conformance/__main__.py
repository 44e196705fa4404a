"""`python -m clients.conformance [--only go,rust] [--case name] [--write]`: runs all languages and prints what is wrong, and the matrix."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from dataclasses import replace
from pathlib import Path

from clients.conformance.case import read
from clients.conformance.drive import END, drive
from clients.conformance.matrix import PAGE, kept, languages, matrix, problems, replaced
from clients.conformance.runner import runners


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m clients.conformance", description="Compares the clients.")
    parser.add_argument("--only", metavar="LANGUAGES", help="run these, separated by commas")
    parser.add_argument("--case", metavar="TEXT", help="run the cases whose names hold this")
    parser.add_argument("--write", action="store_true", help="keep the matrix in docs/clients.md")
    return parser.parse_args()


def _chosen(only: str | None) -> dict[str, Path]:
    """Returns the runners that are to run; exits where there is none of a name."""
    found = runners()
    if only is None:
        return found
    if unknown := set(only.split(",")) - found.keys():
        sys.exit(f"no runner for {', '.join(sorted(unknown))}; there is one for {', '.join(found)}")
    return {language: found[language] for language in only.split(",")}


def _keep(text: str, *, write: bool) -> bool:
    """Writes the text into the page, or tells whether it is there."""
    page = PAGE.read_text(encoding="utf-8")
    if write:
        PAGE.write_text(replaced(page, text), encoding="utf-8")
    return write or kept(page) == text


def main() -> int:
    """Runs the command and returns its exit code."""
    arguments = _arguments()
    begun = time.monotonic()
    cases = [case for case in read() if (arguments.case or "") in case.name]
    if not cases:
        sys.exit(f"no case has {arguments.case!r} in its name")
    results = asyncio.run(drive(cases, _chosen(arguments.only)))
    wrong = problems(results)
    table = matrix([*cases, replace(cases[0], name=END, row=END)], results)
    print(*wrong, table, sep="\n")
    red = sum(bool(lines) for found in results.values() for lines in found.values())
    print(f"{len(cases)} cases, {len(results)} languages, {red} red, {time.monotonic() - begun:.0f} s")
    whole = arguments.only is None and arguments.case is None
    if whole and not _keep(f"{languages(results)}\n{table}", write=arguments.write):
        print("docs/clients.md has another matrix: make conformance ARGS=--write")
        return 1
    return 1 if red else 0


if __name__ == "__main__":
    sys.exit(main())
