"""How a release is made: in a clone of its own, by the scripts that `make release` and CI run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from loom_grpc import __version__
from tests.program import environment
from tests.release.checkout import copy_of

AUTHOR: Final = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "A test"), ("EMAIL", "test@example.org"))
}
PROTO: Final = "proto/loom_grpc/v1/usage.proto"


class Clone:
    """A repository of the project with one commit, on main."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # The scripts find their tools where `make` puts them.
        (folder / ".venv").mkdir()
        (folder / ".venv/bin").symlink_to(Path(sys.executable).parent)
        (folder / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n### Added\n- Everything.\n")
        self.run("git", "init", "--quiet", "--initial-branch=main")
        self.commit()

    def run(self, *command: str) -> str:
        """Runs a command that succeeds and returns what it says."""
        done = self.tried(*command)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def tried(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command."""
        env = environment(AUTHOR)
        return subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, check=False)  # noqa: S603

    def refusals(self, *command: str) -> list[str]:
        """Runs a command that fails, and returns why, a line each."""
        done = self.tried(*command)
        assert done.returncode == 1
        return done.stderr.splitlines()

    def commit(self) -> None:
        """Commits everything."""
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", "A change")

    def change(self, file: str, before: str, after: str) -> None:
        """Replaces a text that a file has."""
        text = (self.folder / file).read_text()
        assert before in text
        (self.folder / file).write_text(text.replace(before, after, 1))


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    generated = (":!clients/*/v1/*", ":!clients/*/loompb/*", ":!clients/*/gen/*")
    folders = ("loom_grpc/__init__.py", "proto", "clients", "deploy", "docs/deployment.md", "scripts")
    return Clone(copy_of(tmp_path / "clone", *folders, "buf.yaml", ".gitignore", *generated))


CHECK: Final = (sys.executable, "scripts/release.py", "check")
RELEASE: Final = "scripts/release.sh"


def test_all_versions_agree(clone: Clone) -> None:
    assert clone.run(*CHECK) == ""


def test_a_release_is_the_new_version_everywhere_and_tags(clone: Clone) -> None:
    clone.run(RELEASE, "1.2.3")
    changed = clone.run("git", "show", "--name-only", "--format=", "HEAD").split()
    changelog = (clone.folder / "CHANGELOG.md").read_text()

    assert clone.run("git", "status", "--porcelain") == ""
    assert clone.run(sys.executable, "-c", "import loom_grpc; print(loom_grpc.__version__)") == "1.2.3\n"
    assert clone.run(*CHECK) == ""
    assert clone.run("git", "tag", "--points-at", "HEAD").split() == ["clients/go/v1.2.3", "v1.2.3"]
    assert re.fullmatch(
        r"# Changelog\n\n## Unreleased\n\n## 1\.2\.3 - \d{4}-\d\d-\d\d\n\n### Added\n- Everything\.\n", changelog
    )
    assert "newTag: 1.2.3}]" in (clone.folder / "docs/deployment.md").read_text()
    assert {Path(name).parts[1] for name in changed if name.startswith("clients/")} >= {
        "go",
        "java",
        "rust",
        "typescript",
    }


def test_a_version_that_lags_behind_is_named(clone: Clone) -> None:
    clone.change("loom_grpc/__init__.py", f'"{__version__}"', '"9.9.9"')

    problems = clone.refusals(*CHECK)

    assert (
        f"loom-grpc: clients/go/version.go has version {__version__}, and loom_grpc/__init__.py has 9.9.9." in problems
    )
    assert {re.sub(r".*(clients/[a-z]+).*", r"\1", line) for line in problems if "clients/" in line} >= {
        "clients/go",
        "clients/java",
        "clients/rust",
        "clients/typescript",
    }


def test_a_new_language_needs_no_change_elsewhere(clone: Clone) -> None:
    language = clone.folder / "clients/elixir"
    language.mkdir()
    (language / "conformance").touch()
    missing = clone.refusals(*CHECK)
    (language / "VERSION").write_text(f"{__version__}\n")
    clone.run(*CHECK)
    clone.commit()
    clone.run(RELEASE, "1.2.3")

    assert missing == [
        "loom-grpc: clients/elixir has no version: give it a file VERSION, or scripts/release.py a row for its package description."
    ]
    assert (language / "VERSION").read_text() == "1.2.3\n"


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("1.2", "'1.2' is no version such as 1.2.3."),
        ("1.2.3", "1.2.3 is not newer than 1.2.3."),
        ("1.2.2", "1.2.2 is not newer than 1.2.3."),
    ],
)
def test_a_version_that_is_none_or_not_newer_is_refused(clone: Clone, version: str, reason: str) -> None:
    clone.run(RELEASE, "1.2.3")
    clone.change("CHANGELOG.md", "## Unreleased\n", "## Unreleased\n\n### Fixed\n- Something.\n")
    clone.commit()

    assert clone.refusals(RELEASE, version) == [f"loom-grpc: {reason}"]


def test_without_a_change_or_with_one_that_is_not_committed_nothing_is_released(clone: Clone) -> None:
    clone.run(RELEASE, "1.2.3")
    nothing = clone.refusals(RELEASE, "1.2.4")
    clone.change("CHANGELOG.md", "## Unreleased\n", "## Unreleased\n\n### Fixed\n- Something.\n")

    assert nothing == ["loom-grpc: CHANGELOG.md: nothing is unreleased."]
    assert clone.refusals(RELEASE, "1.2.4") == ["loom-grpc: There are changes that are not committed."]


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("## Unreleased\n", "", "CHANGELOG.md: the first section has to be '## Unreleased'."),
        ("## 1.2.3 - ", "## 1.2.3 of ", "CHANGELOG.md: v1.2.3 is a tag and has no section."),
        (
            "### Added",
            "### News",
            "CHANGELOG.md: '### News' is none of Added, Changed, Deprecated, Removed, Fixed, Security.",
        ),
        ("## 1.2.3", "## 1.3.0", "CHANGELOG.md: the newest version is 1.3.0, and loom_grpc/__init__.py has 1.2.3."),
    ],
)
def test_a_changelog_that_does_not_fit_is_refused(clone: Clone, before: str, after: str, problem: str) -> None:
    clone.run(RELEASE, "1.2.3")
    clone.change("CHANGELOG.md", before, after)

    assert f"loom-grpc: {problem}" in clone.refusals(*CHECK)


def test_what_breaks_callers_of_the_last_release_is_refused_though_main_has_it_already(clone: Clone) -> None:
    clone.run(RELEASE, "1.2.3")
    clone.change(PROTO, "int64 output_tokens = 2;", "int64 output_tokens = 99;")
    clone.commit()
    done = clone.tried("scripts/check_breaking.sh")

    assert done.returncode != 0
    assert 'Previously present field "2" with name "output_tokens" on message "Usage" was deleted.' in done.stdout


def test_what_was_never_released_may_change(clone: Clone) -> None:
    clone.run(RELEASE, "1.2.3")
    clone.change(PROTO, "message Usage {", "message Usage {\n  // Tokens of another kind.\n  int64 other_tokens = 999;")
    clone.commit()
    clone.change(PROTO, "int64 other_tokens = 999;", "int64 other_tokens = 998;")

    clone.run("scripts/check_breaking.sh")
