"""Tells callers how their limits stand, in the headers that each API's clients know."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from loom_grpc.core.notice import NAMES, Notice
from loom_grpc.core.quota import WINDOW_S, Kind

_MOST: Final = 999_999_999_999_999
"""The largest integer of a structured field (RFC 9651, 3.3.1)."""
_POLICIES: Final = {
    Kind.REQUESTS: f";w={WINDOW_S}",
    Kind.TOKENS: f';qu="tokens";w={WINDOW_S}',
    Kind.STREAMS: ';qu="concurrent-requests"',
}
"""The unit and the window of what is limited; the draft has no unit for tokens."""


def openai(notices: Sequence[Notice]) -> Mapping[str, str]:
    """Writes OpenAI's headers, which know of no streams (developers.openai.com/api/docs/guides/rate-limits, seen 2026-11-21)."""
    headers: dict[str, str] = {}
    for kind, most, left, reset_s in notices:
        if kind is not Kind.STREAMS:
            name = NAMES[kind]
            headers[f"x-ratelimit-limit-{name}"] = str(most)
            headers[f"x-ratelimit-remaining-{name}"] = str(left)
            if reset_s < math.inf:
                headers[f"x-ratelimit-reset-{name}"] = duration(reset_s)
    return headers


def anthropic(notices: Sequence[Notice], now: float) -> Mapping[str, str]:
    """Writes Anthropic's headers (docs.aws.amazon.com/claude-platform/latest/userguide/rate-limits.html,
    seen 2026-11-21).

    They know of no streams; `tokens` are those of prompts and answers together, as with us, so that nothing is said of `input-tokens` and
    `output-tokens`.
    """
    headers: dict[str, str] = {}
    for kind, most, left, reset_s in notices:
        if kind is not Kind.STREAMS:
            opening = f"anthropic-ratelimit-{NAMES[kind]}"
            headers[f"{opening}-limit"] = str(most)
            headers[f"{opening}-remaining"] = str(left)
            if reset_s < math.inf:
                headers[f"{opening}-reset"] = _time(math.ceil(now + reset_s))
    return headers


def draft(notices: Sequence[Notice]) -> Mapping[str, str]:
    """Writes the headers of draft-ietf-httpapi-ratelimit-headers-11 (May 2026), for APIs that have none of their own."""
    policies, standings = [], []
    for kind, most, left, reset_s in notices:
        name = NAMES[kind]
        policies.append(f'"{name}";q={min(most, _MOST)}{_POLICIES[kind]}')
        # Nobody knows when a stream ends.
        when = f";t={math.ceil(reset_s)}" if kind is not Kind.STREAMS and reset_s < math.inf else ""
        standings.append(f'"{name}";r={min(left, _MOST)}{when}')
    return {"ratelimit-policy": ", ".join(policies), "ratelimit": ", ".join(standings)} if policies else {}


def duration(seconds: float) -> str:
    """Writes how long something takes as OpenAI does: `12ms`, `1s`, `6m0s`, `1h0m0.5s`; never shorter than it is."""
    milliseconds = math.ceil(seconds * 1000)
    if 0 < milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{milliseconds / 1000:.9g}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


@lru_cache(64)
def _time(seconds: int) -> str:
    """Writes a point in time as RFC 3339 does."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
