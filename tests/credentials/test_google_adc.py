"""Google's application default credentials, against a stand-in for the token endpoint."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from loom_grpc.core.errors import PROVIDER_AUTH_FAILED, PROVIDER_UNAVAILABLE, LlmError
from loom_grpc.credentials import google_adc
from loom_grpc.credentials.google_adc import GoogleAdc
from tests.stand_in import Asked, Connection, Script, answer, json_answer, stand_in

ACCOUNT = "loom@my-project.iam.gserviceaccount.com"
TOKEN = b'{"access_token": "t1", "expires_in": 3600, "token_type": "Bearer"}'


@pytest.fixture(autouse=True)
def _bare_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Leaves nothing of the machine's own logins, metadata service and proxies."""
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_QUOTA_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(scope="module")
def private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def service_account(private_key: str) -> dict[str, str]:
    return {
        "type": "service_account",
        "project_id": "my-project",
        "client_email": ACCOUNT,
        "private_key_id": "k1",
        "private_key": private_key,
    }


class Clock:
    """Seconds since 1970 that go on when told to."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def key_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, private_key: str) -> Path:
    """A service account's key; its token endpoint is written in by `at`."""
    file = tmp_path / "key.json"
    file.write_text(json.dumps(service_account(private_key)))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    return file


def at(key_file: Path, url: str) -> None:
    key_file.write_text(json.dumps(json.loads(key_file.read_text()) | {"token_uri": f"{url}/token"}))


def fill(file: Path, content: str) -> None:
    file.write_text(content)


def token(name: str, expires_in: int = 3600) -> Script:
    return json_answer({"access_token": name, "expires_in": expires_in, "token_type": "Bearer"})


def claims_of(asked: Asked) -> dict[str, str]:
    (assertion,) = parse_qs(asked.body.decode())["assertion"]
    claims: dict[str, str] = json.loads(base64.urlsafe_b64decode(assertion.split(".")[1] + "=="))
    return claims


async def failure_of(credential: GoogleAdc) -> LlmError:
    with pytest.raises(LlmError) as caught:
        await credential.headers()
    return caught.value


async def test_a_service_account_s_token_is_shown_and_kept(key_file: Path) -> None:
    async with stand_in(token("t1"), token("t2")) as endpoint:
        at(key_file, endpoint.url)
        credential = GoogleAdc()

        assert await credential.headers() == {"authorization": "Bearer t1"}
        assert await credential.headers() == {"authorization": "Bearer t1"}

        (asked,) = endpoint.asked
        claims = claims_of(asked)
        assert (asked.method, asked.path) == ("POST", "/token")
        assert (claims["iss"], claims["scope"]) == (ACCOUNT, "https://www.googleapis.com/auth/cloud-platform")


async def test_a_token_is_renewed_in_its_last_minute(key_file: Path) -> None:
    async with stand_in(token("t1", expires_in=59), token("t2")) as endpoint:
        at(key_file, endpoint.url)
        credential = GoogleAdc()

        assert await credential.headers() == {"authorization": "Bearer t1"}
        assert await credential.headers() == {"authorization": "Bearer t2"}


async def test_a_token_is_kept_until_60_seconds_before_its_end(key_file: Path) -> None:
    clock = Clock()
    async with stand_in(token("t1", expires_in=3600), token("t2")) as endpoint:
        at(key_file, endpoint.url)
        credential = GoogleAdc(clock=clock)

        shown = [await credential.headers()]
        for clock.ahead in (3530, 3541):
            shown.append(await credential.headers())

        assert [headers["authorization"] for headers in shown] == ["Bearer t1", "Bearer t1", "Bearer t2"]


async def test_50_callers_at_the_moment_a_token_ends_share_one_renewal(key_file: Path) -> None:
    clock = Clock()
    async with stand_in(token("t1"), token("t2"), token("t3")) as endpoint:
        at(key_file, endpoint.url)
        credential = GoogleAdc(clock=clock)
        await credential.headers()
        clock.ahead = 3600

        shown = await asyncio.gather(*(credential.headers() for _ in range(50)))

        assert shown == [{"authorization": "Bearer t2"}] * 50
        assert len(endpoint.asked) == 2


async def test_a_token_is_fetched_on_another_thread_than_the_event_loops(key_file: Path) -> None:
    """The endpoint answers only once the loop has gone on: on its own thread the request would wait for itself."""

    async def answer_after_turns(connection: Connection) -> None:
        for _ in range(100):
            await asyncio.sleep(0)
        await token("t1")(connection)

    async with stand_in(answer_after_turns) as endpoint:
        at(key_file, endpoint.url)

        assert await GoogleAdc().headers() == {"authorization": "Bearer t1"}


async def test_while_the_endpoint_is_down_a_token_is_shown_to_its_end_and_no_longer(key_file: Path) -> None:
    clock = Clock()
    async with stand_in(token("t1")) as endpoint:
        at(key_file, endpoint.url)
        credential = GoogleAdc(clock=clock)
        await credential.headers()

    clock.ahead = 3570
    shown = await credential.headers()
    clock.ahead = 3601
    error = await failure_of(credential)

    assert shown == {"authorization": "Bearer t1"}
    assert error.reason == PROVIDER_UNAVAILABLE


async def test_an_endpoint_that_does_not_answer_is_not_waited_for_long(
    key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(google_adc, "_ANSWER_S", 0.05)

    async def hang(connection: Connection) -> None:
        await connection.closed.wait()

    async with stand_in(hang) as endpoint:
        at(key_file, endpoint.url)

        error = await failure_of(GoogleAdc())

        assert error.reason == PROVIDER_UNAVAILABLE


async def test_50_callers_whose_token_is_refused_get_a_new_one_by_one_request(key_file: Path) -> None:
    clock = Clock()
    async with stand_in(token("t1"), token("t2"), token("t3")) as endpoint:
        at(key_file, endpoint.url)
        credential = GoogleAdc(clock=clock)
        refused = await credential.headers()
        clock.ahead = 61

        shown = await asyncio.gather(*(credential.renewed(refused) for _ in range(50)))
        late = await credential.renewed(refused)

        assert [*shown, late] == [{"authorization": "Bearer t2"}] * 51
        assert len(endpoint.asked) == 2


async def test_a_new_token_that_is_refused_is_not_renewed_again(key_file: Path) -> None:
    clock = Clock()
    async with stand_in(token("t1"), token("t2")) as endpoint:
        at(key_file, endpoint.url)
        credential = GoogleAdc(clock=clock)
        refused = await credential.headers()
        clock.ahead = 59

        assert await credential.renewed(refused) is None
        assert len(endpoint.asked) == 1


async def test_the_same_token_once_more_is_nothing_new_to_show(key_file: Path) -> None:
    clock = Clock()
    async with stand_in(token("t1")) as endpoint:
        at(key_file, endpoint.url)
        credential = GoogleAdc(clock=clock)
        refused = await credential.headers()
        clock.ahead = 61

        assert await credential.renewed(refused) is None
        assert len(endpoint.asked) == 2


async def test_a_refused_token_is_not_shown_again_while_the_endpoint_is_down(key_file: Path) -> None:
    clock = Clock()
    async with stand_in(token("t1")) as endpoint:
        at(key_file, endpoint.url)
        credential = GoogleAdc(clock=clock)
        refused = await credential.headers()
    clock.ahead = 61

    with pytest.raises(LlmError) as caught:
        await credential.renewed(refused)

    assert caught.value.reason == PROVIDER_UNAVAILABLE


async def test_each_account_may_have_a_key_file_of_its_own_which_is_read_again_after_a_refusal(
    tmp_path: Path, private_key: str
) -> None:
    clock = Clock()
    file = tmp_path / "account.json"
    async with stand_in(token("t1"), token("t2")) as endpoint:
        key = service_account(private_key) | {"token_uri": f"{endpoint.url}/token"}
        fill(file, json.dumps(key))
        credential = GoogleAdc(file, clock=clock)
        refused = await credential.headers()
        fill(file, json.dumps(key | {"client_email": "new@my-project.iam.gserviceaccount.com"}))
        clock.ahead = 61

        assert refused == {"authorization": "Bearer t1"}
        assert await credential.renewed(refused) == {"authorization": "Bearer t2"}
        assert [claims_of(asked)["iss"] for asked in endpoint.asked] == [
            ACCOUNT,
            "new@my-project.iam.gserviceaccount.com",
        ]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not json",
        b"[]",
        b"{}",
        b'{"type": "unknown"}',
        b'{"type": "service_account"}',
        b'{"private_key": "SECRET\xff"}',
    ],
)
async def test_a_key_file_that_is_none_is_the_operators_matter_and_stays_out_of_the_log(
    tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "account.json"
    file.write_bytes(content)

    error = await failure_of(GoogleAdc(file))

    assert error.reason == PROVIDER_AUTH_FAILED
    assert error.message.endswith("; the operator must see to the Google key file that credentials_file names.")
    assert "SECRET" not in error.detail


async def test_a_key_file_that_is_not_there_is_not_made_up_for_by_the_surroundings(key_file: Path) -> None:
    error = await failure_of(GoogleAdc(key_file.with_name("other.json")))

    assert error.reason == PROVIDER_AUTH_FAILED
    assert "credentials_file" in error.message


LOGIN = {
    "type": "authorized_user",
    "client_id": "c",
    "client_secret": "s",
    "refresh_token": "r",
    "quota_project_id": "payer",
}


@asynccontextmanager
async def googles_token_endpoint(
    monkeypatch: pytest.MonkeyPatch, folder: Path, status: str, body: bytes
) -> AsyncIterator[list[dict[str, list[str]]]]:
    """Stands in for oauth2.googleapis.com, whose name no login can change: a proxy that keeps the tunnel to itself."""
    authority = trustme.CA()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("oauth2.googleapis.com").configure_cert(tls)
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    asked = []

    def tunnel(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        with tls.wrap_socket(connection, server_side=True) as inside, inside.makefile("rb") as stream:
            head = "".join(line.decode().lower() for line in iter(stream.readline, b"\r\n"))
            (size,) = re.findall(r"content-length: (\d+)", head)
            asked.append(parse_qs(stream.read(int(size)).decode()))
            facts = f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close"
            inside.sendall(f"HTTP/1.1 {status}\r\n{facts}\r\n\r\n".encode() + body)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{listener.getsockname()[1]}")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(folder / "ca.pem"))
        answering = asyncio.create_task(asyncio.to_thread(tunnel, listener))
        yield asked
        await answering


@pytest.mark.parametrize("named_by", ["gcloud", "configuration"])
async def test_a_persons_login_is_a_way_to_get_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named_by: str
) -> None:
    file = tmp_path / "application_default_credentials.json"
    fill(file, json.dumps(LOGIN))
    async with googles_token_endpoint(monkeypatch, tmp_path, "200 OK", TOKEN) as asked:
        headers = await GoogleAdc(file if named_by == "configuration" else None).headers()

        assert headers == {"authorization": "Bearer t1", "x-goog-user-project": "payer"}
        assert [form["refresh_token"] for form in asked] == [["r"]]


async def test_a_persons_login_that_was_withdrawn_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "login.json"
    fill(file, json.dumps(LOGIN))
    refusal = b'{"error": "invalid_grant", "error_description": "Token has been expired or revoked."}'
    async with googles_token_endpoint(monkeypatch, tmp_path, "400 Bad Request", refusal):
        error = await failure_of(GoogleAdc(file))

        assert error.reason == PROVIDER_AUTH_FAILED
        assert error.message.startswith("Google refused the server's credentials; the operator must")
        assert "expired or revoked" in error.detail


@pytest.mark.parametrize("named_by", ["environment", "configuration"])
async def test_workload_identity_exchanges_the_platforms_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named_by: str
) -> None:
    subject, file = tmp_path / "subject", tmp_path / "pool.json"
    fill(subject, "platform-token")
    given = {"access_token": "t1", "issued_token_type": "x", "token_type": "Bearer", "expires_in": 3600}
    async with stand_in(json_answer(given)) as sts:
        pool = {
            "type": "external_account",
            "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"{sts.url}/v1/token",
            "credential_source": {"file": str(subject)},
        }
        fill(file, json.dumps(pool))
        if named_by == "environment":
            monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
            monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "my-project")

        headers = await GoogleAdc(file if named_by == "configuration" else None).headers()

        assert headers == {"authorization": "Bearer t1"}
        assert [parse_qs(asked.body.decode())["subject_token"] for asked in sts.asked] == [["platform-token"]]


async def test_on_googles_machines_the_metadata_server_gives_the_token() -> None:
    """In a process of its own, because google-auth reads the server's address when it is imported."""

    async def metadata(connection: Connection) -> None:
        path = connection.asked.path.partition("?")[0]
        body = METADATA.get(path, b"{}")
        kind = "application/json" if body.startswith(b"{") else "application/text"
        await answer(body, content_type=kind, metadata_flavor="Google")(connection)

    program = (
        "import asyncio; from loom_grpc.credentials.google_adc import GoogleAdc;"
        " print(asyncio.run(GoogleAdc().headers()))"
    )
    async with stand_in(metadata) as server:
        host = server.url.removeprefix("http://")
        environ = os.environ | {"GCE_METADATA_HOST": host, "GCE_METADATA_IP": host, "NO_GCE_CHECK": "false"}

        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, env=environ
        )
        output, _ = await process.communicate()

        assert output == b"{'authorization': 'Bearer t1'}\n"
        assert {asked.headers["metadata-flavor"] for asked in server.asked} == {"Google"}


METADATA = {
    "/computeMetadata/v1/project/project-id": b"my-project",
    "/computeMetadata/v1/universe/universe-domain": b"googleapis.com",
    "/computeMetadata/v1/instance/service-accounts/default/": (
        b'{"email": "vm@my-project.iam.gserviceaccount.com", "aliases": ["default"], "scopes": []}'
    ),
    "/computeMetadata/v1/instance/service-accounts/default/token": TOKEN,
    "/computeMetadata/v1/instance/service-accounts/vm@my-project.iam.gserviceaccount.com/token": TOKEN,
}


async def test_a_caller_that_is_cancelled_does_not_take_the_token_from_the_others(key_file: Path) -> None:
    go_on = asyncio.Event()

    async def hesitate(connection: Connection) -> None:
        await go_on.wait()
        await token("t1")(connection)

    async with stand_in(hesitate) as endpoint:
        at(key_file, endpoint.url)
        credential = GoogleAdc()
        first = asyncio.create_task(credential.headers())
        second = asyncio.create_task(credential.headers())
        await endpoint.arrived.wait()

        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        go_on.set()

        assert await second == {"authorization": "Bearer t1"}
        assert len(endpoint.asked) == 1


async def test_a_quota_project_is_shown_too(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_QUOTA_PROJECT", "payer")
    async with stand_in(token("t1")) as endpoint:
        at(key_file, endpoint.url)

        assert await GoogleAdc().headers() == {"authorization": "Bearer t1", "x-goog-user-project": "payer"}


async def test_a_refused_account_is_the_operators_matter_and_works_once_it_is_put_right(key_file: Path) -> None:
    refusal = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
    async with stand_in(json_answer(refusal, status=400), token("t1")) as endpoint:
        at(key_file, endpoint.url)
        credential = GoogleAdc()

        error = await failure_of(credential)

        assert error.reason == PROVIDER_AUTH_FAILED
        assert "the operator must set GOOGLE_APPLICATION_CREDENTIALS" in error.message
        assert "Invalid JWT Signature" in error.detail
        assert await credential.headers() == {"authorization": "Bearer t1"}


async def test_a_token_endpoint_that_nobody_answers_at_is_a_passing_failure(key_file: Path) -> None:
    async with stand_in(token("t1")) as endpoint:
        at(key_file, endpoint.url)

    error = await failure_of(GoogleAdc())

    assert error.reason == PROVIDER_UNAVAILABLE


async def test_without_any_credentials_the_operator_is_told_what_to_do() -> None:
    error = await failure_of(GoogleAdc())

    assert error.reason == PROVIDER_AUTH_FAILED
    assert error.message.startswith("There are no Google credentials; the operator must")


@pytest.mark.parametrize("content", ["not json", "[]", '{"type": "unknown"}', '{"type": "service_account"}'])
async def test_a_file_that_holds_no_credentials_is_the_operators_matter(key_file: Path, content: str) -> None:
    fill(key_file, content)

    error = await failure_of(GoogleAdc())

    assert error.reason == PROVIDER_AUTH_FAILED
    assert "the operator must" in error.message


async def test_a_token_answer_that_is_no_token_is_a_failure(key_file: Path) -> None:
    async with stand_in(json_answer("hello")) as endpoint:
        at(key_file, endpoint.url)

        error = await failure_of(GoogleAdc())

        assert error.reason == PROVIDER_AUTH_FAILED


async def test_google_auth_is_not_loaded_before_a_token_is_wanted() -> None:
    program = (
        "import sys; from loom_grpc.credentials.google_adc import GoogleAdc; GoogleAdc();"
        " print([name for name in ('google.auth', 'requests') if name in sys.modules])"
    )

    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()

    assert output == b"[]\n"


async def test_the_token_does_not_show_itself(key_file: Path) -> None:
    async with stand_in(token("t1")) as endpoint:
        at(key_file, endpoint.url)
        credential = GoogleAdc()
        await credential.headers()

        assert repr(credential) == "GoogleAdc([REDACTED])"
