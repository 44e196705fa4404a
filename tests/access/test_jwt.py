from __future__ import annotations

import asyncio
import base64
import hmac
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loom_grpc.access.identity import Identity
from loom_grpc.access.jwks import JwksError, fetch, is_safe
from loom_grpc.access.jwt import TokenReader
from loom_grpc.config import ConfigError, JwtConfig
from loom_grpc.core.errors import STORAGE_UNAVAILABLE, UNAUTHENTICATED, LlmError
from loom_grpc.core.principal import Need
from tests.oidc_server import NOW, Key, OidcServer, cut, new_key, oidc_server, text_of
from tests.stand_in import Connection, answer, json_answer, stand_in

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
ALICE = Identity("alice")
RSA = new_key("RS256", "first")
OTHER = new_key("RS256", "second")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Reader:
    """A reader with the server and the clock that it reads by."""

    def __init__(self, server: OidcServer, **config: Any) -> None:
        self.server = server
        self.clock = Clock()
        self.problems: list[str] = []
        limit_s = config.pop("limit_s", 5.0)
        self.config = JwtConfig(**{"issuer": server.issuer, "audience": ["loom", "loom-admin"]} | config)
        self.reader = TokenReader(self.config, self.clock, on_problem=self.problems.append, limit_s=limit_s)

    async def identify(self, token: str, now: float = NOW) -> Identity:
        return await self.reader.identify(token, now)

    async def refusal(self, token: str, now: float = NOW) -> str:
        """Returns the words of a refusal, which show nothing of the token."""
        error = await self.error(token, now)
        assert error.reason == UNAUTHENTICATED, error
        return error.message

    async def error(self, token: str, now: float = NOW) -> LlmError:
        with pytest.raises(LlmError) as caught:
            await self.reader.identify(token, now)
        assert not any(part and len(part) > 8 and part in repr(caught.value) for part in token.split("."))
        return caught.value


@asynccontextmanager
async def reading(*keys: Key, **config: Any) -> AsyncIterator[Reader]:
    async with oidc_server(*(keys or (RSA,))) as server:
        reader = Reader(server, **config)
        yield reader
        server.go_on.set()
        await reader.reader.close()


# What is taken.


@pytest.mark.parametrize("alg", ALGORITHMS)
async def test_each_algorithm_on_the_list_is_taken(alg: str) -> None:
    async with reading(new_key(alg, alg), algorithms=ALGORITHMS) as reader:
        assert await reader.identify(reader.server.token()) == ALICE


async def test_claims_say_who_calls() -> None:
    names: dict[str, Any] = {
        "user_claim": "email",
        "team_claim": "groups",
        "organization_claim": "org.name",
        "role_claim": "realm.roles",
    }
    async with reading(**names, admin_roles=["boss", "admin"]) as reader:
        claims: dict[str, Any] = {"email": "a@example.org", "groups": ["blue", "red"], "org": {"name": "acme"}}
        admin = reader.server.token(**claims, realm={"roles": ["x", "boss"]})
        user = reader.server.token(**claims, realm={"roles": ["bosses", "Admin", 1]})

        assert await reader.identify(admin) == Identity("a@example.org", "blue", "acme", Need.ADMIN)
        assert await reader.identify(user) == Identity("a@example.org", "blue", "acme", Need.USER)


async def test_what_a_token_does_not_say_is_empty() -> None:
    names: dict[str, Any] = {"team_claim": "groups", "organization_claim": "org.name", "role_claim": "role"}
    async with reading(**names) as reader:
        assert await reader.identify(reader.server.token(groups=[], org="acme")) == ALICE


async def test_a_claim_whose_own_name_has_dots_is_found() -> None:
    async with reading(role_claim="https://example.org/role") as reader:
        token = RSA.token(reader.server.claims() | {"https://example.org/role": "admin"})

        assert await reader.identify(token) == Identity("alice", role=Need.ADMIN)


async def test_nobody_is_an_admin_without_a_claim_for_it() -> None:
    async with reading() as reader:
        assert await reader.identify(RSA.token(reader.server.claims() | {"role": "admin", "": "admin"})) == ALICE


@pytest.mark.parametrize("audience", ["loom", ["loom"], ["other", "loom-admin"]])
async def test_the_audience_may_be_text_or_a_list(audience: object) -> None:
    async with reading() as reader:
        assert await reader.identify(reader.server.token(aud=audience)) == ALICE


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "application/at+jwt", None])
async def test_types_of_tokens_for_access_are_taken(kind: str | None) -> None:
    async with reading() as reader:
        assert await reader.identify(RSA.token(reader.server.claims(), typ=kind)) == ALICE


async def test_clocks_may_differ_by_the_leeway_and_no_more() -> None:
    async with reading(leeway_s=30) as reader:
        old = reader.server.token(exp=NOW)
        young = reader.server.token(nbf=NOW + 60, iat=NOW + 50, exp=NOW + 300)

        assert await reader.identify(old, NOW + 29.9) == ALICE
        assert "has expired" in await reader.refusal(old, NOW + 30)
        assert "not valid yet" in await reader.refusal(young, NOW + 29.9)
        assert await reader.identify(young, NOW + 30) == ALICE


async def test_a_token_from_the_future_is_refused() -> None:
    async with reading(leeway_s=0) as reader:
        assert "not valid yet" in await reader.refusal(reader.server.token(iat=NOW + 1))


# What is refused.


async def test_tokens_that_are_not_good_are_refused() -> None:
    async with reading(leeway_s=0) as reader:
        token = reader.server.token
        cases = {
            "expired": token(exp=NOW),
            "no end": token(exp=None),
            "no end, only a null": RSA.token(reader.server.claims(exp=None) | {"exp": None}),
            "an end that is text": token(exp=str(NOW + 300)),
            "an end that is true": token(exp=True),
            "an end beyond all numbers": RSA.token(b'{"exp":1' + b"0" * 400 + b"}"),
            "an end that is none": RSA.token(orjson.dumps(reader.server.claims(exp=7)).replace(b":7", b":NaN")),
            "a beginning that is text": token(nbf="0"),
            "another issuer": token(iss="https://elsewhere.example"),
            "the issuer with a slash": token(iss=f"{reader.server.issuer}/"),
            "issuers in a list": token(iss=[reader.server.issuer]),
            "no issuer": token(iss=None),
            "another audience": token(aud="other"),
            "no audience": token(aud=None),
            "audiences that are no text": token(aud=["loom", 7]),
            "an audience that is an object": token(aud={"loom": "loom"}),
            "a critical header": RSA.token(reader.server.claims(), crit=["exp"], exp=1),
            "a critical header that joserfc knows": RSA.token(reader.server.claims(), crit=["b64"], b64=True),
            "a nested token": RSA.token(reader.server.claims(), cty="JWT"),
            "a token of a logout": RSA.token(reader.server.claims(), typ="logout+jwt"),
            "a kid that is no text": RSA.token(reader.server.claims(), kid=7),
            "an algorithm that is no text": RSA.token(reader.server.claims(), alg=["RS256"]),
            "no algorithm": RSA.token(reader.server.claims(), alg=None),
            "claims that are no object": RSA.token(b'["loom"]'),
            "claims that are no JSON": RSA.token(b"\xff\xfe"),
            "claims that are deep": RSA.token(b"[" * 8000),
            "an encrypted token": ".".join(["e30"] * 5),
            "no token": "",
            "dots": "..",
            "text": "not-a-token",
            "text of other characters": "tök.en.s",
            "a lone surrogate": "\ud800.e30.e30",
            "a line break": token() + "\n",
            "something long": "a" * (16 * 1024 + 1),
            "something long and good": token(padding="x" * 16 * 1024),
        }

        assert {name for name in cases if not await reader.refusal(cases[name])} == set()


@pytest.mark.parametrize(
    "user", ["", " ", " alice", "al\nice", "al\x00ice", "al\u202eice", "x" * 257, 7, None, ["alice"], {"a": 1}, True]
)
async def test_a_user_without_a_proper_name_is_refused(user: object) -> None:
    async with reading(team_claim="team") as reader:
        assert "sub" in await reader.refusal(reader.server.token(sub=user))
        assert user is None or "team" in await reader.refusal(reader.server.token(team=[user]))


async def test_a_token_with_any_character_changed_is_refused() -> None:
    async with reading(new_key("ES256", "ec")) as reader:
        token = reader.server.token()
        await reader.identify(token)
        changed = [
            token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :] for place in range(len(token))
        ]

        for forged in changed:
            assert await reader.refusal(forged)


@pytest.mark.parametrize("alg", ["none", "None", "nOnE", "", "HS256", "HS512", "RS384", "ES256K", "dir"])
async def test_an_algorithm_that_is_not_on_the_list_is_refused(alg: str) -> None:
    async with reading() as reader:
        whole = RSA.token(reader.server.claims(), alg=alg)
        bare = whole.rpartition(".")[0] + "."

        assert "RS256, ES256" in await reader.refusal(whole)
        assert await reader.refusal(bare)


async def test_the_public_key_is_no_shared_secret() -> None:
    async with reading() as reader:
        number = int.from_bytes(base64.urlsafe_b64decode(RSA.jwk["n"] + "=="))
        public = RSAPublicNumbers(65537, number).public_key()
        secrets = [
            public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            public.public_bytes(Encoding.DER, PublicFormat.PKCS1),
            orjson.dumps(RSA.jwk),
        ]
        for secret in secrets:
            forger = Key("first", "HS256", {}, partial(hmac.digest, secret, digest="sha256"))

            assert "RS256, ES256" in await reader.refusal(forger.token(reader.server.claims()))


async def test_keys_that_a_token_brings_along_are_not_used() -> None:
    async with reading() as reader, stand_in(json_answer({"keys": [OTHER.jwk]})) as elsewhere:
        forged = OTHER.token(reader.server.claims(), kid="first", jwk=OTHER.jwk, jku=elsewhere.url, x5u=elsewhere.url)

        assert "not signed with a key of the issuer" in await reader.refusal(forged)
        assert elsewhere.asked == []


async def test_what_a_key_is_for_is_respected() -> None:
    short = new_key("RS256", "short", bits=1024)
    keys = [
        RSA.published(kid="encrypts", use="enc"),
        RSA.published(kid="signs-only", use=None, key_ops=["sign"]),
        RSA.published(kid="other-alg", alg="PS256"),
        RSA.published(kid="odd-alg", alg=7),
        RSA.published(kid="odd-use", use=["sig"]),
        RSA.published(kid="odd-ops", key_ops="verify"),
        RSA.published(kid="secret", kty="oct", k="AAAA", alg=None),
        RSA.published(kid="unknown", kty="ML-DSA"),
        RSA.published(kid="odd", kty=["RSA"]),
        RSA.published(kid="broken", n="***"),
        RSA.published(kid="empty", n=None),
        RSA.published(kid="odd-number", n=7),
        RSA.published(kid="no-point", kty="EC", crv="P-256", x="AAAA", y="AAAA"),
        RSA.published(kid="agrees", kty="OKP", crv="X25519", x=text_of(bytes(32))),
        RSA.published(kid=7),
    ]
    async with reading(*keys, short, RSA) as reader:
        names = [key.jwk["kid"] for key in keys[:-1]]

        assert await reader.identify(reader.server.token(RSA)) == ALICE
        assert await reader.refusal(reader.server.token(short))
        for name in names:
            assert await reader.refusal(RSA.token(reader.server.claims(), kid=name)), name


async def test_a_key_without_an_algorithm_is_for_all_of_its_type() -> None:
    pss = new_key("PS256", "pss").published(alg=None, use=None, x5c=["odd"], d="what should not be here")
    async with reading(pss, algorithms=("RS256", "PS256")) as reader:
        assert await reader.identify(reader.server.token()) == ALICE


async def test_a_token_that_names_no_key_is_tried_with_all() -> None:
    async with reading(OTHER, RSA.published(kid=None)) as reader:
        token = RSA.token(reader.server.claims(), kid=None)

        assert await reader.identify(token) == ALICE


# Where the keys come from.


async def test_keys_are_found_by_discovery_once_for_all_who_ask() -> None:
    async with reading() as reader:
        tokens = [reader.server.token(jti=str(number)) for number in range(20)]

        assert await asyncio.gather(*map(reader.identify, tokens)) == [ALICE] * 20
        assert reader.server.asked == ["openid-configuration", "jwks"]


async def test_keys_are_read_where_the_configuration_says() -> None:
    async with oidc_server(RSA) as server:
        reader = Reader(server, issuer="https://issuer.example/", jwks_url=f"{server.url}/jwks")

        assert await reader.identify(server.token(iss="https://issuer.example/")) == ALICE
        assert server.asked == ["jwks"]


async def test_a_discovery_document_of_another_issuer_is_refused() -> None:
    async with reading() as reader:
        for said in (f"{reader.server.issuer}/", "https://elsewhere.example", None):
            reader.server.discovery = {"issuer": said}
            error = await reader.error(reader.server.token())
            reader.clock.now += 10

            assert (error.reason, "of another issuer" in reader.problems[-1]) == (STORAGE_UNAVAILABLE, True)
        assert reader.server.looks == 0


async def test_keys_are_not_read_in_the_clear_from_another_host() -> None:
    async with reading() as reader:
        reader.server.discovery = {"jwks_uri": "http://keys.example/jwks"}

        assert (await reader.error(reader.server.token())).reason == STORAGE_UNAVAILABLE
        assert "no https:// address" in reader.reader.problem


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ({"issuer": ""}, "access.jwt.issuer: must not be empty"),
        ({"issuer": "http://issuer.example"}, "access.jwt.issuer: must begin with https://"),
        ({"issuer": "https://a.example", "jwks_url": "http://b.example"}, "access.jwt.jwks_url: must begin with"),
    ],
)
def test_an_issuer_that_is_read_in_the_clear_is_refused_at_start(place: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        TokenReader(JwtConfig(audience=["loom"], **place))


@pytest.mark.parametrize(
    ("address", "safe"),
    [
        ("https://issuer.example", True),
        ("http://127.0.0.1:8080/x", True),
        ("http://[::1]/x", True),
        ("http://localhost/x", True),
        ("http://localhost.example", False),
        ("http://127.0.0.1.example", False),
        ("http://10.0.0.1", False),
        ("https://user@issuer.example", False),
        ("file:///etc/passwd", False),
        ("https://", False),
        ("https://[::1", False),
    ],
)
def test_addresses_are_safe_by_tls_or_on_this_host(address: str, safe: bool) -> None:
    assert is_safe(address) is safe


async def test_two_issuers_never_mix() -> None:
    mine, theirs = new_key("ES256", "same"), new_key("ES256", "same", bits=1)
    async with reading(mine) as one, reading(theirs) as other:
        token, foreign = one.server.token(), other.server.token()

        assert (await one.identify(token), await other.identify(foreign)) == (ALICE, ALICE)
        assert await one.refusal(foreign)
        assert await other.refusal(token)
        assert "not signed with a key" in await one.refusal(theirs.token(one.server.claims()))


# Keys that change.


async def test_a_new_key_is_taken_at_once_and_the_old_one_while_it_is_there() -> None:
    async with reading() as reader:
        before = reader.server.token()
        await reader.identify(before)
        reader.clock.now += 10
        reader.server.keys.append(OTHER)

        assert await reader.identify(reader.server.token(OTHER)) == ALICE
        assert await reader.identify(before) == ALICE
        assert await reader.identify(reader.server.token(jti="another")) == ALICE
        assert reader.server.looks == 2


async def test_an_unknown_key_is_looked_for_once_in_ten_seconds_by_all_together() -> None:
    async with reading() as reader:
        await reader.identify(reader.server.token())
        for wave in (1, 2, 3):
            reader.clock.now += 10
            forged = [OTHER.token(reader.server.claims(), kid=f"{wave}-{number}") for number in range(20)]
            await asyncio.gather(*map(reader.refusal, forged))
            await asyncio.gather(*map(reader.refusal, forged))
            reader.clock.now -= 0.1

            assert reader.server.looks == 1 + wave
            reader.clock.now += 0.1


async def test_a_wrong_signature_with_a_known_key_asks_nobody() -> None:
    async with reading() as reader:
        await reader.identify(reader.server.token())
        reader.clock.now += 10

        await reader.refusal(OTHER.token(reader.server.claims(), kid="first"))
        assert reader.server.looks == 1


async def test_what_cannot_be_good_asks_nobody() -> None:
    async with reading() as reader:
        await reader.refusal("no token")
        await reader.refusal(reader.server.token(iss="https://elsewhere.example"))
        await reader.refusal(reader.server.token(aud="other"))
        await reader.refusal(reader.server.token(exp=NOW - 1000))

        assert reader.server.asked == []


async def test_a_removed_key_ends_its_tokens_within_the_refresh() -> None:
    async with reading(RSA, OTHER, refresh_s=100) as reader:
        token = reader.server.token()
        await reader.identify(token)
        reader.server.keys = [OTHER]

        reader.clock.now += 89
        assert await reader.identify(token) == ALICE
        reader.clock.now += 11
        assert "not signed with a key" in await reader.refusal(token)


async def test_keys_are_fetched_again_while_callers_go_on() -> None:
    async with reading(refresh_s=100) as reader:
        token = reader.server.token()
        await reader.identify(token)
        reader.server.go_on.clear()
        reader.server.arrived.clear()

        reader.clock.now += 90
        assert [await reader.identify(token) for _ in range(3)] == [ALICE] * 3
        await asyncio.wait_for(reader.server.arrived.wait(), 5)
        assert reader.server.asked == ["openid-configuration", "jwks", "openid-configuration"]


async def test_an_issuer_without_keys_any_more_has_taken_them_back() -> None:
    async with reading(refresh_s=100) as reader:
        token = reader.server.token()
        await reader.identify(token)
        reader.server.keys = []
        reader.clock.now += 100

        assert "not signed with a key" in await reader.refusal(token)


# An issuer that is away.

BROKEN = {
    "cut": cut,
    "error": answer("oops", status=500),
    "not found": answer("{}", status=404),
    "a page": answer("<html>", content_type="text/html"),
    "a list": json_answer([]),
    "keys that are no list": json_answer({"keys": {"a": 1}}),
    "keys that are no objects": json_answer({"keys": [1]}),
    "deep": answer("[" * 100_000),
    "bytes": answer(bytes(range(256))),
    "endless": answer(b" " * (256 * 1024 + 1)),
    "elsewhere": answer("", status=302, location="https://elsewhere.example/jwks"),
    "nowhere": answer("", status=302, location="http://[/"),
    "in circles": answer("", status=302, location="jwks"),
}


@pytest.mark.parametrize("how", BROKEN)
async def test_a_token_is_never_refused_because_the_issuer_is_broken(how: str) -> None:
    async with reading() as reader:
        reader.server.break_down(BROKEN[how])

        error = await reader.error(reader.server.token())

        assert (error.reason, error.retry_after) == (STORAGE_UNAVAILABLE, 1.0)
        assert reader.problems == [error.detail]


@pytest.mark.parametrize("how", BROKEN)
async def test_keys_that_are_known_are_kept_while_only_the_keys_are_broken(how: str) -> None:
    async with reading(refresh_s=100) as reader:
        await reader.identify(reader.server.token())
        reader.server.scripts = {"jwks": BROKEN[how]}

        reader.clock.now += 1000
        assert await reader.identify(reader.server.token(jti="later")) == ALICE
        assert len(reader.problems) == 1


async def test_an_issuer_that_is_back_is_asked_again_after_a_second() -> None:
    async with reading() as reader:
        reader.server.break_down(cut)
        await reader.error(reader.server.token())
        reader.server.recover()

        reader.clock.now += 0.9
        assert (await reader.error(reader.server.token())).reason == STORAGE_UNAVAILABLE
        reader.clock.now += 0.1
        assert await reader.identify(reader.server.token()) == ALICE
        assert reader.reader.problem == ""


async def test_a_new_key_of_an_issuer_that_is_away_is_not_called_wrong() -> None:
    async with reading() as reader:
        await reader.identify(reader.server.token())
        reader.server.keys.append(OTHER)
        reader.server.break_down(cut)
        reader.clock.now += 60

        errors = [await reader.error(reader.server.token(OTHER)) for _ in range(3)]
        assert [(error.reason, error.retry_after) for error in errors] == [(STORAGE_UNAVAILABLE, 10.0)] * 3
        assert len(reader.problems) == 1
        assert await reader.identify(reader.server.token(jti="known key")) == ALICE

        reader.server.recover()
        reader.clock.now += 10
        assert await reader.identify(reader.server.token(OTHER)) == ALICE


async def test_a_slow_issuer_holds_up_a_first_caller_for_the_limit_only() -> None:
    async with reading(limit_s=0.05) as reader:
        reader.server.go_on.clear()

        error = await reader.error(reader.server.token())

        assert (error.reason, "took more than 0.05 s" in reader.reader.problem) == (STORAGE_UNAVAILABLE, True)
        reader.server.recover()


async def test_a_caller_that_leaves_does_not_end_the_look_for_others() -> None:
    async with reading() as reader:
        reader.server.go_on.clear()
        first = asyncio.ensure_future(reader.identify(reader.server.token()))
        second = asyncio.ensure_future(reader.identify(reader.server.token(jti="2")))
        await asyncio.wait_for(reader.server.arrived.wait(), 5)
        first.cancel()
        reader.server.go_on.set()

        assert await second == ALICE
        assert reader.server.looks == 1


async def test_the_keys_are_looked_for_again_after_a_failure_that_nobody_thought_of() -> None:
    asked = []

    def odd(address: str) -> bytes:
        asked.append(address)
        raise KeyError(address)

    clock = Clock()
    reader = TokenReader(JwtConfig(issuer="https://issuer.example", audience=["loom"]), clock, fetch=odd)
    token = RSA.token({"iss": "https://issuer.example", "aud": "loom", "sub": "alice", "exp": NOW + 300})
    for _ in range(2):
        with pytest.raises(LlmError) as caught:
            await reader.identify(token, NOW)
        clock.now += 1
        assert caught.value.reason == STORAGE_UNAVAILABLE
    assert asked == ["https://issuer.example/.well-known/openid-configuration"] * 2


# Fetching.


async def test_a_redirect_on_the_same_host_is_followed() -> None:
    async with reading() as reader:
        reader.server.scripts = {"moved": json_answer({"keys": [RSA.jwk]})}
        reader.server.scripts["jwks"] = answer("", status=307, location="/other/moved")

        assert await reader.identify(reader.server.token()) == ALICE
        assert reader.server.asked == ["openid-configuration", "jwks", "moved"]


async def test_nothing_is_shown_to_the_issuer(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("default login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with stand_in(json_answer({})) as server:
        await asyncio.to_thread(fetch, server.url)

        assert server.asked[0].headers.keys() == {"host", "accept", "accept-encoding", "user-agent", "connection"}


async def test_an_issuer_that_trickles_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loom_grpc.access.jwks.LIMIT_S", 0.1)

    async def trickle(connection: Connection) -> None:
        await connection.head()
        while not connection.closed.is_set():
            await connection.send(b" ")
            await asyncio.sleep(0.01)

    async with stand_in(trickle) as server:
        with pytest.raises(JwksError, match="too slow"):
            await asyncio.to_thread(fetch, server.url)


async def test_an_issuer_that_is_not_there_cannot_be_read() -> None:
    async with stand_in(cut) as server:
        address = server.url
    with pytest.raises(JwksError, match="cannot be read"):
        await asyncio.to_thread(fetch, address)


# Remembered tokens.


async def test_a_remembered_token_ends_when_it_expires() -> None:
    async with reading(leeway_s=0) as reader:
        token = reader.server.token(exp=NOW + 100)

        assert await reader.identify(token) == ALICE
        assert await reader.identify(token, NOW + 99) == ALICE
        assert "has expired" in await reader.refusal(token, NOW + 100)


async def test_a_remembered_token_ends_with_a_change_of_the_keys() -> None:
    async with reading() as reader:
        token = reader.server.token(exp=NOW + 3600)
        await reader.identify(token)
        reader.server.keys = [OTHER]
        reader.clock.now += 10
        await reader.refusal(OTHER.token(reader.server.claims(), kid="unknown"))

        assert "not signed with a key" in await reader.refusal(token)


async def test_a_token_that_is_remembered_no_more_is_verified_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loom_grpc.access.jwt._MOST_REMEMBERED", 3)
    async with reading(new_key("ES256", "ec")) as reader:
        tokens = [reader.server.token(sub=f"user-{number}") for number in range(10)] * 2

        assert [(await reader.identify(token)).user for token in tokens] == [f"user-{n}" for n in range(10)] * 2


async def test_no_token_is_in_the_log_or_what_is_remembered(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with reading() as reader:
        token = reader.server.token()
        await reader.identify(token)
        await reader.refusal(token[:-4] + "AAAA")

        assert token not in repr(vars(reader.reader))
        assert not any(part in caplog.text for part in token.split("."))


# Whatever comes.

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "x5c", "jwk"]), _JSON),
    st.dictionaries(st.sampled_from(["iss", "aud", "sub", "exp", "nbf", "iat", "groups", "realm"]), _JSON),
)
def test_whatever_a_token_says_it_is_taken_or_refused(header: dict[str, Any], claims: dict[str, Any]) -> None:
    async def try_it() -> None:
        async with reading(new_key("ES256", "ec"), team_claim="groups", role_claim="realm.roles") as reader:
            token = reader.server.keys[0].token(as_json(reader.server.claims() | claims), **header)
            try:
                outcome: object = type(await reader.identify(token))
            except LlmError as error:
                outcome = error.reason
            assert outcome in {Identity, UNAUTHENTICATED}

    asyncio.run(try_it())


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.dictionaries(st.sampled_from(["kty", "kid", "use", "alg", "key_ops", "n", "e", "crv", "x", "y"]), _JSON)
    )
)
def test_whatever_keys_there_are_the_good_one_is_found(jwks: list[dict[str, Any]]) -> None:
    ec = new_key("ES256", "ec")
    document = as_json(
        {
            "keys": [
                *(ec.jwk | jwk | {"kid": "odd"} for jwk in jwks),
                *(RSA.jwk | jwk | {"kid": "odd"} for jwk in jwks),
                ec.jwk,
            ]
        }
    )

    async def try_it() -> None:
        config = JwtConfig(issuer="https://issuer.example", audience=["loom"], jwks_url="https://issuer.example/jwks")
        reader = TokenReader(config, fetch=lambda _: document)
        token = ec.token({"iss": "https://issuer.example", "aud": "loom", "sub": "alice", "exp": NOW + 300})
        assert await reader.identify(token, NOW) == ALICE

    asyncio.run(try_it())


def as_json(value: object) -> bytes:
    """Writes JSON as lax as the standard library reads it, with NaN and lone surrogates."""
    return json.dumps(value).encode()
