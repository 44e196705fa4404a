"""Which calls the flags of `usage` and `audit` mean."""

from __future__ import annotations

import argparse
from typing import Final

from loom_grpc.cli.act import fill
from loom_grpc.client import CallFilter

_FIELDS: Final = {
    "since": "start_time",
    "until": "end_time",
    "key": "key_id",
    "user": "user",
    "team": "team",
    "organization": "organization",
    "provider": "provider",
    "model": "model",
    "error": "error_reason",
    "request_id": "request_id",
    "session": "session_id",
}
"""The fields, by their flags."""


def filter_of(arguments: argparse.Namespace) -> CallFilter:
    """Returns what the flags say; what is not given, or is empty, says nothing."""
    filter = CallFilter(labels=dict(arguments.label))
    fill(filter, arguments, _FIELDS)
    return filter
