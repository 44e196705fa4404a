"""`loom-grpc accounts`: what an operator does with the accounts of a server."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import re
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from google.protobuf.timestamp_pb2 import Timestamp

from loom_grpc.cli.act import Act, perform
from loom_grpc.cli.output import UsageError, error, harmless, note, say, span
from loom_grpc.cli.table import as_json, table
from loom_grpc.client import Account, AccountKind, AccountStatus, AdminClient, ErrorReason, LlmError

_ADVICE: Final = {
    "PROVIDER_NOT_CONFIGURED": "add it to the server's configuration first",
    "LOGIN_EXCHANGE_FAILED": "start a new login",
}


def run(arguments: argparse.Namespace) -> int:
    """Does what the arguments say."""
    return perform(_ACTIONS[arguments.action], arguments, _ADVICE)


def _list(arguments: argparse.Namespace, admin: AdminClient, runner: asyncio.Runner) -> None:
    accounts = runner.run(admin.list_accounts(arguments.provider))
    say(as_json([_fields(account) for account in accounts]) if arguments.json else _table(accounts, time.time()))
    if not accounts:
        note("there are no accounts; `loom-grpc accounts add` and `loom-grpc accounts login` add one")


def _add(arguments: argparse.Namespace, admin: AdminClient, runner: asyncio.Runner) -> None:
    key = _read_key(arguments.provider)
    say(f"added {_name(runner.run(admin.add_account(arguments.provider, arguments.id, key)))}")


def _remove(arguments: argparse.Namespace, admin: AdminClient, runner: asyncio.Runner) -> None:
    runner.run(admin.remove_account(arguments.provider, arguments.id))
    say(harmless(f"removed {arguments.provider}/{arguments.id}; its key or login is forgotten"))


def _enable(arguments: argparse.Namespace, admin: AdminClient, runner: asyncio.Runner) -> None:
    say(f"enabled {_name(runner.run(admin.enable_account(arguments.provider, arguments.id)))}")


def _disable(arguments: argparse.Namespace, admin: AdminClient, runner: asyncio.Runner) -> None:
    say(f"disabled {_name(runner.run(admin.disable_account(arguments.provider, arguments.id)))}")


def _login(arguments: argparse.Namespace, admin: AdminClient, runner: asyncio.Runner) -> None:
    login = runner.run(admin.start_login(arguments.provider, arguments.id))
    note(f"Open this page in a browser, log in and allow the access before {_when(login.expire_time, time.time())}:")
    say(harmless(login.authorize_url))
    note(
        f"Whose page it is and which application asks there is this server's configuration, providers.{arguments.provider}.oauth."
    )
    code = _read_code(login.state)
    say(f"logged in: {_name(runner.run(admin.finish_login(arguments.provider, code, login.state)))}")


_ACTIONS: Final[dict[str, Act]] = {
    "list": _list,
    "add": _add,
    "remove": _remove,
    "enable": _enable,
    "disable": _disable,
    "login": _login,
}


def _read_key(provider: str) -> str:
    """Asks for a key without showing it, or reads it from standard input; raises `UsageError`."""
    if sys.stdin.isatty():
        try:
            key = getpass.getpass(f"Key of the new account of {provider} (it is not shown): ")
        except EOFError:
            raise UsageError("key: none was given") from None
    else:
        key = sys.stdin.buffer.read().decode("utf-8", "replace")
    key = key.strip()
    if not re.fullmatch(r"[!-~]+", key):
        raise UsageError("key: must be one line of printable ASCII without spaces" if key else "key: is empty")
    return key


def _read_code(state: str) -> str:
    """Asks for what the login gave until it can be one, or reads it from standard input; raises `UsageError`, `LlmError`."""
    at_terminal = sys.stdin.isatty()
    if at_terminal:
        import readline  # noqa: F401 # lets lines be longer than a terminal's own 4096 bytes
    while True:
        note("Then paste the code that is shown, or the whole address that the browser ends at:")
        line = _read_line(at_terminal)
        try:
            return code_of(line, state)
        except UsageError as problem:
            if not at_terminal:
                raise
            error(str(problem))


def _read_line(at_terminal: bool) -> str:
    if not at_terminal:
        return sys.stdin.buffer.readline().decode("utf-8", "replace")
    try:
        return input("> ")
    except EOFError:
        raise UsageError("code: none was given; start a new login") from None


def code_of(text: str, state: str) -> str:
    """Returns the code in what a person pasted: the code itself, one with the state behind a `#`, or a whole address.

    Raises `UsageError` for what belongs to another login or holds no code, and `LlmError` where it tells of a refusal.
    """
    text = text.strip()
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", text):
        return _code_in_address(text, state)
    code, _, shown = text.partition("#")
    if not re.fullmatch(r"[!-~]+", code):
        raise UsageError("code: must be printable ASCII without spaces" if code else "code: is empty")
    _check_state(shown or state, state)
    return code


def _code_in_address(address: str, state: str) -> str:
    """Reads the answer of an authorization server (RFC 6749, 4.1.2)."""
    try:
        parts = urlsplit(address)
        fields = {name: values[0] for name, values in parse_qs(parts.query or parts.fragment).items()}
    except ValueError:
        raise UsageError("code: the address cannot be read; copy it once more") from None
    _check_state(fields.get("state", ""), state)
    if "error" in fields:
        words = ": ".join(fields[name] for name in ("error", "error_description") if name in fields)
        raise LlmError(ErrorReason.ERROR_REASON_LOGIN_EXCHANGE_FAILED, f"The provider refused the login ({words}).")
    if not fields.get("code"):
        raise UsageError("code: the address has none; copy the one that the browser ends at after the login")
    return fields["code"]


def _check_state(shown: str, state: str) -> None:
    if shown != state:
        raise UsageError("code: belongs to another login; use the page above")


def _fields(account: Account) -> dict[str, Any]:
    """Writes every field of an account; times as RFC 3339, those that are not set as null."""
    times = {field.name: value.ToJsonString() for field, value in account.ListFields() if isinstance(value, Timestamp)}
    fields = {
        field.name: getattr(account, field.name) if field.message_type is None else times.get(field.name)
        for field in account.DESCRIPTOR.fields
    }
    return fields | {"kind": _kind(account), "status": _status(account).replace(" ", "_")}


def _table(accounts: Sequence[Account], now: float) -> str:
    columns: dict[str, Callable[[Account], str]] = {
        "PROVIDER": lambda account: account.provider,
        "ID": lambda account: account.id,
        "KIND": _kind,
        "STATUS": _status,
        "REQUESTS": lambda account: str(account.requests),
        "ERRORS": lambda account: str(account.errors),
        "TOKENS": lambda account: str(account.input_tokens + account.output_tokens),
        "NOTE": lambda account: _remarks(account, now),
    }
    return table(accounts, columns, always=columns, numbers=_NUMBERS)


_NUMBERS: Final = ("REQUESTS", "ERRORS", "TOKENS")


def _remarks(account: Account, now: float) -> str:
    remarks = []
    if account.HasField("cooling_until"):
        left = account.cooling_until.ToSeconds() - now
        remarks.append(f"cooling until {_when(account.cooling_until, now)} (in {span(left)})")
    if account.disabled_by_operator:
        remarks.append("disabled by an operator")
    if account.last_error:
        remarks.append(f"last error at {_when(account.last_error_time, now)}: {account.last_error.rstrip('.')}")
    return "; ".join(remarks)


def _kind(account: Account) -> str:
    return _WORDS_OF_KIND.get(account.kind, str(account.kind))


def _status(account: Account) -> str:
    return _WORDS_OF_STATUS.get(account.status, str(account.status))


_WORDS_OF_KIND: Final = {
    AccountKind.ACCOUNT_KIND_API_KEY: "api_key",
    AccountKind.ACCOUNT_KIND_OAUTH: "oauth",
    AccountKind.ACCOUNT_KIND_GOOGLE: "google",
    AccountKind.ACCOUNT_KIND_NONE: "none",
}
_WORDS_OF_STATUS: Final = {
    AccountStatus.ACCOUNT_STATUS_AVAILABLE: "available",
    AccountStatus.ACCOUNT_STATUS_COOLING_DOWN: "cooling down",
    AccountStatus.ACCOUNT_STATUS_DISABLED: "disabled",
}


def _name(account: Account) -> str:
    return harmless(f"{account.provider}/{account.id}")


def _when(timestamp: Timestamp, now: float) -> str:
    """Writes a time of this machine's zone, with the date when it is not today's."""
    moment, today = time.localtime(timestamp.ToSeconds()), time.localtime(now)
    return time.strftime("%H:%M" if moment[:3] == today[:3] else "%Y-%m-%d %H:%M", moment)
