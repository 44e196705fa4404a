"""`loom-grpc audit`: the records of calls."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Final

from loom_grpc.cli.act import Act, perform
from loom_grpc.cli.call_filter import filter_of
from loom_grpc.cli.destination import destination, progress
from loom_grpc.cli.output import LocalError, note, one_line, say
from loom_grpc.cli.table import as_json, table
from loom_grpc.cli.value import moment
from loom_grpc.client import AdminClient, CallFilter, CallRecord, LlmError
from loom_grpc.client.export import csv_header, csv_row, json_line
from loom_grpc.core.money import dollars

_PAGE: Final = 1000


def run(arguments: argparse.Namespace) -> int:
    """Does what the arguments say."""
    return perform(_ACTIONS[arguments.action], arguments)


def _list(arguments: argparse.Namespace, admin: AdminClient, runner: asyncio.Runner) -> None:
    calls = runner.run(_newest(admin, filter_of(arguments), arguments.limit))
    say(as_json(calls) if arguments.json else table(calls, _COLUMNS, always=_ALWAYS, numbers=_NUMBERS))
    if not calls:
        note("there are no such records")


async def _newest(admin: AdminClient, filter: CallFilter, limit: int) -> list[CallRecord]:
    calls: list[CallRecord] = []
    async with aclosing(admin.list_calls(filter, page_size=min(limit, _PAGE))) as records:
        async for record in records:
            calls.append(record)
            if len(calls) == limit:
                break
    return calls


def _show(arguments: argparse.Namespace, admin: AdminClient, runner: asyncio.Runner) -> None:
    say(as_json(runner.run(admin.get_call(arguments.id))))


def _export(arguments: argparse.Namespace, admin: AdminClient, runner: asyncio.Runner) -> None:
    with destination(arguments.output) as write, progress(bool(arguments.output)) as advance:
        export = _Export(*_FORMATS[arguments.format], write, advance)
        try:
            runner.run(export.run(admin, filter_of(arguments), arguments.timeout))
        except LlmError:
            if export.done:
                note(f"the export broke off after {export.done} of {export.total} records{_fate(arguments.output)}")
            raise
        if export.done < export.total:
            raise LocalError(f"the export ended after {export.done} of {export.total} records{_fate(arguments.output)}")
    if arguments.output:
        say(one_line(f"wrote {export.done} records to {arguments.output}"))


def _fate(output: str | None) -> str:
    return f"; {one_line(output)} is as it was" if output else ""


class _Export:
    """Records on their way from a server to a file."""

    def __init__(
        self,
        head: str,
        line: Callable[[CallRecord], str],
        write: Callable[[str], None],
        advance: Callable[[int, int], None],
    ) -> None:
        self.total = 0
        """How many there are, as the server said first."""
        self.done = 0
        self._head = head
        self._line = line
        self._write = write
        self._advance = advance

    async def run(self, admin: AdminClient, filter: CallFilter, timeout_s: float | None) -> None:
        """Writes all of them."""
        self._write(self._head)
        async with aclosing(admin.export_calls(filter, timeout_s=timeout_s)) as answers:
            async for answer in answers:
                self.total = max(self.total, answer.total)
                self._write("".join(map(self._line, answer.calls)))
                self.done += len(answer.calls)
                self._advance(len(answer.calls), self.total)


_FORMATS: Final[dict[str, tuple[str, Callable[[CallRecord], str]]]] = {
    "csv": (csv_header(), csv_row),
    "jsonl": ("", json_line),
}
_ACTIONS: Final[dict[str, Act]] = {"list": _list, "show": _show, "export": _export}


def _outcome(call: CallRecord) -> str:
    remarks = ["cancelled" if call.cancelled else call.error_reason or "ok"]
    if call.usage.estimated:
        remarks.append("estimated")
    if call.cache:
        remarks.append(f"cache {call.cache}")
    return ", ".join(remarks)


def _model(call: CallRecord) -> str:
    return f"{call.provider}/{call.model}" if call.provider else call.requested_model


_COLUMNS: Final[dict[str, Callable[[CallRecord], str]]] = {
    "TIME": lambda call: moment(call.start_time),
    "ID": lambda call: call.id,
    "USER": lambda call: call.caller.user,
    "KEY": lambda call: call.caller.key_id,
    "MODEL": _model,
    "INPUT": lambda call: f"{call.usage.input_tokens:,}",
    "OUTPUT": lambda call: f"{call.usage.output_tokens:,}",
    "COST $": lambda call: dollars(call.cost.nanos) if call.HasField("cost") else "",
    "SECONDS": lambda call: f"{call.duration.ToMilliseconds() / 1000:.3f}",
    "OUTCOME": _outcome,
}
_NUMBERS: Final = ("INPUT", "OUTPUT", "COST $", "SECONDS")
_ALWAYS: Final = ("TIME", "ID", "MODEL", *_NUMBERS, "OUTCOME")
