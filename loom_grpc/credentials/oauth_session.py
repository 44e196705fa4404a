"""One request to an OAuth token server, by Authlib over requests (docs/decisions/0011-authlib.md).

It blocks and is slow to load: `oauth.py` imports and runs it in a thread.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import parse_qsl, urlencode

from authlib.integrations.requests_client import OAuth2Session, OAuthError
from requests import PreparedRequest, Response, exceptions
from urllib3.exceptions import HTTPError

_CONNECT_S: Final = 10.0
_MOST_BYTES: Final = 64 * 2**10
_LONGEST_LIFE_S: Final = 10 * 366 * 86400
_AUTH: Final = {"none": "none", "post": "client_secret_post", "basic": "client_secret_basic"}
"""How the client shows its secret, in Authlib's words."""


class Answer(NamedTuple):
    """What a token server has said. What it and the network say in words may hold anything: it is for the log, after a look."""

    status: int
    """The HTTP status; 0 when there was no answer."""
    access: str = ""
    refresh: str = ""
    lifetime_s: int | None = None
    error: str = ""
    """The `error` of RFC 6749, section 5.2."""
    words: str = ""
    broken: bool = False
    """Whether the answer could not be received, or not in whole."""


class TokenSession(OAuth2Session):
    """Asks a token server once. TLS certificates are verified, redirects are not followed."""

    def __init__(
        self,
        url: str,
        client_id: str,
        client_secret: str,
        *,
        auth: Literal["none", "post", "basic"],
        as_json: bool,
        headers: Mapping[str, str],
        timeout_s: float,
    ) -> None:
        limits = (min(_CONNECT_S, timeout_s / 3), timeout_s * 2 / 3)
        super().__init__(client_id, client_secret, default_timeout=limits, stream=True)
        sign: Any = self.client_auth(
            _AUTH[auth]
        )  # requests' AuthBase by way of a subclass, which the stubs do not tell
        self._status = 0
        self._deadline = monotonic() + timeout_s
        self._request: dict[str, Any] = {
            "url": url,
            "headers": {**_HEADERS, **{name.lower(): value for name, value in headers.items()}},
            "auth": _in_json(sign) if as_json else sign,
            "allow_redirects": False,
        }

    def exchange(self, code: str, state: str, verifier: str, redirect_uri: str) -> Answer:
        """Exchanges a code."""
        # RFC 6749 wants no state here and lets servers pass over it (section 3.2), but some will not do without.
        body = urlencode({"state": state})
        grant = {"code": code, "code_verifier": verifier, "redirect_uri": redirect_uri}
        return self._ask(lambda: self.fetch_token(body=body, grant_type="authorization_code", **grant, **self._request))

    def refresh(self, token: str) -> Answer:
        """Exchanges a refresh token; the answer repeats it when the server gives no new one."""
        return self._ask(lambda: self.refresh_token(refresh_token=token, **self._request))

    def parse_response_token(self, resp: Response) -> Any:
        """Reads an answer for Authlib; raises `OAuthError` where there are no tokens in it."""
        self._status = resp.status_code
        fields = _object(self._read(resp))
        if resp.status_code >= 300 or "error" in fields or not _is_shown(fields.get("access_token")):
            raise OAuthError(error=_text(fields.get("error")), description=_text(fields.get("error_description")))
        token: dict[str, Any] = {"access_token": fields["access_token"]}
        if refresh := _text(fields.get("refresh_token")):
            token["refresh_token"] = refresh
        if lifetime_s := _lifetime_s(fields.get("expires_in")):
            token["expires_in"] = lifetime_s
        self.token = token
        return self.token

    def _ask(self, question: Callable[[], Any]) -> Answer:
        try:
            token = question()
        except OAuthError as error:
            return Answer(self._status, error=error.error or "", words=error.description or "")
        except (exceptions.ConnectionError, exceptions.Timeout) as error:
            return Answer(self._status, words=f"{type(error).__name__}: {error}", broken=True)
        except (exceptions.RequestException, HTTPError, ValueError) as error:
            # These repeat what was to be sent.
            return Answer(self._status, words=type(error).__name__, broken=True)
        return Answer(self._status, token["access_token"], token.get("refresh_token", ""), token.get("expires_in"))

    def _read(self, response: Response) -> bytes:
        """Returns the body, byte by byte: a limit on the wait for more says nothing of how long a trickle may go on."""
        body = bytearray()
        for some in response.iter_content(1):
            body += some
            if len(body) > _MOST_BYTES or monotonic() > self._deadline:
                raise exceptions.Timeout("the answer is too long or too slow")
        return bytes(body)


_HEADERS: Final = {
    "accept": "application/json",
    "content-type": "application/x-www-form-urlencoded",
    "user-agent": "loom-grpc",
}

Sign = Callable[[PreparedRequest], PreparedRequest]


def _in_json(sign: Sign) -> Sign:
    """Writes a request's form as JSON, after the client has signed it."""

    def rewrite(request: PreparedRequest) -> PreparedRequest:
        request = sign(request)
        request.headers["content-type"] = "application/json"
        request.body = json.dumps(dict(parse_qsl(str(request.body), keep_blank_values=True)))
        return request

    return rewrite


def _object(body: bytes) -> dict[str, Any]:
    """Reads a JSON object; what is none has no fields."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _is_shown(token: object) -> bool:
    """Tells whether a header can carry a token."""
    return isinstance(token, str) and token.isascii() and token.isprintable() and bool(token.strip())


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _lifetime_s(value: object) -> int | None:
    """Reads `expires_in`, which some write as text; what makes no sense is as if nothing had been said."""
    try:
        seconds = int(value) if isinstance(value, int | float | str) else 0
    except (ValueError, OverflowError):
        return None
    return seconds if 0 < seconds <= _LONGEST_LIFE_S else None
