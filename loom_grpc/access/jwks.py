"""The keys with which an issuer signs its tokens: where they are, and which of them are good now."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple
from urllib.parse import urljoin, urlsplit

from loom_grpc.config import JwtConfig
from loom_grpc.core.errors import LlmError, storage_unavailable

LIMIT_S: Final = 5.0
"""How long the issuer may take for its keys, the discovery document included."""
PAUSE_S: Final = 10.0
"""How long the issuer is left alone after it was asked, whatever callers show."""
_FIRST_PAUSE_S: Final = 1.0
"""How long it is left alone while none of its keys are known, because nobody with a token can be let in until then."""
_EARLY: Final = 0.9
"""After what part of `refresh_s` the issuer is asked while callers go on; after the whole of it they wait for the answer."""
_MOST_BYTES: Final = 256 * 2**10
_MOST_REDIRECTS: Final = 3
_RSA_BITS: Final = range(2048, 16_385)
"""RFC 7518, section 3.3, wants 2048 at least; OpenSSL verifies with no more than 16,384."""
_MEMBERS: Final = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
"""What makes up a public key, by its type; the others, shared secrets among them, sign nothing here."""

Fetch = Callable[[str], bytes]
"""Returns what is at an address; blocks, and raises `JwksError`."""


class JwksError(Exception):
    """An issuer's keys cannot be had; the words are for the operator."""


class SigningKey(NamedTuple):
    """A public key of an issuer."""

    kid: str
    """Its name; empty where it has none."""
    verify: Mapping[str, Callable[[bytes, bytes], bool]]
    """Tell, for each algorithm that the key is for, whether a text was signed with it: (text, signature)."""


class IssuerKeys:
    """Knows one issuer's keys, looks for new ones from time to time, and keeps the old ones while the issuer is away.

    `clock` only goes forward, in seconds. `on_change` is called when keys came, went or changed, and `on_problem` with words for the
    operator when they could not be had.
    """

    def __init__(
        self,
        config: JwtConfig,
        *,
        clock: Callable[[], float],
        fetch: Fetch,
        on_change: Callable[[], None],
        on_problem: Callable[[str], None],
        limit_s: float = LIMIT_S,
    ) -> None:
        self._config = config
        self._clock = clock
        self._fetch = fetch
        self._on_change = on_change
        self._on_problem = on_problem
        self._limit_s = limit_s
        self._keys: tuple[SigningKey, ...] | None = None
        self._jwks: list[dict[str, Any]] = []
        self._asked_at = -math.inf
        self._due_at = -math.inf
        self._look: asyncio.Task[None] | None = None
        self.problem = ""
        """Why the keys could not be had the last time; empty when they could."""

    @property
    def is_due(self) -> bool:
        """Whether it is time to look again."""
        return self._clock() >= self._due_at

    async def known(self) -> tuple[SigningKey, ...]:
        """Returns the keys; waits for the issuer only where none are known, or it was not asked for `refresh_s`.

        Raises `LlmError` STORAGE_UNAVAILABLE where none are known and the issuer has none to give.
        """
        is_old = self._clock() - self._asked_at >= self._config.refresh_s
        if self.is_due:
            self._begin()
        if self._look is not None and (is_old or self._keys is None):
            await asyncio.shield(self._look)
        if self._keys is None:
            raise self._unavailable()
        return self._keys

    async def renewed(self) -> tuple[SigningKey, ...]:
        """Returns the keys after another look, for a key that is not known; the issuer is left alone for 10 s after each.

        Raises `LlmError` STORAGE_UNAVAILABLE where the issuer could not be asked, because the key may be a new one.
        """
        if self._look is None and self._clock() - self._asked_at >= PAUSE_S:
            self._begin()
        if self._look is not None:
            await asyncio.shield(self._look)
        if self._keys is None or self.problem:
            raise self._unavailable()
        return self._keys

    async def close(self) -> None:
        """Ends a look that is under way."""
        look = self._look
        if look is not None:
            look.cancel()
            await asyncio.wait([look])

    def _begin(self) -> None:
        self._due_at = math.inf
        self._look = asyncio.create_task(self._renew())

    async def _renew(self) -> None:
        try:
            async with asyncio.timeout(self._limit_s):
                jwks, keys = await asyncio.to_thread(_load, self._config, self._fetch)
        except JwksError as error:
            self._failed(str(error))
        except TimeoutError:
            self._failed(f"{self._config.issuer} took more than {self._limit_s:g} s for its keys")
        except Exception as error:  # noqa: BLE001 - nobody may be waiting, and the next look has to come
            self._failed(f"the keys of {self._config.issuer} cannot be read ({type(error).__name__})")
        else:
            self._adopt(jwks, keys)
        finally:
            self._look = None

    def _adopt(self, jwks: list[dict[str, Any]], keys: tuple[SigningKey, ...]) -> None:
        self.problem = ""
        self._asked_at = self._clock()
        self._due_at = self._asked_at + self._config.refresh_s * _EARLY
        if jwks != self._jwks:
            self._on_change()
        self._jwks, self._keys = jwks, keys

    def _failed(self, problem: str) -> None:
        self.problem = problem
        self._asked_at = self._clock()
        self._due_at = self._asked_at + (_FIRST_PAUSE_S if self._keys is None else PAUSE_S)
        self._on_problem(problem)

    def _unavailable(self) -> LlmError:
        return storage_unavailable(
            "The keys of the issuer of tokens cannot be had at present, so the token cannot be checked; call again.",
            retry_after=min(PAUSE_S, max(_FIRST_PAUSE_S, self._due_at - self._clock())),
            detail=self.problem,
        )


def fetch(address: str) -> bytes:
    """Returns what is at an address, by requests: within 5 s and 256 KiB, and without being sent to another host.

    Blocks; raises `JwksError`.
    """
    import requests
    from urllib3.exceptions import HTTPError

    ends = time.monotonic() + LIMIT_S
    try:
        with requests.Session() as session:
            session.auth = _show_nothing
            return _follow(session, address, ends)
    except (OSError, HTTPError, ValueError) as error:  # requests' own are OSErrors, as is a missing file of authorities
        raise JwksError(f"{address} cannot be read ({type(error).__name__})") from None


def is_safe(address: str) -> bool:
    """Tells whether what is read at an address comes from whom it names: by TLS, or from this host."""
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
    except ValueError:
        return False
    if not host or parts.username is not None or parts.scheme not in {"http", "https"}:
        return False
    return parts.scheme == "https" or _is_loopback(host)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def _show_nothing(request: Any) -> Any:
    """Keeps requests from showing what ~/.netrc has for the host."""
    return request


def _follow(session: Any, address: str, ends: float) -> bytes:
    at = address
    for _ in range(_MOST_REDIRECTS + 1):
        answer = _ask(session, at, ends)
        if not answer.is_redirect:
            return _read(answer, at, ends)
        to = urljoin(at, answer.headers["location"])
        if urlsplit(to)[:2] != urlsplit(at)[:2]:
            raise JwksError(f"{at} sends to another host, which is not followed; name the address that it is at")
        at = to
    raise JwksError(f"{address} sends from one address to the next")


def _ask(session: Any, address: str, ends: float) -> Any:
    """Sends a request; without compression, so that the limit of bytes is one."""
    left_s = max(ends - time.monotonic(), 0.001)
    headers = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "loom-grpc"}
    return session.get(address, headers=headers, allow_redirects=False, stream=True, timeout=left_s)


def _read(answer: Any, address: str, ends: float) -> bytes:
    if answer.status_code != 200:
        raise JwksError(f"{address} answers with status {answer.status_code}")
    body = bytearray()
    while some := answer.raw.read1(2**16):
        body += some
        if len(body) > _MOST_BYTES:
            raise JwksError(f"{address} has more than {_MOST_BYTES} bytes")
        if time.monotonic() > ends:
            raise JwksError(f"{address} is too slow")
    return bytes(body)


def _load(config: JwtConfig, fetch: Fetch) -> tuple[list[dict[str, Any]], tuple[SigningKey, ...]]:
    """Returns an issuer's keys, as it has them and as they are used; raises `JwksError`."""
    address = config.jwks_url or _discovered(config.issuer, fetch)
    jwks = _object(fetch(address), address).get("keys")
    if not isinstance(jwks, list) or not all(isinstance(jwk, dict) for jwk in jwks):
        raise JwksError(f"{address} has no list of keys")
    return jwks, tuple(_keys(jwks, config.algorithms))


def _discovered(issuer: str, fetch: Fetch) -> str:
    """Returns where an issuer says that its keys are (OpenID Connect Discovery 1.0, section 4)."""
    at = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
    document = _object(fetch(at), at)
    if document.get("issuer") != issuer:
        raise JwksError(f"{at} is of another issuer; set access.jwt.issuer to what it says, to the letter")
    address = document.get("jwks_uri")
    if not isinstance(address, str) or not is_safe(address):
        raise JwksError(f"{at} has no https:// address of keys")
    return address


def _object(body: bytes, address: str) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise JwksError(f"{address} has no JSON object")
    return value


def _keys(jwks: Iterable[dict[str, Any]], algorithms: Iterable[str]) -> Iterable[SigningKey]:
    """Yields the keys that can be used; RFC 7517, section 5, wants the others to be passed over."""
    for jwk in jwks:
        verify = _verifiers(jwk, algorithms) if _is_for_signatures(jwk) else {}
        if verify:
            kid = jwk.get("kid")
            yield SigningKey(kid if isinstance(kid, str) else "", verify)


def _is_for_signatures(jwk: dict[str, Any]) -> bool:
    operations = jwk.get("key_ops", ["verify"])
    return jwk.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations


def _verifiers(jwk: dict[str, Any], algorithms: Iterable[str]) -> dict[str, Callable[[bytes, bytes], bool]]:
    """Returns what verifies signatures of a key, by the algorithms that the key is for."""
    from joserfc.errors import JoseError
    from joserfc.jws import JWSRegistry

    key = _public_key(jwk)
    if key is None:
        return {}
    fitting: dict[str, Callable[[bytes, bytes], bool]] = {}
    for name in algorithms:
        model = JWSRegistry.algorithms[name]
        try:
            model.check_key(key)
        except JoseError:
            continue
        fitting[name] = partial(model.verify, key=key)
    return fitting


def _public_key(jwk: dict[str, Any]) -> Any:
    """Reads a key; None where it is none, or one that should sign nothing."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from joserfc.errors import JoseError
    from joserfc.jwk import JWKRegistry

    names = _MEMBERS.get(kind) if isinstance(kind := jwk.get("kty"), str) else None
    if names is None or (kind == "OKP" and jwk.get("crv") not in {"Ed25519", "Ed448"}):
        return None
    try:
        # Only these: what else a key has is not needed, and a private part should not be here.
        members = {name: jwk[name] for name in ("kty", *names)}
        if kind == "RSA" and _bits(members["n"]) not in _RSA_BITS:
            return None
        return JWKRegistry.import_key({**members, **({"alg": jwk["alg"]} if "alg" in jwk else {})})
    except (JoseError, UnsupportedAlgorithm, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return None


def _bits(number: str) -> int:
    from joserfc.util import urlsafe_b64decode

    return int.from_bytes(urlsafe_b64decode(number.encode())).bit_length()
