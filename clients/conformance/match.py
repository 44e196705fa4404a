"""What an answer has to be: values, and matchers for those that vary."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import yaml


class Matcher(NamedTuple):
    """A value that may vary: the tag by which cases.yaml names the rule, and what is given with it."""

    tag: str
    argument: Any = None

    def __repr__(self) -> str:
        return f"{self.tag} {self.argument!r}" if self.argument else self.tag

    def accepts(self, actual: object) -> bool:
        """Tells whether a value is one that may be there; None is one that is absent."""
        return RULES[self.tag](self.argument, actual)


def _lies_between(limits: list[float], actual: object) -> bool:
    low, high = limits
    return isinstance(actual, int | float) and low <= actual <= high


def _is_one_of(choices: list[object], actual: object) -> bool:
    return any(not differences(choice, actual) for choice in choices)


def _has_all(wanted: list[object], actual: object) -> bool:
    return isinstance(actual, list) and all(_has(actual, item) for item in wanted)


def _has(items: list[object], wanted: object) -> bool:
    return any(not differences(wanted, item) for item in items)


RULES: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "!any": lambda _, actual: actual not in (None, "", [], {}),
    "!optional": lambda *_: True,
    "!match": lambda pattern, actual: isinstance(actual, str) and bool(re.fullmatch(pattern, actual, re.DOTALL)),
    "!between": _lies_between,
    "!one_of": _is_one_of,
    "!has": _has_all,
}
"""What each tag of cases.yaml accepts; README.md says it in words."""


class Loader(yaml.SafeLoader):
    """Reads YAML with the tags of `RULES`, and `!times`, which repeats a text."""


def _matcher(loader: Loader, node: yaml.Node) -> Matcher:
    return Matcher(node.tag, _plain(loader, node))


def _times(loader: Loader, node: yaml.Node) -> str:
    text, number = _plain(loader, node)
    return str(text) * int(number)


def _plain(loader: Loader, node: yaml.Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    return node.value


for _tag in RULES:
    Loader.add_constructor(_tag, _matcher)
Loader.add_constructor("!times", _times)


def filled(value: Any, words: Mapping[str, Any]) -> Any:
    """Replaces `$name` everywhere in a value; a text that is nothing else becomes the word as it is."""
    if isinstance(value, str):
        return words[value[1:]] if value.startswith("$") and value[1:] in words else _replaced(value, words)
    if isinstance(value, Matcher):
        return Matcher(value.tag, filled(value.argument, words))
    if isinstance(value, dict):
        return {filled(name, words): filled(item, words) for name, item in value.items()}
    if isinstance(value, list):
        return [filled(item, words) for item in value]
    return value


def _replaced(text: str, words: Mapping[str, Any]) -> str:
    return re.sub(r"\$(\w+)", lambda found: str(words.get(found[1], found[0])), text) if "$" in text else text


def differences(expected: object, actual: object, path: str = "") -> list[str]:
    """Compares a value with what is expected and says what differs, a line each; an expected number also fits its own digits as text,
    which is how JSON of protobuf writes 64 bits."""
    if isinstance(expected, Matcher):
        return [] if expected.accepts(actual) else [_line(path, actual, _short(expected))]
    if isinstance(expected, dict) and isinstance(actual, dict):
        return [
            line
            for name in {**expected, **actual}
            for line in differences(expected.get(name), actual.get(name), f"{path}.{name}".lstrip("."))
        ]
    if isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        pairs = enumerate(zip(expected, actual, strict=True))
        return [line for index, (one, other) in pairs for line in differences(one, other, f"{path}[{index}]")]
    if type(expected) is int and isinstance(actual, str):
        actual = int(actual) if re.fullmatch(r"-?\d+", actual) else actual
    return [] if expected == actual else [_line(path, actual, _short(expected))]


def _line(path: str, actual: object, expected: str) -> str:
    return f"{path or 'value'}: {_short(actual)} instead of {expected}"


def _short(value: object) -> str:
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:140]} ... {text[-140:]} ({len(text)} characters)"
