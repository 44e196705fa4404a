"""Google's credentials, as Vertex AI wants them (docs/decisions/0006-google-auth.md)."""

from __future__ import annotations

import asyncio
import importlib
import json
import math
import time
from collections.abc import Callable, Mapping
from datetime import UTC
from pathlib import Path
from typing import Any, Final

from loom_grpc.core.errors import PROVIDER_AUTH_FAILED, PROVIDER_UNAVAILABLE, LlmError

SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
RENEW_S: Final = 60.0
"""How many seconds before its end a token is renewed, and how old one must be to be renewed because it was refused."""

_ANSWER_S: Final = 20.0
"""How long Google may take to answer."""

_HOW_TO: Final = (
    "the operator must set GOOGLE_APPLICATION_CREDENTIALS to a key file, run `gcloud auth application-default login`,"
    " or give the server's machine a service account"
)
_HOW_TO_FILE: Final = "the operator must see to the Google key file that credentials_file names"

# Asked for one by one, because google-auth advises against its function for files of any type: DeprecationWarning of 2.62.2.
_TYPES: Final[Mapping[str, tuple[str, str]]] = {
    "service_account": ("google.oauth2.service_account", "from_service_account_info"),
    "authorized_user": ("google.oauth2.credentials", "from_authorized_user_info"),
    "external_account": ("google.auth.identity_pool", "from_info"),
    "external_account_authorized_user": ("google.auth.external_account_authorized_user", "from_info"),
    "impersonated_service_account": (
        "google.auth.impersonated_credentials",
        "from_impersonated_service_account_info",
    ),
}
"""The module that reads each type of file, and its `Credentials` class's method."""
_AWS: Final = "urn:ietf:params:aws:token-type:aws4_request"

_UNREADABLE: Final = (AttributeError, KeyError, OSError, TypeError, ValueError)
"""What google-auth lets through when a file or an answer is JSON of another shape than it expects."""


class GoogleAdc:
    """Shows a bearer token of the account in a key file, or else of whatever account the surroundings offer: a key file that the
    environment names, the gcloud tool's login, or the machine's own.

    google-auth is imported with the first token, because it is slow to load and most servers do not need it. `clock` gives seconds since
    1970.
    """

    def __init__(self, file: Path | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self._file = file
        self._clock = clock
        self._headers: Mapping[str, str] = {}
        self._fetched = -math.inf
        self._end = -math.inf
        self._credentials: Any = None
        self._renewal: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return "GoogleAdc([REDACTED])"

    async def headers(self) -> Mapping[str, str]:
        """Returns the headers; the first of many callers renews the token for all, in a thread.

        Raises `LlmError`: PROVIDER_UNAVAILABLE when Google cannot be reached, else PROVIDER_AUTH_FAILED. Cancelling one caller does not
        stop the renewal, which others may wait for.
        """
        if self._clock() < self._end - RENEW_S:
            return self._headers
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.ensure_future(self._renew())
            self._renewal.add_done_callback(_see)
        try:
            await asyncio.shield(self._renewal)
        except LlmError as error:
            if error.reason != PROVIDER_UNAVAILABLE or self._clock() >= self._end:
                raise
        return self._headers

    async def renewed(self, refused: Mapping[str, str]) -> Mapping[str, str] | None:
        """Returns other headers than the refused ones, from a key file that may have changed too; None when there are none.

        A token that is younger than a minute is not renewed, so that a refused account does not ask for one with every call. Raises as
        `headers` does.
        """
        if self._headers == refused:
            if self._clock() - self._fetched < RENEW_S:
                return None
            self._end = -math.inf
            self._credentials = None
        shown = await self.headers()
        return shown if shown != refused else None

    async def _renew(self) -> None:
        # Forgotten until it has worked, so that the next try finds what the operator has put right.
        known, self._credentials = self._credentials, None
        credentials = await asyncio.to_thread(self._fetch, known)
        self._credentials = credentials
        self._headers = _headers(credentials)
        self._fetched = self._clock()
        self._end = _end(credentials)

    def _fetch(self, known: Any) -> Any:
        """Fetches a token, and returns the credentials that have it."""
        from google.auth.exceptions import GoogleAuthError

        how_to = _HOW_TO if self._file is None else _HOW_TO_FILE
        try:
            credentials = known or (_find() if self._file is None else _load(self._file))
            credentials.refresh(_request())
        except GoogleAuthError as error:
            raise _explain(error, how_to) from error
        except _UNREADABLE as error:
            message = f"Google's credentials cannot be read; {how_to}."
            raise LlmError(PROVIDER_AUTH_FAILED, message, detail=_words(error)) from error
        return credentials


def _see(renewal: asyncio.Future[None]) -> None:
    """Looks at the outcome, which nobody else does when every caller has been cancelled."""
    if not renewal.cancelled():
        renewal.exception()


def _find() -> Any:
    import google.auth

    credentials, _ = google.auth.default(scopes=[SCOPE], request=_request())
    return credentials


def _load(file: Path) -> Any:
    info = json.loads(file.read_text(encoding="utf-8"))
    module, method = _TYPES[info["type"]]
    if info.get("subject_token_type") == _AWS:
        module = "google.auth.aws"
    return getattr(importlib.import_module(module).Credentials, method)(info, scopes=[SCOPE])


def _request() -> Any:
    """Makes what google-auth asks with; it would wait for two minutes, in one of the few threads that name look-ups share."""
    from google.auth.transport import requests

    ask: Any = requests.Request.__call__

    class Request(requests.Request):
        def __call__(self, *what: Any, **options: Any) -> Any:
            return ask(self, *what, **{"timeout": _ANSWER_S} | options)

    make: Any = Request
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


def _explain(error: Exception, how_to: str) -> LlmError:
    from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError

    # A RefreshError hides the TransportError that caused it.
    retryable = isinstance(error, GoogleAuthError) and error.retryable
    if retryable or isinstance(error, TransportError) or isinstance(error.__cause__, TransportError):
        message = "Google's token service cannot be reached or is out of order; try again later."
        return LlmError(PROVIDER_UNAVAILABLE, message, detail=_words(error))
    if isinstance(error, DefaultCredentialsError):
        return LlmError(PROVIDER_AUTH_FAILED, f"There are no Google credentials; {how_to}.", detail=_words(error))
    message = f"Google refused the server's credentials; {how_to}."
    return LlmError(PROVIDER_AUTH_FAILED, message, detail=_words(error))


def _words(error: Exception) -> str:
    """Returns what an error says first; what follows may be a whole key file, as in a UnicodeDecodeError."""
    return f"{type(error).__name__}: {error.args[0] if error.args else ''}"
