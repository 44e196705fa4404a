"""`loom-grpc keys`: what an operator does with the keys of callers."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable
from typing import Final

from loom_grpc.cli.act import Act, changes, fill, perform
from loom_grpc.cli.limit import LIMITS, limits_of
from loom_grpc.cli.output import note, one_line, say
from loom_grpc.cli.table import as_json, table
from loom_grpc.cli.value import moment, word_of
from loom_grpc.client import AccessRole, AdminClient, Allowed, ApiKey, CreateKeyResponse, RotateKeyResponse

_CHANGED: Final = {
    "name": "display_name",
    "expires": "expire_time",
    "providers": "allowed.providers",
    "models": "allowed.models",
    "routes": "allowed.routes",
    "networks": "allowed.source_networks",
    **LIMITS,
}
"""The fields that can be changed, by their flags."""
_CHOSEN: Final = {"user": "user", "team": "team", "organization": "organization", "role": "role", **_CHANGED}


def run(arguments: argparse.Namespace) -> int:
    """Does what the arguments say."""
    return perform(_ACTIONS[arguments.action], arguments)


def _create(arguments: argparse.Namespace, admin: AdminClient, runner: asyncio.Runner) -> None:
    key = ApiKey()
    fill(key, arguments, _CHOSEN)
    made = runner.run(admin.create_key(key))
    _tell(made, arguments)
    note(f"key {_name(made.key)}: this is its text, which is not shown again")


def _list(arguments: argparse.Namespace, admin: AdminClient, runner: asyncio.Runner) -> None:
    keys = runner.run(
        admin.list_keys(
            user=arguments.user, team=arguments.team, organization=arguments.organization, show_ended=arguments.all
        )
    )
    now = time.time()
    columns: dict[str, Callable[[ApiKey], str]] = _COLUMNS | {"STATUS": lambda key: _status(key, now)}
    say(as_json(keys) if arguments.json else table(keys, columns, always=_ALWAYS))
    if not keys:
        note("there are no such keys; `loom-grpc keys create` makes one")


def _update(arguments: argparse.Namespace, admin: AdminClient, runner: asyncio.Runner) -> None:
    key = ApiKey(id=arguments.id)
    fields = changes(key, arguments, _CHANGED)
    say(f"changed {_name(runner.run(admin.update_key(key, *fields)))}")


def _rotate(arguments: argparse.Namespace, admin: AdminClient, runner: asyncio.Runner) -> None:
    made = runner.run(admin.rotate_key(arguments.id, arguments.overlap))
    _tell(made, arguments)
    note(f"key {_name(made.key)}: this is its text, which is not shown again")
    note(f"key {_name(made.replaced)} {_status(made.replaced, time.time())}")


def _revoke(arguments: argparse.Namespace, admin: AdminClient, runner: asyncio.Runner) -> None:
    say(f"revoked {_name(runner.run(admin.revoke_key(arguments.id)))}")


_ACTIONS: Final[dict[str, Act]] = {
    "create": _create,
    "list": _list,
    "update": _update,
    "rotate": _rotate,
    "revoke": _revoke,
}


def _tell(made: CreateKeyResponse | RotateKeyResponse, arguments: argparse.Namespace) -> None:
    say(as_json(made) if arguments.json else one_line(made.secret))


def _name(key: ApiKey) -> str:
    """Writes by what people know a key."""
    return one_line(
        f"{key.id} ({key.prefix}... {key.display_name})" if key.display_name else f"{key.id} ({key.prefix}...)"
    )


_COLUMNS: Final[dict[str, Callable[[ApiKey], str]]] = {
    "ID": lambda key: key.id,
    "TEXT": lambda key: f"{key.prefix}...",
    "NAME": lambda key: key.display_name,
    "USER": lambda key: key.user,
    "TEAM": lambda key: key.team,
    "ORGANIZATION": lambda key: key.organization,
    "ROLE": lambda key: word_of(AccessRole.DESCRIPTOR, key.role),
    "MADE": lambda key: moment(key.create_time),
    "ALLOWED": lambda key: _allowed(key.allowed),
    "LIMITS": lambda key: limits_of(key.limits),
}
_ALWAYS: Final = ("ID", "TEXT", "NAME", "STATUS")


def _allowed(allowed: Allowed) -> str:
    """Writes what a key may be used for; nothing where that is everything."""
    return "; ".join(f"{field.name}: {', '.join(values)}" for field, values in allowed.ListFields())


def _status(key: ApiKey, now: float) -> str:
    if key.HasField("revoke_time"):
        return f"revoked {moment(key.revoke_time)}"
    if not key.HasField("expire_time"):
        return "valid"
    return f"{'expired' if key.expire_time.ToSeconds() <= now else 'ends'} {moment(key.expire_time)}"
