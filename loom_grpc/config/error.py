"""The one error of reading a configuration."""

from __future__ import annotations


class ConfigError(Exception):
    """What is wrong with the configuration: a line for each problem, saying where it is and what to do.

    No line repeats a value, because any value may be a secret in the wrong place.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
