"""What is under which path, and what is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from loom_grpc import __version__
from loom_grpc.core.call import Call, Send
from loom_grpc.core.errors import PROVIDER_UNAVAILABLE, LlmError
from loom_grpc.core.ports import ProviderState
from tests.shim.serving import HI, Script, configuration, plays, shim


def states(**healthy: bool) -> list[ProviderState]:
    """Makes the states of configured providers, and of one that is not."""
    known = [
        ProviderState(name, name.title(), True, "healthy" if good else "unhealthy", "" if good else "Oh.")
        for name, good in healthy.items()
    ]
    return [*known, ProviderState("vertex", "Vertex", configured=False)]


def provider(name: str) -> dict[str, str]:
    return {"name": name, "status": "healthy", "mode": "api_key"}


def sick(name: str) -> dict[str, str]:
    return {"name": name, "status": "unhealthy", "mode": "api_key", "error": "Oh."}


async def test_health_is_looms() -> None:
    async with shim() as server:
        answer = await server.get("/health")

    said = datetime.fromisoformat(answer.json["timestamp"])
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json == {
        "status": "healthy",
        "timestamp": answer.json["timestamp"],
        "duration_ms": answer.json["duration_ms"],
        "version": {"version": __version__},
        "components": {"llm_providers": {"status": "healthy", "providers": [provider("mock")]}},
    }
    assert datetime.now(UTC) - said < timedelta(minutes=1)
    assert isinstance(answer.json["duration_ms"], int)


@pytest.mark.parametrize(
    ("known", "status", "word", "providers"),
    [
        (states(a=True, b=True), 200, "healthy", [provider("a"), provider("b")]),
        (states(a=True, b=False), 200, "degraded", [provider("a"), sick("b")]),
        (states(a=False, b=False), 503, "unhealthy", [sick("a"), sick("b")]),
        (
            states(),
            200,
            "degraded",
            [{"name": "none", "status": "degraded", "error": "LLM service not configured"}],
        ),
    ],
)
async def test_health_is_as_good_as_that_of_the_providers(
    known: list[ProviderState], status: int, word: str, providers: list[Any]
) -> None:
    script = plays()
    script.states = known
    async with shim(gateway=script) as server:
        answer = await server.get("/health")

    assert (answer.status, answer.json["status"]) == (status, word)
    assert answer.json["components"] == {"llm_providers": {"status": word, "providers": providers}}


async def test_health_is_unknown_while_nobody_can_say() -> None:
    class Mute(Script):
        async def providers(self) -> list[ProviderState]:
            raise LlmError(PROVIDER_UNAVAILABLE, "No server at 127.0.0.1:1.")

    async def play(call: Call, send: Send) -> None:
        """Is not asked."""

    async with shim(gateway=Mute(play)) as server:
        answer = await server.get("/health")

    assert (answer.status, answer.json["status"]) == (503, "unknown")
    assert answer.json["components"]["llm_providers"]["providers"] == [
        {"name": "none", "status": "unknown", "error": "No server at 127.0.0.1:1."}
    ]


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_a_server_that_serves_is_alive_and_ready(path: str) -> None:
    async with shim() as server:
        answer = await server.get(path)
        head = await server.get(path, "HEAD")

    assert (answer.status, answer.body) == (200, b"ok")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "2")


async def test_metrics_are_prometheus_text() -> None:
    async with shim() as server:
        await server.post("/proxy/mock/complete", HI | {"model": "mock-echo"})
        answer = await server.get("/metrics")

    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    samples = [sample for family in text_string_to_metric_families(answer.body.decode()) for sample in family.samples]
    calls = [sample for sample in samples if sample.name == "loom_calls_total"]
    assert [(set(sample.labels.values()), sample.value) for sample in calls] == [({"http", "mock", "OK"}, 1.0)]


@pytest.mark.parametrize(
    "path", ["/", "/proxy", "/proxy/mock", "/proxy/mock/other", "/proxy/a/b/complete", "/health/", "/v1"]
)
async def test_an_address_that_is_not_there_is_404(path: str) -> None:
    async with shim() as server:
        answer = await server.get(path)

    assert (answer.status, answer.json) == (
        404,
        {
            "error": "not_found",
            "message": "There is nothing at this address; calls go to /proxy/{provider}/complete or /proxy/{provider}/stream.",
        },
    )


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/proxy/mock/complete", {"POST"}),
        ("OPTIONS", "/proxy/mock/stream", {"POST"}),
        ("POST", "/health", {"GET", "HEAD"}),
        ("DELETE", "/metrics", {"GET", "HEAD"}),
    ],
)
async def test_a_wrong_method_is_405_with_the_right_ones(method: str, path: str, allowed: set[str]) -> None:
    async with shim() as server:
        answer = await server.get(path, method)

    assert answer.status == 405
    assert answer.json == {
        "error": "method_not_allowed",
        "message": "This address takes another method; see the header Allow.",
    }
    assert set(answer.headers["allow"].split(", ")) == allowed


PAGE = {"origin": "https://app.example.org"}
PREFLIGHT = PAGE | {"access_control_request_method": "POST", "access_control_request_headers": "x-request-id"}


async def test_pages_of_other_origins_may_not_call_unless_they_are_configured() -> None:
    async with shim() as server:
        answer = await server.get("/livez", **PAGE)

    assert "access-control-allow-origin" not in answer.headers


async def test_pages_of_configured_origins_may_call_and_read_the_headers() -> None:
    config = configuration({"cors": {"allow_origins": ["https://app.example.org"], "max_age_s": 60}})
    async with shim(config) as server:
        preflight = await server.get("/proxy/mock/stream", "OPTIONS", **PREFLIGHT)
        answer = await server.post("/proxy/mock/stream", HI | {"model": "mock-echo"}, **PAGE)
        refused = await server.post("/proxy/mock/stream", b"", **PAGE)
        stranger = await server.get("/livez", origin="https://evil.example.org")

    assert preflight.status == 200
    assert preflight.headers["access-control-allow-headers"] == "x-request-id"
    assert preflight.headers["access-control-max-age"] == "60"
    for reply in (preflight, answer, refused):
        assert reply.headers["access-control-allow-origin"] == "https://app.example.org"
    assert "loom-request-id" in answer.headers["access-control-expose-headers"]
    assert answer.events[-1]["type"] == "completed"
    assert "access-control-allow-origin" not in stranger.headers


async def test_no_header_tells_what_the_server_is_made_of() -> None:
    async with shim() as server:
        answer = await server.get("/livez")

    assert set(answer.headers) == {"date", "content-length", "content-type"}
