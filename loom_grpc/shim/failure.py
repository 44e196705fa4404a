"""What callers are told when it is the server that cannot go on."""

from __future__ import annotations

from loom_grpc.core.errors import DRAINING, INTERNAL, LlmError


def draining() -> LlmError:
    """Makes the error of a server that is about to stop."""
    return LlmError(DRAINING, "The server is shutting down; call again, another one will answer.", retry_after=1)


def crashed() -> LlmError:
    """Makes the error of a server with a mistake in its program."""
    return LlmError(INTERNAL, "The server failed; its log has the details under the request id.")
