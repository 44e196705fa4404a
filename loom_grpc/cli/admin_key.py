"""`loom-grpc admin-key`: a new key for `admin.api_key`."""

from __future__ import annotations

import argparse

from loom_grpc.access.admin_key import new_admin_key
from loom_grpc.cli.output import say


def run(_arguments: argparse.Namespace) -> int:
    """Prints a key."""
    say(new_admin_key())
    return 0
