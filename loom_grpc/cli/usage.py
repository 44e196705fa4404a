"""`loom-grpc usage`: what was called and what it cost, added up."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from loom_grpc.cli.act import perform
from loom_grpc.cli.call_filter import filter_of
from loom_grpc.cli.output import note, say, say_file
from loom_grpc.cli.table import as_json, table
from loom_grpc.client import AdminClient, UsageRow
from loom_grpc.client.export import csv_line
from loom_grpc.core.money import dollars

_SHOWN: Final = {"hour": 16, "day": 10, "month": 7}
"""How much of the beginning of a span of time says which one it is."""


def run(arguments: argparse.Namespace) -> int:
    """Prints the sums."""
    return perform(_usage, arguments)


def _usage(arguments: argparse.Namespace, admin: AdminClient, runner: asyncio.Runner) -> None:
    rows = runner.run(admin.query_usage(*arguments.by, filter=filter_of(arguments)))
    _WRITERS[arguments.format](arguments.by, rows)
    if not rows:
        note("there were no such calls")


def _say_table(by: Sequence[str], rows: Sequence[UsageRow]) -> None:
    groups: dict[str, Callable[[UsageRow], str]] = {_title(name): _group(name, place) for place, name in enumerate(by)}
    total = [_total(by, rows)] if by and len(rows) > 1 else []
    always = (*groups, *_ALWAYS)
    say(table([*rows, *total], groups | _COLUMNS, always=always, numbers=tuple(_COLUMNS)))


def _say_csv(by: Sequence[str], rows: Sequence[UsageRow]) -> None:
    say_file(csv_line([*by, *_SUMS]))
    for row in rows:
        say_file(csv_line([*row.group, *(write(row) for write in _SUMS.values())]))


def _say_json(by: Sequence[str], rows: Sequence[UsageRow]) -> None:
    say(as_json([_fields(by, row) for row in rows]))


_WRITERS: Final = {"table": _say_table, "csv": _say_csv, "json": _say_json}


def _fields(by: Sequence[str], row: UsageRow) -> dict[str, Any]:
    return dict(zip(by, row.group, strict=True)) | {name: write(row) for name, write in _SUMS.items()}


def _title(name: str) -> str:
    """Writes over a column what it groups by; a label's name stays as it is."""
    kind, colon, label = name.partition(":")
    return f"{kind.upper()}{colon}{label}"


def _group(name: str, place: int) -> Callable[[UsageRow], str]:
    shown = _SHOWN.get(name)
    return lambda row: row.group[place][:shown].replace("T", " ") if shown else row.group[place] or "-"


def _total(by: Sequence[str], rows: Sequence[UsageRow]) -> UsageRow:
    total = UsageRow(group=["total", *[" "] * (len(by) - 1)])
    for field in total.DESCRIPTOR.fields:
        if field.name != "group":
            setattr(total, field.name, sum(getattr(row, field.name) for row in rows))
    return total


_COLUMNS: Final[dict[str, Callable[[UsageRow], str]]] = {
    "CALLS": lambda row: f"{row.calls:,}",
    "FAILED": lambda row: f"{row.failed_calls:,}",
    "CANCELLED": lambda row: f"{row.cancelled_calls:,}",
    "INPUT": lambda row: f"{row.input_tokens:,}",
    "CACHED": lambda row: f"{row.cache_read_tokens:,}",
    "OUTPUT": lambda row: f"{row.output_tokens:,}",
    "COST $": lambda row: dollars(row.cost_nanos),
    "UNPRICED": lambda row: f"{row.unpriced_calls:,}" if row.unpriced_calls else "",
    "REPORTED $": lambda row: dollars(row.reported_cost_nanos) if row.reported_cost_nanos else "",
}
_ALWAYS: Final = tuple(_COLUMNS)[:-2]
_SUMS: Final[dict[str, Callable[[UsageRow], str | int]]] = {
    "calls": lambda row: row.calls,
    "failed_calls": lambda row: row.failed_calls,
    "cancelled_calls": lambda row: row.cancelled_calls,
    "input_tokens": lambda row: row.input_tokens,
    "output_tokens": lambda row: row.output_tokens,
    "cache_read_tokens": lambda row: row.cache_read_tokens,
    "cost_usd": lambda row: dollars(row.cost_nanos),
    "unpriced_calls": lambda row: row.unpriced_calls,
    "reported_cost_usd": lambda row: dollars(row.reported_cost_nanos),
}
"""What a file has of each row, in this order; new ones are added at the end."""
