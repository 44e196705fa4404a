"""How much may be called: what is counted, by how much, and where."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import IntEnum
from typing import Final, NamedTuple, Protocol

SHARED_MOST: Final = 2**53 - 1
"""The largest number that several hosts count to together: the scripts of Redis lose digits beyond it."""
WINDOW_S: Final = 60
"""What limits by the minute look back. No 60 seconds, wherever they begin, have more than the limit."""
STREAM_RESET_S: Final = 1.0
"""When to ask again for a stream: others may end at any time."""


class Kind(IntEnum):
    """What is counted."""

    __hash__ = int.__hash__  # that of Enum is written in Python, and each call looks kinds up a hundred times

    REQUESTS = 1
    """Calls in a window."""
    TOKENS = 2
    """Tokens in a window: taken by a guess before the call, and settled by what it used."""
    STREAMS = 3
    """Streams under way."""
    MONEY = 4
    """Billionths of a dollar in a period: reserved before the call, and settled by what it cost."""


class Scope(NamedTuple):
    """What is counted for."""

    kind: str
    """`key`, `user`, `team`, `organization`, `model` or `address`."""
    id: str


class Rate(NamedTuple):
    """The limits of one scope; None is no limit."""

    scope: Scope
    requests: int | None = None
    tokens: int | None = None
    streams: int | None = None

    def slot(self, kind: Kind) -> bytes:
        """Returns where one of them is counted."""
        return slot(kind, self.scope)


class Cap(NamedTuple):
    """One budget."""

    id: str
    scope: Scope
    period: str
    """`day`, `month` or `total`."""
    nanos: int
    """The most that may be spent in a period, in billionths of a dollar."""


class Claim(NamedTuple):
    """What a call wants of one counter."""

    slot: bytes
    kind: Kind
    amount: int
    most: int
    """The limit, or the budget."""
    scope: Scope
    period: str = ""
    """Which budget's period, for the message: `day`, `month`, `total`."""
    ends_s: float = 0.0
    """When a budget's period ends, in seconds since 1970; 0 is never."""


class Spent(NamedTuple):
    """What is known to be spent of a budget in a period."""

    slot: bytes
    nanos: int
    ends_s: float = 0.0
    """When the period ends, in seconds since 1970; 0 is never."""


class Standing(NamedTuple):
    """How a counter stood after a claim was taken, or when it was refused."""

    claim: Claim
    left: int
    """What may still be taken."""
    reset_s: float
    """Seconds until the whole limit may be taken again; when refused, until the claim may be taken."""


class Grant(Protocol):
    """Claims that were taken, all or none."""

    @property
    def standings(self) -> Sequence[Standing]:
        """How the counters stood afterwards, in the order of the claims."""


class Exceeded(Exception):  # noqa: N818 # it is no error of anybody
    """A claim that there is no room for; nothing was taken."""

    def __init__(self, standing: Standing) -> None:
        super().__init__(standing.claim.scope)
        self.standing = standing


class MeterError(Exception):
    """Counters that cannot be reached: what is wrong, in words for the operator."""


class Meter(Protocol):
    """The counters, of one host or of all that share a Redis."""

    async def take(self, claims: Sequence[Claim], now: float) -> Grant:
        """Takes all claims or none; `now` is seconds since 1970.

        Raises `Exceeded` for the claim that has to wait the longest, and `MeterError`.
        """

    async def settle(self, grant: Grant, amounts: Sequence[int], now: float) -> None:
        """Ends a grant, once: each claim comes to its amount, and what was taken beyond is given back.

        Requests stay counted, streams end whatever their amount, tokens change in the window in which they were taken, and money that was
        reserved becomes money that is spent. Never raises: what cannot be settled now is settled later.
        """

    async def spent(self, slots: Sequence[bytes]) -> list[tuple[int, int]]:
        """Returns what was spent and what is reserved of budgets; raises `MeterError`."""

    async def raise_spent(self, spent: Sequence[Spent]) -> None:
        """Has budgets know of money that was spent without them, such as before a restart: no counter comes to less than it is told.

        Each time all that is known is told. Raises `MeterError`; then it is to be told once more.
        """

    async def close(self) -> None:
        """Lets go of what the counters hold on to."""


def slot(kind: Kind, scope: Scope, *more: str) -> bytes:
    """Returns 16 bytes that stand for a counter, the same in every process."""
    pieces = [str(int(kind)), *scope, *more]
    text = "".join(f"{len(piece)}:{piece}" for piece in pieces)  # or the end of one could be the beginning of the next
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()
