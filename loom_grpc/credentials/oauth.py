"""The operator's OAuth application at a provider: authorization code with PKCE, and refresh (RFC 6749, RFC 7636)."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit

from loom_grpc.core.account import Tokens
from loom_grpc.core.errors import LOGIN_EXCHANGE_FAILED, PROVIDER_AUTH_FAILED, PROVIDER_UNAVAILABLE, LlmError
from loom_grpc.v1.error_pb2 import ErrorReason

if TYPE_CHECKING:
    from loom_grpc.credentials.oauth_session import Answer, TokenSession

_TIMEOUT_S: Final = 30.0
_THREADS: Final = ThreadPoolExecutor(32, thread_name_prefix="oauth")
"""Threads of their own, made when they are needed: a server that hangs must not take those in which files and secrets are read."""
_REFUSED: Final = frozenset({"invalid_client", "invalid_grant", "unauthorized_client"})
"""Errors of RFC 6749 (section 5.2) that stay until the operator does something."""
_CODE: Final = re.compile("[a-z_]{1,64}")
_SECRET_SHAPED: Final = re.compile(r"(?=[\w-]*\d)[\w-]{20,}")
_SHORTEST_SECRET: Final = 6
"""Shorter ones are made up, and would blacken half of the words."""
_LONGEST_WORDS: Final = 300
_OURS: Final = frozenset(
    {"client_id", "code_challenge", "code_challenge_method", "redirect_uri", "response_type", "scope", "state"}
)
"""Parameters of the authorize page that no `authorize_params` can replace."""


@dataclass(frozen=True)
class OAuthSettings:
    """What the operator says of the application. Nothing of it is built in."""

    authorize_url: str
    token_url: str
    client_id: str
    client_secret: Callable[[], str] | None = field(repr=False)
    client_auth: Literal["none", "post", "basic"]
    redirect_uri: str
    scopes: tuple[str, ...]
    token_format: Literal["form", "json"]
    authorize_params: Mapping[str, str]
    token_headers: Callable[[], Mapping[str, str]] = field(repr=False)


def new_verifier() -> str:
    """Makes a PKCE verifier."""
    return secrets.token_urlsafe(48)


def new_state() -> str:
    """Makes the name of a login, which nobody can guess."""
    return str(uuid.uuid4())


class OAuthApp:
    """Asks the provider's OAuth server in the operator's name; keeps nothing. A request takes at most about `timeout_s`."""

    def __init__(
        self,
        provider: str,
        settings: OAuthSettings,
        *,
        clock: Callable[[], float] = time.time,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        self.provider = provider
        self._settings = settings
        self._clock = clock
        self._timeout_s = timeout_s

    def __repr__(self) -> str:
        return f"OAuthApp({self.provider})"

    def authorize_url(self, state: str, verifier: str) -> str:
        """Returns the address of the page on which a person allows the access."""
        from authlib.oauth2.client import OAuth2Client

        settings = self._settings
        client = OAuth2Client(None, settings.client_id, code_challenge_method="S256")
        url, _ = client.create_authorization_url(
            _with_params(settings.authorize_url, settings.authorize_params),
            state=state,
            code_verifier=verifier,
            redirect_uri=settings.redirect_uri,
            scope=" ".join(settings.scopes),
        )
        return url

    async def exchange(self, code: str, state: str, verifier: str) -> Tokens:
        """Exchanges the code of a login; raises `LlmError` (LOGIN_EXCHANGE_FAILED, PROVIDER_UNAVAILABLE)."""
        redirect_uri = self._settings.redirect_uri
        began = self._clock()
        answer = await self._ask(lambda session: session.exchange(code, state, verifier, redirect_uri))
        if not answer.access:
            raise self._exchange_error(answer, (code, state, verifier))
        return _tokens(answer, began)

    async def refresh(self, refresh_token: str) -> Tokens:
        """Exchanges a refresh token; where the server gives no new one, the old one is kept.

        Raises `LlmError`: PROVIDER_AUTH_FAILED when the login is over, PROVIDER_UNAVAILABLE when trying again may help. Cancelling does not
        stop the request, whose answer is then lost: whoever calls this sees to it that it is waited for.
        """
        if not self._settings.token_url:  # the account was logged in elsewhere, or under another configuration
            message = f"The account's login has ended and is not renewed; the operator must set providers.{self.provider}.oauth."
            raise LlmError(PROVIDER_AUTH_FAILED, message)
        began = self._clock()
        answer = await self._ask(lambda session: session.refresh(refresh_token))
        if not answer.access:
            raise self._refresh_error(answer, (refresh_token,))
        return _tokens(answer, began)

    async def _ask(self, question: Callable[[TokenSession], Answer]) -> Answer:
        settings = self._settings
        secret = self._secret()
        headers = settings.token_headers()

        def work() -> Answer:
            from loom_grpc.credentials.oauth_session import TokenSession

            with TokenSession(
                settings.token_url,
                settings.client_id,
                secret,
                auth=settings.client_auth,
                as_json=settings.token_format == "json",  # noqa: S105 - a format
                headers=headers,
                timeout_s=self._timeout_s,
            ) as session:
                return question(session)

        return await asyncio.get_running_loop().run_in_executor(_THREADS, work)

    def _secret(self) -> str:
        return self._settings.client_secret() if self._settings.client_secret is not None else ""

    def _exchange_error(self, answer: Answer, shown: tuple[str, ...]) -> LlmError:
        if _is_passing(answer):
            return self._unavailable(answer, shown)
        message = (
            f"The token server of {self.provider} did not accept the login; start a new one,"
            f" and if that fails too, check providers.{self.provider}.oauth."
        )
        return self._error(LOGIN_EXCHANGE_FAILED, message, answer, shown)

    def _refresh_error(self, answer: Answer, shown: tuple[str, ...]) -> LlmError:
        if not _is_passing(answer) and (answer.status in {401, 403} or answer.error in _REFUSED):
            message = f"The token server of {self.provider} no longer accepts the account's login; log in again."
            return self._error(PROVIDER_AUTH_FAILED, message, answer, shown)
        return self._unavailable(answer, shown)

    def _unavailable(self, answer: Answer, shown: tuple[str, ...]) -> LlmError:
        message = (
            f"The token server of {self.provider} cannot be reached or is out of order; try again later."
            if _is_passing(answer)
            else f"The token server of {self.provider} gave no tokens; check providers.{self.provider}.oauth."
        )
        return self._error(PROVIDER_UNAVAILABLE, message, answer, shown)

    def _error(self, reason: ErrorReason.ValueType, message: str, answer: Answer, shown: tuple[str, ...]) -> LlmError:
        hidden = [secret for secret in (*shown, self._secret()) if len(secret) >= _SHORTEST_SECRET]
        error = LlmError(reason, message, detail=_line(answer.words, hidden))
        if answer.status:
            error.metadata["provider_status"] = str(answer.status)
        if _CODE.fullmatch(answer.error) and answer.error not in hidden:
            error.metadata["provider_code"] = answer.error
        return error


def _is_passing(answer: Answer) -> bool:
    """Tells whether an answer says nothing of what was asked, so that the same may be asked again."""
    lost = answer.broken and answer.status < 400
    return lost or answer.status == 429 or answer.status >= 500


def _tokens(answer: Answer, began: float) -> Tokens:
    expires = None if answer.lifetime_s is None else began + answer.lifetime_s
    return Tokens(answer.access, answer.refresh, expires)


def _with_params(url: str, params: Mapping[str, str]) -> str:
    """Adds parameters to an address."""
    parts = urlsplit(url)
    extra = [(name, value) for name, value in params.items() if name not in _OURS]
    return parts._replace(query=urlencode(parse_qsl(parts.query, keep_blank_values=True) + extra)).geturl()


def _line(words: str, hidden: list[str]) -> str:
    """Returns words for the log: one short line without what was shown, and without whatever else looks like a secret."""
    for secret in sorted(hidden, key=len, reverse=True):
        words = words.replace(secret, "[REDACTED]")
    words = _SECRET_SHAPED.sub("[REDACTED]", words)
    return "".join(char if char.isprintable() else " " for char in words)[:_LONGEST_WORDS]
