"""`loom-grpc serve` as a process of its own."""

from __future__ import annotations

import json
import shlex
import signal
import socket
from pathlib import Path

import aiohttp
import pytest
from google.protobuf.json_format import Parse

from loom_grpc.client import LlmEvent, LlmRequest, LoomClient, StopReason, user
from loom_grpc.providers.mock import MODELS
from tests.program import Result, Server, at_terminal, run, served

FREE = ("--grpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0")
HELLO = MODELS["mock-words"].text


def line(server: Server, program: str) -> list[str]:
    """Returns the words of the line that the banner gives for a program."""
    tail = server.banner.partition("Try it:\n")[2]
    return next(words for text in tail.splitlines() if (words := shlex.split(text))[0] == program)


def events_of(body: str) -> list[str]:
    return [json.loads(text.removeprefix("data: "))["type"] for text in body.splitlines() if text.startswith("data: ")]


# The lines to try


async def test_the_chat_line_answers(live_server: Server, tmp_path: Path) -> None:
    result = await run(*line(live_server, "loom-grpc")[1:], cwd=tmp_path)

    assert (result.code, result.out) == (0, f"{HELLO}\n")
    assert result.err.startswith("mock/mock-words · stop · ")


async def test_the_curl_line_answers(live_server: Server) -> None:
    words = line(live_server, "curl")
    assert (words[1], words[3], words[5]) == ("-N", "-H", "-d")
    headers = dict([words[4].split(": ")])

    async with aiohttp.ClientSession() as session, session.post(words[2], data=words[6], headers=headers) as answer:
        body = await answer.text()

    assert (answer.status, events_of(body)[-1]) == (200, "completed")


async def test_the_grpcurl_line_answers(live_server: Server) -> None:
    words = line(live_server, "grpcurl")
    assert (words[1:3], words[5]) == (["-plaintext", "-d"], "loom_grpc.v1.LlmService/Stream")

    async with LoomClient(words[4]) as client, client.stream(Parse(words[3], LlmRequest())) as stream:
        events: list[LlmEvent] = [event async for event in stream]

    assert events[-1].completed.response.message.content == HELLO


async def test_without_keys_the_banner_says_so_and_what_to_do(live_server: Server) -> None:
    assert "  providers  mock (mock-words)\n             No key was found" in live_server.banner
    assert "ANTHROPIC_API_KEY" in live_server.banner


# The client against it


async def test_the_client_gets_whole_answers_and_streams(live_server: Server) -> None:
    async with LoomClient(live_server.grpc_address) as client:
        answer = await client.complete("Hello", model="mock-echo")
        streamed = [event.text_delta.content async for event in client.stream("Hello", model="mock-echo")]
        models = await client.list_models("mock")
        counted = await client.count_tokens(messages=[user("Hello")])

    assert answer.message.content == "".join(streamed) == "Hello"
    assert answer.stop_reason == StopReason.STOP_REASON_STOP
    assert {model.id for model in models} >= set(MODELS)
    assert [model.id for model in models if model.is_default] == ["mock-words"]
    assert (counted.estimated, counted.provider, counted.input_tokens > 0) == (True, "mock", True)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("mock-quota", "(PROVIDER_QUOTA_EXCEEDED)"),
        ("mock-cut", "(PROVIDER_UNAVAILABLE)"),
        ("mock-truncated", "(PROVIDER_BAD_RESPONSE)"),
        ("nope", "see ListModels; `loom-grpc models` lists what there is (MODEL_NOT_FOUND)"),
    ],
)
async def test_failures_of_a_model_are_one_line(live_server: Server, tmp_path: Path, model: str, message: str) -> None:
    result = await run("chat", "Hi", "--model", model, "--target", live_server.grpc_address, cwd=tmp_path)

    assert result.code == 1
    assert result.err.startswith("error: ")
    assert result.err.endswith(f"{message}\n")
    assert result.err.count("\n") == 1


# Starting and stopping


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_well(tmp_path: Path, number: signal.Signals) -> None:
    with served("serve", *FREE, cwd=tmp_path) as server:
        server.process.send_signal(number)

        assert server.process.wait(20) == 0


async def test_several_workers_answer_at_one_address(tmp_path: Path) -> None:
    with served("serve", *FREE, "--workers", "2", cwd=tmp_path) as server:
        async with LoomClient(server.grpc_address) as client:
            answer = await client.complete("Hello", model="mock-echo")

        assert server.stop() == 0
    assert answer.message.content == "Hello"


def test_a_file_in_the_working_directory_is_used_and_named(tmp_path: Path) -> None:
    (tmp_path / "loom.yaml").write_text(
        "providers: {mock: {}, groq: {api_key: k, default_model: m}}\nlog: {level: error}\n"
    )

    with served("serve", "--grpc-address", "127.0.0.1:0", "--no-http", cwd=tmp_path) as server:
        banner = server.banner

    assert "  config     loom.yaml\n" in banner
    assert "  providers  mock (mock-words), groq (m)\n\n" in banner
    assert "HTTP" not in banner
    assert "curl -" not in banner.replace("grpcurl -", "")
    assert "chat 'Say hello' --provider mock --target" in banner


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        result = await run("serve", "--grpc-address", address, "--no-http", "--log-level", "error", cwd=tmp_path)

    message = f"error: grpc.address: cannot listen on {address}; another program may have it\n"
    assert (result.code, result.out, result.err) == (1, "", message)


async def test_a_port_that_is_taken_for_http_is_named_too(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        result = await run(
            *("serve", "--grpc-address", "127.0.0.1:0", "--http-address", address, "--log-level", "error"), cwd=tmp_path
        )

    message = f"error: http.address: cannot listen on {address}: Address already in use\n"
    assert (result.code, result.out, result.err) == (1, "", message)


async def test_an_open_address_without_access_control_is_refused(tmp_path: Path) -> None:
    result = await run("serve", "--grpc-address", "0.0.0.0:0", "--http-address", "0.0.0.0:0", cwd=tmp_path)

    assert (result.code, result.out) == (1, "")
    assert [text.partition(":")[0] for text in result.err.splitlines()] == ["error", "error"]
    assert "nothing controls who calls; listen on 127.0.0.1" in result.err


async def test_every_problem_of_the_configuration_is_a_line(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("grcp: {}\nworkers: none\n")

    result = await run("serve", env={"LOOM_CONFIG": "other.yaml"}, cwd=tmp_path)

    assert result == Result(
        1,
        "",
        "error: grcp: unknown key; did you mean grpc? (file other.yaml:1)\n"
        "error: workers: must be a valid integer (file other.yaml:2)\n",
    )


async def test_ctrl_c_at_a_terminal_ends_it_well(tmp_path: Path) -> None:
    async with at_terminal("serve", *FREE, "--log-level", "error", cwd=tmp_path) as terminal:
        await terminal.until(" chat ")
        terminal.type("\x03")

        assert await terminal.ends() == 0
