"""Google's application default credentials, as Vertex AI wants them (docs/decisions/0006-google-auth.md)."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from datetime import UTC
from typing import Any, Final

from loom_grpc.core.errors import PROVIDER_AUTH_FAILED, PROVIDER_UNAVAILABLE, LlmError

SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
RENEW_S: Final = 60.0
"""How many seconds before its end a token is renewed."""

_HOW_TO: Final = (
    "the operator must set GOOGLE_APPLICATION_CREDENTIALS to a key file, run `gcloud auth application-default login`,"
    " or give the server's machine a service account"
)


_UNREADABLE: Final = (AttributeError, KeyError, OSError, TypeError, ValueError)
"""What google-auth lets through when a file or an answer is JSON of another shape than it expects."""


class GoogleAdc:
    """Shows a bearer token of whatever account the surroundings offer: a key file, the gcloud tool's login, or the machine's own.

    google-auth is imported with the first token, because it is slow to load and most servers do not need it.
    """

    def __init__(self) -> None:
        self._headers: Mapping[str, str] = {}
        self._renew_at = -math.inf
        """When the token has to be renewed, in seconds since 1970, as its end is told in."""
        self._credentials: Any = None
        self._renewal: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return "GoogleAdc([REDACTED])"

    async def headers(self) -> Mapping[str, str]:
        """Returns the headers; the first of many callers renews the token for all, in a thread.

        Raises `LlmError`: PROVIDER_UNAVAILABLE when Google cannot be reached, else PROVIDER_AUTH_FAILED. Cancelling one caller does not
        stop the renewal, which others may wait for.
        """
        if time.time() >= self._renew_at:
            if self._renewal is None or self._renewal.done():
                self._renewal = asyncio.ensure_future(asyncio.to_thread(self._renew))
                self._renewal.add_done_callback(_see)
            await asyncio.shield(self._renewal)
        return self._headers

    def _renew(self) -> None:
        from google.auth.exceptions import GoogleAuthError

        try:
            credentials = self._credentials or _find()
            # Forgotten until it has worked, so that the next try finds what the operator has put right.
            self._credentials = None
            credentials.refresh(_request())
        except GoogleAuthError as error:
            raise _explain(error) from error
        except _UNREADABLE as error:
            message = f"Google's credentials cannot be read; {_HOW_TO}."
            raise LlmError(PROVIDER_AUTH_FAILED, message, detail=repr(error)) from error
        self._credentials = credentials
        self._headers = _headers(credentials)
        self._renew_at = _end(credentials) - RENEW_S


def _see(renewal: asyncio.Future[None]) -> None:
    """Looks at the outcome, which nobody else does when every caller has been cancelled."""
    if not renewal.cancelled():
        renewal.exception()


def _find() -> Any:
    import google.auth

    credentials, _ = google.auth.default(scopes=[SCOPE], request=_request())
    return credentials


def _request() -> Any:
    from google.auth.transport import requests

    make: Any = requests.Request
    return make()


def _headers(credentials: Any) -> Mapping[str, str]:
    headers = {"authorization": f"Bearer {credentials.token}"}
    if project := getattr(credentials, "quota_project_id", None):
        headers["x-goog-user-project"] = project
    return headers


def _end(credentials: Any) -> float:
    """Returns when the token ends, in seconds since 1970; google-auth tells it in UTC, without saying so."""
    expiry = credentials.expiry
    if expiry is None:
        return math.inf
    end: float = expiry.timestamp() if expiry.tzinfo else expiry.replace(tzinfo=UTC).timestamp()
    return end


def _explain(error: Exception) -> LlmError:
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError

    # A RefreshError hides the TransportError that caused it.
    retryable = isinstance(error, GoogleAuthError) and error.retryable
    if retryable or isinstance(error, TransportError) or isinstance(error.__cause__, TransportError):
        message = "Google's token service cannot be reached or is out of order; try again later."
        return LlmError(PROVIDER_UNAVAILABLE, message, detail=repr(error))
    if isinstance(error, DefaultCredentialsError):
        return LlmError(PROVIDER_AUTH_FAILED, f"There are no Google credentials; {_HOW_TO}.", detail=repr(error))
    message = f"Google refused the server's credentials; {_HOW_TO}."
    return LlmError(PROVIDER_AUTH_FAILED, message, detail=repr(error))
