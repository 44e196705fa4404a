"""`loom-grpc models` and `loom-grpc health` as processes of their own."""

from __future__ import annotations

import json
from pathlib import Path

from loom_grpc.client import Model
from loom_grpc.v1.llm_service_pb2 import ListModelsResponse
from tests.program import Result, Server, run
from tests.scripted import answers, serving

MODELS = ListModelsResponse(
    models=[
        Model(provider="anthropic", id="claude-sonnet-4-5", display_name="Claude Sonnet 4.5", is_default=True),
        Model(provider="mock", id="mock\x1becho"),
    ]
)


async def test_models_are_a_table(tmp_path: Path) -> None:
    async with serving() as server:
        server.play = answers(MODELS)

        result = await run("models", "--target", server.target, "--provider", "mock", cwd=tmp_path)

    assert result == Result(
        0,
        "PROVIDER   MODEL              DEFAULT\nanthropic  claude-sonnet-4-5  *\nmock       mock\ufffdecho\n",
        "",
    )
    assert [request.provider for request in server.requests] == ["mock"]


async def test_models_as_json(tmp_path: Path) -> None:
    async with serving() as server:
        server.play = answers(MODELS)

        result = await run("models", "--target", server.target, "--json", cwd=tmp_path)

    assert json.loads(result.out) == [
        {
            "provider": "anthropic",
            "id": "claude-sonnet-4-5",
            "display_name": "Claude Sonnet 4.5",
            "is_default": True,
        },
        {"provider": "mock", "id": "mock\x1becho", "display_name": "", "is_default": False},
    ]


async def test_no_models_are_said_to_be_none(tmp_path: Path) -> None:
    async with serving() as server:
        server.play = answers(ListModelsResponse())

        result = await run("models", "--target", server.target, cwd=tmp_path)

    assert result == Result(0, "PROVIDER  MODEL  DEFAULT\n", "the server lists no models; name one with --model\n")


async def test_a_provider_that_is_not_configured_is_an_error(live_server: Server, tmp_path: Path) -> None:
    result = await run("models", "-p", "anthropic", "--target", live_server.grpc_address, cwd=tmp_path)

    advice = "give the server its key, or see `loom-grpc models` for what there is"
    message = f"error: Anthropic provider is not configured on the server; {advice} (PROVIDER_NOT_CONFIGURED)\n"
    assert result == Result(1, "", message)


async def test_a_server_that_serves_is_healthy(live_server: Server, tmp_path: Path) -> None:
    whole = await run("health", "--target", live_server.grpc_address, cwd=tmp_path)
    service = await run(
        "health", "--service", "loom_grpc.v1.LlmService", env={"LOOM_TARGET": live_server.grpc_address}, cwd=tmp_path
    )

    assert whole == service == Result(0, "SERVING\n", "")


async def test_an_unknown_service_is_not_healthy(live_server: Server, tmp_path: Path) -> None:
    result = await run("health", "--service", "nope", "--target", live_server.grpc_address, cwd=tmp_path)

    assert result == Result(1, "SERVICE_UNKNOWN\n", "")


async def test_a_missing_server_is_not_healthy(tmp_path: Path, unused_tcp_port: int) -> None:
    target = f"127.0.0.1:{unused_tcp_port}"

    result = await run("health", "--target", target, cwd=tmp_path)

    assert result == Result(1, "", f"error: no server at {target}; start one with `loom-grpc serve`\n")
