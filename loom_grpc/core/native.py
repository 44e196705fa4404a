"""A request as the API by which it came puts it, for a provider that speaks the same one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from loom_grpc.core.errors import INVALID_REQUEST, LlmError

_LONG_NAME: Final = 200
"""Callers name fields as they like, and errors have to stay small."""


@dataclass(frozen=True, slots=True)
class Native:
    """What a front end keeps of a request beside the `LlmRequest` that it made of it.

    A provider of the same dialect is sent this, with another model and its own credentials, and its answer comes back word for word in
    `LlmEvent.native_json`, so that nothing is lost on the way; a provider of another dialect is sent the `LlmRequest`.
    """

    dialect: str
    """`openai` (Chat Completions), `responses`, `anthropic` or `gemini`."""
    body: Mapping[str, Any]
    """The request's JSON object, as `core.exact.loads` reads it."""
    headers: Mapping[str, str]
    """Headers that belong to it, such as `anthropic-beta`; names in lower case, no credentials."""
    untold: tuple[str, ...] = ()
    """The fields, by path, of which the `LlmRequest` says nothing and that matter; other providers cannot be told them."""
    drops: bool = False
    """Leaves the untold fields out for such a provider and names them in the answer's headers; else they are refused."""

    def left_out(self, provider: str) -> list[str]:
        """Returns the fields that a provider of another dialect is not told; raises `LlmError` (INVALID_REQUEST) unless it may be so."""
        if self.untold and not self.drops:
            name = self.untold[0][:_LONG_NAME]
            message = (
                f"{name}: {provider} has no such field; leave it out, or ask the operator to set compat.untold: drop."
            )
            raise LlmError(INVALID_REQUEST, message, field=name, code="unsupported_parameter")
        return list(self.untold)
