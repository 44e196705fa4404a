"""The log as an operator reads it."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_grpc.core.errors import (
    INVALID_REQUEST,
    PROVIDER_AUTH_FAILED,
    PROVIDER_RATE_LIMITED,
    PROVIDER_UNAVAILABLE,
    LlmError,
)
from loom_grpc.telemetry import Telemetry
from tests.telemetry.lines import ANSWER, REQUEST_ID, Log, answer, call, configuration, ignore, telemetry


def test_a_call_has_one_line_with_all_that_matters() -> None:
    log = Log()
    one = call(stream=True, attempt=2, upstream_s=1.2, first_content_s=0.3456, answer=ANSWER)

    telemetry(log).finished(one, None, 1.2034, "grpc")

    assert log.lines() == [
        {
            "level": "info",
            "event": "call",
            "request_id": REQUEST_ID,
            "provider": "openai",
            "model": "gpt-4o",
            "edge": "grpc",
            "stream": True,
            "reason": "OK",
            "attempts": 2,
            "finish_reason": "stop",
            "input_tokens": 11,
            "output_tokens": 4,
            "first_content_ms": 345.6,
            "duration_ms": 1203.4,
            "upstream_ms": 1200.0,
            "overhead_ms": 3.4,
        }
    ]


def test_access_lines_can_be_switched_off() -> None:
    log = Log()

    telemetry(log, log={"access": False, "format": "json"}).finished(call(), None, 0.1, "grpc")

    assert log.lines() == []


def test_lines_below_the_level_are_not_written() -> None:
    log = Log()
    quiet = telemetry(log, log={"level": "error", "format": "json"})

    quiet.finished(call(), LlmError(PROVIDER_UNAVAILABLE, "Gone."), 0.1, "grpc")
    quiet.log.error("visible")

    assert log.lines() == [{"level": "error", "event": "visible"}]


def test_a_failed_call_tells_what_the_provider_said() -> None:
    log = Log()
    error = LlmError(
        PROVIDER_RATE_LIMITED, "Try later.", retry_after=2.5, detail="Tokens per minute: 0 left", provider_status="429"
    )

    telemetry(log).finished(call(), error, 0.1, "http")

    access, failure = log.lines()
    assert (access["event"], access["reason"]) == ("call", "PROVIDER_RATE_LIMITED")
    assert failure == {
        "level": "warning",
        "event": "call_failed",
        "request_id": REQUEST_ID,
        "provider": "openai",
        "model": "gpt-4o",
        "reason": "PROVIDER_RATE_LIMITED",
        "message": "Try later.",
        "detail": "Tokens per minute: 0 left",
        "retry_after_s": 2.5,
        "metadata": {"provider_status": "429"},
    }


def test_a_callers_mistake_is_no_warning() -> None:
    log = Log()

    telemetry(log).finished(call(), LlmError(INVALID_REQUEST, "model: is missing."), 0.1, "grpc")

    assert log.lines("call_failed")[0]["level"] == "info"


def test_a_cancelled_call_is_no_failure() -> None:
    log = Log()

    telemetry(log).finished(call(), None, 0.1, "grpc", cancelled=True)

    assert [row["reason"] for row in log.lines()] == ["CANCELLED"]


def test_a_retry_says_when_and_why() -> None:
    log = Log()

    telemetry(log).retrying(call(), LlmError(PROVIDER_UNAVAILABLE, "Overloaded."), 0.51234)

    assert log.lines() == [
        {
            "level": "warning",
            "event": "retrying",
            "request_id": REQUEST_ID,
            "provider": "openai",
            "model": "gpt-4o",
            "attempt": 1,
            "delay_s": 0.512,
            "reason": "PROVIDER_UNAVAILABLE",
            "message": "Overloaded.",
        }
    ]


def test_a_provider_without_a_list_is_told() -> None:
    log = Log()

    telemetry(log).listing_failed("openai", LlmError(PROVIDER_AUTH_FAILED, "No.", detail="wrong key"))

    assert log.lines() == [
        {
            "level": "warning",
            "event": "listing_failed",
            "provider": "openai",
            "reason": "PROVIDER_AUTH_FAILED",
            "message": "No.",
            "detail": "wrong key",
        }
    ]


def _fall(words: str) -> None:
    raise ValueError(words)


SECRET = "my secret plans"
"""A name, because the lines of code in a traceback are written down."""


def _crash(words: str) -> ValueError:
    try:
        try:
            _fall("first " + words)
        except ValueError:
            _fall(words)
    except ValueError as error:
        return error
    raise AssertionError


def test_a_crash_says_where_but_not_what_callers_sent() -> None:
    log = Log()

    telemetry(log).crashed(call(prompt=SECRET), _crash(f"cannot read '{SECRET}' at all"))

    (line,) = log.lines()
    assert line["message"] == "cannot read '[PROMPT]' at all"
    assert line["exception"].count("in _fall") == 2
    assert line["exception"].count("ValueError") >= 2
    assert b"secret plans" not in log.getvalue()


def test_a_crash_before_the_request_was_read_keeps_its_words_to_itself() -> None:
    log = Log()
    unread = call()
    del unread.request.messages[:]

    for one in (unread, None):
        telemetry(log).crashed(one, _crash(SECRET))

    assert ["message" in row for row in log.lines()] == [False, False]
    assert b"secret plans" not in log.getvalue()


def test_prompts_and_answers_are_written_only_when_switched_on() -> None:
    silent, open_ = Log(), Log()
    one = call(prompt="What is the meaning of life?", answer=ANSWER)

    telemetry(silent).finished(one, None, 0.1, "grpc")
    telemetry(open_, log={"prompts": True, "format": "json"}).finished(one, None, 0.1, "grpc")

    assert b"meaning" not in silent.getvalue()
    assert b"Hello to you" not in silent.getvalue()
    assert open_.lines("content") == [
        {
            "level": "info",
            "event": "content",
            "request_id": REQUEST_ID,
            "input": [{"role": "user", "parts": [{"type": "text", "content": "What is the meaning of life?"}]}],
            "output": [
                {"role": "assistant", "parts": [{"type": "text", "content": "Hello to you."}], "finish_reason": "stop"}
            ],
        }
    ]


async def test_warnings_of_libraries_are_lines_too_with_the_call_they_belong_to() -> None:
    log = Log()
    running = telemetry(log)
    await running.start()

    async def handler(call: Any, send: Any) -> None:
        logging.getLogger("aiohttp.client").warning("Unclosed %s", "connection")
        logging.getLogger("aiohttp.client").info("not worth a line")

    await running.attempt(handler)(call(), ignore)
    await running.close()
    logging.getLogger("aiohttp.client").warning("after the end")

    assert log.lines() == [
        {"level": "warning", "event": "Unclosed connection", "logger": "aiohttp.client", "request_id": REQUEST_ID}
    ]


async def test_exceptions_of_libraries_keep_their_words_to_themselves() -> None:
    log = Log()
    running = telemetry(log)
    await running.start()

    logging.getLogger("grpc._cython.cygrpc").error("Unexpected", exc_info=_crash(SECRET))
    await running.close()

    (line,) = log.lines()
    assert "in _fall" in line["exception"]
    assert b"secret plans" not in log.getvalue()


async def test_what_asyncio_finds_in_forgotten_tasks_is_a_line_without_their_words() -> None:
    log = Log()
    running = telemetry(log)
    await running.start()

    async def forgotten() -> None:
        _fall(SECRET)

    task = asyncio.ensure_future(forgotten())
    await asyncio.wait([task])
    del task
    gc.collect()
    await running.close()

    (line,) = log.lines("asyncio")
    assert line["message"] == "Task exception was never retrieved"
    assert "in _fall" in line["exception"]
    assert b"secret plans" not in log.getvalue()


async def test_grpcs_stumbling_over_its_own_wake_up_socket_is_no_line() -> None:
    log = Log()
    running = telemetry(log)
    await running.start()
    message = "Exception in callback PollerCompletionQueue._handle_events(<AsyncioLoop>)()"

    asyncio.get_running_loop().call_exception_handler({"message": message, "exception": BlockingIOError(11, "again")})
    asyncio.get_running_loop().call_exception_handler({"message": message, "exception": ValueError("no")})
    await running.close()

    assert [line["exception"] for line in log.lines("asyncio")] == ["ValueError"]


async def test_workers_are_told_apart() -> None:
    log = Log()

    Telemetry(configuration(), worker=3, stream=log).log.info("serving", grpc="127.0.0.1:1")

    assert log.lines() == [{"level": "info", "event": "serving", "worker": 3, "grpc": "127.0.0.1:1"}]


def test_a_line_that_cannot_be_written_fails_no_call() -> None:
    log = Log()
    telemetry_ = telemetry(log)
    log.close()

    telemetry_.finished(call(), None, 0.1, "grpc")


@pytest.mark.parametrize("value", ["half a pair \ud800", 2**70, object(), {1, 2}])
def test_no_value_keeps_a_line_from_being_written(value: object) -> None:
    log = Log()

    telemetry(log).log.info("odd", value=value)

    assert log.lines()[0]["event"] == "odd"


def test_people_get_lines_without_control_characters() -> None:
    log = Log()

    telemetry(log, log={"format": "console"}).log.warning("odd", model="\x1b[31mred", exception="first\nsecond")

    text = log.getvalue().decode()
    assert "\x1b" not in text
    assert "model=\\x1b[31mred" in text
    assert "first\nsecond" in text


def test_a_file_gets_json_without_being_asked() -> None:
    log = Log()

    telemetry(log, log={"format": "auto"}).log.info("serving")

    assert log.lines() == [{"level": "info", "event": "serving"}]


SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=40).filter(
    lambda text: not text.startswith(("env:", "file:", "vault:"))
)


@given(secret=SECRETS)
def test_a_configured_secret_never_gets_into_the_log(secret: str) -> None:
    log = Log()
    logged = telemetry(log, providers={"openai": {"api_key": secret}})
    error = LlmError(PROVIDER_AUTH_FAILED, "No.", detail=f"Incorrect API key provided: {secret}.")

    logged.finished(call(), error, 0.1, "grpc")
    logged.crashed(call(), ValueError(secret))
    logged.log.info("odd", value=secret)

    assert secret.encode() not in log.getvalue()


def test_secrets_from_the_environment_files_and_headers_are_known_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("A_KEY", "from-the-environment")
    (tmp_path / "key").write_text("from-a-file\n")
    providers = {
        "anthropic": {"api_key": "env:A_KEY", "headers": {"x-token": "from-a-header", "x-team": "research"}},
        "groq": {"dialect": "openai", "api_key": f"file:{tmp_path / 'key'}"},
        "openai": {"api_key": "env:NOT_SET"},
    }
    log = Log()

    telemetry(log, providers=providers).log.info("odd", value="from-the-environment from-a-file from-a-header research")

    assert log.lines()[0]["value"] == "[REDACTED] [REDACTED] [REDACTED] research"


def test_a_token_that_came_up_later_never_gets_into_the_log() -> None:
    log = Log()
    running = telemetry(log)

    running.hide("a-token-of-this-hour")
    running.finished(call(), LlmError(PROVIDER_AUTH_FAILED, "No.", detail="bad a-token-of-this-hour"), 0.1, "grpc")

    assert log.lines("call_failed")[0]["detail"] == "bad [REDACTED]"


async def test_an_attempt_writes_nothing_of_the_prompt() -> None:
    log = Log()
    running = telemetry(log)
    one = call(prompt="my secret plans", stream=True)

    await running.attempt(answer)(one, ignore)
    running.finished(one, None, 0.1, "grpc")

    assert b"secret plans" not in log.getvalue()
    assert b"Hello to you" not in log.getvalue()
