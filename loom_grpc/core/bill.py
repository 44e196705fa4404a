"""What a call has used at providers so far, whoever of several attempts used it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from loom_grpc.core.tariff import MOST
from loom_grpc.v1.access_pb2 import Charge
from loom_grpc.v1.usage_pb2 import Usage

_COUNTS: Final = tuple(name for name in Usage.DESCRIPTOR.fields_by_name if name.endswith("_tokens"))


class Bill:
    """The charges of a call. Copies of the call, as hedges and shared calls make them, share one bill.

    A part of a bill has the charges of one target; the whole of it has them all.
    """

    __slots__ = ("_on_closed", "_open", "_whole", "charges")

    def __init__(self, whole: Bill | None = None) -> None:
        self._whole = whole
        self.charges: list[Charge] = []
        """What attempts used, in the order in which they ended."""
        self._open = 0
        self._on_closed: Callable[[], None] | None = None

    @property
    def whole(self) -> Bill:
        """The bill that this is a part of, or itself; kept as no reference to itself, which would wait for the garbage collector."""
        return self if self._whole is None else self._whole

    def part(self) -> Bill:
        """Returns a part of the whole bill, for another target."""
        return Bill(self.whole)

    def add(self, charge: Charge) -> None:
        """Adds what an attempt used."""
        self.charges.append(charge)
        if self._whole is not None:
            self._whole.charges.append(charge)

    def tokens(self) -> int:
        """Returns all tokens, read and generated."""
        return sum(charge.usage.input_tokens + charge.usage.output_tokens for charge in self.charges)

    def begin(self) -> None:
        """Says that something is under way that may still add to the bill, which is a whole one, until it is told to `end`."""
        self._open += 1

    def end(self) -> None:
        """Says that one of what is under way has ended."""
        self._open -= 1
        self._close()

    def when_closed(self, then: Callable[[], None]) -> None:
        """Runs `then` once nothing is under way any more on the bill, which is a whole one; that may be at once."""
        self._on_closed = then
        self._close()

    def _close(self) -> None:
        if not self._open and self._on_closed is not None:
            then, self._on_closed = self._on_closed, None
            then()


def total(charges: list[Charge]) -> Usage:
    """Adds up what charges used; what a provider said of it stays with the only one."""
    if len(charges) == 1:
        return charges[0].usage
    usage = Usage()
    for charge in charges:
        used = charge.usage
        for name in _COUNTS:
            setattr(usage, name, min(getattr(usage, name) + getattr(used, name), MOST))
        usage.estimated |= used.estimated
    return usage
