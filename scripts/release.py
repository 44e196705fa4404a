"""Keeps the version in step wherever it stands, and the changelog with it: release.py check | prepare VERSION.

The version is that of loom_grpc/__init__.py. `make release` makes a release of it; docs/release.md says how.
"""

from __future__ import annotations

import argparse
import datetime as dt
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]
SOURCE: Final = "loom_grpc/__init__.py"
CHANGELOG: Final = "CHANGELOG.md"
UNRELEASED: Final = "## Unreleased"

PLACES: Final = (
    (SOURCE, r'^__version__: Final = "(.+)"$'),
    ("clients/*/package.json", r'^  "version": "(.+)",$'),
    ("clients/*/package-lock.json", r'\A\{\n  "name": ".+",\n  "version": "(.+)",$'),
    ("clients/*/package-lock.json", r'^    "": \{\n      "name": ".+",\n      "version": "(.+)",$'),
    ("clients/*/pom.xml", r"^  <version>(.+)</version>$"),
    ("clients/*/Cargo.toml", r'^\[(?:workspace\.)?package\]\n(?:[a-z-]+ = .+\n)*?version = "(.+)"$'),
    ("clients/*/Cargo.lock", r'^\[\[package\]\]\nname = ".+"\nversion = "(.+)"\n(?!source)'),
    ("clients/*/version.*", r'\bversion\b.* = "(.+)";?$'),
    ("clients/*/src/version.*", r'\bversion\b.* = "(.+)";?$'),
    ("clients/*/VERSION", r"\A(.+)\n\Z"),
)
"""Where the version stands: files, and what finds it in each. The package description of a language that is not among them may leave it to
a file VERSION."""

MENTIONS: Final = (
    ("deploy/kubernetes/*/kustomization.yaml", r"\bname: loom-grpc, newTag: (.+)\}$"),
    ("deploy/kubernetes/*/*/kustomization.yaml", r"\bname: loom-grpc, newTag: (.+)\}$"),
    ("docs/deployment.md", r"\bnewTag: (\d+\.\d+\.\d+)\b"),
    ("clients/*/README.md", r"\bloom-grpc-client</artifactId>\s*<version>(.+)</version>"),
    ("clients/*/README.md", r'\bloom-grpc(?: = "| = \{ ?version = "|@|:)(\d+\.\d+\.\d+)\b'),
)
"""Where it may stand as well."""

OF_THE_ROOT: Final = ("python",)
"""Languages whose package is that of the root folder."""

KINDS: Final = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
"""What https://keepachangelog.com/en/1.1.0/, seen 2026-11-21, knows of."""
_VERSION: Final = re.compile(r"(\d+)\.(\d+)\.(\d+)")
_SECTION: Final = re.compile(r"## (\d+\.\d+\.\d+) - (\d{4}-\d{2}-\d{2})")


class Place(NamedTuple):
    """A place where the version stands."""

    file: str
    version: str
    start: int
    end: int


def main() -> int:
    """Checks, or writes another version everywhere; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("check", help="fails when versions and changelog do not agree")
    prepare = actions.add_parser("prepare", help="writes a new version, and gives what is unreleased its name and date")
    prepare.add_argument("version")
    arguments = parser.parse_args()
    problems = list(find_problems())
    if arguments.action == "prepare" and not problems:
        problems = list(refusals(arguments.version))
        if not problems:
            write_version(arguments.version)
            write_section(arguments.version)
    for problem in problems:
        print(f"loom-grpc: {problem}", file=sys.stderr)
    return 1 if problems else 0


def find_problems() -> Iterator[str]:
    """Yields what does not agree, a sentence each."""
    version = source_version()
    for place in places():
        if place.version != version:
            yield f"{place.file} has version {place.version}, and {SOURCE} has {version}."
    for pattern, finds in PLACES:
        for file in files(pattern):
            if not re.search(finds, text_of(file), re.MULTILINE | re.IGNORECASE):
                yield f"{file} has no version where scripts/release.py looks for it."
    for runner in files("clients/*/conformance"):
        language = Path(runner).parts[1]
        if language not in OF_THE_ROOT and not any(place.file.startswith(f"clients/{language}/") for place in places()):
            yield f"clients/{language} has no version: give it a file VERSION, or scripts/release.py a row for its package description."
    yield from changelog_problems(version)


def changelog_problems(version: str) -> Iterator[str]:
    """Yields what is wrong with the changelog; the newest version in it is the present one, and all tags are in it."""
    heads = [line for line in text_of(CHANGELOG).splitlines() if line.startswith("## ")]
    if heads[:1] != [UNRELEASED]:
        yield f"{CHANGELOG}: the first section has to be {UNRELEASED!r}."
    for head in heads[1:]:
        if not _SECTION.fullmatch(head):
            yield f"{CHANGELOG}: {head!r} is not of the form '## 1.2.3 - 2026-01-31'."
    for line in text_of(CHANGELOG).splitlines():
        if line.startswith("### ") and line[4:] not in KINDS:
            yield f"{CHANGELOG}: {line!r} is none of {', '.join(KINDS)}."
    versions = released()
    if versions != sorted(set(versions), key=number, reverse=True):
        yield f"{CHANGELOG}: the newest version comes first, and each once."
    if versions and versions[0] != version:
        yield f"{CHANGELOG}: the newest version is {versions[0]}, and {SOURCE} has {version}."
    for tag in git("tag", "--list", "v[0-9]*", "--merged", "HEAD").split():
        if tag[1:] not in versions:
            yield f"{CHANGELOG}: {tag} is a tag and has no section."


def refusals(version: str) -> Iterator[str]:
    """Yields why a version cannot be released."""
    if not _VERSION.fullmatch(version):
        yield f"{version!r} is no version such as 1.2.3."
        return
    newest = released()[:1]
    if newest and number(version) <= number(newest[0]):
        yield f"{version} is not newer than {newest[0]}."
    if not unreleased():
        yield f"{CHANGELOG}: nothing is unreleased."
    if git("status", "--porcelain"):
        yield "There are changes that are not committed."


def write_version(version: str) -> None:
    """Writes a version wherever one stands."""
    for place in sorted(places(), key=lambda place: -place.start):
        text = text_of(place.file)
        (ROOT / place.file).write_text(text[: place.start] + version + text[place.end :])


def write_section(version: str) -> None:
    """Makes what is unreleased that version's, of today."""
    today = dt.datetime.now(dt.UTC).date()
    text = text_of(CHANGELOG).replace(UNRELEASED, f"{UNRELEASED}\n\n## {version} - {today}", 1)
    (ROOT / CHANGELOG).write_text(text)


def places() -> Iterator[Place]:
    """Yields every place where the version stands."""
    for pattern, finds in (*PLACES, *MENTIONS):
        for file in files(pattern):
            for found in re.finditer(finds, text_of(file), re.MULTILINE | re.IGNORECASE):
                yield Place(file, found[1], *found.span(1))


def source_version() -> str:
    """Returns the version that all others follow."""
    found = re.search(PLACES[0][1], text_of(SOURCE), re.MULTILINE)
    assert found, SOURCE
    return found[1]


def released() -> list[str]:
    """Returns the versions in the changelog, as they stand there."""
    return [found[1] for found in _SECTION.finditer(text_of(CHANGELOG))]


def unreleased() -> str:
    """Returns what the changelog says of the next version."""
    return re.split(r"^## .*$", text_of(CHANGELOG), flags=re.MULTILINE)[1].strip()


def number(version: str) -> tuple[int, ...]:
    """Returns what versions are ordered by."""
    return tuple(int(part) for part in version.split("."))


def files(pattern: str) -> list[str]:
    """Returns the files of that pattern that git knows or would take."""
    return sorted({file for file in tree() if PurePosixPath(file).match(pattern) and (ROOT / file).is_file()})


@cache
def tree() -> list[str]:
    """Returns all files that git knows or would take."""
    return git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")


def text_of(file: str) -> str:
    """Reads a file of the project."""
    return (ROOT / file).read_text()


def git(*arguments: str) -> str:
    """Returns what git says."""
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout  # noqa: S603, S607


if __name__ == "__main__":
    sys.exit(main())
