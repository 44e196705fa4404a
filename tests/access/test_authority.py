"""Who is let in, to what, and what everybody else is told."""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from loom_grpc.access.authority import ADMINISTRATOR, Authority, TokenReader
from loom_grpc.access.book import Book
from loom_grpc.access.certificate import CertificateReader
from loom_grpc.access.identity import EXPIRED
from loom_grpc.access.jwt import TokenReader as JwtReader
from loom_grpc.access.key import digest, is_well_formed, new_key
from loom_grpc.access.latest import Latest
from loom_grpc.access.method import METHODS
from loom_grpc.config import AccessConfig, CertificateConfig, JwtConfig, LimitsConfig
from loom_grpc.core.account import StoreError
from loom_grpc.core.errors import PERMISSION_DENIED, RATE_LIMITED, STORAGE_UNAVAILABLE, UNAUTHENTICATED, LlmError
from loom_grpc.core.fingerprint import tenant_of
from loom_grpc.core.principal import ANYBODY, Need, Principal, Shown
from loom_grpc.quota.throttle import Throttle
from loom_grpc.v1 import access_pb2 as pb
from tests.loop import nothing_left, settle
from tests.oidc_server import NOW, oidc_server
from tests.oidc_server import new_key as new_signing_key

COMPLETE = "/loom_grpc.v1.LlmService/Complete"
CHAT = "/v1/chat/completions"
LIST_KEYS = "/loom_grpc.v1.AdminService/ListKeys"
ACCOUNTS = "/api/admin/{provider}/accounts"
LIVEZ = "/livez"
KEY, OTHER, ADMIN_KEY = new_key("lt"), new_key("lk"), "la_BXq7cVn2Lr9TzKp4Wm6Yd1"
PEER = "192.0.2.1"
WRONG = "Credentials are missing or wrong: this server takes a key (lk_... or lt_...) in the header authorization, as Bearer."


def bearer(text: str, peer: str = PEER) -> Shown:
    return Shown((("authorization", f"Bearer {text}"),), peer=peer)


def changed(key: str) -> str:
    """Returns a key with one character changed."""
    return key[:10] + ("0" if key[10] != "0" else "1") + key[11:]


def snapshot(**keys: pb.ApiKey) -> pb.AccessSnapshot:
    """Makes a snapshot of a user, an admin, and keys: `KEY` is `key`, `OTHER` is `other`."""
    made = pb.AccessSnapshot()
    made.users.extend([pb.User(id="alice"), pb.User(id="root", role=pb.ACCESS_ROLE_ADMIN)])
    for name, key in keys.items():
        made.keys.add(sha256=digest({"key": KEY, "other": OTHER}[name]), key=key)
    return made


def book(**keys: pb.ApiKey) -> Book:
    return Book(snapshot(**keys), LimitsConfig(), [])


def alices(**fields: Any) -> pb.ApiKey:
    return pb.ApiKey(**({"id": "k1", "user": "alice"} | fields))


class Door:
    """An authority, with the clock, the throttle and the directory that it goes by."""

    def __init__(
        self,
        config: AccessConfig | None = None,
        held: Book | None = None,
        admin_key: Callable[[], str] | None = None,
        throttle: Throttle | None = None,
        **readers: Any,
    ) -> None:
        self.now = NOW
        self.stale = False
        self.looks = 0
        self.later: Book | None = None
        self.wait = asyncio.Event()
        self.wait.set()
        self.failure: Exception | None = None
        self.latest = Latest(self._refresh, lambda: self.stale)
        self.authority = Authority(
            config or AccessConfig(enabled=True),
            held or book(key=alices()),
            admin_key=admin_key,
            throttle=throttle or Throttle(None, 5, 900, 30, 3600),
            clock=lambda: self.now,
            latest=self.latest,
            **readers,
        )

    async def _refresh(self) -> None:
        self.looks += 1
        found, failure = self.later, self.failure
        await self.wait.wait()
        if failure is not None:
            raise failure
        if found is not None:
            self.authority.adopt(found)

    async def admit(self, shown: Shown, method: str = COMPLETE) -> Principal:
        return await self.authority.admit(method, shown)

    async def refusal(self, shown: Shown, method: str = COMPLETE) -> LlmError:
        """Returns the error, in which nothing is that was shown."""
        with pytest.raises(LlmError) as caught:
            await self.admit(shown, method)
        error = caught.value
        told = f"{error!r} {error} {error.message} {error.detail} {error.metadata}"
        texts = [value.removeprefix("Bearer ") for _, value in shown.credentials]
        assert not [text for text in texts if len(text) > 12 and text in told]
        return error


def words(error: LlmError) -> tuple[str, str]:
    return error.name, error.message


async def test_a_known_key_is_let_in_by_every_way_of_showing_it() -> None:
    door = Door()
    ways = [("authorization", f"Bearer {KEY}"), ("authorization", f"bearer  {KEY} "), ("x-api-key", KEY)]
    ways += [("x-goog-api-key", KEY), ("key", KEY)]

    admitted = [await door.admit(Shown((way,), peer=PEER), CHAT) for way in ways]

    assert {(who.method, who.key_id, who.user, who.need) for who in admitted} == {("key", "k1", "alice", Need.USER)}


async def test_the_same_key_twice_is_one_and_what_is_for_others_does_not_count() -> None:
    shown = (("authorization", f"Bearer {KEY}"), ("x-api-key", KEY), ("loom-tenant", "t"))
    proxied = (("authorization", "Basic Zm9v"), ("x-api-key", KEY))

    assert (await Door().admit(Shown(shown, peer=PEER))).user == "alice"
    assert (await Door().admit(Shown(proxied, peer=PEER))).user == "alice"


async def test_different_credentials_are_ambiguous() -> None:
    door = Door(held=book(key=alices(), other=alices(id="k2")))
    error = await door.refusal(Shown((("authorization", f"Bearer {KEY}"), ("x-api-key", OTHER)), peer=PEER))

    assert words(error) == (
        "UNAUTHENTICATED",
        "The credentials are ambiguous: the request has different ones; send one.",
    )


async def test_what_is_not_in_the_table_is_refused_whoever_asks() -> None:
    door = Door(admin_key=lambda: ADMIN_KEY)
    for method in ("", "/", "/loom_grpc.v1.LlmService/complete", "/loom_grpc.v1.LlmService/Complete/", "/nowhere"):
        assert (await door.refusal(bearer(ADMIN_KEY), method)).reason == PERMISSION_DENIED


async def test_health_is_for_everybody_even_for_the_blocked() -> None:
    door = Door()
    for _ in range(6):
        await door.refusal(bearer("wrong"))

    assert await door.admit(bearer("wrong"), LIVEZ) == ANYBODY


async def test_who_shows_nothing_is_told_what_to_show_and_not_counted() -> None:
    door = Door()
    for _ in range(10):
        error = await door.refusal(Shown(peer=PEER))
        assert words(error) == ("UNAUTHENTICATED", WRONG)


BAD = [
    "wrong",
    changed(KEY),
    KEY[:-1],
    f"{KEY}0",
    KEY.replace("lt_", "lk_"),
    KEY.swapcase(),
    f"{KEY}\r\nauthorization: Bearer {KEY}",
    f"{KEY}\0",
    f"{KEY}, Bearer {KEY}",
    "' OR '1'='1' --",
    "lt_' UNION SELECT sha256 FROM api_key --",
    "\u00e4\u20ac\udc80",
    digest(KEY).hex(),  # the hash is not the key
    "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.",
    "x" * 100_000,
]


@pytest.mark.parametrize("text", BAD)
@pytest.mark.parametrize("method", [COMPLETE, ACCOUNTS])
async def test_bad_credentials_are_refused_at_once_without_asking_the_directory(text: str, method: str) -> None:
    door = Door(admin_key=lambda: ADMIN_KEY)

    assert words(await door.refusal(bearer(text), method)) == ("UNAUTHENTICATED", WRONG)
    assert door.looks == 0


@pytest.mark.parametrize("name", ["cookie", "loom-tenant", "x-forwarded-user", "x-loom-user"])
async def test_no_other_header_lets_anybody_in(name: str) -> None:
    assert (await Door().refusal(Shown(((name, KEY),), peer=PEER))).reason == UNAUTHENTICATED


async def test_a_revoked_and_an_expired_key_are_refused_saying_so_and_not_counted() -> None:
    revoked = Door(held=book(key=alices(revoke_time=Timestamp(seconds=1))))
    expired = Door(held=book(key=alices(expire_time=Timestamp(seconds=int(NOW)))))
    for _ in range(10):
        assert "was revoked" in (await revoked.refusal(bearer(KEY))).message
        error = await expired.refusal(bearer(KEY))
        assert "has expired" in error.message
        assert (error.reason, error.metadata) == (UNAUTHENTICATED, {"cause": EXPIRED})


async def test_a_key_is_taken_until_the_moment_it_ends() -> None:
    door = Door(held=book(key=alices(expire_time=Timestamp(seconds=int(NOW) + 10))))

    door.now += 9.9
    assert (await door.admit(bearer(KEY))).user == "alice"
    door.now += 0.1
    assert "has expired" in (await door.refusal(bearer(KEY))).message


async def test_a_revocation_counts_from_the_moment_it_is_adopted() -> None:
    door = Door()
    assert (await door.admit(bearer(KEY))).user == "alice"

    door.authority.adopt(book(key=alices(revoke_time=Timestamp(seconds=1))))

    assert "was revoked" in (await door.refusal(bearer(KEY))).message


async def test_a_disabled_user_is_denied_and_not_counted() -> None:
    held = snapshot(key=alices())
    held.users[0].disabled = True
    door = Door(held=Book(held, LimitsConfig(), []))
    for _ in range(10):
        assert (await door.refusal(bearer(KEY))).reason == PERMISSION_DENIED


@pytest.mark.parametrize(
    ("peer", "is_in"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("2001:db8::7", True),
        ("11.0.0.1", False),
        ("2001:db9::7", False),
        ("", False),
        ("nonsense", False),
    ],
)
async def test_a_key_is_taken_from_its_networks_alone(peer: str, is_in: bool) -> None:
    networks = pb.Allowed(source_networks=["10.0.0.0/8", "2001:db8::/32"])
    door = Door(held=book(key=alices(allowed=networks)))
    if is_in:
        assert (await door.admit(bearer(KEY, peer))).user == "alice"
    else:
        assert words(await door.refusal(bearer(KEY, peer))) == (
            "PERMISSION_DENIED",
            "This key may not be used from this address.",
        )


async def test_administration_is_for_the_admin_key_and_for_admins() -> None:
    root = pb.ApiKey(id="k2", user="root", role=pb.ACCESS_ROLE_ADMIN)
    door = Door(held=book(key=alices(role=pb.ACCESS_ROLE_ADMIN), other=root), admin_key=lambda: ADMIN_KEY)

    assert await door.admit(bearer(ADMIN_KEY), LIST_KEYS) is ADMINISTRATOR
    assert await door.admit(bearer(ADMIN_KEY), COMPLETE) is ADMINISTRATOR
    assert (await door.admit(bearer(OTHER), ACCOUNTS)).user == "root"
    refusal = await door.refusal(bearer(KEY), LIST_KEYS)
    assert words(refusal) == (
        "PERMISSION_DENIED",
        "This needs the admin key, or a caller whose role is admin.",
    )
    assert refusal.detail == "tried by alice/k1"


async def test_an_admin_key_is_the_one_of_now() -> None:
    keys = [ADMIN_KEY]
    door = Door(admin_key=lambda: keys[-1])
    keys.append(f"{ADMIN_KEY}-2")

    assert (await door.refusal(bearer(ADMIN_KEY), LIST_KEYS)).reason == UNAUTHENTICATED
    assert await door.admit(bearer(f"{ADMIN_KEY}-2"), LIST_KEYS) is ADMINISTRATOR


async def test_an_empty_admin_key_lets_nobody_in() -> None:
    door = Door(admin_key=lambda: "")
    for shown in (Shown(peer=PEER), bearer(""), bearer(" ")):
        assert (await door.refusal(shown, LIST_KEYS)).reason == UNAUTHENTICATED


# Where nobody has to show anything.


async def test_without_access_everybody_calls_and_is_told_apart_by_what_it_shows() -> None:
    door = Door(AccessConfig())
    shown = Shown((("authorization", "Bearer x"), ("loom-tenant", "t")), ("pem",), PEER)

    assert await door.admit(Shown(peer=PEER)) == ANYBODY
    assert await door.admit(shown) == Principal(tenant=tenant_of([*shown.credentials, ("certificate", "pem")]))
    for text in BAD:
        assert (await door.admit(bearer(text))).method == "none"


async def test_without_access_a_known_key_is_recognised_all_the_same() -> None:
    door = Door(AccessConfig())
    stranger = bearer(new_key("lk"))

    assert (await door.admit(bearer(KEY))).key_id == "k1"
    assert await door.admit(stranger) == Principal(tenant=tenant_of(stranger.credentials))
    assert door.looks == 0


async def test_without_access_administration_still_needs_the_admin_key() -> None:
    door = Door(AccessConfig(), admin_key=lambda: ADMIN_KEY)

    assert await door.admit(bearer(ADMIN_KEY), ACCOUNTS) is ADMINISTRATOR
    for shown in (Shown(peer=PEER), bearer("wrong"), bearer(f"{ADMIN_KEY}0"), bearer(ADMIN_KEY[:-1])):
        assert words(await door.refusal(shown, ACCOUNTS)) == (
            "UNAUTHENTICATED",
            "Administration needs the server's admin key, in the header authorization.",
        )
    assert (await door.refusal(bearer(KEY), ACCOUNTS)).reason == PERMISSION_DENIED


async def test_without_access_an_admin_key_and_admins_administration_is_off() -> None:
    door = Door(AccessConfig())
    for shown in (Shown(peer=PEER), bearer("wrong"), bearer(KEY)):
        assert words(await door.refusal(shown, LIST_KEYS)) == (
            "PERMISSION_DENIED",
            "Administration is off: the server has no admin key. Set admin.api_key, or LOOM_ADMIN_KEY.",
        )


async def test_without_access_and_an_admin_key_admins_administer() -> None:
    root = pb.ApiKey(id="k2", user="root", role=pb.ACCESS_ROLE_ADMIN)
    door = Door(AccessConfig(), book(other=root))

    assert (await door.admit(bearer(OTHER), LIST_KEYS)).user == "root"


# Guessing.


async def test_five_failures_block_an_address_for_right_credentials_too() -> None:
    door = Door()
    for text in ["wrong", changed(KEY), "x", "y", "z"]:
        assert (await door.refusal(bearer(text))).reason == UNAUTHENTICATED

    error = await door.refusal(bearer(KEY))
    assert (error.reason, error.retry_after) == (RATE_LIMITED, 30)
    assert error.message == "Too many wrong credentials came from this address; call again in 30 s."
    assert (await door.admit(bearer(KEY, "192.0.2.2"))).user == "alice"

    door.now += 30.5
    assert (await door.admit(bearer(KEY))).user == "alice"


async def test_guessing_the_admin_key_is_counted_where_everybody_may_call() -> None:
    door = Door(AccessConfig(), admin_key=lambda: ADMIN_KEY)
    for _ in range(5):
        await door.refusal(bearer("wrong"), LIST_KEYS)

    assert (await door.refusal(bearer(ADMIN_KEY), LIST_KEYS)).reason == RATE_LIMITED
    assert (await door.admit(bearer("whatever"))).method == "none"


async def test_callers_whose_address_nobody_knows_do_not_block_each_other() -> None:
    door = Door()
    for _ in range(10):
        assert (await door.refusal(bearer("wrong", ""))).reason == UNAUTHENTICATED

    assert (await door.admit(bearer(KEY, ""))).user == "alice"


async def test_a_failure_that_cannot_be_counted_is_a_failure_and_keeps_no_right_credentials_out(tmp_path: Path) -> None:
    throttle = Throttle(tmp_path / "throttle", 5, 900, 30, 3600)
    door = Door(throttle=throttle)
    with (tmp_path / "throttle").open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        error = await door.refusal(bearer("wrong"))

        assert (error.reason, error.message) == (UNAUTHENTICATED, WRONG)
        assert "not counted against the address" in error.detail
        assert (await door.admit(bearer(KEY))).user == "alice"
    throttle.close()


# Where a call comes from.

PROXIED = AccessConfig(enabled=True, trusted_proxies=["10.0.0.0/8", "2001:db8::/32"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.1", "", "192.0.2.1"),
        ("192.0.2.1", "198.51.100.1", "192.0.2.1"),  # anybody can write this
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("2001:db8::1", "2001:0db9:0::7", "2001:db9::7"),
        ("10.0.0.1", "203.0.113.9, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "127.0.0.1,198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
        ("10.0.0.1", "[2001:db9::7]:4711, 10.0.0.3", "2001:db9::7"),
        ("10.0.0.1", "10.0.0.2, 10.0.0.3", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1, garbage", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1,", "10.0.0.1"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1" + ",10.0.0.9" * 1000, "10.0.0.1"),
        ("10.0.0.1", "\u0661.0.0.1", "10.0.0.1"),
        ("", "198.51.100.1", ""),
        ("garbage", "198.51.100.1", ""),
    ],
)
async def test_an_address_is_what_trusted_proxies_say_and_else_the_peer(
    peer: str, forwarded: str, address: str
) -> None:
    assert Door(PROXIED).authority.address_of(Shown((), (), peer, forwarded)) == address


async def test_without_trusted_proxies_nobody_is_believed() -> None:
    shown = Shown((), (), "127.0.0.1", "198.51.100.1")

    assert Door().authority.address_of(shown) == "127.0.0.1"


# Keys that were made a moment ago, and a directory that is down.


async def test_a_key_that_another_process_has_just_made_is_taken() -> None:
    door = Door()
    door.later = book(key=alices(), other=alices(id="k2"))

    assert (await door.admit(bearer(OTHER))).key_id == "k2"
    assert (await door.admit(bearer(OTHER))).key_id == "k2"
    assert door.looks == 1


async def test_a_well_formed_key_that_the_directory_does_not_know_is_wrong() -> None:
    door = Door()
    for _ in range(5):
        assert words(await door.refusal(bearer(OTHER))) == ("UNAUTHENTICATED", WRONG)

    assert (await door.refusal(bearer(KEY))).reason == RATE_LIMITED


async def test_who_waits_for_the_directory_waits_together() -> None:
    async with nothing_left():
        door = Door()
        door.later = book(key=alices(), other=alices(id="k2"))

        admitted = await asyncio.gather(*(door.admit(bearer(OTHER, f"198.51.100.{n}")) for n in range(50)))

        assert {who.key_id for who in admitted} == {"k2"}
        assert door.looks == 1


async def test_a_look_that_had_begun_before_the_key_was_made_does_not_count() -> None:
    async with nothing_left():
        door = Door()
        door.wait.clear()
        early = asyncio.create_task(door.refusal(bearer(new_key("lk"))))
        await settle()
        door.later = book(key=alices(), other=alices(id="k2"))
        late = asyncio.create_task(door.admit(bearer(OTHER)))
        await settle()
        began = asyncio.get_running_loop().time()
        door.wait.set()

        assert ((await early).reason, (await late).key_id) == (UNAUTHENTICATED, "k2")
        assert door.looks == 2
        assert asyncio.get_running_loop().time() - began < 1


async def test_the_directory_is_looked_at_no_more_than_every_fifth_of_a_second() -> None:
    loop = asyncio.get_running_loop()
    door = Door()
    began = loop.time()
    for number in range(3):
        await door.refusal(bearer(new_key("lk"), f"198.51.100.{number}"))

    assert door.looks == 3
    assert loop.time() - began >= 0.39


async def test_one_who_goes_away_leaves_the_others_waiting() -> None:
    async with nothing_left():
        door = Door()
        door.later = book(other=alices(id="k2"))
        door.wait.clear()
        gone = asyncio.create_task(door.admit(bearer(OTHER)))
        stays = asyncio.create_task(door.admit(bearer(OTHER, "198.51.100.1")))
        await settle()
        gone.cancel()
        await settle()
        door.wait.set()

        assert (await stays).key_id == "k2"
        assert gone.cancelled()


async def test_a_look_ends_with_the_server() -> None:
    async with nothing_left():
        door = Door()
        door.wait.clear()
        waiting = asyncio.create_task(door.admit(bearer(OTHER)))
        await settle()
        await door.latest.close()

        with pytest.raises(asyncio.CancelledError):
            await waiting


@pytest.mark.parametrize("failure", [StoreError("down"), TimeoutError(), None])
async def test_while_the_directory_is_down_no_key_is_called_wrong(failure: Exception | None) -> None:
    door = Door()
    door.failure, door.stale = failure, failure is None
    error = await door.refusal(bearer(OTHER))

    assert (error.reason, error.retry_after) == (STORAGE_UNAVAILABLE, 1)
    assert error.message == "Whether this key is valid cannot be found out at present; call again."
    assert (await door.admit(bearer(KEY))).user == "alice"


async def test_while_the_directory_is_down_nobody_is_blocked_for_it_and_slips_are_still_wrong() -> None:
    door = Door()
    door.stale = True
    assert (await door.refusal(bearer(changed(KEY)))).reason == UNAUTHENTICATED
    tries = [door.refusal(bearer(new_key("lt"))) for _ in range(20)]
    assert {error.reason for error in await asyncio.gather(*tries)} == {STORAGE_UNAVAILABLE}

    door.stale = False
    assert (await door.refusal(bearer(OTHER))).reason == UNAUTHENTICATED
    assert (await door.admit(bearer(KEY))).user == "alice"


# Tokens and certificates.


async def test_a_token_is_taken_and_a_wrong_one_counted() -> None:
    signing = new_signing_key("ES256", "first")
    async with oidc_server(signing) as server:
        config = JwtConfig(issuer=server.issuer, audience=["loom"])
        reader = JwtReader(config, lambda: 0.0)
        tokens: TokenReader = reader
        door = Door(AccessConfig(jwt=config), tokens=tokens)
        good = server.token(signing, sub="alice")
        ended = server.token(signing, sub="alice", exp=NOW - 1000)

        assert await door.admit(bearer(good)) == door.authority.book.person("alice", "", "", Need.USER, "jwt")
        assert (await door.admit(bearer(KEY))).method == "key"
        for _ in range(10):
            assert (await door.refusal(bearer(ended))).metadata == {"cause": EXPIRED}
        for _ in range(5):
            assert (await door.refusal(bearer(f"{good[:-8]}AAAAAAAA"))).reason == UNAUTHENTICATED
        assert (await door.refusal(bearer(good))).reason == RATE_LIMITED
        await reader.close()


async def test_a_token_is_not_blamed_for_an_issuer_that_is_down() -> None:
    signing = new_signing_key("ES256", "first")
    async with oidc_server(signing) as server:
        config = JwtConfig(issuer=server.issuer, audience=["loom"])
        good = server.token(signing, sub="alice")
    door = Door(AccessConfig(jwt=config), tokens=JwtReader(config, lambda: 0.0))
    for _ in range(6):
        assert (await door.refusal(bearer(good))).reason == STORAGE_UNAVAILABLE


async def test_what_is_taken_is_said() -> None:
    config = JwtConfig(issuer="https://issuer.example.org", audience=["loom"])
    door = Door(tokens=JwtReader(config), certificates=CertificateReader({}))

    assert (await door.refusal(Shown(peer=PEER))).message == (
        "Credentials are missing or wrong: this server takes a key (lk_... or lt_...) or a token of the server's issuer in the header "
        "authorization, as Bearer, or a client certificate."
    )


async def test_a_certificate_counts_where_nothing_else_is_shown(certificate: str) -> None:
    reader = CertificateReader({"batch.example.org": CertificateConfig(user="batch", role="admin")})
    door = Door(certificates=reader)

    who = await door.admit(Shown((), (certificate,), PEER), LIST_KEYS)
    assert who == door.authority.book.person("batch", "", "", Need.ADMIN, "certificate")
    assert (await door.admit(Shown((("x-api-key", KEY),), (certificate,), PEER))).method == "key"
    assert (await door.refusal(Shown((("x-api-key", "wrong"),), (certificate,), PEER))).reason == UNAUTHENTICATED


async def test_a_certificate_lets_nobody_in_where_none_are_taken(certificate: str) -> None:
    assert (await Door().refusal(Shown((), (certificate,), PEER))).reason == UNAUTHENTICATED


@pytest.fixture
def certificate() -> str:
    issued = trustme.CA().issue_cert("batch.example.org")
    return issued.cert_chain_pems[0].bytes().decode()


# What must hold whatever is shown.


def test_nothing_that_is_shown_is_in_its_own_words() -> None:
    shown = Shown((("authorization", f"Bearer {KEY}"), ("x-api-key", OTHER)), ("pem",), PEER)

    assert repr(shown) == f"Shown(['authorization', 'x-api-key'], 1 certificates, {PEER!r})"


NAMES = st.sampled_from(["authorization", "x-api-key", "x-goog-api-key", "key", "loom-tenant", "cookie"])
TEXTS = st.one_of(
    st.sampled_from([KEY, OTHER, f"Bearer {KEY}", f"Bearer {OTHER}", f"Basic {KEY}", changed(KEY), "Bearer", ""]),
    st.text(st.characters(exclude_categories=()), max_size=60),
)


@given(st.lists(st.tuples(NAMES, TEXTS), max_size=4), st.sampled_from(sorted(METHODS)), st.booleans(), st.booleans())
def test_nobody_is_let_in_who_does_not_show_a_key_and_nobody_for_more_than_its_user_may(
    credentials: list[tuple[str, str]], method: str, of_admin: bool, is_root: bool
) -> None:
    async def run() -> Principal | LlmError:
        user = "root" if is_root else "alice"
        key = alices(user=user, role=pb.ACCESS_ROLE_ADMIN if of_admin else pb.ACCESS_ROLE_USER)
        door = Door(held=book(key=key))
        door.stale = True  # or each unknown key would wait
        try:
            return await door.admit(Shown(tuple(credentials), peer=PEER), method)
        except LlmError as error:
            return error

    answer = asyncio.run(run())

    need = METHODS[method]
    if isinstance(answer, LlmError):
        assert answer.reason in (UNAUTHENTICATED, PERMISSION_DENIED, STORAGE_UNAVAILABLE)
    elif need is not Need.NOTHING:
        assert any(KEY in text for _, text in credentials)
        assert need <= answer.need <= (Need.ADMIN if is_root else Need.USER)


@given(st.integers(0, len(KEY) - 1), st.characters())
def test_a_key_with_one_character_changed_is_wrong_without_a_look(place: int, other: str) -> None:
    text = KEY[:place] + other + KEY[place + 1 :]

    async def run() -> tuple[LlmError, int]:
        door = Door()
        return await door.refusal(bearer(text)), door.looks

    if text != KEY and not is_well_formed(text.strip()):
        error, looks = asyncio.run(run())
        assert (error.reason, looks) == (UNAUTHENTICATED, 0)
