"""What callers are told of their limits: of each kind the one that is nearest to its end."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, NamedTuple

from loom_grpc.core.quota import Kind, Standing

NAMES: Final = {Kind.REQUESTS: "requests", Kind.TOKENS: "tokens", Kind.STREAMS: "streams"}
"""What is told, and what it is called; how budgets stand is nothing for every caller of a team."""

_KINDS: Final = {name: kind for kind, name in NAMES.items()}

LIMITS: Final = "loom-ratelimit"
"""The metadata that tells of limits: one entry, because each takes a call microseconds."""


class Notice(NamedTuple):
    """How one limit stands."""

    kind: Kind
    most: int
    """The limit."""
    left: int
    reset_s: float
    """Seconds until the whole limit may be taken again; when it was reached, until the call may be made; may be infinite."""


def notices(standings: Iterable[Standing], refused: Standing | None, passed_s: float) -> list[Notice]:
    """Returns what to tell of limits that were taken from `passed_s` seconds ago, and of the one that refused the call."""
    tightest: dict[Kind, tuple[float, Standing]] = {}
    for standing in standings:
        share, kind = _share(standing), standing.claim.kind
        if kind not in tightest or share < tightest[kind][0]:
            tightest[kind] = share, standing
    if refused is not None:
        tightest[refused.claim.kind] = 0.0, refused
    return [_notice(tightest[kind][1], passed_s) for kind in NAMES if kind in tightest]


def notices_text(told: Iterable[Notice]) -> str:
    """Writes how limits stand, such as `requests;limit=9;remaining=4;reset=41.203, streams;limit=3;remaining=2`; times are seconds."""
    return ", ".join(_text(notice) for notice in told)


def read_notices(text: str) -> list[Notice]:
    """Reads what `notices_text` wrote; what makes no sense is left out."""
    found = (_read(piece) for piece in text.split(","))
    return [notice for notice in found if notice is not None]


def _text(notice: Notice) -> str:
    kind, most, left, reset_s = notice
    # Nobody knows when a stream ends.
    when = f";reset={reset_s:.3f}" if kind is not Kind.STREAMS and reset_s < math.inf else ""
    return f"{NAMES[kind]};limit={most};remaining={left}{when}"


def _read(piece: str) -> Notice | None:
    name, *pairs = piece.strip().split(";")
    told = dict(pair.partition("=")[::2] for pair in pairs)
    most, left, reset_s = (told.get(key, "") for key in ("limit", "remaining", "reset"))
    if name not in _KINDS or not (most.isdecimal() and left.isdecimal()):
        return None
    is_known = reset_s.replace(".", "", 1).isdecimal()
    return Notice(_KINDS[name], int(most), int(left), float(reset_s) if is_known else math.inf)


def _share(standing: Standing) -> float:
    """Returns how much of a limit is left."""
    return standing.left / standing.claim.most if standing.claim.most else 0.0


def _notice(standing: Standing, passed_s: float) -> Notice:
    claim = standing.claim
    return Notice(claim.kind, claim.most, max(0, standing.left), max(0.0, standing.reset_s - passed_s))
