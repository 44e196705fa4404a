"""The numbers of tokens in a provider's usage object."""

from __future__ import annotations

from typing import Any, Final

from loom_grpc.v1.usage_pb2 import Usage

_MOST: Final = 10**9
"""More tokens than this are not believed."""


def believed(count: object) -> int | None:
    """Returns a number of tokens; None for what is none, and for one that no call can have used."""
    return count if type(count) is int and 0 <= count <= _MOST else None


def tokens(usage: dict[str, Any], key: str) -> int:
    """Reads a number of tokens; zero for what is not believed."""
    count = usage.get(key)
    return (believed(count) or 0) if count else 0  # most of what is asked for is not there


def media(prompt: dict[str, Any], output: dict[str, Any]) -> Usage:
    """Reads how much of a prompt and of an answer is no text, from the details that both of OpenAI's APIs have in the same words."""
    if not prompt and not output:
        return Usage()
    return Usage(
        input_audio_tokens=tokens(prompt, "audio_tokens"),
        input_image_tokens=tokens(prompt, "image_tokens"),
        output_audio_tokens=tokens(output, "audio_tokens"),
        output_image_tokens=tokens(output, "image_tokens"),
    )
