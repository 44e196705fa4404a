"""Whom a token or a certificate says that a caller is."""

from __future__ import annotations

from typing import Final, NamedTuple

from loom_grpc.core.principal import Need

EXPIRED: Final = "expired"
"""The `cause` in the metadata of an error about credentials that were right once: showing them is no guess."""

_MOST_IN_A_NAME: Final = 256


class Identity(NamedTuple):
    """A caller as whoever vouches for it describes it; what nobody says is empty."""

    user: str
    team: str = ""
    organization: str = ""
    role: Need = Need.USER
    """The most that it may do, by the word of who vouches for it."""


def is_name(text: str) -> bool:
    """Tells whether text can be the name of a user, a team or an organization: short, and of visible characters."""
    return 0 < len(text) <= _MOST_IN_A_NAME and text.isprintable() and text == text.strip()
