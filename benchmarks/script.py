"""What every party of a measurement says: the model name carries the script, the marker shows up in each chunk of text."""

from __future__ import annotations

import re

PROMPT = "What is the capital of France? Answer in one sentence, please."
WORD = " Paris"
ANSWER = "The capital of France is Paris. It has been the capital, with breaks, for a thousand years. " * 2

_MODEL = re.compile(rb"bench-(\d+)-(\d+)")


def model_name(chunks: int, pace_ms: int) -> str:
    """Names a model that streams `chunks` words, one every `pace_ms` milliseconds, or all at once for 0."""
    return f"bench-{chunks}-{pace_ms}"


def read_model(text: bytes) -> tuple[int, float]:
    """Finds the model's name in a request and returns its number of chunks and its pace in seconds."""
    found = _MODEL.search(text)
    if found is None:
        raise ValueError(f"no model of the benchmark in {text[:200]!r}")
    return int(found[1]), int(found[2]) / 1000
