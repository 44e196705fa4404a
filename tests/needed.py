"""Servers that the tests run against and that this project does not install itself."""

from __future__ import annotations

import os

import pytest


def needed(program: str | None, missing: str) -> str:
    """Returns a program's path. Without it the test is skipped, saying how to get it; in CI nothing is skipped, so there it fails."""
    if program is not None:
        return program
    if os.environ.get("CI"):
        pytest.fail(missing, pytrace=False)
    pytest.skip(missing)
