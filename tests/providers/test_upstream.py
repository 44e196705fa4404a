"""One attempt at one provider: every event of the answer, within every limit, and nothing left behind."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from loom_grpc.core.call import Call
from loom_grpc.core.errors import (
    CONTEXT_TOO_LONG,
    PROVIDER_AUTH_FAILED,
    PROVIDER_BAD_RESPONSE,
    PROVIDER_RATE_LIMITED,
    PROVIDER_TIMEOUT,
    PROVIDER_UNAVAILABLE,
    LlmError,
)
from loom_grpc.credentials.api_key import ApiKey
from loom_grpc.credentials.secret import Secret, Secrets
from loom_grpc.providers import _connection, upstream
from loom_grpc.providers._http import HttpTransport
from loom_grpc.providers.anthropic import Anthropic
from loom_grpc.providers.dialect import Dialect
from loom_grpc.providers.openai import OpenAI
from loom_grpc.providers.upstream import Limits, Upstream
from loom_grpc.v1.error_pb2 import ErrorReason
from loom_grpc.v1.llm_service_pb2 import LlmEvent, LlmRequest, Model
from loom_grpc.v1.message_pb2 import ROLE_USER, Message
from tests.stand_in import Connection, Script, StandIn, answer, json_answer, stand_in, stream_answer

HELLO = LlmRequest(messages=[Message(role=ROLE_USER, content="Hello")])
PATIENT = Limits(connect_s=5, first_token_s=5, idle_s=5)
SOON = 0.1
"""A limit that is meant to be reached."""
LATER = 0.8
"""A limit that is meant not to be reached, though a busy machine halts this process for a while."""
CLOSE_S = 1.0
"""How soon a connection is closed for which nobody waits; most of that is for a busy machine."""


def chunk(content: str = "", finish: str | None = None) -> str:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish}
    return f"data: {orjson.dumps({'id': 'c1', 'model': 'gpt-y', 'choices': [choice]}).decode()}\n\n"


DONE = "data: [DONE]\n\n"
WHOLE = {"id": "c1", "model": "gpt-y", "choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}


class Caller:
    """Takes events as the edge does; `wait` may hold it up."""

    def __init__(self, wait: Callable[[LlmEvent], Awaitable[object]] | None = None) -> None:
        self.events: list[LlmEvent] = []
        self.came = asyncio.Event()
        """Set with the first event."""
        self._wait = wait

    async def __call__(self, event: LlmEvent) -> None:
        self.events.append(event)
        self.came.set()
        if self._wait is not None:
            await self._wait(event)

    @property
    def said(self) -> list[str]:
        """The events in short: the text, or the kind."""
        return [event.text_delta.content or event.WhichOneof("event") or "" for event in self.events]


def new_call(*, stream: bool = True, expires_in: float = math.inf, deadline_in: float = math.inf) -> Call:
    now = asyncio.get_running_loop().time()
    call = Call(HELLO, stream, "r", deadline=now + deadline_in, provider="openai", model="gpt-x", attempt=1)
    call.expires = min(now + expires_in, call.deadline)
    return call


@asynccontextmanager
async def provider(
    *scripts: Script,
    limits: Limits = PATIENT,
    dialect: Dialect | None = None,
    headers: Mapping[str, str] | None = None,
    options: dict[str, Any] | None = None,
) -> AsyncIterator[tuple[StandIn, Upstream]]:
    """A stand-in and the handler that asks it."""
    async with AsyncExitStack() as stack:
        stand = await stack.enter_async_context(stand_in(*scripts))
        http = HttpTransport(100)
        stack.push_async_callback(http.close)
        key = ApiKey("authorization", "Bearer ", Secret.literal("k"))
        yield stand, Upstream(dialect or OpenAI(), stand.url + "/v1/", key, http, limits, headers or {}, options or {})


async def failure(doing: Awaitable[object]) -> LlmError:
    """Returns the failure, after which the task has to be as if nothing had happened."""
    task = asyncio.current_task()
    assert task is not None
    with pytest.raises(LlmError) as caught:
        await doing
    assert task.cancelling() == 0
    await asyncio.sleep(0)
    return caught.value


async def closes_soon(connection: Connection) -> None:
    async with asyncio.timeout(CLOSE_S):
        await connection.closed.wait()


def after(*chunks: str, then: Script) -> Script:
    """Scripts a stream that begins well."""

    async def script(connection: Connection) -> None:
        await connection.head()
        for text in chunks:
            await connection.send(text)
        await then(connection)

    return script


async def stall(connection: Connection) -> None:
    await connection.closed.wait()


async def cut(connection: Connection) -> None:
    connection.cut()


async def end(connection: Connection) -> None:
    await connection.end()


def trickle(text: str, every_s: float = 0.01) -> Script:
    """Scripts the same bytes again and again."""

    async def script(connection: Connection) -> None:
        while not connection.closed.is_set():
            await connection.send(text)
            await asyncio.sleep(every_s)

    return script


# Answers


async def test_a_stream_is_passed_on_event_by_event() -> None:
    async with provider(stream_answer(chunk("Hel"), chunk("lo", "stop"), DONE)) as (_, openai):
        call, caller = new_call(), Caller()
        await openai(call, caller)

    assert caller.said[0] == "started"
    assert "".join(caller.said[1:-1]) == "Hello"
    assert caller.said[-1] == "completed"
    assert caller.events[-1].completed.response.message.content == "Hello"
    assert call.responded


async def test_a_whole_answer_is_passed_on_as_events() -> None:
    async with provider(json_answer(WHOLE)) as (_, openai):
        caller = Caller()
        await openai(new_call(stream=False), caller)

    assert caller.said == ["started", "Hello", "completed"]


async def test_the_request_carries_the_key_the_headers_and_the_options() -> None:
    headers = {"X-Team": "a", "Content-Type": "application/x", "Authorization": "Basic no"}
    options = {"user": "u1", "stream_options": None}
    async with provider(json_answer(WHOLE), headers=headers, options=options) as (stand, openai):
        await openai(new_call(), Caller())
        asked = stand.asked[0]

    assert (asked.method, asked.path) == ("POST", "/v1/chat/completions")
    assert asked.headers["authorization"] == "Bearer k"
    assert (asked.headers["x-team"], asked.headers["content-type"]) == ("a", "application/x")
    assert asked.json == {
        "model": "gpt-x",
        "messages": [{"role": "user", "content": "Hello"}],
        "stream": True,
        "user": "u1",
    }


async def test_responded_is_set_before_the_first_event_leaves() -> None:
    seen: list[bool] = []
    call = new_call()

    async def look(_event: LlmEvent) -> None:
        seen.append(call.responded)

    async with provider(stream_answer(chunk("Hi", "stop"), DONE)) as (_, openai):
        await openai(call, Caller(look))

    assert seen == [True, True, True]


async def test_the_time_of_the_provider_is_counted_and_that_of_the_caller_is_not() -> None:
    slow = asyncio.Event()

    async def script(connection: Connection) -> None:
        await connection.head()
        await connection.send(chunk("Hi"))
        await asyncio.sleep(0.05)
        await connection.send(chunk("", "stop") + DONE)
        await connection.end()

    async def wait(event: LlmEvent) -> None:
        if event.HasField("completed"):
            slow.set()
            await asyncio.sleep(1)

    async with provider(script) as (_, openai):
        call = new_call()
        await openai(call, Caller(wait))

    assert slow.is_set()
    assert 0.04 < call.upstream_s < 1


# How an answer ends


@pytest.mark.parametrize(
    ("script", "said"),
    [
        pytest.param(stream_answer(chunk("Hi"), DONE), ["started", "Hi", "completed"], id="the marker without a reason"),
        pytest.param(stream_answer(chunk("Hi", "stop")), ["started", "Hi", "completed"], id="a reason without the marker"),
        pytest.param(after(chunk("Hi", "stop"), then=cut), ["started", "Hi", "completed"], id="cut behind the reason"),
        pytest.param(stream_answer(chunk("Hi", "stop") + DONE + chunk("more")), ["started", "Hi", "completed"], id="more behind the end"),
    ],
)  # fmt: skip
async def test_an_answer_that_has_really_ended_is_complete(script: Script, said: list[str]) -> None:
    async with provider(script) as (_, openai):
        caller = Caller()
        await openai(new_call(), caller)

    assert caller.said == said


async def test_silence_behind_the_reason_ends_the_answer_well() -> None:
    async with provider(after(chunk("Hi", "stop"), then=stall), limits=Limits(5, 5, SOON)) as (_, openai):
        caller = Caller()
        await openai(new_call(), caller)

    assert caller.said == ["started", "Hi", "completed"]
    assert caller.events[-1].completed.response.finish_reason == "stop"


@pytest.mark.parametrize(
    ("script", "reason", "words"),
    [
        pytest.param(cut, PROVIDER_UNAVAILABLE, "The connection to the provider broke off.", id="cut before the head"),
        pytest.param(after(then=cut), PROVIDER_UNAVAILABLE, "The connection to the provider broke off.", id="cut before the body"),
        pytest.param(after(then=end), PROVIDER_BAD_RESPONSE, "The provider's answer is empty.", id="an empty body"),
        pytest.param(after(": ping\n\n", then=end), PROVIDER_BAD_RESPONSE,
                     "The provider's answer ended before it was complete.", id="comments alone"),
        pytest.param(answer("<html>", content_type="text/html"), PROVIDER_BAD_RESPONSE,
                     "The provider's answer ended before it was complete.", id="a page"),
    ],
)  # fmt: skip
async def test_an_answer_that_never_began_can_be_asked_for_again(
    script: Script, reason: ErrorReason.ValueType, words: str
) -> None:
    async with provider(script) as (_, openai):
        call, caller = new_call(), Caller()
        error = await failure(openai(call, caller))

    assert (error.reason, error.message, error.partial) == (reason, words, None)
    assert (caller.said, call.responded) == ([], False)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        pytest.param(after(chunk("Hel"), then=cut), PROVIDER_UNAVAILABLE, id="cut"),
        pytest.param(after(chunk("Hel"), then=end), PROVIDER_BAD_RESPONSE, id="a clean end too early"),
        pytest.param(after(chunk("Hel") + 'data: {"choi', then=end), PROVIDER_BAD_RESPONSE, id="torn"),
        pytest.param(after(chunk("Hel") + "data: nonsense\n\n", then=stall), PROVIDER_BAD_RESPONSE, id="malformed"),
        pytest.param(
            after(chunk("Hel") + 'data: {"error":{"code":429}}\n\n', then=stall), PROVIDER_RATE_LIMITED, id="error"
        ),
    ],
)
async def test_an_answer_that_broke_off_fails_after_what_came(script: Script, reason: ErrorReason.ValueType) -> None:
    async with provider(script) as (_, openai):
        call, caller = new_call(), Caller()
        error = await failure(openai(call, caller))

    assert error.reason == reason
    assert (caller.said, call.responded) == (["started", "Hel"], True)
    assert error.partial is not None
    assert error.partial.message.content == "Hel"


# Connections


async def test_an_answer_that_failed_before_its_end_loses_its_connection_at_once() -> None:
    async with provider(after(chunk("Hel") + "data: nonsense\n\n", then=stall)) as (stand, openai):
        await failure(openai(new_call(), Caller()))

        await closes_soon(stand.connections[0])


async def test_a_connection_is_kept_behind_a_finished_answer() -> None:
    async with provider(stream_answer(chunk("Hi", "stop") + DONE)) as (stand, openai):
        for _ in range(3):
            await openai(new_call(), Caller())
            await asyncio.sleep(0.01)  # the end of the body is a packet of its own

        assert stand.connected == 1


async def test_an_answer_that_goes_on_behind_its_end_loses_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_connection, "_LAST_MOMENT_S", 0.05)
    async with provider(after(chunk("Hi", "stop") + DONE, then=trickle(": ping\n\n"))) as (stand, openai):
        caller = Caller()
        await openai(new_call(), caller)
        async with asyncio.timeout(1):
            await stand.connections[0].closed.wait()

    assert caller.said == ["started", "Hi", "completed"]


# Limits


@pytest.mark.parametrize(
    ("script", "limits", "words"),
    [
        pytest.param(stall, Limits(5, SOON, 5), "The provider sent nothing for 0.1 s.", id="before the head"),
        pytest.param(after(then=stall), Limits(5, SOON, 5), "The provider sent nothing for 0.1 s.", id="before the first event"),
        pytest.param(after(then=trickle(": ping\n\n")), Limits(5, SOON, 5), "The provider sent nothing for 0.1 s.",
                     id="comments and no event"),
        pytest.param(after(then=trickle(chunk(""))), Limits(5, SOON, 5), "The provider sent nothing for 0.1 s.",
                     id="chunks and no event"),
        pytest.param(after(chunk("Hi"), then=stall), Limits(5, 5, SOON), "The provider sent nothing for 0.1 s.",
                     id="between two chunks"),
    ],
)  # fmt: skip
async def test_a_silent_provider_is_given_up_in_time(script: Script, limits: Limits, words: str) -> None:
    async with provider(script, limits=limits) as (stand, openai):
        began = asyncio.get_running_loop().time()
        error = await failure(openai(new_call(), Caller()))
        await closes_soon(stand.connections[0])

    assert (error.reason, error.message) == (PROVIDER_TIMEOUT, words)
    assert asyncio.get_running_loop().time() - began < 3


async def test_a_stream_that_speaks_now_and_then_is_not_silent() -> None:
    async def script(connection: Connection) -> None:
        await connection.head()
        for _ in range(10):
            await connection.send(chunk("x"))
            await asyncio.sleep(LATER / 8)
        await connection.send(chunk("", "stop"))
        await connection.end()

    async with provider(script, limits=Limits(5, LATER, LATER)) as (_, openai):
        caller = Caller()
        await openai(new_call(), caller)

    assert caller.events[-1].completed.response.message.content == "x" * 10


async def test_signs_of_life_keep_a_stream_that_has_begun_open() -> None:
    async def script(connection: Connection) -> None:
        await connection.head()
        await connection.send(chunk("Hi"))
        for _ in range(10):
            await asyncio.sleep(LATER / 8)
            await connection.send(": ping\n\n")
        await connection.send(chunk("", "stop"))
        await connection.end()

    async with provider(script, limits=Limits(5, 5, LATER)) as (_, openai):
        caller = Caller()
        await openai(new_call(), caller)

    assert caller.said[-1] == "completed"


async def test_a_whole_answer_may_take_longer_than_the_first_event_of_a_stream() -> None:
    async def script(connection: Connection) -> None:
        await asyncio.sleep(2 * SOON)
        await json_answer(WHOLE)(connection)

    async with provider(script, limits=Limits(5, SOON, SOON)) as (_, openai):
        caller = Caller()
        await openai(new_call(stream=False), caller)

    assert caller.said[-1] == "completed"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("script", [stall, after(then=trickle(chunk("x")))])
async def test_the_limit_of_the_whole_call_holds_however_much_is_said(script: Script, stream: bool) -> None:
    async with provider(script) as (stand, openai):
        error = await failure(openai(new_call(stream=stream, expires_in=SOON), Caller()))
        await closes_soon(stand.connections[0])

    assert error.reason == PROVIDER_TIMEOUT
    assert error.message == "The provider's answer took longer than this server allows."


@pytest.mark.parametrize("script", [stall, after(chunk("Hi"), then=stall), after(then=trickle(chunk("x")))])
async def test_the_caller_s_deadline_holds_for_the_provider(script: Script) -> None:
    async with provider(script) as (stand, openai):
        error = await failure(openai(new_call(deadline_in=SOON), Caller()))
        await closes_soon(stand.connections[0])

    assert error.reason == PROVIDER_TIMEOUT
    assert error.message == "The caller's deadline passed before the provider's answer was complete."


async def test_a_deadline_that_has_passed_ends_the_call_at_once() -> None:
    async with provider(stall) as (_, openai):
        error = await failure(openai(new_call(deadline_in=-1), Caller()))

    assert error.reason == PROVIDER_TIMEOUT


async def test_a_slow_caller_is_not_a_silent_provider() -> None:
    async def wait(event: LlmEvent) -> None:
        if event.HasField("text_delta"):
            await asyncio.sleep(1.5 * LATER)

    async with provider(stream_answer(chunk("Hi"), chunk("", "stop"), DONE), limits=Limits(5, LATER, LATER)) as (
        _,
        openai,
    ):
        caller = Caller(wait)
        await openai(new_call(), caller)

    assert caller.said == ["started", "Hi", "completed"]


async def test_a_caller_that_takes_nothing_is_held_to_the_limit_of_the_whole_call() -> None:
    async def wait(_event: LlmEvent) -> None:
        await asyncio.Event().wait()

    async with provider(stream_answer(chunk("Hi", "stop"), DONE)) as (_, openai):
        error = await failure(openai(new_call(expires_in=SOON), Caller(wait)))

    assert error.reason == PROVIDER_TIMEOUT


# Errors over HTTP


async def test_another_status_is_a_failure_with_the_provider_s_reason() -> None:
    error_body = {"error": {"message": "maximum context length is 8", "code": "context_length_exceeded"}}
    async with provider(json_answer(error_body, status=400), json_answer(WHOLE)) as (stand, openai):
        call = new_call()
        error = await failure(openai(call, Caller()))
        await openai(new_call(), Caller())

        assert stand.connected == 1
    assert (error.reason, error.metadata) == (
        CONTEXT_TOO_LONG,
        {"provider_status": "400", "provider_code": "context_length_exceeded"},
    )
    assert not call.responded


async def test_a_wait_that_the_provider_asks_for_is_told() -> None:
    async with provider(json_answer({"error": {}}, status=429, **{"Retry-After": "7"})) as (_, openai):
        error = await failure(openai(new_call(), Caller()))

    assert (error.reason, error.retry_after) == (PROVIDER_RATE_LIMITED, 7)


@pytest.mark.parametrize("status", [301, 304, 307])
async def test_a_redirect_is_not_followed(status: int) -> None:
    script = answer("", status=status, location="http://127.0.0.1:1/")
    async with provider(script) as (stand, openai):
        error = await failure(openai(new_call(), Caller()))

        assert len(stand.asked) == 1
    assert (error.reason, error.metadata["provider_status"]) == (PROVIDER_BAD_RESPONSE, str(status))


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "rest",
    [
        pytest.param(stall, id="silence"),
        pytest.param(trickle("x"), id="a trickle"),
        pytest.param(trickle("x" * 65536, 0), id="a flood"),
        pytest.param(cut, id="a cut"),
    ],
)
async def test_an_error_whose_body_never_ends_is_told_by_its_status(
    rest: Script, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "_ERROR_S", SOON)

    async def script(connection: Connection) -> None:
        await connection.head(503, "application/json")
        await connection.send('{"error":')
        await rest(connection)

    async with provider(script) as (stand, openai):
        began = asyncio.get_running_loop().time()
        error = await failure(openai(new_call(stream=stream), Caller()))
        await closes_soon(stand.connections[0])

    assert (error.reason, error.metadata) == (PROVIDER_UNAVAILABLE, {"provider_status": "503"})
    assert asyncio.get_running_loop().time() - began < 3


async def test_a_key_that_cannot_be_had_is_the_failure() -> None:
    class NoKey:
        async def headers(self) -> Mapping[str, str]:
            raise LlmError(PROVIDER_AUTH_FAILED, "No key.")

        async def renewed(self, refused: Mapping[str, str]) -> Mapping[str, str] | None:
            return None

    async with stand_in(stall) as stand:
        http = HttpTransport(1)
        handler = Upstream(OpenAI(), stand.url, NoKey(), http, PATIENT, {}, {})
        error = await failure(handler(new_call(), Caller()))
        await http.close()

        assert (error.reason, stand.asked) == (PROVIDER_AUTH_FAILED, [])


async def test_a_key_that_takes_too_long_ends_in_time() -> None:
    class SlowKey:
        async def headers(self) -> Mapping[str, str]:
            await asyncio.Event().wait()
            return {}

        async def renewed(self, refused: Mapping[str, str]) -> Mapping[str, str] | None:
            return None

    http = HttpTransport(1)
    handler = Upstream(OpenAI(), "http://127.0.0.1:1", SlowKey(), http, PATIENT, {}, {})
    error = await failure(handler(new_call(expires_in=SOON), Caller()))
    await http.close()

    assert error.reason == PROVIDER_TIMEOUT


# Credentials


class Login:
    """A credential that is renewed as told: to a text, to nothing, or not at all."""

    def __init__(self, text: str, *newer: str | LlmError | None) -> None:
        self.text = text
        self.newer = list(newer)
        self.refused: list[Mapping[str, str]] = []

    async def headers(self) -> Mapping[str, str]:
        return {"authorization": self.text}

    async def renewed(self, refused: Mapping[str, str]) -> Mapping[str, str] | None:
        self.refused.append(refused)
        newer = self.newer.pop(0)
        if isinstance(newer, LlmError):
            raise newer
        return None if newer is None else {"authorization": newer}


def shown(stand: StandIn) -> list[str]:
    return [asked.headers["authorization"] for asked in stand.asked]


REFUSAL = json_answer({"error": {"message": "No.", "code": "invalid_api_key"}}, status=401)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_key_that_was_rotated_and_not_read_yet_is_shown_anew(stream: bool, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("old\n")
    secrets = Secrets({})
    key = ApiKey("authorization", "Bearer ", secrets.find(f"file:{file}", "api_key"))
    file.write_text("new-key\n")
    good = stream_answer(chunk("Hello", "stop"), DONE) if stream else json_answer(WHOLE)
    async with provider(REFUSAL, good) as (stand, openai):
        call, caller = new_call(stream=stream), Caller()
        await openai.showing(key)(call, caller)

        assert shown(stand) == ["Bearer old", "Bearer new-key"]
        assert stand.asked[0].body == stand.asked[1].body
        assert stand.connected == 1
    assert caller.said == ["started", "Hello", "completed"]
    assert call.attempt == 1
    await secrets.close()


async def test_a_key_that_was_not_rotated_is_not_shown_again() -> None:
    async with provider(REFUSAL, json_answer(WHOLE)) as (stand, openai):
        error = await failure(openai(new_call(), Caller()))

        assert shown(stand) == ["Bearer k"]
    assert (error.reason, error.metadata["provider_status"]) == (PROVIDER_AUTH_FAILED, "401")


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_credential_is_shown_anew_once(status: int) -> None:
    refusals = [json_answer({"error": {"message": "No.", "code": code}}, status=status) for code in ("first", "second")]
    login = Login("old", "new", "newest")
    async with provider(*refusals, json_answer(WHOLE)) as (stand, openai):
        error = await failure(openai.showing(login)(new_call(), Caller()))

        assert shown(stand) == ["old", "new"]
    assert login.refused == [{"authorization": "old"}]
    assert error.metadata == {"provider_status": str(status), "provider_code": "second"}


async def test_whatever_fails_after_the_renewal_is_the_failure() -> None:
    login = Login("old", "new")
    async with provider(REFUSAL, json_answer({"error": {}}, status=529)) as (stand, openai):
        error = await failure(openai.showing(login)(new_call(), Caller()))

        assert shown(stand) == ["old", "new"]
    assert error.reason == PROVIDER_UNAVAILABLE


async def test_a_renewal_that_fails_is_the_failure() -> None:
    trouble = LlmError(PROVIDER_UNAVAILABLE, "The token server is out.")
    async with provider(REFUSAL, json_answer(WHOLE)) as (stand, openai):
        error = await failure(openai.showing(Login("old", trouble))(new_call(), Caller()))

        assert shown(stand) == ["old"]
    assert error is trouble


async def test_a_renewal_that_takes_too_long_ends_in_time() -> None:
    class SlowLogin(Login):
        async def renewed(self, refused: Mapping[str, str]) -> Mapping[str, str] | None:
            await asyncio.Event().wait()
            return None

    async with provider(REFUSAL) as (_, openai):
        error = await failure(openai.showing(SlowLogin("old"))(new_call(expires_in=SOON), Caller()))

    assert error.reason == PROVIDER_TIMEOUT


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(
            json_answer({"error": {"message": "Invalid API key."}}, status=400), id="a refusal by words alone"
        ),
        pytest.param(json_answer({"error": {"message": "401 Unauthorized"}}, status=500), id="a status in words"),
        pytest.param(json_answer({"error": {"code": "insufficient_quota"}}, status=429), id="a quota"),
        pytest.param(json_answer({"error": {}}, status=429), id="a burst"),
        pytest.param(json_answer({"error": {}}, status=404), id="an unknown model"),
        pytest.param(json_answer({"error": {}}, status=503), id="an overload"),
    ],
)
async def test_what_is_no_refusal_renews_nothing(script: Script) -> None:
    login = Login("old", "new")
    async with provider(script, json_answer(WHOLE)) as (stand, openai):
        await failure(openai.showing(login)(new_call(), Caller()))

        assert (shown(stand), login.refused) == (["old"], [])


async def test_a_refused_count_and_a_refused_list_are_asked_for_anew_too() -> None:
    async with provider(REFUSAL, json_answer({"data": [{"id": "a"}]})) as (stand, openai):
        assert await openai.showing(Login("old", "new")).models(new_call(stream=False)) == [Model(id="a")]
        assert shown(stand) == ["old", "new"]


async def test_accounts_of_one_provider_share_connections_headers_and_options_but_no_credential() -> None:
    async with provider(json_answer(WHOLE), headers={"x-team": "a"}, options={"user": "u1"}) as (stand, openai):
        one, other = openai.showing(Login("one")), openai.showing(Login("other"))
        for handler in (one, other, openai, one):
            await handler(new_call(stream=False), Caller())
        openai.set_header("X-Team", "b")
        await other(new_call(stream=False), Caller())

        assert shown(stand) == ["one", "other", "Bearer k", "one", "other"]
        assert [asked.headers["x-team"] for asked in stand.asked] == ["a", "a", "a", "a", "b"]
        assert {asked.json["user"] for asked in stand.asked} == {"u1"}
        assert stand.connected == 1


# Cancelling


async def cancel(task: asyncio.Future[None]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "script", [pytest.param(stall, id="before the head"), pytest.param(after(then=stall), id="before the body")]
)
async def test_cancelling_closes_the_connection_at_once(script: Script, stream: bool) -> None:
    async with provider(script) as (stand, openai):
        task = asyncio.ensure_future(openai(new_call(stream=stream), Caller()))
        await stand.arrived.wait()
        await asyncio.sleep(0.01)
        await cancel(task)

        await closes_soon(stand.connections[0])


async def test_cancelling_between_two_chunks_closes_the_connection_at_once() -> None:
    async with provider(after(chunk("Hi"), then=stall)) as (stand, openai):
        caller = Caller()
        task = asyncio.ensure_future(openai(new_call(), caller))
        await caller.came.wait()
        await asyncio.sleep(0)
        await cancel(task)

        await closes_soon(stand.connections[0])


async def test_cancelling_while_the_caller_takes_an_event_closes_the_connection_at_once() -> None:
    async def wait(_event: LlmEvent) -> None:
        await asyncio.Event().wait()

    async with provider(after(chunk("Hi"), then=trickle(chunk("x")))) as (stand, openai):
        caller = Caller(wait)
        task = asyncio.ensure_future(openai(new_call(), caller))
        await caller.came.wait()
        await cancel(task)

        await closes_soon(stand.connections[0])


async def test_cancelling_within_an_error_s_body_closes_the_connection_at_once() -> None:
    async def script(connection: Connection) -> None:
        await connection.head(500, "application/json")
        await stall(connection)

    async with provider(script) as (stand, openai):
        task = asyncio.ensure_future(openai(new_call(), Caller()))
        await stand.arrived.wait()
        await asyncio.sleep(0.01)
        await cancel(task)

        await closes_soon(stand.connections[0])


async def test_a_caller_that_hangs_up_closes_the_connection_at_once() -> None:
    async def hang_up(_event: LlmEvent) -> None:
        raise ConnectionResetError

    async with provider(after(chunk("Hi"), then=stall)) as (stand, openai):
        with pytest.raises(ConnectionResetError):
            await openai(new_call(), Caller(hang_up))

        await closes_soon(stand.connections[0])


async def test_a_cancellation_at_the_moment_of_a_limit_is_a_cancellation() -> None:
    async with provider(stall) as (stand, openai):
        loop = asyncio.get_running_loop()
        call = new_call(expires_in=SOON)
        task = asyncio.ensure_future(openai(call, Caller()))
        await stand.arrived.wait()
        loop.call_at(call.expires, task.cancel)
        # The loop is held up, so that both are due in one turn of it.
        loop.call_at(call.expires - 0.02, time.sleep, 0.04)
        with pytest.raises(asyncio.CancelledError):
            await task

        await closes_soon(stand.connections[0])


async def test_an_outer_timeout_stays_an_outer_timeout() -> None:
    async with provider(stall) as (stand, openai):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SOON):
                await openai(new_call(), Caller())

        await closes_soon(stand.connections[0])


async def test_an_inner_limit_is_no_outer_timeout() -> None:
    async with provider(stall, limits=Limits(5, SOON, 5)) as (_, openai):
        async with asyncio.timeout(5):
            error = await failure(openai(new_call(), Caller()))
            await asyncio.sleep(0)

    assert error.reason == PROVIDER_TIMEOUT


# Counting and listing


async def test_tokens_are_counted_by_the_provider_that_can() -> None:
    async with provider(json_answer({"input_tokens": 7}), dialect=Anthropic()) as (stand, anthropic):
        assert await anthropic.count_tokens(new_call(stream=False)) == 7
        assert [asked.path for asked in stand.asked] == ["/v1/v1/messages/count_tokens"]


async def test_tokens_are_not_counted_by_the_provider_that_cannot() -> None:
    async with provider(stall) as (stand, openai):
        assert await openai.count_tokens(new_call(stream=False)) is None
        assert stand.asked == []


async def test_models_are_listed() -> None:
    async with provider(json_answer({"data": [{"id": "a"}]})) as (stand, openai):
        assert await openai.models(new_call(stream=False)) == [Model(id="a")]
        assert await openai.models(new_call(stream=False)) == [Model(id="a")]
        assert [(asked.method, asked.path) for asked in stand.asked] == [("GET", "/v1/models")] * 2
        assert stand.connected == 1


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (json_answer({"error": {}}, status=401), PROVIDER_AUTH_FAILED),
        (json_answer({}), PROVIDER_BAD_RESPONSE),
        (after("{", then=cut), PROVIDER_UNAVAILABLE),
        (after(then=trickle("x" * 1024 * 1024, 0)), PROVIDER_BAD_RESPONSE),
        (after(then=trickle("x")), PROVIDER_TIMEOUT),
        (stall, PROVIDER_TIMEOUT),
    ],
)
async def test_a_list_that_does_not_come_is_a_failure(
    script: Script, reason: ErrorReason.ValueType, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason is PROVIDER_TIMEOUT:
        monkeypatch.setattr(upstream, "_FETCH_S", SOON)
    async with provider(script) as (_, openai):
        error = await failure(openai.models(new_call(stream=False)))

    assert error.reason == reason
