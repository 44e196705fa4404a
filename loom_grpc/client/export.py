"""Writes records of calls as CSV and as JSON Lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToJson

from loom_grpc.v1.audit_pb2 import CallRecord, Operation
from loom_grpc.v1.usage_pb2 import Cost

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a cell begins with that a spreadsheet would work out (owasp.org/www-community/attacks/CSV_Injection, seen 2026-11-21)."""
_NANOS: Final = 1_000_000_000


def _operation(record: CallRecord) -> str:
    """Names the operation as the contract does; a newer server may know more of them."""
    known = record.operation in Operation.values()
    return Operation.Name(record.operation).removeprefix("OPERATION_").lower() if known else str(record.operation)


_COLUMNS: Final[dict[str, Callable[[CallRecord], str | int]]] = {
    "id": lambda record: record.id,
    "request_id": lambda record: record.request_id,
    "start_time": lambda record: record.start_time.ToJsonString(),
    "operation": _operation,
    "api": lambda record: record.api,
    "method": lambda record: record.caller.method,
    "key_id": lambda record: record.caller.key_id,
    "user": lambda record: record.caller.user,
    "team": lambda record: record.caller.team,
    "organization": lambda record: record.caller.organization,
    "address": lambda record: record.caller.address,
    "labels": lambda record: json.dumps(dict(record.labels), sort_keys=True) if record.labels else "",
    "session_id": lambda record: record.session_id,
    "requested_model": lambda record: record.requested_model,
    "route": lambda record: record.route,
    "provider": lambda record: record.provider,
    "model": lambda record: record.model,
    "account": lambda record: record.account,
    "attempts": lambda record: record.attempts,
    "input_tokens": lambda record: record.usage.input_tokens,
    "output_tokens": lambda record: record.usage.output_tokens,
    "cache_read_tokens": lambda record: record.usage.cache_read_tokens,
    "cache_write_tokens": lambda record: record.usage.cache_write_tokens,
    "reasoning_tokens": lambda record: record.usage.reasoning_tokens,
    "estimated": lambda record: _flag(record.usage.estimated),
    "cost_nanos": lambda record: _nanos(record.cost) if record.HasField("cost") else "",
    "cost_currency": lambda record: record.cost.currency_code,
    "reported_cost_nanos": lambda record: _nanos(record.reported_cost) if record.HasField("reported_cost") else "",
    "reported_cost_currency": lambda record: record.reported_cost.currency_code,
    "duration_s": lambda record: _seconds(record.duration),
    "time_to_first_token_s": lambda record: (
        _seconds(record.time_to_first_token) if record.HasField("time_to_first_token") else ""
    ),
    "overhead_s": lambda record: _seconds(record.overhead),
    "finish_reason": lambda record: record.finish_reason,
    "error_reason": lambda record: record.error_reason,
    "error_message": lambda record: record.error_message,
    "cancelled": lambda record: _flag(record.cancelled),
    "cache": lambda record: record.cache,
    "prompt_json": lambda record: record.prompt_json,
    "answer_json": lambda record: record.answer_json,
}
"""The columns, in their order; new ones are added at the end."""


def csv_header() -> str:
    """Returns the first line of a CSV file, its end included (RFC 4180)."""
    return csv_line(list(_COLUMNS))


def csv_row(record: CallRecord) -> str:
    """Returns a record as a line of CSV, its end included; a text that a spreadsheet would take for a formula begins with an apostrophe."""
    return csv_line([cell(record) for cell in _COLUMNS.values()])


def csv_line(cells: Sequence[str | int]) -> str:
    """Returns cells as a line of CSV, its end included; a text that a spreadsheet would take for a formula begins with an apostrophe."""
    line = io.StringIO(newline="")
    csv.writer(line).writerow(map(_harmless, cells))
    return line.getvalue()


def json_line(record: CallRecord) -> str:
    """Returns a record as a line of JSON, its end included, by the names of the contract; fields that are empty are there too."""
    text: str = MessageToJson(
        record, preserving_proto_field_name=True, always_print_fields_with_no_presence=True, indent=None
    )
    return text + "\n"


def _harmless(cell: str | int) -> str | int:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def _nanos(cost: Cost) -> int:
    return cost.nanos


def _seconds(duration: Duration) -> str:
    """Writes seconds without going over a double."""
    nanos = duration.seconds * _NANOS + duration.nanos
    whole, rest = divmod(abs(nanos), _NANOS)
    return f"{'-' if nanos < 0 else ''}{whole}.{rest:09d}".rstrip("0").rstrip(".")


def _flag(value: bool) -> str:
    return "true" if value else "false"
