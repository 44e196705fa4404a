"""A stand-in OAuth server on a real socket: it checks what it is asked, rotates refresh tokens, and fails on command."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode, urlsplit

import aiohttp
import orjson

from loom_grpc.core.account import Tokens
from tests.stand_in import Asked, Connection, Script, json_answer, stand_in


@dataclass
class TokenRequest:
    """A request that the token endpoint received."""

    headers: dict[str, str]
    fields: dict[str, str]
    media_type: str


@dataclass
class _Family:
    """Everything that came of one login."""

    refresh: str = ""
    """The refresh token that is good now."""
    spent: set[str] = field(default_factory=set)
    access: dict[str, float] = field(default_factory=dict)
    """Access tokens, with their ends in seconds since 1970."""
    revoked: bool = False


@dataclass
class _Code:
    challenge: str
    redirect_uri: str


class OAuthServer:
    """One operator's application at one provider. A test changes the fields below to make it behave otherwise.

    Refresh tokens are good once; whoever uses one twice loses the whole login, as RFC 9700 (section 4.14.2) advises, and `reused` tells.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.url = ""
        self.client_id = "operator-app"
        self.client_secret = ""
        """Wanted in the body or by HTTP Basic when it is set."""
        self.redirect_uri = "https://operator.example/callback"
        self.expires_in: int | None = 3600
        """How long an access token is good, in seconds; None is for ever, and the answer then does not say."""
        self.rotates = True
        """Whether a refresh gives a new refresh token too; else the answer has none and the old one stays good."""
        self.go_on = asyncio.Event()
        """Token requests are looked at once this is set; a test clears it to let them hang."""
        self.go_on.set()
        self.arrived = asyncio.Event()
        """Set when a token request has come; a test may clear it."""
        self.scripts: list[Script] = []
        """Answers the next token requests instead of the server, one each; nothing is exchanged by these."""
        self.always: Script | None = None
        """Answers all further token requests instead of the server until a test sets None."""
        self.loses_answers = False
        """Whether the connection is cut after the exchange, in place of an answer."""
        self.asked: list[TokenRequest] = []
        """Every token request that came, those included that were answered by a script."""
        self.authorized: list[dict[str, str]] = []
        """The parameters of every visit to the authorize page."""
        self.exchanges = 0
        """How many codes were exchanged for tokens."""
        self.refreshes = 0
        """How many refresh tokens were exchanged for tokens."""
        self.reused: list[str] = []
        """The refresh tokens and codes that were shown after they were spent."""
        self._clock = clock
        self._codes: dict[str, _Code] = {}
        self._spent_codes: set[str] = set()
        self._families: list[_Family] = []

    @property
    def authorize_url(self) -> str:
        """The page on which a person allows the access."""
        return f"{self.url}/authorize"

    @property
    def token_url(self) -> str:
        """Where codes and refresh tokens are exchanged."""
        return f"{self.url}/token"

    def login(self) -> Tokens:
        """Gives the tokens of a new login without the way through a browser."""
        family = _Family()
        self._families.append(family)
        access = self._issue(family)
        family.refresh = _new("refresh")
        return Tokens(access, family.refresh, family.access[access] if self.expires_in is not None else None)

    def valid(self, access: str) -> bool:
        """Tells whether a provider takes an access token."""
        return any(not family.revoked and family.access.get(access, 0.0) > self._clock() for family in self._families)

    def revoke(self, token: str) -> None:
        """Ends the login that an access or a refresh token belongs to."""
        for family in self._families:
            family.revoked |= token == family.refresh or token in family.spent or token in family.access

    def forget(self, access: str) -> None:
        """Takes an access token back before its end; the refresh token stays good."""
        for family in self._families:
            family.access.pop(access, None)

    async def answer(self, connection: Connection) -> None:
        """Answers one request."""
        if urlsplit(connection.asked.path).path == "/authorize":
            await self._authorize(connection)
        else:
            await self._token(connection)

    async def _authorize(self, connection: Connection) -> None:
        asked = dict(parse_qsl(urlsplit(connection.asked.path).query))
        self.authorized.append(asked)
        problem = self._problem(asked)
        if problem:
            await json_answer({"error": "invalid_request", "error_description": problem}, status=400)(connection)
            return
        code = _new("code")
        self._codes[code] = _Code(asked["code_challenge"], asked["redirect_uri"])
        location = f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"
        await json_answer({}, status=302, location=location)(connection)

    def _problem(self, asked: dict[str, str]) -> str:
        """Says what is wrong with the address that a browser was sent to."""
        wanted = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "code_challenge_method": "S256",
        }
        wrong = [name for name, value in wanted.items() if asked.get(name) != value]
        wrong += [name for name in ("state",) if not asked.get(name)]
        wrong += [] if len(asked.get("code_challenge", "")) == 43 else ["code_challenge"]
        return f"wrong or missing: {', '.join(wrong)}" if wrong else ""

    async def _token(self, connection: Connection) -> None:
        request = _read(connection.asked)
        self.asked.append(request)
        self.arrived.set()
        await self.go_on.wait()
        script = self.always or (self.scripts.pop(0) if self.scripts else self._answer_to(request))
        await (cut if self.loses_answers else script)(connection)

    def _answer_to(self, request: TokenRequest) -> Script:
        if not self._knows_client(request):
            return refusal("invalid_client", status=401)
        grant = request.fields.get("grant_type")
        if grant == "authorization_code":
            return self._exchange(request.fields)
        if grant == "refresh_token":
            return self._refresh(request.fields.get("refresh_token", ""))
        return refusal("unsupported_grant_type")

    def _knows_client(self, request: TokenRequest) -> bool:
        client, secret = _basic(request.headers.get("authorization", ""))
        client = client or request.fields.get("client_id", "")
        secret = secret or request.fields.get("client_secret", "")
        return (client, secret) == (self.client_id, self.client_secret)

    def _exchange(self, fields: dict[str, str]) -> Script:
        name = fields.get("code", "")
        if name in self._spent_codes:
            self.reused.append(name)
        code = self._codes.pop(name, None)
        if code is None:
            return refusal("invalid_grant", "The code is unknown or used.")
        self._spent_codes.add(name)
        if fields.get("redirect_uri") != code.redirect_uri:
            return refusal("invalid_grant", "The redirect URI is another one.")
        if _challenge(fields.get("code_verifier", "")) != code.challenge:
            return refusal("invalid_grant", "The verifier does not fit.")
        self.exchanges += 1
        family = _Family(refresh=_new("refresh"))
        self._families.append(family)
        return self._tokens(self._issue(family), family.refresh)

    def _refresh(self, token: str) -> Script:
        for family in self._families:
            if token in family.spent:
                self.reused.append(token)
                family.revoked = True
        family_or_none = next((family for family in self._families if token and family.refresh == token), None)
        if family_or_none is None or family_or_none.revoked:
            return refusal("invalid_grant", "The refresh token is unknown, used or revoked.")
        self.refreshes += 1
        access = self._issue(family_or_none)
        if not self.rotates:
            return self._tokens(access)
        family_or_none.spent.add(token)
        family_or_none.refresh = _new("refresh")
        return self._tokens(access, family_or_none.refresh)

    def _issue(self, family: _Family) -> str:
        access = _new("access")
        family.access[access] = float("inf") if self.expires_in is None else self._clock() + self.expires_in
        return access

    def _tokens(self, access: str, refresh: str = "") -> Script:
        answer: dict[str, str | int] = {"access_token": access, "token_type": "Bearer"}
        if refresh:
            answer["refresh_token"] = refresh
        if self.expires_in is not None:
            answer["expires_in"] = self.expires_in
        return json_answer(answer, cache_control="no-store")


def refusal(error: str, description: str = "", *, status: int = 400) -> Script:
    """Scripts an error as RFC 6749 (section 5.2) writes it."""
    return json_answer({"error": error, "error_description": description}, status=status)


async def cut(connection: Connection) -> None:
    """Breaks the connection off instead of answering."""
    connection.cut()


@asynccontextmanager
async def oauth_server(*, clock: Callable[[], float] = time.time) -> AsyncIterator[OAuthServer]:
    """Runs a stand-in on a free port of the loopback address; `clock` tells when access tokens end."""
    server = OAuthServer(clock)
    async with stand_in(server.answer) as socket:
        server.url = socket.url
        yield server


async def browse(authorize_url: str) -> tuple[str, str]:
    """Visits the authorize page as a browser does, and returns the code and the state that the redirect carries."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(authorize_url, allow_redirects=False) as answer,
    ):
        assert answer.status == 302, await answer.text()
        landed = dict(parse_qsl(urlsplit(answer.headers["location"]).query))
        return landed["code"], landed["state"]


def _read(asked: Asked) -> TokenRequest:
    media_type = asked.headers.get("content-type", "").partition(";")[0]
    is_json = media_type == "application/json"
    fields = orjson.loads(asked.body) if is_json else dict(parse_qsl(asked.body.decode(), keep_blank_values=True))
    return TokenRequest(asked.headers, fields, media_type)


def _basic(header: str) -> tuple[str, str]:
    try:
        client, _, secret = base64.b64decode(header.removeprefix("Basic "), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return client, secret


def _challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def _new(kind: str) -> str:
    return f"{kind}-{secrets.token_hex(16)}"
