"""Arguments of a call that come value by value, each with its place (Vertex AI's `partialArgs`; RFC 9535 for the places)."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, Final

_STEP: Final = re.compile(r"""\.([^.\[\]]+)|\[(\d{1,6})\]|\['((?:[^'\\]|\\.)*)'\]|\["((?:[^"\\]|\\.)*)"\]""")
_ESCAPE: Final = re.compile(r"\\(.)")
_MOST_GAPS: Final = 1000
"""How many elements of a list may be missing: what the provider leaves out costs memory here."""


def put(tree: dict[str, Any], argument: dict[str, Any]) -> None:
    """Puts one partial argument into the tree; a text goes on where the text at its place ended.

    Raises ValueError or TypeError for a place that there cannot be.
    """
    value = _value(argument)
    node: Any = tree
    steps = _steps(argument["jsonPath"])
    for step, following in pairwise(steps):
        child = _get(node, step)
        if child is None:
            child = [] if isinstance(following, int) else {}
            _set(node, step, child)
        node = child
    present = _get(node, steps[-1])
    _set(node, steps[-1], present + value if isinstance(present, str) and isinstance(value, str) else value)


def _value(argument: dict[str, Any]) -> Any:
    for key in ("stringValue", "numberValue", "boolValue"):
        if key in argument:
            return argument[key]
    return None if "nullValue" in argument else ""


def _steps(path: str) -> list[str | int]:
    """Splits a path such as `$.steps[0].name`."""
    steps: list[str | int] = []
    position = 1
    while match := _STEP.match(path, position):
        name, index, *quoted = match.groups()
        steps.append(int(index) if index else name or _ESCAPE.sub(r"\1", next(filter(None, quoted), "")))
        position = match.end()
    if not steps or position != len(path):
        raise ValueError(path)
    return steps


def _get(node: Any, step: str | int) -> Any:
    if isinstance(step, str):
        return _mapping(node).get(step)
    return node[step] if step < len(node) else None


def _set(node: Any, step: str | int, value: Any) -> None:
    if isinstance(step, int):
        if step - len(node) > _MOST_GAPS:
            raise ValueError(step)
        node.extend([None] * (step + 1 - len(node)))
    node[step] = value


def _mapping(node: Any) -> dict[str, Any]:
    if not isinstance(node, dict):
        raise TypeError(type(node).__name__)
    return node
