"""The commands and their flags. A command's code is loaded when it runs, so that the others and `--help` stay quick."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NoReturn

from loom_grpc import __version__
from loom_grpc.cli.administration import ADMINISTRATION
from loom_grpc.cli.grammar import JSON, SERVER, TIMEOUT, Action, Command, Flag, Word
from loom_grpc.cli.output import (
    ABORTED,
    FAILED,
    MISUSED,
    PIPE_CLOSED,
    LocalError,
    UsageError,
    error,
    leave_pipe,
    note,
    tolerate_any_text,
)

_DISTRIBUTION: Final = "loom_grpc"
_DESCRIPTION: Final = "One typed contract for every LLM provider, over gRPC and HTTP."
_EXIT_CODES: Final = (
    "exit codes: 0 done; 1 the call, the server or its configuration failed; 2 wrong usage; "
    "130 interrupted; 141 nobody reads the output any more"
)

_CONFIG: Final = (
    Flag("--config", "the configuration file; ./loom.yaml when it is there", "FILE", "LOOM_CONFIG"),
    Flag("--log-level", "debug, info, warning, error or critical", "LEVEL"),
)
_HTTP: Final = Flag("--http-address", "where HTTP listens", "HOST:PORT")
_SERVE: Final = (
    *_CONFIG,
    Flag("--grpc-address", "where gRPC listens", "HOST:PORT"),
    _HTTP,
    Flag("--no-http", "serves gRPC alone"),
    Flag("--workers", "processes that share the addresses", "N"),
)
_PROVIDER: Final = Flag("-p --provider", "the provider, as the server's configuration names it", "NAME", default="")
_WHOSE: Final = _PROVIDER._replace(default=None, required=True)
_ID: Final = Word("id", "the account's id")
_NEW_ID: Final = Word("id", "the new account's id; without one the server makes one up", "?")

COMMANDS: Final[dict[str, Command]] = {
    "serve": Command("Serves gRPC and HTTP.", _SERVE),
    "shim": Command("Serves HTTP in front of a server elsewhere.", (*_CONFIG, _HTTP, *SERVER)),
    "chat": Command(
        "Asks a model and shows the answer as it comes.",
        (
            Flag("-m --model", "the model, or provider/model", "NAME", default=""),
            _PROVIDER,
            Flag("-s --system", "instructions for the model", "TEXT", default=""),
            Flag("--json", "prints every event as a line of JSON"),
            *SERVER,
            TIMEOUT,
        ),
        (
            Word(
                "prompt",
                "what to say; - reads standard input, and so does nothing, which at a terminal begins a conversation",
                "*",
            ),
        ),
    ),
    "models": Command("Lists a server's models.", (_PROVIDER, JSON, *SERVER, TIMEOUT)),
    "accounts": Command(
        "Administers the accounts that a server asks its providers with.",
        (*SERVER, TIMEOUT),
        actions={
            "list": Action(
                "Lists the accounts and how they fare.",
                (_PROVIDER._replace(summary="only the accounts of this provider"), JSON),
            ),
            "add": Action("Adds an account; asks for its key, or reads it from standard input.", (_WHOSE,), (_NEW_ID,)),
            "remove": Action("Removes an account and forgets its key or login.", (_WHOSE,), (_ID,)),
            "enable": Action("Lets an account be asked again: ends a pause, and undoes disable.", (_WHOSE,), (_ID,)),
            "disable": Action("Keeps an account from being asked until it is enabled.", (_WHOSE,), (_ID,)),
            "login": Action(
                "Logs in with OAuth, for a new account or again for one that has to.",
                (_WHOSE,),
                (_NEW_ID._replace(summary="the account's id; without one the server makes one up"),),
            ),
        },
    ),
    "reload": Command(
        "Has a server read its configuration again, and lists the keys that it changes.", (*SERVER, TIMEOUT)
    ),
    **ADMINISTRATION,
    "check-config": Command("Prints the configuration of serve, and where each value is from.", _SERVE),
    "health": Command(
        "Tells whether a server serves.",
        (Flag("--service", "one gRPC service instead of the server", "NAME", default=""), *SERVER, TIMEOUT),
    ),
    "migrate": Command(
        "Brings the database to the state that this version needs, or back to an earlier one.",
        (
            *_CONFIG,
            Flag(
                "--down-to",
                "goes back to this revision, such as 0002, or to none; what only later ones hold is lost",
                "REVISION",
            ),
        ),
    ),
    "auditor": Command(
        "Takes records of calls from RabbitMQ into the database.",
        (*_CONFIG, Flag("--metrics-address", "where /metrics is served, to anybody", "HOST:PORT", default="")),
    ),
    "encryption-key": Command("Prints a new key for credentials.encryption_key."),
    "admin-key": Command("Prints a new key for admin.api_key."),
}

VARIABLES: Final = {
    "LOOM_API_KEY",
    *(flag.variable for command in COMMANDS.values() for flag in command.all_flags() if flag.variable),
}
"""The environment variables that are the command line's own, and no part of the server's configuration."""
ADMIN_KEY: Final = "LOOM_ADMIN_KEY"
"""The environment variable with the admin key: the server takes it for its own, the commands of administration show it."""


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with the arguments."""

    def error(self, message: str) -> NoReturn:
        error(f"{message}; see {self.prog} --help")
        sys.exit(MISUSED)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command that the arguments name and returns the exit code."""
    parsed = _parse(arguments)
    tolerate_any_text()
    # gRPC's core would write lines of its own to standard error; what they tell comes as an error or in the log.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        name = COMMANDS[parsed.command].module or parsed.command.replace("-", "_")
        module = importlib.import_module(f"{_DISTRIBUTION}.cli.{name}")
        run: Callable[[argparse.Namespace], int] = module.run
        return run(parsed)
    except ModuleNotFoundError as missing:
        if str(missing.name).partition(".")[0] == _DISTRIBUTION:
            raise
        note("loom-grpc: the server parts are not installed; pip install 'loom-grpc[server]'")
        return FAILED
    except UsageError as problem:
        error(str(problem))
        return MISUSED
    except LocalError as problem:
        error(str(problem))
        return FAILED
    except KeyboardInterrupt:
        note("cancelled")
        return ABORTED
    except BrokenPipeError:
        leave_pipe()
        return PIPE_CLOSED


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _make_parser()
    parsed = parser.parse_args(arguments)
    if parsed.command is None:
        parser.print_help(sys.stderr)
        sys.exit(MISUSED)
    return parsed


def _make_parser() -> _Parser:
    parser = _Parser(prog="loom-grpc", description=_DESCRIPTION, epilog=_EXIT_CODES, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"loom-grpc {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", title="commands")
    for name, command in COMMANDS.items():
        inner = _add_parser(commands, name, command.summary)
        if not command.actions:
            _fill(inner, command.words, command.flags)
            continue
        actions = inner.add_subparsers(dest="action", metavar="action", title="actions", required=True)
        for action_name, action in command.actions.items():
            _fill(_add_parser(actions, action_name, action.summary), action.words, (*action.flags, *command.flags))
    return parser


def _add_parser(parsers: argparse._SubParsersAction[_Parser], name: str, summary: str) -> _Parser:
    return parsers.add_parser(name, help=summary, description=summary, allow_abbrev=False)


def _fill(parser: argparse.ArgumentParser, words: Iterable[Word], flags: Iterable[Flag]) -> None:
    for word in words:
        word.add(parser)
    for flag in flags:
        flag.add(parser)
