"""Vertex AI behind a real server: Google's token endpoint and Vertex itself are stand-ins."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from loom_grpc.config import Config
from loom_grpc.v1.llm_service_pb2 import LlmRequest
from loom_grpc.v1.message_pb2 import ROLE_USER, Message
from tests.server.serving import serving
from tests.stand_in import Connection, json_answer, stand_in

CLAUDE = LlmRequest(provider="vertex", model="claude-sonnet-4-5", messages=[Message(role=ROLE_USER, content="hi")])
RAW_PREDICT = "/v1/projects/p/locations/europe-west1/publishers/anthropic/models/claude-sonnet-4-5:rawPredict"
ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [{"type": "text", "text": "Hello."}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 3, "output_tokens": 1},
}
FORBIDDEN = {"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "Permission denied."}}


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(scope="module")
def private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def key_file(tmp_path: Path, account: str, private_key: str, token_url: str) -> Path:
    """Writes a service account's key."""
    file = tmp_path / f"{account}.json"
    info = {"type": "service_account", "client_email": account, "private_key": private_key, "token_uri": token_url}
    file.write_text(json.dumps(info))
    return file


def configuration(tmp_path: Path, private_key: str, token_url: str, vertex_url: str) -> Config:
    """Configures two service accounts, of which `a` comes first."""
    accounts = {id: {"credentials_file": key_file(tmp_path, id, private_key, token_url)} for id in ("a", "b")}
    vertex: dict[str, Any] = {"project": "p", "location": "europe-west1", "base_url": vertex_url, "accounts": accounts}
    return Config.model_validate(
        {
            "grpc": {"address": "127.0.0.1:0"},
            "providers": {"vertex": vertex},
            "credentials": {"file": tmp_path / "credentials.json"},
        }
    )


async def give_token(connection: Connection) -> None:
    """Gives the token `token-of-<account>` for a signed assertion."""
    (assertion,) = parse_qs(connection.asked.body.decode())["assertion"]
    account = json.loads(base64.urlsafe_b64decode(assertion.split(".")[1] + "=="))["iss"]
    token = {"access_token": f"token-of-{account}", "expires_in": 3600, "token_type": "Bearer"}
    await json_answer(token)(connection)


async def test_fifty_calls_at_the_start_fetch_one_token_for_each_account(tmp_path: Path, private_key: str) -> None:
    async with (
        stand_in(give_token) as google,
        stand_in(json_answer(ANSWER)) as vertex,
        serving(configuration(tmp_path, private_key, google.url, vertex.url)) as server,
    ):
        answers = await asyncio.gather(*(server.stub.Complete(CLAUDE) for _ in range(50)))

    assert [answer.message.content for answer in answers] == ["Hello."] * 50
    assert len(google.asked) == 2
    assert Counter((asked.path, asked.headers["authorization"]) for asked in vertex.asked) == {
        (RAW_PREDICT, "Bearer token-of-a"): 25,
        (RAW_PREDICT, "Bearer token-of-b"): 25,
    }


async def test_what_one_service_account_may_not_do_another_one_does(tmp_path: Path, private_key: str) -> None:
    async def answer(connection: Connection) -> None:
        refused = connection.asked.headers["authorization"] == "Bearer token-of-a"
        await (json_answer(FORBIDDEN, status=403) if refused else json_answer(ANSWER))(connection)

    async with (
        stand_in(give_token) as google,
        stand_in(answer) as vertex,
        serving(configuration(tmp_path, private_key, google.url, vertex.url)) as server,
    ):
        answers = [await server.stub.Complete(CLAUDE) for _ in range(3)]

    assert [answer.message.content for answer in answers] == ["Hello."] * 3
    shown = [asked.headers["authorization"].removeprefix("Bearer token-of-") for asked in vertex.asked]
    assert shown == ["a", "b", "b", "b"]
