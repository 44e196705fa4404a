"""`loom-grpc users`, `teams` and `organizations`: those that keys belong to."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple

from loom_grpc.cli.act import Act, changes, fill, perform
from loom_grpc.cli.limit import LIMITS, limits_of
from loom_grpc.cli.output import note, one_line, say
from loom_grpc.cli.table import as_json, table
from loom_grpc.cli.value import word_of
from loom_grpc.client import AccessRole, AdminClient, Organization, Team, User

_FIELDS: Final = {"name": "display_name", "disabled": "disabled", **LIMITS}
"""The fields that all kinds have, by their flags."""
_Rpc = Coroutine[Any, Any, Any]


class _Kind(NamedTuple):
    """A kind of those that keys belong to, and what can be done with it."""

    noun: str
    thing: type[Any]
    fields: dict[str, str]
    create: Callable[[AdminClient, Any], _Rpc]
    all: Callable[[AdminClient, argparse.Namespace], _Rpc]
    update: Callable[..., _Rpc]
    delete: Callable[[AdminClient, str], _Rpc]


_KINDS: Final = {
    "users": _Kind(
        "user",
        User,
        {"organization": "organization", "team": "team", "role": "role", **_FIELDS},
        AdminClient.create_user,
        lambda admin, arguments: admin.list_users(arguments.organization),
        AdminClient.update_user,
        AdminClient.delete_user,
    ),
    "teams": _Kind(
        "team",
        Team,
        {"organization": "organization", **_FIELDS},
        AdminClient.create_team,
        lambda admin, arguments: admin.list_teams(arguments.organization),
        AdminClient.update_team,
        AdminClient.delete_team,
    ),
    "organizations": _Kind(
        "organization",
        Organization,
        _FIELDS,
        AdminClient.create_organization,
        lambda admin, _arguments: admin.list_organizations(),
        AdminClient.update_organization,
        AdminClient.delete_organization,
    ),
}


def run(arguments: argparse.Namespace) -> int:
    """Does what the arguments say."""
    return perform(_ACTIONS[arguments.action], arguments)


def _create(arguments: argparse.Namespace, admin: AdminClient, runner: asyncio.Runner) -> None:
    kind = _KINDS[arguments.command]
    thing = kind.thing(id=arguments.id)
    fill(thing, arguments, kind.fields)
    made = runner.run(kind.create(admin, thing))
    say(one_line(f"made {kind.noun} {made.id}"))


def _list(arguments: argparse.Namespace, admin: AdminClient, runner: asyncio.Runner) -> None:
    kind = _KINDS[arguments.command]
    things = runner.run(kind.all(admin, arguments))
    columns = {
        title: write for title, (name, write) in _COLUMNS.items() if name in kind.thing.DESCRIPTOR.fields_by_name
    }
    say(as_json(things) if arguments.json else table(things, columns, always=_ALWAYS))
    if not things:
        note(f"there are no such {arguments.command}; `loom-grpc {arguments.command} create` makes one")


def _update(arguments: argparse.Namespace, admin: AdminClient, runner: asyncio.Runner) -> None:
    kind = _KINDS[arguments.command]
    thing = kind.thing(id=arguments.id)
    fields = changes(thing, arguments, kind.fields)
    changed = runner.run(kind.update(admin, thing, *fields))
    say(one_line(f"changed {kind.noun} {changed.id}"))


def _delete(arguments: argparse.Namespace, admin: AdminClient, runner: asyncio.Runner) -> None:
    kind = _KINDS[arguments.command]
    runner.run(kind.delete(admin, arguments.id))
    say(one_line(f"removed {kind.noun} {arguments.id}"))


_ACTIONS: Final[dict[str, Act]] = {"create": _create, "list": _list, "update": _update, "delete": _delete}

_COLUMNS: Final[dict[str, tuple[str, Callable[[Any], str]]]] = {
    "ID": ("id", lambda thing: thing.id),
    "NAME": ("display_name", lambda thing: thing.display_name),
    "ORGANIZATION": ("organization", lambda thing: thing.organization),
    "TEAM": ("team", lambda thing: thing.team),
    "ROLE": ("role", lambda thing: word_of(AccessRole.DESCRIPTOR, thing.role)),
    "DISABLED": ("disabled", lambda thing: "yes" if thing.disabled else ""),
    "LIMITS": ("limits", lambda thing: limits_of(thing.limits)),
}
"""The columns, with the fields that a kind must have for them."""
_ALWAYS: Final = ("ID", "NAME")
