"""Google's application default credentials, against a stand-in for the token endpoint."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from loom_grpc.core.errors import PROVIDER_AUTH_FAILED, PROVIDER_UNAVAILABLE, LlmError
from loom_grpc.credentials.google_adc import GoogleAdc
from tests.stand_in import Connection, Script, json_answer, stand_in

ACCOUNT = "loom@my-project.iam.gserviceaccount.com"


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


@pytest.fixture
def key_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, private_key: str) -> Path:
    """A service account's key; its token endpoint is written in by `at`."""
    file = tmp_path / "key.json"
    key = {
        "type": "service_account",
        "project_id": "my-project",
        "client_email": ACCOUNT,
        "private_key_id": "k1",
        "private_key": private_key,
    }
    file.write_text(json.dumps(key))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    return file


def at(key_file: Path, url: str) -> None:
    key_file.write_text(json.dumps(json.loads(key_file.read_text()) | {"token_uri": f"{url}/token"}))


def fill(file: Path, content: str) -> None:
    file.write_text(content)


def token(name: str, expires_in: int = 3600) -> Script:
    return json_answer({"access_token": name, "expires_in": expires_in, "token_type": "Bearer"})


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
        (assertion,) = parse_qs(asked.body.decode())["assertion"]
        claims = json.loads(base64.urlsafe_b64decode(assertion.split(".")[1] + "=="))
        assert (asked.method, asked.path) == ("POST", "/token")
        assert (claims["iss"], claims["scope"]) == (ACCOUNT, "https://www.googleapis.com/auth/cloud-platform")


async def test_a_token_is_renewed_in_its_last_minute(key_file: Path) -> None:
    async with stand_in(token("t1", expires_in=59), token("t2")) as endpoint:
        at(key_file, endpoint.url)
        credential = GoogleAdc()

        assert await credential.headers() == {"authorization": "Bearer t1"}
        assert await credential.headers() == {"authorization": "Bearer t2"}


async def test_callers_at_one_time_share_one_renewal(key_file: Path) -> None:
    async with stand_in(token("t1"), token("t2")) as endpoint:
        at(key_file, endpoint.url)
        credential = GoogleAdc()

        shown = await asyncio.gather(*(credential.headers() for _ in range(20)))

        assert shown == [{"authorization": "Bearer t1"}] * 20
        assert len(endpoint.asked) == 1


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
