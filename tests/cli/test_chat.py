"""`loom-grpc chat` as a process of its own, against a server whose answers the tests write."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from loom_grpc.client import (
    ErrorReason,
    LlmEvent,
    LlmRequest,
    LlmResponse,
    Message,
    StopReason,
    assistant,
    system,
    user,
)
from loom_grpc.v1.llm_service_pb2 import Completed, Error, ThinkingDelta, ToolCallDelta
from loom_grpc.v1.message_pb2 import Citation, Opaque, Part
from loom_grpc.v1.usage_pb2 import Cost, Usage
from tests.program import COMMAND, WAIT_S, Result, at_terminal, environment, run
from tests.scripted import COMPLETED, STARTED, Context, Script, aborts, info, plays, serving, stays, text

RICH = LlmResponse(
    message=Message(content="Hello there."),
    provider="mock",
    model="m",
    finish_reason="stop",
    stop_reason=StopReason.STOP_REASON_STOP,
    usage=Usage(input_tokens=12, output_tokens=30, cache_read_tokens=4, reasoning_tokens=10),
    cost=Cost(nanos=1_500_000, currency_code="USD"),
)
RICH_EVENTS = (
    STARTED,
    LlmEvent(thinking_delta=ThinkingDelta(content="Hm")),
    LlmEvent(thinking_delta=ThinkingDelta(content="m.")),
    text("Hello "),
    text("there."),
    LlmEvent(tool_call_delta=ToolCallDelta(call_id="1", tool_name="weather", arguments_fragment='{"city":')),
    LlmEvent(tool_call_delta=ToolCallDelta(call_id="1", tool_name="weather", arguments_fragment='"Oslo"}')),
    LlmEvent(tool_call_delta=ToolCallDelta(call_id="2", tool_name="time", arguments_fragment="{}", index=1)),
    LlmEvent(part=Part(citation=Citation(title="A page", url="https://example.com"))),
    LlmEvent(part=Part(opaque=Opaque(type="web_search_call", block_json="{}"))),
    LlmEvent(completed=Completed(response=RICH)),
)
SUMMARY = r"mock/m · stop · 12 in \(4 cached\) · 30 out \(10 reasoning\) · \d+ tokens/s · \d+\.\d s · 0\.001500 USD"


@pytest.fixture
async def server() -> AsyncIterator[Script]:
    async with serving() as script:
        script.play = plays(STARTED, text("hi"), COMPLETED)
        yield script


async def chat(server: Script, *arguments: str | bytes, **options: Any) -> Result:
    return await run("chat", "--target", server.target, *arguments, **options)


# What is asked


async def test_the_flags_make_the_request(server: Script, tmp_path: Path) -> None:
    flags = ("--model", "m", "--provider", "mock", "--system", "Be brief.")

    result = await chat(server, "How are", "you?", *flags, cwd=tmp_path)

    assert (result.code, result.out) == (0, "hi\n")
    assert server.requests == [
        LlmRequest(provider="mock", model="m", messages=[system("Be brief."), user("How are you?")])
    ]


@pytest.mark.parametrize("arguments", [(), ("-",)])
async def test_a_prompt_may_come_from_standard_input(
    server: Script, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    await chat(server, *arguments, stdin="Grüße,\nwie geht es?\n".encode(), cwd=tmp_path)

    assert server.requests == [LlmRequest(messages=[user("Grüße,\nwie geht es?\n")])]


async def test_target_and_key_may_come_from_the_environment(server: Script, tmp_path: Path) -> None:
    result = await run("chat", "Hi", env={"LOOM_TARGET": server.target, "LOOM_API_KEY": "k-1\n"}, cwd=tmp_path)

    assert result.code == 0
    assert server.metadata["authorization"] == "Bearer k-1"


@pytest.mark.parametrize(
    ("arguments", "stdin", "env", "message"),
    [
        ((b"\xff",), b"", {}, "prompt: is not UTF-8 text"),
        (("hi", "-m", b"\xff"), b"", {}, "--model: is not UTF-8 text"),
        ((), b"\xff", {}, "standard input: is not UTF-8 text"),
        ((), b" \n", {}, "prompt: is empty"),
        (("",), b"", {}, "prompt: is empty"),
        (("hi",), b"", {"LOOM_API_KEY": "k 1"}, "LOOM_API_KEY: must be printable ASCII without spaces"),
        (("hi", "--ca-file", "none.pem"), b"", {}, "none.pem: No such file or directory"),
        (("hi", "--cert-file", "none.pem"), b"", {}, "--cert-file and --key-file: give both or neither"),
    ],
)
async def test_what_cannot_be_asked_is_one_line(
    server: Script,
    tmp_path: Path,
    arguments: tuple[str | bytes, ...],
    stdin: bytes,
    env: dict[str, str],
    message: str,
) -> None:
    result = await chat(server, *arguments, stdin=stdin, env=env, cwd=tmp_path)

    assert result == Result(2, "", f"error: {message}\n")
    assert server.requests == []


# What is shown


async def test_behind_a_pipe_the_answer_is_plain_and_apart_from_the_rest(server: Script, tmp_path: Path) -> None:
    server.play = plays(*RICH_EVENTS)

    result = await chat(server, "Hi", cwd=tmp_path)

    assert result.out == 'Hello there.\n-> weather {"city":"Oslo"}\n-> time {}\n'
    assert re.fullmatch(
        rf"Hmm\.\n\[source: A page https://example\.com\]\n\[web_search_call\]\n{SUMMARY}\n", result.err
    ), result.err


async def test_at_a_terminal_what_is_not_the_answer_is_faint(server: Script, tmp_path: Path) -> None:
    server.play = plays(*RICH_EVENTS)

    async with at_terminal("chat", "--target", server.target, "Hi", cwd=tmp_path) as terminal:
        assert await terminal.ends() == 0
        await terminal.until("USD\x1b[0m\n")

    lines = terminal.seen.splitlines()
    assert lines[:4] == [
        "\x1b[2mHm\x1b[0m\x1b[2mm.\x1b[0m",
        "Hello there.",
        '-> weather {"city":"Oslo"}',
        "-> time {}",
    ]
    assert re.fullmatch(rf"\x1b\[2m{SUMMARY}\x1b\[0m", lines[-1]), lines[-1]


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
async def test_a_terminal_gets_no_colour_when_it_wants_none(
    server: Script, tmp_path: Path, env: dict[str, str]
) -> None:
    server.play = plays(*RICH_EVENTS)

    async with at_terminal("chat", "--target", server.target, "Hi", env=env, cwd=tmp_path) as terminal:
        await terminal.ends()
        await terminal.until("USD\n")

    assert "\x1b" not in terminal.seen


async def test_a_model_cannot_command_the_terminal(server: Script, tmp_path: Path) -> None:
    server.play = plays(STARTED, text("a\x1b]0;title\x07b\x9bc\td"), COMPLETED)

    async with at_terminal("chat", "--target", server.target, "Hi", cwd=tmp_path) as terminal:
        await terminal.ends()
        await terminal.until("\td\n")

    assert terminal.seen.startswith("a\ufffd]0;title\ufffdb\ufffdc\td\n")


async def test_behind_a_pipe_the_answer_is_word_for_word(server: Script, tmp_path: Path) -> None:
    server.play = plays(STARTED, text("a\x1bb\r\n"), COMPLETED)

    result = await chat(server, "Hi", cwd=tmp_path)

    assert result.out == "a\x1bb\r\n"


async def test_text_that_the_encoding_lacks_does_not_fail(server: Script, tmp_path: Path) -> None:
    server.play = plays(STARTED, text("grün 漢"), COMPLETED)

    result = await chat(server, "Hi", env={"PYTHONIOENCODING": "ascii"}, cwd=tmp_path)

    assert (result.code, result.out) == (0, "gr?n ?\n")


async def test_json_prints_every_event_as_a_line(server: Script, tmp_path: Path) -> None:
    result = await chat(server, "Hi", "--json", cwd=tmp_path)

    assert [json.loads(line) for line in result.out.splitlines()] == [
        {"started": {"provider": "mock", "model": "m", "attempt": 1}},
        {"text_delta": {"content": "hi"}},
        {
            "completed": {
                "response": {
                    "message": {"role": "ROLE_ASSISTANT", "content": "hi"},
                    "provider": "mock",
                    "model": "m",
                }
            }
        },
    ]
    assert result.err == ""


async def test_what_a_provider_does_not_tell_is_not_made_up(server: Script, tmp_path: Path) -> None:
    result = await chat(server, "Hi", cwd=tmp_path)

    assert re.fullmatch(r"mock/m · no finish reason · no token counts · \d+\.\d s\n", result.err), result.err


# Failures


@pytest.mark.parametrize(
    ("reason", "metadata", "retry_after_s", "message"),
    [
        ("INVALID_REQUEST", {}, 0, "It failed (INVALID_REQUEST)"),
        ("UNAUTHENTICATED", {}, 0, "It failed; set LOOM_API_KEY to a key of this server (UNAUTHENTICATED)"),
        ("MODEL_NOT_FOUND", {}, 0, "It failed; `loom-grpc models` lists what there is (MODEL_NOT_FOUND)"),
        ("PROVIDER_RATE_LIMITED", {}, 30, "It failed; try again in 30 s (PROVIDER_RATE_LIMITED)"),
        ("PROVIDER_QUOTA_EXCEEDED", {}, 7200, "It failed; try again in 2 h (PROVIDER_QUOTA_EXCEEDED)"),
        ("INTERNAL", {"request_id": "r-1"}, 0, "It failed (INTERNAL, request r-1)"),
    ],
)
async def test_a_failure_says_what_to_do(
    server: Script, tmp_path: Path, reason: str, metadata: dict[str, str], retry_after_s: int, message: str
) -> None:
    event = LlmEvent(error=Error(reason=ErrorReason.Value(f"ERROR_REASON_{reason}"), message="It\nfailed."))
    if retry_after_s:
        event.error.retry_after.FromSeconds(retry_after_s)
    server.play = aborts(
        grpc.StatusCode.UNKNOWN, "It\nfailed.", info(reason, **metadata), events=(STARTED, text("h"), event)
    )

    result = await chat(server, "Hi", cwd=tmp_path)

    assert result == Result(1, "h\n", f"error: {message}\n")


async def test_a_missing_server_is_named(tmp_path: Path, unused_tcp_port: int) -> None:
    target = f"127.0.0.1:{unused_tcp_port}"

    result = await run("chat", "Hi", "--target", target, cwd=tmp_path)

    assert result == Result(1, "", f"error: no server at {target}; start one with `loom-grpc serve`\n")


async def test_a_time_limit_ends_the_call(server: Script, tmp_path: Path) -> None:
    server.play = stays

    result = await chat(server, "Hi", "--timeout", "1", cwd=tmp_path)

    assert result == Result(1, "hello\n", "error: The answer did not come within the time limit (PROVIDER_TIMEOUT)\n")


async def test_tls_by_files(tmp_path: Path) -> None:
    authority = trustme.CA()
    ours, theirs = authority.issue_cert("loom.example"), authority.issue_cert("caller")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    theirs.private_key_pem.write_to_path(tmp_path / "key.pem")
    theirs.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    pair = (ours.private_key_pem.bytes(), ours.cert_chain_pems[0].bytes())
    credentials = grpc.ssl_server_credentials([pair], authority.cert_pem.bytes(), require_client_auth=True)
    files = ("--ca-file", "ca.pem", "--cert-file", "cert.pem", "--key-file", "key.pem")

    async with serving(credentials) as server:
        server.play = plays(STARTED, text("hi"), COMPLETED)
        named = await chat(server, "Hi", *files, "--server-name", "loom.example", cwd=tmp_path)
        unnamed = await chat(server, "Hi", *files, cwd=tmp_path)
        plain = await chat(server, "Hi", cwd=tmp_path)

    assert (named.code, named.out) == (0, "hi\n")
    for failed in (unnamed, plain):
        assert (failed.code, failed.out, failed.err.count("\n")) == (1, "", 1)
        assert failed.err.startswith(f"error: There is no connection to the server at {server.target} (")


# Stopping


async def test_ctrl_c_cancels_the_call(server: Script, tmp_path: Path) -> None:
    server.play = stays

    async with at_terminal("chat", "--target", server.target, "Hi", cwd=tmp_path) as terminal:
        await terminal.until("hello")
        terminal.type("\x03")
        await asyncio.wait_for(server.cancelled.wait(), WAIT_S)

        assert await terminal.ends() == 130
        await terminal.until("cancelled\n")

    assert terminal.seen == "hello^C\ncancelled\n"


async def test_a_reader_that_goes_away_cancels_the_call_quietly(server: Script, tmp_path: Path) -> None:
    async def play(request: Any, context: Context) -> None:
        while True:
            await context.write(text("word " * 100))

    server.play = play
    read_end, write_end = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *("chat", "Hi", "--target", server.target),
        stdin=subprocess.DEVNULL,
        stdout=write_end,
        stderr=subprocess.PIPE,
        env=environment(),
        cwd=tmp_path,
    )
    os.close(write_end)
    await asyncio.to_thread(os.read, read_end, 4)
    os.close(read_end)  # what `head` does when it has enough
    _, complaint = await asyncio.wait_for(process.communicate(), WAIT_S)

    assert process.returncode == 141
    assert complaint == b""
    await asyncio.wait_for(server.cancelled.wait(), WAIT_S)


# Conversations


async def test_a_conversation_remembers_its_turns(server: Script, tmp_path: Path) -> None:
    async with at_terminal("chat", "--target", server.target, "--system", "Be brief.", cwd=tmp_path) as terminal:
        await terminal.until("> ")
        terminal.type("One\n")
        await terminal.until("> ", 2)
        terminal.type("Two\n")
        await terminal.until("> ", 3)
        terminal.type("\x04")

        assert await terminal.ends() == 0

    first = [system("Be brief."), user("One")]
    assert server.requests == [
        LlmRequest(messages=first),
        LlmRequest(messages=[*first, assistant("hi"), user("Two")]),
    ]


async def test_ctrl_c_stops_an_answer_but_not_the_conversation(server: Script, tmp_path: Path) -> None:
    server.play = stays

    async with at_terminal("chat", "--target", server.target, cwd=tmp_path) as terminal:
        await terminal.until("> ")
        terminal.type("One\n")
        await terminal.until("hello")
        terminal.type("\x03")
        await terminal.until("cancelled\n")
        await asyncio.wait_for(server.cancelled.wait(), WAIT_S)
        server.play = plays(STARTED, text("hi"), COMPLETED)
        terminal.type("Two\n")
        await terminal.until("> ", 3)
        await terminal.waits()
        terminal.type("\x03")

        assert await terminal.ends() == 130

    assert server.requests == [LlmRequest(messages=[user("One")]), LlmRequest(messages=[user("Two")])]


async def test_a_terminal_without_a_prompt_whose_output_goes_elsewhere_is_wrong_usage(
    server: Script, tmp_path: Path
) -> None:
    async with at_terminal("chat", "--json", "--target", server.target, cwd=tmp_path) as terminal:
        assert await terminal.ends() == 2
        await terminal.until("\n")

    assert terminal.seen == "error: prompt: say what to ask, or - to read it from standard input\n"
