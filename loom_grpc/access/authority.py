"""Decides who may call what, for every edge alike: by the method table and a book in memory, never by a header or a database."""

from __future__ import annotations

import hmac
import ipaddress
import math
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final, Literal, Protocol

from loom_grpc.access.book import Address, Book, Known, Network
from loom_grpc.access.identity import EXPIRED, Identity
from loom_grpc.access.key import digest, is_well_formed
from loom_grpc.access.latest import Latest
from loom_grpc.access.method import needs
from loom_grpc.config.access import AccessConfig
from loom_grpc.core.errors import PERMISSION_DENIED, RATE_LIMITED, UNAUTHENTICATED, LlmError, storage_unavailable
from loom_grpc.core.fingerprint import tenant_of
from loom_grpc.core.principal import ANYBODY, Need, Principal, Shown, bearer, stranger, who
from loom_grpc.core.quota import MeterError

ADMINISTRATOR: Final = Principal(
    method="admin_key", need=Need.ADMIN, tenant=tenant_of([("admin_key", "admin.api_key")])
)
"""Whoever shows the admin key."""

_PLAIN: Final = frozenset({"x-api-key", "x-goog-api-key", "key"})
"""What holds a credential and nothing else, beside the header authorization."""
_MAX_PROXIES: Final = 32
"""How many addresses of `x-forwarded-for` are looked at, from its end."""
_ADMIN_OFF: Final = "Administration is off: the server has no admin key. Set admin.api_key, or LOOM_ADMIN_KEY."
_ADMIN_KEY: Final = "Administration needs the server's admin key, in the header authorization."


class Throttle(Protocol):
    """Counts failures of addresses; times are seconds since 1970."""

    def blocked_s(self, address: str, now: float) -> float:
        """Returns for how many seconds an address is refused; 0 when it is not."""

    def failed(self, address: str, now: float) -> None:
        """Counts a failure; raises `MeterError` where that cannot be done."""


class TokenReader(Protocol):
    """Tells whose a token is."""

    async def identify(self, token: str, now: float) -> Identity:
        """Returns whose it is; raises `LlmError`: UNAUTHENTICATED, and STORAGE_UNAVAILABLE where that cannot be found out."""


class CertificateReader(Protocol):
    """Tells whose a verified certificate is."""

    def identify(self, pem: str) -> Identity:
        """Returns whose it is; raises `LlmError` (UNAUTHENTICATED)."""


class Authority:
    """Lets callers in. Another configuration takes another authority; another snapshot is adopted.

    `admin_key` reveals the admin key as it is at present. `clock` gives seconds since 1970.
    `tokens` and `certificates` are there where the configuration takes such callers.
    """

    def __init__(
        self,
        config: AccessConfig,
        book: Book,
        *,
        admin_key: Callable[[], str] | None,
        throttle: Throttle,
        clock: Callable[[], float],
        latest: Latest,
        tokens: TokenReader | None = None,
        certificates: CertificateReader | None = None,
    ) -> None:
        self._is_on = config.is_on
        self._needs = needs(config)
        self._proxies = tuple(ipaddress.ip_network(network) for network in config.trusted_proxies)
        self._book = book
        self._admin_key = admin_key
        self._throttle = throttle
        self._clock = clock
        self._latest = latest
        self._tokens = tokens
        self._certificates = certificates
        self._wanted = _wanted(self._is_on, tokens, certificates)

    @property
    def book(self) -> Book:
        """What is known of callers."""
        return self._book

    def adopt(self, book: Book) -> None:
        """Decides by another book from now on."""
        self._book = book

    def address_of(self, shown: Shown) -> str:
        """Returns where a call comes from: the peer, or what the trusted proxies before us say; empty where it is not known.

        Of what they say the last address counts that is no trusted proxy: all before it is only what the caller says.
        """
        peer = _normal(shown.peer)
        if not self._proxies or not shown.forwarded or not self._is_proxy(peer):
            return peer
        return self._forwarded(shown.forwarded) or peer

    async def admit(self, method: str, shown: Shown) -> Principal:
        """Lets a caller call a method, by the name or the path that the method table has; raises `LlmError`.

        UNAUTHENTICATED, PERMISSION_DENIED, RATE_LIMITED with `retry_after` for addresses that showed wrong credentials too often, and
        STORAGE_UNAVAILABLE where it cannot be found out at present who calls.
        """
        need = self._needs.get(method)
        if need is None:
            raise LlmError(PERMISSION_DENIED, "This method is open to nobody.")
        if need is Need.NOTHING:
            return ANYBODY
        if need is Need.USER and not self._is_on:
            return self._anybody(shown)
        if need is Need.ADMIN and not self._may_be_administered():
            raise LlmError(PERMISSION_DENIED, _ADMIN_OFF)
        principal = await self._identified(_without_query(shown) if need is Need.ADMIN else shown)
        if principal.need < need:
            message = "This needs the admin key, or a caller whose role is admin."
            raise LlmError(PERMISSION_DENIED, message, detail=f"tried by {who(principal)}")
        return principal

    def _may_be_administered(self) -> bool:
        return bool(self._is_on or self._key() or self._tokens or self._certificates or self._book.knows_admins)

    def _anybody(self, shown: Shown) -> Principal:
        """Lets everybody in, and recognises who shows a key that is known."""
        if not shown.credentials and not shown.certificates:
            return ANYBODY
        keys = [text for text in _texts(shown) if is_well_formed(text)]
        if len(keys) == 1:
            known = self._book.find(digest(keys[0]))
            if known is not None:
                return self._entitled(known, self.address_of(shown))
        return stranger(shown)

    async def _identified(self, shown: Shown) -> Principal:
        address = self.address_of(shown)
        blocked_s = self._throttle.blocked_s(address, self._clock()) if address else 0.0
        if blocked_s > 0:
            message = f"Too many wrong credentials came from this address; call again in {math.ceil(blocked_s)} s."
            raise LlmError(RATE_LIMITED, message, retry_after=blocked_s)
        texts = _texts(shown)
        if len(texts) > 1:
            raise LlmError(UNAUTHENTICATED, "The credentials are ambiguous: the request has different ones; send one.")
        if texts:
            return await self._by_text(texts.pop(), address)
        if self._certificates is not None and shown.certificates:
            return self._person(self._certificates.identify(shown.certificates[0]), "certificate")
        raise LlmError(UNAUTHENTICATED, self._wanted)

    async def _by_text(self, text: str, address: str) -> Principal:
        sha256 = digest(text)
        known = self._book.find(sha256)
        if known is not None:
            return self._entitled(known, address)
        if self._is_admin_key(sha256):
            return ADMINISTRATOR
        if is_well_formed(text):
            return await self._by_new_key(sha256, address)
        if self._tokens is not None and "." in text:
            return await self._by_token(self._tokens, text, address)
        raise self._wrong(address)

    async def _by_new_key(self, sha256: bytes, address: str) -> Principal:
        """Takes a key that another process may have made a moment ago."""
        known = await self._newer(sha256)
        if known is not None:
            return self._entitled(known, address)
        if self._latest.is_stale:
            message = "Whether this key is valid cannot be found out at present; call again."
            raise storage_unavailable(message, retry_after=1.0)
        raise self._wrong(address)

    async def _by_token(self, tokens: TokenReader, token: str, address: str) -> Principal:
        try:
            identity = await tokens.identify(token, self._clock())
        except LlmError as error:
            # Whoever holds a token that has ended guesses nothing.
            if error.reason == UNAUTHENTICATED and error.metadata.get("cause") != EXPIRED:
                error.detail = error.detail or self._failed(address)
            raise
        return self._person(identity, "jwt")

    def _entitled(self, known: Known, address: str) -> Principal:
        """Returns whom a key stands for, if it may be used from where it is used."""
        if known.is_revoked:
            raise LlmError(
                UNAUTHENTICATED, "This key was revoked; ask an administrator of this server for another one."
            )
        if self._clock() >= known.expire_s:
            message = "This key has expired; ask an administrator of this server for another one."
            raise LlmError(UNAUTHENTICATED, message, cause=EXPIRED)
        if known.refusal:
            raise LlmError(PERMISSION_DENIED, known.refusal)
        if known.networks is not None and not _is_in(known.networks, address):
            raise LlmError(PERMISSION_DENIED, "This key may not be used from this address.")
        return known.principal

    def _person(self, identity: Identity, method: Literal["jwt", "certificate"]) -> Principal:
        return self._book.person(identity.user, identity.team, identity.organization, identity.role, method)

    def _key(self) -> str:
        return self._admin_key() if self._admin_key is not None else ""

    def _is_admin_key(self, sha256: bytes) -> bool:
        key = self._key()
        return bool(key) and hmac.compare_digest(digest(key), sha256)

    async def _newer(self, sha256: bytes) -> Known | None:
        await self._latest.look()
        return self._book.find(sha256)

    def _wrong(self, address: str) -> LlmError:
        return LlmError(UNAUTHENTICATED, self._wanted, detail=self._failed(address))

    def _failed(self, address: str) -> str:
        """Counts a failure, and returns for the log why it could not: who is refused anyway is refused for what was wrong."""
        if address:  # callers whose address nobody knows would block each other
            try:
                self._throttle.failed(address, self._clock())
            except MeterError as error:
                return f"not counted against the address: {error}"
        return ""

    def _is_proxy(self, address: str) -> bool:
        return _is_in(self._proxies, address)

    def _forwarded(self, text: str) -> str:
        """Returns the last address that is no trusted proxy; empty where there is none, or something else comes first."""
        for piece in reversed(text.rsplit(",", _MAX_PROXIES)):
            address = _normal(_without_port(piece.strip()))
            if not address or not self._is_proxy(address):
                return address
        return ""


def _wanted(is_on: bool, tokens: TokenReader | None, certificates: CertificateReader | None) -> str:
    """Returns what a caller is told who shows nothing, or nothing that is known."""
    if not is_on:
        return _ADMIN_KEY
    kinds = ["a key (lk_... or lt_...)"]
    if tokens is not None:
        kinds.append("a token of the server's issuer")
    text = f"Credentials are missing or wrong: this server takes {' or '.join(kinds)} in the header authorization, as Bearer"
    return f"{text}, or a client certificate." if certificates is not None else f"{text}."


def _without_query(shown: Shown) -> Shown:
    """Leaves the query parameter out, which ends up in logs and histories: nobody administers with that."""
    return shown._replace(credentials=tuple(pair for pair in shown.credentials if pair[0] != "key"))


def _texts(shown: Shown) -> set[str]:
    """Returns the credentials that a caller shows, without what stands around them."""
    texts: set[str] = set()
    for name, value in shown.credentials:
        if name == "authorization":
            texts.add(bearer(value))
        elif name in _PLAIN:
            texts.add(value.strip())
    return texts - {""}


def _without_port(text: str) -> str:
    """Takes the port away that some proxies write behind the address."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


@lru_cache(4096)
def _address(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    # A socket for IPv6 tells of callers by IPv4 so, and they are to be the same everywhere.
    return getattr(address, "ipv4_mapped", None) or address


@lru_cache(4096)
def _normal(text: str) -> str:
    """Writes an address in the one way in which it is counted; empty for what is none."""
    address = _address(text)
    return str(address) if address is not None else ""


def _is_in(networks: Iterable[Network], text: str) -> bool:
    address = _address(text)
    return address is not None and any(address in network for network in networks)
