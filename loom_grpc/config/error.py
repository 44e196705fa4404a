"""The one error of reading a configuration, and hints for its lines."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ConfigError(Exception):
    """What is wrong with the configuration: a line for each problem, saying where it is and what to do.

    No line repeats a value, because any value may be a secret in the wrong place.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def nearest(name: str, known: Iterable[str]) -> str:
    """Continues a sentence about an unknown name with the one that was probably meant, or with all that there are."""
    known = list(known)
    return meant(name, known) or f"; there are {', '.join(known)}"


def meant(name: str, known: Iterable[str]) -> str:
    """Continues a sentence with the known name that was probably meant, if one is near."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""
