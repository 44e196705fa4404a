"""`loom-grpc models` and `loom-grpc health` as processes of their own."""

from __future__ import annotations

import json
from pathlib import Path

from loom_grpc.client import Model
from loom_grpc.v1.llm_service_pb2 import ListModelsResponse, ModelAbilities, ModelPrices
from tests.program import Result, Server, run
from tests.scripted import answers, serving

MODELS = ListModelsResponse(
    models=[
        Model(provider="anthropic", id="claude-sonnet-4-5", display_name="Claude Sonnet 4.5", is_default=True),
        Model(provider="mock", id="mock\x1becho"),
    ]
)
KNOWN = ListModelsResponse(
    models=[
        Model(id="smart", targets=["anthropic/claude-opus-4-6", "mock"], is_default=True, context_tokens=1_000_000),
        Model(
            provider="anthropic",
            id="claude-opus-4-6",
            context_tokens=1_000_000,
            max_output_tokens=64_000,
            abilities=ModelAbilities(tools=True, images=True, audio=False, prefill=True),
            prices=ModelPrices(
                currency_code="USD", input_nanos=5_000_000_000, output_nanos=300_000_000, cache_read_nanos=0
            ),
        ),
        Model(provider="mock", id="mock-words", prices=ModelPrices(currency_code="USD")),
    ]
)
UNKNOWN: dict[str, object] = {
    "targets": [],
    "context_tokens": None,
    "max_output_tokens": None,
    "abilities": {},
    "prices": None,
}


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

    named = {
        "provider": "anthropic",
        "id": "claude-sonnet-4-5",
        "display_name": "Claude Sonnet 4.5",
        "is_default": True,
    }
    assert json.loads(result.out) == [
        named | UNKNOWN,
        {"provider": "mock", "id": "mock\x1becho", "display_name": "", "is_default": False} | UNKNOWN,
    ]


async def test_what_is_known_of_models_has_its_columns(tmp_path: Path) -> None:
    async with serving() as server:
        server.play = answers(KNOWN)

        result = await run("models", "--target", server.target, cwd=tmp_path)

    assert result.out.splitlines() == [
        "PROVIDER   MODEL            DEFAULT  CONTEXT    OUTPUT  $/M IN  $/M OUT  ABILITIES               ASKS",
        "           smart            *        1,000,000                                                   anthropic/claude-opus-4-6, mock",
        "anthropic  claude-opus-4-6           1,000,000  64,000  5       0.3      tools, images, prefill",
        "mock       mock-words                                   0       0",
    ]


async def test_what_is_known_of_models_as_json(tmp_path: Path) -> None:
    async with serving() as server:
        server.play = answers(KNOWN)

        result = await run("models", "--target", server.target, "--json", cwd=tmp_path)

    route, opus, words = json.loads(result.out)
    assert (route["targets"], route["context_tokens"]) == (["anthropic/claude-opus-4-6", "mock"], 1_000_000)
    assert (opus["context_tokens"], opus["max_output_tokens"]) == (1_000_000, 64_000)
    assert opus["abilities"] == {"tools": True, "images": True, "audio": False, "prefill": True}
    assert opus["prices"] == {
        "currency_code": "USD",
        "input_nanos": 5_000_000_000,
        "output_nanos": 300_000_000,
        "cache_read_nanos": 0,
    }
    assert words["prices"] == {"currency_code": "USD", "input_nanos": 0, "output_nanos": 0}


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
