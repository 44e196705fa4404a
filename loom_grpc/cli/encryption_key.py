"""`loom-grpc encryption-key`: a new key for `credentials.encryption_key`."""

from __future__ import annotations

import argparse

from loom_grpc.cli.output import say


def run(_arguments: argparse.Namespace) -> int:
    """Prints a key."""
    from cryptography.fernet import Fernet

    say(Fernet.generate_key().decode())
    return 0
