"""Showing the configuration: what can be set, and what is."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, get_args, get_origin

from pydantic import JsonValue, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from loom_grpc.config.change import FIXED
from loom_grpc.config.schema import Accounts, Config
from loom_grpc.config.source import PREFIX, SWITCHES, VARIABLES, Loaded
from loom_grpc.config.tree import KeyPath, child, dotted, is_leaf, item_of, leaves, reference_at, section_of
from loom_grpc.config.value import masked


def effective(loaded: Loaded) -> list[tuple[str, str, str]]:
    """Lists every value as its dotted path, its text with secrets masked, and its origin."""
    return [(dotted(path), _shown(path, value), loaded.origins[dotted(path)]) for path, value in leaves(loaded.config)]


def _shown(path: KeyPath, value: Any) -> str:
    if (reference := reference_at(path, value)) is not None:  # headers too are often a credential
        return masked(reference)
    return str(value) if isinstance(value, str | Path | Decimal) else json.dumps(value)


class Row(NamedTuple):
    """A key as the reference lists it."""

    path: KeyPath
    type: str
    default: str
    description: str


def reference_markdown() -> str:
    """Writes the reference of all keys, sections and well-known environment variables."""
    parts = [_INTRODUCTION + _fixed(), *(_table(name, list(_rows(name))) for name in Config.model_fields), _variables()]
    return "\n".join(parts)


def _fixed() -> str:
    names = ", ".join(f"`{name}`" for name in FIXED)
    return (
        f"- The sections {names} are read at the start alone;\n"
        "  all others also while the server runs ([reload.md](reload.md)).\n"
    )


def _table(name: str, rows: list[Row]) -> str:
    field = Config.model_fields[name]
    about = [] if rows[0].path == (name,) else [str(field.description), ""]
    lines = [f"## {name}", "", *about, "| key | type | default | meaning |", "|---|---|---|---|"]
    for row in rows:
        cells = [f"`{dotted(row.path)}`<br>`{_variable(row.path)}`", row.type, row.default, row.description]
        lines.append(f"| {' | '.join(cell.replace('|', _BAR) for cell in cells)} |")
    return "\n".join([*lines, ""])


_NUMBER: Final = "<number>"
_BAR: Final = r"\|"


def _variable(path: KeyPath) -> str:
    """Names the variable of a key; a list of mappings has one as a whole."""
    return PREFIX + "__".join(itertools.takewhile(_NUMBER.__ne__, path)).upper()


def _rows(name: str) -> Iterator[Row]:
    field = Config.model_fields[name]
    yield from _below((name,), field.annotation, field)


def _below(path: KeyPath, kind: Any, field: FieldInfo) -> Iterator[Row]:
    if get_origin(kind) is dict and not is_leaf(kind):
        yield from _below((*path, "<id>" if kind == Accounts else "<name>"), child(kind, ""), field)
    elif item := item_of(kind):
        yield from _below((*path, _NUMBER), item, field)
    elif section := section_of(kind):
        for key, inner in section.model_fields.items():
            yield from _below((*path, key), inner.annotation, inner)
    else:
        yield Row(path, _type(kind, field), _default(path, field), str(field.description))


_TYPES: Final[dict[Any, str]] = {
    bool: "`true` or `false`",
    Decimal: "number",
    float: "number",
    int: "whole number",
    str: "text",
    JsonValue: "any JSON",
    Path: "path",
    SecretStr: "secret reference",
}


def _type(kind: Any, field: FieldInfo) -> str:
    if get_origin(kind) in {list, tuple}:
        return f"list of {_plain(get_args(kind)[0])}"
    return _plain(kind) + _range(field)


def _plain(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(kind))
    while get_args(kind) and kind not in _TYPES:  # Annotated[X, ...] or X | None
        kind = get_args(kind)[0]
    return _TYPES[kind]


_BOUNDS: Final = (("ge", "at least"), ("gt", "more than"), ("le", "at most"))


def _range(field: FieldInfo) -> str:
    limits = (
        f"{words} {getattr(mark, name)}" for name, words in _BOUNDS for mark in field.metadata if hasattr(mark, name)
    )
    return "".join(f", {limit}" for limit in limits)


def _default(path: KeyPath, field: FieldInfo) -> str:
    if path[-1].startswith("<"):
        return "none"
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    return "none" if value in (None, "", []) else f"`{value if isinstance(value, str | Path) else json.dumps(value)}`"


def _variables() -> str:
    lines = [_VARIABLES_INTRODUCTION, "| key | variables, the first that is set winning |", "|---|---|"]
    lines += [
        f"| `{'.'.join(path)}` | {', '.join(f'`{name}`' for name in names)} |" for path, names in VARIABLES.items()
    ]
    return "\n".join([*lines, "", _switches(), ""])


def _switches() -> str:
    rows = (f"`{name}` by its {' and '.join(f'`{key}`' for key in keys)}" for name, keys in SWITCHES.items())
    return f"A provider is on without a file when these variables give what it needs: {', '.join(rows)}."


_INTRODUCTION: Final = """\
# Configuration

<!-- Generated from loom_grpc/config by `make docs`; do not edit. -->

`loom-grpc serve --config loom.yaml` reads a YAML file; `loom.example.yaml` is one. Every key is also an environment
variable, named below it. The order is file, environment, flags: later ones override earlier ones, mappings key by key,
lists and single values as a whole. `loom-grpc check-config` prints what comes out, and where each value came from.

- Unknown keys, keys given twice, values out of range and YAML's `<<` are errors, and so is a key in an unknown variable
  with `__` in its name. Other `LOOM_` variables that nothing reads are warned about.
- A variable that is empty counts as not set. Lists are written `a,b` or as JSON, mappings as JSON. Names in variables
  are taken in lower case; `_` also stands for a `-` of a key that the file has, and always in the name of a header.
- The items of a list of mappings are numbered from 0, as in `rewrites.0.match`. Such a list is set as a whole, in a
  variable as JSON.
- A secret reference is `env:NAME` for an environment variable, `file:/path` for a file (line breaks at its end do not
  count), `vault:mount/path#field` for HashiCorp Vault, or the secret itself. A variable that a key names with `env:` has
  to be set.
- The accounts of a provider are a list of items with an `id`, or a mapping by id; as with any mapping, what a later
  source says of one account overrides only that. A provider has either accounts or a key of its own.
- Times are in seconds and sizes in bytes.
- On an address that other machines reach, the server starts only with `access.enabled` or mutual TLS (`tls.client_ca_file`).
"""

_VARIABLES_INTRODUCTION: Final = """\
## Well-known variables

These fill what neither the file nor a variable named above nor a flag has set. A name that ends in `_FILE` has the
path of a file with the value.
"""
