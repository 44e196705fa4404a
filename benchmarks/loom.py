"""Our server, started as anybody would start it, with the stand-in provider for OpenAI."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack

from benchmarks.load import Speaks
from benchmarks.measure import Target
from benchmarks.process import Process, free_port

_SERVE = [sys.executable, "-m", "loom_grpc.cli", "serve"]


def start(
    stack: ExitStack, name: str, upstream_port: int, otlp_port: int | None = None, more: Mapping[str, str] | None = None
) -> tuple[Process, list[Target]]:
    """Starts a server, which the stack will stop, and returns its two ways in; exports by OTLP when a port is given.

    `more` are further variables of its environment.
    """
    grpc_port, http_port = free_port(), free_port()
    environ = {
        "LOOM_PROVIDERS__OPENAI__BASE_URL": f"http://127.0.0.1:{upstream_port}/v1",
        "LOOM_PROVIDERS__OPENAI__API_KEY": "sk-bench",
        **(more or {}),
    }
    if otlp_port:
        environ["LOOM_TELEMETRY__OTLP_ENDPOINT"] = f"http://127.0.0.1:{otlp_port}"
    addresses = ["--grpc-address", f"127.0.0.1:{grpc_port}", "--http-address", f"127.0.0.1:{http_port}"]
    process = stack.enter_context(Process(name, [*_SERVE, *addresses], environ))
    process.wait_until_serving(http_port, "/readyz")
    return process, [
        Target(f"{name} gRPC", "grpc", grpc_port, process=process),
        Target(f"{name} /proxy", "proxy", http_port, "/proxy/openai", process=process),
    ]


def front_ends(process: Process, http_port: int) -> list[Target]:
    """Returns the ways in for callers of other APIs; the provider behind speaks Chat Completions."""
    ways: dict[str, tuple[Speaks, str]] = {
        "/v1/chat/completions": ("openai", "/v1/chat/completions"),
        "/v1/responses": ("responses", "/v1/responses"),
        "/v1/messages": ("anthropic", "/v1/messages"),
        "/v1beta/models": ("gemini", "/v1beta/models"),
    }
    return [Target(name, speaks, http_port, path, "openai/", process=process) for name, (speaks, path) in ways.items()]


def start_module(stack: ExitStack, module: str) -> tuple[Process, int]:
    """Starts one of the benchmark's own servers, such as `upstream`, and returns its port."""
    port = free_port()
    process = stack.enter_context(Process(module, [sys.executable, "-m", f"benchmarks.{module}", str(port)]))
    process.wait_until_serving(port)
    return process, port
