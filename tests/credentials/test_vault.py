"""Secrets in Vault, against a real server of its API (OpenBao)."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from loom_grpc.config import ConfigError, VaultConfig
from loom_grpc.core.call import Call
from loom_grpc.core.errors import PROVIDER_UNAVAILABLE, LlmError
from loom_grpc.credentials.api_key import ApiKey
from loom_grpc.credentials.secret import Secrets
from loom_grpc.credentials.vault import Vault, VaultOutError
from loom_grpc.providers._http import HttpTransport
from loom_grpc.providers.openai import OpenAI
from loom_grpc.providers.upstream import Limits, Upstream
from loom_grpc.v1.llm_service_pb2 import LlmEvent, LlmRequest
from loom_grpc.v1.message_pb2 import ROLE_USER, Message
from tests.stand_in import Connection, answer, json_answer, stand_in
from tests.vault_server import VaultServer, vault_server

KEY = "providers.openai.api_key"
SEALED = "Vault is sealed; unseal it"
REST = "secrets that were read before stay in use, calls that need others fail"


@pytest.fixture(autouse=True)
def _bare_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Leaves nothing of the machine's own proxies and of a login that hvac would find by itself."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("VAULT_TOKEN", "hvs.somebody-else")
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[VaultServer]:
    with vault_server(tmp_path) as server:
        server.write("openai", api_key="sk-1", organization="org-1")
        yield server


class Told:
    """What the secrets tell the log."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.troubles: list[tuple[str, str]] = []
        self.rotations: list[str] = []
        self._changed = asyncio.Event()

    def text(self, text: str) -> None:
        self.texts.append(text)
        self._changed.set()

    def trouble(self, key: str, message: str) -> None:
        self.troubles.append((key, message))
        self._changed.set()

    def rotation(self, key: str) -> None:
        self.rotations.append(key)
        self._changed.set()

    async def until(self, reached: Callable[[], bool]) -> None:
        """Waits for something that the secrets tell of."""
        async with asyncio.timeout(20):
            while not reached():
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def running(told: Told, **vault: Any) -> AsyncIterator[Secrets]:
    config = VaultConfig.model_validate({"poll_s": 0.5, **vault})
    secrets = Secrets({}, config, on_text=told.text, on_trouble=told.trouble, on_rotation=told.rotation)
    try:
        yield secrets
    finally:
        await secrets.close()


def vault_of(server: VaultServer, **more: Any) -> dict[str, Any]:
    return {"address": server.url, "token": server.token(), **more}


async def test_a_secret_is_there_when_the_start_is_over(server: VaultServer) -> None:
    told = Told()
    async with running(told, **vault_of(server)) as secrets:
        key = secrets.find("vault:kv/openai#api_key", KEY)
        organization = secrets.find("vault:kv/openai#organization", "providers.openai.headers.a")
        assert not key.known

        await secrets.start()

        assert (key.reveal(), organization.reveal()) == ("sk-1", "org-1")
        assert (told.texts[1:], told.troubles, told.rotations) == (["sk-1", "org-1"], [], [])


async def test_a_rotated_key_is_shown_within_the_time_of_a_look(server: VaultServer) -> None:
    told = Told()
    async with running(told, **vault_of(server)) as secrets:
        key = ApiKey("authorization", "Bearer ", secrets.find("vault:kv/openai#api_key", KEY))
        await secrets.start()

        began = time.monotonic()
        server.write("openai", api_key="sk-2")
        await told.until(lambda: bool(told.rotations))

        assert time.monotonic() - began < 5
        assert await key.headers() == {"authorization": "Bearer sk-2"}
        assert told.rotations == [KEY]


async def test_a_key_that_the_provider_refuses_is_looked_up_at_once(server: VaultServer) -> None:
    told = Told()
    async with running(told, **vault_of(server, poll_s=3600)) as secrets:
        key = ApiKey("authorization", "Bearer ", secrets.find("vault:kv/openai#api_key", KEY))
        await secrets.start()
        shown = await key.headers()

        server.write("openai", api_key="sk-2")
        newer = await asyncio.gather(*(key.renewed(shown) for _ in range(20)))

        assert newer == [{"authorization": "Bearer sk-2"}] * 20
        assert await key.renewed({"authorization": "Bearer sk-2"}) is None


async def test_no_call_fails_while_a_key_is_rotated(server: VaultServer) -> None:
    valid = {"Bearer sk-1"}
    refused: list[str] = []

    async def check(connection: Connection) -> None:
        shown = connection.asked.headers["authorization"]
        if shown in valid:
            whole = {"id": "c", "model": "m", "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}
            await json_answer(whole)(connection)
        else:
            refused.append(shown)
            await json_answer({"error": {"message": "no", "code": "invalid_api_key"}}, status=401)(connection)

    async with running(Told(), **vault_of(server, poll_s=3600)) as secrets, stand_in(check) as provider:
        key = ApiKey("authorization", "Bearer ", secrets.find("vault:kv/openai#api_key", KEY))
        await secrets.start()
        transport = HttpTransport(100)
        upstream = Upstream(OpenAI(), provider.url, key, transport, Limits(5, 5, 5), {}, {})
        await asyncio.gather(*(call(upstream) for _ in range(20)))

        server.write("openai", api_key="sk-2")
        valid = {"Bearer sk-2"}
        answers = await asyncio.gather(*(call(upstream) for _ in range(20)))

        assert answers == ["Hi"] * 20
        assert 1 <= len(refused) <= 20
        assert set(refused) == {"Bearer sk-1"}
        await transport.close()


async def call(upstream: Upstream) -> str:
    events: list[LlmEvent] = []

    async def send(event: LlmEvent) -> None:
        events.append(event)

    request = LlmRequest(messages=[Message(role=ROLE_USER, content="Hello")])
    await upstream(Call(request, False, "r", deadline=math.inf, provider="openai", model="m", attempt=1), send)
    return events[-1].completed.response.message.content


async def test_a_vault_that_is_sealed_at_the_start_is_read_once_it_is_open(server: VaultServer) -> None:
    told = Told()
    vault = vault_of(server)
    server.seal()
    async with running(told, **vault) as secrets:
        key = ApiKey("x-api-key", "", secrets.find("vault:kv/openai#api_key", KEY))
        await secrets.start()
        with pytest.raises(LlmError) as caught:
            await key.headers()
        assert caught.value.reason == PROVIDER_UNAVAILABLE
        assert caught.value.message == f"The secret {KEY} cannot be fetched at present: {SEALED}. Try again later."

        server.unseal()
        await told.until(lambda: "sk-1" in told.texts)

        assert await key.headers() == {"x-api-key": "sk-1"}
        assert (told.troubles, told.rotations) == ([("vault", f"{SEALED}; {REST}")], [])


async def test_a_vault_that_is_sealed_later_leaves_the_text_in_use_and_is_told_once(server: VaultServer) -> None:
    told = Told()
    async with running(told, **vault_of(server)) as secrets:
        key = secrets.find("vault:kv/openai#api_key", KEY)
        await secrets.start()

        server.seal()
        outcomes = [await key.renew(), await key.renew()]

        assert (outcomes, key.reveal()) == ([False, False], "sk-1")
        assert told.troubles == [("vault", f"{SEALED}; {REST}")]

        server.unseal()
        server.write("openai", api_key="sk-2")
        await told.until(lambda: bool(told.rotations))

        assert key.reveal() == "sk-2"


async def test_a_vault_that_is_gone_leaves_the_text_in_use(server: VaultServer) -> None:
    told = Told()
    async with running(told, **vault_of(server)) as secrets:
        key = secrets.find("vault:kv/openai#api_key", KEY)
        await secrets.start()

        server.process.kill()
        server.process.wait()
        changed = await key.renew()

        trouble = "Vault cannot be reached (ConnectionError); check vault.address, and that it runs"
        assert (changed, key.reveal()) == (False, "sk-1")
        assert told.troubles == [("vault", f"{trouble}; {REST}")]


async def test_a_start_does_not_wait_long_for_a_vault_that_says_nothing() -> None:
    never = asyncio.Event()

    async def hesitate(connection: Connection) -> None:
        await never.wait()

    told = Told()
    async with stand_in(hesitate) as silent, running(told, address=silent.url, token="hvs.token") as secrets:
        key = secrets.find("vault:kv/openai#api_key", KEY)

        began = time.monotonic()
        await secrets.start()

        assert time.monotonic() - began < 6
        assert not key.known
        assert told.troubles == [("vault", f"Vault does not answer in time; {REST}")]


@pytest.mark.parametrize("body", ["hello", "[]", "{}", '{"data": 1}'])
async def test_what_is_no_vault_is_called_so(body: str) -> None:
    told = Told()
    async with stand_in(answer(body)) as other, running(told, address=other.url, token="hvs.token") as secrets:
        secrets.find("vault:kv/openai#api_key", KEY)

        await secrets.start()

        trouble = "what answers at vault.address does not speak as Vault does; check the address"
        assert told.troubles == [("vault", f"{trouble}; {REST}")]


@pytest.mark.parametrize(
    ("reference", "trouble"),
    [
        (
            "kv/none#key",
            "Vault has no secret kv/none; check the path, and that kv is a KV engine of version 2",
        ),
        (
            "kv/deleted#key",
            "Vault has no secret kv/deleted; check the path, and that kv is a KV engine of version 2",
        ),
        (
            "other/openai#key",
            "Vault does not let this server read other/openai; give its policy read on other/data/openai",
        ),
        ("kv/openai#none", "Vault's secret kv/openai has no field none"),
        ("kv/odd#number", "the field number of Vault's secret kv/odd is not text"),
        ("kv/odd#empty", "the field empty of Vault's secret kv/odd is not set or empty"),
        (
            "kv/odd#lines",
            (
                "the field lines of Vault's secret kv/odd has line breaks, control characters or letters beyond ASCII, "
                "which no header can carry"
            ),
        ),
    ],
)
async def test_a_secret_that_is_not_to_be_had_is_told_by_its_key_and_spoils_no_other(
    server: VaultServer, reference: str, trouble: str
) -> None:
    server.write("odd", number=7, empty="", lines="sk-a\nsk-b")
    server.write("deleted", key="sk-gone")
    server.admin.secrets.kv.v2.delete_latest_version_of_secret("deleted", mount_point="kv")
    told = Told()
    async with running(told, **vault_of(server)) as secrets:
        missing = secrets.find(f"vault:{reference}", "providers.a.api_key")
        other = secrets.find("vault:kv/openai#api_key", KEY)

        await secrets.start()
        await missing.renew()

        assert (missing.known, other.reveal()) == (False, "sk-1")
        assert told.troubles == [("providers.a.api_key", f"{trouble}; calls that need it fail until then")]


async def test_a_deleted_secret_leaves_the_text_in_use(server: VaultServer) -> None:
    told = Told()
    async with running(told, **vault_of(server)) as secrets:
        key = secrets.find("vault:kv/openai#api_key", KEY)
        await secrets.start()

        server.admin.secrets.kv.v2.delete_latest_version_of_secret("openai", mount_point="kv")
        await key.renew()

        trouble = "Vault has no secret kv/openai; check the path, and that kv is a KV engine of version 2"
        assert key.reveal() == "sk-1"
        assert told.troubles == [(KEY, f"{trouble}; what was read before stays in use")]


async def test_one_path_is_read_once_for_all_its_fields_and_users() -> None:
    secret = {"data": {"data": {"one": "sk-1", "two": "sk-2"}, "metadata": {"version": 1}}}
    token = {"data": {"ttl": 0, "renewable": False}}
    told = Told()
    async with (
        stand_in(json_answer(token), json_answer(secret)) as counting,
        running(told, address=counting.url, token="hvs.token", namespace="team/", poll_s=3600) as secrets,
    ):
        found = [secrets.find(f"vault:kv/a%20b/ü#{field}", field) for field in ("one", "two", "one")]

        await secrets.start()

        assert [secret.reveal() for secret in found] == ["sk-1", "sk-2", "sk-1"]
        assert [asked.path for asked in counting.asked] == [
            "/v1/auth/token/lookup-self",
            "/v1/kv/data/a%2520b/%C3%BC",
        ]
        await asyncio.gather(*(secret.renew() for secret in found for _ in range(20)))
        assert [asked.path for asked in counting.asked[2:]] == ["/v1/kv/data/a%2520b/%C3%BC"]
        shown = [(asked.headers["x-vault-token"], asked.headers["x-vault-namespace"]) for asked in counting.asked]
        assert shown == [("hvs.token", "team")] * 3


async def test_a_namespace_is_asked_for_its_own_secrets(server: VaultServer) -> None:
    told = Told()
    server.enter("team")
    server.write("openai", api_key="sk-team")
    async with running(told, **vault_of(server), namespace="team") as secrets:
        key = secrets.find("vault:kv/openai#api_key", KEY)

        await secrets.start()

        assert (key.reveal(), told.troubles) == ("sk-team", [])


async def test_a_secret_that_is_found_late_is_read_soon(server: VaultServer) -> None:
    told = Told()
    async with running(told, **vault_of(server, poll_s=3600)) as secrets:
        await secrets.start()

        key = secrets.find("vault:kv/openai#api_key", KEY)
        await told.until(lambda: "sk-1" in told.texts)

        assert key.reveal() == "sk-1"


# Logins.


async def test_a_token_is_kept_alive(server: VaultServer) -> None:
    told = Told()
    token = server.token(ttl="2s")
    async with running(told, address=server.url, token=token, poll_s=3600) as secrets:
        key = secrets.find("vault:kv/openai#api_key", KEY)
        await secrets.start()

        await asyncio.sleep(2.5)  # the token's time runs on Vault's own clock

        server.write("openai", api_key="sk-2")
        assert (await key.renew(), told.troubles) == (True, [])


async def test_a_new_token_in_its_file_is_taken_when_the_old_one_has_ended(server: VaultServer, tmp_path: Path) -> None:
    told = Told()
    file = tmp_path / "token"
    first = server.token()
    file.write_text(first)
    async with running(told, address=server.url, token=f"file:{file}") as secrets:
        secrets.find("vault:kv/openai#api_key", KEY)
        await secrets.start()

        server.revoke(first)
        await told.until(lambda: bool(told.troubles))
        trouble = "Vault does not accept the token; put a valid one where vault.token says"
        assert told.troubles == [("vault", f"{trouble}; {REST}")]

        server.write("openai", api_key="sk-2")
        file.write_text(server.token())
        await told.until(lambda: KEY in told.rotations)

        assert told.rotations == ["vault.token", KEY]


@pytest.mark.parametrize("mount", ["", "apps/loom"])
async def test_an_approle_logs_in(server: VaultServer, mount: str) -> None:
    told = Told()
    role_id, secret_id = server.approle(mount or "approle")
    login = {"auth": "approle", "role_id": role_id, "secret_id": secret_id, "auth_mount": mount}
    async with running(told, address=server.url, **login) as secrets:
        key = secrets.find("vault:kv/openai#api_key", KEY)

        await secrets.start()

        assert (key.reveal(), told.troubles) == ("sk-1", [])


async def test_a_login_that_has_ended_is_made_anew(server: VaultServer) -> None:
    told = Told()
    role_id, secret_id = server.approle()
    login = {"auth": "approle", "role_id": role_id, "secret_id": secret_id}
    async with running(told, address=server.url, poll_s=3600, **login) as secrets:
        key = secrets.find("vault:kv/openai#api_key", KEY)
        await secrets.start()

        server.end_logins()
        server.write("openai", api_key="sk-2")

        assert (await key.renew(), key.reveal(), told.troubles) == (True, "sk-2", [])


@pytest.mark.parametrize(
    ("settings", "new_logins"),
    [
        ({}, 0),
        ({"token_max_ttl": "4s"}, 1),  # nothing is left to renew
        ({"token_type": "batch"}, 0),  # cannot be renewed, and Vault keeps no list of those
    ],
)
def test_half_of_a_login_s_time_is_followed_by_another_whole(
    server: VaultServer, settings: dict[str, str], new_logins: int
) -> None:
    role_id, secret_id = server.approle(token_ttl="4s", **settings)
    config = VaultConfig.model_validate({"address": server.url, "auth": "approle", "role_id": role_id})
    vault = Vault(config, secret_id=lambda: secret_id)
    vault.read("kv", "openai")
    before = len(server.tokens())

    time.sleep(vault.renewal_in_s + 0.1)  # Vault has a clock of its own
    vault.read("kv", "openai")

    assert 1.7 < vault.renewal_in_s <= 2
    assert len(server.tokens()) == before + new_logins
    vault.close()


def test_a_path_without_permission_does_not_make_login_after_login(server: VaultServer) -> None:
    role_id, secret_id = server.approle()
    config = VaultConfig.model_validate({"address": server.url, "auth": "approle", "role_id": role_id})
    vault = Vault(config, secret_id=lambda: secret_id)
    vault.read("kv", "openai")
    before = len(server.tokens())

    for _ in range(3):
        with pytest.raises(Exception, match="does not let this server read other/x"):
            vault.read("other", "x")

    assert len(server.tokens()) == before
    vault.close()


def test_a_refused_login_is_not_repeated_before_something_about_it_changes(server: VaultServer) -> None:
    role_id, secret_id = server.approle()
    config = VaultConfig.model_validate({"address": server.url, "auth": "approle", "role_id": role_id})
    shown = ["wrong"]
    vault = Vault(config, secret_id=lambda: shown[-1])
    with pytest.raises(VaultOutError) as first:
        vault.read("kv", "openai")
    server.seal()
    with pytest.raises(VaultOutError) as second:
        vault.read("kv", "openai")
    server.unseal()

    shown.append(secret_id)

    message = "Vault refuses the login by approle; check vault.role_id and vault.secret_id"
    assert (str(first.value), str(second.value)) == (message, message)
    assert vault.read("kv", "openai")["api_key"] == "sk-1"
    vault.close()


def service_account_token(name: str) -> str:
    """Makes what looks like a Kubernetes token; Vault leaves its verification to Kubernetes."""

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    now = int(time.time())
    account = {"namespace": "llm", "serviceaccount": {"name": "loom", "uid": "u1"}}
    claims = {"iat": now - 60, "nbf": now - 60, "exp": now + 600, "jti": name, "kubernetes.io": account}
    return ".".join((part({"alg": "RS256", "typ": "JWT"}), part(claims), "c2lnbmF0dXJl"))


async def test_kubernetes_logs_in_with_the_token_that_is_in_its_file_at_the_time(
    server: VaultServer, tmp_path: Path
) -> None:
    told = Told()
    first, second = service_account_token("first"), service_account_token("second")
    user = {"username": "system:serviceaccount:llm:loom", "uid": "u1", "groups": ["system:serviceaccounts"]}
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview"}
    async with stand_in(json_answer({**review, "status": {"authenticated": True, "user": user}})) as kubernetes:
        admin = server.admin
        admin.sys.enable_auth_method("kubernetes")
        admin.auth.kubernetes.configure(
            kubernetes.url,
            kubernetes_ca_cert=trustme.CA().cert_pem.bytes().decode(),
            token_reviewer_jwt=service_account_token("vault"),
            disable_local_ca_jwt=True,
        )
        admin.auth.kubernetes.create_role("loom", ["loom"], ["llm"], policies=["reader"])
        file = tmp_path / "jwt"
        file.write_text(first)
        login = {"auth": "kubernetes", "role": "loom", "jwt_file": file}
        async with running(told, address=server.url, poll_s=3600, **login) as secrets:
            key = secrets.find("vault:kv/openai#api_key", KEY)
            await secrets.start()
            assert (told.troubles, key.reveal()) == ([], "sk-1")

            file.write_text(second)
            server.end_logins()
            server.write("openai", api_key="sk-2")

            assert (await key.renew(), told.troubles) == (True, [])
            assert [asked.json["spec"]["token"] for asked in kubernetes.asked] == [first, second]


async def test_without_a_kubernetes_token_the_cause_is_told(tmp_path: Path) -> None:
    told = Told()
    login = {"auth": "kubernetes", "role": "loom", "jwt_file": tmp_path / "none"}
    async with running(told, address="http://127.0.0.1:1", **login) as secrets:
        secrets.find("vault:kv/openai#api_key", KEY)

        await secrets.start()

        assert told.troubles == [
            ("vault", f"cannot read vault.jwt_file {tmp_path}/none (FileNotFoundError); {REST}"),
        ]


@pytest.mark.parametrize(
    ("vault", "message"),
    [
        ({}, f"{KEY}: is in Vault, for which vault.address and vault.token must be set"),
        ({"address": "http://v", "auth": "approle"}, f"{KEY}: is in Vault, for which vault.role_id must be set"),
        ({"address": "http://v", "auth": "kubernetes"}, f"{KEY}: is in Vault, for which vault.role must be set"),
        (
            {"address": "http://v", "token": "vault:kv/v#token"},
            "vault.token: cannot be in Vault, because it opens Vault; use env:NAME or file:/path",
        ),
        (
            {"address": "http://v", "token": "env:NONE"},
            "vault.token: the environment variable NONE is not set or empty",
        ),
    ],
)
async def test_a_vault_that_cannot_be_asked_is_an_error_of_the_configuration(vault: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Secrets({}, VaultConfig.model_validate(vault)).find("vault:kv/openai#api_key", KEY)

    assert str(caught.value) == message


async def test_no_message_and_no_repr_has_a_secret(server: VaultServer) -> None:
    told = Told()
    server.write("openai", api_key="sk-openai")
    token = server.token()
    role_id, secret_id = server.approle()
    logins: list[dict[str, str]] = [
        {"token": token},
        {"auth": "approle", "role_id": role_id, "secret_id": secret_id},
        {"auth": "approle", "role_id": role_id, "secret_id": "wrong-secret-id"},
        {"token": "wrong-token"},
    ]
    said = ""
    for login in logins:
        async with running(told, address=server.url, **login) as secrets:
            found = [secrets.find(f"vault:kv/{path}", path) for path in ("openai#api_key", "none#a", "openai#none")]
            await secrets.start()
            said += repr([told.troubles, found, vars(secrets), [str(caught(secret.reveal)) for secret in found]])
    server.process.kill()
    async with running(told, address=server.url, token=token) as secrets:
        secrets.find("vault:kv/openai#api_key", KEY)
        await secrets.start()
    said += repr(told.troubles)

    assert len(told.troubles) == 7
    assert not [
        secret for secret in ("sk-openai", token, secret_id, "wrong-secret-id", "wrong-token") if secret in said
    ]


def caught(reveal: Callable[[], str]) -> LlmError | None:
    try:
        reveal()
    except LlmError as error:
        return error
    return None


async def test_vault_s_certificate_has_to_be_of_the_configured_authority(tmp_path: Path) -> None:
    with vault_server(tmp_path, tls=True) as server:
        server.write("openai", api_key="sk-1")
        vault = vault_of(server)
        told = Told()
        async with running(told, **vault, ca_file=server.ca_file) as secrets:
            key = secrets.find("vault:kv/openai#api_key", KEY)
            await secrets.start()
            assert (key.reveal(), told.troubles) == ("sk-1", [])
        async with running(told, **vault) as secrets:
            secrets.find("vault:kv/openai#api_key", KEY)
            await secrets.start()

        trouble = "Vault's certificate is not trusted; set vault.ca_file to its authority"
        assert told.troubles == [("vault", f"{trouble}; {REST}")]


async def test_hvac_is_not_loaded_before_vault_is_asked() -> None:
    program = (
        "import sys; from loom_grpc.config import VaultConfig; from loom_grpc.credentials.secret import Secrets;"
        " vault = VaultConfig(address='http://127.0.0.1:1', token='t');"
        " Secrets({}, vault).find('vault:kv/a#b', 'k');"
        " print([name for name in ('hvac', 'requests') if name in sys.modules])"
    )

    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()

    assert output == b"[]\n"
