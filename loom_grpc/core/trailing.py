"""What a caller of the contract is told when a call ends, as metadata."""

from __future__ import annotations

from loom_grpc.core.cache import HEADER as CACHE_HEADER
from loom_grpc.core.call import Call
from loom_grpc.core.errors import LlmError
from loom_grpc.core.notice import LIMITS, notices, notices_text

Pairs = tuple[tuple[str, str], ...]
"""Names in lower case and texts of printable ASCII."""


def trailing_of(call: Call, duration_s: float, error: LlmError | None = None) -> Pairs:
    """Returns the trailing metadata of a call that took so long, limits included."""
    trailing: Pairs = (
        ("loom-request-id", call.request_id),
        ("loom-provider", call.provider),
        ("loom-model", _ascii(call.model)),
        ("loom-attempts", str(call.attempt)),
        ("loom-overhead-ms", f"{(duration_s - call.upstream_s) * 1000:.3f}"),
    )
    if call.cache:
        trailing = (*trailing, (CACHE_HEADER, call.cache))
    return (*trailing, *limits_of(call, duration_s, error))


def limits_of(call: Call, passed_s: float, error: LlmError | None = None) -> Pairs:
    """Returns the metadata that tells how the caller's limits stand, `passed_s` seconds after the call began."""
    refused = error.standing if error is not None else None
    if not call.standings and refused is None:
        return ()
    told = notices(call.standings, refused, passed_s)
    return ((LIMITS, notices_text(told)),) if told else ()


def _ascii(text: str) -> str:
    """Makes a name fit for metadata, which takes printable ASCII alone."""
    return text if text.isascii() and text.isprintable() else text.encode("ascii", "backslashreplace").decode()
