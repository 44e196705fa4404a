"""What other gateways did, as measured before: figures that no run of ours makes anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

FAULT_PEERS: Final = (
    "LiteLLM 1.105.3",
    "Portkey main@669825cb",
    "TensorZero 2026.6.0",
    "smg 1.13.0",
    "otari 2026-08-21",
)

FAULTS: Final[Mapping[str, tuple[str, ...]]] = {
    "429 with Retry-After: 2": (
        "yes, 2.2 s",
        "**retried after 1.0 s**",
        "**no retry, answers 502**",
        "**retried after 0.1 s**",
        "yes, 2.0 s",
    ),
    "stream ends cleanly, without a finish reason and without [DONE]": (
        "**invents finish reason, usage and [DONE]**",
        "**silent clean close**",
        "**[DONE], no error**",
        "**silent clean close**",
        "**[DONE], no error**",
    ),
    "TCP reset in mid-stream": (
        "yes, an error",
        "**silent clean close**",
        "an error, then [DONE]",
        "**silent clean close**",
        "an error, then [DONE]",
    ),
    "one malformed event": (
        "ends the stream after 5 of 10 chunks",
        "passes it through",
        "an error, then completes",
        "passes it through",
        "ends the stream",
    ),
    "[DONE] is missing after the finish reason": ("yes",) * 5,
    "stall in mid-stream": (
        "yes, 6.1 s",
        "**12 s, silent close**",
        "**12 s**",
        "6.0 s, **silent**",
        "**12 s**",
    ),
    "caller cancels a stream": (
        "0.5 s",
        "**still open after 3 s**",
        "**still open after 3 s**",
        "0.55 s",
        "0.5 s",
    ),
    "caller cancels a unary call": ("**never**", "**never**", "yes", "closed, after 2 attempts", "**never**"),
}
"""Measured in November 2026 with up to two retries, a limit of about 6 s and a stall of 12 s, in the order of `FAULT_PEERS`."""

SCENARIOS: Final[Mapping[str, tuple[int, int, int, int]]] = {
    "DeepSeek Harness with dsh-llm-fallbacks": (12, 3, 1, 0),
    "Portkey": (11, 2, 0, 3),
    "Bifrost 2.1.1": (9, 3, 3, 1),
    "LiteLLM proxy": (9, 3, 4, 0),
    "LiteLLM Router": (9, 3, 4, 0),
    "LangChain with fallbacks": (9, 3, 4, 0),
    "openai-python": (6, 0, 10, 0),
    "no gateway": (4, 0, 12, 0),
    "the catalogue's own reference client": (16, 0, 0, 0),
}
"""Pass, partial, safe and fail as failoverbench published them on 2026-09-12 (results/full/SCORECARD.md, seen 2026-11-21)."""
