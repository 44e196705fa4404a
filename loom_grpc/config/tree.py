"""Walking over the tree of sections and keys, and naming places in it."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, Final, get_args, get_origin

from pydantic import SecretStr

from loom_grpc.config.schema import Config, Headers
from loom_grpc.config.section import Section
from loom_grpc.config.value import HeaderName

KeyPath = tuple[str, ...]
"""Where a value is in the tree, such as `("providers", "openai", "base_url")`."""

# A place's kind is the type that the sections give it. These walk the tree of kinds.


def is_leaf(kind: Any) -> bool:
    """Tells whether a place holds a value rather than further keys."""
    return section_of(kind) is None and get_origin(kind) is not dict and item_of(kind) is None


def section_of(kind: Any) -> type[Section] | None:
    """Returns the section that a place holds, be it optional or not."""
    parts = () if get_origin(kind) in {dict, list} else (kind, *get_args(kind))
    return next((part for part in parts if isinstance(part, type) and issubclass(part, Section)), None)


def item_of(kind: Any) -> type[Section] | None:
    """Returns the section of each item where a place holds a list of sections, whose keys are numbers from 0."""
    return section_of(get_args(kind)[0]) if get_origin(kind) is list else None


def child(kind: Any, key: str) -> Any:
    """Returns the kind of what is under a key, or None when there is no such key."""
    if get_origin(kind) is dict:
        return get_args(kind)[1]
    if item := item_of(kind):
        return item
    section = section_of(kind)
    found = section.model_fields.get(key) if section else None
    return found.annotation if found else None


def leaves(value: Any, kind: Any = Config, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Walks over all values below a place, in the order of the sections."""
    for found, value_there, _ in _walk(value, kind, path, None):
        yield found, value_there


def _walk(value: Any, kind: Any, path: KeyPath, holder: Any) -> Iterator[tuple[KeyPath, Any, Any]]:
    """Walks over all values, each with the kind of the place that holds it."""
    # Looking into kinds takes long, so it is left out where the value alone says what is below.
    if isinstance(value, Section):
        for name, field in type(value).model_fields.items():
            yield from _walk(getattr(value, name), field.annotation, (*path, name), kind)
    elif isinstance(value, dict) and value and not is_leaf(kind):
        below = child(kind, "")
        for key, inner in value.items():
            yield from _walk(inner, below, (*path, key), kind)
    elif isinstance(value, list) and value and (item := item_of(kind)):
        for number, inner in enumerate(value):
            yield from _walk(inner, item, (*path, str(number)), kind)
    else:
        yield path, value, holder


def kind_of(path: KeyPath) -> Any:
    """Returns the kind of a place, or None when there is no such place."""
    return functools.reduce(child, path, Config)


def names_headers(kind: Any) -> bool:
    """Tells whether the keys of a place are names of headers."""
    return get_origin(kind) is dict and get_args(kind)[0] == HeaderName


def holds_secret(kind: Any) -> bool:
    """Tells whether a place holds a secret reference and nothing else."""
    return is_leaf(kind) and (kind is SecretStr or any(map(holds_secret, get_args(kind))))


def references(config: Config) -> Iterator[tuple[KeyPath, str]]:
    """Walks over all secret references, and over the headers, which may be some."""
    for path, value, holder in _walk(config, Config, (), None):
        if (reference := _reference(value, holder)) is not None:
            yield path, reference


def reference_at(path: KeyPath, value: Any) -> str | None:
    """Returns a value as a secret reference, or None when it is not in the place of one."""
    return _reference(value, kind_of(path[:-1]))


def _reference(value: Any, holder: Any) -> str | None:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(value) if isinstance(value, str) and holder == Headers else None


def dotted(path: KeyPath) -> str:
    """Writes a path as people do."""
    return ".".join(path)


_LONGEST_KEY: Final = 40


def where(path: KeyPath) -> str:
    """Writes a path for an error, where a key may be a value that lost its way: long ones are not repeated."""
    return dotted(tuple(key if len(key) <= _LONGEST_KEY and key.isprintable() else unnamed(key) for key in path))


def unnamed(key: str) -> str:
    """Speaks of a key without repeating it."""
    return f"(a key of {len(key)} characters)"
