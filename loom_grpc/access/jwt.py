"""Callers who show a JSON web token of an OpenID Connect issuer (docs/decisions/0018-jwt.md)."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from loom_grpc.access import jwks
from loom_grpc.access.identity import EXPIRED, Identity, is_name
from loom_grpc.access.jwks import Fetch, IssuerKeys, SigningKey
from loom_grpc.config import ConfigError, JwtConfig
from loom_grpc.core.errors import UNAUTHENTICATED, LlmError
from loom_grpc.core.principal import Need

_MOST_CHARACTERS: Final = 16 * 2**10
_REMEMBERED_S: Final = 300.0
_MOST_REMEMBERED: Final = 10_000
_MOST_TRIED: Final = 8
"""How many keys are tried for a token that names none."""
_LAST_TIME: Final = 10**12
_TYPES: Final = frozenset({"jwt", "at+jwt"})
"""RFC 8725, section 3.11: what an issuer signs for another purpose, such as a logout, lets nobody in. RFC 9068 names the second."""
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]+")


class _Token(NamedTuple):
    """A token in its parts, not verified."""

    alg: str
    kid: str
    claims: dict[str, Any]
    signed: bytes
    signature: bytes


class _Remembered(NamedTuple):
    identity: Identity
    until: float


class TokenReader:
    """Tells who shows a token, by the keys of one issuer.

    A verified token is remembered by its SHA-256 until it expires, at most 300 s, and not beyond a change of the issuer's keys.
    `clock` only goes forward and paces the questions to the issuer; `on_problem` gets words for the operator when its keys cannot be had.
    Raises `ConfigError` where the keys could be read along the way.
    """

    def __init__(
        self,
        config: JwtConfig,
        clock: Callable[[], float] = time.monotonic,
        *,
        fetch: Fetch = jwks.fetch,
        on_problem: Callable[[str], None] = lambda _: None,
        limit_s: float = jwks.LIMIT_S,
    ) -> None:
        _check(config)
        self._config = config
        self._remembered: dict[bytes, _Remembered] = {}
        self._keys = IssuerKeys(
            config,
            clock=clock,
            fetch=fetch,
            on_change=self._remembered.clear,
            on_problem=on_problem,
            limit_s=limit_s,
        )

    @property
    def problem(self) -> str:
        """Why the issuer's keys could not be had the last time, for the operator; empty when they could."""
        return self._keys.problem

    async def identify(self, token: str, now: float) -> Identity:
        """Returns whom a token stands for; `now` is in seconds since 1970.

        Raises `LlmError` UNAUTHENTICATED for a token that is not good, and STORAGE_UNAVAILABLE where it cannot be told because the
        issuer's keys cannot be had.
        """
        if len(token) > _MOST_CHARACTERS or not token.isascii():
            raise _refusal("is longer than any that is taken, or has other characters")
        digest = hashlib.sha256(token.encode()).digest()
        known = self._remembered.get(digest)
        if known is not None and now < known.until and not self._keys.is_due:
            return known.identity
        parsed = _parse(token, self._config.algorithms)
        expires = _check_claims(parsed.claims, self._config, now)
        await self._verify(parsed)
        identity = _identity(parsed.claims, self._config)
        self._remember(digest, _Remembered(identity, min(expires, now + _REMEMBERED_S)))
        return identity

    async def close(self) -> None:
        """Ends a question to the issuer that is under way."""
        await self._keys.close()

    async def _verify(self, token: _Token) -> None:
        """Looks for the key that made the signature, with the issuer too where none that is known has the name."""
        keys = await self._keys.known()
        if _is_signed(token, keys):
            return
        if not (token.kid and any(key.kid == token.kid for key in keys)) and _is_signed(
            token, await self._keys.renewed()
        ):
            return
        raise _refusal("is not signed with a key of the issuer")

    def _remember(self, digest: bytes, remembered: _Remembered) -> None:
        self._remembered.pop(digest, None)
        if len(self._remembered) >= _MOST_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[digest] = remembered


def _check(config: JwtConfig) -> None:
    if not config.issuer:
        raise ConfigError("access.jwt.issuer: must not be empty; set it to the claim iss of the tokens")
    name, address = ("jwks_url", config.jwks_url) if config.jwks_url else ("issuer", config.issuer)
    if not jwks.is_safe(address):
        raise ConfigError(f"access.jwt.{name}: must begin with https://, or with http:// and a loopback address")


def _parse(token: str, algorithms: Sequence[str]) -> _Token:
    """Takes a token apart; raises where it is none that could be verified."""
    parts = token.split(".")
    if len(parts) != 3 or not all(map(_BASE64URL.fullmatch, parts)):
        raise _refusal("is not a signed JSON web token")
    header, claims = _object(parts[0]), _object(parts[1])
    if "crit" in header or "cty" in header or "enc" in header:
        raise _refusal("asks for what this server does not do (crit, cty or enc in its header)")
    alg, kid, kind = (header.get(name, "") for name in ("alg", "kid", "typ"))
    if not isinstance(alg, str) or alg not in algorithms:
        raise _refusal(f"is not signed with one of the algorithms that are taken ({', '.join(algorithms)})")
    if not isinstance(kid, str) or not _is_for_access(kind):
        raise _refusal("is not one for access (kid or typ in its header)")
    return _Token(alg, kid, claims, token.rpartition(".")[0].encode(), _decode(parts[2]))


def _is_for_access(kind: object) -> bool:
    return kind == "" or (isinstance(kind, str) and kind.lower().removeprefix("application/") in _TYPES)


def _object(part: str) -> dict[str, Any]:
    try:
        value = json.loads(_decode(part))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise _refusal("is not a JSON web token: a part of it is no JSON object")
    return value


def _decode(part: str) -> bytes:
    """Decodes a part that is written in the one way there is, so that no other text is the same token."""
    try:
        data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        data = b""
    if base64.urlsafe_b64encode(data).rstrip(b"=") != part.encode():
        raise _refusal("is cut or damaged")
    return data


def _check_claims(claims: dict[str, Any], config: JwtConfig, now: float) -> float:
    """Refuses a token by what it says of itself; returns when it expires, in seconds since 1970 with the leeway."""
    if claims.get("iss") != config.issuer:
        raise _refusal("is of another issuer")
    if not _is_for_us(claims.get("aud"), config.audience):
        raise _refusal("is for somebody else (aud)")
    expires = _time(claims, "exp", -_LAST_TIME) + config.leeway_s
    if now >= expires:
        message = "The token has expired, or does not say when it does; get a new one."
        raise LlmError(UNAUTHENTICATED, message, cause=EXPIRED)
    if now < max(_time(claims, "nbf", 0), _time(claims, "iat", 0)) - config.leeway_s:
        raise _refusal("is not valid yet; compare the clocks of its issuer and this server")
    return expires


def _is_for_us(audience: object, wanted: Sequence[str]) -> bool:
    named = audience if isinstance(audience, list) else [audience]
    return all(isinstance(name, str) for name in named) and any(name in wanted for name in named)


def _time(claims: dict[str, Any], name: str, absent: float) -> float:
    value = claims.get(name, absent)
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_LAST_TIME <= value <= _LAST_TIME:
        raise _refusal(f"has no time in its claim {name}")
    return float(value)


def _is_signed(token: _Token, keys: Sequence[SigningKey]) -> bool:
    fitting = [key for key in keys if token.alg in key.verify and (not token.kid or key.kid == token.kid)]
    return any(key.verify[token.alg](token.signed, token.signature) for key in fitting[:_MOST_TRIED])


def _identity(claims: dict[str, Any], config: JwtConfig) -> Identity:
    user = _name(_claim(claims, config.user_claim), config.user_claim)
    if not user:
        raise _refusal(f"does not name its user (claim {config.user_claim})")
    team = _name(_first(_claim(claims, config.team_claim)), config.team_claim)
    organization = _name(_first(_claim(claims, config.organization_claim)), config.organization_claim)
    return Identity(user, team, organization, _role(_claim(claims, config.role_claim), config.admin_roles))


def _first(value: object) -> object:
    if isinstance(value, list):
        return value[0] if value else None
    return value


def _name(value: object, path: str) -> str:
    """Returns the name that a claim has, empty where there is no such claim; refuses what is no name."""
    if value is None:
        return ""
    if not isinstance(value, str) or not is_name(value):
        raise _refusal(f"has no name in its claim {path}")
    return value


def _role(roles: object, admin_roles: Sequence[str]) -> Need:
    named = roles if isinstance(roles, list) else [roles]
    return Need.ADMIN if any(isinstance(role, str) and role in admin_roles for role in named) else Need.USER


def _claim(value: object, path: str) -> object:
    """Returns what is at a path such as `realm_access.roles`; a claim whose own name has dots goes first."""
    if not isinstance(value, dict) or not path:
        return None
    if path in value:
        return value[path]
    head, _, rest = path.partition(".")
    return _claim(value.get(head), rest)


def _refusal(words: str) -> LlmError:
    return LlmError(UNAUTHENTICATED, f"The token {words}.")
