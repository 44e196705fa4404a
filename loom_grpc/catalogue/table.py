"""What `abilities.toml` says of the families of models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import translate
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from loom_grpc.core.model import UNKNOWN, Facts

_FILE: Final = Path(__file__).with_name("abilities.toml")


class Family(NamedTuple):
    """Models of which the same is known."""

    names: tuple[str, ...]
    """Patterns for whole names in lower case, in which `*` is any text."""
    at: frozenset[str]
    """The places where it holds; none is everywhere."""
    seen: str
    """Where the facts are from, and when they were looked up."""
    facts: Facts
    pattern: re.Pattern[str]


class Table(NamedTuple):
    """The whole file."""

    hosts: Mapping[str, str]
    """The places that are known by the host of their address."""
    places: Mapping[str, Facts]
    """What holds for all models of a place of which their family says nothing else."""
    families: tuple[Family, ...]

    def find(self, place: str, model: str) -> Facts:
        """Returns what is known of a model by its family: the first that has it, for names may fit several."""
        name = model.rpartition("/")[2].lower()
        for family in self.families:
            if (not family.at or place in family.at) and family.pattern.fullmatch(name):
                return filled(family.facts, self.places.get(place, UNKNOWN))
        return self.places.get(place, UNKNOWN)


def filled(*sources: Facts) -> Facts:
    """Puts facts together, of which those that come first count."""
    return Facts(*(next((value for value in values if value is not None), None) for values in _columns(sources)))


def _columns(sources: tuple[Facts, ...]) -> Any:
    return zip(*sources, strict=True)


@cache
def table() -> Table:
    """Reads the file, once for a process."""
    import tomllib

    data = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    places = {name: Facts(**facts) for name, facts in data["places"].items()}
    return Table(data["hosts"], places, tuple(_family(row) for row in data["family"]))


def _family(row: dict[str, Any]) -> Family:
    names, at, seen = tuple(row.pop("names")), frozenset(row.pop("at", ())), row.pop("seen")
    return Family(names, at, seen, Facts(**row), re.compile("|".join(map(translate, names))))
