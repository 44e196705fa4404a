"""The reference of the command line, for docs/cli.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from loom_grpc.cli.command import COMMANDS
from loom_grpc.cli.grammar import Command, Flag, Word

_INTRODUCTION: Final = """\
# The command line

<!-- Generated from loom_grpc/cli by `make docs`; do not edit. -->

`loom-grpc chat`, `models`, `accounts`, `reload`, `admin-key` and the commands for keys, budgets and records need nothing but
`pip install loom-grpc`; the other commands need `pip install 'loom-grpc[server]'`. `python -m loom_grpc.cli` is the same program.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | the call, the server or its configuration failed; `health`: the server does not serve |
| 2 | wrong usage |
| 130 | interrupted by Ctrl-C |
| 141 | nobody reads the output any more |

Errors are one line each on standard error and say what to do. gRPC's own messages are off unless `GRPC_VERBOSITY` is set.

A flag wins over its environment variable. `LOOM_API_KEY` is the key that the server wants; it has no flag, because the
arguments of a process are no secret. In a container whose server wants certificates, `LOOM_CA_FILE`, `LOOM_CERT_FILE`,
`LOOM_KEY_FILE` and `LOOM_SERVER_NAME` let the image's health check (`loom-grpc health`) in.

The commands of administration (`accounts`, `reload`, `keys`, `users`, `teams`, `organizations`, `budgets`, `usage` and `audit`) show
the server its admin key (`admin.api_key` there) or any key whose role is admin, which they take from `LOOM_ADMIN_KEY`, else from
`LOOM_API_KEY`. Keys of providers and codes of logins are asked for or read from standard input: no argument holds a secret.
[accounts.md](accounts.md) tells how accounts fare and how a login goes.

`keys create` and `keys rotate` write the text of the new key, and nothing else, to standard output; it is not kept anywhere and
cannot be shown again. `--json` adds the key's id. Dollars are written with a point and at most nine digits behind it, and shown with
all digits that matter. Times are shown in UTC; a date stands for its beginning there. In `update` an empty value (`--models ''`)
takes back what was set: then nothing is forbidden, the key does not end, or the limit is the one of the configuration.

`usage` groups by UTC. `--format csv` and `json` have dollars as text, times by RFC 3339, and no line for the total. `audit export` shows
how far it is on standard error when that is a terminal (with the server parts installed). Its file takes its name once all records
have come and is its owner's alone; if the export breaks off, the exit code is 1 and the file is not there, or as it was before. In
CSV a text that a spreadsheet would take for a formula begins with an apostrophe. Records are JSON by the names of the contract, with
numbers of 64 bits as text, as in the HTTP API.

`chat` writes the answer to standard output, tool calls included (`-> name arguments`), and what is said about it to
standard error: reasoning, sources and the last line, which tells who answered, why the answer ended, its tokens and how
long it took. At a terminal the latter is faint unless `NO_COLOR` is set, and characters that would command the terminal
are replaced. Ctrl-C cancels the call, up to the provider. Without a prompt `chat` reads standard input; at a terminal it
holds a conversation, in which Ctrl-C stops an answer and Ctrl-D ends.

`serve` prints its addresses, its providers and lines to try it with once it serves. SIGTERM and Ctrl-C let the calls in
flight finish (`grpc.drain_grace_s`); a second one ends the process at once. SIGHUP has the
configuration read again ([reload.md](reload.md)), and `shim` does not mind it. All keys are in [config.md](config.md).

`shim` reads the sections `http`, `telemetry`, `log` and `compat` of the configuration, and `grpc.drain_grace_s`.
Credentials, `x-request-id`, trace headers and deadlines of its callers go on to the server.
"""


def reference_markdown() -> str:
    """Writes the page: what holds for every command, and each command with its flags."""
    parts = [f"## {name}\n\n{command.summary}\n\n{_body(name, command)}" for name, command in COMMANDS.items()]
    return "\n".join([_INTRODUCTION, *parts])


def _body(name: str, command: Command) -> str:
    if not command.actions:
        return _table(command.words, command.flags)
    actions = [
        f"### {name} {action}\n\n{does.summary}\n\n{_table(does.words, does.flags)}"
        for action, does in command.actions.items()
    ]
    return "\n".join(
        [f"Every action takes these flags, and those of its own.\n\n{_table((), command.flags)}", *actions]
    )


def _table(words: Sequence[Word], flags: Sequence[Flag]) -> str:
    if not words and not flags:
        return "It takes no flags.\n"
    lines = ["| flag | variable | meaning |", "|---|---|---|"]
    lines += [f"| `{_SHAPES[word.number].format(word.name)}` | | {word.summary} |" for word in words]
    for flag in flags:
        names = ", ".join(flag.names.split()) + (f" {flag.metavar}" if flag.metavar else "")
        lines.append(f"| `{names}` | {f'`{flag.variable}`' if flag.variable else ''} | {flag.summary} |")
    return "\n".join(lines) + "\n"


_SHAPES: Final = {None: "{}", "?": "[{}]", "*": "[{} ...]"}
