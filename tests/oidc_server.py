"""A stand-in OpenID Connect issuer on a real socket: discovery, keys that change, tokens of every kind, and failures on command."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.stand_in import Connection, Script, json_answer, stand_in

NOW = 1_800_000_000.0
"""When the tokens are issued, in seconds since 1970."""
PATH = "/realms/test"

_HASHES: dict[str, hashes.HashAlgorithm] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_CURVES: dict[str, tuple[ec.EllipticCurve, str]] = {
    "ES256": (ec.SECP256R1(), "P-256"),
    "ES384": (ec.SECP384R1(), "P-384"),
    "ES512": (ec.SECP521R1(), "P-521"),
}


@dataclass(frozen=True)
class Key:
    """A key pair of an issuer. It signs with nothing but `cryptography`, which the tests have in common with the code."""

    kid: str
    alg: str
    jwk: dict[str, Any]
    """The public key, as it is published."""
    signature: Callable[[bytes], bytes]

    def token(self, claims: dict[str, Any] | bytes, **header: Any) -> str:
        """Signs claims; `header` adds to the usual header, and None takes out of it."""
        whole = {"alg": self.alg, "kid": self.kid, "typ": "JWT"} | header
        head = json.dumps({name: value for name, value in whole.items() if value is not None}).encode()
        body = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
        signed = f"{text_of(head)}.{text_of(body)}"
        return f"{signed}.{text_of(self.signature(signed.encode()))}"

    def published(self, **members: Any) -> Key:
        """Changes what is published of the key; None takes a member out."""
        changed = self.jwk | members
        return replace(self, jwk={name: value for name, value in changed.items() if value is not None})


@cache
def new_key(alg: str, kid: str, bits: int = 2048) -> Key:
    """Makes a key pair, the same one each time for a name."""
    if alg == "EdDSA":
        ed = ed25519.Ed25519PrivateKey.generate()
        x = text_of(ed.public_key().public_bytes_raw())
        return Key(kid, alg, {"kid": kid, "use": "sig", "kty": "OKP", "crv": "Ed25519", "x": x}, ed.sign)
    if alg.startswith("ES"):
        return _ec_key(alg, kid)
    return _rsa_key(alg, kid, bits)


def _ec_key(alg: str, kid: str) -> Key:
    curve, name = _CURVES[alg]
    private = ec.generate_private_key(curve)
    size = (curve.key_size + 7) // 8
    public = private.public_key().public_numbers()

    def sign(text: bytes) -> bytes:
        r, s = decode_dss_signature(private.sign(text, ec.ECDSA(_HASHES[alg[2:]])))
        return r.to_bytes(size) + s.to_bytes(size)

    point = {"x": text_of(public.x.to_bytes(size)), "y": text_of(public.y.to_bytes(size))}
    return Key(kid, alg, {"kid": kid, "use": "sig", "alg": alg, "kty": "EC", "crv": name, **point}, sign)


def _rsa_key(alg: str, kid: str, bits: int) -> Key:
    private = rsa.generate_private_key(65537, bits)
    public = private.public_key().public_numbers()
    digest = _HASHES[alg[2:]]
    pss = padding.PSS(padding.MGF1(digest), digest.digest_size)

    def sign(text: bytes) -> bytes:
        return private.sign(text, pss if alg.startswith("PS") else padding.PKCS1v15(), digest)

    numbers = {"n": text_of(public.n.to_bytes(bits // 8)), "e": text_of(public.e.to_bytes(3))}
    return Key(kid, alg, {"kid": kid, "use": "sig", "alg": alg, "kty": "RSA", **numbers}, sign)


class OidcServer:
    """One issuer. A test changes the fields below to make it behave otherwise."""

    def __init__(self, *keys: Key) -> None:
        self.url = ""
        self.keys = list(keys)
        """What is published."""
        self.discovery: dict[str, Any] = {}
        """Changes the discovery document."""
        self.scripts: dict[str, Script] = {}
        """Answers instead of the server, by the end of the path: `openid-configuration` or `jwks`."""
        self.go_on = asyncio.Event()
        """Requests are answered once this is set; a test clears it to let them hang."""
        self.go_on.set()
        self.arrived = asyncio.Event()
        """Set when a request has come; a test may clear it."""
        self.asked: list[str] = []
        """The end of the path of every request."""

    @property
    def issuer(self) -> str:
        """What the issuer calls itself."""
        return self.url + PATH

    @property
    def looks(self) -> int:
        """How often the keys were asked for."""
        return self.asked.count("jwks")

    def claims(self, **claims: Any) -> dict[str, Any]:
        """Returns the claims of a good token, changed; None takes one out."""
        whole = {"iss": self.issuer, "aud": "loom", "sub": "alice", "iat": NOW, "exp": NOW + 300} | claims
        return {name: value for name, value in whole.items() if value is not None}

    def token(self, key: Key | None = None, **claims: Any) -> str:
        """Issues a token, good but for what is changed."""
        return (key or self.keys[0]).token(self.claims(**claims))

    def break_down(self, script: Script) -> None:
        """Answers everything with a script until `recover`."""
        self.scripts = {"openid-configuration": script, "jwks": script}

    def recover(self) -> None:
        """Answers as an issuer does again."""
        self.scripts = {}
        self.go_on.set()

    async def answer(self, connection: Connection) -> None:
        """Answers one request."""
        what = connection.asked.path.rpartition("/")[2]
        self.asked.append(what)
        self.arrived.set()
        await self.go_on.wait()
        await self.scripts.get(what, self._document(what))(connection)

    def _document(self, what: str) -> Script:
        if what == "openid-configuration":
            return json_answer({"issuer": self.issuer, "jwks_uri": f"{self.url}/jwks"} | self.discovery)
        return json_answer({"keys": [key.jwk for key in self.keys]})


@asynccontextmanager
async def oidc_server(*keys: Key) -> AsyncIterator[OidcServer]:
    """Runs an issuer on a free port of the loopback address."""
    server = OidcServer(*keys)
    async with stand_in(server.answer) as socket:
        server.url = socket.url
        yield server
        server.go_on.set()


async def cut(connection: Connection) -> None:
    """Breaks the connection off instead of answering."""
    connection.cut()


def text_of(data: bytes) -> str:
    """Writes bytes as the parts of a token have them (RFC 7515, appendix C)."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
