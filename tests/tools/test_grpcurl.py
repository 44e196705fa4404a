"""What people see who call the server with grpcurl and have nothing of ours at hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.program import Result, Server, run
from tests.tools.serving import Guarded

LLM = "loom_grpc.v1.LlmService"
# https://github.com/fullstorydev/grpcurl, seen 2026-11-21: a call's failure is this plus the number of its code.
FAILED = 64
RESOURCE_EXHAUSTED, UNAVAILABLE, UNAUTHENTICATED = 8, 14, 16


def asks(model: str, text: str = "Hello, 世界 🌍!") -> str:
    return json.dumps({"model": model, "messages": [{"role": "ROLE_USER", "content": text}]})


def messages_of(out: str) -> list[Any]:
    """Reads messages of JSON that stand one after the other."""
    decoder, found, rest = json.JSONDecoder(), [], out.strip()
    while rest:
        message, end = decoder.raw_decode(rest)
        found.append(message)
        rest = rest[end:].strip()
    return found


def plain(message: Any) -> Any:
    """Takes out of a message what differs from call to call."""
    if isinstance(message, dict):
        return {
            name: plain(value) for name, value in message.items() if name not in ("request_id", "id", "usage", "cost")
        }
    return [plain(value) for value in message] if isinstance(message, list) else message


async def test_it_lists_what_is_served(grpcurl: str, live: Server, tmp_path: Path) -> None:
    services = await run("-plaintext", live.grpc_address, "list", command=[grpcurl], cwd=tmp_path)
    methods = await run("-plaintext", live.grpc_address, "list", LLM, command=[grpcurl], cwd=tmp_path)

    assert services.out.split() == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "loom_grpc.v1.AdminService",
        LLM,
    ]
    assert methods.out.split() == [
        f"{LLM}.{name}" for name in ("Complete", "CountTokens", "Embed", "ListModels", "Stream")
    ]


async def test_it_describes_the_contract(grpcurl: str, live: Server, tmp_path: Path) -> None:
    service = await run("-plaintext", live.grpc_address, "describe", LLM, command=[grpcurl], cwd=tmp_path)
    event = await run(
        "-plaintext", live.grpc_address, "describe", ".loom_grpc.v1.LlmEvent", command=[grpcurl], cwd=tmp_path
    )

    assert "  rpc Stream ( .loom_grpc.v1.LlmRequest ) returns ( stream .loom_grpc.v1.LlmEvent );\n" in service.out
    assert "    .loom_grpc.v1.Completed completed = " in event.out


async def test_it_completes(grpcurl: str, live: Server, tmp_path: Path) -> None:
    result = await run(
        "-plaintext", "-d", asks("mock-echo"), live.grpc_address, f"{LLM}/Complete", command=[grpcurl], cwd=tmp_path
    )

    assert (result.code, result.err) == (0, "")
    assert plain(json.loads(result.out)) == {
        "message": {"role": "ROLE_ASSISTANT", "content": "Hello, 世界 🌍!"},
        "finish_reason": "stop",
        "stop_reason": "STOP_REASON_STOP",
        "provider": "mock",
        "model": "mock-echo",
    }


async def test_it_streams(grpcurl: str, live: Server, tmp_path: Path) -> None:
    result = await run(
        "-plaintext", "-d", asks("mock-echo"), live.grpc_address, f"{LLM}/Stream", command=[grpcurl], cwd=tmp_path
    )
    started, *deltas, completed = messages_of(result.out)

    assert (result.code, result.err) == (0, "")
    assert plain(started) == {"started": {"provider": "mock", "model": "mock-echo", "attempt": 1}}
    assert "".join(delta["text_delta"]["content"] for delta in deltas) == "Hello, 世界 🌍!"
    assert completed["completed"]["response"]["stop_reason"] == "STOP_REASON_STOP"


async def test_a_failure_shows_its_details(grpcurl: str, live: Server, tmp_path: Path) -> None:
    result = await run(
        *("-plaintext", "-format-error", "-d", asks("mock-429"), live.grpc_address, f"{LLM}/Complete"),
        command=[grpcurl],
        cwd=tmp_path,
    )

    assert (result.code, result.out) == (FAILED + RESOURCE_EXHAUSTED, "")
    assert plain(json.loads(result.err)) == {
        "code": RESOURCE_EXHAUSTED,
        "message": "The provider's rate limit is reached; try again later.",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "domain": "loom-grpc",
                "metadata": {"provider_code": "rate_limit_exceeded", "provider_status": "429"},
                "reason": "PROVIDER_RATE_LIMITED",
            },
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retry_delay": "1s"},
        ],
    }


async def test_a_stream_that_fails_shows_what_came_and_why_it_ended(grpcurl: str, live: Server, tmp_path: Path) -> None:
    result = await run(
        *("-plaintext", "-format-error", "-d", asks("mock-cut"), live.grpc_address, f"{LLM}/Stream"),
        command=[grpcurl],
        cwd=tmp_path,
    )
    *deltas, error = messages_of(result.out)
    status = json.loads(result.err)

    assert result.code == FAILED + UNAVAILABLE
    assert error["error"]["partial"]["message"]["content"] == "".join(
        delta["text_delta"]["content"] for delta in deltas if "text_delta" in delta
    )
    assert [status["code"], *(detail["reason"] for detail in status["details"])] == [
        UNAVAILABLE,
        "PROVIDER_UNAVAILABLE",
    ]


async def test_over_tls_and_with_a_key(grpcurl: str, guarded: Guarded, tmp_path: Path) -> None:
    # The key in a variable is no part of the command line, which everybody on the machine can read.
    shown = ["-cacert", str(guarded.ca), "-expand-headers", "-H", "authorization: Bearer ${LOOM_API_KEY}"]
    key = {"LOOM_API_KEY": guarded.caller.key}
    listed = await run(*shown, guarded.address, "list", command=[grpcurl], cwd=tmp_path, env=key)
    called = await run(
        *(*shown, "-d", asks("mock-echo", "hi"), guarded.address, f"{LLM}/Stream"),
        command=[grpcurl],
        cwd=tmp_path,
        env=key,
    )

    assert LLM in listed.out.split()
    assert messages_of(called.out)[-1]["completed"]["response"]["message"]["content"] == "hi"


async def test_without_a_key_nothing_is_shown(grpcurl: str, guarded: Guarded, tmp_path: Path) -> None:
    tls = ["-cacert", str(guarded.ca)]
    listed = await run(*tls, guarded.address, "list", command=[grpcurl], cwd=tmp_path)
    called = await refused(grpcurl, guarded, tmp_path)

    assert (listed.code, listed.out) == (1, "")
    assert "Unauthenticated" in listed.err
    assert (called.code, called.out) == (FAILED + UNAUTHENTICATED, "")


async def refused(grpcurl: str, guarded: Guarded, folder: Path) -> Result:
    """Calls without a key and by the files of the contract, since reflection is not to be had without one either."""
    proto = Path(__file__).parents[2] / "proto"
    files = ["-import-path", str(proto), "-proto", "loom_grpc/v1/llm_service.proto"]
    return await run(
        *(*files, "-cacert", str(guarded.ca), "-d", asks("mock-echo"), guarded.address, f"{LLM}/Complete"),
        command=[grpcurl],
        cwd=folder,
    )
