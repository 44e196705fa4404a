"""A client of the first contract against today's server."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from loom_grpc.client import LlmRequest
from tests.program import Server

HERE = Path(__file__).parent
CONTRACT = HERE / "first_contract"
MESSAGES = [{"role": "ROLE_USER", "content": "Hello there"}]
TOOL = {"name": "f", "description": "Does it.", "input_schema_json": "{}"}
FULL: dict[str, Any] = {
    "provider": "mock",
    "model": "mock-echo",
    "messages": [
        {"role": "ROLE_SYSTEM", "content": "Be brief."},
        {"role": "ROLE_USER", "parts": [{"text": "a"}, {"image": {"data": "AAE=", "media_type": "image/png"}}]},
        {"role": "ROLE_ASSISTANT", "tool_calls": [{"id": "c", "tool_name": "f", "arguments_json": "{}"}]},
        {"role": "ROLE_TOOL", "content": "r", "tool_call_id": "c", "name": "f"},
    ],
    "tools": [TOOL],
    "max_tokens": 5,
    "temperature": 0.0,
    "top_p": 0.5,
    "top_k": 3,
    "seed": "7",
    "stop": ["x"],
    "tool_choice": {"mode": "MODE_TOOL", "tool_name": "f"},
    "response_format": {"json_schema": {"name": "n", "schema_json": "{}"}},
    "reasoning": {"effort": "low"},
    "session_id": "s",
    "labels": {"team": "a"},
    "provider_options_json": "{}",
}
REQUESTS = {
    "good": {"provider": "mock", "model": "mock-echo", "messages": MESSAGES},
    "wrong": {"provider": "mock", "model": "no-such-model", "messages": MESSAGES},
    "cut": {"provider": "mock", "model": "mock-cut", "messages": MESSAGES},
    "full": FULL,
}


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generates the first contract's stubs."""
    folder = tmp_path_factory.mktemp("stubs")
    protos = sorted(str(path) for path in CONTRACT.rglob("*.proto"))
    outputs = [f"--python_out={folder}", f"--grpc_python_out={folder}"]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{CONTRACT}", *outputs, *protos]
    subprocess.run(command, check=True)  # noqa: S603
    for package in ("loom_grpc", "loom_grpc/v1"):  # without these, today's package would be found instead
        (folder / package / "__init__.py").touch()
    return folder


@pytest.fixture(scope="module")
def outcome(stubs: Path, live_server: Server) -> dict[str, Any]:
    """Everything that the old client understood."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-P", str(HERE / "first_client.py"), live_server.grpc_address],
        input=json.dumps(REQUESTS),
        capture_output=True,
        text=True,
        check=False,
        cwd=stubs,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(stubs)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


def answer(response: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(response[name] for name in ("message", "stop_reason", "finish_reason", "provider", "model"))


ANSWER = (
    {"role": "ROLE_ASSISTANT", "content": "Hello there"},
    "STOP_REASON_STOP",
    "stop",
    "mock",
    "mock-echo",
)


def test_it_is_a_client_of_the_first_contract(outcome: dict[str, Any]) -> None:
    assert outcome["methods"] == ["Complete", "Stream", "ListModels", "CountTokens"]


def test_it_gets_a_whole_answer(outcome: dict[str, Any]) -> None:
    assert answer(outcome["complete"]) == ANSWER
    assert outcome["complete"]["usage"]["output_tokens"] == "2"


def test_it_gets_a_stream_to_its_end(outcome: dict[str, Any]) -> None:
    events = outcome["stream"]

    assert [*map(list, events)] == [["started"], ["text_delta"], ["text_delta"], ["completed"]]
    assert answer(events[-1]["completed"]["response"]) == ANSWER


def test_it_counts_tokens(outcome: dict[str, Any]) -> None:
    counted = outcome["count_tokens"]

    assert int(counted.pop("input_tokens")) > 0
    assert counted == {"estimated": True, "provider": "mock", "model": "mock-echo"}


def test_it_lists_models_page_by_page(outcome: dict[str, Any]) -> None:
    page = outcome["list_models"]

    assert [(model["provider"], model["id"]) for model in page["models"]] == [
        ("mock", "mock-401"),
        ("mock", "mock-429"),
    ]
    assert page["next_page_token"] != ""


def test_it_reads_errors(outcome: dict[str, Any]) -> None:
    assert outcome["wrong"] == {"code": "NOT_FOUND", "reason": "MODEL_NOT_FOUND", "domain": "loom-grpc"}


def test_it_reads_errors_in_mid_stream(outcome: dict[str, Any]) -> None:
    *events, error, status = outcome["cut"]

    assert "".join(event["text_delta"]["content"] for event in events[1:]) == "Hello! I am the "
    assert error["error"]["reason"] == "ERROR_REASON_PROVIDER_UNAVAILABLE"
    assert error["error"]["partial"]["message"]["content"] == "Hello! I am the "
    assert status == {"code": "UNAVAILABLE", "reason": "PROVIDER_UNAVAILABLE", "domain": "loom-grpc"}


def test_every_field_of_its_request_means_today_what_it_meant(outcome: dict[str, Any]) -> None:
    request = LlmRequest.FromString(base64.b64decode(outcome["full"]))

    assert MessageToDict(request, preserving_proto_field_name=True) == FULL
