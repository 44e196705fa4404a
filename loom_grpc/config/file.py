"""Reading a YAML file into plain values, with the line of every key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, NoReturn

import yaml

from loom_grpc.config.error import ConfigError
from loom_grpc.config.tree import KeyPath, where

Lines = dict[KeyPath, int]
"""The line, counted from 1, where each key or list item begins."""

_SCALARS: Final = {f"tag:yaml.org,2002:{name}": name for name in ("int", "float", "bool", "null")}
# Words that YAML 1.1 would turn into dates and the like stay what they are.
_TEXTS: Final = {f"tag:yaml.org,2002:{name}" for name in ("str", "timestamp", "value", "merge")}
_MOST_VALUES: Final = 20_000
_DEEPEST: Final = 30


def read_yaml(file: Path) -> tuple[Any, Lines]:
    """Reads a file; raises `ConfigError` with one line when it is not there or not YAML as we take it."""
    text = _read(file)
    try:
        reader = _Reader(file, text)
        node = reader.loader.get_single_node()
        return ({} if node is None else reader.value(node, ())), reader.lines
    except RecursionError:
        raise ConfigError(f"{file}: is nested too deeply") from None
    except yaml.YAMLError as error:
        raise ConfigError(_syntax_problem(file, text, error)) from None
    except (ValueError, OverflowError):  # from a quoted \U and digits
        raise ConfigError(f"{file}: has an escape sequence for a character that does not exist") from None


def _read(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: is not UTF-8 text (byte {error.start + 1}); save it as UTF-8") from None
    except FileNotFoundError:
        raise ConfigError(f"{file}: there is no such file; name another one with --config") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None


def _syntax_problem(file: Path, text: str, error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return f"{file}:{line}: has a character that YAML does not allow"
    mark = getattr(error, "problem_mark", None)
    place = f"{file}:{mark.line + 1}" if mark else str(file)
    problem = str(getattr(error, "problem", None) or "cannot be read")
    if r"'\t'" in problem:
        return f"{place}: has a tab where YAML wants spaces"
    if problem == "but found another document":
        return f"{place}: begins a second document; keep one"
    return f"{place}: is not YAML: {_QUOTED.sub(_unquoted, problem)}; put quotes around text with special characters"


_QUOTED: Final = re.compile(r"'([^']*)'")


def _unquoted(match: re.Match[str]) -> str:
    # Single marks and names of tokens, such as '<block end>', say what is wrong; anything else may be a secret.
    return match[0] if len(match[1]) == 1 or match[1].startswith("<") else "..."


class _Reader:
    """Turns YAML nodes into values, refusing what configuration has no use for."""

    def __init__(self, file: Path, text: str) -> None:
        self.file = file
        self.loader = yaml.SafeLoader(text)
        self.lines: Lines = {}

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        # An alias can stand for itself, or for so much that it fills the memory.
        if len(path) > _DEEPEST or len(self.lines) > _MOST_VALUES:
            self.refuse(node, "holds too much or is nested too deeply")
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, str(place))) for place, item in enumerate(node.value)]
        return self.scalar(node)

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self.refuse(key_node, "has a list or a mapping as a key")
            key = str(key_node.value)
            if key == "<<":
                self.refuse(key_node, "merges with <<, which is not read; repeat the keys instead")
            if key in result:
                self.refuse(key_node, f"has the key {where((*path, key))} twice; keep one of them")
            self.lines[(*path, key)] = key_node.start_mark.line + 1
            result[key] = self.value(value_node, (*path, key))
        return result

    def scalar(self, node: yaml.Node) -> Any:
        if node.tag in _TEXTS:
            return node.value
        if node.tag not in _SCALARS:
            self.refuse(node, "has a tag (!...), which is not read; put quotes around text that begins with !")
        try:
            return self.loader.construct_object(node)
        except (ValueError, LookupError):
            self.refuse(node, f"has a value that cannot be read as {_SCALARS[node.tag]}; put quotes around text")

    def refuse(self, node: yaml.Node, what: str) -> NoReturn:
        raise ConfigError(f"{self.file}:{node.start_mark.line + 1}: {what}")
