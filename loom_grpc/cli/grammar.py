"""What commands are made of, and the flags that several of them take."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

from loom_grpc.cli.value import seconds

DEFAULT_TARGET: Final = "127.0.0.1:50051"


class Word(NamedTuple):
    """What a command takes without a flag."""

    name: str
    summary: str
    number: Literal["?", "*"] | None = None
    """`?` for a word that may be left out, `*` for any number; None for exactly one."""

    def add(self, parser: argparse.ArgumentParser) -> None:
        """Makes the parser take the word."""
        default = "" if self.number == "?" else None
        parser.add_argument(self.name, nargs=self.number, default=default, help=self.summary)


class Flag(NamedTuple):
    """A flag of a command."""

    names: str
    """The flag, after its short form where it has one."""
    summary: str
    metavar: str = ""
    """What to call the value; empty for a flag that takes none."""
    variable: str = ""
    """The environment variable that stands in for the flag."""
    default: str | None = None
    kind: Callable[[str], object] = str
    required: bool = False
    choices: tuple[str, ...] | None = None
    """The values that it takes; None for any."""
    many: bool = False
    """Whether it may be given again and again; its values are then a list."""

    def add(self, parser: argparse.ArgumentParser) -> None:
        """Makes the parser take the flag."""
        options: dict[str, Any] = {"action": "store_true"}
        if self.metavar:
            default = os.environ.get(self.variable) or self.default
            options = {"metavar": self.metavar, "default": default, "type": self.kind, "required": self.required}
            options["choices"] = self.choices
        if self.many:
            options |= {"action": "append", "default": []}
        parser.add_argument(*self.names.split(), help=self.summary, **options)


class Action(NamedTuple):
    """One of the things that a command can do, where it can do several."""

    summary: str
    flags: tuple[Flag, ...] = ()
    words: tuple[Word, ...] = ()


class Command(NamedTuple):
    """A command; `run` in the module of its name takes the arguments and returns the exit code."""

    summary: str
    flags: tuple[Flag, ...] = ()
    """Its flags, and those of all its actions."""
    words: tuple[Word, ...] = ()
    actions: Mapping[str, Action] = MappingProxyType({})
    module: str = ""
    """The module, where it is not the one of its name."""

    def all_flags(self) -> Iterator[Flag]:
        """Yields its flags and those of its actions."""
        yield from self.flags
        for action in self.actions.values():
            yield from action.flags


SERVER: Final = (
    Flag("--target", f"the server; {DEFAULT_TARGET} by default", "HOST:PORT", "LOOM_TARGET", DEFAULT_TARGET),
    Flag("--tls", "connects with TLS; the files below do so too"),
    Flag("--ca-file", "the authorities of the server's certificate (PEM)", "FILE", "LOOM_CA_FILE"),
    Flag("--cert-file", "the own certificate, for mutual TLS (PEM)", "FILE", "LOOM_CERT_FILE"),
    Flag("--key-file", "the key of the own certificate (PEM)", "FILE", "LOOM_KEY_FILE"),
    Flag("--server-name", "the name in the server's certificate, if not the target's", "NAME", "LOOM_SERVER_NAME"),
)
TIMEOUT: Final = Flag("--timeout", "gives up after this time", "SECONDS", kind=seconds)
JSON: Final = Flag("--json", "prints JSON")
