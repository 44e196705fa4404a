"""The key with which everything begins."""

from __future__ import annotations

from loom_grpc.access.key import random_text


def new_admin_key() -> str:
    """Returns a key that nobody guesses."""
    return random_text("la_")
