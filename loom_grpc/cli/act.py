"""What an operator's command does at a server."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from google.protobuf.message import Message

from loom_grpc.cli.command import ADMIN_KEY
from loom_grpc.cli.output import FAILED, UsageError
from loom_grpc.cli.server import make_client, report
from loom_grpc.cli.value import number_of
from loom_grpc.client import AdminClient, LlmError, LoomClient

Act = Callable[[argparse.Namespace, AdminClient, asyncio.Runner], None]

_TIMEOUT_S: Final = 60.0
_ADVICE: Final = {"UNAUTHENTICATED": f"set {ADMIN_KEY} to the admin key of this server"}


def perform(act: Act, arguments: argparse.Namespace, advice: Mapping[str, str] = MappingProxyType({})) -> int:
    """Does what the arguments say and returns the exit code; `advice` says what to do about a refusal, by its reason."""
    client = make_client(arguments, ADMIN_KEY, timeout_s=arguments.timeout or _TIMEOUT_S)
    with asyncio.Runner() as runner:
        try:
            act(arguments, runner.run(_admin(client)), runner)
        except LlmError as failure:
            report(failure, arguments.target, {**_ADVICE, **advice})
            return FAILED
        except UnicodeEncodeError:  # bytes of the command line that were no UTF-8
            raise UsageError("the arguments are not UTF-8 text") from None
        finally:
            runner.run(client.close())
    return 0


async def _admin(client: LoomClient) -> AdminClient:
    """Opens the connection, which belongs to the running event loop."""
    return client.admin()


def fill(message: Message, arguments: argparse.Namespace, fields: Mapping[str, str]) -> list[str]:
    """Puts flags into the fields of a message, as `fields` has them by the flags' names, and returns the fields whose flags were given.

    An empty value is one that is given and puts nothing there. A field may be one within a field, such as `limits.requests_per_minute`.
    """
    given = {path: getattr(arguments, flag) for flag, path in fields.items()}
    given = {path: value for path, value in given.items() if value is not None}
    for path, value in given.items():
        if value != "":
            _put(message, path, value)
    return list(given)


def changes(message: Message, arguments: argparse.Namespace, fields: Mapping[str, str]) -> list[str]:
    """Does what `fill` does, for something that is to be changed; raises `UsageError` where nothing was given."""
    given = fill(message, arguments, fields)
    if not given:
        flags = ", ".join(f"--{flag.replace('_', '-')}" for flag in fields)
        raise UsageError(f"nothing is to be changed; give one of {flags}")
    return given


def _put(message: Message, path: str, value: Any) -> None:
    name, _, within = path.partition(".")
    kind: Any = message.DESCRIPTOR.fields_by_name[name].enum_type
    if within:
        _put(getattr(message, name), within, value)
    elif isinstance(value, list):
        getattr(message, name).extend(value)
    elif isinstance(value, Message):
        getattr(message, name).CopyFrom(value)
    elif kind is not None:
        setattr(message, name, number_of(kind, value))
    else:
        setattr(message, name, value)
